//! Random numbers from a seed, in isolated streams: a draw added to one stream never moves another.
//!
//! SplitMix64 (Steele, Lea, Flood 2014). Integers only: no floating point takes part in a decision.

/// One deterministic stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

/// Scrambles one word; the finaliser of SplitMix64. Equal in every build.
pub const fn mix(word: u64) -> u64 {
    let mut z = word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of `seed` named by `labels`, for example `[SUBSYSTEM, node, kind]`.
    pub fn stream(seed: u64, labels: &[u64]) -> Self {
        let state = labels.iter().fold(mix(seed ^ 0x9e37_79b9_7f4a_7c15), |state, label| {
            mix(state.rotate_left(23) ^ mix(label.wrapping_add(0x632b_e59b_d9b4_e019)))
        });
        Self { state }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, evenly (multiply-shift; the bias is below 2^-32 for bounds below 2^32). Zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high);
        low + self.below(high - low + 1)
    }

    /// True `per_mille` times in a thousand.
    pub fn per_mille(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// True `ppm` times in a million.
    pub fn per_million(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }

    /// One of the items, evenly. `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }
}
