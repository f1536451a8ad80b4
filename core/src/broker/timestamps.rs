//! Records whose time can not be: what a topic's `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms` refuse.
//!
//! Only timestamps that producers gave are judged, each record's and not the batch's, by the clock of the leader and before the
//! batch is proposed: what is in the log was judged once, and no replica needs a clock to apply it. A record without a timestamp
//! (-1) passes. The words, and what stands in the answer, are Apache Kafka's (4.3.1 was asked).

use crate::controller::configs::{TimestampType, TopicConfig};
use crate::id::Offset;
use crate::kafka::ErrorCode;
use crate::kafka::batch::Batch;
use crate::kafka::messages::{BatchIndexAndErrorMessage, PartitionProduceResponse};
use crate::limits::{RECORD_ERRORS_MAX, RECORD_ERRORS_UNFOLDED_BYTES_MAX};
use crate::time::Timestamp;

/// A batch with records that are too old, or of the future.
#[derive(Clone, Debug)]
pub(super) struct Misdated {
    /// The records at fault and what is wrong with each: the first [`RECORD_ERRORS_MAX`]; none if the batch unfolds to too much.
    records: Vec<BatchIndexAndErrorMessage>,
    log_start: Offset,
}

/// Judges a batch that a client sent at the time `now` of the leader.
pub(super) fn judge(batch: &Batch, config: &TopicConfig, now: Timestamp, log_start: Offset) -> Result<(), Misdated> {
    match config.timestamp_type {
        TimestampType::LogAppendTime => return Ok(()),
        TimestampType::CreateTime => {}
    }
    let first = now.0.saturating_sub(config.timestamp_before_max_ms);
    let last = now.0.saturating_add(config.timestamp_after_max_ms);
    let (earliest, latest) = batch.timestamp_range();
    if first <= earliest.0 && latest.0 <= last {
        return Ok(());
    }
    let outside =
        batch.records_outside(Timestamp(first), Timestamp(last), RECORD_ERRORS_UNFOLDED_BYTES_MAX, RECORD_ERRORS_MAX);
    let record = |(at, timestamp): (i32, Timestamp)| BatchIndexAndErrorMessage {
        batch_index: at,
        batch_index_error_message: Some(format!(
            "Timestamp {} of message with offset {at} is out of range. The timestamp should be within [{first}, {last}]",
            timestamp.0
        )),
    };
    Err(Misdated { records: outside.into_iter().map(record).collect(), log_start })
}

impl Misdated {
    pub(super) const ERROR: ErrorCode = ErrorCode::InvalidTimestamp;

    pub(super) fn answer(self, partition: i32) -> PartitionProduceResponse {
        PartitionProduceResponse {
            index: partition,
            error_code: Self::ERROR.code(),
            base_offset: Offset(-1).0,
            log_start_offset: self.log_start.0,
            record_errors: self.records,
            error_message: Some("One or more records have been rejected due to invalid timestamp".to_owned()),
            ..PartitionProduceResponse::default()
        }
    }
}
