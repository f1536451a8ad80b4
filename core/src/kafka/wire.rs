//! The letters of the Kafka protocol: integers, strings, arrays, records, tagged fields (KIP-482), read and written.
//!
//! Promises that reading never panics, and never takes more memory than a bounded multiple of the frame, whatever
//! the counts in it say; that records are never copied, neither in nor out. Does not know which fields a message has, nor what they mean.

mod reader;
mod writer;

use std::fmt;

use bytes::Bytes;

use crate::id::TopicId;

pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

/// What is wrong with bytes that should have been a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The bytes end before the message does.
    Short,
    /// A length below zero that does not mean null.
    NegativeLength,
    /// A count of things that the bytes left can not hold, or that would unfold to far more memory than the frame took.
    Count(u32),
    /// Null where this version has no null.
    Null,
    /// A string that is not UTF-8.
    Utf8,
    /// A varint of more than 32 bits.
    Varint,
    /// Tagged fields doubled or out of order.
    TagOrder,
    /// A tagged field that does not fill its declared size.
    TagSize,
    /// Bytes after the end of the message.
    Trailing,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Short => f.write_str("the bytes end too early"),
            Flaw::NegativeLength => f.write_str("a length is negative"),
            Flaw::Count(count) => write!(f, "{count} elements do not fit the bytes left"),
            Flaw::Null => f.write_str("null where the version has no null"),
            Flaw::Utf8 => f.write_str("a string is not UTF-8"),
            Flaw::Varint => f.write_str("a varint is too long"),
            Flaw::TagOrder => f.write_str("tagged fields are doubled or out of order"),
            Flaw::TagSize => f.write_str("a tagged field does not fill its size"),
            Flaw::Trailing => f.write_str("bytes are left after the end"),
        }
    }
}

impl std::error::Error for Flaw {}

/// Record batches as they are on the wire: a rope of shared slices, in order. Equal if the bytes are, however they are cut.
#[derive(Clone, Default)]
pub struct Records(
    /// The slices, one after the other.
    pub Vec<Bytes>,
);

impl Records {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The bytes in one piece: free if they are in one piece already, else a copy.
    pub fn to_bytes(&self) -> Bytes {
        match self.0.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes in {} slices)", self.len(), self.0.len())
    }
}

/// Something that has a place in a message.
pub(crate) trait Wire: Sized {
    /// Appends it, as the writer's version has it. Fields that the version lacks are dropped.
    fn write(&self, w: &mut Writer);
    /// Reads it, as the reader's version has it. Fields that the version lacks take Kafka's defaults.
    fn read(r: &mut Reader) -> Result<Self, Flaw>;
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            fn write(&self, w: &mut Writer) {
                w.bytes(&self.to_be_bytes());
            }

            fn read(r: &mut Reader) -> Result<Self, Flaw> {
                r.array().map(<$int>::from_be_bytes)
            }
        }
    )*};
}

integers!(i8, i16, i32, i64);

impl Wire for bool {
    fn write(&self, w: &mut Writer) {
        w.put(&i8::from(*self));
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        r.get::<i8>().map(|byte| byte != 0)
    }
}

impl Wire for TopicId {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        r.array().map(Self)
    }
}

/// The longest string that a version before the flexible ones can carry.
const LEGACY_STRING_BYTES_MAX: usize = i16::MAX as usize;

impl Wire for Option<String> {
    fn write(&self, w: &mut Writer) {
        match self {
            None if w.is_flexible() => w.length(None),
            None => w.put(&-1_i16),
            Some(string) => w.put(string),
        }
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let length = r.length::<i16>()?;
        length.map(|length| r.string(length)).transpose()
    }
}

impl Wire for String {
    /// A string too long for an old version's 16-bit length is cut short: a client that sent it in a newer version must not
    /// be able to fail the broker when an older client asks for it.
    fn write(&self, w: &mut Writer) {
        if w.is_flexible() {
            w.length(Some(self.len()));
            w.bytes(self.as_bytes());
        } else {
            let mut length = self.len().min(LEGACY_STRING_BYTES_MAX);
            while !self.is_char_boundary(length) {
                length -= 1;
            }
            w.put(&(length as i16));
            w.bytes(&self.as_bytes()[..length]);
        }
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        r.get::<Option<String>>()?.ok_or(Flaw::Null)
    }
}

impl Wire for Option<Records> {
    fn write(&self, w: &mut Writer) {
        w.length(self.as_ref().map(Records::len));
        self.iter().flat_map(|records| &records.0).for_each(|slice| w.slice(slice));
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let Some(length) = r.length::<i32>()? else {
            return Ok(None);
        };
        Ok(Some(r.slice(length)?.into()))
    }
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn write(&self, w: &mut Writer) {
        w.length(self.as_ref().map(Vec::len));
        self.iter().flatten().for_each(|element| w.put(element));
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let Some(count) = r.length::<i32>()? else {
            return Ok(None);
        };
        let mut elements = r.room(count)?;
        for _ in 0..count {
            elements.push(r.get()?);
        }
        Ok(Some(elements))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, w: &mut Writer) {
        w.length(Some(self.len()));
        self.iter().for_each(|element| w.put(element));
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        r.get::<Option<Vec<T>>>()?.ok_or(Flaw::Null)
    }
}
