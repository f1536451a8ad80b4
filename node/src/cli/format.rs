//! How a record is printed, in the letters that kcat uses.

use std::io::{self, Write};

use tidelog_core::client::Consumed;

/// A format, read once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format(Vec<Piece>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Timestamp,
    Headers,
}

impl Format {
    /// Reads a format.
    ///
    /// # Errors
    /// If a letter after `%` or `\` means nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match (c, if c == '%' || c == '\\' { chars.next() } else { None }) {
                ('%', Some('t')) => Piece::Topic,
                ('%', Some('p')) => Piece::Partition,
                ('%', Some('o')) => Piece::Offset,
                ('%', Some('k')) => Piece::Key,
                ('%', Some('s')) => Piece::Value,
                ('%', Some('T')) => Piece::Timestamp,
                ('%', Some('h')) => Piece::Headers,
                (start @ ('%' | '\\'), next) => {
                    plain.push(match (start, next) {
                        ('%', Some('%')) => '%',
                        ('\\', Some('n')) => '\n',
                        ('\\', Some('t')) => '\t',
                        ('\\', Some('r')) => '\r',
                        ('\\', Some('0')) => '\0',
                        ('\\', Some('\\')) => '\\',
                        (start, Some(next)) => {
                            return Err(format!(
                                "{start}{next} means nothing: use %t %p %o %k %s %T %h %% or \\n \\t \\\\"
                            ));
                        }
                        (start, None) => {
                            return Err(format!("nothing follows the last {start}: write it twice to print it"));
                        }
                    });
                    continue;
                }
                (other, _) => {
                    plain.push(other);
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into_bytes()));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into_bytes()));
        }
        Ok(Self(pieces))
    }

    /// Prints a record. What is null prints nothing; headers print as `name=value`, with commas between.
    pub(super) fn print(&self, out: &mut impl Write, record: &Consumed) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Piece::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Piece::Timestamp => write!(out, "{}", record.timestamp.0)?,
                Piece::Headers => {
                    for (index, (name, value)) in record.headers.iter().enumerate() {
                        let comma = if index > 0 { "," } else { "" };
                        write!(out, "{comma}{name}=")?;
                        out.write_all(value.as_deref().unwrap_or_default())?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::id::Offset;
    use tidelog_core::time::Timestamp;

    use super::*;

    fn printed(format: &str) -> String {
        let record = Consumed {
            topic_id: tidelog_core::id::TopicId::ZERO,
            topic: "t".to_owned(),
            partition: 3,
            offset: Offset(42),
            timestamp: Timestamp(1_000),
            key: None,
            value: Some("v".into()),
            headers: vec![("a".to_owned(), Some("1".into())), ("b".to_owned(), None)],
        };
        let mut out = Vec::new();
        Format::parse(format).expect("a format").print(&mut out, &record).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_letter_prints_its_part() {
        assert_eq!(printed("%t/%p@%o %T [%k] %s {%h} 100%%\\n\\t\\\\"), "t/3@42 1000 [] v {a=1,b=} 100%\n\t\\");
    }

    #[test]
    fn a_letter_without_a_meaning_is_refused() {
        assert!(Format::parse("%x").is_err());
        assert!(Format::parse("a%").is_err());
        assert!(Format::parse("\\q").is_err());
    }
}
