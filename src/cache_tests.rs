//! The cache on a fake clock, against a list that does the same slowly.

use proptest::prelude::*;

use super::*;

impl Weigh for u32 {
    fn heap_bytes(&self) -> usize {
        *self as usize
    }
}

fn set(cache: &mut Cache<u32>, key: &str, value: u32, now: f64) -> Stamp {
    cache.set(key.as_bytes(), value, now, None, Rank::Lasting).expect("lasting entries find room")
}

fn get(cache: &mut Cache<u32>, key: &str, now: f64) -> Option<u32> {
    cache.get(key.as_bytes(), now).map(|entry| entry.value)
}

#[test]
fn the_time_to_live_does_not_slide() {
    let mut cache = Cache::new(2, 100.0);
    set(&mut cache, "a", 1, 0.0);
    assert_eq!(get(&mut cache, "a", 60.0), Some(1));
    assert_eq!(get(&mut cache, "a", 100.0), Some(1));
    assert_eq!(get(&mut cache, "a", 101.0), None);
    assert!(cache.is_empty());
}

#[test]
fn the_least_recently_used_goes() {
    let mut cache = Cache::new(2, 100.0);
    set(&mut cache, "a", 1, 0.0);
    set(&mut cache, "b", 2, 0.0);
    get(&mut cache, "a", 0.0);
    set(&mut cache, "c", 3, 0.0);
    assert!(cache.has(b"a", 0.0) && !cache.has(b"b", 0.0) && cache.has(b"c", 0.0));
}

#[test]
fn looking_whether_it_is_there_does_not_count_as_use() {
    let mut cache = Cache::new(2, 100.0);
    set(&mut cache, "a", 1, 0.0);
    set(&mut cache, "b", 2, 0.0);
    assert!(cache.has(b"a", 0.0));
    set(&mut cache, "c", 3, 0.0);
    assert!(!cache.has(b"a", 0.0));
}

#[test]
fn transient_entries_never_take_the_room_of_lasting_ones() {
    let mut cache = Cache::new(2, 100.0);
    set(&mut cache, "a", 1, 0.0);
    assert!(cache.set(b"x", 0, 0.0, None, Rank::Transient).is_some());
    assert!(cache.set(b"y", 0, 0.0, None, Rank::Transient).is_some(), "in place of x");
    assert!(!cache.has(b"x", 0.0));
    set(&mut cache, "b", 2, 0.0);
    assert!(!cache.has(b"y", 0.0));
    assert!(cache.set(b"z", 0, 0.0, None, Rank::Transient).is_none());
    assert!(cache.has(b"a", 0.0) && cache.has(b"b", 0.0));
}

#[test]
fn a_stamp_is_not_given_twice() {
    let mut cache = Cache::new(1, 100.0);
    let first = set(&mut cache, "a", 1, 0.0);
    let second = set(&mut cache, "a", 1, 0.0);
    assert_ne!(first, second);
    assert!(cache.by_stamp(first).is_none());
    assert_eq!(cache.by_stamp(second).map(|(key, entry)| (key, entry.value)), Some((&b"a"[..], 1)));
}

#[test]
fn uses_elsewhere_reorder() {
    let mut cache = Cache::new(2, 100.0);
    let a = set(&mut cache, "a", 1, 0.0);
    let gone = a + 2;
    set(&mut cache, "b", 2, 0.0);
    cache.used([gone, a].into_iter());
    set(&mut cache, "c", 3, 0.0);
    assert!(cache.has(b"a", 0.0) && !cache.has(b"b", 0.0));
}

#[test]
fn a_huge_cache_costs_nothing_until_it_is_filled() {
    let mut cache = Cache::new(u32::MAX, f64::INFINITY);
    set(&mut cache, "a", 1, 0.0);
    assert_eq!(get(&mut cache, "a", f64::MAX), Some(1));
    cache.validate();
}

/// The same rules over a list, the most recently used last.
#[derive(Default)]
struct Model {
    entries: Vec<(u8, u32, f64, Rank)>,
}

impl Model {
    fn find(&mut self, key: u8, now: f64) -> Option<usize> {
        self.entries.retain(|entry| entry.0 != key || now <= entry.2);
        self.entries.iter().position(|entry| entry.0 == key)
    }
    fn get(&mut self, key: u8, now: f64) -> Option<u32> {
        let place = self.find(key, now)?;
        let entry = self.entries.remove(place);
        self.entries.push(entry);
        Some(entry.1)
    }
    fn set(&mut self, key: u8, value: u32, expires: f64, rank: Rank, max_size: usize) -> bool {
        self.entries.retain(|entry| entry.0 != key);
        if self.entries.len() >= max_size {
            let place = self.entries.iter().position(|entry| entry.3 == Rank::Transient);
            match place {
                Some(place) => self.entries.remove(place),
                None if rank == Rank::Transient => return false,
                None => self.entries.remove(0),
            };
        }
        self.entries.push((key, value, expires, rank));
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Has(u8),
    Set(u8, u32, Option<u8>, bool),
    Remove(u8),
    Clear,
    Wait(u8),
    Used(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0_u8..12;
    let step = prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        2 => key.clone().prop_map(Step::Has),
        6 => (key.clone(), any::<u32>(), proptest::option::of(0_u8..60), any::<bool>())
            .prop_map(|(key, value, ttl, transient)| Step::Set(key, value, ttl, transient)),
        2 => key.clone().prop_map(Step::Remove),
        1 => Just(Step::Clear),
        3 => (0_u8..40).prop_map(Step::Wait),
        2 => proptest::collection::vec(key, 0..4).prop_map(Step::Used),
    ];
    proptest::collection::vec(step, 1..if cfg!(miri) { 25 } else { 200 })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_list_does(max_size in 1_u32..8, steps in steps()) {
        let mut cache = Cache::new(max_size, 50.0);
        let mut model = Model::default();
        let mut now = 1000.0;
        for step in steps {
            match step {
                Step::Get(key) => {
                    prop_assert_eq!(cache.get(&[key], now).map(|entry| entry.value), model.get(key, now));
                }
                Step::Has(key) => prop_assert_eq!(cache.has(&[key], now), model.find(key, now).is_some()),
                Step::Set(key, value, ttl, transient) => {
                    let rank = if transient { Rank::Transient } else { Rank::Lasting };
                    let ttl = ttl.map(f64::from);
                    let stored = model.set(key, value, now + ttl.unwrap_or(50.0), rank, max_size as usize);
                    prop_assert_eq!(cache.set(&[key], value, now, ttl, rank).is_some(), stored);
                }
                Step::Remove(key) => {
                    let there = model.entries.iter().any(|entry| entry.0 == key);
                    model.entries.retain(|entry| entry.0 != key);
                    prop_assert_eq!(cache.remove(&[key]).is_some(), there);
                }
                Step::Clear => {
                    cache.clear();
                    model.entries.clear();
                }
                Step::Wait(ms) => now += f64::from(ms),
                Step::Used(keys) => {
                    let mut stamps = Vec::new();
                    for key in keys {
                        if let Some(place) = model.entries.iter().position(|entry| entry.0 == key) {
                            let entry = model.entries.remove(place);
                            model.entries.push(entry);
                            stamps.extend(cache.lasting.peek(&[key][..]).or(cache.transient.peek(&[key][..])).map(Entry::stamp));
                        }
                    }
                    cache.used(stamps.into_iter());
                }
            }
            cache.validate();
            prop_assert_eq!(cache.len(), model.entries.len());
        }
    }
}

#[test]
fn counts_what_it_is_told() {
    let mut cache = Cache::<u32>::new(2, 100.0);
    cache.count_hits(2);
    cache.count_misses(3);
    set(&mut cache, "a", 1, 0.0);
    cache.clear();
    assert_eq!(cache.counters(), (2, 3));
    set(&mut cache, "a", 1, 0.0);
    cache.reset_counters();
    assert_eq!((cache.counters(), cache.len()), ((0, 0), 1));
}
