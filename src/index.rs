//! Which object of a document has which key.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The keys of a document (WTF-8), by their position, and the way back. The keys lie end to end and the table holds their
/// numbers, so a hundred thousand of them take a few allocations.
#[derive(Debug, Default)]
pub struct Index {
    keys: Vec<u8>,
    places: Vec<Place>,
    positions: HashTable<usize>,
    /// Randomly seeded, but faster than it is hard to attack: who asks for keys puts none in here.
    hasher: DefaultHashBuilder,
}

/// What is known of a key, by its position.
#[derive(Debug)]
struct Place {
    /// Where it ends in `keys`.
    end: usize,
    hash: u64,
}

impl Index {
    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes that it occupies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.capacity() + self.places.capacity() * size_of::<Place>() + self.positions.allocation_size()
    }

    /// An empty one that can be appended to this one.
    #[must_use]
    pub fn alike(&self) -> Self {
        Self { hasher: self.hasher.clone(), ..Self::default() }
    }

    /// Adds a key at the next position. Gives whether it is new: the first of two that are the same counts.
    pub fn add(&mut self, key: &[u8]) -> bool {
        self.add_hashed(key, self.hasher.hash_one(key))
    }

    /// Adds the keys of another one, which is alike, and tells of each whether it is new.
    pub fn append(&mut self, other: &Self, mut tell: impl FnMut(bool)) {
        self.positions.reserve(other.len(), |position| self.places[*position].hash);
        for (position, place) in other.places.iter().enumerate() {
            tell(self.add_hashed(other.key(position), place.hash));
        }
    }

    fn add_hashed(&mut self, key: &[u8], hash: u64) -> bool {
        if self.find(key, hash).is_some() {
            return false;
        }
        let position = self.places.len();
        self.keys.extend_from_slice(key);
        self.places.push(Place { end: self.keys.len(), hash });
        self.positions.insert_unique(hash, position, |position| self.places[*position].hash);
        true
    }

    /// Gives back what was allocated beyond what is there.
    pub fn shrink_to_fit(&mut self) {
        self.keys.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    /// The position of a key.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.find(key, self.hasher.hash_one(key))
    }

    fn find(&self, key: &[u8], hash: u64) -> Option<usize> {
        self.positions.find(hash, |position| self.key(*position) == key).copied()
    }

    /// The key at a position.
    #[must_use]
    pub fn key(&self, position: usize) -> &[u8] {
        let start = position.checked_sub(1).map_or(0, |before| self.places[before].end);
        &self.keys[start..self.places[position].end]
    }
}

#[cfg(test)]
impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        let ends = |index: &Self| index.places.iter().map(|place| place.end).collect::<Vec<_>>();
        self.keys == other.keys && ends(self) == ends(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_added_and_nothing_else() {
        let count = if cfg!(miri) { 100 } else { 1000 };
        let mut index = Index::default();
        let key = |number: usize| format!("{}{number}", "k".repeat(number % 7)).into_bytes();
        for number in 0..count {
            assert!(index.add(&key(number)));
            assert!(!index.add(&key(number)));
        }
        assert!(index.add(b""));
        for number in 0..count {
            assert_eq!(index.position(&key(number)), Some(number));
            assert_eq!(index.key(number), key(number));
        }
        assert_eq!((index.position(b""), index.len()), (Some(count), count + 1));
        assert_eq!(index.position(b"1000"), None);
    }
}
