//! The data file on the disk: what it is now, what it holds, and how it is replaced.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A clock tick of the file system is at most this long. Two saves within one tick may look the same, so a file that
/// changed less than this before it was read is not trusted to be what was read.
const TICK: Duration = Duration::from_millis(20);

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is no file.
    Missing,
    /// There is one.
    File(Fingerprint),
}

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
    match fs::metadata(path) {
        Ok(metadata) => Ok(Seen::File(Fingerprint::of(&metadata))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seen::Missing),
        Err(e) => Err(Error::system("look at", path, &e)),
    }
}

/// The content of the file, `None` where there is none.
#[derive(Debug)]
pub struct Content {
    /// The bytes.
    pub bytes: Option<Vec<u8>>,
    /// What the file was when they were read.
    pub seen: Seen,
    /// Whether an unchanged fingerprint means an unchanged file.
    pub trusted: bool,
}

/// Reads the file.
pub fn read(path: &Path) -> Result<Content> {
    let fault = |e: io::Error| Error::system("read", path, &e);
    // Opening a pipe would wait for its writer.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(fault(io::ErrorKind::IsADirectory.into())),
        Ok(metadata) if !metadata.is_file() => {
            return Err(Error::Data { path: path.to_owned(), reason: "it is not a regular file".into() });
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Content { bytes: None, seen: Seen::Missing, trusted: true });
        }
        Err(e) => return Err(fault(e)),
    }
    let mut file = File::open(path).map_err(fault)?;
    loop {
        let before = Fingerprint::of(&file.metadata().map_err(fault)?);
        let time = SystemTime::now();
        let mut bytes = Vec::with_capacity(before.size as usize + 1);
        file.read_to_end(&mut bytes).map_err(fault)?;
        let after = Fingerprint::of(&file.metadata().map_err(fault)?);
        if before == after {
            let trusted = before.rested(time);
            return Ok(Content { bytes: Some(bytes), seen: Seen::File(before), trusted });
        }
        // Somebody saves it in place just now: again, on what the path names by then.
        file = File::open(path).map_err(fault)?;
    }
}

/// The next content of the data file, in a temporary file beside it. Dropped, it is gone.
#[derive(Debug)]
pub struct Replacement {
    temporary: NamedTempFile,
    target: PathBuf,
    modified: SystemTime,
}

impl Replacement {
    /// Writes `text` beside the data file, under a random name, exclusively, with the data file's mode and owner; for
    /// a new file mode 0600.
    pub fn write(path: &Path, text: &str, fsync: bool) -> Result<Self> {
        let target = real_path(path)?;
        let folder = folder_of(&target);
        let fault = |e: io::Error| Error::system("write a temporary file beside", path, &e);
        let mut temporary =
            tempfile::Builder::new().prefix(".keyledger-").suffix(".tmp").tempfile_in(folder).map_err(fault)?;
        let file = temporary.as_file_mut();
        match fs::metadata(&target) {
            Ok(metadata) => keep_attributes(file, &metadata).map_err(fault)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(fault(e)),
        }
        file.write_all(text.as_bytes()).map_err(fault)?;
        // The kernel stamps a file with the time of the last clock tick. A finer time of our own tells this content
        // from any that somebody else may write within the same tick.
        let modified = SystemTime::now();
        file.set_modified(modified).map_err(fault)?;
        if fsync {
            file.sync_data().map_err(|e| Error::system("sync a temporary file beside", path, &e))?;
        }
        Ok(Self { temporary, target, modified })
    }

    /// Puts it in the place of the data file. Gives what the data file is now, and whether that can be trusted.
    pub fn publish(self) -> Result<(Seen, bool)> {
        let fault = |path: &Path, e: &io::Error| Error::system("replace", path, e);
        let file = self.temporary.persist(&self.target).map_err(|e| fault(&self.target, &e.error))?;
        let metadata = file.metadata().map_err(|e| fault(&self.target, &e))?;
        let seen = Fingerprint::of(&metadata);
        Ok((Seen::File(seen), seen.modified_ns == since_1970_ns(self.modified)))
    }
}

#[cfg(unix)]
fn keep_attributes(file: &File, original: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (original.uid(), original.gid())
        && fchown(file, Some(original.uid()), Some(original.gid())).is_err()
    {
        // Only root may give files away. The group can often be kept, and what remains refused has to be.
        let _ = fchown(file, None, Some(original.gid()));
    }
    file.set_permissions(fs::Permissions::from_mode(original.mode() & 0o7777))
}

#[cfg(not(unix))]
fn keep_attributes(file: &File, original: &Metadata) -> io::Result<()> {
    file.set_permissions(original.permissions())
}

/// Makes the replacement itself durable: the folder's entry.
pub fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let folder = folder_of(&real_path(path)?).to_owned();
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::system("sync", &folder, &e))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// The file itself, where the path is a symbolic link.
pub fn real_path(path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            // A link to a file that is to be made.
            Ok(target) => Ok(folder_of(path).join(target)),
            Err(_) => Ok(path.to_owned()),
        },
        Err(e) => Err(Error::system("resolve", path, &e)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
