//! Seeds as people write them: decimal, hex, or `last` for the one that was run before.

use std::path::PathBuf;
use std::str::FromStr;

/// A seed on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SeedArg {
    /// This one.
    Number(u64),
    /// The one that failed last, or else was run last.
    Last,
}

impl FromStr for SeedArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "last" {
            return Ok(Self::Last);
        }
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        parsed.map(Self::Number).map_err(|_| format!("`{text}` is not a seed: decimal, 0x hex, or `last`"))
    }
}

impl SeedArg {
    /// The number.
    pub(crate) fn number(self) -> Result<u64, String> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Last => {
                let file = memory();
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| format!("no run is remembered in {}: {error}", file.display()))?;
                match text.trim().parse() {
                    Ok(Self::Number(number)) => Ok(number),
                    Ok(Self::Last) | Err(_) => Err(format!("{} does not hold a seed", file.display())),
                }
            }
        }
    }
}

/// Where the last seed is remembered: beside the build, or in the directory for temporary files.
fn memory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let directory = if target.is_dir() { target } else { std::env::temp_dir() };
    directory.join("tidelog-sim.last")
}

/// Remembers a seed for `last`. A place that cannot be written to only costs the convenience.
pub(crate) fn remember(seed: u64) {
    let _ = std::fs::write(memory(), format!("{seed:#x}\n"));
}

/// A seed nobody chose.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_decimal_hex_or_last() {
        assert_eq!("17".parse(), Ok(SeedArg::Number(17)));
        assert_eq!("0x1F".parse(), Ok(SeedArg::Number(31)));
        assert_eq!("last".parse(), Ok(SeedArg::Last));
        assert!("1f".parse::<SeedArg>().is_err());
    }
}
