//! The store: what reads or writes the disk, on the thread pool of libuv. A promise gives the outcome, or a
//! [`Fault`]; it rejects only after a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use napi::bindgen_prelude::{AsyncTask, Either, ToNapiValue, TypeName};
use napi::{Env, Error, Result, Task};
use napi_derive::napi;
use parking_lot::Mutex;

use super::fault::Fault;
use super::key::Key;
use super::ledger::Ledger;
use crate::commit::Delta;
use crate::error;
use crate::ledger::Ledger as Store;
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
#[napi]
pub struct Batch(Arc<Mutex<Vec<Delta>>>);

#[napi]
impl Batch {
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "only JavaScript makes one")]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Adds one use of a key: finite tokens, at a time in milliseconds.
    #[napi(catch_unwind)]
    pub fn add(&self, key: Key, tokens: f64, at: f64) {
        let used = Use { tokens, at: at as i64 };
        self.0.lock().push(Delta { key: Box::from(&*key), used });
    }
}

/// The lock, held for JavaScript until it is released or, with its environment, gone.
#[napi]
pub struct Hold(Arc<Mutex<Option<Held>>>);

#[napi]
impl Hold {
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "only JavaScript makes one")]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.0.lock().take();
    }

    /// Shows others that the holder lives. What is busy under the lock is not waited for; a failure is the next one's.
    #[napi(catch_unwind)]
    pub fn refresh(&self) {
        if let Some(held) = self.0.try_lock().as_deref_mut().and_then(Option::as_mut) {
            let _ = held.refresh();
        }
    }
}

#[napi]
impl Ledger {
    /// Reads the file if it is not what was last read. Gives whether it holds something else than before.
    #[napi(ts_return_type = "Promise<boolean | Fault>")]
    pub fn load(&self, now: f64) -> AsyncTask<Work<bool>> {
        let ledger = Arc::clone(&self.0);
        Work::start(move || ledger.load(now))
    }

    /// Fills the cache with the first keys of the file. Gives how many it took.
    #[napi(ts_return_type = "Promise<number | Fault>")]
    pub fn warm_up(&self, now: f64) -> AsyncTask<Work<u32>> {
        let ledger = Arc::clone(&self.0);
        Work::start(move || ledger.warm_up(now).map(|count| count as u32))
    }

    /// Takes the lock for JavaScript.
    #[napi(ts_return_type = "Promise<undefined | Fault>")]
    pub fn acquire(&self, hold: &Hold, left_ms: f64) -> AsyncTask<Work<()>> {
        let (ledger, hold) = (Arc::clone(&self.0), Arc::clone(&hold.0));
        Work::start(move || {
            *hold.lock() = Some(ledger.lock(patience(left_ms))?);
            Ok(())
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
        let (ledger, batch, hold) = (Arc::clone(&self.0), Arc::clone(&batch.0), hold.map(|hold| Arc::clone(&hold.0)));
        Work::start(move || commit(&ledger, &batch, hold.as_deref(), now, fill, patience(left_ms)))
    }

    /// The same at once, for the end of the process.
    #[napi(catch_unwind, ts_return_type = "undefined | Fault")]
    pub fn commit_sync(&self, batch: &Batch, hold: Option<&Hold>, now: f64, left_ms: f64) -> Option<Fault> {
        let result = commit(&self.0, &batch.0, hold.map(|hold| &*hold.0), now, false, duration(left_ms));
        result.err().as_ref().map(Fault::from)
    }

    /// Replaces the file, under the lock that is held or one of its own.
    #[napi(ts_return_type = "Promise<undefined | Fault>")]
    pub fn replace(&self, text: String, hold: Option<&Hold>, now: f64, left_ms: f64) -> AsyncTask<Work<()>> {
        let (ledger, hold) = (Arc::clone(&self.0), hold.map(|hold| Arc::clone(&hold.0)));
        Work::start(move || with(hold.as_deref(), |held| ledger.replace(text, held, now, patience(left_ms))))
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
fn with<T>(hold: Option<&Mutex<Option<Held>>>, f: impl FnOnce(Option<&Held>) -> T) -> T {
    match hold {
        Some(hold) => f(hold.lock().as_ref()),
        None => f(None),
    }
}

/// Commits a batch unless that has been done. The batch stays locked meanwhile, so who comes second waits for the first.
fn commit(
    ledger: &Store,
    batch: &Mutex<Vec<Delta>>,
    hold: Option<&Mutex<Option<Held>>>,
    now: f64,
    fill: bool,
    patience: Duration,
) -> error::Result<bool> {
    let mut deltas = batch.lock();
    with(hold, |held| ledger.commit(&mut deltas, held, now, fill, patience))
}
