//! Distributions as integer tables: no floating point takes part in a decision, so every build draws the same.

use tidelog_core::rng::Rng;

/// Rows of (weight, low, high): a row is drawn by weight, then a number from low to high, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table(pub(crate) &'static [(u64, u64, u64)]);

impl Table {
    /// One draw.
    pub(crate) fn draw(self, rng: &mut Rng) -> u64 {
        let total: u64 = self.0.iter().map(|row| row.0).sum();
        let mut ticket = rng.below(total);
        for &(weight, low, high) in self.0 {
            if ticket < weight {
                return rng.between(low, high);
            }
            ticket -= weight;
        }
        unreachable!("the ticket is below the sum of the weights")
    }
}

/// Microseconds a message takes between two brokers.
pub(crate) const PEER_LATENCY: Table =
    Table(&[(700, 80, 400), (250, 400, 1_500), (45, 1_500, 8_000), (5, 8_000, 40_000)]);
/// Microseconds a message takes in a bad network.
pub(crate) const PEER_LATENCY_BAD: Table =
    Table(&[(400, 80, 2_000), (400, 2_000, 20_000), (180, 20_000, 150_000), (20, 150_000, 900_000)]);
/// Microseconds a very late copy takes.
pub(crate) const VERY_LATE: Table = Table(&[(600, 1_000_000, 3_000_000), (400, 3_000_000, 10_000_000)]);
/// Microseconds a chunk of a client connection takes.
pub(crate) const WIRE_LATENCY: Table = Table(&[(800, 100, 600), (180, 600, 3_000), (20, 3_000, 60_000)]);
/// Microseconds a step of a broker takes.
pub(crate) const STEP_COST: Table = Table(&[(900, 5, 40), (95, 40, 120), (5, 120, 2_000)]);
/// Microseconds a read or a write into the page cache takes.
pub(crate) const DISK_QUICK: Table = Table(&[(900, 10, 120), (95, 120, 1_000), (5, 1_000, 10_000)]);
/// Microseconds a sync or a durable write takes.
pub(crate) const DISK_SYNC: Table = Table(&[(850, 200, 1_500), (140, 1_500, 4_000), (10, 4_000, 40_000)]);
/// Microseconds a stalled disk adds to an operation.
pub(crate) const DISK_STALL: Table = Table(&[(700, 50_000, 200_000), (300, 200_000, 800_000)]);
/// Microseconds between the bytes that reach a cut connection and the next attempt to deliver them.
pub(crate) const RETRANSMIT: Table = Table(&[(1, 150_000, 400_000)]);

/// Microseconds between something rare and the power loss that waits for it.
pub(crate) const AMBUSH: Table = Table(&[(500, 1, 400), (400, 400, 3_000), (100, 3_000, 50_000)]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_the_rows_and_meet_each() {
        let table = Table(&[(1, 0, 3), (1, 100, 100)]);
        let mut rng = Rng::stream(7, &[1]);
        let draws: Vec<u64> = (0..200).map(|_| table.draw(&mut rng)).collect();
        assert!(draws.iter().all(|draw| *draw <= 3 || *draw == 100));
        assert!(draws.contains(&100) && draws.contains(&3) && draws.contains(&0));
    }
}
