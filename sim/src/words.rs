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
    let mut numbers: Vec<&str> =
        ["Group ", "group ", "GroupId(", "(g"].iter().flat_map(|word| numbers_after(text, word)).collect();
    if text.contains("the controller") {
        numbers.push("0");
    }
    numbers.sort_unstable();
    numbers.dedup();
    let name = |number| if number == "0" { "the controller".to_owned() } else { format!("group {number}") };
    numbers.into_iter().map(name).collect()
}

/// The brokers a text speaks of, as the story names them.
pub(crate) fn brokers_in(text: &str) -> Vec<String> {
    named_in(text, "broker")
}

/// The clients a text speaks of, as the story names them.
pub(crate) fn clients_in(text: &str) -> Vec<String> {
    named_in(text, "client")
}

fn named_in(text: &str, what: &str) -> Vec<String> {
    let mut names: Vec<String> =
        numbers_after(text, &format!("{what} ")).map(|number| format!("{what} {number}")).collect();
    names.sort();
    names.dedup();
    names
}

/// The numbers that follow a word in a text.
fn numbers_after<'a>(text: &'a str, word: &str) -> impl Iterator<Item = &'a str> {
    let rests: Vec<&str> = text.match_indices(word).map(|(at, found)| &text[at + found.len()..]).collect();
    let numbers = rests.into_iter().filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    numbers.filter(|number| !number.is_empty())
}

/// Whether a text holds a word, and not only as the beginning of a greater number.
pub(crate) fn speaks_of(text: &str, word: &str) -> bool {
    let mut found = text.match_indices(word);
    found.any(|(at, word)| !text[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// The partitions of a topic that a text speaks of: `topic/0`, `topic-0`, or of one of its lives, `topic#1f/0`.
pub(crate) fn partitions_in(text: &str, topic: &str) -> Vec<i32> {
    let number = |at: usize| {
        let rest = &text[at + topic.len()..];
        let rest = match rest.strip_prefix('#') {
            Some(life) => life.trim_start_matches(|c: char| c.is_ascii_alphanumeric()),
            None => rest,
        };
        let digits = rest.strip_prefix(['/', '-'])?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut partitions: Vec<i32> = text.match_indices(topic).filter_map(|(at, _)| number(at)).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
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
        assert_eq!(groups_in("group 12 and Some(g3), and the controller"), ["the controller", "group 12", "group 3"]);
        assert_eq!(clients_in("request 4 on connection 2 of client 11"), ["client 11"]);
        let text = "topic-0/3 and topic-0-1, topic-0#00ff/2 and topic-01/9";
        assert_eq!((partitions_in(text, "topic-0"), partitions_in(text, "topic-2")), (vec![1, 2, 3], vec![]));
        assert!(speaks_of("broker 12, broker 1", "broker 1") && !speaks_of("broker 12", "broker 1"));
        assert_eq!(moment_of("59.315268s process 5: polls"), Some(59_315_268));
        assert_eq!(moment_of("durable: replica 1 to 114"), None);
    }
}
