//! Writes the generated part of the Kafka codec anew, from `core/src/kafka/schema.txt`.

use std::path::Path;

#[path = "../tests/support/codec_generator.rs"]
mod codec_generator;

fn main() -> std::io::Result<()> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read_to_string(home.join(codec_generator::SCHEMA))?;
    for (path, text) in codec_generator::generate(&schema) {
        std::fs::write(home.join(path), text)?;
    }
    Ok(())
}
