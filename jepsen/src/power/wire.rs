//! FUSE as the kernel speaks it (protocol 7.31, `include/uapi/linux/fuse.h`): requests read, answers written, as little as one
//! directory of plain files needs. Numbers are in the byte order of the machine.
//!
//! Promises: what is shorter than it must be is no request and no panic.

/// What the kernel asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request<'a> {
    Init {
        major: u32,
    },
    Lookup {
        name: &'a [u8],
    },
    Attributes,
    Resize {
        length: Option<u64>,
    },
    Remove {
        name: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
        flags: u32,
    },
    Open,
    OpenDirectory,
    Create {
        name: &'a [u8],
    },
    Read {
        at: u64,
        count: u32,
    },
    ReadDirectory {
        at: u64,
        count: u32,
    },
    Write {
        at: u64,
        bytes: &'a [u8],
        durable: bool,
    },
    Allocate {
        from: u64,
        count: u64,
        mode: u32,
    },
    Sync,
    SyncDirectory,
    Release {
        handle: u64,
    },
    Statfs,
    /// Nothing to do but to say so.
    Fine,
    /// Nothing to say, even.
    Silent,
    Unknown,
}

/// A request: its number, the inode it is about, and what it wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Asked<'a> {
    pub(super) unique: u64,
    pub(super) inode: u64,
    pub(super) request: Request<'a>,
}

/// The most that one write carries.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;
const HEADER: usize = 40;
const O_DSYNC: u32 = 0o10000;
const SET_SIZE: u32 = 1 << 3;
/// FUSE_BIG_WRITES, FUSE_MAX_PAGES.
const FEATURES: u32 = 1 << 5 | 1 << 22;
/// FOPEN_DIRECT_IO: the kernel keeps no pages, so that all there is to lose is here.
const DIRECT: u32 = 1;
pub(super) const DIRECTORY: u64 = 1;

impl<'a> Asked<'a> {
    /// Reads a request; `None` if it is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (operation, unique, inode) = (u32_at(bytes, 4)?, u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        let body = bytes.get(HEADER..)?;
        let request = match operation {
            1 => Request::Lookup { name: words(body, 0)?.0 },
            2 | 36 | 42 => Request::Silent,
            3 => Request::Attributes,
            4 => Request::Resize {
                length: if u32_at(body, 0)? & SET_SIZE == 0 { None } else { Some(u64_at(body, 16)?) },
            },
            10 => Request::Remove { name: words(body, 0)?.0 },
            12 => {
                let (from, to) = words(body, 8)?;
                Request::Rename { from, to, flags: 0 }
            }
            45 => {
                let (from, to) = words(body, 16)?;
                Request::Rename { from, to, flags: u32_at(body, 8)? }
            }
            14 => Request::Open,
            27 => Request::OpenDirectory,
            35 => Request::Create { name: words(body, 16)?.0 },
            15 => Request::Read { at: u64_at(body, 8)?, count: u32_at(body, 16)? },
            28 => Request::ReadDirectory { at: u64_at(body, 8)?, count: u32_at(body, 16)? },
            16 => {
                let count = usize::try_from(u32_at(body, 16)?).ok()?;
                let bytes = body.get(40..)?.get(..count)?;
                Request::Write { at: u64_at(body, 8)?, bytes, durable: u32_at(body, 32)? & O_DSYNC != 0 }
            }
            43 => Request::Allocate { from: u64_at(body, 8)?, count: u64_at(body, 16)?, mode: u32_at(body, 24)? },
            20 => Request::Sync,
            30 => Request::SyncDirectory,
            18 => Request::Release { handle: u64_at(body, 0)? },
            17 => Request::Statfs,
            // RELEASEDIR, FLUSH, ACCESS, DESTROY
            29 | 25 | 34 | 38 => Request::Fine,
            26 => Request::Init { major: u32_at(body, 0)? },
            _ => Request::Unknown,
        };
        Some(Self { unique, inode, request })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Two strings from `at`, each ended by a zero; the second may be missing.
fn words(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let mut parts = bytes.get(at..)?.split(|&byte| byte == 0);
    Some((parts.next()?, parts.next().unwrap_or_default()))
}

/// An answer under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// An answer, whole: the header and this body.
    pub(super) fn done(self, unique: u64) -> Vec<u8> {
        let mut whole = Answer::default().u32(u32::try_from(16 + self.0.len()).unwrap_or(u32::MAX)).u32(0).u64(unique);
        whole.0.extend(self.0);
        whole.0
    }

    /// An answer that it can not be done.
    pub(super) fn error(unique: u64, number: i32) -> Vec<u8> {
        Answer::default().u32(16).u32(number.wrapping_neg().cast_unsigned()).u64(unique).0
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(super) fn init(self) -> Self {
        let write = u32::try_from(WRITE_BYTES_MAX).unwrap_or(u32::MAX);
        let pages = u16::try_from(WRITE_BYTES_MAX / 4096).unwrap_or(u16::MAX);
        self.u32(7).u32(31).u32(0).u32(FEATURES).u16(16).u16(12).u32(write).u32(1).u16(pages).bytes(&[0; 34])
    }

    /// `struct fuse_attr`.
    fn attributes_of(self, inode: u64, length: u64) -> Self {
        let (mode, links) = if inode == DIRECTORY { (0o040_755, 2) } else { (0o100_644, 1) };
        let it = self.u64(inode).u64(length).u64(length.div_ceil(512)).bytes(&[0; 36]);
        it.u32(mode).u32(links).bytes(&[0; 12]).u32(4096).u32(0)
    }

    /// Valid for no time at all: the kernel asks every time.
    pub(super) fn attributes(self, inode: u64, length: u64) -> Self {
        self.bytes(&[0; 16]).attributes_of(inode, length)
    }

    pub(super) fn entry(self, inode: u64, length: u64) -> Self {
        self.u64(inode).bytes(&[0; 32]).attributes_of(inode, length)
    }

    pub(super) fn opened(self, handle: u64, direct: bool) -> Self {
        self.u64(handle).u32(if direct { DIRECT } else { 0 }).u32(0)
    }

    /// One name of a directory, if there is room; `next`: where the one after it is.
    pub(super) fn name(self, inode: u64, next: u64, name: &[u8], room: usize) -> Result<Self, Self> {
        let padded = (24 + name.len()).next_multiple_of(8);
        if self.0.len() + padded > room {
            return Err(self);
        }
        // DT_REG
        let length = u32::try_from(name.len()).unwrap_or(0);
        let padding = padded - 24 - name.len();
        Ok(self.u64(inode).u64(next).u32(length).u32(8).bytes(name).bytes(&[0; 8][..padding]))
    }

    pub(super) fn statfs(self) -> Self {
        let blocks = 1 << 26;
        self.u64(blocks).u64(blocks).u64(blocks).u64(1 << 20).u64(1 << 20).u32(4096).u32(255).u32(4096).bytes(&[0; 28])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(operation: u32, body: &[u8]) -> Vec<u8> {
        let header = Answer::default().u32(0).u32(operation).u64(7).u64(9).bytes(&[0; 16]);
        header.bytes(body).0
    }

    #[test]
    fn answers_have_the_sizes_of_the_kernel() {
        let size = |answer: Answer| answer.done(1).len() - 16;
        assert_eq!(size(Answer::default().init()), 64);
        assert_eq!(size(Answer::default().attributes(1, 0)), 104);
        assert_eq!(size(Answer::default().entry(2, 5)), 128);
        assert_eq!(size(Answer::default().opened(1, true)), 16);
        assert_eq!(size(Answer::default().statfs()), 80);
        assert_eq!(Answer::error(3, 2).len(), 16);
        let one = Answer::default().name(2, 1, b"name", 32).expect("it fits");
        assert!(one.name(3, 2, b"more", 63).is_err());
    }

    #[test]
    fn requests_are_read() {
        let rename = asked(12, b"\0\0\0\0\0\0\0\0old\0new\0");
        let asked_for = Asked::parse(&rename).expect("it is whole");
        assert_eq!((asked_for.unique, asked_for.inode), (7, 9));
        assert_eq!(asked_for.request, Request::Rename { from: b"old", to: b"new", flags: 0 });
        let write = Answer::default().u64(1).u64(4096).u32(3).u32(0).u64(0).u32(O_DSYNC).u32(0).bytes(b"abc").0;
        let request = asked(16, &write);
        let expected = Request::Write { at: 4096, bytes: b"abc", durable: true };
        assert_eq!(Asked::parse(&request).map(|it| it.request), Some(expected));
    }

    #[test]
    fn what_is_cut_short_is_no_request() {
        let write = asked(16, &Answer::default().u64(1).u64(0).u32(3).u32(0).u64(0).u32(0).u32(0).bytes(b"abc").0);
        for length in 0..write.len() {
            assert_eq!(Asked::parse(&write[..length]), None, "{length}");
        }
        assert_eq!(Asked::parse(&asked(4711, b"")).map(|it| it.request), Some(Request::Unknown));
    }
}
