//! The store: find, record usage, read, write.
//!
//! Order of the locks, for who takes several: `loading`, `state`, `cache`. None is held while anything waits for
//! another process, and `cache` not while anything waits for the disk.
//!
//! The cache is filled under the `state` that the value came from, so that a slow reader can't put back what a reload
//! has replaced. Entries carry the generation of the file that they were last compared with: a reload only bumps it,
//! and each entry is compared with the new text when it is next asked for.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::cache::{Cache, Rank, Stamp};
use crate::commit::{Applied, Delta, apply};
use crate::disk::{self, Content, Replacement, Seen};
use crate::document::Document;
use crate::error::{Error, Result};
use crate::lock::{Directory, Flock, Lock};
use crate::settings::Settings;

/// Longer keys are looked up, but not kept: they are no keys that anybody was given.
const LONGEST_CACHED_KEY: usize = 512;

/// How often a commit is built without the lock directory before it is built under it.
const OPTIMISTIC_TRIES: usize = 3;

/// How many entries are stored in one go while lookups wait.
const WARM_UP_STEP: usize = 256;

/// One data file with the cache in front of it. Shared by all threads of the process.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    lock: Arc<Lock>,
    /// Held while the file is read, so that all who wait share one read.
    loading: Mutex<()>,
    state: RwLock<State>,
    cache: Mutex<Cache<Cached>>,
    /// When the file was last looked at: the bits of an `f64`, milliseconds on the caller's clock.
    looked_at: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// What was last read well; `None` until that happened once.
    read: Option<Snapshot>,
    /// Why the file as it is now can't be read.
    fault: Option<Fault>,
    /// Grows when the file turns out to hold something that we did not put there.
    generation: u64,
}

#[derive(Clone, Debug)]
struct Snapshot {
    document: Arc<Document>,
    seen: Seen,
    trusted: bool,
}

#[derive(Debug)]
struct Fault {
    error: Error,
    /// The file that was read and found bad, if an unchanged fingerprint means that it still is.
    seen: Option<Seen>,
}

/// What the cache holds for a key.
#[derive(Clone, Debug)]
pub enum Value {
    /// The JSON text of the key's object.
    Record(Arc<str>),
    /// The file has no such key.
    Unknown,
    /// A value without a JSON text, which only the environment that set it can give.
    Opaque,
}

/// An entry of the cache.
#[derive(Debug)]
pub struct Cached {
    value: Value,
    generation: u64,
}

/// The answer to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A stored entry.
    Entry(Stamp),
    /// Nothing is stored for it: see [`Ledger::read`].
    Uncached,
    /// The file must be loaded first.
    Load {
        /// Whether this lookup has been counted, as a miss.
        counted: bool,
    },
}

/// Whether what we know of the file is what it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    /// It is known to be bad; the last good state answers.
    Bad,
    Changed,
}

/// How long a writer waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For others of our kind.
    pub flock: Instant,
    /// For programs that lock by directory.
    pub directory: Instant,
}

impl Patience {
    /// Waits this long for either.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        let deadline = Instant::now() + time;
        Self { flock: deadline, directory: deadline }
    }
}

/// The whole lock, released when dropped: the directory first.
#[derive(Debug)]
pub struct Held {
    _directory: Directory,
    _flock: Flock,
}

/// The ledgers that are open in this process.
static OPEN: Mutex<Vec<Weak<Ledger>>> = Mutex::new(Vec::new());

impl Ledger {
    /// The ledger with these settings; makes the folder of the data file.
    pub fn open(settings: Settings) -> Result<Arc<Self>> {
        let mut open = OPEN.lock();
        open.retain(|ledger| ledger.strong_count() > 0);
        if let Some(ledger) = open.iter().filter_map(Weak::upgrade).find(|ledger| ledger.settings == settings) {
            return Ok(ledger);
        }
        if let Some(folder) = settings.data_file.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::system("make the folder", folder, &e))?;
        }
        let ledger = Arc::new(Self {
            lock: Arc::new(Lock::new(&settings.data_file)),
            loading: Mutex::new(()),
            state: RwLock::new(State { read: None, fault: None, generation: 1 }),
            cache: Mutex::new(Cache::new(settings.max_size, settings.ttl_ms)),
            looked_at: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            settings,
        });
        open.push(Arc::downgrade(&ledger));
        Ok(ledger)
    }

    /// What it was opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn path(&self) -> &Path {
        &self.settings.data_file
    }

    /// Finds a key. `counted` tells whether it counts as a hit or a miss, `looked` that the file has been loaded since
    /// the lookup began.
    pub fn find(&self, key: &[u8], now: f64, counted: bool, looked: bool) -> Found {
        let state = self.state.read();
        let mut looked = looked;
        if !looked && (state.read.is_none() || self.due(now)) {
            if self.standing(&state, now) == Standing::Changed {
                let mut cache = self.cache.lock();
                let counted = counted && !cache.has(key, now);
                cache.count_misses(u64::from(counted));
                return Found::Load { counted };
            }
            looked = true;
        }
        {
            let mut cache = self.cache.lock();
            if let Some(stamp) = cached(&mut cache, &state, key, now) {
                cache.count_hits(u64::from(counted));
                return Found::Entry(stamp);
            }
            cache.count_misses(u64::from(counted));
        }
        if !looked && self.standing(&state, now) == Standing::Changed {
            return Found::Load { counted };
        }
        let (Some(read), None, true) = (&state.read, &state.fault, key.len() <= LONGEST_CACHED_KEY) else {
            return Found::Uncached;
        };
        let (value, rank) = object_value(read.document.get(key));
        let entry = Cached { value, generation: state.generation };
        self.cache.lock().set(key, entry, now, None, rank).map_or(Found::Uncached, Found::Entry)
    }

    /// The JSON text of a key's object as it was last read, past the cache.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Option<String> {
        self.state.read().read.as_ref()?.document.get(key).map(str::to_owned)
    }

    /// The whole document as it was last read; `None` when there is no file, or it was never read well.
    #[must_use]
    pub fn document(&self) -> Option<Arc<Document>> {
        let state = self.state.read();
        state.read.as_ref().filter(|read| read.seen != Seen::Missing).map(|read| Arc::clone(&read.document))
    }

    /// Whether the file was ever read well.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.state.read().read.is_some()
    }

    /// Looks at the file; whether it is what was last read.
    pub fn look(&self, now: f64) -> bool {
        self.standing(&self.state.read(), now) == Standing::Current
    }

    /// When the file was last looked at.
    #[must_use]
    pub fn looked_at(&self) -> f64 {
        f64::from_bits(self.looked_at.load(Ordering::Relaxed))
    }

    fn looked(&self, now: f64) {
        self.looked_at.store(now.to_bits(), Ordering::Relaxed);
    }

    fn due(&self, now: f64) -> bool {
        let looked_at = self.looked_at();
        // A clock that was set back must not put off the next look.
        now < looked_at || now - looked_at >= self.settings.revalidate_ms
    }

    fn standing(&self, state: &State, now: f64) -> Standing {
        let Ok(seen) = disk::look(self.path()) else { return Standing::Changed };
        let standing = match (&state.fault, &state.read) {
            (Some(fault), read) if fault.seen == Some(seen) && read.is_some() => Standing::Bad,
            (None, Some(read)) if read.seen == seen && read.trusted => Standing::Current,
            _ => Standing::Changed,
        };
        if standing != Standing::Changed {
            self.looked(now);
        }
        standing
    }

    /// Reads the file if it is not what was last read. Gives whether it holds something else than before.
    pub fn load(&self, now: f64) -> Result<bool> {
        let _one_at_a_time = self.loading.lock();
        let result = self.load_if_changed();
        if let Err(error) = &result {
            let mut state = self.state.write();
            if state.fault.is_none() {
                state.fault = Some(Fault { error: error.clone(), seen: None });
            }
        }
        self.looked(now);
        result
    }

    fn load_if_changed(&self) -> Result<bool> {
        let seen = disk::look(self.path())?;
        {
            let mut state = self.state.write();
            match &state.fault {
                Some(fault) if fault.seen == Some(seen) => return Err(fault.error.clone()),
                _ => state.fault = None,
            }
            if state.read.as_ref().is_some_and(|read| read.seen == seen && read.trusted) {
                return Ok(false);
            }
        }
        let Content { bytes, seen, trusted } = disk::read(self.path())?;
        let old = self.state.read().read.clone();
        if let (Some(bytes), Some(old)) = (&bytes, &old)
            && old.document.text().as_bytes() == &bytes[..]
            && old.seen != Seen::Missing
        {
            self.state.write().read = Some(Snapshot { seen, trusted, ..old.clone() });
            return Ok(false);
        }
        match bytes.map_or_else(|| Ok(Document::default()), Document::parse) {
            Ok(document) => {
                let mut state = self.state.write();
                state.read = Some(Snapshot { document: Arc::new(document), seen, trusted });
                state.generation += u64::from(old.is_some());
                drop(state);
                // Freeing the old text takes time too: not while lookups wait.
                drop(old);
                Ok(true)
            }
            Err(reason) => {
                let error = Error::Data { path: self.path().to_owned(), reason };
                let seen = trusted.then_some(seen);
                self.state.write().fault = Some(Fault { error: error.clone(), seen });
                Err(error)
            }
        }
    }

    /// Takes the lock, as a writer has it.
    pub fn lock(&self, patience: Patience) -> Result<Held> {
        let flock = self.lock.flock(patience.flock)?;
        let directory = flock.directory(patience.directory)?;
        Ok(Held { _directory: directory, _flock: flock })
    }

    /// Records usage: applies the deltas to what the file holds and replaces it. The entries of the cache are refreshed
    /// from what was written; with `fill` those keys that were not in the cache come in.
    pub fn commit(
        &self,
        deltas: &[Delta],
        held: Option<&Held>,
        now: f64,
        fill: bool,
        patience: Patience,
    ) -> Result<()> {
        let flock = held.is_none().then(|| self.lock.flock(patience.flock)).transpose()?;
        let lock_directory = || flock.as_ref().map(|flock| flock.directory(patience.directory)).transpose();
        for attempt in 1.. {
            let mut directory = None;
            if attempt > OPTIMISTIC_TRIES {
                directory = lock_directory()?;
            }
            self.load(now)?;
            let Some(base) = self.state.read().read.clone() else { return Ok(()) };
            let Some(Applied { document, changed }) = apply(&base.document, deltas) else { return Ok(()) };
            let replacement = Replacement::write(self.path(), document.text(), self.settings.fsync)?;
            if directory.is_none() {
                directory = lock_directory()?;
            }
            if !self.still(&base)? {
                continue;
            }
            let (seen, trusted) = replacement.publish()?;
            drop(directory);
            let document = Arc::new(document);
            self.refresh(Snapshot { document, seen, trusted }, &changed, now, fill);
            break;
        }
        if self.settings.fsync {
            disk::sync_folder(self.path())?;
        }
        Ok(())
    }

    /// Whether the file is what the snapshot says.
    fn still(&self, base: &Snapshot) -> Result<bool> {
        Ok(disk::look(self.path())? == base.seen
            && (base.trusted
                || disk::read(self.path())?.bytes.is_some_and(|bytes| bytes == base.document.text().as_bytes())))
    }

    /// What we wrote is what the file holds.
    fn refresh(&self, written: Snapshot, changed: &[(&[u8], usize)], now: f64, fill: bool) {
        let values: Vec<(&[u8], Arc<str>)> =
            changed.iter().map(|(key, position)| (*key, written.document.object(*position).into())).collect();
        let mut state = self.state.write();
        let old = state.read.replace(written);
        let generation = state.generation;
        let mut cache = self.cache.lock();
        for (key, object) in values {
            if cache.has(key, now) || (fill && key.len() <= LONGEST_CACHED_KEY) {
                let entry = Cached { value: Value::Record(object), generation };
                cache.set(key, entry, now, None, Rank::Lasting);
            }
        }
        drop((cache, state));
        drop(old);
    }

    /// Replaces the file by `text`.
    pub fn replace(&self, text: String, held: Option<&Held>, patience: Patience) -> Result<()> {
        let document = Document::parse(text.into_bytes())
            .map_err(|reason| Error::Data { path: self.path().to_owned(), reason })?;
        let flock = held.is_none().then(|| self.lock.flock(patience.flock)).transpose()?;
        let replacement = Replacement::write(self.path(), document.text(), self.settings.fsync)?;
        let directory = flock.as_ref().map(|flock| flock.directory(patience.directory)).transpose()?;
        let (seen, trusted) = replacement.publish()?;
        drop(directory);
        let mut state = self.state.write();
        let old = state.read.replace(Snapshot { document: Arc::new(document), seen, trusted });
        state.fault = None;
        state.generation += 1;
        drop(state);
        drop(old);
        if self.settings.fsync {
            disk::sync_folder(self.path())?;
        }
        Ok(())
    }

    /// Fills the cache with the first keys of the file. Gives how many it took.
    pub fn warm_up(&self, now: f64) -> Result<usize> {
        self.load(now)?;
        let limit = self.cache.lock().max_size();
        let Some(document) = self.document() else { return Ok(0) };
        let keys = document.first(limit);
        for step in keys.chunks(WARM_UP_STEP) {
            let state = self.state.read();
            let Some(read) = &state.read else { break };
            let mut cache = self.cache.lock();
            for (key, _) in step {
                if key.len() <= LONGEST_CACHED_KEY
                    && let Some(object) = read.document.get(key)
                {
                    let entry = Cached { value: Value::Record(object.into()), generation: state.generation };
                    cache.set(key, entry, now, None, Rank::Lasting);
                }
            }
        }
        Ok(keys.len())
    }

    /// An entry of the cache, past the file; counted as a hit or a miss.
    pub fn cached(&self, key: &[u8], now: f64) -> Option<Stamp> {
        let state = self.state.read();
        let mut cache = self.cache.lock();
        let stamp = cached(&mut cache, &state, key, now);
        cache.count_hits(u64::from(stamp.is_some()));
        cache.count_misses(u64::from(stamp.is_none()));
        stamp
    }

    /// Stores an entry for `ttl` milliseconds or the cache's own time.
    pub fn set_cached(&self, key: &[u8], value: Value, now: f64, ttl: Option<f64>) -> Option<Stamp> {
        let generation = self.state.read().generation;
        self.cache.lock().set(key, Cached { value, generation }, now, ttl, Rank::Lasting)
    }

    /// What a stamp names, and the last millisecond at which it holds; `None` if that is no longer stored.
    #[must_use]
    pub fn entry(&self, stamp: Stamp) -> Option<(Value, f64)> {
        self.cache.lock().by_stamp(stamp).map(|(_, entry)| (entry.value.value.clone(), entry.expires))
    }

    /// The cache itself, for what needs neither the file nor the values.
    pub fn with_cache<T>(&self, f: impl FnOnce(&mut Cache<Cached>) -> T) -> T {
        f(&mut self.cache.lock())
    }
}

/// The stored entry, compared with the file as it was last read: if that holds something else by now, it holds that.
fn cached(cache: &mut Cache<Cached>, state: &State, key: &[u8], now: f64) -> Option<Stamp> {
    let entry = cache.get(key, now)?;
    let generation = state.generation;
    if entry.value.generation != generation {
        let object = state.read.as_ref().and_then(|read| read.document.get(key));
        let same = match (&entry.value.value, object) {
            (Value::Record(old), Some(new)) => **old == *new,
            (Value::Unknown, None) => true,
            _ => false,
        };
        if !same {
            let (value, rank) = object_value(object);
            return cache.set(key, Cached { value, generation }, now, None, rank);
        }
        entry.value.generation = generation;
    }
    Some(entry.stamp())
}

fn object_value(object: Option<&str>) -> (Value, Rank) {
    object.map_or((Value::Unknown, Rank::Transient), |object| (Value::Record(object.into()), Rank::Lasting))
}
