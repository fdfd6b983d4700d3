//! The lock around every write: an flock among ourselves, and the lock directory of the module that we replace.
//!
//! The flock, on `DATA_FILE.flock`, is freed by the system when its holder dies; the file stays. The directory,
//! `DATA_FILE.lock`, is how old gateways, scripts and `proper-lockfile` lock: whoever makes it has the lock. A writer
//! takes the flock first and keeps it; only who has the flock touches the directory, so of ours only one ever does.
//!
//! A directory that its holder left behind is taken over:
//! - one of ours at once: its maker writes the directory's device and inode into the flock file before it relies on
//!   it, and blanks them before it removes it; who gets the flock and finds them there knows that the maker is dead;
//! - any other after [`ABANDONED_AFTER`] without a change, by our own monotonic clock. It is adopted by creating a
//!   file in it through the open directory. If its holder released it meanwhile that fails, since the open directory
//!   is then one without a name; and a holder that wakes up later can't remove it, since it is not empty.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fs2::FileExt;
use parking_lot::Mutex;

use crate::disk;
use crate::error::{Error, Result};

/// How long a lock directory of the old protocol must stay the same until its holder counts as dead.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(10);

const ADOPTED: &str = "adopted-by-keyledger";

/// The pause between two tries grows from the first to the second, and varies by half so that waiters don't march in
/// step.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(5));

/// The lock of one data file.
#[derive(Debug)]
pub struct Lock {
    directory: PathBuf,
    data_file: PathBuf,
    /// The foreign directory that was last seen, and since when.
    watched: Mutex<Option<(Identity, Instant)>>,
}

/// One state of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn same_directory(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The flock, held until it is dropped.
#[derive(Debug)]
pub struct Flock {
    lock: Arc<Lock>,
    file: Arc<File>,
}

/// The lock directory, held until it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// What it is, once known: who has taken it over from us keeps it.
    identity: Option<Identity>,
    file: Arc<File>,
}

/// The whole lock, released when dropped: the directory first.
#[derive(Debug)]
pub struct Held {
    _directory: Directory,
    _flock: Flock,
}

/// How long a writer waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For others of our kind.
    pub flock: Instant,
    /// For programs that lock by directory.
    pub directory: Instant,
}

impl Patience {
    /// Waits this long for either.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        let deadline = Instant::now() + time;
        Self { flock: deadline, directory: deadline }
    }
}

impl Lock {
    /// The lock of this data file.
    #[must_use]
    pub fn new(data_file: &Path) -> Self {
        Self { directory: with_suffix(data_file, ".lock"), data_file: data_file.to_owned(), watched: Mutex::new(None) }
    }

    /// Takes the flock.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when it can't be had by the deadline.
    pub fn flock(self: &Arc<Self>, deadline: Instant) -> Result<Flock> {
        // Beside the real file: the same whichever link leads to it.
        let path = with_suffix(&disk::real_path(&self.data_file)?, ".flock");
        let file = open(&path, &self.data_file).map_err(|e| Error::system("open", &path, &e))?;
        retry(deadline, || match file.try_lock_exclusive() {
            Ok(()) => Ok(Some(())),
            Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(None),
            Err(e) => Err(Error::system("lock", &path, &e)),
        })?
        .ok_or_else(|| Error::Locked { path: path.clone(), holder: "another keyledger holds it".into() })?;
        Ok(Flock { lock: Arc::clone(self), file: Arc::new(file) })
    }
}

impl Lock {
    /// Takes both.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when one can't be had by its deadline.
    pub fn hold(self: &Arc<Self>, patience: Patience) -> Result<Held> {
        let flock = self.flock(patience.flock)?;
        Ok(Held { _directory: flock.directory(patience.directory)?, _flock: flock })
    }

    fn describe_holder(&self) -> String {
        match &*self.watched.lock() {
            Some((_, since)) => format!(
                "a program that locks by directory has held it for at least {:.1} s; if none runs, remove the directory",
                since.elapsed().as_secs_f64()
            ),
            None => "other programs that lock by directory keep taking it".into(),
        }
    }
}

impl Flock {
    /// Takes the lock directory too.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when it can't be had by the deadline.
    pub fn directory(&self, deadline: Instant) -> Result<Directory> {
        let path = &self.lock.directory;
        retry(deadline, || match fs::create_dir(path) {
            Ok(()) => Ok(Some(())),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.take_over().map_err(|e| fault(path, &e)),
            Err(e) => Err(fault(path, &e)),
        })?
        .ok_or_else(|| Error::Locked { path: path.clone(), holder: self.lock.describe_holder() })?;
        *self.lock.watched.lock() = None;

        // From here on it is removed again, whatever fails.
        let mut directory = Directory { path: path.clone(), identity: None, file: Arc::clone(&self.file) };
        let identity = identity(path).map_err(|e| fault(path, &e))?;
        directory.mark(Some(identity)).map_err(|e| fault(path, &e))?;
        directory.identity = Some(identity);
        Ok(directory)
    }

    /// Makes the directory that stands there ours if its holder is dead.
    fn take_over(&self) -> io::Result<Option<()>> {
        let path = &self.lock.directory;
        let Some(found) = found(identity(path))? else { return Ok(None) };
        if self.mark()? == Some((found.device, found.inode)) {
            *self.lock.watched.lock() = None;
            return Ok(Some(()));
        }
        let since = match &mut *self.lock.watched.lock() {
            Some((watched, since)) if *watched == found => *since,
            watched => watched.insert((found, Instant::now())).1,
        };
        if since.elapsed() < ABANDONED_AFTER { Ok(None) } else { adopt(path, found) }
    }

    /// The device and inode of the directory that the last holder of the flock had made and not removed.
    fn mark(&self) -> io::Result<Option<(u64, u64)>> {
        let mut mark = [0; 16];
        if !read_at_start(&self.file, &mut mark)? {
            return Ok(None);
        }
        let (device, inode) = mark.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(Some((number(device), number(inode))))
    }
}

impl Directory {
    fn mark(&self, identity: Option<Identity>) -> io::Result<()> {
        let (device, inode) = identity.map_or((0, 0), |identity| (identity.device, identity.inode));
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&device.to_le_bytes());
        mark[8..].copy_from_slice(&inode.to_le_bytes());
        write_at_start(&self.file, &mark)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing more can be done about a failure here: who comes next finds the mark, or waits and adopts.
        let _ = self.mark(None);
        if let (Some(ours), Ok(found)) = (self.identity, identity(&self.path))
            && !ours.same_directory(&found)
        {
            return;
        }
        if fs::remove_dir(&self.path).is_err() {
            let _ = fs::remove_file(self.path.join(ADOPTED));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Tries until there is something or the deadline has passed.
fn retry<T>(deadline: Instant, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let mut pause = PAUSES.0;
    loop {
        if let Some(got) = attempt()? {
            return Ok(Some(got));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.mul_f64(0.5 + jitter()).min(left));
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// 0 to 1.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) % 1024) as f64 / 1024.0
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn fault(path: &Path, e: &io::Error) -> Error {
    Error::system("make the lock directory", path, e)
}

/// What is gone by the time that we look is no fault.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(unix)]
mod system {
    use super::{ADOPTED, File, Identity, OpenOptions, Path, disk, found, fs, io};
    use rustix::fs::{Mode, OFlags};
    use std::fs::Metadata;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

    /// Opens the flock file. A new one is for whom the data file is for: root may be the first to write.
    pub fn open(path: &Path, data_file: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match options.clone().create_new(true).mode(0o600).open(path) {
            Ok(file) => disk::keep_attributes(&file, data_file).map(|()| file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => options.open(path),
            Err(e) => Err(e),
        }
    }

    pub fn identity(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(|metadata| identity_of(&metadata))
    }

    fn identity_of(metadata: &Metadata) -> Identity {
        Identity { device: metadata.dev(), inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }

    /// Takes over the very directory that was `watched`; `None` if it is no longer that.
    pub fn adopt(path: &Path, watched: Identity) -> io::Result<Option<()>> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(directory) = found(rustix::fs::open(path, flags, Mode::empty()).map_err(Into::into))? else {
            return Ok(None);
        };
        let directory = File::from(directory);
        if identity_of(&directory.metadata()?) != watched {
            return Ok(None);
        }
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, ADOPTED, create, Mode::from_raw_mode(0o600)) {
            // What one of ours had adopted before it died is there already, and as good.
            Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(Some(())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub fn read_at_start(file: &File, bytes: &mut [u8; 16]) -> io::Result<bool> {
        Ok(file.read_at(bytes, 0)? == bytes.len())
    }

    pub fn write_at_start(file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, 0)
    }
}

/// Where directories have no identity none is taken over.
#[cfg(not(unix))]
mod system {
    use super::{File, Identity, OpenOptions, Path, fs, io};

    pub fn open(path: &Path, _: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    pub fn identity(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(|_| Identity { device: 0, inode: 0, changed: (0, 0) })
    }

    pub fn adopt(_: &Path, _: Identity) -> io::Result<Option<()>> {
        Ok(None)
    }

    pub fn read_at_start(_: &File, _: &mut [u8; 16]) -> io::Result<bool> {
        Ok(false)
    }

    pub fn write_at_start(_: &File, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

use system::{adopt, identity, open, read_at_start, write_at_start};

#[cfg(all(test, unix))]
#[path = "lock_tests.rs"]
mod tests;
