//! Which object of a document has which key.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The keys of a document (WTF-8), by their position, and the way back. The keys lie end to end and the table holds their
/// numbers, so a hundred thousand of them take a few allocations.
#[derive(Debug, Default)]
pub struct Index {
    keys: Vec<u8>,
    /// Where each key ends in `keys`.
    ends: Vec<usize>,
    positions: HashTable<usize>,
    /// Randomly seeded, but faster than it is hard to attack: who asks for keys puts none in here.
    hasher: DefaultHashBuilder,
}

impl Index {
    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes that it occupies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.capacity() + self.ends.capacity() * size_of::<usize>() + self.positions.allocation_size()
    }

    /// Adds a key at the next position. Gives whether it is new: the first of two that are the same counts.
    pub fn add(&mut self, key: &[u8]) -> bool {
        let Self { keys, ends, positions, hasher } = self;
        let hash = hasher.hash_one(key);
        if positions.find(hash, |position| at(keys, ends, *position) == key).is_some() {
            return false;
        }
        let position = ends.len();
        keys.extend_from_slice(key);
        ends.push(keys.len());
        positions.insert_unique(hash, position, |position| hasher.hash_one(at(keys, ends, *position)));
        true
    }

    /// Gives back what was allocated beyond what is there.
    pub fn shrink_to_fit(&mut self) {
        self.keys.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The position of a key.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.positions.find(self.hasher.hash_one(key), |position| self.key(*position) == key).copied()
    }

    /// The key at a position.
    #[must_use]
    pub fn key(&self, position: usize) -> &[u8] {
        at(&self.keys, &self.ends, position)
    }
}

fn at<'a>(keys: &'a [u8], ends: &[usize], position: usize) -> &'a [u8] {
    let start = position.checked_sub(1).map_or(0, |before| ends[before]);
    &keys[start..ends[position]]
}

#[cfg(test)]
impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        (&self.keys, &self.ends) == (&other.keys, &other.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_added_and_nothing_else() {
        let mut index = Index::default();
        let key = |number: usize| format!("{}{number}", "k".repeat(number % 7)).into_bytes();
        for number in 0..1000 {
            assert!(index.add(&key(number)));
            assert!(!index.add(&key(number)));
        }
        assert!(index.add(b""));
        for number in 0..1000 {
            assert_eq!(index.position(&key(number)), Some(number));
            assert_eq!(index.key(number), key(number));
        }
        assert_eq!((index.position(b""), index.len()), (Some(1000), 1001));
        assert_eq!(index.position(b"1000"), None);
    }
}
