//! The driver: owns the broker, gives it inputs one by one, and hands out what it wants done.
//!
//! It promises the door's contract: the first input is `Wake`; an alarm replaces the one before; no step follows a `Halt`;
//! nothing reaches a connection after its `Closed`. It has no opinion about any of it. What to wait for is the host's to
//! know: it calls [`Driver::begin`], then [`Driver::hear`] with each message or when the alarm is due, and [`Driver::end`].

mod notes;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tidelog_core::broker::{Broker, Status};
use tidelog_core::effect::{DiskResult, Effect, Effects, Halt, Input};
use tidelog_core::id::{ConnId, NodeId, OpId, RequestId};
use tidelog_core::kafka::Request;
use tidelog_core::peer::Envelope;
use tidelog_core::time::{Instant, Now};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::debug;

use crate::clock::Clock;
use crate::disk::Report;
use crate::host::{Compute, Disk, Receiver, Sender, channel};
use crate::net::Link;
use crate::peer::Peers;
use crate::record::Recorder;
use notes::{Notes, log};

/// What the driver drives: the broker, or a script that stands in for it in a test of the host.
pub trait Machine: Send + 'static {
    /// As [`Broker::step`].
    fn step(&mut self, now: Now, input: Input, out: &mut Effects);
    /// As [`Broker::status`].
    fn status(&self) -> Status;
    /// As [`Broker::answers`].
    fn answers(&self) -> bool;
}

impl Machine for Broker {
    fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        Broker::step(self, now, input, out);
    }

    fn status(&self) -> Status {
        Broker::status(self)
    }

    fn answers(&self) -> bool {
        Broker::answers(self)
    }
}

/// What can be said to the driver.
#[derive(Debug)]
pub(crate) enum Message {
    /// An input that is about no connection.
    Input(Input),
    /// A client connected; answers go to the link.
    Opened { conn: ConnId, peer: String, link: Link },
    /// A client asked. The room it takes in the inbox is given back once the broker has it.
    /// The frame comes along if it is to be recorded.
    Request { conn: ConnId, id: RequestId, request: Box<Request>, frame: Option<Bytes>, room: OwnedSemaphorePermit },
    /// Another broker sent something. The room it takes in the inbox is given back once the broker has it.
    Peer { from: NodeId, envelope: Envelope, room: OwnedSemaphorePermit },
    /// A connection is gone. The last word about it.
    Closed { conn: ConnId },
    /// Somebody wants to know how the broker is.
    Status(oneshot::Sender<Status>),
    /// Somebody wants to know when the broker is ready.
    WhenReady(oneshot::Sender<()>),
    /// End at once, as if killed.
    Kill,
    /// Another thread panicked; the broker would wait for it for ever.
    Panicked(&'static str),
    /// Clients can not be let in, for this reason.
    PortLost(String),
}

/// Where messages to the driver are put.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: Sender<Message>,
    keeps_frames: bool,
}

impl Inbox {
    /// An inbox, and the end of it that the driver reads. Says whether requests are to come with their frames.
    pub(crate) fn new(keeps_frames: bool) -> (Self, Receiver<Message>) {
        let (sender, receiver) = channel();
        (Self { sender, keeps_frames }, receiver)
    }

    /// Whether requests are to come with their frames.
    pub(crate) fn keeps_frames(&self) -> bool {
        self.keeps_frames
    }

    /// Says something to the driver. If it has ended, nobody needs to hear it; gives whether it has not.
    pub(crate) fn send(&self, message: Message) -> bool {
        self.sender.send(message).is_ok()
    }

    /// Tells the driver if the thread that holds the result panics.
    pub(crate) fn watch(&self, thread: &'static str) -> impl Drop + use<> {
        Watch(self.clone(), thread)
    }
}

struct Watch(Inbox, &'static str);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send(Message::Panicked(self.1));
        }
    }
}

impl Report for Inbox {
    fn done(&self, op: OpId, result: DiskResult) {
        self.send(Message::Input(Input::DiskDone { op, result }));
    }

    fn panicked(&self, thread: &'static str) {
        self.send(Message::Panicked(thread));
    }
}

/// Why a driver ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The broker ended it.
    Halted(Halt),
    /// It was ended from outside, as by a kill.
    Killed,
    /// A thread panicked: a bug, told on stderr as it happened.
    Panicked(String),
    /// The port for clients was taken from the node before it listened there: one sentence, cause and cure.
    PortLost(String),
}

impl Ended {
    /// Whether what the disk has not begun is to be done all the same.
    pub(crate) fn is_orderly(&self) -> bool {
        match self {
            Self::Halted(Halt::Stopped) => true,
            Self::Halted(Halt::DiskFailed(_) | Halt::Corrupt(_) | Halt::Foreign(_))
            | Self::Killed
            | Self::Panicked(_)
            | Self::PortLost(_) => false,
        }
    }
}

/// The driver, with everything it hands work to.
pub(crate) struct Driver<M> {
    machine: M,
    clock: Clock,
    alarm: Option<Instant>,
    /// Who lets clients in, until the broker answers them.
    opening: Option<oneshot::Sender<()>>,
    /// Those who want to know when the broker is ready.
    waiting: Vec<oneshot::Sender<()>>,
    links: BTreeMap<ConnId, Link>,
    peers: Peers,
    disk: Disk,
    compute: Compute,
    recorder: Option<Recorder>,
    notes: Notes,
    out: Effects,
}

impl<M: Machine> Driver<M> {
    /// A driver that says to `opening`, once, that clients can be answered.
    pub(crate) fn new(machine: M, peers: Peers, disk: Disk, compute: Compute, opening: oneshot::Sender<()>) -> Self {
        Self {
            machine,
            clock: Clock::start(),
            alarm: None,
            opening: Some(opening),
            waiting: Vec::new(),
            links: BTreeMap::new(),
            peers,
            disk,
            compute,
            recorder: None,
            notes: Notes::default(),
            out: Effects::default(),
        }
    }

    /// The data is in this directory: operators are told so when it has no room.
    #[cfg_attr(madsim, allow(dead_code, reason = "a simulated disk is in no directory"))]
    pub(crate) fn keeps(&mut self, directory: &Path) {
        self.notes.directory = Some(directory.to_owned());
    }

    /// Has everything recorded from the first step on.
    pub(crate) fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// How long until the alarm goes: nothing if it is due, and due goes before any message; `None` if none is set.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.alarm.map(|alarm| self.clock.until(alarm))
    }

    /// The first step of a life. Gives why it ended, if it did.
    pub(crate) fn begin(&mut self) -> Option<Ended> {
        self.step(Input::Wake).map(Ended::Halted)
    }

    /// Takes the next message, or `None` when the alarm goes. Gives why the life ended, if it did: then nothing may follow.
    pub(crate) fn hear(&mut self, message: Option<Message>) -> Option<Ended> {
        let halt = match message {
            None => {
                self.alarm = None;
                self.step(Input::Wake)
            }
            Some(Message::Input(input)) => self.step(input),
            Some(Message::Opened { conn, peer, link }) => {
                self.links.insert(conn, link);
                self.step(Input::Opened { conn, peer })
            }
            Some(Message::Request { conn, id, request, frame, room }) => {
                let request = *request;
                let halt = self.step_framed(Input::Request { conn, id, request }, frame.as_ref());
                drop(room);
                halt
            }
            Some(Message::Peer { from, envelope, room }) => {
                let halt = self.step(Input::Peer { from, envelope });
                drop(room);
                halt
            }
            Some(Message::Closed { conn }) => {
                self.links.remove(&conn);
                self.step(Input::Closed { conn })
            }
            Some(Message::Status(asker)) => {
                // Whoever asked may have stopped waiting.
                let _ = asker.send(self.machine.status());
                None
            }
            Some(Message::WhenReady(asker)) => {
                self.waiting.retain(|asker| !asker.is_closed());
                self.waiting.push(asker);
                None
            }
            Some(Message::Kill) => return Some(Ended::Killed),
            Some(Message::Panicked(thread)) => return Some(Ended::Panicked(thread.to_owned())),
            Some(Message::PortLost(sentence)) => return Some(Ended::PortLost(sentence)),
        };
        if let Some(halt) = halt {
            return Some(Ended::Halted(halt));
        }
        if !self.waiting.is_empty() && self.machine.status().ready {
            for asker in self.waiting.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = asker.send(());
            }
        }
        None
    }

    /// Lets go of the connections: they end once what was answered, and said to other brokers, has been sent. What still
    /// works for the broker is the host's to end.
    pub(crate) fn end(self) -> (Disk, Compute) {
        (self.disk, self.compute)
    }

    /// One step and what it wants done. Gives why the broker ends, if it does.
    fn step(&mut self, input: Input) -> Option<Halt> {
        self.step_framed(input, None)
    }

    /// As [`Self::step`], with the frame of a request.
    fn step_framed(&mut self, input: Input, frame: Option<&Bytes>) -> Option<Halt> {
        let now = self.clock.now();
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input, frame);
        }
        self.machine.step(now, input, &mut self.out);
        if let Some(recorder) = &mut self.recorder {
            recorder.outcome(&self.out);
        }
        for event in self.out.events.drain(..) {
            log(event, now.mono, &mut self.notes);
        }
        let mut halt = None;
        for effect in self.out.effects.drain(..) {
            match effect {
                Effect::Respond { conn, id, response } => {
                    if let Some(link) = self.links.get(&conn) {
                        link.respond(id, response);
                    }
                }
                Effect::Close { conn, reason } => {
                    debug!(%conn, reason, "closing");
                    if let Some(link) = self.links.get(&conn) {
                        link.close();
                    }
                }
                Effect::Mute { conn } => {
                    if let Some(link) = self.links.get(&conn) {
                        link.mute(true);
                    }
                }
                Effect::Unmute { conn } => {
                    if let Some(link) = self.links.get(&conn) {
                        link.mute(false);
                    }
                }
                Effect::Send { to, envelope } => self.peers.send(to, envelope),
                Effect::Disk { op, command } => self.disk.submit(op, command),
                Effect::Compute { job, job_input } => self.compute.submit(job, job_input),
                Effect::WakeAt(moment) => self.alarm = Some(moment),
                Effect::Halt(reason) => halt = Some(reason),
            }
        }
        if self.opening.is_some()
            && self.machine.answers()
            && let Some(opening) = self.opening.take()
        {
            // Whoever lets clients in may have been told to let in nobody any more.
            let _ = opening.send(());
        }
        halt
    }
}
