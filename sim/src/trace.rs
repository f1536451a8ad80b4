//! What is chained into the trace hash for each input, effect and event, and how it is printed when asked.
//!
//! The hash covers the wire form of messages and the fields of events; `Debug` text is made only for `--trace`.

use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult, Halt, Input};
use tidelog_core::event::{Event, Fate};
use tidelog_core::kafka::RequestBody;

use crate::digest::Digest;

/// One printed line of a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Virtual microseconds since the start.
    pub at: u64,
    /// Steps taken before it.
    pub step: u64,
    /// The broker (`node.id`) it is about, if it is about one.
    pub node: Option<u32>,
    /// What happened.
    pub text: String,
}

/// Takes the lines of a trace.
pub type Sink = Box<dyn FnMut(Line)>;

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>3}.{:06} {:>7} ", self.at / 1_000_000, self.at % 1_000_000, self.step)?;
        match self.node {
            Some(node) => write!(f, "n{node} {}", self.text),
            None => write!(f, "-- {}", self.text),
        }
    }
}

/// Chains what an input says. Messages were chained when they were sent: here their arrival counts.
pub(crate) fn input(digest: &mut Digest, input: &Input) {
    let mut words = |numbers: &[u64]| numbers.iter().for_each(|number| digest.word(*number));
    match input {
        Input::Wake => words(&[1]),
        Input::Opened { conn, .. } => words(&[2, conn.0]),
        Input::Request { conn, id, .. } => words(&[3, conn.0, id.0]),
        Input::Closed { conn } => words(&[4, conn.0]),
        Input::Peer { from, .. } => words(&[5, u64::from(from.0)]),
        Input::DiskDone { op, result } => {
            words(&[6, op.0]);
            disk_result(digest, result);
        }
        Input::Computed { job, .. } => words(&[7, job.0]),
        Input::Stop => words(&[8]),
        Input::Lost { node } => words(&[9, u64::from(node.0)]),
    }
}

fn disk_result(digest: &mut Digest, result: &DiskResult) {
    match result {
        Ok(DiskOutput::Listed(files)) => {
            digest.word(1);
            files.iter().for_each(|(file, len)| {
                digest.word(file.raw());
                digest.word(*len);
            });
        }
        Ok(DiskOutput::Read(bytes)) => {
            digest.word(2);
            digest.bytes(bytes);
        }
        Ok(DiskOutput::Done) => digest.word(3),
        Err(DiskError::Full) => digest.word(4),
        Err(DiskError::Missing) => digest.word(5),
        Err(DiskError::Io(_)) => digest.word(6),
    }
}

/// Chains a command for the disk, bytes included.
pub(crate) fn disk_command(digest: &mut Digest, command: &DiskCommand) {
    let mut words = |numbers: &[u64]| numbers.iter().for_each(|number| digest.word(*number));
    match command {
        DiskCommand::List => words(&[1]),
        DiskCommand::Read { file, at, len } => words(&[2, file.raw(), *at, *len]),
        DiskCommand::Write { file, at, bytes, durable, cold } => {
            words(&[3, file.raw(), *at, u64::from(*durable), u64::from(*cold)]);
            bytes.iter().for_each(|slice| digest.bytes(slice));
        }
        DiskCommand::Sync { files } => {
            words(&[4]);
            files.iter().for_each(|file| digest.word(file.raw()));
        }
        DiskCommand::Allocate { file, len } => words(&[5, file.raw(), *len]),
        DiskCommand::Truncate { file, len } => words(&[6, file.raw(), *len]),
        DiskCommand::Remove { file } => words(&[7, file.raw()]),
    }
}

/// A command for the disk without its bytes, for people.
pub(crate) fn show_disk(command: &DiskCommand) -> String {
    match command {
        DiskCommand::Write { file, at, bytes, durable, cold: _ } => {
            let len: usize = bytes.iter().map(bytes::Bytes::len).sum();
            format!("write {file} at {at} +{len}{}", if *durable { " durable" } else { "" })
        }
        other => format!("{other:?}"),
    }
}

/// An input without bulk, for people.
pub(crate) fn show_input(input: &Input) -> String {
    match input {
        Input::DiskDone { op, result: Ok(DiskOutput::Read(bytes)) } => {
            format!("DiskDone {op:?}: read {} bytes", bytes.len())
        }
        Input::Request { conn, id, request } => match &request.body {
            RequestBody::Produce(produce) => {
                let topics = produce.topic_data.iter();
                let places = topics.flat_map(|topic| topic.partition_data.iter().map(|part| (&topic.name, part.index)));
                let parts: Vec<String> = places
                    .zip(&request.batches)
                    .map(|((topic, partition), batch)| match batch {
                        Ok(batch) => format!(
                            "{topic}/{partition} {:?} epoch {} sequences {}..={}",
                            batch.producer_id(),
                            batch.producer_epoch(),
                            batch.base_sequence(),
                            batch.last_sequence()
                        ),
                        Err(error) => format!("{topic}/{partition} {error}"),
                    })
                    .collect();
                format!("Produce {conn:?} {id:?} acks {}: {}", produce.acks, parts.join("; "))
            }
            body => clipped(format!("{conn:?} {id:?} {body:?}"), 600),
        },
        other => clipped(format!("{other:?}"), 600),
    }
}

/// A text, or its beginning.
pub(crate) fn clipped(mut text: String, most: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Why a broker ended, for people.
pub(crate) fn show_halt(halt: &Halt) -> String {
    match halt {
        Halt::Stopped => "stopped when asked".to_owned(),
        Halt::DiskFailed(why) => format!("stopped because its disk failed: {why}"),
        Halt::Corrupt(why) => format!("stopped because its data is corrupt: {why}"),
        Halt::Foreign(why) => format!("stopped because its data is foreign: {why}"),
    }
}

/// Chains an event.
pub(crate) fn event(digest: &mut Digest, event: &Event) {
    let mut words = |numbers: &[u64]| numbers.iter().for_each(|number| digest.word(*number));
    match event {
        Event::Recovered { group, replica, term, vote, commit, applied, last } => {
            words(&[1, group.0, replica.0, term.0, vote.0, commit.0, applied.0, last.0]);
        }
        Event::Appended { group, index, term, digest } => words(&[2, group.0, index.0, term.0, *digest]),
        Event::Persisted { group, index, term } => words(&[3, group.0, index.0, term.0]),
        Event::HardStatePersisted { group, term, vote } => words(&[4, group.0, term.0, vote.0]),
        Event::Applied { group, index, term, digest, next_offset, log_start } => {
            words(&[5, group.0, index.0, term.0, *digest, next_offset.0 as u64, log_start.0 as u64]);
        }
        Event::Judged { group, index, judged } => {
            let (kind, what) = match judged.fate {
                Fate::Appended(at) => (0, at.0 as u64),
                Fate::Duplicate(at) => (1, at.0 as u64),
                Fate::Refused(error) => (2, error.code() as u16 as u64),
            };
            words(&[18, group.0, index.0, judged.stamp.0 as u64, kind, what]);
        }
        Event::Elected { group, term } => words(&[6, group.0, term.0]),
        Event::Serving { group, term } => words(&[7, group.0, term.0]),
        Event::Deposed { group, term } => words(&[8, group.0, term.0]),
        Event::Configured { group, index, voters, outgoing } => {
            words(&[9, group.0, index.0]);
            voters.iter().for_each(|(node, replica)| {
                digest.word(u64::from(node.0));
                digest.word(replica.0);
            });
            outgoing.iter().for_each(|replica| digest.word(replica.0));
        }
        Event::Checkpointed { group, applied } => words(&[10, group.0, applied.0]),
        Event::Installing { group, index, term } => words(&[14, group.0, index.0, term.0]),
        Event::Installed { group, index, term, digest, next_offset, log_start } => {
            words(&[15, group.0, index.0, term.0, *digest, next_offset.0 as u64, log_start.0 as u64]);
        }
        Event::Healed { group, index, term, digest, next_offset, log_start } => {
            words(&[16, group.0, index.0, term.0, *digest, next_offset.0 as u64, log_start.0 as u64]);
        }
        Event::Started => words(&[11]),
        Event::Chartered { cluster, directory, replica, members } => {
            words(&[14, replica.0]);
            digest.bytes(&cluster.0);
            digest.bytes(&directory.0);
            members.iter().for_each(|(node, directory, replica)| {
                digest.word(u64::from(node.0));
                digest.bytes(&directory.0);
                digest.word(replica.0);
            });
        }
        Event::Sometimes(name) => {
            words(&[12]);
            digest.bytes(name.as_bytes());
        }
        Event::Note(text) => {
            words(&[13]);
            digest.bytes(text.as_bytes());
        }
        Event::NoRoom { needed, starting } => words(&[18, *needed, u64::from(*starting)]),
        Event::Progress(text) => {
            words(&[17]);
            digest.bytes(text.as_bytes());
        }
    }
}
