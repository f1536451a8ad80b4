//! Random values for messages, from a seed: small ones mostly, edges often.

use bytes::Bytes;
use tidelog_core::id::TopicId;
use tidelog_core::kafka::Records;
use tidelog_core::rng::Rng;

/// Where random values come from, and the version they are for.
pub(crate) struct Drawer {
    /// The version of the message.
    pub(crate) version: i16,
    rng: Rng,
}

/// Something that can be drawn.
pub(crate) trait Draw: Sized {
    /// Draws one.
    fn draw(d: &mut Drawer) -> Self;
}

impl Drawer {
    /// A drawer for messages of this version.
    pub(crate) fn new(seed: u64, version: i16) -> Self {
        Self { version, rng: Rng::stream(seed, &[version as u64]) }
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    /// Random bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.rng.next_u64() as u8).collect()
    }

    /// Draws a value.
    pub(crate) fn draw<T: Draw>(&mut self) -> T {
        T::draw(self)
    }

    /// Draws a value if the version has it, else gives the default.
    pub(crate) fn draw_if<T: Draw>(&mut self, present: bool, default: T) -> T {
        if present { self.draw() } else { default }
    }

    /// Draws a value that is null at times if `nullable`.
    pub(crate) fn draw_nullable<T: Draw>(&mut self, nullable: bool) -> Option<T> {
        if nullable { self.draw() } else { Some(self.draw()) }
    }
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Draw for $int {
            fn draw(d: &mut Drawer) -> Self {
                let any = d.rng.next_u64() as $int;
                [0, 1, -1, <$int>::MIN, <$int>::MAX, any, any][d.below(7)]
            }
        }
    )*};
}

integers!(i8, i16, i32, i64);

impl Draw for bool {
    fn draw(d: &mut Drawer) -> Self {
        d.below(2) == 1
    }
}

impl Draw for String {
    fn draw(d: &mut Drawer) -> Self {
        // Around the lengths whose varint grows by a byte, and beyond.
        let length = match d.below(40) {
            0 => 0,
            1 => 126 + d.below(3),
            2 => 16_382 + d.below(3),
            _ => 1 + d.below(12),
        };
        (0..length).map(|_| ['a', 'Z', '0', '.', '_', 'é', '潮', '\0'][d.below(8)]).collect()
    }
}

impl Draw for TopicId {
    fn draw(d: &mut Drawer) -> Self {
        if d.draw() { TopicId::ZERO } else { TopicId(std::array::from_fn(|_| d.rng.next_u64() as u8)) }
    }
}

impl Draw for Records {
    fn draw(d: &mut Drawer) -> Self {
        let slices = d.below(4);
        let mut slice = |_| {
            let length = d.below(90);
            Bytes::from(d.bytes(length))
        };
        Records((0..slices).map(&mut slice).collect())
    }
}

impl<T: Draw> Draw for Option<T> {
    fn draw(d: &mut Drawer) -> Self {
        if d.below(4) == 0 { None } else { Some(d.draw()) }
    }
}

impl<T: Draw> Draw for Vec<T> {
    fn draw(d: &mut Drawer) -> Self {
        (0..d.below(4)).map(|_| d.draw()).collect()
    }
}
