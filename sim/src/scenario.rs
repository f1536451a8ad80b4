//! What a run is made of, drawn from its seed once and printable: sizes, timeouts, workload mix, fault rates.
//!
//! Swarm testing: each seed leaves some faults and features out, so that rare combinations are not always drowned.

mod alone;
mod ending;
mod patience;
mod raw;

pub use ending::Act;
pub use patience::Patience;
pub use raw::RawSpec;
use serde::{Deserialize, Serialize};
use tidelog_core::broker::Settings;
use tidelog_core::rng::Rng;
use tidelog_core::time::Duration;

use crate::net::Weather;
use crate::streams;

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;

/// A broker that is so late, or later, makes the others wait with the founding.
pub(crate) const LATE: u64 = 3 * SECOND;

/// A run, before its first step. Durations are microseconds of virtual time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What every random stream is made of.
    pub seed: u64,
    /// How many brokers.
    pub brokers: u32,
    /// How many of them form the cluster; the rest find it formed, and observe. Zero is one broker that was told of no list.
    pub voters: u32,
    /// Within which time the machines are switched on for the first time.
    pub spread: u64,
    /// How much later than the others one of them is.
    pub late: u64,
    /// How long faults strike.
    pub chaos: u64,
    /// How long brokers and clients may take to settle after everything is healed.
    pub settle: u64,
    /// The links between brokers when no fault strikes.
    pub weather: Weather,
    /// Topics, made at the start.
    pub topics: Vec<TopicSpec>,
    /// Clients that write.
    pub producers: Vec<ProducerSpec>,
    /// Clients that read.
    pub consumers: Vec<ConsumerSpec>,
    /// Sizes of brokers.
    pub sizes: Sizes,
    /// How often each fault strikes.
    pub rates: Rates,
    /// How often a broker whose disk was damaged is started again once it has healed.
    #[serde(default)]
    pub trials: u64,
    /// Messages of which a copy is kept and delivered when the next of their kind has counted, the most of a run.
    #[serde(default)]
    pub held: u64,
    /// Who waits for answers, however long they take.
    #[serde(default)]
    pub patience: Patience,
    /// Clients that write batches by hand.
    #[serde(default)]
    pub raw: Vec<RawSpec>,
    /// What happens after the heal, before everything is read.
    #[serde(default)]
    pub ending: Vec<Act>,
    /// How often, per hundred simulated seconds, a disk is full while its broker is killed and started again.
    #[serde(default)]
    pub full_starts: u64,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas each.
    pub replication: u32,
    /// How often it is deleted and made again.
    pub deletions: u32,
    /// `min.insync.replicas`.
    pub min_insync: u32,
    /// When it is first made: later than producers got their ids, if above zero.
    #[serde(default)]
    pub late: u64,
    /// `message.timestamp.after.max.ms`; set unless it is Kafka's default, as clocks jump by hours.
    #[serde(default = "forever")]
    pub ahead_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    #[serde(default = "forever")]
    pub behind_max_ms: i64,
}

impl TopicSpec {
    /// Whether it bounds the times of its records.
    pub fn bounds_times(&self) -> bool {
        self.ahead_max_ms != forever() || self.behind_max_ms != forever()
    }
}

/// No bound of times.
fn forever() -> i64 {
    i64::MAX
}

/// A client that writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerSpec {
    /// Whether it is idempotent (KIP-98).
    pub idempotent: bool,
    /// 0, 1 or -1 (all).
    pub acks: i16,
    /// The mean time between two records.
    pub pause: u64,
    /// How long a record waits for others.
    pub linger: u64,
    /// The most bytes of padding of a record.
    pub padding: u32,
    /// Whether keys choose partitions, where a topic stays.
    pub keyed: bool,
    /// Before so many in a thousand of its batches there is a gap in its sequence, and more often at the beginning of one.
    #[serde(default)]
    pub skips: u64,
}

/// A client that reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerSpec {
    /// The time between two polls.
    pub pause: u64,
    /// One poll in so many thousand is preceded by a seek.
    pub seeks: u64,
    /// So many in a thousand thoughts ask for an offset instead.
    pub asks: u64,
}

/// Sizes of brokers, as far as they are drawn.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// See [`Settings::tick`].
    pub tick: u64,
    /// See [`Settings::journal_file_bytes`].
    pub journal_file: u64,
    /// See [`Settings::journal_files_target`].
    pub journal_files: u32,
    /// See [`Settings::segment_write_bytes`].
    pub segment_write: u64,
    /// See [`Settings::tail_bytes`].
    pub tail: u64,
    /// See [`Settings::window_bytes`].
    pub window: u64,
    /// See [`Settings::copy_piece_bytes`].
    pub piece: u32,
    /// See [`Settings::checkpoint_bytes`].
    pub checkpoint: u64,
    /// See [`Settings::segment_bytes_max`].
    #[serde(default = "unbounded")]
    pub segment: u64,
    /// See [`Settings::journal_block_bytes`].
    #[serde(default = "unbounded")]
    pub journal_block: u64,
    /// See [`Settings::append_bytes`].
    #[serde(default = "unbounded")]
    pub append: u64,
    /// See [`Settings::producers_max`].
    #[serde(default = "raw::producers_max")]
    pub producers: u32,
    /// See [`Settings::producer_expires_after`].
    #[serde(default = "raw::silence")]
    pub producer_silence: u64,
}

/// What scenarios that were saved before it was drawn ran with.
fn unbounded() -> u64 {
    u64::MAX
}

/// Faults per hundred simulated seconds; zero leaves a fault out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// A process is killed and started again.
    pub kill: u64,
    /// A machine loses power.
    pub power: u64,
    /// All machines lose power at once.
    pub blackout: u64,
    /// Brokers cannot reach each other.
    pub partition: u64,
    /// Messages are lost, doubled, late.
    pub storm: u64,
    /// A disk is slow.
    pub stall: u64,
    /// A process stands still.
    pub pause: u64,
    /// Client connections break.
    pub reset: u64,
    /// A broker's links are slow.
    pub clog: u64,
    /// A disk fails an operation, and its machine is replaced by one with the same disk.
    pub disk_error: u64,
    /// The wall clock of a broker jumps.
    pub clock: u64,
    /// A disk is replaced by an empty one; at most once in a run.
    pub wipe: u64,
    /// A broker is asked to stop, and started again.
    pub stop: u64,
    /// All brokers are restarted in turn.
    pub rolling: u64,
    /// A disk has no space left.
    pub full: u64,
    /// The monotonic clock of a broker leaps ahead.
    pub leap: u64,
    /// A bit of a disk flips; the broker may be lost for good. At most one in a run.
    pub rot: u64,
    /// A client is killed and started again.
    pub client_kill: u64,
    /// Power losses in the worst moments, most of a run (not per time): see `strike`.
    pub ambush: u64,
}

impl Scenario {
    /// The scenario of a seed in the default profile.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::stream(seed, &[streams::SCENARIO]);
        let rng = &mut rng;
        let brokers = [3, 3, 3, 3, 3, 3, 3, 4, 4, 5][rng.below(10) as usize];
        let voters = if brokers > 3 && rng.per_mille(750) { brokers } else { 3 };
        let mut start = Rng::stream(seed, &[streams::START]);
        let topics = draw_topics(rng);
        let producers = draw_producers(rng);
        let consumers = (0..rng.between(1, 3))
            .map(|_| ConsumerSpec {
                pause: rng.between(20_000, 150_000),
                seeks: if rng.per_mille(500) { rng.between(5, 60) } else { 0 },
                asks: 60,
            })
            .collect();
        let mut scenario = Self {
            seed,
            brokers,
            voters,
            spread: [50_000, 50_000, 400_000, 2 * SECOND][start.below(4) as usize],
            late: if start.per_mille(200) { start.between(500_000, 6 * SECOND) } else { 0 },
            chaos: rng.between(60, 70) * SECOND,
            settle: 30 * SECOND,
            weather: Weather {
                loss: if rng.per_mille(700) { rng.below(5_000) } else { 0 },
                duplicate: if rng.per_mille(700) { rng.below(5_000) } else { 0 },
                late: if rng.per_mille(500) { rng.below(500) } else { 0 },
                slow: if rng.per_mille(600) { rng.below(20_000) } else { 0 },
            },
            topics,
            producers,
            consumers,
            sizes: draw_sizes(rng),
            rates: draw_rates(rng),
            trials: 0,
            held: 0,
            patience: Patience::default(),
            raw: Vec::new(),
            ending: Vec::new(),
            full_starts: 0,
        };
        scenario.more_damage();
        let mut full = Rng::stream(seed, &[streams::FULL_STARTS]);
        if full.per_mille(400) {
            scenario.full_starts = full.between(2, 6);
        }
        let lossless = scenario.rates.rot == 0 && scenario.rates.wipe == 0;
        if lossless && start.per_mille(120) {
            // The others only listen to the controller, once they are admitted.
            scenario.voters = 1;
        }
        if !lossless {
            // A broker may be lost for good: what it holds must be held elsewhere.
            scenario.topics.iter_mut().for_each(|topic| topic.replication = 3);
        }
        for producer in &mut scenario.producers {
            producer.keyed = rng.per_mille(400);
        }
        scenario.sizes.segment = [8 * 1024, 16 * 1024, 48 * 1024, u64::MAX][start.below(4) as usize];
        scenario.sizes.journal_block = [4 * 1024, 16 * 1024, u64::MAX, u64::MAX][start.below(4) as usize];
        scenario.sizes.append = [512, 4 * 1024, 64 * 1024, 1024 * 1024][start.below(4) as usize];
        if rng.per_mille(600) {
            // One that hardly reads, and asks for ends all the time: it finds leaders that are none any more.
            scenario.consumers.push(ConsumerSpec { pause: rng.between(20_000, 90_000), seeks: 0, asks: 800 });
        }
        let churn = rng.per_mille(450);
        for topic in scenario.topics.iter_mut().skip(1) {
            if churn && rng.per_mille(600) {
                topic.deletions = rng.between(1, 3) as u32;
            }
            if lossless && topic.replication == 3 && rng.per_mille(200) {
                topic.min_insync = 3;
            }
        }
        scenario.draw_gaps();
        scenario.draw_times();
        scenario.draw_harm();
        scenario.draw_alone();
        scenario.draw_raw();
        scenario.patience = Patience::draw(seed, scenario.clients());
        scenario.ending = ending::draw(seed, scenario.brokers);
        scenario
    }

    /// More disks are damaged than the rates alone would have.
    fn more_damage(&mut self) {
        if self.rates.rot == 0 && Rng::stream(self.seed, &[streams::HARM, 0]).per_mille(350) {
            self.rates.rot = 1;
        }
    }

    /// Damaged brokers are started again, and messages come at the worst moments.
    fn draw_harm(&mut self) {
        let mut rng = Rng::stream(self.seed, &[streams::HARM, 1]);
        self.trials = rng.between(2, 4);
        self.held = if rng.per_mille(800) { rng.between(4, 24) } else { 0 };
        if self.held > 0 && self.voters > 2 && rng.per_mille(400) {
            // A cluster that waits for its last voter: what is said, and taken back, meanwhile is what counts.
            self.late = rng.between(LATE, 2 * LATE);
        }
        // Where ids may be renewed, topics come and go.
        if self.held > 0
            && self.rates.rot > 0
            && let Some(topic) = self.topics.get_mut(1)
        {
            topic.deletions = topic.deletions.max(1);
        }
    }

    /// Producers that leave out sequences, mostly together with topics that are younger than their ids: both are needed to see who
    /// may begin where.
    fn draw_gaps(&mut self) {
        let mut rng = Rng::stream(self.seed, &[streams::SKIPS]);
        let mut late = Rng::stream(self.seed, &[streams::LATE]);
        let careless = rng.per_mille(300);
        for producer in self.producers.iter_mut().filter(|producer| producer.idempotent) {
            if rng.per_mille(600) && careless {
                producer.skips = rng.between(1, 4);
            }
        }
        for topic in self.topics.iter_mut().skip(1) {
            if late.per_mille(if careless { 700 } else { 100 }) {
                topic.late = late.between(4 * SECOND, 30 * SECOND);
            }
        }
    }

    /// Topics that bound the times of their records.
    fn draw_times(&mut self) {
        const HOUR_MS: i64 = 3_600_000;
        let mut rng = Rng::stream(self.seed, &[streams::TIMES]);
        for topic in &mut self.topics {
            if rng.per_mille(50) {
                topic.ahead_max_ms = HOUR_MS;
            }
            if rng.per_mille(500) && topic.ahead_max_ms == HOUR_MS {
                topic.behind_max_ms = HOUR_MS;
            }
        }
    }

    /// Settings of every broker.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::simulation();
        settings.tick = Duration::from_micros(self.sizes.tick);
        settings.journal_file_bytes = self.sizes.journal_file;
        settings.journal_file_bytes_first = self.sizes.journal_file / 4;
        settings.journal_rest_bytes = 2 * self.sizes.journal_file;
        settings.journal_files_target = self.sizes.journal_files;
        settings.segment_write_bytes = self.sizes.segment_write;
        settings.tail_bytes = self.sizes.tail;
        settings.window_bytes = self.sizes.window;
        settings.copy_piece_bytes = self.sizes.piece;
        settings.checkpoint_bytes = self.sizes.checkpoint;
        settings.segment_bytes_max = self.sizes.segment;
        settings.journal_block_bytes = self.sizes.journal_block;
        settings.append_bytes = self.sizes.append;
        settings.producers_max = self.sizes.producers;
        settings.producer_expires_after = Duration::from_micros(self.sizes.producer_silence);
        settings
    }

    /// Which brokers there are, for people.
    pub fn broker_names(&self) -> String {
        crate::words::brokers(self.brokers)
    }

    /// Partitions over all topics.
    pub fn partitions(&self) -> u32 {
        self.topics.iter().map(|topic| topic.partitions).sum()
    }

    /// Clients, the one that makes topics not counted.
    pub fn clients(&self) -> u32 {
        (self.producers.len() + self.consumers.len()) as u32
    }
}

fn draw_topics(rng: &mut Rng) -> Vec<TopicSpec> {
    let mut left = rng.between(2, 6) as u32;
    let mut topics = Vec::new();
    while left > 0 {
        let partitions = if topics.len() == 2 { left } else { rng.between(1, u64::from(left)) as u32 };
        let replication = if topics.is_empty() { 3 } else { [3, 3, 3, 2, 1][rng.below(5) as usize] };
        let name = format!("topic-{}", topics.len());
        topics.push(TopicSpec {
            name,
            partitions,
            replication,
            deletions: 0,
            min_insync: 1,
            late: 0,
            ahead_max_ms: forever(),
            behind_max_ms: forever(),
        });
        left -= partitions;
    }
    topics
}

fn draw_producers(rng: &mut Rng) -> Vec<ProducerSpec> {
    let count = rng.between(2, 5);
    (0..count)
        .map(|nth| {
            let idempotent = nth == 0 || rng.per_mille(700);
            let acks = match idempotent {
                true => -1,
                false => [-1, 1, 1, 0][rng.below(4) as usize],
            };
            ProducerSpec {
                idempotent,
                acks,
                pause: count * rng.between(6_000, 22_000),
                linger: [0, 2_000, 10_000, 40_000][rng.below(4) as usize],
                padding: [0, 40, 200, 1_500][rng.below(4) as usize],
                keyed: false,
                skips: 0,
            }
        })
        .collect()
}

fn draw_sizes(rng: &mut Rng) -> Sizes {
    Sizes {
        tick: [15_000, 20_000, 20_000, 30_000][rng.below(4) as usize],
        journal_file: [64, 128, 128, 256][rng.below(4) as usize] * 1024,
        journal_files: rng.between(2, 4) as u32,
        segment_write: [512, 2 * 1024, 2 * 1024, 8 * 1024][rng.below(4) as usize],
        tail: [8, 32, 64, 256][rng.below(4) as usize] * 1024,
        checkpoint: [16, 32, 64, 128][rng.below(4) as usize] * 1024,
        window: [8, 16, 32, 32, 64, 1024][rng.below(6) as usize] * 1024,
        piece: [512, 4 * 1024, 4 * 1024, 32 * 1024][rng.below(4) as usize],
        segment: u64::MAX,
        journal_block: u64::MAX,
        append: u64::MAX,
        producers: raw::producers_max(),
        producer_silence: raw::silence(),
    }
}

fn draw_rates(rng: &mut Rng) -> Rates {
    let mut some = |per_mille: u64, low: u64, high: u64| match rng.per_mille(per_mille) {
        true => rng.between(low, high),
        false => 0,
    };
    Rates {
        kill: some(700, 2, 8),
        power: some(850, 3, 8),
        blackout: some(380, 2, 4),
        partition: some(720, 3, 8),
        storm: some(600, 3, 6),
        stall: some(500, 2, 8),
        pause: some(500, 2, 6),
        reset: some(800, 5, 20),
        clog: some(300, 2, 4),
        disk_error: some(250, 1, 3),
        clock: some(300, 1, 4),
        stop: some(500, 2, 6),
        rolling: some(200, 1, 2),
        full: some(350, 2, 6),
        leap: some(300, 1, 4),
        rot: some(300, 1, 1),
        client_kill: some(500, 2, 8),
        ambush: some(600, 1, 4),
        wipe: some(300, 1, 1),
    }
}
