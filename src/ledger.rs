//! The store: find, read, and what both share with writing.
//!
//! Order of the locks, for who takes several: the source's, then `cache`. Neither is held while anything waits for
//! another process, and `cache` not while anything waits for the disk.
//!
//! The cache is filled under the state that the value came from, so that a slow reader can't put back what a reload
//! has replaced. Entries carry the generation of the file that they were last compared with: a reload only bumps it,
//! and each entry is compared with the new text when it is next asked for.

mod write;

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

pub use self::write::Committed;
use crate::cache::{Cache, Rank, Stamp, Weigh};
use crate::disk::Seen;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::settings::Settings;
use crate::source::{Source, Standing, State};

/// Longer keys are looked up, but not kept: they are no keys that anybody was given.
const LONGEST_CACHED_KEY: usize = 512;

/// A claim that changes by fewer bytes is not worth telling.
const CLAIM_STEP: i64 = 64 * 1024;

/// How many entries are stored in one go while lookups wait.
const FILL_STEP: usize = 256;

/// One data file with the cache in front of it. Threads share it.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    lock: Arc<Lock>,
    /// Whether left-over temporary files were looked for.
    swept: AtomicBool,
    source: Source,
    cache: Mutex<Cache<Cached>>,
    /// How many bytes its users have claimed, see [`Ledger::claim`].
    claimed: Mutex<i64>,
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

impl Weigh for Cached {
    fn heap_bytes(&self) -> usize {
        match &self.value {
            Value::Record(text) => text.len() + 2 * size_of::<usize>(),
            Value::Unknown | Value::Opaque => 0,
        }
    }
}

/// The answer to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A stored entry.
    Entry(Stamp),
    /// There is no such key.
    Unknown,
    /// Nothing is stored for it: see [`Ledger::read`].
    Uncached,
    /// The file must be loaded first.
    Load {
        /// Whether this lookup has been counted, as a miss.
        counted: bool,
    },
}

/// The ledgers that are open in this process.
static OPEN: Mutex<Vec<Weak<Ledger>>> = Mutex::new(Vec::new());

impl Ledger {
    /// The ledger with these settings, which all in this process who open it share; makes the folder of the data file.
    pub fn open(settings: Settings) -> Result<Arc<Self>> {
        make_folder(&settings)?;
        let mut open = OPEN.lock();
        open.retain(|ledger| ledger.strong_count() > 0);
        if let Some(ledger) = open.iter().filter_map(Weak::upgrade).find(|ledger| ledger.settings == settings) {
            return Ok(ledger);
        }
        let ledger = Self::new(settings);
        open.push(Arc::downgrade(&ledger));
        Ok(ledger)
    }

    /// The same, shared with nobody.
    pub fn alone(settings: Settings) -> Result<Arc<Self>> {
        make_folder(&settings)?;
        Ok(Self::new(settings))
    }

    fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            lock: Arc::new(Lock::new(&settings.data_file)),
            swept: AtomicBool::new(false),
            source: Source::new(settings.data_file.clone(), settings.revalidate_ms),
            cache: Mutex::new(Cache::new(settings.max_size, settings.ttl_ms)),
            claimed: Mutex::new(0),
            settings,
        })
    }

    /// What it was opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Finds a key. `counted` tells whether it counts as a hit or a miss, `looked` that the file has been loaded since
    /// the lookup began.
    pub fn find(&self, key: &[u8], now: f64, counted: bool, looked: bool) -> Found {
        let state = self.source.state();
        let mut looked = looked;
        if !looked && (state.read.is_none() || self.source.due(now)) {
            if self.source.look(&state, now) == Standing::Changed {
                let mut cache = self.cache.lock();
                let counted = counted && !cache.has(key, now);
                cache.count_misses(u64::from(counted));
                return Found::Load { counted };
            }
            looked = true;
        }
        {
            let mut cache = self.cache.lock();
            if let Some(found) = cached(&mut cache, &state, key, now) {
                cache.count_hits(u64::from(counted));
                return found;
            }
            cache.count_misses(u64::from(counted));
        }
        if !looked && self.source.look(&state, now) == Standing::Changed {
            return Found::Load { counted };
        }
        if state.read.is_none() || state.faulty() || key.len() > LONGEST_CACHED_KEY {
            return Found::Uncached;
        }
        store(&mut self.cache.lock(), &state, key, state.object(key), now)
    }

    /// The JSON text of a key's object as it was last read, past the cache.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Option<String> {
        self.source.state().object(key).map(str::to_owned)
    }

    /// The whole document as it was last read; `None` when there is no file, or it was never read well.
    #[must_use]
    pub fn document(&self) -> Option<Arc<Document>> {
        let state = self.source.state();
        state.read.as_ref().filter(|read| read.seen != Seen::Missing).map(|read| Arc::clone(&read.document))
    }

    /// Whether the file was ever read well.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.source.state().read.is_some()
    }

    /// Looks at the file; whether it is what was last read.
    #[must_use]
    pub fn look(&self, now: f64) -> bool {
        self.source.look(&self.source.state(), now) == Standing::Current
    }

    /// When the file was last looked at.
    #[must_use]
    pub fn looked_at(&self) -> f64 {
        self.source.looked_at()
    }

    /// Reads the file if it is not what was last read. Gives whether it holds something else than before.
    pub fn load(&self, now: f64) -> Result<bool> {
        self.source.load(now, None)
    }

    /// Stores what the file holds for these keys; with `refresh_only` just for those that are stored already.
    fn fill(&self, keys: &[&[u8]], now: f64, refresh_only: bool) {
        for step in keys.chunks(FILL_STEP) {
            let state = self.source.state();
            let mut cache = self.cache.lock();
            for key in step {
                let welcome = !refresh_only && key.len() <= LONGEST_CACHED_KEY && state.object(key).is_some();
                if welcome || cache.has(key, now) {
                    store(&mut cache, &state, key, state.object(key), now);
                }
            }
        }
    }

    /// Fills the cache with the first keys of the file. Gives how many it took.
    pub fn warm_up(&self, now: f64) -> Result<usize> {
        self.load(now)?;
        let limit = self.cache.lock().max_size();
        let Some(document) = self.document() else { return Ok(0) };
        let keys = document.first(limit);
        self.fill(&keys, now, false);
        Ok(keys.len())
    }

    /// An entry of the cache, past the file; counted as a hit or a miss.
    pub fn cached(&self, key: &[u8], now: f64) -> Option<Found> {
        let state = self.source.state();
        let mut cache = self.cache.lock();
        let found = cached(&mut cache, &state, key, now);
        cache.count_hits(u64::from(found.is_some()));
        cache.count_misses(u64::from(found.is_none()));
        found
    }

    /// Stores an entry for `ttl` milliseconds or the cache's own time.
    pub fn set_cached(&self, key: &[u8], value: Value, now: f64, ttl: Option<f64>) -> Option<Stamp> {
        let generation = self.source.state().generation;
        self.cache.lock().set(key, Cached { value, generation }, now, ttl, Rank::Lasting)
    }

    /// What a stamp names, and the last millisecond at which it holds; `None` if that is no longer stored.
    #[must_use]
    pub fn entry(&self, stamp: Stamp) -> Option<(Value, f64)> {
        self.cache.lock().by_stamp(stamp).map(|(_, entry)| (entry.value.value.clone(), entry.expires))
    }

    /// The bytes that the document and the cache occupy.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let document = self.source.state().read.as_ref().map_or(0, |read| read.document.bytes());
        document + self.cache.lock().bytes()
    }

    /// What it occupies is claimed by its users, each byte by one of them. Gives by how much the claim of one who has
    /// `claimed` so many changes.
    #[must_use]
    pub fn claim(&self, claimed: i64) -> i64 {
        let bytes = self.bytes().cast_signed() as i64;
        let mut all = self.claimed.lock();
        let change = (bytes - *all).max(-claimed);
        if change.abs() < CLAIM_STEP {
            return 0;
        }
        *all += change;
        change
    }

    /// Takes a claim back: others will make it.
    pub fn unclaim(&self, claimed: i64) {
        *self.claimed.lock() -= claimed;
    }

    /// The cache itself, for what needs neither the file nor the values.
    pub fn with_cache<T>(&self, f: impl FnOnce(&mut Cache<Cached>) -> T) -> T {
        f(&mut self.cache.lock())
    }
}

fn make_folder(settings: &Settings) -> Result<()> {
    settings
        .data_file
        .parent()
        .map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(|e| Error::system("make the folder", folder, &e)))
}

/// The stored entry, compared with the file as it was last read: if that holds something else by now, it holds that.
fn cached(cache: &mut Cache<Cached>, state: &State, key: &[u8], now: f64) -> Option<Found> {
    let entry = cache.get(key, now)?;
    if entry.value.generation != state.generation {
        let object = state.read.as_ref().and_then(|read| read.document.get(key));
        let same = match (&entry.value.value, object) {
            (Value::Record(old), Some(new)) => **old == *new,
            (Value::Unknown, None) => true,
            _ => false,
        };
        if !same {
            return Some(store(cache, state, key, object, now));
        }
        entry.value.generation = state.generation;
    }
    Some(if matches!(entry.value.value, Value::Unknown) { Found::Unknown } else { Found::Entry(entry.stamp()) })
}

/// Stores what the file holds for a key. A key that does not exist may find no room, which changes nothing about it.
fn store(cache: &mut Cache<Cached>, state: &State, key: &[u8], object: Option<&str>, now: f64) -> Found {
    let (value, rank) =
        object.map_or((Value::Unknown, Rank::Transient), |object| (Value::Record(object.into()), Rank::Lasting));
    let stamp = cache.set(key, Cached { value, generation: state.generation }, now, None, rank);
    match (object, stamp) {
        (Some(_), Some(stamp)) => Found::Entry(stamp),
        _ => Found::Unknown,
    }
}

#[cfg(all(test, unix))]
#[path = "ledger_tests.rs"]
mod tests;
