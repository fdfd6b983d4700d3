//! A batch of deltas becomes the next text of the data file.
//!
//! Deltas, never snapshots: they are applied to whatever the file holds by then, so nobody's edit is undone.

use std::collections::BTreeMap;

use crate::document::Document;
use crate::record::record;
use crate::usage::Use;

/// One use of one key (WTF-8).
#[derive(Clone, Debug)]
pub struct Delta {
    /// The key.
    pub key: Box<[u8]>,
    /// What was used, and when.
    pub used: Use,
}

/// What a batch makes of a document.
#[derive(Debug)]
pub struct Applied<'a> {
    /// The document after it.
    pub document: Document,
    /// The keys whose objects changed.
    pub changed: Vec<&'a [u8]>,
}

/// Applies a batch; `None` when it changes nothing. Keys that the document does not have are left out.
#[must_use]
pub fn apply<'a>(document: &Document, deltas: &'a [Delta]) -> Option<Applied<'a>> {
    let mut uses: BTreeMap<usize, (&[u8], Vec<Use>)> = BTreeMap::new();
    for delta in deltas {
        if let Some(position) = document.position(&delta.key) {
            uses.entry(position).or_insert((&delta.key, Vec::new())).1.push(delta.used);
        }
    }
    let mut changed = Vec::with_capacity(uses.len());
    let mut objects = Vec::with_capacity(uses.len());
    for (position, (key, uses)) in uses {
        if let Some(object) = record(document.object(position), &uses) {
            changed.push(key);
            objects.push((position, object));
        }
    }
    (!objects.is_empty()).then(|| Applied { document: document.with(&objects), changed })
}
