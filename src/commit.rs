//! A batch of deltas becomes the next text of the data file.
//!
//! Deltas, never snapshots: they are applied to whatever the file holds by then, so nobody's edit is undone.

use std::collections::HashMap;
use std::io;

use crate::document::Document;
use crate::record::record;
use crate::usage::{Moment, Use};

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
///
/// # Errors
///
/// When there is no memory for it.
pub fn apply<'a>(document: &Document, deltas: &'a [Delta]) -> io::Result<Option<Applied<'a>>> {
    let mut uses: Vec<(usize, &Delta)> =
        deltas.iter().filter_map(|delta| Some((document.position(&delta.key)?, delta))).collect();
    // Stable: the uses of one key stay in the order of the calls.
    uses.sort_by_key(|(position, _)| *position);
    let mut moments = HashMap::new();
    for (_, delta) in &uses {
        let at = delta.used.at;
        moments.entry(at).or_insert_with(|| Moment::at(at));
    }
    let mut changed = Vec::new();
    let mut objects = Vec::new();
    for uses in uses.chunk_by(|(position, _), (next, _)| position == next) {
        let (position, Delta { key, .. }) = uses[0];
        let uses = uses.iter().map(|(_, Delta { used, .. })| (used.tokens, &moments[&used.at]));
        if let Some(object) = record(document.object(position), uses) {
            changed.push(&**key);
            objects.push((position, object));
        }
    }
    if objects.is_empty() {
        return Ok(None);
    }
    Ok(Some(Applied { document: document.with(&objects)?, changed }))
}
