//! Runs a recording through a bare broker and compares what comes of each step.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;
use tidelog_core::broker::{Broker, Status};
use tidelog_core::effect::Effects;

use super::bytes::{Malformed, Reader};
use super::{FORMAT, MAGIC, Outcome, config, input};

/// A recording that was run again, and gave the same at every step.
#[derive(Debug)]
pub struct Replayed {
    /// How many steps were compared.
    pub steps: u64,
    /// Whether the recording ends within an entry, or with an input whose outcome it does not tell.
    pub cut: bool,
    /// How the broker is at the end.
    pub status: Status,
}

/// Why a recording does not run, or runs otherwise.
#[derive(Debug)]
pub enum ReplayError {
    /// It can not be read.
    Io(io::Error),
    /// It is no recording, or of another format.
    Format,
    /// An entry is not what it should be.
    Malformed {
        /// Which step; 0 is the configuration.
        step: u64,
    },
    /// Something else came of a step: another build, or a core that is not a function of its inputs.
    Differs {
        /// Which step, from 1.
        step: u64,
        /// What was stepped.
        input: String,
        /// What came of it when it was recorded.
        recorded: Outcome,
        /// What comes of it now.
        now: Outcome,
        /// The same in words.
        effects: String,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the recording can not be read ({error})"),
            Self::Format => write!(f, "this is no recording of format {FORMAT}"),
            Self::Malformed { step } => write!(f, "step {step} of the recording is damaged"),
            Self::Differs { step, input, recorded, now, effects } => write!(
                f,
                "step {step} gives {now:?} and not {recorded:?} as recorded\ninput: {input}\neffects now: {effects}"
            ),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Runs a recording through a bare broker, and compares every outcome.
///
/// # Errors
///
/// [`ReplayError`], with the first step that differs.
pub fn replay(mut recording: impl Read) -> Result<Replayed, ReplayError> {
    let mut head = vec![0; MAGIC.len() + 2];
    recording.read_exact(&mut head).map_err(|_| ReplayError::Format)?;
    if head != [MAGIC, &FORMAT.to_le_bytes()].concat() {
        return Err(ReplayError::Format);
    }
    let first = entry(&mut recording)?.ok_or(ReplayError::Format)?;
    let (config, boot) = config::take(&mut Reader(first)).map_err(|Malformed| ReplayError::Malformed { step: 0 })?;
    let mut broker = Broker::new(config, boot);
    let mut out = Effects::default();
    let mut steps = 0;
    let cut = loop {
        let step = steps + 1;
        let malformed = |Malformed| ReplayError::Malformed { step };
        let Some(stepped) = entry(&mut recording)? else { break false };
        let (now, input) = input::take(&mut Reader(stepped)).map_err(malformed)?;
        let told = entry(&mut recording)?;
        let words = told.is_some().then(|| format!("{input:?}"));
        broker.step(now, input, &mut out);
        let Some(told) = told else { break true };
        let recorded = Outcome::take(&mut Reader(told)).map_err(malformed)?;
        let now = Outcome::of(&out);
        if now != recorded {
            let (input, effects) = (words.unwrap_or_default(), format!("{out:?}"));
            return Err(ReplayError::Differs { step, input, recorded, now, effects });
        }
        out.clear();
        steps = step;
    };
    Ok(Replayed { steps, cut, status: broker.status() })
}

/// The next whole entry; `None` at the end. Memory grows with what is there, not with what the length says.
fn entry(recording: &mut impl Read) -> Result<Option<Bytes>, ReplayError> {
    let mut length = Vec::new();
    recording.take(8).read_to_end(&mut length).map_err(ReplayError::Io)?;
    let Some(length) = length.first_chunk::<8>() else { return Ok(None) };
    let length = u64::from_le_bytes(*length);
    let mut bytes = Vec::new();
    recording.take(length).read_to_end(&mut bytes).map_err(ReplayError::Io)?;
    Ok((bytes.len() as u64 == length).then(|| bytes.into()))
}
