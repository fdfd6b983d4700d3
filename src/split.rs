//! Goes through the text of a data file once. The punctuation of its two outer levels is read here, for only so is it known
//! where each object lies; all that lies between is `serde_json`'s.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::index::Index;
use crate::text;

/// In bytes: half a text that takes as long to split as some starts of a thread.
const LONG: usize = if cfg!(test) { 64 } else { 512 * 1024 };

/// What a data file holds: where the first object of each key lies, and at which position.
#[derive(Debug, Default)]
pub struct Objects {
    /// Where the objects lie, by position.
    pub spans: Vec<Range<usize>>,
    /// The positions of the keys.
    pub index: Index,
}

impl Objects {
    fn add(&mut self, key: &[u8], span: Range<usize>) {
        if self.index.add(key) {
            self.spans.push(span);
        }
    }

    fn append(&mut self, others: Self) {
        let mut spans = others.spans.into_iter();
        self.index.append(&others.index, |is_new| self.spans.extend(spans.next().filter(|_| is_new)));
    }
}

/// One element of the array.
pub struct Element<'a> {
    /// Its key (WTF-8), if it is an object that has one.
    pub key: Option<Cow<'a, [u8]>>,
    /// Where it lies.
    pub span: Range<usize>,
}

/// A place in a text that is being split.
#[derive(Clone)]
pub struct Split<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Split<'a> {
    /// Begins in the middle of a text.
    #[must_use]
    pub fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// How far it has come.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The objects in the array `keys`, and nothing behind the file's object; `None` if that is not so. Of two fields `keys`
    /// the last counts, as for `JSON.parse`.
    pub fn file(&mut self) -> Option<Objects> {
        let mut objects = None;
        self.take(b'{')?;
        if self.take(b'}').is_none() {
            loop {
                self.field(&mut objects)?;
                if self.take(b'}').is_some() {
                    break;
                }
                self.take(b',')?;
            }
        }
        self.peek().is_none().then_some(objects)?
    }

    fn field(&mut self, objects: &mut Option<Objects>) -> Option<()> {
        let name = self.value::<&RawValue>()?.get();
        if !name.starts_with('"') {
            return None;
        }
        self.take(b':')?;
        if says(name, r#""keys""#) {
            *objects = None;
            if self.peek()? == b'[' {
                *objects = Some(self.objects()?);
                return Some(());
            }
        }
        self.value::<IgnoredAny>().map(drop)
    }

    /// The objects of an array. Of a long one, another thread splits the second half: from where an element seems to begin,
    /// which counts only if this thread, having split all that lies before, comes to just that place.
    fn objects(&mut self) -> Option<Objects> {
        let mut objects = Objects::default();
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(objects);
        }
        let ahead = self.ahead();
        thread::scope(|scope| {
            let second_half = ahead.clone().and_then(|mut ahead| {
                let mut objects = Objects { index: objects.index.alike(), ..Objects::default() };
                let split = move || {
                    ahead.elements(None, &mut objects)?;
                    Some((objects, ahead.at))
                };
                thread::Builder::new().spawn_scoped(scope, split).ok()
            });
            let until = second_half.as_ref().and(ahead).map(|ahead| ahead.at);
            let is_end = self.elements(until, &mut objects)?;
            if !is_end {
                let (others, end) = second_half?.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                objects.append(others);
                self.at = end;
            }
            objects.index.shrink_to_fit();
            objects.spans.shrink_to_fit();
            Some(objects)
        })
    }

    /// Where, past the middle of a long text, an element seems to begin: after what separates the first two.
    fn ahead(&self) -> Option<Self> {
        let middle = self.at.midpoint(self.text.len());
        if middle - self.at < LONG {
            return None;
        }
        let mut ahead = self.clone();
        let end = ahead.element()?.span.end;
        ahead.take(b',')?;
        if ahead.peek()? != b'{' {
            return None;
        }
        let separator = &self.text[end - 1..=ahead.at];
        let (middle, rest) = (middle..middle + 4).find_map(|at| Some((at, self.text.get(at..)?)))?;
        ahead.at = middle + rest.find(separator)? + separator.len() - 1;
        Some(ahead)
    }

    /// The elements up to the end of the array, or until one begins at `until`. Gives whether it was the end.
    fn elements(&mut self, until: Option<usize>, objects: &mut Objects) -> Option<bool> {
        loop {
            self.peek()?;
            if until == Some(self.at) {
                return Some(false);
            }
            let Element { key, span } = self.element()?;
            if let Some(key) = key {
                objects.add(&key, span);
            }
            if self.take(b']').is_some() {
                return Some(true);
            }
            self.take(b',')?;
        }
    }

    /// The next element of the array.
    pub fn element(&mut self) -> Option<Element<'a>> {
        let is_object = self.peek()? == b'{';
        let start = self.at;
        let key = if is_object { self.value::<Key>()?.0 } else { self.value::<IgnoredAny>().map(|_| None)? };
        Some(Element { key, span: start..self.at })
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter::<T>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}

/// The `key` of an object, as `JSON.parse` would see it: of two fields with that name the last counts, and a value of
/// another kind is none.
struct Key<'a>(Option<Cow<'a, [u8]>>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut key = None;
                // Raw, since `serde_json` lets control characters pass in what it reads as bytes.
                while let Some(name) = map.next_key::<&RawValue>()? {
                    if says(name.get(), r#""key""#) {
                        key = text::decode(map.next_value::<&RawValue>()?.get());
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Key(key))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Whether a JSON string says the same as this one, which has no escapes. Most begin with another letter.
fn says(json: &str, plain: &str) -> bool {
    let first = json.as_bytes()[1];
    let may = first == plain.as_bytes()[1] || first == b'\\';
    may && (json == plain || (json.contains('\\') && text::decode(json) == text::decode(plain)))
}
