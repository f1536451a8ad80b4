//! Producers of Java's client instead of librdkafka's: the same lines, said to `Client.java`.
//!
//! Promises: what it gives can be started. Does not know what producers are told.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// How producers of Java's client are started.
#[derive(Clone, Debug)]
pub struct Java {
    classpath: String,
}

const SOURCE: &str = include_str!("Client.java");

impl Java {
    /// Compiles the client against the jars in a directory; if that can not be done, says why and how to get what lacks.
    ///
    /// # Errors
    /// A sentence.
    pub fn find(jars: &Path, directory: &Path) -> Result<Self, String> {
        let cure = "put kafka-clients and what it needs there (`mvn dependency:copy-dependencies`)";
        let entries = fs::read_dir(jars).map_err(|error| format!("--java {}: {error}: {cure}", jars.display()))?;
        let jar = |name: &str| name.starts_with("kafka-clients") && name.ends_with(".jar");
        if !entries.flatten().any(|entry| jar(&entry.file_name().to_string_lossy())) {
            return Err(format!("--java {} has no kafka-clients-*.jar: {cure}", jars.display()));
        }
        let source = directory.join("Client.java");
        let failed = |error: std::io::Error| format!("{} can not be written: {error}", source.display());
        fs::write(&source, SOURCE).map_err(failed)?;
        let libraries = format!("{}/*", jars.display());
        let mut command = Command::new("javac");
        command.args(["-cp", &libraries, "-d"]).arg(directory).arg(&source).stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!("javac refuses {}: {}", source.display(), said.trim()));
            }
            Err(error) => return Err(format!("javac does not start ({error}): install a JDK of version 17 or later")),
        }
        Ok(Self { classpath: format!("{}:{libraries}", directory.display()) })
    }

    /// What starts a producer.
    pub fn command(&self) -> Command {
        let mut command = Command::new("java");
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &self.classpath, "Client"]);
        command
    }
}
