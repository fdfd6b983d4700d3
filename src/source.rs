//! The data file as it was last read, and whether it still is that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::buffer::Buffer;
use crate::disk::{self, Content, Mark, Seen};
use crate::document::Document;
use crate::error::{Error, Result};

/// The data file, read again only when it has changed.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// See `Settings::revalidate_ms`.
    revalidate_ms: f64,
    /// Held while the file is read, so that all who wait share one read.
    loading: Mutex<()>,
    state: RwLock<State>,
    /// When the file was last looked at: the bits of an `f64`, milliseconds on the caller's clock.
    looked_at: AtomicU64,
}

/// What is known of the file.
#[derive(Debug)]
pub struct State {
    /// What was last read well; `None` until that happened once.
    pub read: Option<Snapshot>,
    /// Why the file as it is now can't be read.
    fault: Option<Fault>,
    /// Grows when the file turns out to hold something that was not put there by a commit of ours.
    pub generation: u64,
    /// Grows whenever `read` changes. Who reads or writes the file notes it before, so that what has become known
    /// meanwhile is not replaced by something older.
    pub version: u64,
}

/// What was read, and what the file was then.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the file holds.
    pub document: Arc<Document>,
    /// What tells whether it still does,
    pub seen: Seen,
    /// if that can be trusted: see [`disk::read`].
    pub trusted: bool,
}

/// What was known before. To free it takes time: not while others wait for the state.
#[derive(Debug)]
pub struct Outdated(#[expect(dead_code, reason = "it is only to be dropped")] Option<Snapshot>);

#[derive(Debug)]
struct Fault {
    error: Error,
    /// The file that was read and found bad, if an unchanged fingerprint means that it still is.
    seen: Option<Seen>,
}

/// Whether what was last read is what the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Current,
    /// The file is known to be bad; what was last read well has to do.
    Bad,
    /// Perhaps not: the file must be loaded.
    Changed,
}

impl State {
    /// Whether the file as it is now can't be read.
    #[must_use]
    pub fn faulty(&self) -> bool {
        self.fault.is_some()
    }

    /// The text of a key's object.
    #[must_use]
    pub fn object(&self, key: &[u8]) -> Option<&str> {
        self.read.as_ref()?.document.get(key)
    }

    /// Puts in what was read or written since the state had this version.
    ///
    /// # Errors
    ///
    /// Gives it back if something else came in meanwhile.
    pub fn put(&mut self, snapshot: Snapshot, version: u64) -> std::result::Result<Outdated, Snapshot> {
        if self.version != version {
            return Err(snapshot);
        }
        self.version += 1;
        self.fault = None;
        Ok(Outdated(self.read.replace(snapshot)))
    }
}

impl Source {
    /// The file at this path, not read yet.
    #[must_use]
    pub fn new(path: PathBuf, revalidate_ms: f64) -> Self {
        Self {
            path,
            revalidate_ms,
            loading: Mutex::new(()),
            state: RwLock::new(State { read: None, fault: None, generation: 1, version: 0 }),
            looked_at: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of it. Not to be held while anything waits.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The same, to change it.
    pub fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    /// When the file was last looked at.
    #[must_use]
    pub fn looked_at(&self) -> f64 {
        f64::from_bits(self.looked_at.load(Ordering::Relaxed))
    }

    /// Whether it is time for the next look.
    #[must_use]
    pub fn due(&self, now: f64) -> bool {
        let looked_at = self.looked_at();
        // A clock that was set back must not put off the next look.
        now < looked_at || now - looked_at >= self.revalidate_ms
    }

    /// Looks at the file.
    #[must_use]
    pub fn look(&self, state: &State, now: f64) -> Standing {
        let Ok(seen) = disk::look(&self.path) else { return Standing::Changed };
        let standing = match (&state.fault, &state.read) {
            (Some(fault), Some(_)) if fault.seen == Some(seen) => Standing::Bad,
            (None, Some(read)) if read.seen == seen && read.trusted => Standing::Current,
            _ => Standing::Changed,
        };
        if standing != Standing::Changed {
            self.looked(now);
        }
        standing
    }

    fn looked(&self, now: f64) {
        self.looked_at.store(now.to_bits(), Ordering::Relaxed);
    }

    /// Reads the file if it is not what was last read. Gives whether it holds something else than before. What is `known` to
    /// be one of ours is trusted: see [`disk::read`].
    ///
    /// # Errors
    ///
    /// When it can't be read, or is no data file; what was last read well stays.
    pub fn load(&self, now: f64, known: Option<Mark>) -> Result<bool> {
        let _one_at_a_time = self.loading.lock();
        let result = loop {
            match self.load_if_changed(known) {
                Ok(None) => {}
                Ok(Some(changed)) => break Ok(changed),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = &result {
            self.state.write().fault.get_or_insert_with(|| Fault { error: error.clone(), seen: None });
        }
        self.looked(now);
        result
    }

    /// `None` when a commit came in between.
    fn load_if_changed(&self, known: Option<Mark>) -> Result<Option<bool>> {
        let seen = disk::look(&self.path)?;
        let (old, version) = {
            let mut state = self.state.write();
            match &state.fault {
                Some(fault) if fault.seen == Some(seen) => return Err(fault.error.clone()),
                _ => state.fault = None,
            }
            if state.read.as_ref().is_some_and(|read| read.seen == seen && read.trusted) {
                return Ok(Some(false));
            }
            (state.read.clone(), state.version)
        };
        let Content { bytes, seen, trusted } = disk::read(&self.path, known)?;
        let same = match (&bytes, &old) {
            (Some(bytes), Some(old)) if old.seen != Seen::Missing => old.document.text().as_bytes() == &bytes[..],
            _ => false,
        };
        let document = match (&old, bytes) {
            (Some(old), _) if same => Arc::clone(&old.document),
            (_, None) => Arc::default(),
            (old, Some(bytes)) => Arc::new(split(old.as_ref(), bytes).map_err(|reason| {
                let error = Error::Data { path: self.path.clone(), reason };
                let seen = trusted.then_some(seen);
                let mut state = self.state.write();
                if state.version == version {
                    state.fault = Some(Fault { error: error.clone(), seen });
                }
                error
            })?),
        };
        let mut state = self.state.write();
        let put = state.put(Snapshot { document, seen, trusted }, version);
        // The first load brings nothing that was not so before.
        let changed = put.is_ok() && old.is_some() && !same;
        state.generation += u64::from(changed);
        drop(state);
        Ok(put.is_ok().then_some(changed))
    }

    /// Whether the file is what the snapshot says.
    pub fn still(&self, base: &Snapshot) -> Result<bool> {
        let text = base.document.text().as_bytes();
        Ok(disk::look(&self.path)? == base.seen
            && (base.trusted || disk::read(&self.path, None)?.bytes.is_some_and(|bytes| *bytes == *text)))
    }
}

fn split(old: Option<&Snapshot>, bytes: Buffer) -> std::result::Result<Document, String> {
    match old {
        Some(old) => old.document.updated(bytes),
        None => Document::parse(bytes),
    }
}
