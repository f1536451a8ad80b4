//! Writing a message into chunks, around the slices that it shares.
//!
//! Promises that slices go out uncopied and in their place, and that the frame's length is that of what follows. Does not know
//! which fields a message has.

use bytes::{BufMut, Bytes, BytesMut};

use super::Wire;

/// Writes one message: small things into chunks of its own, records as the slices they are.
pub(crate) struct Writer {
    version: i16,
    flexible: bool,
    /// What was closed by a slice: own chunks and slices in order, but for the first own chunk, whose length is patched late.
    head: Option<BytesMut>,
    done: Vec<Bytes>,
    open: BytesMut,
}

/// The tagged fields of one struct, gathered before their number is known.
pub(crate) struct Tags {
    version: i16,
    count: u32,
    bytes: BytesMut,
}

impl Writer {
    /// A writer of messages of this version; `flexible` ones have compact lengths and tagged fields.
    pub(crate) fn new(version: i16, flexible: bool) -> Self {
        Self { version, flexible, head: None, done: Vec::new(), open: BytesMut::new() }
    }

    /// The version being written.
    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    /// Whether lengths are compact.
    pub(super) fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Changes between the header's and the body's way of writing.
    pub(crate) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Appends a value.
    pub(crate) fn put<T: Wire>(&mut self, value: &T) {
        value.write(self);
    }

    /// Appends a value that may be null if `nullable`; else null is written as empty.
    pub(crate) fn put_nullable<T: Wire + Default>(&mut self, nullable: bool, value: &Option<T>)
    where
        Option<T>: Wire,
    {
        match value {
            None if !nullable => T::default().write(self),
            value => value.write(self),
        }
    }

    /// Ends a struct: in flexible versions its tagged fields follow, in the order the closure adds them.
    pub(crate) fn tags(&mut self, add: impl FnOnce(&mut Tags)) {
        if self.flexible {
            let mut tags = Tags { version: self.version, count: 0, bytes: BytesMut::new() };
            add(&mut tags);
            put_uvarint(&mut self.open, tags.count);
            self.bytes(&tags.bytes);
        }
    }

    /// Ends a struct without tagged fields.
    pub(crate) fn no_tags(&mut self) {
        self.tags(|_| ());
    }

    /// Appends bytes as they are, by copying them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
    }

    /// Appends a length or count; `None` is null. Strings of versions that are not flexible have lengths of their own.
    pub(super) fn length(&mut self, length: Option<usize>) {
        let length = length.map(|length| i32::try_from(length).expect("no message holds 2 GiB"));
        if self.flexible {
            put_uvarint(&mut self.open, length.map_or(0, |length| length as u32 + 1));
        } else {
            self.open.put_i32(length.unwrap_or(-1));
        }
    }

    /// Appends a slice by sharing it.
    pub(super) fn slice(&mut self, slice: &Bytes) {
        if slice.is_empty() {
            return;
        }
        let chunk = self.open.split();
        match &self.head {
            None => self.head = Some(chunk),
            Some(_) if chunk.is_empty() => {}
            Some(_) => self.done.push(chunk.freeze()),
        }
        self.done.push(slice.clone());
    }

    /// Leaves room for the length of the frame, which [`Writer::into_frame`] fills in. To be called first.
    pub(crate) fn begin_frame(&mut self) {
        assert!(self.head.is_none() && self.open.is_empty(), "the length of a frame comes first");
        self.open.reserve(256);
        self.open.put_i32(0);
    }

    /// The frame: its length and everything written, in chunks.
    pub(crate) fn into_frame(mut self) -> Vec<Bytes> {
        let (mut head, tail) = match self.head.take() {
            None => (self.open, BytesMut::new()),
            Some(head) => (head, self.open),
        };
        let length = head.len() - 4 + self.done.iter().map(Bytes::len).sum::<usize>() + tail.len();
        let length = i32::try_from(length).expect("no frame holds 2 GiB");
        head[..4].copy_from_slice(&length.to_be_bytes());
        let mut chunks = Vec::with_capacity(self.done.len() + 2);
        chunks.push(head.freeze());
        chunks.append(&mut self.done);
        if !tail.is_empty() {
            chunks.push(tail.freeze());
        }
        chunks
    }
}

impl Tags {
    /// Adds a tagged field; tags ascend. Kafka leaves out those that hold their default, and so must the caller.
    pub(crate) fn put<T: Wire>(&mut self, tag: u32, value: &T) {
        let mut field = Writer::new(self.version, true);
        field.put(value);
        assert!(field.head.is_none(), "records are never tagged");
        put_uvarint(&mut self.bytes, tag);
        put_uvarint(&mut self.bytes, u32::try_from(field.open.len()).expect("no tagged field holds 4 GiB"));
        self.bytes.put_slice(&field.open);
        self.count += 1;
    }
}

fn put_uvarint(bytes: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        bytes.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.put_u8(value as u8);
}
