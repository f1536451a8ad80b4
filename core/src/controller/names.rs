//! Which topic names Kafka allows, in Kafka's words.
//!
//! Promises nothing about a name being free: that is the image's to say.

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// Why a topic name is not allowed. Its text is what Kafka's clients are used to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameError {
    /// No characters at all.
    Empty,
    /// `.` or `..`, which mean something to file systems.
    Dots(String),
    /// More than [`TOPIC_NAME_BYTES_MAX`] characters.
    TooLong(String),
    /// Something other than ASCII letters, digits, `.`, `_` and `-`.
    Character(String),
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Topic name is invalid: ")?;
        match self {
            Self::Empty => f.write_str("the empty string is not allowed"),
            Self::Dots(name) => write!(f, "'{name}' is not allowed"),
            Self::TooLong(name) => {
                write!(f, "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}")
            }
            Self::Character(name) => {
                write!(f, "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// Whether a topic may be called `name`.
pub fn validate(name: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name == "." || name == ".." {
        Err(NameError::Dots(name.to_owned()))
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        // A name may be as long as a request: do not send megabytes back.
        Err(NameError::TooLong(name.chars().take(TOPIC_NAME_BYTES_MAX + 1).collect()))
    } else if !name.bytes().all(allowed) {
        Err(NameError::Character(name.to_owned()))
    } else {
        Ok(())
    }
}

/// What two names have in common when they differ only in `.` and `_`: Kafka's metric names can not tell these apart,
/// and so it allows only one of them.
pub fn unified(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_allowed() {
        for name in ["a", "a.b", "a_b", "a-b", "...", "A9", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refusals_are_in_kafkas_words() {
        let text = |name: &str| validate(name).expect_err("refused").to_string();
        assert_eq!(text(""), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(text("."), "Topic name is invalid: '.' is not allowed");
        assert_eq!(text(".."), "Topic name is invalid: '..' is not allowed");
        let long = "x".repeat(250);
        let expected =
            format!("Topic name is invalid: the length of '{long}' is longer than the max allowed length 249");
        assert_eq!(text(&long), expected);
        for name in ["a b", "ä", "a/b", "a\0b", "a,b"] {
            let ending = "contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
            assert_eq!(text(name), format!("Topic name is invalid: '{name}' {ending}"));
        }
    }

    #[test]
    fn a_very_long_name_is_not_echoed_whole() {
        assert!(validate(&"é".repeat(1_000_000)).expect_err("refused").to_string().len() < 1_000);
    }

    #[test]
    fn dots_and_underscores_are_the_same_to_metrics() {
        assert_eq!(unified("a.b_c"), unified("a_b.c"));
        assert_ne!(unified("a.b"), unified("a-b"));
    }
}
