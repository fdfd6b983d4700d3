//! The text of the data file, and where in it the object of each key lies.
//!
//! Nothing here is parsed further than that: what the file holds and how it is written belongs to its owner.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::de::IgnoredAny;

use crate::buffer::{Buffer, TextBuffer};
use crate::index::Index;
use crate::split::{Element, Objects, Split};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The data file as it was at one time.
#[derive(Debug, Default)]
pub struct Document {
    text: TextBuffer,
    /// Where the objects lie, in the order of the file.
    spans: Vec<Range<usize>>,
    /// Key to its number in `spans`. Shared by all documents with the same keys in the same places.
    index: Arc<Index>,
}

impl Document {
    /// Splits the text of a data file.
    ///
    /// # Errors
    ///
    /// Tells what keeps it from being a data file, and where.
    pub fn parse(bytes: Buffer) -> Result<Self, String> {
        Self::of(text_of(bytes)?)
    }

    /// The same of what is known to be text.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`].
    pub fn of(text: TextBuffer) -> Result<Self, String> {
        if text.trim_ascii().is_empty() {
            return Err("it is empty".into());
        }
        let mut split = Split::new(&text, mark_of(&text).len());
        let Some(Objects { spans, index }) = split.file() else { return Err(fault(&text, split.at())) };
        Ok(Self { text, spans, index: Arc::new(index) })
    }

    /// Splits the text of a data file of which this is an earlier version. Much faster where little but the objects of some
    /// keys has changed.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`].
    pub fn updated(&self, bytes: Buffer) -> Result<Self, String> {
        let text = text_of(bytes)?;
        match self.spans_in(&text) {
            Some(spans) => Ok(Self { text, spans, index: Arc::clone(&self.index) }),
            None => Self::of(text),
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
                let Element { key, span } = Split::new(text, start).element()?;
                if span.start != start || self.position(&key?) != Some(position) {
                    return None;
                }
                &text[span.end..]
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
        &self.text[mark_of(&self.text).len()..]
    }

    /// The bytes that it occupies, with the index that it may share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<Range<usize>>() + self.index.bytes()
    }

    /// The number of the first object that has this key.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.index.position(key)
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
        (0..limit.min(self.index.len())).map(|position| self.index.key(position)).collect()
    }

    /// The same document with other texts for some objects: numbers, ascending, with their new texts.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    pub fn with(&self, changes: &[(usize, String)]) -> io::Result<Self> {
        let growth: usize = changes.iter().map(|(_, text)| text.len()).sum();
        let mut text = TextBuffer::with_capacity(self.text.len() + growth)?;
        let mut spans = Vec::with_capacity(self.spans.len());
        let mut changes = changes.iter().peekable();
        let mut copied = 0;
        for (position, span) in self.spans.iter().enumerate() {
            let change = changes.next_if(|(number, _)| *number == position);
            if let Some((_, object)) = change {
                text.push_str(&self.text[copied..span.start])?;
                spans.push(text.len()..text.len() + object.len());
                text.push_str(object)?;
                copied = span.end;
            } else {
                // What was not copied yet will come right behind what was.
                let start = text.len() + (span.start - copied);
                spans.push(start..start + span.len());
            }
        }
        text.push_str(&self.text[copied..])?;
        Ok(Self { text, spans, index: Arc::clone(&self.index) })
    }
}

fn text_of(bytes: Buffer) -> Result<TextBuffer, String> {
    TextBuffer::from_utf8(bytes).map_err(|e| format!("byte {} is not UTF-8 text", e.valid_up_to() + 1))
}

/// The byte order mark, if there is one.
fn mark_of(text: &str) -> &str {
    if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK } else { "" }
}

/// What keeps a text from being a data file, if it was found out at this place.
fn fault(text: &str, at: usize) -> String {
    if let Err(e) = serde_json::from_str::<IgnoredAny>(&text[mark_of(text).len()..]) {
        return e.to_string();
    }
    let line = text[..at].split('\n').count();
    let column = text[..at].rsplit('\n').next().map_or(0, str::len) + 1;
    format!("it is no object with an array `keys`, at line {line} column {column}")
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
