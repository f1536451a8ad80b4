//! Client processes: librdkafka in Python, told what to do in JSON lines. What they take and say stands in `client.py`.
//!
//! Promises: a client ends with this value. Not known here: which requests there are.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

const SCRIPT: &str = include_str!("client.py");

/// How clients are started.
#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
    script: PathBuf,
    logs: PathBuf,
}

impl Python {
    /// Finds out whether the interpreter has what it takes; if not, says how to get it.
    pub fn find(interpreter: &Path, directory: &Path) -> Result<Self, String> {
        let cure = "install Python 3 and `pip install confluent-kafka`, or name one that has it with --python";
        let name = interpreter.display();
        let found = Command::new(interpreter).args(["-c", "import confluent_kafka"]).stdin(Stdio::null()).output();
        match found {
            Ok(output) if output.status.success() => {}
            Ok(_) => return Err(format!("{name} has no package confluent_kafka: {cure}")),
            Err(error) => return Err(format!("{name} does not start ({error}): {cure}")),
        }
        let script = directory.join("client.py");
        fs::write(&script, SCRIPT).map_err(|error| format!("{} can not be written: {error}", script.display()))?;
        Ok(Self { interpreter: interpreter.to_owned(), script, logs: directory.to_owned() })
    }

    /// Starts a client; `name` is that of its log.
    pub fn start(&self, name: &str, role: &str, config: &Value) -> io::Result<Client> {
        let mut command = Command::new(&self.interpreter);
        command.arg(&self.script);
        Client::start(command, &self.logs, name, &json!({"role": role, "config": config}))
    }

    /// Where clients log.
    pub fn logs(&self) -> &Path {
        &self.logs
    }
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: Option<ChildStdout>,
}

impl Client {
    /// Starts one by this command, which logs as `name` in `logs`, and tells it the first line.
    pub fn start(mut command: Command, logs: &Path, name: &str, first: &Value) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(logs.join(format!("{name}.log")))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child has no pipes"));
        };
        let mut client = Self { child, stdin, stdout: Some(stdout) };
        client.say(first)?;
        Ok(client)
    }

    /// Tells it something.
    pub fn say(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stdin.write_all(&line)
    }

    /// What it says, line by line; once.
    pub fn lines(&mut self) -> Option<impl Iterator<Item = Value> + Send + 'static> {
        let stdout = self.stdout.take()?;
        // A line cut short is the end: the process is.
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        Some(lines.map_while(|line| serde_json::from_str(&line).ok()))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // Fails on what has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client that gives one answer to each question.
#[derive(Debug)]
pub struct Asked {
    client: Client,
    answers: Receiver<Value>,
}

/// Beyond what librdkafka was allowed to take for an answer.
const GRACE: Duration = Duration::from_secs(20);

impl Asked {
    /// Starts a consumer.
    pub fn start(python: &Python, name: &str, config: &Value) -> io::Result<Self> {
        let mut client = python.start(name, "consumer", config)?;
        let (sender, answers) = mpsc::channel();
        if let Some(lines) = client.lines() {
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                for line in lines {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            })?;
        }
        Ok(Self { client, answers })
    }

    /// Asks, and waits for the answer. The outer error is of the client process, and the end of it; the inner one of Kafka.
    pub fn ask(&mut self, what: &Value, timeout: Duration) -> Result<Result<Value, String>, String> {
        let mut what = what.clone();
        what["timeout"] = json!(timeout.as_secs_f64());
        self.client.say(&what).map_err(|error| format!("a client is gone: {error}"))?;
        let answer = self.answers.recv_timeout(timeout + GRACE).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("a client does not answer: {what}"),
            RecvTimeoutError::Disconnected => "a client ended by itself; its log says why".to_owned(),
        })?;
        Ok(match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        })
    }
}
