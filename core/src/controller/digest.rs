//! A digest of bytes that is the same in every build: FNV-1a, 64 bits. Tells images apart; resists no adversary.

/// A digest in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64);

impl Digest {
    /// Starts from `seed`, so that digests can be chained.
    pub(super) const fn chained(seed: u64) -> Self {
        Self(0xcbf2_9ce4_8422_2325).u64(seed)
    }

    /// Adds a number, as eight little-endian bytes.
    pub(super) const fn u64(self, number: u64) -> Self {
        let bytes = number.to_le_bytes();
        let mut state = self.0;
        let mut at = 0;
        while at < bytes.len() {
            state = (state ^ bytes[at] as u64).wrapping_mul(0x100_0000_01b3);
            at += 1;
        }
        Self(state)
    }

    /// Adds bytes, and how many they are.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let state = bytes.iter().fold(self.0, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Self(state).u64(bytes.len() as u64)
    }

    /// The digest.
    pub(super) const fn value(self) -> u64 {
        self.0
    }
}
