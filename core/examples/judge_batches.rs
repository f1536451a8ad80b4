//! Judges record batches as a broker judges what producers send: standard input holds each behind its length (four bytes,
//! big-endian); one line is printed for each, `ok` or the error's name. `.ci/clients/frames.py` compares that with what clients read.

use std::io::{Read, Write};

use tidelog_core::kafka::batch::validate;

fn main() -> std::io::Result<()> {
    let mut all = Vec::new();
    std::io::stdin().read_to_end(&mut all)?;
    let mut rest = bytes::Bytes::from(all);
    let mut out = std::io::stdout().lock();
    while let Some(len) = rest.first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let batch = rest.slice(4..4 + len);
        rest = rest.slice(4 + len..);
        match validate(Some(batch)) {
            Ok(_) => writeln!(out, "ok")?,
            Err(error) => writeln!(out, "{}", error.name())?,
        }
    }
    Ok(())
}
