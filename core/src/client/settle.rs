//! What an answer to a batch means: the table from which outcomes are concluded.
//!
//! Promises that a batch is called refused only where a broker refuses before it appends; whatever leaves room for doubt is
//! doubtful. Does not know queues.

use super::producer::Reply;
use crate::id::Offset;
use crate::kafka::ErrorCode;
use crate::time::Timestamp;

/// What to do with a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is in the log as was asked.
    Appended { base: Option<Offset>, stamp: Option<Timestamp> },
    /// It is to be sent again; this attempt may have been appended if `doubtful`. If `broken`, the broker does not go on with
    /// this sequence of batches: another producer id is needed first.
    Again { doubtful: bool, broken: bool, error: ErrorCode, message: String },
    /// It will not be sent again; this attempt may have been appended all the same if `doubtful`.
    Refused { error: ErrorCode, message: String, doubtful: bool },
}

/// What can be done where a topic does not allow the time of a record.
const TIME_CURE: &str = "give records a time that the topic allows, set the clock right that is wrong, this machine's or the broker's, or \
    raise message.timestamp.after.max.ms or message.timestamp.before.max.ms of the topic";

/// Judges the answer to a batch; `preceded` says that an earlier batch of the partition is not settled yet, or was given up.
pub(super) fn judge(reply: &Reply, sequenced: bool, preceded: bool) -> Verdict {
    let (code, message, base, stamp) = match reply {
        Reply::Sent => {
            return Verdict::Appended { base: None, stamp: None };
        }
        Reply::Lost(why) => {
            let (error, message) = (ErrorCode::NetworkException, why.clone());
            return Verdict::Again { doubtful: true, broken: false, error, message };
        }
        Reply::Unsupported(why) => {
            let (error, message) = (ErrorCode::UnsupportedVersion, why.clone());
            return Verdict::Refused { error, message, doubtful: false };
        }
        Reply::Said { error, message, base, stamp } => (*error, message, *base, *stamp),
    };
    let known = ErrorCode::from_code(code);
    let error = known.unwrap_or(ErrorCode::UnknownServerError);
    let name = known.map_or_else(|| format!("error {code}"), |error| error.name().to_owned());
    let message = message.as_ref().map_or(name.clone(), |message| format!("{name}, {message}"));
    match error {
        ErrorCode::None => Verdict::Appended {
            base: (base >= 0).then_some(Offset(base)),
            stamp: (stamp >= 0).then_some(Timestamp(stamp)),
        },
        // The broker has it, but no longer knows where.
        ErrorCode::DuplicateSequenceNumber => Verdict::Appended { base: None, stamp: None },
        // A gap after a batch that will be sent again is no break.
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch
            if sequenced =>
        {
            let gap = preceded && error == ErrorCode::OutOfOrderSequenceNumber;
            Verdict::Again { doubtful: false, broken: !gap, error, message }
        }
        error if error.is_retriable() => {
            Verdict::Again { doubtful: !is_certain_refusal(error), broken: false, error, message }
        }
        ErrorCode::InvalidTimestamp => {
            Verdict::Refused { error, message: format!("{message} ({TIME_CURE})"), doubtful: false }
        }
        error => Verdict::Refused { error, message, doubtful: error == ErrorCode::UnknownServerError },
    }
}

/// Whether a broker that answers this retriable error has certainly not appended the batch. A deposed leader answers
/// `NOT_LEADER_OR_FOLLOWER` for batches that its successor may commit, so that is not one of them.
fn is_certain_refusal(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::CorruptMessage
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::ThrottlingQuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: ErrorCode) -> Reply {
        Reply::Said { error: error.code(), message: None, base: -1, stamp: -1 }
    }

    #[test]
    fn a_deposed_leader_leaves_doubt() {
        let verdict = judge(&said(ErrorCode::NotLeaderOrFollower), true, false);
        assert!(matches!(verdict, Verdict::Again { doubtful: true, broken: false, .. }));
    }

    #[test]
    fn a_refusal_before_the_append_is_certain() {
        let verdict = judge(&said(ErrorCode::MessageTooLarge), true, false);
        assert!(matches!(verdict, Verdict::Refused { doubtful: false, .. }));
        let verdict = judge(&said(ErrorCode::NotEnoughReplicas), true, false);
        assert!(matches!(verdict, Verdict::Again { doubtful: false, .. }));
    }

    #[test]
    fn a_gap_is_a_break_only_at_the_head() {
        let error = said(ErrorCode::OutOfOrderSequenceNumber);
        assert!(matches!(judge(&error, true, true), Verdict::Again { broken: false, .. }));
        assert!(matches!(judge(&error, true, false), Verdict::Again { broken: true, .. }));
    }

    #[test]
    fn a_time_that_can_not_be_is_told_with_its_cure() {
        let why = "One or more records have been rejected due to invalid timestamp: Timestamp 9 of message with offset 0 is out of range.";
        let error = ErrorCode::InvalidTimestamp.code();
        let reply = Reply::Said { error, message: Some(why.to_owned()), base: -1, stamp: -1 };
        let Verdict::Refused { error: ErrorCode::InvalidTimestamp, message, doubtful: false } =
            judge(&reply, true, false)
        else {
            panic!("it is refused for good")
        };
        assert_eq!(
            message,
            format!(
                "INVALID_TIMESTAMP, {why} (give records a time that the topic allows, set the clock right that is wrong, this machine's \
                 or the broker's, or raise message.timestamp.after.max.ms or message.timestamp.before.max.ms of the topic)"
            )
        );
    }

    #[test]
    fn an_error_nobody_knows_leaves_doubt() {
        let reply = Reply::Said { error: 12_345, message: None, base: 0, stamp: -1 };
        assert!(matches!(judge(&reply, false, false), Verdict::Refused { doubtful: true, .. }));
    }
}
