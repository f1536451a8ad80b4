//! The driver: one thread that owns the broker, gives it inputs one by one, and hands out what it wants done.
//!
//! It promises the door's contract: the first input is `Wake`; an alarm replaces the one before; no step follows a `Halt`;
//! nothing reaches a connection after its `Closed`. It has no opinion about any of it.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_core::broker::{Broker, Status};
use tidelog_core::effect::{DiskResult, Effect, Effects, Halt, Input};
use tidelog_core::event::Event;
use tidelog_core::id::{ConnId, NodeId, OpId, RequestId};
use tidelog_core::kafka::Request;
use tidelog_core::peer::Envelope;
use tidelog_core::time::{self, Instant, Now};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{debug, info, trace, warn};

use crate::clock::Clock;
use crate::compute::Compute;
use crate::disk::{Disk, Report};
use crate::net::Link;
use crate::peer::Peers;
use crate::record::Recorder;

/// How long after it was told the same note is told again.
const NOTE_AGAIN_AFTER: time::Duration = time::Duration::from_secs(10);
/// How many notes are remembered.
const NOTES_MAX: usize = 64;

/// What the driver drives: the broker, or a script that stands in for it in a test of the host.
pub trait Machine: Send + 'static {
    /// As [`Broker::step`].
    fn step(&mut self, now: Now, input: Input, out: &mut Effects);
    /// As [`Broker::status`].
    fn status(&self) -> Status;
}

impl Machine for Broker {
    fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        Broker::step(self, now, input, out);
    }

    fn status(&self) -> Status {
        Broker::status(self)
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
}

/// Where messages to the driver are put.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: mpsc::Sender<Message>,
    keeps_frames: bool,
}

impl Inbox {
    /// An inbox, and the end of it that the driver reads. Says whether requests are to come with their frames.
    pub(crate) fn new(keeps_frames: bool) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
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
}

/// The driver, with everything it hands work to.
pub(crate) struct Driver<M> {
    machine: M,
    inbox: mpsc::Receiver<Message>,
    clock: Clock,
    alarm: Option<Instant>,
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
    pub(crate) fn new(machine: M, inbox: mpsc::Receiver<Message>, peers: Peers, disk: Disk, compute: Compute) -> Self {
        Self {
            machine,
            inbox,
            clock: Clock::start(),
            alarm: None,
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

    /// Has everything recorded from the first step on.
    pub(crate) fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Drives the broker until it ends.
    pub(crate) fn run(mut self) -> Ended {
        let ended = self.drive();
        let Self { links, peers, disk, compute, .. } = self;
        // Connections end once what was answered, and said to other brokers, has been sent.
        drop(links);
        drop(peers);
        match &ended {
            Ended::Halted(Halt::Stopped) => disk.finish(),
            Ended::Halted(Halt::DiskFailed(_) | Halt::Corrupt(_) | Halt::Foreign(_))
            | Ended::Killed
            | Ended::Panicked(_) => disk.abandon(),
        }
        compute.finish();
        ended
    }

    fn drive(&mut self) -> Ended {
        if let Some(halt) = self.step(Input::Wake) {
            return Ended::Halted(halt);
        }
        loop {
            let halt = match self.next() {
                None => self.step(Input::Wake),
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
                Some(Message::Kill) => return Ended::Killed,
                Some(Message::Panicked(thread)) => return Ended::Panicked(thread.to_owned()),
            };
            if let Some(halt) = halt {
                return Ended::Halted(halt);
            }
            if !self.waiting.is_empty() && self.machine.status().ready {
                for asker in self.waiting.drain(..) {
                    // Whoever asked may have stopped waiting.
                    let _ = asker.send(());
                }
            }
        }
    }

    /// The next message, or `None` when the alarm goes first. A full inbox does not hold the alarm up.
    fn next(&mut self) -> Option<Message> {
        let gone = "the node holds an inbox as long as it has a driver";
        let Some(alarm) = self.alarm else {
            return Some(self.inbox.recv().expect(gone));
        };
        let wait = self.clock.until(alarm);
        if wait > Duration::ZERO {
            match self.inbox.recv_timeout(wait) {
                Ok(message) => return Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{gone}"),
            }
        }
        self.alarm = None;
        None
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
        halt
    }
}

/// What operators were told lately: the same is not told again at once.
#[derive(Debug, Default)]
struct Notes {
    /// When each was told, and how often it came since.
    told: BTreeMap<String, (Instant, u64)>,
}

impl Notes {
    /// How often a note came since it was told, this time included, if it is to be told now.
    fn due(&mut self, now: Instant, note: &str) -> Option<u64> {
        if self.told.len() >= NOTES_MAX {
            self.told.clear();
        }
        match self.told.get_mut(note) {
            Some((at, count)) => {
                *count += 1;
                if now.since(*at) < NOTE_AGAIN_AFTER {
                    return None;
                }
                *at = now;
                Some(std::mem::take(count))
            }
            None => {
                self.told.insert(note.to_owned(), (now, 0));
                Some(1)
            }
        }
    }
}

/// Logs what an operator may want to read; the rest is for those who look closely.
fn log(event: Event, now: Instant, notes: &mut Notes) {
    match event {
        Event::Note(note) => match notes.due(now, &note) {
            Some(1) => warn!("{note}"),
            Some(times) => warn!(times, "{note}"),
            None => debug!("{note}"),
        },
        Event::Progress(what) => info!("{what}"),
        Event::Chartered { cluster, replica, .. } if replica.0 > 0 => info!(%cluster, "member"),
        Event::Chartered { cluster, .. } => info!(%cluster, "observer: to be admitted"),
        Event::Started => info!("recovered, taking part"),
        Event::Elected { .. }
        | Event::Serving { .. }
        | Event::Deposed { .. }
        | Event::Configured { .. }
        | Event::Recovered { .. }
        | Event::Checkpointed { .. }
        | Event::Installing { .. }
        | Event::Installed { .. }
        | Event::Healed { .. } => debug!(?event),
        Event::Appended { .. }
        | Event::Persisted { .. }
        | Event::HardStatePersisted { .. }
        | Event::Applied { .. }
        | Event::Sometimes(_) => trace!(?event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_told_once_in_a_while_with_a_count() {
        let mut notes = Notes::default();
        let at = |secs| Instant::default() + time::Duration::from_secs(secs);
        assert_eq!(notes.due(at(1), "full"), Some(1));
        assert_eq!(notes.due(at(2), "full"), None);
        assert_eq!(notes.due(at(2), "foreign"), Some(1));
        assert_eq!(notes.due(at(3), "full"), None);
        assert_eq!(notes.due(at(11), "full"), Some(3));
        assert_eq!(notes.due(at(12), "full"), None);
        for number in 0..NOTES_MAX as u64 * 3 {
            notes.due(at(12), &number.to_string());
            assert!(notes.told.len() <= NOTES_MAX);
        }
    }
}
