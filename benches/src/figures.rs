//! Figures and how they are printed: percentiles, ratios, how busy the machine is.

use std::fmt;
use std::fs;
use std::time::Duration;

/// How long each of many things took.
#[derive(Clone, Debug, Default)]
pub struct Spans(Vec<Duration>);

impl Spans {
    /// Adds one.
    pub fn add(&mut self, span: Duration) {
        self.0.push(span);
    }

    /// Adds all of another's.
    pub fn extend(&mut self, others: Spans) {
        self.0.extend(others.0);
    }

    /// Sums it up. Without a span everything is zero.
    pub fn summary(mut self) -> Summary {
        self.0.sort_unstable();
        let count = self.0.len();
        let at = |numerator: usize, denominator: usize| {
            let rank = (count * numerator).div_ceil(denominator).max(1) - 1;
            self.0.get(rank).copied().unwrap_or_default()
        };
        let total: Duration = self.0.iter().sum();
        Summary {
            count,
            mean: total.checked_div(count as u32).unwrap_or_default(),
            p50: at(50, 100),
            p99: at(99, 100),
            p999: at(999, 1_000),
            max: self.0.last().copied().unwrap_or_default(),
        }
    }
}

/// Many spans in a few numbers. A percentile is the smallest span that so many are not above (nearest rank).
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// The mean.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// 999 of 1,000.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
            self.count,
            millis(self.mean),
            millis(self.p50),
            millis(self.p99),
            millis(self.p999),
            millis(self.max)
        )
    }
}

/// The head of a table of [`Summary`] lines.
pub const SUMMARY_HEAD: &str = "   count      mean       p50       p99     p99.9       max";

/// Milliseconds, three digits behind the point.
pub fn millis(span: Duration) -> String {
    format!("{:.3}", span.as_secs_f64() * 1e3)
}

/// `a` over `b`; not a number if `b` is nothing.
pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// How many processes ran or waited for a core or the disk, over 1, 5 and 15 minutes, and how many cores there are.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = load.split(' ').take(3).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("load {} on {cores} cores", averages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut spans = Spans::default();
        (1..=200).rev().for_each(|nth| spans.add(Duration::from_millis(nth)));
        let summary = spans.summary();
        let found = [summary.p50, summary.p99, summary.p999, summary.max].map(|span| span.as_millis());
        assert_eq!(found, [100, 198, 200, 200]);
        assert_eq!((summary.count, millis(summary.mean)), (200, "100.500".to_owned()));
        assert_eq!(Spans::default().summary().max, Duration::ZERO);
    }
}
