//! The text of the data file, and where in it the object of each key lies.
//!
//! Nothing here is parsed further than that: what the file holds and how it is written belongs to its owner.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::text::{self, Text};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The data file as it was at one time.
#[derive(Debug, Default)]
pub struct Document {
    text: String,
    /// Where the objects lie, in the order of the file.
    spans: Vec<Range<usize>>,
    /// Key to its number in `spans`. Shared by all documents with the same keys in the same places.
    index: Arc<HashMap<Box<[u8]>, usize, RandomState>>,
}

impl Document {
    /// Splits the text of a data file.
    ///
    /// # Errors
    ///
    /// Tells what keeps it from being a data file, and where.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let text = String::from_utf8(bytes)
            .map_err(|e| format!("byte {} is not UTF-8 text", e.utf8_error().valid_up_to() + 1))?;
        if text.trim_ascii().is_empty() {
            return Err("it is empty".into());
        }
        let json = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let file = serde_json::from_str::<File>(json).map_err(|e| match e.classify() {
            // Its own words would show what stands there: a key, perhaps.
            Category::Data => {
                format!("it is no object with an array `keys`, at line {} column {}", e.line(), e.column())
            }
            _ => e.to_string(),
        })?;
        if file.doubtful {
            serde_json::from_str::<IgnoredAny>(json).map_err(|e| e.to_string())?;
        }
        let offset = json.as_ptr() as usize;
        let mark = text.len() - json.len();
        let mut spans = Vec::with_capacity(file.objects.len());
        let mut index = HashMap::with_capacity(file.objects.len());
        for (key, object) in file.objects {
            let start = object.as_ptr() as usize - offset + mark;
            if let Entry::Vacant(place) = index.entry(key.into_owned().into_boxed_slice()) {
                place.insert(spans.len());
                spans.push(start..start + object.len());
            }
        }
        Ok(Self { text, spans, index: Arc::new(index) })
    }

    /// Splits the text of a data file of which this is an earlier version. Much faster where little but the objects of some
    /// keys has changed.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`].
    pub fn updated(&self, bytes: Vec<u8>) -> Result<Self, String> {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => return Self::parse(e.into_bytes()),
        };
        match self.spans_in(&text) {
            Some(spans) => Ok(Self { text, spans, index: Arc::clone(&self.index) }),
            None => Self::parse(text.into_bytes()),
        }
    }

    /// Where the objects lie in a text that differs from this one in nothing but objects, each of which still has its key.
    fn spans_in(&self, text: &str) -> Option<Vec<Range<usize>>> {
        if self.spans.is_empty() {
            // It may be no document at all, but that of a file that did not exist.
            return None;
        }
        let mut spans = Vec::with_capacity(self.spans.len());
        let mut read = 0;
        let mut rest = text;
        for (position, span) in self.spans.iter().enumerate() {
            rest = rest.strip_prefix(&self.text[read..span.start])?;
            let start = text.len() - rest.len();
            let object = &self.text[span.clone()];
            rest = if let Some(behind) = rest.strip_prefix(object) {
                behind
            } else {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Key>();
                let key = values.next()?.ok()?;
                let end = values.byte_offset();
                if key.doubtful || !rest.starts_with('{') || self.position(&key.decode()?) != Some(position) {
                    return None;
                }
                &rest[end..]
            };
            spans.push(start..text.len() - rest.len());
            read = span.end;
        }
        (*rest == self.text[read..]).then_some(spans)
    }

    /// The whole text; empty when there is no file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text without a byte order mark, which `JSON.parse` does not take.
    #[must_use]
    pub fn json(&self) -> &str {
        self.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.text)
    }

    /// The number of the first object that has this key.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The text of an object, by its number.
    #[must_use]
    pub fn object(&self, position: usize) -> &str {
        &self.text[self.spans[position].clone()]
    }

    /// The text of the first object that has this key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&str> {
        self.position(key).map(|position| self.object(position))
    }

    /// The first keys, in the order of the file.
    #[must_use]
    pub fn first(&self, limit: usize) -> Vec<&[u8]> {
        let mut found: Vec<_> = self.index.iter().filter(|(_, position)| **position < limit).collect();
        found.sort_unstable_by_key(|(_, position)| **position);
        found.into_iter().map(|(key, _)| &**key).collect()
    }

    /// The same document with other texts for some objects: numbers, ascending, with their new texts.
    #[must_use]
    pub fn with(&self, changes: &[(usize, String)]) -> Self {
        let growth: usize = changes.iter().map(|(_, text)| text.len()).sum();
        let mut text = String::with_capacity(self.text.len() + growth);
        let mut spans = Vec::with_capacity(self.spans.len());
        let mut changes = changes.iter().peekable();
        let mut copied = 0;
        for (position, span) in self.spans.iter().enumerate() {
            let change = changes.next_if(|(number, _)| *number == position);
            if let Some((_, object)) = change {
                text.push_str(&self.text[copied..span.start]);
                spans.push(text.len()..text.len() + object.len());
                text.push_str(object);
                copied = span.end;
            } else {
                // What was not copied yet will come right behind what was.
                let start = text.len() + (span.start - copied);
                spans.push(start..start + span.len());
            }
        }
        text.push_str(&self.text[copied..]);
        Self { text, spans, index: Arc::clone(&self.index) }
    }
}

/// What a data file is: an object with an array `keys`.
struct File<'a> {
    objects: Vec<(Cow<'a, [u8]>, &'a str)>,
    /// Whether a field's name holds a control character. JSON wants it escaped, but `serde_json` lets it pass in what it
    /// reads as bytes.
    doubtful: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for File<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = File<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with an array `keys`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut objects = None;
                let mut doubtful = false;
                while let Some(name) = map.next_key::<Text>()? {
                    doubtful |= name.0.iter().any(u8::is_ascii_control);
                    if &*name.0 == b"keys" {
                        objects = Some(map.next_value_seed(Keys)?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                let objects = objects.ok_or_else(|| A::Error::custom("it has no array `keys`"))?;
                Ok(File { objects, doubtful })
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// The array `keys`: the objects in it that have a key. Anything else in it is passed over.
struct Keys;

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = Vec<(Cow<'de, [u8]>, &'de str)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<(Cow<'de, [u8]>, &'de str)>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array as `keys`")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(value) = seq.next_element::<&RawValue>()? {
            if let Some(key) = key_of(value.get()) {
                found.push((key, value.get()));
            }
        }
        Ok(found)
    }
}

/// The `key` of an object, as `JSON.parse` would see it: of two fields with that name the last counts.
fn key_of(object: &str) -> Option<Cow<'_, [u8]>> {
    serde_json::from_str::<Key>(object).ok()?.decode()
}

/// Of an object, the text of its `key`.
struct Key<'a> {
    text: Option<&'a str>,
    /// See [`File::doubtful`].
    doubtful: bool,
}

impl<'a> Key<'a> {
    /// What it says; nothing where it is no string.
    fn decode(&self) -> Option<Cow<'a, [u8]>> {
        self.text.and_then(text::decode)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut key = Key { text: None, doubtful: false };
                while let Some(name) = map.next_key::<Text>()? {
                    key.doubtful |= name.0.iter().any(u8::is_ascii_control);
                    if &*name.0 == b"key" {
                        key.text = Some(map.next_value::<&RawValue>()?.get());
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(key)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
