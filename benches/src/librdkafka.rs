//! Clients as processes: librdkafka in Python. What they take and say stands in `client.py`.
//!
//! Promises that no process is left behind. Whatever a client complains of goes to our stderr.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const SCRIPT: &str = include_str!("client.py");

/// A Python interpreter that has the package `confluent_kafka`.
#[derive(Clone, Debug)]
pub struct Python(PathBuf);

/// What a client did, measured by itself from the word to go until it was done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Bytes of the values that were acknowledged, or read.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// Time on cores, of all its threads.
    pub cpu: Duration,
}

impl Python {
    /// Takes an interpreter that has what it takes.
    ///
    /// # Errors
    ///
    /// That it has not, and how to get it.
    pub fn find(interpreter: PathBuf) -> io::Result<Self> {
        let found = Command::new(&interpreter).args(["-c", "import confluent_kafka"]).output();
        match found {
            Ok(output) if output.status.success() => Ok(Self(interpreter)),
            Ok(_) | Err(_) => Err(io::Error::other(format!(
                "{} has no package confluent_kafka: `pip install confluent-kafka`, or name one that has it with --python",
                interpreter.display()
            ))),
        }
    }

    /// Creates a topic, and waits until every partition has a leader and all its replicas.
    ///
    /// # Errors
    ///
    /// That it could not be had.
    pub fn create(&self, bootstrap: &str, topic: &str, partitions: u32, replicas: u32) -> io::Result<()> {
        self.run(&["create", bootstrap, topic, &partitions.to_string(), &replicas.to_string()])
    }

    /// Deletes a topic.
    ///
    /// # Errors
    ///
    /// That it could not be done.
    pub fn delete(&self, bootstrap: &str, topic: &str) -> io::Result<()> {
        self.run(&["delete", bootstrap, topic])
    }

    /// A producer that is connected, for so long or so many bytes, whichever is first.
    ///
    /// # Errors
    ///
    /// That it did not come so far.
    pub fn producer(
        &self,
        bootstrap: &str,
        topic: &str,
        partitions: u32,
        seconds: f64,
        bytes: u64,
    ) -> io::Result<Client> {
        let (seconds, bytes) = (seconds.to_string(), bytes.to_string());
        self.start(&["produce", bootstrap, topic, &partitions.to_string(), &seconds, &bytes])
    }

    /// A consumer of everything in a topic that knows how much that is.
    ///
    /// # Errors
    ///
    /// That it did not come so far.
    pub fn consumer(&self, bootstrap: &str, topic: &str, partitions: u32) -> io::Result<Client> {
        self.start(&["consume", bootstrap, topic, &partitions.to_string()])
    }

    /// A consumer of what comes from now on, until it has as many bytes as it will be told with [`Client::tell`].
    ///
    /// # Errors
    ///
    /// That it did not come so far.
    pub fn follower(&self, bootstrap: &str, topic: &str, partitions: u32) -> io::Result<Client> {
        self.start(&["follow", bootstrap, topic, &partitions.to_string()])
    }

    /// Writes `rate` records a second for so long and reads them as they come. The median and the 99th percentile of the
    /// milliseconds from one to the other.
    ///
    /// # Errors
    ///
    /// That it could not be done.
    pub fn delay(
        &self,
        bootstrap: &str,
        topic: &str,
        partitions: u32,
        seconds: f64,
        rate: u32,
    ) -> io::Result<(f64, f64)> {
        let (partitions, seconds, rate) = (partitions.to_string(), seconds.to_string(), rate.to_string());
        let mut client = self.start(&["delay", bootstrap, topic, &partitions, &seconds, &rate])?;
        client.begin()?;
        client.done()?;
        let line = client.line()?;
        let delays = line.split_once(' ').and_then(|(half, most)| Some((half.parse().ok()?, most.parse().ok()?)));
        delays.ok_or_else(|| io::Error::other(format!("the client failed: {line:?}")))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["-c", SCRIPT]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> io::Result<()> {
        let status = self.command(args).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the client failed: {args:?}"))) }
    }

    fn start(&self, args: &[&str]) -> io::Result<Client> {
        let mut process = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let mut client = Client { process, stdin, stdout };
        if client.line()? == "ready" { Ok(client) } else { Err(io::Error::other(format!("no client: {args:?}"))) }
    }
}

/// A client that waits for the word to go.
#[derive(Debug)]
pub struct Client {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    /// Lets it go, and waits until it is done.
    ///
    /// # Errors
    ///
    /// That it failed.
    pub fn go(mut self) -> io::Result<Done> {
        self.begin()?;
        self.done()
    }

    /// Lets it go.
    ///
    /// # Errors
    ///
    /// That it is gone.
    pub fn begin(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"go\n")
    }

    /// Tells a follower how many bytes there are.
    ///
    /// # Errors
    ///
    /// That it is gone.
    pub fn tell(&mut self, bytes: u64) -> io::Result<()> {
        writeln!(self.stdin, "{bytes}")
    }

    /// Waits until it is done.
    ///
    /// # Errors
    ///
    /// That it failed.
    pub fn done(&mut self) -> io::Result<Done> {
        let line = self.line()?;
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (bytes, took, cpu) = (word().parse(), word().parse(), word().parse());
        let (Ok(bytes), Ok(took), Ok(cpu)) = (bytes, took, cpu) else {
            return Err(io::Error::other(format!("the client failed: {line:?}")));
        };
        let span = |seconds| Duration::try_from_secs_f64(seconds).map_err(io::Error::other);
        Ok(Done { bytes, took: span(took)?, cpu: span(cpu)? })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for. What it measured it has said.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
