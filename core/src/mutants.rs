//! Planted bugs, by name: each a line or two that shipped in a real system, re-injected to measure the simulator.
//!
//! Without the `mutants` feature nothing of it is compiled: [`Mutants::planted`] is constantly false and no name is in the
//! binary. With it, at most one mutant is selected at run time; none selected changes nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Entries count as persisted when their write is issued, not when it is done.
    AckBeforeSync,
    /// Votes are answered before the hard state that holds them is durable.
    VoteBeforeSync,
    /// A late or doubled append cuts entries already held.
    DuplicateAppendTruncates,
    /// A consumer sees appended batches that are not committed.
    FetchPastWatermark,
    /// A new leader starts with an empty producer table.
    ProducersForgotten,
    /// Only the last batch of a producer is remembered; five are in flight.
    SmallDedupWindow,
    /// A wiped broker takes a charter that lists its number for its own, whatever disk it lists.
    WipedKeepsIdentity,
    /// A broker goes on, empty, as the replica that it was where damage took its promises.
    SuspendedKeepsIdentity,
    /// The hard state is written without the vote.
    VoteForgotten,
    /// The end of a write counts for entries that replaced the written ones meanwhile.
    PersistedIgnoresTerm,
    /// A journal file is released although a group still needs it.
    RecycleEarly,
    /// The base of a journal file leaves out votes, whose only copy stands in files about to be reused.
    VoteRecycled,
    /// No spare journal files are kept for a start on a full disk.
    SparesNotKept,
    /// A start on a full disk waits for room, whatever is kept for it.
    FullStartWaits,
    /// What a full disk refused is not asked for again.
    FullNeverRetried,
    /// The word how far the journal was opened goes into a new file each time.
    WordWantsRoom,
    /// Carried entries cut newer ones at recovery.
    CarryTruncates,
    /// A sole voter speaks in a term that is not durable yet.
    SoleVoterSendsEarly,
    /// A torn last block of which a part survived counts as damage.
    SubsetTornIsCorrupt,
    /// A failed write or sync is reported as success.
    SyncErrorIgnored,
    /// Damage in the middle of the journal counts as its end.
    CorruptIsTorn,
    /// The base offset is stamped from applied state when a batch is proposed.
    StampFromApplied,
    /// The end of a partition is told by whoever believes to lead, without asking the group.
    LatestGoesBack,
    /// A leader calls an offset out of range before its own term has begun.
    RangeErrorBeforeBarrier,
    /// A batch that was sent twice is answered with offset 0.
    WrongZeroOffset,
    /// A fetch from inside a batch begins at the next one.
    FetchSkipsMidBatch,
    /// The producer table of a deleted topic is found again by the next topic of its name.
    NameNotId,
    /// Ids are minted from the same place again after a restart.
    BootSeedReused,
    /// A leader applies what is appended and not committed.
    ApplyPastCommit,
    /// A duplicate is acknowledged although too few replicas hold the original.
    DuplicateSkipsMinIsr,
    /// The producer table learns of a batch when it is proposed.
    ProducersEarly,
    /// A batch is accepted although the one before it is missing.
    SequenceGapAccepted,
    /// A batch behind one that is to be sent again is called out of order.
    RefusalsForgotten,
    /// No bug: every message to another broker is said twice.
    SaidTwice,
    /// No bug: checkpoints come as often as they can.
    CheckpointsAllTheTime,
    /// An older snapshot is installed over newer state.
    SnapshotRegress,
    /// A checkpoint is marked before what it names is synced.
    CheckpointAhead,
    /// The first thing of the next block of the journal counts as durable with this one.
    NextBlockCounts,
    /// A replica that restarts goes by the configuration of its checkpoint, whatever was committed since.
    ChangesNotReplayed,
    /// The leader epochs of a checkpoint are not taken up again.
    EpochsForgotten,
    /// The time of a group is not part of its checkpoint.
    GroupTimeUnsaved,
    /// Index files of sealed segments are not synced with a checkpoint.
    IndexUnsynced,
    /// A failed write or sync of a segment is taken for done.
    LogErrorIgnored,
    /// Recovery believes what the page cache holds: the journal is not synced before it is read.
    RecoveryNoSync,
    /// Files that a copy finds here already are named by its mark without a sync.
    KeptUnsynced,
    /// An idle journal is never sealed.
    NeverSealed,
    /// Files that were lent to a follower are kept for ever.
    LeaseNeverEnds,
    /// Whoever waits for a group is not woken when it moves.
    FetchesNotWoken,
    /// Producers that are held back are never let go on.
    HeldForEver,
    /// A client is not woken when the time has come to try a broker again.
    BackoffForgotten,
    /// A read of a partition that is deleted meanwhile is never answered.
    DroppedReadsForgotten,
    /// A produce that waits for more replicas is looked at once.
    ThinForgotten,
    /// Producer ids that were asked for and did not come are not asked for again.
    IdsAskedOnce,
    /// Who waits for a round of a leader that is deposed is not told.
    DeposedReadsDropped,
    /// A broker that is asked to stop ends at once, whatever it leads.
    StopKeepsLeading,
    /// A broker that is asked to stop waits until time is up, though it leads nothing.
    StopLingers,
    /// Leadership is never given back to where it belongs.
    NeverHome,
    /// A replica believes late that it is as far as its leader.
    LevelLate,
    /// A broker that asks for nothing else does not ask to be woken, either.
    NoWakeWhenIdle,
    /// A leader with nothing new sends no heartbeats.
    IdleLeadersSilent,
    /// A sealed journal is sealed again and again.
    SealsAgain,
    /// Who makes a topic is answered when its time is up.
    CreateWaitsOut,
    /// A fetch that finds nothing is answered at once.
    FetchDoesNotWait,
    /// Who waits for a cluster says nothing for a while.
    FormsLate,
    /// The tombstones of deleted topics are not part of a checkpoint of the metadata.
    TombstonesUnsaved,
    /// Nobody reads what nobody asks for: damage waits for its reader.
    PatrolIdle,
    /// That damage hit all groups is never taken back.
    SuspendedForEver,
    /// The patrol stands still for ever, and says that it is not done.
    PatrolStalls,
    /// The patrol ends with the first segment of a group.
    PatrolOnce,
    /// A base does not list the damaged blocks of the files that stay.
    DamageForgotten,
    /// A vote counts in whatever term it arrives.
    LateVoteCounts,
    /// Entries of a former leader count in whatever term they arrive.
    LateAppendCounts,
    /// A pledge counts without being the answer to a live question.
    StalePledge,
    /// Any producer that is older than a topic may begin in mid-sequence there.
    BeginsByAge,
    /// A replica that restarts forgets which producers may go on as in the former topic.
    FloorLostAtRestart,
    /// Timestamps of records are whatever their producers say.
    TimestampsUnjudged,
    /// Journal files that are free at a start are never used again, nor removed.
    FreeFilesUnused,
    /// A journal that grew under load gives nothing back afterwards.
    JournalNeverRests,
    /// A segment that is sealed keeps what was allocated ahead of need.
    SealedKeepsRoom,
    /// A segment file is a whole step long from the beginning.
    RoomInSteps,
    /// What a start finds of segments that is longer than need stays so.
    StartKeepsRoom,
    /// Fetch tells the high watermark where the log begins, and the other way round.
    WatermarkSwapped,
    /// Fetch tells the beginning of the log as the last stable offset.
    StableOffsetStale,
    /// A broker goes on naming the first leader of a partition that it heard of.
    FirstLeaderForEver,
    /// Produce tells that the log begins behind what it took.
    BeginsBehind,
    /// Ends are told in epoch 0, whoever leads.
    EndsInEpochZero,
    /// A leader that has just heard of a newer term tells others that it leads in that one.
    TellsNewestTerm,
    /// The file of a replaced formation record stays.
    OldWordsKept,
    /// The next epoch of a producer may begin at any sequence.
    EpochBeginsAnywhere,
    /// What follows sequence 2^31-1 is never right.
    WrapAsGap,
    /// A duplicate older than the batches remembered is appended again.
    OldDuplicateTaken,
    /// A batch is compared with the newest of its producer only.
    NewestOnly,
    /// The producer that was used last is the one that makes room.
    ForgetsNewest,
    /// A checkpoint leaves out which producers were forgotten.
    ForgottenUnsaved,
    /// Producers are remembered however long they are silent.
    NeverExpires,
    /// Producers are forgotten after half their time.
    ExpiresSoon,
    /// A producer that has an id is given that again, in the epoch it had at first.
    IdGivenAgain,
}

/// The switchboard: which mutant is planted in this broker, if any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mutants {
    #[cfg(feature = "mutants")]
    selected: Option<Mutant>,
}

impl Mutants {
    /// Whether this bug is planted here. Constantly false in a normal build.
    #[inline]
    pub fn planted(self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        {
            self.selected == Some(mutant)
        }
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            false
        }
    }
}

#[cfg(feature = "mutants")]
mod registry {
    use super::{Mutant, Mutants};

    /// Every mutant with its name, where such a bug was first seen, and what it does in a sentence.
    pub const REGISTRY: &[(Mutant, &str, &str)] = &[
        (Mutant::AckBeforeSync, "ack-before-sync", "entries count as persisted before their write is done"),
        (Mutant::VoteBeforeSync, "vote-before-sync", "a vote is answered before it is durable"),
        (Mutant::DuplicateAppendTruncates, "duplicate-append-truncates", "a late append cuts entries already held"),
        (Mutant::FetchPastWatermark, "fetch-past-watermark", "a consumer sees appended, uncommitted batches"),
        (Mutant::ProducersForgotten, "producers-forgotten", "a new leader starts with an empty producer table"),
        (Mutant::SmallDedupWindow, "small-dedup-window", "only the last batch of a producer is remembered"),
        (Mutant::WipedKeepsIdentity, "wiped-keeps-identity", "a wiped broker rejoins as the voter it was"),
        (
            Mutant::SuspendedKeepsIdentity,
            "suspended-keeps-identity",
            "a broker with a damaged journal goes on as the replica it was",
        ),
        (Mutant::VoteForgotten, "vote-forgotten", "a hard state is written without its vote"),
        (Mutant::PersistedIgnoresTerm, "persisted-ignores-term", "a finished write counts for what replaced it"),
        (Mutant::RecycleEarly, "recycle-early", "a journal file is reused while a group needs it"),
        (Mutant::VoteRecycled, "vote-recycled", "a base leaves out votes"),
        (Mutant::SparesNotKept, "spares-not-kept", "no journal files are kept for a start on a full disk"),
        (Mutant::FullStartWaits, "full-start-waits", "a start on a full disk waits for room"),
        (Mutant::FullNeverRetried, "full-never-retried", "what a full disk refused is not asked for again"),
        (Mutant::WordWantsRoom, "word-wants-room", "each word beside the charter goes into a new file"),
        (Mutant::CarryTruncates, "carry-truncates", "carried entries cut newer ones at recovery"),
        (Mutant::SoleVoterSendsEarly, "sole-voter-sends-early", "a sole voter speaks before its term is durable"),
        (Mutant::SubsetTornIsCorrupt, "subset-torn-is-corrupt", "a torn block of which a part survived is corrupt"),
        (Mutant::SyncErrorIgnored, "sync-error-ignored", "a failed sync is reported as success"),
        (Mutant::CorruptIsTorn, "corrupt-is-torn", "damage in mid-journal counts as its end"),
        (Mutant::StampFromApplied, "stamp-from-applied", "a base offset is stamped when proposed"),
        (Mutant::LatestGoesBack, "latest-goes-back", "the end is told without a barrier"),
        (
            Mutant::RangeErrorBeforeBarrier,
            "range-error-before-barrier",
            "an offset is out of range before the term began",
        ),
        (Mutant::WrongZeroOffset, "wrong-zero-offset", "a duplicate is answered with offset 0"),
        (Mutant::FetchSkipsMidBatch, "fetch-skips-mid-batch", "a fetch from inside a batch skips it"),
        (Mutant::NameNotId, "name-not-id", "producers outlive their topic by its name"),
        (Mutant::BootSeedReused, "boot-seed-reused", "ids repeat after a restart"),
        (Mutant::ApplyPastCommit, "apply-past-commit", "a leader applies what is only appended"),
        (
            Mutant::DuplicateSkipsMinIsr,
            "duplicate-skips-min-isr",
            "a duplicate is acknowledged before enough replicas hold it",
        ),
        (Mutant::ProducersEarly, "producers-early", "the producer table learns of batches when proposed"),
        (Mutant::SequenceGapAccepted, "sequence-gap-accepted", "a batch is accepted before the one that precedes it"),
        (Mutant::RefusalsForgotten, "refusals-forgotten", "what follows a refused batch is called out of order"),
        (Mutant::SnapshotRegress, "snapshot-regress", "an older snapshot is installed over newer state"),
        (Mutant::CheckpointAhead, "checkpoint-ahead", "a checkpoint is marked before its files are synced"),
        (Mutant::NextBlockCounts, "next-block-counts", "the first of the next journal block counts as durable"),
        (Mutant::ChangesNotReplayed, "changes-not-replayed", "a restart forgets changes of the configuration"),
        (Mutant::EpochsForgotten, "epochs-forgotten", "a restart forgets where leader epochs began"),
        (Mutant::GroupTimeUnsaved, "group-time-unsaved", "a checkpoint leaves out the time of its group"),
        (Mutant::IndexUnsynced, "index-unsynced", "a checkpoint does not sync the indexes of its segments"),
        (Mutant::LogErrorIgnored, "log-error-ignored", "a failed write of a segment is taken for done"),
        (Mutant::RecoveryNoSync, "recovery-no-sync", "a journal is believed before it is synced"),
        (Mutant::KeptUnsynced, "kept-unsynced", "files a copy finds here are named without a sync"),
        (Mutant::NeverSealed, "never-sealed", "an idle journal is not sealed"),
        (Mutant::LeaseNeverEnds, "lease-never-ends", "lent files are kept for ever"),
        (Mutant::FetchesNotWoken, "fetches-not-woken", "a waiting fetch is not woken when its group moves"),
        (Mutant::HeldForEver, "held-for-ever", "a connection that is held back is never released"),
        (Mutant::BackoffForgotten, "backoff-forgotten", "the end of a back-off wakes nobody"),
        (Mutant::DroppedReadsForgotten, "dropped-reads-forgotten", "a read is forgotten with its partition"),
        (Mutant::ThinForgotten, "thin-forgotten", "a batch that few replicas hold is not looked at again"),
        (Mutant::IdsAskedOnce, "ids-asked-once", "producer ids are not asked for a second time"),
        (Mutant::DeposedReadsDropped, "deposed-reads-dropped", "a deposed leader forgets who waits for a round"),
        (Mutant::StopKeepsLeading, "stop-keeps-leading", "a planned stop hands nothing over"),
        (Mutant::StopLingers, "stop-lingers", "a planned stop waits for its time to be up"),
        (Mutant::NeverHome, "never-home", "leadership never goes home"),
        (Mutant::LevelLate, "level-late", "a broker that has caught up is not ready for long"),
        (Mutant::NoWakeWhenIdle, "no-wake-when-idle", "an idle broker asks for no wake"),
        (Mutant::IdleLeadersSilent, "idle-leaders-silent", "a leader with nothing new is silent"),
        (Mutant::SealsAgain, "seals-again", "a sealed journal is sealed again"),
        (Mutant::CreateWaitsOut, "create-waits-out", "a creation is answered when its time is up"),
        (Mutant::FetchDoesNotWait, "fetch-does-not-wait", "a fetch that finds nothing does not wait"),
        (Mutant::FormsLate, "forms-late", "a broker without a cluster says so late"),
        (Mutant::TombstonesUnsaved, "tombstones-unsaved", "a checkpoint leaves out deleted topics"),
        (Mutant::PatrolIdle, "patrol-idle", "segments that nobody asks for are never read"),
        (Mutant::SuspendedForEver, "suspended-for-ever", "that all groups are suspended is never taken back"),
        (Mutant::PatrolStalls, "patrol-stalls", "a patrol that was begun goes nowhere"),
        (Mutant::PatrolOnce, "patrol-once", "a patrol reads the first segment of a group only"),
        (Mutant::DamageForgotten, "damage-forgotten", "a base leaves out which blocks are damaged"),
        (Mutant::LateVoteCounts, "late-vote-counts", "a vote counts in whatever term it arrives"),
        (Mutant::LateAppendCounts, "late-append-counts", "entries count in whatever term they arrive"),
        (Mutant::StalePledge, "stale-pledge", "a pledge counts though nobody asked for it in this life"),
        (Mutant::BeginsByAge, "begins-by-age", "a producer older than a topic begins there in mid-sequence"),
        (Mutant::FloorLostAtRestart, "floor-lost-at-restart", "a restart forgets who may go on from the former topic"),
        (
            Mutant::TimestampsUnjudged,
            "timestamps-unjudged",
            "records of any time are taken, whatever their topic allows",
        ),
        (Mutant::FreeFilesUnused, "free-files-unused", "journal files that are free at a start are never used again"),
        (Mutant::JournalNeverRests, "journal-never-rests", "a journal that grew under load gives nothing back"),
        (Mutant::SealedKeepsRoom, "sealed-keeps-room", "a sealed segment keeps what was allocated ahead"),
        (Mutant::RoomInSteps, "room-in-steps", "segment files are a whole step long from the beginning"),
        (
            Mutant::WatermarkSwapped,
            "watermark-swapped",
            "fetch tells high watermark and log start each in the other's place",
        ),
        (Mutant::StableOffsetStale, "stable-offset-stale", "fetch tells the log start as the last stable offset"),
        (
            Mutant::FirstLeaderForEver,
            "first-leader-for-ever",
            "a broker goes on naming the first leader that it heard of",
        ),
        (Mutant::BeginsBehind, "begins-behind", "produce tells a log start behind the batch that it took"),
        (
            Mutant::TellsNewestTerm,
            "tells-newest-term",
            "a leader tells the newest term it heard of as the one it leads in",
        ),
        (Mutant::EndsInEpochZero, "ends-in-epoch-zero", "the end of a partition is told with epoch 0, whoever leads"),
        (Mutant::StartKeepsRoom, "start-keeps-room", "a start leaves segment files as long as it finds them"),
        (Mutant::OldWordsKept, "old-words-kept", "the file of a replaced formation record stays"),
        (Mutant::EpochBeginsAnywhere, "epoch-begins-anywhere", "the next epoch of a producer begins at any sequence"),
        (Mutant::WrapAsGap, "wrap-as-gap", "the sequence after 2^31-1 is taken for a gap"),
        (Mutant::OldDuplicateTaken, "old-duplicate-taken", "a duplicate older than five batches is appended again"),
        (Mutant::NewestOnly, "newest-only", "a batch is compared with the newest of its producer only"),
        (Mutant::ForgetsNewest, "forgets-newest", "the producer that was used last makes room for another"),
        (Mutant::ForgottenUnsaved, "forgotten-unsaved", "a checkpoint leaves out who was forgotten"),
        (Mutant::NeverExpires, "never-expires", "silent producers are never forgotten"),
        (Mutant::ExpiresSoon, "expires-soon", "silent producers are forgotten after half their time"),
        (Mutant::IdGivenAgain, "id-given-again", "a producer that has an id is given the same again"),
    ];

    /// A change that is no bug: whoever catches it raises a false alarm.
    #[derive(Clone, Copy, Debug)]
    pub struct Control {
        /// The change.
        pub mutant: Mutant,
        /// Its name.
        pub name: &'static str,
    }

    /// Every change that is no bug.
    pub const CONTROLS: &[Control] = &[
        Control { mutant: Mutant::SaidTwice, name: "said-twice" },
        Control { mutant: Mutant::CheckpointsAllTheTime, name: "checkpoints-all-the-time" },
    ];

    impl Mutants {
        /// The switchboard with the mutant or control of this name planted, if there is one.
        pub fn named(name: &str) -> Option<Self> {
            let bugs = REGISTRY.iter().map(|(mutant, known, _)| (*mutant, *known));
            let controls = CONTROLS.iter().map(|control| (control.mutant, control.name));
            let (mutant, _) = bugs.chain(controls).find(|(_, known)| *known == name)?;
            Some(Self { selected: Some(mutant) })
        }
    }
}

#[cfg(feature = "mutants")]
pub use registry::{CONTROLS, Control, REGISTRY};
