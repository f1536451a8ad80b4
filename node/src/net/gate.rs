//! What a connection's reader, its writer and the driver share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tidelog_core::id::RequestId;
use tidelog_core::kafka::Response;
use tokio::sync::{Notify, mpsc};

use crate::limits::RESPONSES_UNSENT_MAX;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Send an answer.
    Response { id: RequestId, response: Response },
    /// Send nothing more.
    Close,
}

/// The driver's end of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    queue: mpsc::UnboundedSender<Outgoing>,
    gate: Arc<Gate>,
}

impl Link {
    /// A link, and what the connection keeps of it. The queue ends when the link is dropped.
    pub(super) fn new() -> (Self, Arc<Gate>, mpsc::UnboundedReceiver<Outgoing>) {
        let (queue, outgoing) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::default());
        let link = Self { queue, gate: Arc::clone(&gate) };
        (link, gate, outgoing)
    }

    /// A way to end the queue that does not keep it alive.
    pub(super) fn downgrade(&self) -> mpsc::WeakUnboundedSender<Outgoing> {
        self.queue.downgrade()
    }

    /// Answers a request.
    pub(crate) fn respond(&self, id: RequestId, response: Response) {
        self.gate.unsent.fetch_add(1, Ordering::AcqRel);
        // Fails if the connection is on its way out; `Closed` is about to tell.
        let _ = self.queue.send(Outgoing::Response { id, response });
    }

    /// Closes the connection once what was answered has been sent.
    pub(crate) fn close(&self) {
        // Fails if it is closing already.
        let _ = self.queue.send(Outgoing::Close);
    }

    /// Stops or resumes reading.
    pub(crate) fn mute(&self, muted: bool) {
        self.gate.muted.store(muted, Ordering::Release);
        self.gate.changed.notify_one();
    }
}

/// Whether the reader of a connection may go on.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The broker said so.
    muted: AtomicBool,
    /// Answers that wait for the client to take them.
    unsent: AtomicUsize,
    /// The last request whose answer was sent.
    answered: AtomicU64,
    /// Wakes the reader, the only one who waits.
    changed: Notify,
}

impl Gate {
    /// Waits until the connection may be read from.
    pub(super) async fn open(&self) {
        while self.muted.load(Ordering::Acquire) || self.unsent.load(Ordering::Acquire) >= RESPONSES_UNSENT_MAX {
            self.changed.notified().await;
        }
    }

    /// Answers, `count` of them up to that to `last`, were sent.
    pub(super) fn sent(&self, last: RequestId, count: usize) {
        self.answered.store(last.0, Ordering::Release);
        self.unsent.fetch_sub(count, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Whether every request up to this one is answered and sent. A request that gets no answer is passed by the next that does.
    pub(super) fn is_quiet(&self, last: RequestId) -> bool {
        self.answered.load(Ordering::Acquire) >= last.0
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tidelog_core::kafka::{ApiKey, ErrorCode, RequestHeader, api_versions_response};

    use super::*;

    fn response() -> Response {
        let header = RequestHeader { api_key: ApiKey::ApiVersions, api_version: 3, correlation_id: 1, client_id: None };
        Response::to(&header, api_versions_response(3, ErrorCode::None))
    }

    fn is_open(gate: &Gate) -> bool {
        let open = pin!(gate.open());
        open.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_client_that_takes_no_answers_is_not_read_from() {
        let (link, gate, _queue) = Link::new();
        for id in 1..RESPONSES_UNSENT_MAX as u64 {
            link.respond(RequestId(id), response());
            assert!(is_open(&gate), "after {id}");
        }
        let last = RESPONSES_UNSENT_MAX as u64;
        link.respond(RequestId(last), response());
        assert!(!is_open(&gate));
        gate.sent(RequestId(1), 1);
        assert!(is_open(&gate));
        assert!(!gate.is_quiet(RequestId(last)));
        gate.sent(RequestId(last), RESPONSES_UNSENT_MAX - 1);
        assert!(gate.is_quiet(RequestId(last)));
    }

    #[test]
    fn a_mute_holds_until_it_is_taken_back() {
        let (link, gate, _queue) = Link::new();
        link.mute(true);
        let mut open = pin!(gate.open());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(open.as_mut().poll(&mut context), Poll::Pending);
        link.respond(RequestId(1), response());
        gate.sent(RequestId(1), 1);
        assert_eq!(open.as_mut().poll(&mut context), Poll::Pending);
        link.mute(false);
        assert_eq!(open.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn a_link_let_go_ends_the_queue_after_what_is_in_it() {
        let (link, _gate, mut queue) = Link::new();
        link.respond(RequestId(1), response());
        let farewell = link.downgrade();
        drop(link);
        assert!(farewell.upgrade().is_none());
        assert!(matches!(queue.try_recv(), Ok(Outgoing::Response { .. })));
        assert_eq!(queue.try_recv().err(), Some(mpsc::error::TryRecvError::Disconnected));
    }
}
