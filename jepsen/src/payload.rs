//! What a record carries: a value that is unique in the run, and enough around it to notice if any of it comes back changed.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// Everything of a record that a consumer must see as it was sent. Strings hold bytes as the characters 0 to 255.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payload {
    /// The key, if it has one.
    pub key: Option<String>,
    /// The value: a number and padding.
    pub value: Option<String>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<String>)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

impl Payload {
    /// A record of `value`, of a size and shape drawn from `rng`.
    pub fn draw(value: u64, timestamp: i64, rng: &mut Rng) -> Self {
        let padding = if rng.one_in(20) { rng.range(2000, 20_000) } else { rng.range(0, 400) };
        // Repetitive enough for a compression to be worth it, different enough to notice a mixture.
        let piece = char::from(b'a' + u8::try_from(rng.below(26)).unwrap_or(0));
        let padding: String = std::iter::repeat_n(piece, usize::try_from(padding).unwrap_or(0)).collect();
        let key = rng.one_in(2).then(|| format!("key-{}", rng.below(1000)));
        let header = |n: u64| (format!("h{n}"), (n > 0).then(|| format!("{value}\u{0}\u{ff}")));
        let headers = (0..rng.below(4).saturating_sub(1)).map(header).collect();
        Self { key, value: Some(format!("{value} {padding}")), headers, timestamp }
    }

    /// The number in the value, if there is one.
    pub fn number(&self) -> Option<u64> {
        self.value.as_deref()?.split(' ').next()?.parse().ok()
    }

    /// A hash of all of it (FNV-1a).
    pub fn digest(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        let mut string = |text: Option<&str>| match text {
            Some(text) => {
                take(&(text.len() as u64).to_le_bytes());
                take(text.as_bytes());
            }
            None => take(&[0xff; 8]),
        };
        string(self.key.as_deref());
        string(self.value.as_deref());
        for (key, value) in &self.headers {
            string(Some(key));
            string(value.as_deref());
        }
        string(Some(&self.timestamp.to_string()));
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_comes_back() {
        let mut rng = Rng::new(1, "payload");
        for value in [0, 7, u64::MAX] {
            assert_eq!(Payload::draw(value, 5, &mut rng).number(), Some(value));
        }
        let odd = Payload { key: None, value: Some("x 1".into()), headers: Vec::new(), timestamp: 0 };
        assert_eq!(odd.number(), None);
    }

    #[test]
    fn whatever_changes_is_noticed() {
        let whole = Payload {
            key: Some("k".into()),
            value: Some("1 a".into()),
            headers: vec![("h".into(), None), ("i".into(), Some(String::new()))],
            timestamp: 5,
        };
        let changes: [fn(&mut Payload); 6] = [
            |it| it.key = None,
            |it| it.value = Some("1 b".into()),
            |it| it.headers[0].1 = Some(String::new()),
            |it| it.headers.swap(0, 1),
            |it| drop(it.headers.pop()),
            |it| it.timestamp = 6,
        ];
        for change in changes {
            let mut changed = whole.clone();
            change(&mut changed);
            assert_ne!(changed.digest(), whole.digest(), "{changed:?}");
        }
    }
}
