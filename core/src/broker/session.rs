//! Client connections: answers leave in the order of their requests, and nobody makes the broker hold too much.
//!
//! Knows nothing of what is asked. Later the place where a principal is kept and authorisation is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::effect::{Effect, Effects};
use crate::id::{ConnId, RequestId};
use crate::kafka::Response;
use crate::limits::{CONNECTION_BYTES_MAX, CONNECTION_REQUESTS_MAX};

/// How a request ends.
#[derive(Debug)]
pub(super) enum Reply {
    /// With an answer.
    Answer(Response),
    /// Without one (`acks=0`).
    Silence,
    /// With the end of the connection, after what was answered before.
    Close(String),
}

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    bytes: u64,
    reply: Option<Reply>,
}

#[derive(Debug, Default)]
struct Session {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// Muted because too much of it is unanswered.
    muted: bool,
    /// Muted because the disk is behind.
    held: bool,
    closing: bool,
}

/// Every open connection.
///
/// - the answers of a connection leave in the order of its requests, each exactly once
/// - whoever is held back is among those that [`Sessions::release_held`] lets go on; whoever is muted has much unanswered
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<ConnId, Session>,
    held: BTreeSet<ConnId>,
}

impl Sessions {
    pub(super) fn opened(&mut self, conn: ConnId) {
        let before = self.open.insert(conn, Session::default());
        assert!(before.is_none(), "a connection is opened once");
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.open.remove(&conn);
        self.held.remove(&conn);
    }

    pub(super) fn is_open(&self, conn: ConnId) -> bool {
        self.open.contains_key(&conn)
    }

    /// Stops reading from the connection until [`Sessions::release_held`]. False if that was said already.
    pub(super) fn hold(&mut self, conn: ConnId, out: &mut Effects) -> bool {
        let Some(session) = self.open.get_mut(&conn).filter(|session| !session.closing && !session.held) else {
            return false;
        };
        session.held = true;
        self.held.insert(conn);
        if !session.muted {
            out.push(Effect::Mute { conn });
        }
        true
    }

    /// Ends every [`Sessions::hold`].
    pub(super) fn release_held(&mut self, out: &mut Effects) {
        for conn in std::mem::take(&mut self.held) {
            if let Some(session) = self.open.get_mut(&conn) {
                session.held = false;
                if !session.muted && !session.closing {
                    out.push(Effect::Unmute { conn });
                }
            }
        }
    }

    /// Whether somebody waits for [`Sessions::release_held`].
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.open.len() as u64
    }

    pub(super) fn waiting(&self) -> u64 {
        self.open.values().map(|session| session.waiting.len() as u64).sum()
    }

    /// Notes a request. False if the connection is gone or going: then it is not to be served.
    pub(super) fn asked(&mut self, conn: ConnId, id: RequestId, bytes: u64, out: &mut Effects) -> bool {
        let Some(session) = self.open.get_mut(&conn) else {
            return false;
        };
        if session.closing {
            return false;
        }
        session.bytes += bytes;
        session.waiting.push_back(Waiting { id, bytes, reply: None });
        let full = session.waiting.len() >= CONNECTION_REQUESTS_MAX || session.bytes >= CONNECTION_BYTES_MAX;
        if full && !session.muted {
            session.muted = true;
            if !session.held {
                out.push(Effect::Mute { conn });
            }
        }
        true
    }

    /// Ends a request; whatever is due on the connection leaves.
    pub(super) fn reply(&mut self, conn: ConnId, id: RequestId, reply: Reply, out: &mut Effects) {
        let Some(session) = self.open.get_mut(&conn) else {
            return;
        };
        let Some(waiting) = session.waiting.iter_mut().find(|waiting| waiting.id == id) else {
            assert!(session.closing, "a request is answered once");
            return;
        };
        assert!(waiting.reply.is_none(), "a request is answered once");
        waiting.reply = Some(reply);
        while session.waiting.front().is_some_and(|waiting| waiting.reply.is_some()) {
            let Some(Waiting { id, bytes, reply: Some(reply) }) = session.waiting.pop_front() else {
                break;
            };
            session.bytes -= bytes;
            match reply {
                Reply::Answer(response) => out.push(Effect::Respond { conn, id, response }),
                Reply::Silence => {}
                Reply::Close(reason) => {
                    session.closing = true;
                    session.waiting.clear();
                    session.bytes = 0;
                    out.push(Effect::Close { conn, reason });
                    return;
                }
            }
        }
        let room = session.waiting.len() < CONNECTION_REQUESTS_MAX / 2 && session.bytes < CONNECTION_BYTES_MAX / 2;
        if session.muted && room {
            session.muted = false;
            if !session.held {
                out.push(Effect::Unmute { conn });
            }
        }
    }

    pub(super) fn check(&self) {
        assert!(self.held.iter().all(|conn| self.open.contains_key(conn)), "who is held back is connected");
        for (conn, session) in &self.open {
            assert_eq!(
                session.held,
                self.held.contains(conn),
                "who is held back is among those that will be let go on"
            );
            let held: u64 = session.waiting.iter().map(|waiting| waiting.bytes).sum();
            assert_eq!(session.bytes, held, "bytes of a connection add up");
            assert!(
                session.waiting.front().is_none_or(|waiting| waiting.reply.is_none()),
                "an answer that is due has left"
            );
            let room = session.waiting.len() < CONNECTION_REQUESTS_MAX / 2 && session.bytes < CONNECTION_BYTES_MAX / 2;
            assert!(!session.muted || !room || session.closing, "who is muted has too much unanswered");
        }
    }
}
