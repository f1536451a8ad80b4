//! Rare situations by name: a simulation that never meets one of them has a blind spot there.
//!
//! Met ones are told as [`Event::Sometimes`](crate::event::Event::Sometimes); campaigns count them against [`ALL`].

/// Recovery found the journal's last block torn, and cut it.
pub const JOURNAL_CUT: &str = "journal-cut";
/// A follower threw away entries that another leader replaced.
pub const CONFLICT_TRUNCATED: &str = "conflict-truncated";
/// A leader lost its office with proposals of its own under way.
pub const PROPOSALS_LOST: &str = "proposals-lost";
/// A batch that was sent twice was answered with its first offset.
pub const DUPLICATE_ANSWERED: &str = "duplicate-answered";
/// A batch came before the one that precedes it.
pub const SEQUENCE_GAP: &str = "sequence-gap";
/// Entries were written into the journal again, so that an old file could be reused.
pub const ENTRIES_CARRIED: &str = "entries-carried";
/// A fetch was answered from the disk.
pub const FETCHED_FROM_DISK: &str = "fetched-from-disk";
/// A group came back with committed entries that its checkpoint did not cover.
pub const REAPPLIED: &str = "reapplied";
/// A formation file was torn, and counted as absent.
pub const FORMATION_TORN: &str = "formation-torn";
/// A voter turned from a founder's wiped disk to its new one.
pub const PLEDGED_AGAIN: &str = "pledged-again";
/// A charter was learned from a member that did not write it.
pub const CHARTER_PASSED_ON: &str = "charter-passed-on";
/// An empty disk met a cluster that was formed without it.
pub const BECAME_OBSERVER: &str = "became-observer";
/// A replica leads because its predecessor asked it to.
pub const HANDED_OVER: &str = "handed-over";

/// A leader asked the first replica of its partition to take over.
pub const PREFERRED_ASKED: &str = "preferred-asked";
/// A connection that produces was muted because the disk was behind.
pub const PRODUCER_HELD_BACK: &str = "producer-held-back";
/// A follower copied segments from its leader.
pub const SEGMENTS_COPIED: &str = "segments-copied";
/// A follower copied only what it did not have of its leader's segments.
pub const SUFFIX_COPIED: &str = "suffix-copied";
/// What was copied took the place of what a follower had.
pub const SNAPSHOT_INSTALLED: &str = "snapshot-installed";
/// A follower was silent for too long, and its leader's files are its no more.
pub const LEASE_EXPIRED: &str = "lease-expired";
/// A broker whose disk was empty was admitted.
pub const ADMITTED: &str = "admitted";
/// Damage in the journal took what a broker had promised in some groups.
pub const SUSPENDED: &str = "suspended";
/// A broker whose journal was damaged is another replica of partitions.
pub const REPLICAS_RENEWED: &str = "replicas-renewed";
/// A broker whose journal was damaged is another replica of the controller.
pub const CONTROLLER_RENEWED: &str = "controller-renewed";
/// A file of a replica was found damaged.
pub const DAMAGE_FOUND: &str = "damage-found";
/// Files copied from a leader took the place of damaged ones.
pub const HEALED: &str = "healed";
/// A topic was deleted, and a replica of it is given up.
pub const REPLICA_DROPPED: &str = "replica-dropped";

/// Every mark there is.
pub const ALL: &[&str] = &[
    JOURNAL_CUT,
    CONFLICT_TRUNCATED,
    PROPOSALS_LOST,
    DUPLICATE_ANSWERED,
    SEQUENCE_GAP,
    ENTRIES_CARRIED,
    FETCHED_FROM_DISK,
    REAPPLIED,
    FORMATION_TORN,
    PLEDGED_AGAIN,
    CHARTER_PASSED_ON,
    BECAME_OBSERVER,
    ADMITTED,
    HANDED_OVER,
    PREFERRED_ASKED,
    PRODUCER_HELD_BACK,
    SEGMENTS_COPIED,
    SUFFIX_COPIED,
    SNAPSHOT_INSTALLED,
    LEASE_EXPIRED,
    SUSPENDED,
    REPLICAS_RENEWED,
    CONTROLLER_RENEWED,
    DAMAGE_FOUND,
    HEALED,
    REPLICA_DROPPED,
];
