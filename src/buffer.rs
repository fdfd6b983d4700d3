//! Memory for a whole data file, straight from the system. It goes back the moment that it is freed, where `malloc` keeps
//! some megabytes in each thread that ever freed as many; and a large one comes in huge pages where the system has them,
//! which takes half the time.

use std::io::{self, Read};
use std::ops::Deref;
use std::str::{self, Utf8Error};

use memmap2::MmapMut;

/// In bytes: from here on huge pages are asked for, which on most systems are half as large.
const LARGE: usize = 4 * 1024 * 1024;

/// Bytes that are appended.
#[derive(Debug, Default)]
pub struct Buffer {
    map: Option<MmapMut>,
    length: usize,
}

impl Buffer {
    /// An empty one with room for this many bytes.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        if capacity == 0 {
            return Ok(Self::default());
        }
        let map = MmapMut::map_anon(capacity)?;
        #[cfg(all(target_os = "linux", not(miri)))]
        if capacity >= LARGE {
            // Only faster.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map: Some(map), length: 0 })
    }

    /// The bytes that it occupies.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.len())
    }

    /// Appends all that is left to read.
    pub fn read_to_end(&mut self, source: &mut impl Read) -> io::Result<()> {
        loop {
            if self.length == self.capacity() {
                self.reserve(self.capacity().max(4096))?;
            }
            match source.read(self.room()) {
                Ok(0) => return Ok(()),
                Ok(read) => self.length += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reserve(bytes.len())?;
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }

    fn reserve(&mut self, more: usize) -> io::Result<()> {
        if self.capacity() - self.length < more {
            let mut larger = Self::with_capacity(self.length + more)?;
            larger.room()[..self.length].copy_from_slice(self);
            larger.length = self.length;
            *self = larger;
        }
        Ok(())
    }

    fn room(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().map_or(&mut [], |map| &mut map[self.length..])
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().map_or(&[], |map| &map[..self.length])
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
        for (capacity, size) in [(0, 0), (0, 1), (1, 1), (5, 4), (10, 100_000), (100_001, 100_000)] {
            let bytes: Vec<u8> = (0..size).map(|number: u32| number as u8).collect();
            let mut buffer = Buffer::with_capacity(capacity).expect("memory");
            buffer.read_to_end(&mut &bytes[..]).expect("read");
            assert_eq!(&*buffer, bytes);
        }
    }

    #[test]
    fn holds_what_was_appended_and_only_text() {
        let mut text = TextBuffer::with_capacity(3).expect("memory");
        for part in ["", "é", "🦀", "", "x"] {
            text.push_str(part).expect("room");
        }
        assert_eq!(&*text, "é🦀x");
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
