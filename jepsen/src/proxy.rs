//! The links between nodes: a TCP proxy for each ordered pair, so that every direction can be cut, slowed or reset by itself.
//!
//! Node `a` knows node `b` only as the proxy `a>b`. What `a` sends over a connection it made, and what it answers over one that
//! `b` made, both pass the link `(a, b)`.
//!
//! Promises: bytes arrive in order, or the connection ends. A link that is cut passes nothing; a connection can not be made while
//! either of its directions is cut, as no handshake would succeed. Not known here: what the bytes mean.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::plan::{Cut, Link, NodeId};

/// How much of one connection and direction is on its way at most, in reads of [`READ_BYTES`].
const ON_THE_WAY: usize = 256;
const READ_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Open,
    Slow(Duration),
    Cut(Cut),
}

/// What a link is doing; `resets` counts the times that its connections were to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    mode: Mode,
    resets: u64,
}

/// What faults did to connections, counted.
#[derive(Debug, Default)]
struct Strikes {
    total: AtomicU64,
}

impl Strikes {
    fn add(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }
}

/// All links of a cluster.
#[derive(Debug)]
pub struct Links {
    runtime: Option<Runtime>,
    states: BTreeMap<Link, watch::Sender<State>>,
    addresses: BTreeMap<Link, SocketAddr>,
    strikes: Arc<Strikes>,
}

impl Links {
    /// A proxy for each ordered pair of `nodes`, which listen for each other at these addresses.
    pub fn open(nodes: &BTreeMap<NodeId, SocketAddr>) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("links").enable_all().build()?;
        let pairs = nodes.keys().flat_map(|&a| nodes.keys().map(move |&b| (a, b))).filter(|(a, b)| a != b);
        let states: BTreeMap<Link, watch::Sender<State>> =
            pairs.map(|link| (link, watch::Sender::new(State { mode: Mode::Open, resets: 0 }))).collect();
        let strikes = Arc::new(Strikes::default());
        let mut addresses = BTreeMap::new();
        for &(from, to) in states.keys() {
            let listener = crate::ports::listen()?;
            listener.set_nonblocking(true)?;
            addresses.insert((from, to), listener.local_addr()?);
            let _inside = runtime.enter();
            let listener = TcpListener::from_std(listener)?;
            let there = states[&(from, to)].subscribe();
            let back = states[&(to, from)].subscribe();
            runtime.spawn(accept(listener, nodes[&to], there, back, Arc::clone(&strikes)));
        }
        Ok(Self { runtime: Some(runtime), states, addresses, strikes })
    }

    /// Where `from` finds `to`.
    pub fn address(&self, link: Link) -> Option<SocketAddr> {
        self.addresses.get(&link).copied()
    }

    /// From now on nothing passes these links.
    pub fn cut(&self, links: &BTreeSet<Link>, how: Cut) {
        self.change(links, |state| {
            state.mode = Mode::Cut(how);
            state.resets += u64::from(how == Cut::Reset);
        });
    }

    /// From now on everything takes so much longer on these links.
    pub fn slow(&self, links: &BTreeSet<Link>, by: Duration) {
        self.change(links, |state| state.mode = Mode::Slow(by));
    }

    /// These links are as good as ever.
    pub fn restore(&self, links: &BTreeSet<Link>) {
        self.change(links, |state| {
            state.resets += u64::from(state.mode == Mode::Cut(Cut::HangThenReset));
            state.mode = Mode::Open;
        });
    }

    /// How often bytes or connections were held up, slowed or ended by a fault.
    pub fn strikes(&self) -> u64 {
        self.strikes.total.load(Ordering::Relaxed)
    }

    fn change(&self, links: &BTreeSet<Link>, how: impl Fn(&mut State)) {
        for link in links {
            if let Some(state) = self.states.get(link) {
                state.send_modify(&how);
            }
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    there: watch::Receiver<State>,
    back: watch::Receiver<State>,
    strikes: Arc<Strikes>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, to, there.clone(), back.clone(), Arc::clone(&strikes)));
            }
            // Out of files, most likely: a moment later there may be some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection, from the handshake to the end.
async fn serve(
    near: TcpStream,
    to: SocketAddr,
    mut there: watch::Receiver<State>,
    mut back: watch::Receiver<State>,
    strikes: Arc<Strikes>,
) {
    // Before anything else: a reset that comes while the connection is made ends it.
    let (mut there_end, mut back_end) = (there.clone(), back.clone());
    let before = (there_end.borrow_and_update().resets, back_end.borrow_and_update().resets);
    let Some(mut far) = connect(to, [&mut there, &mut back], &strikes).await else {
        abort(&near);
        return;
    };
    let mut near = near;
    // Fails on a connection that is gone, which the first read will notice.
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let ended_well = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let pumps = async {
            let onward = pump(near_read, far_write, there, before.0, &strikes);
            tokio::try_join!(onward, pump(far_read, near_write, back, before.1, &strikes))
        };
        tokio::select! {
            biased;
            _ = there_end.wait_for(|state| state.resets != before.0) => { strikes.add(); false }
            _ = back_end.wait_for(|state| state.resets != before.1) => { strikes.add(); false }
            ended = pumps => ended.is_ok(),
        }
    };
    if !ended_well {
        abort(&near);
        abort(&far);
    }
}

/// A connection onward, once both directions let a handshake pass; `None` if it is to be reset.
async fn connect(to: SocketAddr, links: [&mut watch::Receiver<State>; 2], strikes: &Strikes) -> Option<TcpStream> {
    for link in links {
        let mut held = false;
        loop {
            let mode = link.borrow_and_update().mode;
            let Mode::Cut(how) = mode else { break };
            if !held {
                strikes.add();
                held = true;
            }
            if how == Cut::Reset {
                return None;
            }
            link.changed().await.ok()?;
        }
    }
    TcpStream::connect(to).await.ok()
}

/// Makes the end of a connection a reset.
fn abort(stream: &TcpStream) {
    // Fails on a connection that is gone.
    let _ = stream.set_zero_linger();
}

/// Passes bytes on until there are no more, or until the link was reset once more than `resets`; an error ends the connection.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    link: watch::Receiver<State>,
    resets: u64,
    strikes: &Strikes,
) -> io::Result<()> {
    let (sender, mut inbox) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let mut state = link.clone();
    let read = async move {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let mode = link.borrow().mode;
            let due = match mode {
                Mode::Slow(by) => {
                    strikes.add();
                    Instant::now() + by
                }
                Mode::Open | Mode::Cut(_) => Instant::now(),
            };
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, bytes)) = inbox.recv().await {
            sleep_until(due).await;
            let mut now = *state.borrow_and_update();
            if matches!(now.mode, Mode::Cut(_)) {
                strikes.add();
                let open = state.wait_for(|state| !matches!(state.mode, Mode::Cut(_))).await;
                now = *open.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            }
            if now.resets != resets {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener as Listener, TcpStream as Stream};

    use super::*;

    /// Two nodes, of which 2 is a listener of ours, and a connection that 1 made to 2.
    struct Pair {
        links: Links,
        near: Stream,
        far: Stream,
        listener: Listener,
    }

    fn connected() -> Pair {
        let listener = crate::ports::listen().expect("a port is free");
        let unused = crate::ports::free(1).expect("a port is free")[0];
        let nodes = BTreeMap::from([(1, unused), (2, listener.local_addr().expect("it listens"))]);
        let links = Links::open(&nodes).expect("proxies can listen");
        let near = Stream::connect(links.address((1, 2)).expect("a proxy of each pair")).expect("a proxy takes it");
        let (far, _) = listener.accept().expect("a proxy connects");
        Pair { links, near, far, listener }
    }

    fn read(from: &mut Stream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).expect("the bytes come");
        bytes
    }

    fn nothing_comes(from: &mut Stream) -> bool {
        from.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
        let nothing = matches!(from.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        from.set_read_timeout(None).expect("a timeout can be unset");
        nothing
    }

    #[test]
    fn bytes_pass_both_ways_and_an_end_is_an_end() {
        let mut pair = connected();
        pair.near.write_all(b"there").expect("it is open");
        assert_eq!(read(&mut pair.far, 5), b"there");
        pair.far.write_all(b"back").expect("it is open");
        assert_eq!(read(&mut pair.near, 4), b"back");
        drop(pair.near);
        assert_eq!(pair.far.read(&mut [0]).expect("an end is no error"), 0);
        assert_eq!(pair.links.strikes(), 0);
    }

    #[test]
    fn one_direction_is_cut_and_the_other_is_not() {
        let mut pair = connected();
        let cut = BTreeSet::from([(1, 2)]);
        pair.links.cut(&cut, Cut::Hang);
        pair.near.write_all(b"late").expect("the proxy reads");
        pair.far.write_all(b"on time").expect("it is open");
        assert_eq!(read(&mut pair.near, 7), b"on time");
        assert!(nothing_comes(&mut pair.far));
        pair.links.restore(&cut);
        assert_eq!(read(&mut pair.far, 4), b"late");
        assert_eq!(pair.links.strikes(), 1);
    }

    #[test]
    fn a_cut_with_a_reset_ends_connections_and_takes_no_new_ones() {
        let mut pair = connected();
        let cut = BTreeSet::from([(2, 1)]);
        pair.links.cut(&cut, Cut::Reset);
        let ended = pair.near.read(&mut [0]).expect_err("a reset is an error");
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
        let address = pair.links.address((1, 2)).expect("a proxy of each pair");
        let ended = Stream::connect(address).and_then(|mut refused| refused.read(&mut [0]));
        assert_eq!(ended.expect_err("a reset is an error").kind(), io::ErrorKind::ConnectionReset);
        pair.links.restore(&cut);
        let mut near = Stream::connect(address).expect("it is open again");
        let (mut far, _) = pair.listener.accept().expect("a proxy connects");
        near.write_all(b"again").expect("it is open");
        assert_eq!(read(&mut far, 5), b"again");
    }

    #[test]
    fn what_hangs_until_a_reset_never_arrives() {
        let mut pair = connected();
        let cut = BTreeSet::from([(1, 2)]);
        pair.links.cut(&cut, Cut::HangThenReset);
        pair.near.write_all(b"lost").expect("the proxy reads");
        assert!(nothing_comes(&mut pair.far));
        pair.links.restore(&cut);
        let ended = pair.far.read(&mut [0]).expect_err("a reset is an error");
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_connection_made_during_a_cut_is_made_when_it_ends() {
        let pair = connected();
        let cut = BTreeSet::from([(2, 1)]);
        pair.links.cut(&cut, Cut::Hang);
        let mut near = Stream::connect(pair.links.address((1, 2)).expect("a proxy of each pair")).expect("it listens");
        near.write_all(b"hello").expect("it is buffered");
        pair.listener.set_nonblocking(true).expect("it can");
        assert_eq!(pair.listener.accept().map(drop).expect_err("it is cut").kind(), io::ErrorKind::WouldBlock);
        pair.listener.set_nonblocking(false).expect("it can");
        pair.links.restore(&cut);
        let (mut far, _) = pair.listener.accept().expect("a proxy connects");
        assert_eq!(read(&mut far, 5), b"hello");
    }

    #[test]
    fn slow_bytes_come_late_and_in_order() {
        let mut pair = connected();
        let slow = BTreeSet::from([(1, 2)]);
        pair.links.slow(&slow, Duration::from_secs(1));
        pair.near.write_all(b"first").expect("it is open");
        assert!(nothing_comes(&mut pair.far), "50 ms are too early for what takes 1000");
        pair.links.restore(&slow);
        pair.near.write_all(b"second").expect("it is open");
        assert_eq!(read(&mut pair.far, 11), b"firstsecond");
        assert_eq!(pair.links.strikes(), 1);
    }
}
