//! The store: record usage, write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Ledger;
use crate::buffer::TextBuffer;
use crate::commit::{Applied, Delta, apply};
use crate::disk::{self, Published, Replaced, Replacement};
use crate::document::Document;
use crate::error::{Error, Result};
use crate::flock::Flock;
use crate::lock::{Held, Purpose};
use crate::source::Snapshot;

/// How often a commit is built without the lock directory before it is built under it.
const OPTIMISTIC_TRIES: usize = 3;

/// How a commit went.
#[derive(Debug, Default)]
pub struct Committed {
    /// Whether the file turned out to hold something else than before.
    pub reloaded: bool,
    /// What the commit has replaced.
    pub replaced: Replaced,
}

impl Ledger {
    /// Takes the lock, as a writer has it.
    pub fn lock(&self, patience: Duration) -> Result<Held> {
        let flock = self.flock(patience)?;
        self.lock.directory(&flock, Purpose::Caller, patience)
    }

    pub(super) fn flock(&self, patience: Duration) -> Result<Arc<Flock>> {
        let flock = self.lock.flock(patience)?;
        if flock.is_inherited() || !self.swept.swap(true, Ordering::Relaxed) {
            disk::sweep(self.source.path());
        }
        Ok(flock)
    }

    /// Records usage: applies the deltas to what the file holds and replaces it. The entries of the cache are refreshed
    /// from what was written; with `fill` those keys that were not in the cache come in. Once the file holds the deltas
    /// they are taken out of the batch, so that they can't be applied again.
    ///
    /// Waits for the flock and for the lock directory, each as long as `patience`.
    pub fn commit(
        &self,
        deltas: &mut Vec<Delta>,
        held: Option<&Held>,
        now: f64,
        fill: bool,
        patience: Duration,
    ) -> Result<Committed> {
        let mut committed = Committed::default();
        if deltas.is_empty() {
            return Ok(committed);
        }
        let flock = held.is_none().then(|| self.flock(patience)).transpose()?;
        let flock = flock.as_ref();
        for attempt in 1.. {
            // What is built while others have the directory is mostly built in vain.
            let mut directory = if attempt > OPTIMISTIC_TRIES {
                self.directory(flock, patience)?
            } else {
                self.vacancy(flock, patience)?
            };
            committed.reloaded |= self.source.load(now, flock.and_then(|flock| flock.left_content()))?;
            let Some(base) = self.source.state().read.clone() else { break };
            let applied = apply(&base.document, deltas).map_err(|e| self.no_memory(&e))?;
            let Some(Applied { document, changed }) = applied else { break };
            let replacement = Replacement::write(self.source.path(), document.text(), self.settings.fsync)?;
            if directory.is_none() {
                directory = self.directory(flock, patience)?;
            }
            if !self.source.still(&base)? {
                continue;
            }
            let ours = Arc::new(document);
            let published = self.publish(replacement, Arc::clone(&ours), now, directory, false)?;
            self.fill(&changed, now, !fill);
            if let Err(fault) = published.sync() {
                if self.take_back(&ours, &base.document, flock, now, patience).unwrap_or(false) {
                    return Err(Error::system("sync the folder of", self.source.path(), &fault));
                }
                deltas.clear();
                return Err(Error::unsynced(self.source.path(), &fault));
            }
            deltas.clear();
            committed.replaced = published.replaced;
            break;
        }
        Ok(committed)
    }

    /// Puts the content before a commit back, unless somebody has changed the file since. Gives whether it did.
    fn take_back(
        &self,
        ours: &Document,
        before: &Arc<Document>,
        flock: Option<&Arc<Flock>>,
        now: f64,
        patience: Duration,
    ) -> Result<bool> {
        let replacement = Replacement::write(self.source.path(), before.text(), self.settings.fsync)?;
        let directory = self.directory(flock, patience)?;
        self.load(now)?;
        if self.source.state().read.as_ref().is_none_or(|read| read.document.text() != ours.text()) {
            return Ok(false);
        }
        // The folder can't be synced: that was the fault.
        self.publish(replacement, Arc::clone(before), now, directory, true)?;
        Ok(true)
    }

    /// Waits, for who has the flock, until nobody has the lock directory. One that had to be taken over is held.
    fn vacancy(&self, flock: Option<&Arc<Flock>>, patience: Duration) -> Result<Option<Held>> {
        flock.map_or(Ok(None), |flock| self.lock.vacancy(flock, patience))
    }

    /// The lock directory for who has the flock, and not both already.
    fn directory(&self, flock: Option<&Arc<Flock>>, patience: Duration) -> Result<Option<Held>> {
        flock.map(|flock| self.lock.directory(flock, Purpose::Commit, patience)).transpose()
    }

    /// Replaces the file by `text`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsynced`] when the file holds it, but that could not be made durable.
    pub fn replace(&self, text: String, held: Option<&Held>, now: f64, patience: Duration) -> Result<()> {
        let mut buffer = TextBuffer::default();
        buffer.push_str(&text).map_err(|e| self.no_memory(&e))?;
        drop(text);
        let document =
            Document::of(buffer).map_err(|reason| Error::Data { path: self.source.path().to_owned(), reason })?;
        let flock = held.is_none().then(|| self.flock(patience)).transpose()?;
        let flock = flock.as_ref();
        let mut directory = self.vacancy(flock, patience)?;
        let replacement = Replacement::write(self.source.path(), document.text(), self.settings.fsync)?;
        if directory.is_none() {
            directory = self.directory(flock, patience)?;
        }
        let published = self.publish(replacement, Arc::new(document), now, directory, true)?;
        published.sync().map_err(|fault| Error::unsynced(self.source.path(), &fault))
    }

    fn no_memory(&self, fault: &io::Error) -> Error {
        Error::system("make the next content of", self.source.path(), fault)
    }

    /// Puts a replacement in the place of the file, lets go of the lock directory, and takes note of what the file holds
    /// now: `other` than before, but for a commit. What it gives is still to be synced.
    fn publish(
        &self,
        replacement: Replacement,
        document: Arc<Document>,
        now: f64,
        directory: Option<Held>,
        other: bool,
    ) -> Result<Published> {
        let version = self.source.state().version;
        let published = replacement.publish()?;
        if let Some(directory) = directory {
            directory.release(published.mark);
        }
        let mut state = self.source.state_mut();
        state.generation += u64::from(other);
        let snapshot = Snapshot { document, seen: published.seen, trusted: published.mark.is_some() };
        let put = state.put(snapshot, version);
        drop(state);
        if put.is_err() {
            // Somebody has read the file in between, perhaps as it was before. A fault of this read is the next one's.
            let _ = self.load(now);
        }
        Ok(published)
    }
}
