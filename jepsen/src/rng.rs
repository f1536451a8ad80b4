//! Random numbers that follow from a seed (SplitMix64): the same seed gives the same plan of faults, on every machine.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`. Streams of different names are unrelated, so that one user does not shift another's.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut rng = Self(seed);
        for byte in name.bytes() {
            rng.0 = rng.0.rotate_left(8) ^ u64::from(byte);
            rng.draw();
        }
        rng
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.draw() % end }
    }

    /// A number of `from..to`.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.below(to.saturating_sub(from)))
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of them; none of none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_seed_and_a_name_make_a_stream() {
        let first = |seed, name: &str| {
            let mut rng = Rng::new(seed, name);
            [rng.draw(), rng.draw()]
        };
        assert_eq!(first(1, "plan"), first(1, "plan"));
        assert_ne!(first(1, "plan"), first(2, "plan"));
        assert_ne!(first(1, "plan"), first(1, "load"));
    }

    #[test]
    fn ranges_hold() {
        let mut rng = Rng::new(3, "");
        for _ in 0..1000 {
            assert!((5..9).contains(&rng.range(5, 9)));
        }
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}
