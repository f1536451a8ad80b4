//! Reading a message from a frame.
//!
//! Promises that nothing outside the frame is touched, and that lists take no more memory than the frame's budget. Does not know
//! which fields a message has.

use std::ops::Range;

use bytes::Bytes;

use super::{Flaw, Wire};

/// How many times its own size a frame may take in memory as array elements, over [`UNFOLDING_BYTES_FREE`]. The tightest honest
/// messages, lists of topics with names of a few letters, need ten.
const UNFOLDING_MAX: usize = 16;
/// What array elements may take in memory however small the frame.
const UNFOLDING_BYTES_FREE: usize = 64 * 1024;

/// Reads one message from a frame.
pub(crate) struct Reader {
    frame: Bytes,
    at: usize,
    end: usize,
    version: i16,
    flexible: bool,
    /// How many bytes of array elements may still be allocated.
    budget: usize,
}

impl Reader {
    /// A reader of a message of this version; `flexible` ones have compact lengths and tagged fields.
    pub(crate) fn new(frame: Bytes, version: i16, flexible: bool) -> Self {
        let end = frame.len();
        let budget = end.saturating_mul(UNFOLDING_MAX).saturating_add(UNFOLDING_BYTES_FREE);
        Self { frame, at: 0, end, version, flexible, budget }
    }

    /// The version being read.
    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    /// Changes the version, once the header has told it.
    pub(crate) fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// Reads a value.
    pub(crate) fn get<T: Wire>(&mut self) -> Result<T, Flaw> {
        T::read(self)
    }

    /// Reads a value that may be null if `nullable`.
    pub(crate) fn get_nullable<T: Wire>(&mut self, nullable: bool) -> Result<Option<T>, Flaw>
    where
        Option<T>: Wire,
    {
        if nullable { self.get() } else { self.get().map(Some) }
    }

    /// Reads a value if the version has it, else gives the default.
    pub(crate) fn get_if<T: Wire>(&mut self, present: bool, default: T) -> Result<T, Flaw> {
        if present { self.get() } else { Ok(default) }
    }

    /// Ends a struct: in flexible versions reads its tagged fields. The closure reads those it knows, says whether it knew,
    /// and unknown ones are skipped by their size.
    pub(crate) fn tags(&mut self, mut known: impl FnMut(u32, &mut Self) -> Result<bool, Flaw>) -> Result<(), Flaw> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.uvarint()?;
        let mut previous = None;
        for _ in 0..count {
            let tag = self.uvarint()?;
            if previous.is_some_and(|previous| previous >= tag) {
                return Err(Flaw::TagOrder);
            }
            previous = Some(tag);
            let size = self.uvarint()? as usize;
            let end = self.at.checked_add(size).filter(|end| *end <= self.end).ok_or(Flaw::Short)?;
            let outer = std::mem::replace(&mut self.end, end);
            if !known(tag, self)? {
                self.at = end;
            }
            self.end = outer;
            if self.at != end {
                return Err(Flaw::TagSize);
            }
        }
        Ok(())
    }

    /// Ends a struct of which we know no tagged fields.
    pub(crate) fn no_tags(&mut self) -> Result<(), Flaw> {
        self.tags(|_, _| Ok(false))
    }

    /// Checks that everything was read.
    pub(crate) fn finish(&self) -> Result<(), Flaw> {
        if self.at == self.end { Ok(()) } else { Err(Flaw::Trailing) }
    }

    /// The integer that comes next, left in place.
    pub(crate) fn peek_i16(&self) -> Option<i16> {
        self.frame[self.at..self.end].first_chunk().copied().map(i16::from_be_bytes)
    }

    fn left(&self) -> usize {
        self.end - self.at
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, Flaw> {
        if length > self.left() {
            return Err(Flaw::Short);
        }
        let from = self.at;
        self.at += length;
        Ok(from..self.at)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let range = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.frame[range]);
        Ok(array)
    }

    fn uvarint(&mut self) -> Result<u32, Flaw> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(Flaw::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Flaw::Varint)
    }

    /// A length or count; `None` is null. In versions that are not flexible it is an `L`, and -1 is null.
    pub(super) fn length<L: Wire + Into<i32>>(&mut self) -> Result<Option<usize>, Flaw> {
        if self.flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize));
        }
        match self.get::<L>()?.into() {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| Flaw::NegativeLength),
        }
    }

    /// The next bytes as a string.
    pub(super) fn string(&mut self, length: usize) -> Result<String, Flaw> {
        let range = self.take(length)?;
        std::str::from_utf8(&self.frame[range]).map(str::to_owned).map_err(|_| Flaw::Utf8)
    }

    /// The next bytes as a slice of the frame.
    pub(super) fn slice(&mut self, length: usize) -> Result<Bytes, Flaw> {
        let range = self.take(length)?;
        Ok(self.frame.slice(range))
    }

    /// An empty list with room for `count` elements, taken from the budget. Every element takes a byte at least, so a count above
    /// the bytes left is refused, too.
    pub(super) fn room<T>(&mut self, count: usize) -> Result<Vec<T>, Flaw> {
        let cost = count.checked_mul(size_of::<T>()).filter(|cost| count <= self.left() && *cost <= self.budget);
        self.budget -= cost.ok_or(Flaw::Count(u32::try_from(count).unwrap_or(u32::MAX)))?;
        Ok(Vec::with_capacity(count))
    }
}
