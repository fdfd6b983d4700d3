//! Memory for a whole data file. That for a large one comes straight from the system: it goes back the moment that it is
//! freed, where `malloc` keeps some megabytes for each thread that ever freed as many; and it comes in huge pages where the
//! system has them, which takes half the time.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
#[cfg(unix)]
use std::panic::resume_unwind;
use std::str::{self, Utf8Error};
#[cfg(unix)]
use std::thread;

use memmap2::MmapMut;

/// The size of a huge page on most systems, in bytes. What is smaller comes from `malloc`, which has it at hand when the next
/// content is made.
const HUGE_PAGE: usize = if cfg!(miri) { 8 * 1024 } else { 2 * 1024 * 1024 };

/// Bytes that are appended.
#[derive(Debug)]
pub enum Buffer {
    /// A small one.
    Heap(Vec<u8>),
    /// A large one, and how much of it is used.
    Pages(MmapMut, usize),
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Buffer {
    /// An empty one with room for this many bytes.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        if capacity < HUGE_PAGE {
            return Ok(Self::Heap(Vec::with_capacity(capacity)));
        }
        // Only whole ones are huge.
        let map = MmapMut::map_anon(capacity.checked_next_multiple_of(HUGE_PAGE).unwrap_or(capacity))?;
        #[cfg(all(target_os = "linux", not(miri)))]
        // Where there are none it is slower.
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self::Pages(map, 0))
    }

    /// The bytes that it occupies.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.capacity(),
            Self::Pages(map, _) => map.len(),
        }
    }

    /// What a file holds that has not been read yet, and whose size is this.
    pub fn of_file(file: &mut File, size: usize) -> io::Result<Self> {
        // One more, so that the end is found without more room.
        let mut buffer = Self::with_capacity(size + 1)?;
        #[cfg(unix)]
        if let Self::Pages(map, length) = &mut buffer
            && read_halves(file, &mut map[..size]).is_ok()
        {
            *length = size;
            io::Seek::seek(file, io::SeekFrom::Start(size as u64))?;
        }
        // What is left; all of it, if the file turned out to be shorter.
        buffer.read_to_end(file)?;
        Ok(buffer)
    }

    /// Appends all that is left to read.
    pub fn read_to_end(&mut self, source: &mut impl Read) -> io::Result<()> {
        loop {
            let (map, length) = match self {
                Self::Heap(bytes) => return source.read_to_end(bytes).map(drop),
                Self::Pages(map, length) => (map, length),
            };
            if *length == map.len() {
                let more = map.len();
                self.reserve(more)?;
                continue;
            }
            match source.read(&mut map[*length..]) {
                Ok(0) => return Ok(()),
                Ok(read) => *length += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reserve(bytes.len())?;
        match self {
            Self::Heap(heap) => heap.extend_from_slice(bytes),
            Self::Pages(map, length) => {
                map[*length..][..bytes.len()].copy_from_slice(bytes);
                *length += bytes.len();
            }
        }
        Ok(())
    }

    fn reserve(&mut self, more: usize) -> io::Result<()> {
        if self.capacity() - self.len() < more {
            let mut larger = Self::with_capacity(self.len() + more)?;
            larger.push(self)?;
            *self = larger;
        }
        Ok(())
    }
}

/// Fills a buffer from the beginning of a file, each half by a thread.
#[cfg(unix)]
fn read_halves(file: &File, buffer: &mut [u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let middle = buffer.len() / 2;
    let (first, second) = buffer.split_at_mut(middle);
    thread::scope(|scope| {
        let read = move || file.read_exact_at(second, middle as u64);
        let other = thread::Builder::new().spawn_scoped(scope, read)?;
        file.read_exact_at(first, 0)?;
        other.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(map, length) => &map[..*length],
        }
    }
}

/// A text in a buffer.
#[derive(Debug, Default)]
pub struct TextBuffer(Buffer);

impl TextBuffer {
    /// An empty one with room for this many bytes.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        Buffer::with_capacity(capacity).map(Self)
    }

    /// The text that a buffer holds, if it is one.
    pub fn from_utf8(buffer: Buffer) -> Result<Self, Utf8Error> {
        str::from_utf8(&buffer)?;
        Ok(Self(buffer))
    }

    /// The bytes that it occupies.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Appends a text.
    pub fn push_str(&mut self, text: &str) -> io::Result<()> {
        self.0.push(text.as_bytes())
    }
}

impl Deref for TextBuffer {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: only `from_utf8` and `push_str` put something in, the one what it has checked, the other a `str`. The
        // memory is private to this process, and nothing else has access to it.
        unsafe { str::from_utf8_unchecked(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_read_whatever_room_it_had() {
        for (capacity, size) in [
            (0, 0),
            (0, 1),
            (5, 4),
            (10, HUGE_PAGE / 20),
            (HUGE_PAGE, HUGE_PAGE),
            (HUGE_PAGE, HUGE_PAGE + 1_000),
            (HUGE_PAGE + 1_001, HUGE_PAGE + 1_000),
        ] {
            let bytes: Vec<u8> = (0..size).map(|number: usize| number as u8).collect();
            let mut buffer = Buffer::with_capacity(capacity).expect("memory");
            buffer.read_to_end(&mut &bytes[..]).expect("read");
            assert_eq!(&*buffer, bytes);
        }
    }

    /// It may have been cut, or have grown, since its size was looked at.
    #[test]
    fn holds_a_file_whatever_was_thought_of_its_size() {
        for size in [0, 1, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1, 2 * HUGE_PAGE + 5] {
            let bytes: Vec<u8> = (0..size).map(|number: usize| (number % 251) as u8).collect();
            let mut file = tempfile::tempfile().expect("a file");
            io::Write::write_all(&mut file, &bytes).expect("written");
            for thought in [0, size / 2, size, size + 7, size + HUGE_PAGE] {
                io::Seek::rewind(&mut file).expect("rewound");
                let buffer = Buffer::of_file(&mut file, thought).expect("read");
                assert!(*buffer == bytes, "{size} bytes, thought to be {thought}");
            }
        }
    }

    #[test]
    fn holds_what_was_appended_and_only_text() {
        let mut text = TextBuffer::with_capacity(3).expect("memory");
        let long = "é".repeat(HUGE_PAGE / 2);
        for part in ["", "é", "🦀", "", "x", &long, "y"] {
            text.push_str(part).expect("room");
        }
        assert_eq!(&*text, format!("é🦀x{long}y"));
        let mut buffer = Buffer::default();
        buffer.read_to_end(&mut &b"ab\xff"[..]).expect("read");
        assert_eq!(TextBuffer::from_utf8(buffer).expect_err("no text").valid_up_to(), 2);
        assert_eq!(&*TextBuffer::default(), "");
    }

    #[test]
    fn a_size_that_can_not_be_had_is_an_error() {
        assert!(Buffer::with_capacity(isize::MAX.cast_unsigned()).is_err());
    }
}
