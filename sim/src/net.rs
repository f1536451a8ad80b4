//! The network: who can reach whom, and what becomes of a message.
//!
//! Every directed link between brokers has its own random stream. Client connections ask only who is cut off from whom;
//! their bytes keep their order (see `wire`). The network knows nothing of what a message says.

use tidelog_core::rng::Rng;

use crate::streams;
use crate::table;

/// A place in the network: a broker (from 0) or a client (from [`CLIENTS`]).
pub(crate) type Place = u32;

/// The first client's place; brokers are below.
pub(crate) const CLIENTS: Place = 16;

/// A set of places.
pub(crate) type Places = u64;

/// The set of one place.
pub(crate) const fn only(place: Place) -> Places {
    1 << place
}

/// One message in ten thousand and so on: how bad the links between brokers are, in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weather {
    /// Messages that vanish.
    pub loss: u64,
    /// Messages that come twice.
    pub duplicate: u64,
    /// Messages of which a copy comes seconds later.
    pub late: u64,
    /// Messages that take the latency of a bad network, and so overtake each other.
    pub slow: u64,
}

/// How a message comes to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// As it should.
    Plain,
    /// A second copy, soon.
    Duplicate,
    /// A second copy, seconds later.
    Late,
}

/// When copies of a message arrive, in microseconds from now.
pub(crate) type Fate = [Option<(u64, How)>; 3];

#[derive(Debug)]
struct Cut {
    id: u64,
    from: Places,
    to: Places,
}

/// The state of the network.
#[derive(Debug)]
pub(crate) struct Net {
    links: Vec<Rng>,
    brokers: u32,
    base: Weather,
    storm: Option<(u64, Weather)>,
    cuts: Vec<Cut>,
    clogs: Vec<(u64, Place, u64)>,
}

impl Net {
    pub(crate) fn new(seed: u64, brokers: u32, base: Weather) -> Self {
        let links = (0..brokers * brokers)
            .map(|link| Rng::stream(seed, &[streams::LINK, u64::from(link / brokers), u64::from(link % brokers)]))
            .collect();
        Self { links, brokers, base, storm: None, cuts: Vec::new(), clogs: Vec::new() }
    }

    /// What becomes of a message from one broker to another.
    pub(crate) fn fate(&mut self, from: Place, to: Place) -> Fate {
        if self.is_cut(from, to) {
            return [None; 3];
        }
        let weather = self.storm.map_or(self.base, |(_, storm)| storm);
        let clog: u64 = self.clogs.iter().filter(|clog| clog.1 == from || clog.1 == to).map(|clog| clog.2).sum();
        let rng = &mut self.links[(from * self.brokers + to) as usize];
        let latency = |rng: &mut Rng| {
            let table = match rng.per_million(weather.slow) {
                true => table::PEER_LATENCY_BAD,
                false => table::PEER_LATENCY,
            };
            clog + table.draw(rng)
        };
        let lost = rng.per_million(weather.loss);
        let plain = latency(rng);
        let duplicate = rng.per_million(weather.duplicate).then(|| latency(rng));
        let late = rng.per_million(weather.late).then(|| table::VERY_LATE.draw(rng));
        [
            (!lost).then_some((plain, How::Plain)),
            duplicate.map(|delay| (delay, How::Duplicate)),
            late.map(|delay| (delay, How::Late)),
        ]
    }

    /// Whether nothing gets from one place to the other.
    pub(crate) fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cuts.iter().any(|cut| cut.from & only(from) != 0 && cut.to & only(to) != 0)
    }

    /// From now on nothing gets from any of `from` to any of `to`, until [`Net::mend`].
    pub(crate) fn cut(&mut self, id: u64, from: Places, to: Places) {
        self.cuts.push(Cut { id, from, to });
    }

    /// Everything through this broker takes so much longer, until [`Net::mend`].
    pub(crate) fn clog(&mut self, id: u64, place: Place, extra: u64) {
        self.clogs.push((id, place, extra));
    }

    /// The weather until [`Net::mend`].
    pub(crate) fn storm(&mut self, id: u64, weather: Weather) {
        self.storm = Some((id, weather));
    }

    /// Ends what the fault with this number did.
    pub(crate) fn mend(&mut self, id: u64) {
        self.cuts.retain(|cut| cut.id != id);
        self.clogs.retain(|clog| clog.0 != id);
        if self.storm.is_some_and(|(storm, _)| storm == id) {
            self.storm = None;
        }
    }

    /// Ends everything that is wrong with the network.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.clogs.clear();
        self.storm = None;
        self.base = Weather::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm() -> Weather {
        Weather { loss: 300_000, duplicate: 300_000, late: 300_000, slow: 300_000 }
    }

    #[test]
    fn a_storm_loses_doubles_delays_and_reorders() {
        let mut net = Net::new(3, 3, storm());
        let fates: Vec<Fate> = (0..500).map(|_| net.fate(0, 1)).collect();
        assert!(fates.iter().any(|fate| fate[0].is_none()));
        assert!(fates.iter().any(|fate| fate[0].is_some() && fate[1].is_some()));
        assert!(fates.iter().any(|fate| fate[2].is_some_and(|(delay, how)| how == How::Late && delay >= 1_000_000)));
        let plain: Vec<u64> = fates.iter().filter_map(|fate| fate[0].map(|(delay, _)| delay)).collect();
        assert!(plain.windows(2).any(|pair| pair[0] > pair[1] + 100_000), "later ones overtake");
    }

    #[test]
    fn cuts_are_one_way_and_mend() {
        let mut net = Net::new(3, 3, Weather::default());
        net.cut(1, only(0), only(1) | only(CLIENTS));
        assert!(net.is_cut(0, 1) && net.is_cut(0, CLIENTS) && !net.is_cut(1, 0));
        assert_eq!(net.fate(0, 1), [None; 3]);
        net.mend(1);
        assert!(net.fate(0, 1)[0].is_some());
    }

    #[test]
    fn links_draw_from_streams_of_their_own() {
        let mut busy = Net::new(3, 3, storm());
        let mut idle = Net::new(3, 3, storm());
        (0..100).for_each(|_| {
            busy.fate(1, 2);
        });
        assert_eq!(busy.fate(0, 1), idle.fate(0, 1));
    }
}
