//! A least-recently-used cache whose entries live for a limited time.
//!
//! The clock is passed in: `now` is milliseconds on the caller's clock. A stored entry is named by its *stamp*, a
//! number that JavaScript can hold: `slot + stride * fills`, where `slot` is the entry's place, below `stride`, and
//! `fills` counts how often that place was filled. A stamp is never given twice, so who holds one can tell whether the
//! entry is still the same; and since places are reused, who keeps something by slot keeps no more than the cache.

use std::collections::hash_map::RandomState;
use std::sync::Arc;

use lru::LruCache;

/// Names one stored entry. At least 1; whole and at most 2^53, hence exact as an `f64`.
pub type Stamp = u64;

const STAMP_LIMIT: u64 = 1 << 53;

/// What an entry takes beside itself: in the list its key and two links, in the table two pointers, and the counts of the
/// shared key.
const ENTRY_SIZE: usize = size_of::<Key>() + 6 * size_of::<usize>();

/// How an entry stands when room is needed: transient ones go first, and never take the room of lasting ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The ordinary kind.
    Lasting,
    /// What anybody can make up: a key that does not exist.
    Transient,
}

impl Rank {
    /// Which of two it is.
    fn of<P>(self, lasting: P, transient: P) -> P {
        match self {
            Self::Lasting => lasting,
            Self::Transient => transient,
        }
    }
}

/// A stored value.
#[derive(Debug)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    /// The last millisecond at which the entry holds.
    pub expires: f64,
    stamp: Stamp,
}

impl<V> Entry<V> {
    /// The entry's name.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// What can tell how much it occupies.
pub trait Weigh {
    /// The bytes that it occupies beside its own size.
    fn heap_bytes(&self) -> usize;
}

impl Weigh for () {
    fn heap_bytes(&self) -> usize {
        0
    }
}

type Key = Arc<[u8]>;
type Part<V> = LruCache<Key, Entry<V>, RandomState>;

#[derive(Debug, Default)]
struct Slot {
    fills: u64,
    holds: Option<(Rank, Key)>,
}

/// The cache. Not synchronised: its owner guards it.
#[derive(Debug)]
pub struct Cache<V> {
    lasting: Part<V>,
    transient: Part<V>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    max_size: usize,
    ttl: f64,
    hits: u64,
    misses: u64,
    /// Bytes of the keys and of what the values occupy beside their own size.
    heap: usize,
}

impl<V: Weigh> Cache<V> {
    /// A cache of at most `max_size` entries (at least 1), each of which holds for `ttl` milliseconds.
    #[must_use]
    pub fn new(max_size: u32, ttl: f64) -> Self {
        let part = || LruCache::unbounded_with_hasher(RandomState::new());
        Self {
            lasting: part(),
            transient: part(),
            slots: Vec::new(),
            free: Vec::new(),
            max_size: max_size.max(1) as usize,
            ttl,
            hits: 0,
            misses: 0,
            heap: 0,
        }
    }

    /// The entry, as the most recently used one. An expired one is removed. Counts nothing.
    pub fn get(&mut self, key: &[u8], now: f64) -> Option<&mut Entry<V>> {
        let rank = self.fresh(key, now)?;
        self.part(rank).get_mut(key)
    }

    /// Whether there is an entry that holds. Neither counts nor reorders; an expired one is removed.
    pub fn has(&mut self, key: &[u8], now: f64) -> bool {
        self.fresh(key, now).is_some()
    }

    /// The entry with this stamp, if it is still stored. Neither counts nor reorders.
    #[must_use]
    pub fn by_stamp(&self, stamp: Stamp) -> Option<(&[u8], &Entry<V>)> {
        let (rank, key) = self.slots.get(self.slot_of(stamp))?.holds.as_ref()?;
        let part = rank.of(&self.lasting, &self.transient);
        part.peek(key).filter(|entry| entry.stamp == stamp).map(|entry| (&**key, entry))
    }

    /// Stores a value as the most recently used entry, for `ttl` milliseconds or the cache's own time. `None` for a
    /// transient one that finds no room.
    pub fn set(&mut self, key: &[u8], value: V, now: f64, ttl: Option<f64>, rank: Rank) -> Option<Stamp> {
        let expires = now + ttl.unwrap_or(self.ttl);
        let stride = self.stride();
        let part = rank.of(&mut self.lasting, &mut self.transient);
        if let Some(entry) = part.get_mut(key) {
            // In its place: most entries that are set are refreshed by a commit.
            let slot = (entry.stamp % stride) as usize;
            self.heap = self.heap + value.heap_bytes() - entry.value.heap_bytes();
            *entry = Entry { value, expires, stamp: next_stamp(slot, &mut self.slots[slot].fills, stride) };
            return Some(entry.stamp);
        }
        self.remove(key);
        if self.len() >= self.max_size {
            let gone = self.transient.pop_lru();
            let gone = gone.or_else(|| if rank == Rank::Lasting { self.lasting.pop_lru() } else { None });
            let (key, entry) = gone?;
            self.release(&key, &entry);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let Slot { fills, holds } = &mut self.slots[slot];
        let stamp = next_stamp(slot, fills, stride);
        let key = Key::from(key);
        self.heap += key.len() + value.heap_bytes();
        *holds = Some((rank, Arc::clone(&key)));
        self.part(rank).push(key, Entry { value, expires, stamp });
        Some(stamp)
    }

    /// Removes an entry; gives its stamp.
    pub fn remove(&mut self, key: &[u8]) -> Option<Stamp> {
        let entry = self.lasting.pop(key).or_else(|| self.transient.pop(key))?;
        self.release(key, &entry);
        Some(entry.stamp)
    }

    /// Removes all entries and keeps the counters.
    pub fn clear(&mut self) {
        self.lasting.clear();
        self.transient.clear();
        self.heap = 0;
        self.free.clear();
        for (number, slot) in self.slots.iter_mut().enumerate().rev() {
            slot.holds = None;
            self.free.push(number);
        }
    }

    /// Takes note of entries that were used elsewhere, in the order in which they last were.
    pub fn used(&mut self, stamps: impl Iterator<Item = Stamp>) {
        let stride = self.stride();
        for stamp in stamps {
            let Some(Slot { fills, holds: Some((rank, key)) }) = self.slots.get((stamp % stride) as usize) else {
                continue;
            };
            if stamp / stride == *fills {
                rank.of(&mut self.lasting, &mut self.transient).promote(key);
            }
        }
    }

    /// Counts lookups that found their entry.
    pub fn count_hits(&mut self, hits: u64) {
        self.hits += hits;
    }

    /// Counts lookups that did not.
    pub fn count_misses(&mut self, misses: u64) {
        self.misses += misses;
    }

    /// Hits and misses so far.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// Sets the counters to zero.
    pub fn reset_counters(&mut self) {
        (self.hits, self.misses) = (0, 0);
    }

    /// Entries stored, expired ones that nobody asked for since included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lasting.len() + self.transient.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most entries that are stored.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.max_size
    }

    /// The bytes that it occupies, but for what the allocator adds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.len() * (ENTRY_SIZE + size_of::<Entry<V>>()) + self.slots.capacity() * size_of::<Slot>() + self.heap
    }

    fn stride(&self) -> u64 {
        self.max_size as u64
    }

    fn slot_of(&self, stamp: Stamp) -> usize {
        (stamp % self.stride()) as usize
    }

    fn part(&mut self, rank: Rank) -> &mut Part<V> {
        rank.of(&mut self.lasting, &mut self.transient)
    }

    /// Which part has the entry, if it still holds; removes it if it does not.
    fn fresh(&mut self, key: &[u8], now: f64) -> Option<Rank> {
        let (rank, entry) = match self.lasting.peek(key) {
            Some(entry) => (Rank::Lasting, entry),
            None => (Rank::Transient, self.transient.peek(key)?),
        };
        if now > entry.expires {
            self.remove(key);
            return None;
        }
        Some(rank)
    }

    fn release(&mut self, key: &[u8], entry: &Entry<V>) {
        self.heap -= key.len() + entry.value.heap_bytes();
        let slot = self.slot_of(entry.stamp);
        self.slots[slot].holds = None;
        self.free.push(slot);
    }

    /// Checks every invariant.
    ///
    /// # Panics
    ///
    /// When one does not hold.
    #[cfg(test)]
    fn validate(&self) {
        assert!(self.len() <= self.max_size);
        assert!(self.slots.len() <= self.max_size);
        assert_eq!(self.slots.len(), self.len() + self.free.len(), "each slot is held or free");
        for slot in &self.free {
            assert!(self.slots[*slot].holds.is_none());
        }
        for (rank, part) in [(Rank::Lasting, &self.lasting), (Rank::Transient, &self.transient)] {
            for (key, entry) in part {
                let slot = &self.slots[self.slot_of(entry.stamp)];
                let (held_rank, held_key) = slot.holds.as_ref().expect("a stored entry holds its slot");
                assert_eq!((held_rank, held_key), (&rank, key));
                assert_eq!(entry.stamp / self.stride(), slot.fills);
                assert!(entry.stamp > 0 && entry.stamp <= STAMP_LIMIT);
            }
        }
        let heap = [&self.lasting, &self.transient].into_iter().flatten();
        assert_eq!(self.heap, heap.map(|(key, entry)| key.len() + entry.value.heap_bytes()).sum::<usize>());
        for (key, _) in &self.transient {
            assert!(!self.lasting.contains(key), "a key is in one part");
        }
    }
}

/// The stamp of a slot that is filled once more.
fn next_stamp(slot: usize, fills: &mut u64, stride: u64) -> Stamp {
    *fills = *fills % (STAMP_LIMIT / stride - 1) + 1;
    slot as u64 + stride * *fills
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
