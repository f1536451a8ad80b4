//! Sockets: madsim's, which carry whole messages for as long as both ends are there, made into what TCP is.
//!
//! - A stream is cut anywhere: a read gives a part of what came, a write takes a part of what it is given.
//! - A sender waits when [`WINDOW`] bytes were not read at the other end. What is written in one go travels together, and so
//!   does what is written while [`MESSAGES`] others are under way: madsim takes its time for each.
//! - Each direction ends by itself (`shutdown`).
//! - A socket closed with bytes unread resets the connection, and so does [`cut`]: what was under way is lost, and both ends
//!   are told (RFC 9293, 3.10.7; RFC 1122, 4.2.2.13).
//!
//! The two ends of a connection share a [`Wire`]. The end that connects makes it, and the end that accepts finds it: both see
//! the connections between two addresses in the same order.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use madsim::rand::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::ToSocketAddrs;

/// How many bytes may be under way in one direction.
const WINDOW: u64 = 16 * 1024;
/// How many messages of madsim's may be under way in one direction.
const MESSAGES: u32 = 8;

thread_local! {
    /// The connections of the run on this thread.
    static WIRES: RefCell<Wires> = RefCell::default();
}

#[derive(Default)]
struct Wires {
    /// Not yet accepted: by who listens, then by who connected, in order.
    new: BTreeMap<(SocketAddr, SocketAddr), VecDeque<Arc<Wire>>>,
    all: Vec<Weak<Wire>>,
}

/// What the ends of a connection share. End 0 connected, end 1 accepted.
#[derive(Debug)]
struct Wire {
    ends: [IpAddr; 2],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reset: bool,
    /// What flows out of each end.
    flows: [Flow; 2],
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Flow {
    written: u64,
    read: u64,
    /// Messages of madsim's that were not taken from it.
    messages: u32,
    /// Nothing more will be written.
    ended: bool,
    /// Nothing more will be read.
    unread: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
    sender: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        for flow in &mut self.flows {
            let waiting = [flow.writer.take(), flow.reader.take(), flow.sender.take()];
            waiting.into_iter().flatten().for_each(Waker::wake);
        }
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic ends the run")
    }

    fn reset(&self) {
        let mut state = self.state();
        state.reset = true;
        state.wake();
    }
}

/// Resets every connection between two machines, and gives how many there were.
pub fn cut(one: IpAddr, other: IpAddr) -> usize {
    WIRES.with_borrow_mut(|wires| {
        wires.all.retain(|wire| wire.strong_count() > 0);
        let live = wires.all.iter().filter_map(Weak::upgrade);
        let between = live.filter(|wire| wire.ends == [one, other] || wire.ends == [other, one]);
        between.map(|wire| wire.reset()).count()
    })
}

/// Options of sockets: no packet is ever lost here, so nobody has to be asked whether they are still there.
pub(crate) mod sockopt {
    use super::{TcpStream, io};
    use std::time::Duration;

    pub(crate) fn set_socket_keepalive(_: &TcpStream, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn set_tcp_keepidle(_: &TcpStream, _: Duration) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn set_tcp_keepintvl(_: &TcpStream, _: Duration) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn set_tcp_keepcnt(_: &TcpStream, _: u32) -> io::Result<()> {
        Ok(())
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn set_tcp_user_timeout(_: &TcpStream, _: u32) -> io::Result<()> {
        Ok(())
    }
}

/// Accepts connections.
#[derive(Debug)]
pub struct TcpListener {
    inner: tokio::net::TcpListener,
}

impl TcpListener {
    /// Listens at an address of the machine.
    ///
    /// # Errors
    ///
    /// The simulated system's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let inner = tokio::net::TcpListener::bind(address).await?;
        // Whoever was not accepted by the listener before never will be.
        WIRES.with_borrow_mut(|wires| wires.new.retain(|(listener, _), _| *listener != address));
        Ok(Self { inner })
    }

    /// The next connection, and who connected.
    ///
    /// # Errors
    ///
    /// The simulated system's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (inner, peer) = self.inner.accept().await?;
        let ends = (self.local_addr()?, peer);
        let wire = WIRES.with_borrow_mut(|wires| wires.new.get_mut(&ends).and_then(VecDeque::pop_front));
        let wire = wire.expect("who connects makes a wire");
        Ok((TcpStream::new(inner, wire, 1), peer))
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream {
    inner: Inner,
    wire: Arc<Wire>,
    end: usize,
    /// Whether something was written that madsim was not told to send.
    unsent: Arc<AtomicBool>,
    /// Came and was not read yet.
    came: Bytes,
    /// Where madsim puts what came: no message is larger.
    space: Box<[u8]>,
}

type Inner = Arc<Mutex<tokio::net::TcpStream>>;

fn locked(inner: &Inner) -> MutexGuard<'_, tokio::net::TcpStream> {
    inner.lock().expect("a panic ends the run")
}

/// Sends what was written, all together, when there is room for a message.
async fn send(inner: Inner, wire: Arc<Wire>, end: usize, unsent: Arc<AtomicBool>) {
    let room = |cx: &mut Context<'_>| {
        let mut state = wire.state();
        let reset = state.reset;
        let flow = &mut state.flows[end];
        if reset || flow.ended || flow.unread || flow.messages < MESSAGES {
            return Poll::Ready(());
        }
        flow.sender = Some(cx.waker().clone());
        Poll::Pending
    };
    poll_fn(room).await;
    flush(&inner, &wire, end, &unsent);
}

fn flush(inner: &Inner, wire: &Wire, end: usize, unsent: &AtomicBool) {
    if unsent.swap(false, Ordering::AcqRel) {
        wire.state().flows[end].messages += 1;
        // Fails if the other end has gone, which it told on the wire.
        let _ = Pin::new(&mut *locked(inner)).poll_flush(&mut Context::from_waker(Waker::noop()));
    }
}

impl TcpStream {
    fn new(inner: tokio::net::TcpStream, wire: Arc<Wire>, end: usize) -> Self {
        let space = vec![0; WINDOW as usize].into();
        Self { inner: Arc::new(Mutex::new(inner)), wire, end, unsent: Arc::default(), came: Bytes::new(), space }
    }

    /// Connects to an address.
    ///
    /// # Errors
    ///
    /// The simulated system's.
    pub async fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let inner = tokio::net::TcpStream::connect(address).await?;
        // Nothing is awaited between madsim's connection and the wire, so it is there before anybody accepts.
        let (own, peer) = (inner.local_addr()?, inner.peer_addr()?);
        let wire = Arc::new(Wire { ends: [own.ip(), peer.ip()], state: Mutex::default() });
        WIRES.with_borrow_mut(|wires| {
            wires.new.entry((peer, own)).or_default().push_back(Arc::clone(&wire));
            wires.all.retain(|wire| wire.strong_count() > 0);
            wires.all.push(Arc::downgrade(&wire));
        });
        Ok(Self::new(inner, wire, 0))
    }

    /// Changes nothing: whatever is written leaves at once.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        locked(&self.inner).set_nodelay(nodelay)
    }

    /// Its halves, which may be used at the same time.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let whole = Arc::new(Mutex::new(self));
        (OwnedReadHalf(Arc::clone(&whole)), OwnedWriteHalf(whole))
    }

    /// Nothing more will be written.
    fn end_writing(&self) {
        let mut state = self.wire.state();
        state.flows[self.end].ended = true;
        state.wake();
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        flush(&self.inner, &self.wire, self.end, &self.unsent);
        let mut state = self.wire.state();
        let in_flow = &mut state.flows[1 - self.end];
        in_flow.unread = true;
        // What comes where nobody reads is answered by a reset.
        if in_flow.written > in_flow.read {
            state.reset = true;
        }
        state.flows[self.end].ended = true;
        state.wake();
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// A number of bytes from 1 to all of them: all of them mostly.
fn part(all: usize) -> usize {
    let mut rng = madsim::rand::thread_rng();
    if all > 1 && rng.gen_bool(0.2) { rng.gen_range(1..all) } else { all }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.wire.state().reset {
            return Poll::Ready(Err(reset()));
        }
        if this.came.is_empty() {
            let mut space = ReadBuf::new(&mut this.space);
            match Pin::new(&mut *locked(&this.inner)).poll_read(cx, &mut space) {
                Poll::Ready(result) => {
                    result?;
                    if !space.filled().is_empty() {
                        let mut state = this.wire.state();
                        let flow = &mut state.flows[1 - this.end];
                        flow.messages -= 1;
                        flow.sender.take().into_iter().for_each(Waker::wake);
                    }
                }
                Poll::Pending => {
                    let mut state = this.wire.state();
                    let flow = &mut state.flows[1 - this.end];
                    if flow.ended && flow.read == flow.written {
                        return Poll::Ready(Ok(()));
                    }
                    flow.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            this.came = Bytes::copy_from_slice(space.filled());
        }
        if this.came.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let count = part(this.came.len().min(buf.remaining()));
        buf.put_slice(&this.came[..count]);
        this.came.advance(count);
        let mut state = this.wire.state();
        let flow = &mut state.flows[1 - this.end];
        flow.read += count as u64;
        flow.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut state = this.wire.state();
        let is_reset = state.reset;
        let flow = &mut state.flows[this.end];
        if is_reset || flow.unread {
            return Poll::Ready(Err(reset()));
        }
        assert!(!flow.ended, "who ended a stream writes no more");
        let room = WINDOW - (flow.written - flow.read);
        if room == 0 {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buf.len().min(room as usize);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        let count = part(count);
        let Poll::Ready(taken) = Pin::new(&mut *locked(&this.inner)).poll_write(cx, &buf[..count])? else {
            unreachable!("madsim takes everything");
        };
        assert_eq!(taken, count, "madsim takes everything");
        flow.written += count as u64;
        if !this.unsent.swap(true, Ordering::AcqRel) {
            let (inner, wire, unsent) = (Arc::clone(&this.inner), Arc::clone(&this.wire), Arc::clone(&this.unsent));
            tokio::spawn(send(inner, wire, this.end, unsent));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_writing();
        Poll::Ready(Ok(()))
    }
}

/// The half of a connection that reads.
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<Mutex<TcpStream>>);

/// The half of a connection that writes. Dropping it ends its direction.
#[derive(Debug)]
pub struct OwnedWriteHalf(Arc<Mutex<TcpStream>>);

fn whole(half: &Mutex<TcpStream>) -> MutexGuard<'_, TcpStream> {
    half.lock().expect("a panic ends the run")
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *whole(&self.0)).poll_read(cx, buf)
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *whole(&self.0)).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *whole(&self.0)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *whole(&self.0)).poll_shutdown(cx)
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        whole(&self.0).end_writing();
    }
}
