//! The store: what reads or writes the disk, on the thread pool of libuv. A promise gives the outcome, or a
//! [`Fault`]; it rejects only after a panic. No outcome is `undefined`: that is what a call gives that was not made, since
//! its environment is being terminated.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use napi::bindgen_prelude::{AsyncTask, Either, ToNapiValue, TypeName};
use napi::{Env, Error, Result, Task};
use napi_derive::napi;
use parking_lot::Mutex;

use super::fault::Fault;
use super::key::Keys;
use super::ledger::Ledger;
use crate::commit::Delta;
use crate::disk::Replaced;
use crate::error;
use crate::ledger::{Committed, Ledger as Store};
use crate::lock::Held;
use crate::usage::Use;

/// A task waits for others no longer than this, then gives its thread back and lets JavaScript try again: the pool has
/// few threads, and the holder may need one.
const SLICE: Duration = Duration::from_millis(25);

/// A deadline that no clock reaches is a year.
const FOREVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Milliseconds that came from JavaScript.
fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or(FOREVER).min(FOREVER)
}

fn patience(left_ms: f64) -> Duration {
    duration(left_ms).min(SLICE)
}

/// Work for the pool whose outcome JavaScript gets, or the fault.
pub struct Work<T>(Option<Box<dyn FnOnce() -> error::Result<T> + Send>>);

impl<T: ToNapiValue + TypeName + Send + 'static> Work<T> {
    fn start(work: impl FnOnce() -> error::Result<T> + Send + 'static) -> AsyncTask<Self> {
        AsyncTask::new(Self(Some(Box::new(work))))
    }
}

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Work<T> {
    type Output = error::Result<T>;
    type JsValue = Either<T, Fault>;

    fn compute(&mut self) -> Result<Self::Output> {
        let work = self.0.take().ok_or_else(|| Error::from_reason("this work was done before"))?;
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| Error::from_reason("keyledger panicked; please report it"))
    }

    fn resolve(&mut self, _: Env, output: Self::Output) -> Result<Self::JsValue> {
        Ok(match output {
            Ok(value) => Either::A(value),
            Err(error) => Either::B(Fault::from(&error)),
        })
    }
}

/// Updates that are committed together. Whoever commits them takes them out, so that they are committed once.
#[derive(Default)]
struct Updates {
    deltas: Mutex<Vec<Delta>>,
    /// What their commit has replaced.
    replaced: Mutex<Option<Replaced>>,
}

/// Batches that are not settled, and where they belong: what the main thread commits when it ends the process, and with it
/// the other threads.
static PENDING: Mutex<Vec<Pending>> = Mutex::new(Vec::new());

struct Pending {
    ledger: Weak<Store>,
    updates: Weak<Updates>,
    /// The lock that its thread holds for it, if it does.
    hold: Option<Weak<Mutex<Slot>>>,
}

/// A lock that is held, or is about to be.
#[derive(Default)]
struct Slot {
    held: Option<Held>,
    /// Whether it was released: then it is not taken any more.
    released: bool,
}

/// See [`Updates`].
#[napi]
pub struct Batch(Arc<Updates>);

#[napi]
impl Batch {
    /// A batch for this ledger, and for who holds its lock.
    #[napi(constructor)]
    pub fn new(ledger: &Ledger, hold: Option<&Hold>) -> Self {
        let updates = Arc::<Updates>::default();
        let mut pending = PENDING.lock();
        pending.retain(|batch| batch.updates.strong_count() > 0);
        pending.push(Pending {
            ledger: Arc::downgrade(&ledger.store),
            updates: Arc::downgrade(&updates),
            hold: hold.map(|hold| Arc::downgrade(&hold.0)),
        });
        drop(pending);
        Self(updates)
    }

    /// Adds uses of keys: finite tokens, at a time in milliseconds, one pair of numbers for each.
    #[napi(catch_unwind)]
    pub fn add(&self, keys: Keys, numbers: &[f64]) {
        let uses = numbers.chunks_exact(2).map(|pair| Use { tokens: pair[0], at: pair[1] as i64 });
        self.0.deltas.lock().extend(keys.0.into_iter().zip(uses).map(|(key, used)| Delta { key, used }));
    }

    /// How many are not in the file.
    #[napi(catch_unwind)]
    pub fn size(&self) -> u32 {
        self.0.deltas.lock().len() as u32
    }

    /// Takes note that all is said and done about it: a commit that has not begun has nothing to do any more, and one that is
    /// under way is waited for. Gives whether there is something to tidy up.
    #[napi(catch_unwind)]
    pub fn settle(&self) -> bool {
        PENDING.lock().retain(|batch| !ptr::eq(batch.updates.as_ptr(), &raw const *self.0));
        self.0.deltas.lock().clear();
        self.0.replaced.lock().is_some()
    }

    /// Frees what the commit has replaced. That takes a while, so nobody should wait for it.
    #[napi(ts_return_type = "Promise<undefined>")]
    pub fn tidy(&self) -> AsyncTask<Work<()>> {
        let replaced = self.0.replaced.lock().take();
        Work::start(move || {
            drop(replaced);
            Ok(())
        })
    }
}

/// What was lost at the end of the process.
#[napi(object)]
pub struct Loss {
    pub fault: Fault,
    pub updates: u32,
}

/// The lock, held for JavaScript until it is released or, with its environment, gone.
#[derive(Default)]
#[napi]
pub struct Hold(Arc<Mutex<Slot>>);

#[napi]
impl Hold {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets go of it, and of what is about to be taken.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        let mut slot = self.0.lock();
        slot.released = true;
        slot.held = None;
    }

    /// Shows others that the holder lives. What is busy under the lock is not waited for; a failure is the next one's.
    #[napi(catch_unwind)]
    pub fn refresh(&self) {
        if let Some(held) = self.0.try_lock().as_deref_mut().and_then(|slot| slot.held.as_mut()) {
            let _ = held.refresh();
        }
    }
}

#[napi]
impl Ledger {
    /// Reads the file if it is not what was last read. Gives whether it holds something else than before.
    #[napi(ts_return_type = "Promise<boolean | Fault>")]
    pub fn load(&self, now: f64) -> AsyncTask<Work<bool>> {
        let ledger = Arc::clone(&self.store);
        Work::start(move || ledger.load(now))
    }

    /// Fills the cache with the first keys of the file. Gives how many it took.
    #[napi(ts_return_type = "Promise<number | Fault>")]
    pub fn warm_up(&self, now: f64) -> AsyncTask<Work<u32>> {
        let ledger = Arc::clone(&self.store);
        Work::start(move || ledger.warm_up(now).map(|count| count as u32))
    }

    /// Takes the lock for JavaScript.
    #[napi(ts_return_type = "Promise<true | Fault>")]
    pub fn acquire(&self, hold: &Hold, left_ms: f64) -> AsyncTask<Work<bool>> {
        let (ledger, hold) = (Arc::clone(&self.store), Arc::clone(&hold.0));
        Work::start(move || {
            // Locked first, so that who releases it meanwhile waits for it.
            let mut slot = hold.lock();
            if !slot.released {
                slot.held = Some(ledger.lock(patience(left_ms))?);
            }
            Ok(true)
        })
    }

    /// Writes a batch to the file, under the lock that is held or one of its own. With `fill` the keys come into the
    /// cache. Gives whether the file turned out to hold something else than before.
    #[napi(ts_return_type = "Promise<boolean | Fault>")]
    pub fn commit(
        &self,
        batch: &Batch,
        hold: Option<&Hold>,
        now: f64,
        fill: bool,
        left_ms: f64,
    ) -> AsyncTask<Work<bool>> {
        let (ledger, updates, hold) =
            (Arc::clone(&self.store), Arc::clone(&batch.0), hold.map(|hold| Arc::clone(&hold.0)));
        Work::start(move || {
            let Committed { reloaded, replaced } =
                commit(&ledger, &updates, hold.as_deref(), now, fill, patience(left_ms))?;
            *updates.replaced.lock() = replaced.is_large().then_some(replaced);
            Ok(reloaded)
        })
    }

    /// The same at once, for the end of the process.
    #[napi(catch_unwind, ts_return_type = "undefined | Fault")]
    pub fn commit_sync(&self, batch: &Batch, hold: Option<&Hold>, now: f64, left_ms: f64) -> Option<Fault> {
        let result = commit(&self.store, &batch.0, hold.map(|hold| &*hold.0), now, false, duration(left_ms));
        result.err().as_ref().map(Fault::from)
    }

    /// The same for the batches of all threads, waiting for the locks for `left_ms` in all. Gives those that it could not
    /// write.
    #[napi(catch_unwind)]
    pub fn commit_pending(now: f64, left_ms: f64) -> Vec<Loss> {
        let start = Instant::now();
        let pending = mem::take(&mut *PENDING.lock());
        let lost = |Pending { ledger, updates, hold }: &Pending| {
            let (ledger, updates) = (ledger.upgrade()?, updates.upgrade()?);
            let hold = hold.as_ref().and_then(Weak::upgrade);
            let left = duration(left_ms).saturating_sub(start.elapsed());
            let fault = commit(&ledger, &updates, hold.as_deref(), now, false, left).err()?;
            let lost = mem::take(&mut *updates.deltas.lock());
            Some(Loss { fault: Fault::from(&fault), updates: lost.len() as u32 })
        };
        pending.iter().filter_map(lost).collect()
    }

    /// Replaces the file, under the lock that is held or one of its own.
    #[napi(ts_return_type = "Promise<true | Fault>")]
    pub fn replace(&self, text: String, hold: Option<&Hold>, now: f64, left_ms: f64) -> AsyncTask<Work<bool>> {
        let (ledger, hold) = (Arc::clone(&self.store), hold.map(|hold| Arc::clone(&hold.0)));
        Work::start(move || {
            with(hold.as_deref(), |held| ledger.replace(text, held, now, patience(left_ms)))?;
            Ok(true)
        })
    }

    /// Resolves after a while. On a thread of the pool, so that a test's fake timers don't stop the writing.
    #[napi(ts_return_type = "Promise<undefined | Fault>")]
    pub fn pause(ms: f64) -> AsyncTask<Work<()>> {
        Work::start(move || {
            thread::sleep(duration(ms));
            Ok(())
        })
    }
}

/// Runs `f` with what is held, if anything.
fn with<T>(hold: Option<&Mutex<Slot>>, f: impl FnOnce(Option<&Held>) -> T) -> T {
    match hold {
        Some(hold) => f(hold.lock().held.as_ref()),
        None => f(None),
    }
}

/// Commits a batch unless that has been done. The batch stays locked meanwhile, so who comes second waits for the first.
fn commit(
    ledger: &Store,
    updates: &Updates,
    hold: Option<&Mutex<Slot>>,
    now: f64,
    fill: bool,
    patience: Duration,
) -> error::Result<Committed> {
    let mut deltas = updates.deltas.lock();
    with(hold, |held| ledger.commit(&mut deltas, held, now, fill, patience))
}
