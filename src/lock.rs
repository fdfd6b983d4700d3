//! The lock around every write: an flock among ourselves, and the lock directory of the module that we replace.
//!
//! The directory, `DATA_FILE.lock`, is how old gateways, scripts and `proper-lockfile` lock: whoever makes it has the
//! lock. A writer takes the flock first and keeps it; only who has the flock touches the directory, so of ours only one
//! ever does.
//!
//! Ours is made under another name, noted in the flock file, and then renamed to where it counts; it is renamed back
//! before the note is taken back and it is removed. So at any moment at which its maker dies, the directory that counts
//! is one that the flock file names: who gets the flock takes it over at once. An inode that the note names is never
//! free to be somebody else's.
//!
//! Any other directory is taken over after [`ABANDONED_AFTER`] without a change, by our own monotonic clock. It is
//! adopted by creating a file in it through the open directory. If its holder released it meanwhile that fails, since
//! the open directory is then one without a name; and a holder that wakes up later can't remove it, since it is not
//! empty.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::attributes::Attributes;
use crate::disk::{self, Mark, with_suffix};
use crate::error::{Error, Result, found};
use crate::flock::{Flock, retry};

/// How long a lock directory of the old protocol must stay the same until its holder counts as dead.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(10);

/// A file in a lock directory keeps `rmdir`, by which the old protocol releases, from removing it.
const ADOPTED: &str = "adopted-by-keyledger";
const HELD: &str = "held-by-keyledger";

/// What a lock directory of ours is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For one rename.
    Commit,
    /// For as long as a caller likes: long enough for a holder of the old protocol that was taken for dead to wake up and
    /// remove it.
    Caller,
}

/// The lock of one data file.
#[derive(Debug)]
pub struct Lock {
    data_file: PathBuf,
    directory: PathBuf,
    /// Where a lock directory of ours is made and removed.
    wings: PathBuf,
    /// The foreign directory that was last seen, and since when.
    watched: Mutex<Option<(Identity, Instant)>>,
}

/// One state of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl Identity {
    fn same_directory(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn mark(&self) -> Mark {
        [self.device, self.inode, self.modified_ns.cast_unsigned()]
    }
}

/// The whole lock, held until it is dropped: then the directory is released, and the flock unless somebody else has it.
#[derive(Debug)]
pub struct Held {
    lock: Arc<Lock>,
    directory: Identity,
    flock: Arc<Flock>,
}

impl Lock {
    /// The lock of this data file.
    #[must_use]
    pub fn new(data_file: &Path) -> Self {
        Self {
            data_file: data_file.to_owned(),
            directory: with_suffix(data_file, ".lock"),
            wings: with_suffix(data_file, ".lock.next"),
            watched: Mutex::new(None),
        }
    }

    /// Takes the flock.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when it can't be had for as long as `patience`.
    pub fn flock(&self, patience: Duration) -> Result<Arc<Flock>> {
        // Beside the real file: the same whichever link leads to it.
        Flock::take(&disk::real_path(&self.data_file)?, patience)
    }

    /// Takes the lock directory too.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when it can't be had for as long as `patience`.
    pub fn directory(self: &Arc<Self>, flock: &Arc<Flock>, purpose: Purpose, patience: Duration) -> Result<Held> {
        self.wait(patience, || match found(identity(&self.directory))? {
            Some(found) => self.take_over(flock, found),
            None => self.make(flock, purpose),
        })
    }

    /// Waits until nobody has the lock directory. One that had to be taken over is held.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when somebody has it for as long as `patience`.
    pub fn vacancy(self: &Arc<Self>, flock: &Arc<Flock>, patience: Duration) -> Result<Option<Held>> {
        self.wait(patience, || match found(identity(&self.directory))? {
            Some(found) => Ok(self.take_over(flock, found)?.map(Some)),
            None => Ok(Some(None)),
        })
    }

    fn wait<T>(&self, patience: Duration, mut attempt: impl FnMut() -> io::Result<Option<T>>) -> Result<T> {
        let path = &self.directory;
        let attempt = || attempt().map_err(|e| Error::system("make the lock directory", path, &e));
        match retry(patience, attempt)? {
            Some(got) => {
                *self.watched.lock() = None;
                Ok(got)
            }
            None => Err(Error::Locked { path: path.clone(), holder: self.describe_holder() }),
        }
    }

    fn describe_holder(&self) -> String {
        let modified = fs::symlink_metadata(&self.directory).and_then(|metadata| metadata.modified());
        match modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok()) {
            Some(age) => format!(
                "a program that locks by directory has held it for {:.1} s; if none runs, remove the directory",
                age.as_secs_f64()
            ),
            None => "programs that lock by directory keep taking it".into(),
        }
    }

    fn held(self: &Arc<Self>, flock: &Arc<Flock>, directory: Identity) -> Held {
        Held { lock: Arc::clone(self), directory, flock: Arc::clone(flock) }
    }

    /// Makes the directory; `None` if somebody else was faster.
    fn make(self: &Arc<Self>, flock: &Arc<Flock>, purpose: Purpose) -> io::Result<Option<Held>> {
        let made = match self.make_in_the_wings(flock, purpose)? {
            None => self.make_in_place(flock, purpose),
            Some(ours) => match rename_exclusively(&self.wings, &self.directory) {
                Ok(()) => Ok(Some(ours)),
                failed => {
                    // What can't be unmarked or removed now is by who comes next.
                    let _ = flock.mark(None);
                    let _ = remove(&self.wings);
                    match failed {
                        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                        Err(e) if is_unsupported(&e) => self.make_in_place(flock, purpose),
                        _ => failed.map(|()| None),
                    }
                }
            },
        };
        Ok(made?.map(|ours| self.held(flock, ours)))
    }

    /// `None` if what somebody has left there can't be removed: it may be another user's.
    fn make_in_the_wings(&self, flock: &Flock, purpose: Purpose) -> io::Result<Option<Identity>> {
        match fs::create_dir(&self.wings) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if remove(&self.wings).is_err() {
                    return Ok(None);
                }
                fs::create_dir(&self.wings)?;
            }
            created => created?,
        }
        self.furnish(&self.wings, flock, purpose).map(Some)
    }

    /// A maker that dies before the note leaves a directory that is taken over only after [`ABANDONED_AFTER`]. Where no
    /// rename refuses to replace, as on NFS, there is no other way.
    fn make_in_place(&self, flock: &Flock, purpose: Purpose) -> io::Result<Option<Identity>> {
        match fs::create_dir(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            created => created?,
        }
        self.furnish(&self.directory, flock, purpose).map(Some)
    }

    /// Makes a new directory what its purpose asks for, and notes it; removes it if that fails.
    fn furnish(&self, directory: &Path, flock: &Flock, purpose: Purpose) -> io::Result<Identity> {
        let furnished = (|| {
            if purpose == Purpose::Caller {
                let file = File::create_new(directory.join(HELD))?;
                if cfg!(unix) {
                    // Whoever comes next must be able to remove it.
                    let attributes = Attributes::of(&self.data_file)?;
                    attributes.give_owner(&file)?;
                    attributes.give_owner(&File::open(directory)?)?;
                }
            }
            let ours = identity(directory)?;
            flock.mark(Some(ours.mark()))?;
            Ok(ours)
        })();
        if furnished.is_err() {
            let _ = flock.mark(None);
            let _ = remove(directory);
        }
        furnished
    }

    /// Makes the directory that stands there ours if its holder is dead.
    fn take_over(self: &Arc<Self>, flock: &Arc<Flock>, found: Identity) -> io::Result<Option<Held>> {
        if flock.left_directory().is_some_and(|left| self.is_left(left, found)) {
            return Ok(Some(self.held(flock, found)));
        }
        let since = match &mut *self.watched.lock() {
            Some((watched, since)) if *watched == found => *since,
            watched => watched.insert((found, Instant::now())).1,
        };
        if since.elapsed() < ABANDONED_AFTER || !adopt(&self.directory, found)? {
            return Ok(None);
        }
        let ours = identity(&self.directory)?;
        flock.mark(Some(ours.mark()))?;
        Ok(Some(self.held(flock, ours)))
    }

    /// Whether the directory that was found is the one that a note names. One with our file in it is, whenever its time was
    /// renewed: nobody could remove it and make another.
    fn is_left(&self, left: Mark, found: Identity) -> bool {
        let [device, inode, _] = left;
        let kept = || [HELD, ADOPTED].iter().any(|name| self.directory.join(name).exists());
        left == found.mark() || [device, inode] == [found.device, found.inode] && kept()
    }
}

impl Held {
    /// Lets go of the lock, and notes what was written under it.
    pub fn release(self, content: Option<Mark>) {
        self.flock.written(content);
    }

    /// Shows that the holder lives to programs that take a lock directory for abandoned when its time of change is old,
    /// as `proper-lockfile` does.
    pub fn refresh(&mut self) -> io::Result<()> {
        let path = &self.lock.directory;
        if !self.directory.same_directory(&identity(path)?) {
            return Ok(());
        }
        touch(path)?;
        self.directory = identity(path)?;
        self.flock.mark(Some(self.directory.mark()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Lock { directory, wings, .. } = &*self.lock;
        let released = match found(identity(directory)) {
            Ok(Some(found)) if self.directory.same_directory(&found) => fs::rename(directory, wings)
                .or_else(|_| remove(wings).and_then(|()| fs::rename(directory, wings)))
                .or_else(|e| if directory.join(ADOPTED).exists() { Err(e) } else { remove(directory) }),
            // Others have taken or removed it.
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        };
        if released.is_err() {
            // Who comes next finds the mark, and takes it over at once.
            return;
        }
        let _ = self.flock.mark(None);
        let _ = remove(wings);
    }
}

/// Removes a lock directory, with what its holder may have put into it.
fn remove(directory: &Path) -> io::Result<()> {
    fs::remove_dir(directory).or_else(|_| fs::remove_dir_all(directory))
}

fn is_unsupported(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

#[cfg(unix)]
mod system {
    use super::{ADOPTED, File, Identity, Path, found, fs, io};
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt;

    pub fn identity(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(|metadata| identity_of(&metadata))
    }

    fn identity_of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
            changed_ns: metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec(),
        }
    }

    /// Takes over the very directory that was `watched`; gives whether it still was that.
    pub fn adopt(path: &Path, watched: Identity) -> io::Result<bool> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(directory) = found(rustix::fs::open(path, flags, Mode::empty()).map_err(Into::into))? else {
            return Ok(false);
        };
        let directory = File::from(directory);
        if identity_of(&directory.metadata()?) != watched {
            return Ok(false);
        }
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, ADOPTED, create, Mode::from_raw_mode(0o600)) {
            // What one of ours had adopted before it died is there already, and as good.
            Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    pub fn touch(path: &Path) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    pub fn rename_exclusively(from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE)?)
    }
}

/// Where directories have no identity none is taken over.
#[cfg(not(unix))]
mod system {
    use super::{Identity, Path, fs, io};

    pub fn identity(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(|_| Identity { device: 0, inode: 0, modified_ns: 0, changed_ns: 0 })
    }

    pub fn adopt(_: &Path, _: Identity) -> io::Result<bool> {
        Ok(false)
    }

    pub fn touch(_: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_exclusively(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
use system::rename_exclusively;
use system::{adopt, identity, touch};

#[cfg(all(test, unix))]
#[path = "lock_tests.rs"]
mod tests;
