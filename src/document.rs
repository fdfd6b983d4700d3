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
        let mut spans = Vec::with_capacity(self.spans.len());
        let mut read = 0;
        let mut rest = text;
        for span in &self.spans {
            rest = rest.strip_prefix(&self.text[read..span.start])?;
            let start = text.len() - rest.len();
            let object = &self.text[span.clone()];
            rest = if let Some(behind) = rest.strip_prefix(object) {
                behind
            } else {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
                let value = values.next()?.ok()?.get();
                if key_of(value)? != key_of(object)? {
                    return None;
                }
                rest.strip_prefix(value)?
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
    struct Key<'a>(Option<&'a str>);
    impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Fields;
            impl<'de> Visitor<'de> for Fields {
                type Value = Option<&'de str>;
                fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut key = None;
                    while let Some(name) = map.next_key::<Text>()? {
                        if &*name.0 == b"key" {
                            key = Some(map.next_value::<&RawValue>()?.get());
                        } else {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    Ok(key)
                }
            }
            deserializer.deserialize_map(Fields).map(Key)
        }
    }
    serde_json::from_str::<Key>(object).ok()?.0.and_then(text::decode)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(text.as_bytes().to_vec()).expect("a data file")
    }

    fn fault(text: &[u8]) -> String {
        Document::parse(text.to_vec()).expect_err("no data file")
    }

    #[test]
    fn finds_the_first_object_of_each_key() {
        let document = parse(r#"{"top": {"keys": 1}, "keys": [{"key":"a","n":1}, {"n":2,"key":"b"}, {"key":"a"}]}"#);
        assert_eq!(document.get(b"a"), Some(r#"{"key":"a","n":1}"#));
        assert_eq!(document.get(b"b"), Some(r#"{"n":2,"key":"b"}"#));
        assert_eq!(document.get(b"c"), None);
        assert_eq!(document.first(1), [b"a"]);
        assert_eq!(document.first(9), [b"a", b"b"]);
    }

    #[test]
    fn reads_keys_as_json_parse_does() {
        let document = parse(
            r#"{"keys":[{"key":"\u0061\ud83e\udd80"},{"\u006bey":"b"},{"key":"x","key":"c"},{"key":"\ud800"},{"key":""}]}"#,
        );
        for key in ["a🦀".as_bytes(), b"b", b"c", b"\xed\xa0\x80", b""] {
            assert!(document.get(key).is_some(), "{key:?}");
        }
        assert!(document.get(b"x").is_none());
    }

    #[test]
    fn passes_over_what_has_no_key() {
        let document = parse(r#"{"keys":[null,1,"a",[],{},{"key":1},{"key":null},{"key":"a"}]}"#);
        assert_eq!(document.first(9), [b"a"]);
    }

    #[test]
    fn keeps_a_byte_order_mark() {
        let document = parse("\u{feff}{\"keys\":[{\"key\":\"a\"}]}");
        assert_eq!(document.get(b"a"), Some(r#"{"key":"a"}"#));
        assert!(document.text().starts_with('\u{feff}') && document.json().starts_with('{'));
    }

    #[test]
    fn takes_any_depth() {
        let deep = format!(r#"{{"x":{}{},"keys":[{{"key":"a"}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).get(b"a").is_some());
    }

    #[test]
    fn an_update_that_only_changes_objects_shares_the_index() {
        let document = parse(r#"{"keys":[{"key":"a","n":1}, {"key":"b"}, {"key":"a"}]}"#);
        let update = |text: &str| document.updated(text.into()).expect("a data file");
        let updated = update(r#"{"keys":[{"key":"a","n":23}, {"x":[1],"key":"b"}, {"key":"a"}]}"#);
        assert!(Arc::ptr_eq(&updated.index, &document.index));
        assert_eq!(
            (updated.get(b"a"), updated.get(b"b")),
            (Some(r#"{"key":"a","n":23}"#), Some(r#"{"x":[1],"key":"b"}"#))
        );
        for other in [
            r#"{"keys":[{"key":"c","n":1}, {"key":"b"}, {"key":"a"}]}"#,
            r#"{"keys":[ {"key":"a","n":1}, {"key":"b"}, {"key":"a"}]}"#,
            r#"{"keys":[{"key":"a","n":1}, {"key":"b"}, {"key":"c"}]}"#,
            r#"{"keys":[{"key":"a","n":1}, {"key":"b"}, {"key":"a"}],"x":1}"#,
            r#"{"keys":[{"key":"a","n":1}]}"#,
        ] {
            let updated = update(other);
            assert!(!Arc::ptr_eq(&updated.index, &document.index), "{other}");
            assert_eq!(updated.index, parse(other).index);
            assert_eq!(updated.spans, parse(other).spans);
        }
    }

    #[test]
    fn tells_what_is_wrong_and_where_but_not_what_stands_there() {
        assert_eq!(fault(b""), "it is empty");
        assert_eq!(fault(b" \n"), "it is empty");
        assert_eq!(fault(b"{\"keys\":[\xff]}"), "byte 10 is not UTF-8 text");
        assert!(fault(b"{\"keys\":[\n{]}").contains("line 2 column 2"));
        assert!(fault(b"{\"keys\":[]} x").contains("line 1 column 13"));
        assert!(fault(b"{\"a\n\":1,\"keys\":[]}").contains("control character"));
        assert!(Document::parse(br#"{"a\n":1,"keys":[]}"#.to_vec()).is_ok());
        for text in ["{}", "[]", "null", r#""sk-secret""#, r#"{"keys":"sk-secret"}"#, r#"{"keys":{"key":"sk-secret"}}"#]
        {
            let fault = fault(text.as_bytes());
            assert!(fault.contains("array `keys`") && !fault.contains("secret"), "{fault}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A later version is split as if the earlier one had not been known.
        #[test]
        fn an_updated_document_is_what_its_text_says(
            objects in proptest::collection::vec((0_u8..6, "[ \n\t]{0,3}", "[a-zé🦀]{0,8}"), 0..8),
            edits in proptest::collection::vec((0_usize..8, 0_u8..6, "[ ]{0,2}", "[a-z🦀]{0,4}"), 0..3),
            cut in proptest::option::of(0_usize..200),
        ) {
            let print = |objects: &[(u8, String, String)]| {
                let item = |(key, space, value): &(u8, String, String)| {
                    format!("{space}{{\"key\":\"{key}\",\"v\":\"{value}\"}}")
                };
                format!("{{\"keys\": [{}]}}\n", objects.iter().map(item).collect::<Vec<_>>().join(","))
            };
            let document = parse(&print(&objects));
            let mut edited = objects;
            for (number, key, space, value) in edits {
                if let Some(object) = edited.get_mut(number) {
                    *object = (key, space, value);
                }
            }
            let mut bytes = print(&edited).into_bytes();
            bytes.truncate(cut.unwrap_or(bytes.len()));
            match (document.updated(bytes.clone()), Document::parse(bytes)) {
                (Ok(updated), Ok(parsed)) => {
                    prop_assert_eq!(&updated.spans, &parsed.spans);
                    prop_assert_eq!(&updated.index, &parsed.index);
                    prop_assert_eq!(&updated.text, &parsed.text);
                }
                (updated, parsed) => prop_assert_eq!(updated.err(), parsed.err()),
            }
        }

        /// Replacing objects gives the document that one would get by parsing the replaced text.
        #[test]
        fn a_changed_document_is_what_its_text_says(
            objects in proptest::collection::vec((0_u8..6, "[ \n\t]{0,3}", "[a-zé🦀]{0,8}"), 0..12),
            changes in proptest::collection::btree_map(0_usize..6, "[a-z🦀]{0,20}", 0..6),
        ) {
            let object = |key: u8, value: &str| format!("{{\"key\":\"{key}\",\"v\":\"{value}\"}}");
            let items: Vec<String> =
                objects.iter().map(|(key, space, value)| format!("{space}{}{space}", object(*key, value))).collect();
            let document = parse(&format!("{{\"a\": 1, \"keys\": [{}], \"z\": []}}\n", items.join(",")));
            let keys = document.first(usize::MAX);
            let changes: Vec<(usize, String)> = changes
                .into_iter()
                .filter(|(position, _)| *position < keys.len())
                .map(|(position, value)| (position, object(keys[position][0] - b'0', &value)))
                .collect();

            let changed = document.with(&changes);
            let parsed = parse(changed.text());
            prop_assert_eq!(&changed.spans, &parsed.spans);
            prop_assert_eq!(&changed.index, &parsed.index);
            for (position, text) in &changes {
                prop_assert_eq!(changed.object(*position), text);
            }
            for position in (0..keys.len()).filter(|position| changes.iter().all(|change| change.0 != *position)) {
                prop_assert_eq!(changed.object(position), document.object(position));
            }
        }
    }
}
