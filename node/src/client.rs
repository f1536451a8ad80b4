//! Runs the core's client over TCP.
//!
//! One thread: the client steps here, and every connection is two small tasks beside it. Promises that a connection that is
//! not read from holds back its broker, not our memory. Does not know what is asked; an `if` about the protocol here is a bug.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use tidelog_core::client::{CallId, Client, Config, Effect, Failure, Input, Operation, Outcome};
use tidelog_core::time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::host::TcpStream;
use crate::limits;

/// How an operation ended.
pub type Ending = Result<Outcome, Failure>;

/// A client and its connections.
pub struct Driver {
    client: Client,
    clock: Clock,
    wake: Option<time::Instant>,
    conns: BTreeMap<u64, Conn>,
    inbox: mpsc::Receiver<Input>,
    outbox: mpsc::Sender<Input>,
    done: VecDeque<(CallId, Ending)>,
    last_call: u64,
}

/// A connection: ends with this value. Without `writes` it sends what is pending, and says that this was all.
struct Conn {
    writes: Option<mpsc::UnboundedSender<Vec<Bytes>>>,
    task: JoinHandle<()>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Driver {
    /// A client that has not connected yet. Must be made, and used, within a tokio runtime.
    pub fn new(config: Config) -> Self {
        let (outbox, inbox) = mpsc::channel(limits::CLIENT_INPUTS_MAX);
        Self {
            client: Client::new(config),
            clock: Clock::start(),
            wake: None,
            conns: BTreeMap::new(),
            inbox,
            outbox,
            done: VecDeque::new(),
            last_call: 0,
        }
    }

    /// Begins an operation.
    pub fn call(&mut self, operation: Operation) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        self.step(Input::Call { call, operation });
        call
    }

    /// Begins an operation and waits for its end. Nothing else may be under way.
    pub async fn run(&mut self, operation: Operation) -> Ending {
        let call = self.call(operation);
        loop {
            let (ended, ending) = self.next().await;
            if ended == call {
                return ending;
            }
        }
    }

    /// The next operation that ends. Waits for ever if none is under way. May be dropped and asked again.
    pub async fn next(&mut self) -> (CallId, Ending) {
        loop {
            if let Some(done) = self.done.pop_front() {
                return done;
            }
            let wait = self.wake.map(|at| self.clock.until(at));
            let input = tokio::select! {
                biased;
                input = self.inbox.recv() => input.expect("we hold a sender ourselves"),
                () = sleep(wait) => Input::Wake,
            };
            self.step(input);
        }
    }

    /// Whether an operation ended that was not told yet.
    pub fn has_ended(&self) -> bool {
        !self.done.is_empty()
    }

    /// Ends the connections once everything was sent and their brokers have taken it: what nobody answers for may still be
    /// on its way. Gives up after a while.
    pub async fn finish(mut self) {
        for conn in self.conns.values_mut() {
            conn.writes = None;
        }
        self.inbox.close();
        let taken = async {
            for conn in self.conns.values_mut() {
                let _ = (&mut conn.task).await;
            }
        };
        let _ = tokio::time::timeout(limits::CLIENT_FAREWELL_MAX, taken).await;
    }

    fn step(&mut self, input: Input) {
        let now = self.clock.now();
        if self.wake.is_some_and(|at| at <= now.mono) {
            self.wake = None;
        }
        let mut effects = Vec::new();
        self.client.step(now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Connect { conn, host, port } => {
                    self.conns.insert(conn, open(conn, host, port, self.outbox.clone()));
                }
                Effect::Transmit { conn, bytes } => {
                    // If the task has ended, its last word is on the way.
                    if let Some(writes) = self.conns.get(&conn).and_then(|conn| conn.writes.as_ref()) {
                        let _ = writes.send(bytes);
                    }
                }
                Effect::Disconnect { conn } => {
                    self.conns.remove(&conn);
                }
                Effect::WakeAt(at) => self.wake = Some(at),
                Effect::Completed { call, result } => self.done.push_back((call, result)),
            }
        }
    }
}

async fn sleep(wait: Option<std::time::Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

fn open(conn: u64, host: String, port: u16, inbox: mpsc::Sender<Input>) -> Conn {
    let (writes, pending) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        if let Ok(stream) = TcpStream::connect((host.as_str(), port)).await {
            let _ = stream.set_nodelay(true);
            carry(conn, stream, pending, &inbox).await;
        }
        let _ = inbox.send(Input::Disconnected { conn }).await;
    });
    Conn { writes: Some(writes), task }
}

/// Carries bytes both ways until either way ends.
async fn carry(
    conn: u64,
    stream: TcpStream,
    mut pending: mpsc::UnboundedReceiver<Vec<Bytes>>,
    inbox: &mpsc::Sender<Input>,
) {
    if inbox.send(Input::Connected { conn }).await.is_err() {
        return;
    }
    let (mut reader, mut writer) = stream.into_split();
    let reading = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(limits::READ_BYTES);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let bytes = buffer.split().freeze();
            // Nobody listens any more while the last bytes go out; the broker's are dropped then.
            let _ = inbox.send(Input::Received { conn, bytes }).await;
        }
    };
    let writing = async {
        while let Some(slices) = pending.recv().await {
            for slice in slices {
                if writer.write_all(&slice).await.is_err() {
                    return;
                }
            }
        }
        // The broker answers the end of our stream with the end of its own.
        if writer.shutdown().await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = reading => {}
        () = writing => {}
    }
}
