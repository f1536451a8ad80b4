//! What came of a step: so many effects and events, and a digest over every byte of each list.

use bytes::{BufMut, Bytes};
use tidelog_core::compute::Job;
use tidelog_core::effect::{DiskCommand, Effect, Effects, Halt};
use tidelog_core::rng::mix;

use super::bytes::{Malformed, Reader};

/// What came of a step, in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How many effects there were.
    pub effects: u64,
    /// Over all of them, in order, as they would leave.
    pub effects_digest: u64,
    /// How many events there were.
    pub events: u64,
    /// Over all of them, in order, as they are printed.
    pub events_digest: u64,
}

impl Outcome {
    /// Of what a step gave.
    pub fn of(out: &Effects) -> Self {
        let mut effects = Digest::default();
        out.effects.iter().for_each(|each| effect(&mut effects, each));
        let mut events = Digest::default();
        out.events.iter().for_each(|event| events.bytes(format!("{event:?}").as_bytes()));
        Self {
            effects: out.effects.len() as u64,
            effects_digest: effects.0,
            events: out.events.len() as u64,
            events_digest: events.0,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.effects, self.effects_digest, self.events, self.events_digest] {
            out.put_u64_le(number);
        }
    }

    pub(super) fn take(r: &mut Reader) -> Result<Self, Malformed> {
        let outcome = Self { effects: r.u64()?, effects_digest: r.u64()?, events: r.u64()?, events_digest: r.u64()? };
        r.end()?;
        Ok(outcome)
    }
}

/// A chained hash. Not cryptographic; only meant to differ when anything differs.
#[derive(Default)]
struct Digest(u64);

impl Digest {
    fn word(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(23) ^ mix(word ^ 0x7265_636f_7264));
    }

    fn words(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.word(*word));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn pieces(&mut self, pieces: &[Bytes]) {
        self.word(pieces.len() as u64);
        pieces.iter().for_each(|piece| self.bytes(piece));
    }
}

fn effect(digest: &mut Digest, effect: &Effect) {
    match effect {
        Effect::Respond { conn, id, response } => {
            digest.words(&[0, conn.0, id.0, response.api_key.code() as u64, response.api_version as u64]);
            digest.pieces(&response.encode());
        }
        Effect::Close { conn, reason } => {
            digest.words(&[1, conn.0]);
            digest.bytes(reason.as_bytes());
        }
        Effect::Mute { conn } => digest.words(&[2, conn.0]),
        Effect::Unmute { conn } => digest.words(&[3, conn.0]),
        Effect::Send { to, envelope } => {
            digest.words(&[4, to.0.into()]);
            digest.pieces(&envelope.encode());
        }
        Effect::Disk { op, command } => {
            digest.words(&[5, op.0]);
            disk(digest, command);
        }
        Effect::Compute { job, job_input } => {
            digest.words(&[6, job.0]);
            match job_input {
                Job::FindTimestamp { batches, from, at_least } => {
                    digest.words(&[0, from.0 as u64, at_least.0 as u64]);
                    digest.bytes(batches);
                }
                Job::FindMaxTimestamp { batches } => {
                    digest.word(1);
                    digest.bytes(batches);
                }
            }
        }
        Effect::WakeAt(moment) => digest.words(&[7, moment.0]),
        Effect::Halt(halt) => {
            let (kind, why) = match halt {
                Halt::Stopped => (0, ""),
                Halt::DiskFailed(why) => (1, why.as_str()),
                Halt::Corrupt(why) => (2, why.as_str()),
                Halt::Foreign(why) => (3, why.as_str()),
            };
            digest.words(&[8, kind]);
            digest.bytes(why.as_bytes());
        }
    }
}

fn disk(digest: &mut Digest, command: &DiskCommand) {
    match command {
        DiskCommand::List => digest.word(0),
        DiskCommand::Read { file, at, len } => digest.words(&[1, file.raw(), *at, *len]),
        DiskCommand::Write { file, at, bytes, durable, cold } => {
            digest.words(&[2, file.raw(), *at, u64::from(*durable), u64::from(*cold)]);
            digest.pieces(bytes);
        }
        DiskCommand::Sync { files } => {
            digest.words(&[3, files.len() as u64]);
            files.iter().for_each(|file| digest.word(file.raw()));
        }
        DiskCommand::Allocate { file, len } => digest.words(&[4, file.raw(), *len]),
        DiskCommand::Truncate { file, len } => digest.words(&[5, file.raw(), *len]),
        DiskCommand::Remove { file } => digest.words(&[6, file.raw()]),
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::id::{ConnId, FileId, FileKind, OpId};

    use super::*;

    #[test]
    fn one_byte_makes_another_outcome() {
        let file = FileId::new(FileKind::Journal, 1, 1);
        let write = |bytes: &'static [u8]| {
            let bytes = vec![Bytes::from_static(bytes)];
            let command = DiskCommand::Write { file, at: 0, bytes, durable: true, cold: false };
            let mut out = Effects::default();
            out.push(Effect::Mute { conn: ConnId(1) });
            out.push(Effect::Disk { op: OpId(1), command });
            Outcome::of(&out)
        };
        assert_eq!(write(b"some bytes of a block"), write(b"some bytes of a block"));
        assert_ne!(write(b"some bytes of a block"), write(b"some bytes of a clock"));
        assert_ne!(write(b"bytes"), write(b"bytes\0"));
    }
}
