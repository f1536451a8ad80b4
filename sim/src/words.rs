//! What a broken promise means to somebody who uses Kafka: one sentence for each promise of the inside of the cluster.
//!
//! Checkers of client histories speak that language already; what the white-box checkers say becomes evidence here.

/// What a broken promise of this name means to a user, if its checker does not say so itself.
pub(crate) fn for_users(property: &str) -> Option<&'static str> {
    Some(match property {
        "two-leaders" => {
            "Two brokers lead one partition at the same time: both may acknowledge different records at one offset."
        }
        "vote-twice" => "A broker voted twice in one election: two brokers may come to lead one partition.",
        "elected-without-votes" => {
            "A broker leads a partition although not enough brokers durably voted for it: after a crash another may be elected as well."
        }
        "leader-incomplete" => "A broker became leader without all acknowledged records: consumers will miss them.",
        "served-early" => "A new leader answered clients before it knew everything that was acknowledged before it.",
        "term-went-back" => {
            "A broker forgot in which leader epoch it was: it may follow or vote for a leader that is long gone."
        }
        "log-mismatch" | "divergence" => {
            "Two replicas of one partition hold different records: what a consumer reads depends on who leads."
        }
        "log-gap" => "A replica of a partition has a hole: records are missing between others.",
        "needless-truncation" => {
            "A replica threw away records that nobody contradicted: what was acknowledged because of them may be lost."
        }
        "committed-dropped" => "A replica threw away records that were acknowledged.",
        "persisted-unknown" => "A broker called records durable that it never wrote.",
        "durable-lost" => {
            "After a restart a broker lacks records that it had called durable: what was acknowledged because of them may be lost."
        }
        "commit-without-quorum" => {
            "Records were acknowledged or shown to consumers before enough brokers had them on disk: a power loss may take them back."
        }
        "applied-out-of-order" | "applied-other-entry" => {
            "A replica put records into a partition that are not the next ones in its agreed order."
        }
        "offset-went-back" => "The end or the start of a partition went back: offsets that were given are given again.",
        "checkpoint-ahead" | "checkpoint-lost" => {
            "A broker came back with another idea of a partition than it had saved: records may be missing or doubled there."
        }
        "snapshot-regress" => "A replica replaced its records by older ones.",
        "configuration-split" | "configuration-jump" | "configuration-forgotten" => {
            "Brokers disagree about who holds a partition: both sides may acknowledge records without the other."
        }
        "identity-reused" | "charters-overlap" => {
            "A broker takes part with an identity that belongs to another disk: what was acknowledged on the other disk may be lost."
        }
        "state-differs" => {
            "Two replicas of one partition remember different things of its producers: a record that is sent again is refused, or written twice, when the other leads."
        }
        "epochs-wrong" => {
            "A broker gives another offset for the end of a leader epoch than the partition had: a consumer that asks throws records away, or keeps what never was."
        }
        "files-damaged" => {
            "The files of a replica do not hold what it acknowledged: consumers will miss it once the broker leads."
        }
        "file-orphaned" => "A file stays on a disk for ever that nothing needs: in the end the disk is full.",
        "journal-kept" => "A journal grows and grows: in the end the broker takes no more records.",
        "lease-overdue" => {
            "Files that nobody needs are kept for a follower that has them, or is gone: the disk fills, and memory with it."
        }
        "journal-unsealed" => {
            "If the last a broker wrote is damaged on its disk, it will take that for a power loss, and forget what it acknowledged."
        }
        "answered-twice" | "answered-out-of-order" | "answered-after-close" => {
            "A client got an answer that belongs to another of its requests."
        }
        "called-out-of-order" => {
            "A producer was told that its sequence has a gap, although it only has to send again what was refused: it may write other records twice."
        }
        "sequence-gap" => {
            "A partition holds a record of an idempotent producer and lacks those before it: they are lost, or will come after it."
        }
        "misdated" => {
            "A partition holds a record whose time its topic refuses: it is kept too long, or goes too early."
        }
        "never-answered" => "A client never got an answer to a request on a connection that stayed open.",
        _ => return None,
    })
}

/// The groups a text speaks of, as the story names them.
pub(crate) fn groups_in(text: &str) -> Vec<String> {
    let digits = text.match_indices("Group ").map(|(at, found)| &text[at + found.len()..]);
    let numbers = digits.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    numbers
        .filter(|number| !number.is_empty())
        .map(|number| if number == "0" { "the controller".to_owned() } else { format!("group {number}") })
        .collect()
}

/// The brokers a text speaks of, as the story names them.
pub(crate) fn brokers_in(text: &str) -> Vec<String> {
    let digits = text.match_indices("broker ").map(|(at, found)| &text[at + found.len()..]);
    let mut names: Vec<String> = digits
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .filter(|number| !number.is_empty())
        .map(|number| format!("broker {number}"))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Which brokers a cluster of so many has.
pub(crate) fn brokers(count: u32) -> String {
    match count {
        1 => "there is only broker 1".to_owned(),
        count => {
            let but_last: Vec<String> = (1..count).map(|node| node.to_string()).collect();
            format!("there are {} and {count}", but_last.join(", "))
        }
    }
}

/// The moment an evidence line begins with (`12.345678s ...`), in microseconds.
pub(crate) fn moment_of(line: &str) -> Option<u64> {
    let (time, _) = line.split_once("s ")?;
    let (seconds, micros) = time.split_once('.')?;
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_tell_groups_brokers_and_moments() {
        assert_eq!(groups_in("Group 0, broker 3: it leads; Group 17 too"), ["the controller", "group 17"]);
        assert_eq!(brokers_in("broker 3 and broker 12 and broker 3"), ["broker 12", "broker 3"]);
        assert_eq!(moment_of("59.315268s process 5: polls"), Some(59_315_268));
        assert_eq!(moment_of("durable: replica 1 to 114"), None);
    }
}
