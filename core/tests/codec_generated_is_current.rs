//! The generated part of the codec is what its schema says.

use std::path::Path;

#[path = "support/codec_generator.rs"]
mod codec_generator;

#[test]
fn generated_files_are_what_the_schema_gives() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(home.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    for (path, text) in codec_generator::generate(&read(codec_generator::SCHEMA)) {
        assert!(read(&path) == text, "{path} is not current: cargo run -p tidelog-core --example generate_codec");
    }
}

#[test]
fn no_file_is_left_from_an_older_schema() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read_to_string(home.join(codec_generator::SCHEMA)).expect("the schema is there");
    let generated = codec_generator::generate(&schema);
    for entry in home.join("src/kafka/messages").read_dir().expect("the directory is there") {
        let name = entry.expect("it can be read").file_name();
        let path = format!("src/kafka/messages/{}", name.display());
        assert!(generated.iter().any(|(generated, _)| *generated == path), "{path} comes from no schema");
    }
}
