//! What can go wrong with the data file, and how it is told.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// A `Result` of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A fault. Cheap to clone, since all who wait for one commit or one read are told the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The data file is not what it should be.
    Data {
        /// The data file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Somebody else has the lock.
    Locked {
        /// The flock file or the lock directory.
        path: PathBuf,
        /// Who holds it, and for how long, as far as one can tell.
        holder: String,
    },
    /// The file was replaced, but that could not be made durable: it holds the new content, and a power cut may take it.
    Unsynced {
        /// The data file.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },
    /// The system refused.
    System {
        /// What was tried, as in "cannot ACTION".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's name of the fault, `ENOSPC` for example.
        code: &'static str,
        /// The system's own words.
        reason: String,
    },
}

impl Error {
    /// A system fault met while trying to ACTION on PATH.
    #[must_use]
    pub fn system(action: &'static str, path: &Path, source: &io::Error) -> Self {
        Self::System { action, path: path.to_owned(), code: code_of(source), reason: words_of(source) }
    }

    /// A fault of the sync that follows the replacement of PATH.
    #[must_use]
    pub fn unsynced(path: &Path, source: &io::Error) -> Self {
        Self::Unsynced { path: path.to_owned(), reason: words_of(source) }
    }

    /// The stable code by which a program tells faults apart.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Data { .. } => "EDATA",
            Self::Locked { .. } => "ELOCKED",
            Self::Unsynced { .. } => "EUNSYNCED",
            Self::System { code, .. } => code,
        }
    }

    /// The file or folder that the fault is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Data { path, .. }
            | Self::Locked { path, .. }
            | Self::Unsynced { path, .. }
            | Self::System { path, .. } => path,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::Data { reason, .. } => {
                write!(f, "EDATA: {path} is not a valid data file: {reason}; mend or restore it, it is left as it is")
            }
            Self::Locked { holder, .. } => {
                write!(f, "ELOCKED: cannot lock {path}: {holder}; try again, or raise LOCK_TIMEOUT_MS")
            }
            Self::Unsynced { reason, .. } => write!(
                f,
                "EUNSYNCED: {path} was written, but its folder can't be synced: {reason}; do not write the same again, \
                 check the disk"
            ),
            Self::System { action, code, reason, .. } => {
                write!(f, "{code}: cannot {action} {path}: {reason}")?;
                match *code {
                    "EBUSY" => write!(
                        f,
                        "; a file that is mounted by itself cannot be replaced: mount the folder that holds it"
                    ),
                    "EACCES" | "EPERM" => {
                        write!(f, "; the process needs read and write access to the file and to its folder")
                    }
                    "EROFS" => write!(f, "; the data file must be on a file system that can be written"),
                    "ENOSPC" | "EDQUOT" => write!(f, "; free some space"),
                    "EMFILE" | "ENFILE" => write!(f, "; raise the limit of open files"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for Error {}

/// What is not there is no fault.
pub fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The system's words, without the number that Rust puts behind them.
fn words_of(source: &io::Error) -> String {
    let words = source.to_string();
    words.split(" (os error").next().unwrap_or(&words).to_lowercase()
}

/// The names of the faults that work on files can end in; anything else is an `EIO`.
#[cfg(unix)]
fn code_of(source: &io::Error) -> &'static str {
    macro_rules! names {
        ($($name:ident = $errno:ident),* $(,)?) => {
            match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                $(Some(rustix::io::Errno::$errno) => stringify!($name),)*
                _ => code_of_kind(source),
            }
        };
    }
    names!(
        EACCES = ACCESS,
        EBUSY = BUSY,
        EDQUOT = DQUOT,
        EEXIST = EXIST,
        EFBIG = FBIG,
        EINVAL = INVAL,
        EISDIR = ISDIR,
        ELOOP = LOOP,
        EMFILE = MFILE,
        ENAMETOOLONG = NAMETOOLONG,
        ENFILE = NFILE,
        ENOENT = NOENT,
        ENOLCK = NOLCK,
        ENOMEM = NOMEM,
        ENOSPC = NOSPC,
        ENOTDIR = NOTDIR,
        ENOTEMPTY = NOTEMPTY,
        ENOTSUP = NOTSUP,
        ENXIO = NXIO,
        EPERM = PERM,
        EROFS = ROFS,
        ESTALE = STALE,
        ETXTBSY = TXTBSY,
        EXDEV = XDEV,
    )
}

#[cfg(not(unix))]
fn code_of(source: &io::Error) -> &'static str {
    code_of_kind(source)
}

fn code_of_kind(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "ENOENT",
        io::ErrorKind::PermissionDenied => "EACCES",
        io::ErrorKind::AlreadyExists => "EEXIST",
        io::ErrorKind::StorageFull => "ENOSPC",
        io::ErrorKind::IsADirectory => "EISDIR",
        io::ErrorKind::ResourceBusy => "EBUSY",
        io::ErrorKind::ReadOnlyFilesystem => "EROFS",
        io::ErrorKind::OutOfMemory => "ENOMEM",
        _ => "EIO",
    }
}
