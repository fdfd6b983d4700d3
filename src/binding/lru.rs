//! The order, the expiry and the counters of an `LRUCacheImpl`; its values stay in JavaScript.

use napi_derive::napi;
use parking_lot::Mutex;

use super::key::Key;
use crate::cache::{Cache, Rank};

/// A cache of stamps. `0` stands for no entry.
#[napi]
pub struct Lru(Mutex<Cache<()>>);

#[napi]
impl Lru {
    #[napi(constructor, catch_unwind)]
    pub fn new(max_size: u32, ttl: f64) -> Self {
        Self(Mutex::new(Cache::new(max_size, ttl)))
    }

    #[napi(catch_unwind)]
    pub fn get(&self, key: Key, now: f64) -> f64 {
        let mut cache = self.0.lock();
        let stamp = cache.get(&key, now).map_or(0, |entry| entry.stamp());
        cache.count_hits(u64::from(stamp != 0));
        cache.count_misses(u64::from(stamp == 0));
        stamp as f64
    }

    #[napi(catch_unwind)]
    pub fn has(&self, key: Key, now: f64) -> bool {
        self.0.lock().has(&key, now)
    }

    #[napi(catch_unwind)]
    pub fn set(&self, key: Key, now: f64, ttl: Option<f64>) -> f64 {
        self.0.lock().set(&key, (), now, ttl, Rank::Lasting).map_or(0.0, |stamp| stamp as f64)
    }

    #[napi(catch_unwind)]
    pub fn delete(&self, key: Key) -> f64 {
        self.0.lock().remove(&key).map_or(0.0, |stamp| stamp as f64)
    }

    #[napi(catch_unwind)]
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    #[napi(catch_unwind)]
    pub fn size(&self) -> u32 {
        self.0.lock().len() as u32
    }

    #[napi(catch_unwind)]
    pub fn hits(&self) -> f64 {
        self.0.lock().counters().0 as f64
    }

    #[napi(catch_unwind)]
    pub fn misses(&self) -> f64 {
        self.0.lock().counters().1 as f64
    }

    #[napi(catch_unwind)]
    pub fn reset_counters(&self) {
        self.0.lock().reset_counters();
    }
}
