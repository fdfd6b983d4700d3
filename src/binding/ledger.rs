//! The store: the calls that are answered at once.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use napi::Env;
use napi::bindgen_prelude::{
    Either, Float64Array, FnArgs, Function, FunctionCallContext, JsValuesTupleIntoVec, ObjectFinalize, ToNapiValue,
};
use napi_derive::napi;

use super::fault::Fault;
use super::key::Key;
use crate::cache::Stamp;
use crate::error;
use crate::ledger::{Found, Ledger as Store, Value};
use crate::settings::Settings;

/// `find`: there is no such key.
const UNKNOWN: f64 = 0.0;
/// `find`: load the file, then ask again.
const LOAD: f64 = -1.0;
/// `find`: the same, but this lookup has been counted already.
const LOAD_COUNTED: f64 = -2.0;
/// `find`: answer by `read`, nothing is stored for it.
const UNCACHED: f64 = -3.0;

/// The JSON text of a key that does not exist.
const NULL: &str = "null";

thread_local! {
    /// The ledgers that this environment has opened, to tell a module that is evaluated again.
    static OPENED: RefCell<Vec<Weak<Store>>> = const { RefCell::new(Vec::new()) };
}

/// See [`Settings`].
#[napi(object)]
pub struct LedgerSettings {
    pub data_file: String,
    pub max_size: u32,
    pub ttl_ms: f64,
    pub revalidate_ms: f64,
    pub fsync: bool,
}

impl From<LedgerSettings> for Settings {
    fn from(settings: LedgerSettings) -> Self {
        Self {
            data_file: PathBuf::from(settings.data_file),
            max_size: settings.max_size,
            ttl_ms: settings.ttl_ms,
            revalidate_ms: settings.revalidate_ms,
            fsync: settings.fsync,
        }
    }
}

fn number(found: Found) -> f64 {
    match found {
        Found::Entry(stamp) => stamp as f64,
        Found::Unknown => UNKNOWN,
        Found::Uncached => UNCACHED,
        Found::Load { counted: false } => LOAD,
        Found::Load { counted: true } => LOAD_COUNTED,
    }
}

/// Whether this environment opens it for the first time.
fn first_here(ledger: &Arc<Store>) -> bool {
    OPENED.with_borrow_mut(|opened| {
        opened.retain(|other| other.strong_count() > 0);
        let first = !opened.iter().any(|other| Weak::as_ptr(other) == Arc::as_ptr(ledger));
        if first {
            opened.push(Arc::downgrade(ledger));
        }
        first
    })
}

/// What lookups call, as functions: at each call of a method `napi-rs` takes locks that all threads of the process share.
#[napi(object, object_from_js = false)]
pub struct Calls<'env> {
    /// Finds a key. Gives a stamp, or one of the numbers above.
    #[napi(ts_type = "(key: string, now: number, counted: boolean, looked: boolean) => number")]
    pub find: Function<'env, FnArgs<(String, f64, bool, bool)>, f64>,
    /// Gives the JSON text that a stamp names; `null` when it is gone, or has no text.
    #[napi(ts_type = "(stamp: number) => string | null")]
    pub text: Function<'env, f64, Option<String>>,
    /// Gives the last millisecond at which the entry holds.
    #[napi(ts_type = "(stamp: number) => number")]
    pub expires: Function<'env, f64, f64>,
    /// Takes note of hits that were answered in JavaScript, and of the entries, in the order in which they were last used.
    #[napi(ts_type = "(stamps: Float64Array, hits: number) => void")]
    pub used: Function<'env, FnArgs<(Float64Array, f64)>, ()>,
}

/// See [`Store`]. Stamps are numbers from 1; times are milliseconds as `Date.now()` gives them.
#[napi(custom_finalize)]
pub struct Ledger {
    pub(super) store: Arc<Store>,
    /// The same for the functions of [`Calls`]: Bun frees them only at the end of the process.
    called: Rc<RefCell<Option<Arc<Store>>>>,
    /// How many of its bytes the engine of this environment was told of.
    claimed: Cell<i64>,
}

#[napi]
impl Ledger {
    /// Opens the ledger, which all threads of the process share. If it is to begin `anew`, and this environment has opened
    /// it before, its cache and its counters do, as those of a module that is evaluated again.
    #[napi(catch_unwind, ts_return_type = "Ledger | Fault")]
    pub fn open(settings: LedgerSettings, anew: bool) -> Either<Ledger, Fault> {
        let opened = Store::open(settings.into());
        if let Ok(ledger) = &opened
            && !first_here(ledger)
            && anew
        {
            ledger.with_cache(|cache| {
                cache.clear();
                cache.reset_counters();
            });
        }
        Self::or_fault(opened)
    }

    /// Opens a ledger of its own, for who has a clock of his own.
    #[napi(catch_unwind, ts_return_type = "Ledger | Fault")]
    pub fn alone(settings: LedgerSettings) -> Either<Ledger, Fault> {
        Self::or_fault(Store::alone(settings.into()))
    }

    /// Tells the engine how much memory is held for it here, so that it knows when to collect garbage. What several
    /// environments share is told to one of them. Gives what the engine knows of, in bytes.
    #[napi(catch_unwind)]
    pub fn account(&self, env: Env) -> napi::Result<f64> {
        let change = self.store.claim(self.claimed.get());
        self.claimed.set(self.claimed.get() + change);
        env.adjust_external_memory(change).map(|bytes| bytes as f64)
    }

    #[napi(catch_unwind)]
    pub fn calls<'env>(&self, env: &'env Env) -> napi::Result<Calls<'env>> {
        Ok(Calls {
            find: self.call(env, "find", |store, call| {
                let (key, now, counted, looked) = call.args::<(Key, f64, bool, bool)>()?;
                Ok(number(store.find(&key, now, counted, looked)))
            })?,
            text: self.call(env, "text", |store, call| {
                Ok(match store.entry(call.first_arg::<f64>()? as Stamp) {
                    Some((Value::Record(text), _)) => Some((*text).to_owned()),
                    _ => None,
                })
            })?,
            expires: self.call(env, "expires", |store, call| {
                let entry = store.entry(call.first_arg::<f64>()? as Stamp);
                Ok(entry.map_or(f64::NEG_INFINITY, |(_, expires)| expires))
            })?,
            used: self.call(env, "used", |store, call| {
                let (stamps, hits) = call.args::<(Float64Array, f64)>()?;
                store.with_cache(|cache| {
                    cache.used(stamps.iter().map(|stamp| *stamp as Stamp));
                    cache.count_hits(hits as u64);
                });
                Ok(())
            })?,
        })
    }

    /// The JSON text of a key's object past the cache, `"null"` for a key that does not exist.
    #[napi(catch_unwind)]
    pub fn read(&self, key: Key) -> String {
        self.store.read(&key).unwrap_or_else(|| NULL.to_owned())
    }

    /// The JSON text of the whole file, `null` when there is none.
    #[napi(catch_unwind)]
    pub fn document(&self) -> Option<String> {
        self.store.document().map(|document| document.json().to_owned())
    }

    /// Whether the file was ever read well.
    #[napi(catch_unwind)]
    pub fn loaded(&self) -> bool {
        self.store.loaded()
    }

    /// Looks at the file; whether it is what was last read.
    #[napi(catch_unwind)]
    pub fn look(&self, now: f64) -> bool {
        self.store.look(now)
    }

    /// When the file was last looked at.
    #[napi(catch_unwind)]
    pub fn looked_at(&self) -> f64 {
        self.store.looked_at()
    }

    /// A stamp, or `UNKNOWN` also for what is not stored.
    #[napi(catch_unwind)]
    pub fn get(&self, key: Key, now: f64) -> f64 {
        self.store.cached(&key, now).map_or(UNKNOWN, number)
    }

    #[napi(catch_unwind)]
    pub fn has(&self, key: Key, now: f64) -> bool {
        self.store.with_cache(|cache| cache.has(&key, now))
    }

    /// Stores the JSON text of a value, or one that has none.
    #[napi(catch_unwind)]
    pub fn set(&self, key: Key, now: f64, ttl: Option<f64>, text: Option<String>) -> f64 {
        let value = match text {
            Some(text) if text == NULL => Value::Unknown,
            Some(text) => Value::Record(text.into()),
            None => Value::Opaque,
        };
        self.store.set_cached(&key, value, now, ttl).map_or(0.0, |stamp| stamp as f64)
    }

    #[napi(catch_unwind)]
    pub fn delete(&self, key: Key) -> f64 {
        self.store.with_cache(|cache| cache.remove(&key)).map_or(0.0, |stamp| stamp as f64)
    }

    #[napi(catch_unwind)]
    pub fn clear(&self) {
        self.store.with_cache(crate::cache::Cache::clear);
    }

    #[napi(catch_unwind)]
    pub fn size(&self) -> u32 {
        self.store.with_cache(|cache| cache.len()) as u32
    }

    #[napi(catch_unwind)]
    pub fn hits(&self) -> f64 {
        self.store.with_cache(|cache| cache.counters().0) as f64
    }

    #[napi(catch_unwind)]
    pub fn misses(&self) -> f64 {
        self.store.with_cache(|cache| cache.counters().1) as f64
    }

    #[napi(catch_unwind)]
    pub fn reset_counters(&self) {
        self.store.with_cache(crate::cache::Cache::reset_counters);
    }
}

impl Ledger {
    fn call<'env, Args: JsValuesTupleIntoVec, Return: ToNapiValue>(
        &self,
        env: &'env Env,
        name: &str,
        f: impl Fn(&Store, FunctionCallContext) -> napi::Result<Return> + 'static,
    ) -> napi::Result<Function<'env, Args, Return>> {
        let called = Rc::clone(&self.called);
        env.create_function_from_closure(name, move |call| match &*called.borrow() {
            Some(store) => f(store, call),
            None => Err(napi::Error::from_reason("the environment of this ledger has ended")),
        })
    }

    fn or_fault(opened: error::Result<Arc<Store>>) -> Either<Self, Fault> {
        match opened {
            Ok(store) => {
                let called = Rc::new(RefCell::new(Some(Arc::clone(&store))));
                Either::A(Self { store, called, claimed: Cell::new(0) })
            }
            Err(error) => Either::B(Fault::from(&error)),
        }
    }
}

impl ObjectFinalize for Ledger {
    fn finalize(self, env: Env) -> napi::Result<()> {
        self.called.take();
        let claimed = self.claimed.get();
        self.store.unclaim(claimed);
        env.adjust_external_memory(-claimed).map(drop)
    }
}
