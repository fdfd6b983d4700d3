//! The flock that all writers of our kind share, and the note in its file.
//!
//! The system frees an flock when its holder dies; the file stays. Its holder notes there who it is, since when, and
//! which lock directory it has made, and takes that back before it lets go. A note that is found by who gets the flock
//! was left by a holder that died.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fs2::FileExt;
use parking_lot::Mutex;

use crate::attributes::Attributes;
use crate::disk::{self, Mark};
use crate::error::{Error, Result};

/// The pause between two tries grows from the first to the second, and varies by half so that waiters don't march in
/// step. Shorter ones let the lock change hands at every commit, and each change costs a reading of the file.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));

const NUMBERS: usize = 8;
const NOTE_SIZE: usize = NUMBERS * size_of::<u64>();

/// What the flock file says: eight numbers, little-endian, zero for what there is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Note {
    /// The holder's process.
    process: u64,
    /// Since when it has held the flock, in milliseconds since 1970.
    since_ms: u64,
    /// The lock directory that it has made.
    directory: Option<Mark>,
    /// The data file that was last written by one of us.
    content: Option<Mark>,
}

impl Note {
    fn to_bytes(self) -> [u8; NOTE_SIZE] {
        let mut bytes = [0; NOTE_SIZE];
        let marks = [self.directory, self.content].into_iter().flat_map(Option::unwrap_or_default);
        for (place, number) in bytes.chunks_exact_mut(8).zip([self.process, self.since_ms].into_iter().chain(marks)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; NOTE_SIZE]) -> Self {
        let mut numbers = [0; NUMBERS];
        for (number, place) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = place.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        }
        let mark = |start| {
            let mark = std::array::from_fn(|number| numbers[start + number]);
            (mark != Mark::default()).then_some(mark)
        };
        Self { process: numbers[0], since_ms: numbers[1], directory: mark(2), content: mark(5) }
    }
}

/// The flock, held until it is dropped.
#[derive(Debug)]
pub struct Flock {
    file: File,
    /// What the last holder left.
    left: Note,
    note: Mutex<Note>,
}

impl Flock {
    /// Takes the flock of a data file, on `DATA_FILE.flock`.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when it can't be had for as long as `patience`.
    pub fn take(data_file: &Path, patience: Duration) -> Result<Arc<Self>> {
        let path = disk::with_suffix(data_file, ".flock");
        let file = open(&path, data_file).map_err(|e| Error::system("open", &path, &e))?;
        let taken = retry(patience, || match file.try_lock_exclusive() {
            Ok(()) => Ok(Some(())),
            Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(None),
            Err(e) => Err(Error::system("lock", &path, &e)),
        })?;
        let note = read_note(&file).map(Note::from_bytes);
        if taken.is_none() {
            return Err(Error::Locked { path, holder: describe(note.unwrap_or_default()) });
        }
        let left = note.map_err(|e| Error::system("read", &path, &e))?;
        let note = Note { process: process::id().into(), since_ms: now_ms(), ..left };
        let flock = Self { file, left, note: Mutex::new(note) };
        write_note(&flock.file, &note.to_bytes()).map_err(|e| Error::system("write", &path, &e))?;
        Ok(Arc::new(flock))
    }

    /// Whether the last holder died while it had the flock.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.left.process != 0
    }

    /// The lock directory that the last holder had made and did not remove.
    #[must_use]
    pub fn left_directory(&self) -> Option<Mark> {
        self.left.directory
    }

    /// The data file as one of us has last written it: what is exactly that has not been changed since.
    #[must_use]
    pub fn left_content(&self) -> Option<Mark> {
        self.left.content
    }

    /// Notes, with the next mark, what the holder has written.
    pub fn written(&self, content: Option<Mark>) {
        self.note.lock().content = content;
    }

    /// Notes which lock directory the holder has made.
    pub fn mark(&self, directory: Option<Mark>) -> io::Result<()> {
        let mut note = self.note.lock();
        note.directory = directory;
        write_note(&self.file, &note.to_bytes())
    }
}

#[cfg(test)]
impl Flock {
    /// What a process that dies does.
    ///
    /// # Panics
    ///
    /// If it can't.
    pub fn die(self: &Arc<Self>) {
        self.file.unlock().expect("unlocked");
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        // A directory that could not be removed is the next holder's, at once. If this fails, that one sweeps in vain.
        let note = Note { process: 0, since_ms: 0, ..*self.note.get_mut() };
        let _ = write_note(&self.file, &note.to_bytes());
    }
}

fn describe(note: Note) -> String {
    if note.process == 0 {
        return "other keyledger processes keep taking it".into();
    }
    let held = Duration::from_millis(now_ms().saturating_sub(note.since_ms)).as_secs_f64();
    format!("another keyledger, process {}, has held it for {held:.1} s", note.process)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Tries until there is something or the time is up.
pub fn retry<T>(patience: Duration, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let start = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        if let Some(got) = attempt()? {
            return Ok(Some(got));
        }
        let left = patience.saturating_sub(start.elapsed());
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

/// Opens the flock file of a data file. A new one is for whom the data file is for, root may be the first to write, and
/// at no moment for anybody else: a maker that dies must not shut the others out.
fn open(path: &Path, data_file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let new = disk::temporary_file(data_file)?;
    let attributes = Attributes::of(data_file)?;
    attributes.give_owner(new.as_file())?;
    attributes.give_mode(new.as_file(), 0o600)?;
    match new.persist_noclobber(path) {
        Ok(file) => Ok(file),
        // Somebody else has made it, or the file system can't do that: then owners and modes are mostly not its own.
        Err(_) => options.create(true).open(path),
    }
}

#[cfg(unix)]
fn read_note(file: &File) -> io::Result<[u8; NOTE_SIZE]> {
    let mut note = [0; NOTE_SIZE];
    // A short file says nothing; a short read may be followed by the rest.
    match std::os::unix::fs::FileExt::read_exact_at(file, &mut note, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok([0; NOTE_SIZE]),
        read => read.map(|()| note),
    }
}

#[cfg(unix)]
fn write_note(file: &File, note: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, note, 0)
}

/// Where a locked file can't be read by others nobody notes anything.
#[cfg(not(unix))]
fn read_note(_: &File) -> io::Result<[u8; NOTE_SIZE]> {
    Ok([0; NOTE_SIZE])
}

#[cfg(not(unix))]
fn write_note(_: &File, _: &[u8]) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        for (directory, content) in [(None, Some([6, 7, 8])), (Some([1, u64::MAX, 3]), None)] {
            let note = Note { process: 4, since_ms: 5, directory, content };
            assert_eq!(Note::from_bytes(note.to_bytes()), note);
        }
    }
}
