//! The data file on the disk: what it is now, what it holds, and how it is replaced.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::NamedTempFile;

use crate::attributes::Attributes;
use crate::buffer::Buffer;
use crate::error::{Error, Result, found};

/// A clock tick of the file system is at most this long. Two saves within one tick may look the same, so a file that
/// changed less than this before it was read is not trusted to be what was read.
const TICK: Duration = Duration::from_millis(20);

/// How often to read a file that changes while it is read, before who waits for it is told to try again.
const READS: usize = 4;

/// On Windows a file that another program has open, a virus scanner for example, can't be replaced until that closes it.
/// Elsewhere what is refused stays refused.
const REPLACE_PATIENCE: Duration = Duration::from_millis(if cfg!(windows) { 1000 } else { 0 });
const REPLACE_PAUSE: Duration = Duration::from_millis(10);

/// In bytes; as many as are freed in about the time that a task of the thread pool takes.
const LARGE: usize = 64 * 1024;

/// As many symbolic links as Linux follows.
const MOST_LINKS: usize = 40;

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is no file.
    Missing,
    /// There is one.
    File(Fingerprint),
}

/// Names one state of a file or a folder: device, inode, and time of modification in nanoseconds. For who has set that time
/// to one that nobody else will set.
pub type Mark = [u64; 3];

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Fingerprint {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        let modified_ns = metadata.modified().map_or(0, since_1970_ns);
        Self { device: 0, inode: 0, size: metadata.len(), modified_ns, changed_ns: modified_ns }
    }

    fn mark(&self) -> Mark {
        [self.device, self.inode, self.modified_ns as u64]
    }

    /// Whether the file had rested for a tick at `time`, so that a later change shows in the fingerprint.
    fn rested(&self, time: SystemTime) -> bool {
        since_1970_ns(time) - self.changed_ns > TICK.as_nanos().cast_signed()
    }
}

fn since_1970_ns(time: SystemTime) -> i128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().cast_signed())
}

/// What the file is now. One system call.
pub fn look(path: &Path) -> Result<Seen> {
    let metadata = found(fs::metadata(path)).map_err(|e| Error::system("look at", path, &e))?;
    Ok(metadata.map_or(Seen::Missing, |metadata| Seen::File(Fingerprint::of(&metadata))))
}

/// The content of the file, `None` where there is none.
#[derive(Debug)]
pub struct Content {
    /// The bytes.
    pub bytes: Option<Buffer>,
    /// What the file was when they were read.
    pub seen: Seen,
    /// Whether an unchanged fingerprint means an unchanged file.
    pub trusted: bool,
}

/// Reads the file. What is `known` to be one of ours is trusted.
pub fn read(path: &Path, known: Option<Mark>) -> Result<Content> {
    let fault = |e: io::Error| Error::system("read", path, &e);
    // Opening a pipe would wait for its writer.
    match found(fs::metadata(path)).map_err(fault)? {
        None => return Ok(Content { bytes: None, seen: Seen::Missing, trusted: true }),
        Some(metadata) if metadata.is_dir() => return Err(fault(io::ErrorKind::IsADirectory.into())),
        Some(metadata) if !metadata.is_file() => {
            return Err(Error::Data { path: path.to_owned(), reason: "it is not a regular file".into() });
        }
        Some(_) => {}
    }
    let mut file = File::open(path).map_err(fault)?;
    for _ in 0..READS {
        let before = Fingerprint::of(&file.metadata().map_err(fault)?);
        let time = SystemTime::now();
        let bytes = Buffer::of_file(&mut file, before.size as usize).map_err(fault)?;
        let after = Fingerprint::of(&file.metadata().map_err(fault)?);
        if before == after {
            let trusted = before.rested(time) || known == Some(before.mark());
            return Ok(Content { bytes: Some(bytes), seen: Seen::File(before), trusted });
        }
        // Somebody saves it in place just now: again, on what the path names by then.
        file = File::open(path).map_err(fault)?;
    }
    Err(Error::Locked { path: path.to_owned(), holder: "somebody is writing it".into() })
}

/// The next content of the data file, in a temporary file beside it. Dropped, it is gone. Only who has the flock makes
/// one, see [`sweep`]; who makes the flock file itself can do without his.
#[derive(Debug)]
pub struct Replacement {
    temporary: NamedTempFile,
    target: PathBuf,
    modified: SystemTime,
    /// Opened beforehand: what fails after the rename can't be undone.
    folder: Option<File>,
    replaced: Replaced,
}

/// A content that has been put in the place of the data file.
#[derive(Debug)]
pub struct Published {
    /// What the data file is now.
    pub seen: Seen,
    /// The same for other processes, if that can be trusted.
    pub mark: Option<Mark>,
    folder: Option<File>,
    /// The file that was there before.
    pub replaced: Replaced,
}

/// A file that has lost its name. While it is open its blocks are not freed, which takes longer than the rename that took
/// the name: whoever drops this decides who waits for it.
#[derive(Debug, Default)]
pub struct Replaced {
    _file: Option<File>,
    size: usize,
}

impl Replaced {
    /// Whether it takes so long to free that nobody should wait for it.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.size >= LARGE
    }
}

impl Replacement {
    /// Writes `text` beside the data file, under a random name, exclusively, with the data file's owner, mode
    /// and extended attributes; for a new file mode 0600. With `fsync` it is on the disk then.
    pub fn write(path: &Path, text: &str, fsync: bool) -> Result<Self> {
        let target = real_path(path)?;
        let folder = folder_of(&target);
        let fault = |e: io::Error| Error::system("write a temporary file beside", path, &e);
        let mut temporary = temporary_file(&target).map_err(fault)?;
        let file = temporary.as_file_mut();
        let attributes = Attributes::of(&target).map_err(fault)?;
        attributes.give_owner(file).map_err(fault)?;
        attributes.give_extended(file, &target).map_err(fault)?;
        file.write_all(text.as_bytes()).map_err(fault)?;
        attributes.give_mode(file, 0).map_err(fault)?;
        // The kernel stamps a file with the time of the last clock tick. A finer time of our own tells this content
        // from any that somebody else may write within the same tick.
        let modified = SystemTime::now();
        file.set_modified(modified).map_err(fault)?;
        let folder = if fsync {
            file.sync_data().map_err(|e| Error::system("sync a temporary file beside", path, &e))?;
            open_folder(folder)?
        } else {
            None
        };
        // Windows replaces no file that is open.
        let replaced = if cfg!(unix) { File::open(&target).ok() } else { None };
        let replaced = Replaced { _file: replaced, size: text.len() };
        Ok(Self { temporary, target, modified, folder, replaced })
    }

    /// Puts it in the place of the data file.
    pub fn publish(self) -> Result<Published> {
        let Self { temporary, target, modified, folder, replaced } = self;
        let file = persist(temporary, &target).map_err(|e| Error::system("replace", &target, &e))?;
        let Ok(metadata) = file.metadata() else {
            // It is in place all the same: the next look reads it.
            return Ok(Published { seen: Seen::Missing, mark: None, folder, replaced });
        };
        let fingerprint = Fingerprint::of(&metadata);
        let mark = (fingerprint.modified_ns == since_1970_ns(modified)).then(|| fingerprint.mark());
        Ok(Published { seen: Seen::File(fingerprint), mark, folder, replaced })
    }
}

impl Published {
    /// Makes the replacement itself durable: the entry in the folder. Does nothing for one that was written without
    /// `fsync`. If it fails the file holds the new content all the same; a file system that does not sync folders is no
    /// error.
    pub fn sync(&self) -> io::Result<()> {
        match self.folder.as_ref().map(File::sync_all) {
            Some(Err(e)) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Err(e),
            _ => Ok(()),
        }
    }
}

/// A new file beside the data file, under a random name, exclusively, with mode 0600.
pub fn temporary_file(target: &Path) -> io::Result<NamedTempFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // `tempfile` wraps a fault without its number.
    let mut number = None;
    tempfile::Builder::new()
        .prefix(&temporary_prefix(target))
        .suffix(TEMPORARY_SUFFIX)
        .make_in(folder_of(target), |path| options.open(path).inspect_err(|e| number = e.raw_os_error()))
        .map_err(|e| number.map_or(e, io::Error::from_raw_os_error))
}

/// Removes the temporary files that processes which died have left beside the data file, as far as it can: they are in
/// nobody's way. Only for who has the flock: a temporary file of anybody else's is a dead one's.
pub fn sweep(path: &Path) {
    let Ok(target) = real_path(path) else { return };
    let Ok(entries) = fs::read_dir(folder_of(&target)) else { return };
    let prefix = temporary_prefix(&target);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(TEMPORARY_SUFFIX.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

const TEMPORARY_SUFFIX: &str = ".tmp";

/// Data files in one folder have different flocks, so the name says whose it is.
fn temporary_prefix(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".keyledger-");
    prefix
}

/// Renames the temporary file onto `target`.
fn persist(mut temporary: NamedTempFile, target: &Path) -> io::Result<File> {
    let start = Instant::now();
    loop {
        match temporary.persist(target) {
            Ok(file) => return Ok(file),
            Err(e) if e.error.kind() == io::ErrorKind::PermissionDenied && start.elapsed() < REPLACE_PATIENCE => {
                temporary = e.file;
                thread::sleep(REPLACE_PAUSE);
            }
            Err(e) => return Err(e.error),
        }
    }
}

/// The folder, to be synced; where folders can't be opened they can't be synced either.
fn open_folder(folder: &Path) -> Result<Option<File>> {
    if cfg!(unix) {
        return File::open(folder).map(Some).map_err(|e| Error::system("open the folder", folder, &e));
    }
    Ok(None)
}

/// The file itself, where the path is a symbolic link or several in a row; the last one may lead to a file that is to be
/// made.
pub fn real_path(path: &Path) -> Result<PathBuf> {
    let fault = |e: &io::Error| Error::system("resolve", path, e);
    let mut real = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::canonicalize(&real) {
            Ok(real) => return Ok(real),
            Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(&real) {
                Ok(target) => real = folder_of(&real).join(target),
                Err(_) => return Ok(real),
            },
            Err(e) => return Err(fault(&e)),
        }
    }
    Err(Error::Data { path: path.to_owned(), reason: "it is one of too many symbolic links in a row".into() })
}

/// The path with something behind its last name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
