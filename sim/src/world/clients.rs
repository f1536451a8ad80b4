//! Client connections and the clients behind them.

use bytes::Bytes;
use tidelog_core::client;
use tidelog_core::effect::Input;
use tidelog_core::id::{ConnId, RequestId};
use tidelog_core::kafka::{FrameReader, RequestBody, decode_request};
use tidelog_core::rng::Rng;

use super::brokers::joined;
use super::concern::Work;
use super::{Happening, World};
use crate::clock::{Alarm, Clock};
use crate::net::CLIENTS;
use crate::program::{Desk, Program};
use crate::streams;
use crate::table;
use crate::trace::clipped;
use crate::wire::{Stream, Way, Wire};

/// How long a connection to nobody takes to be given up, in microseconds.
const CONNECT_TIMEOUT: u64 = 1_500_000;

/// Lives of one client are so far apart among the processes of a history.
const CLIENT_LIVES_APART: u64 = 10_000;

impl World {
    pub(super) fn client_wake(&mut self, client: u32, at: u64) {
        let (ring, again) = self.clients[client as usize].alarm.due(at);
        if let Some(at) = again {
            self.queue.push(at, Happening::ClientWake { client, at });
        }
        if ring {
            self.client_step(client, client::Input::Wake);
        }
    }

    pub(super) fn program_wake(&mut self, client: u32, at: u64) {
        let (ring, again) = self.clients[client as usize].thinks.due(at);
        if let Some(at) = again {
            self.queue.push(at, Happening::ProgramWake { client, at });
        }
        if ring {
            self.think(client, |program, desk| program.wake(desk));
        }
    }

    /// Lets a program think, and hands its calls to its Kafka client.
    fn think(&mut self, client: u32, thought: impl FnOnce(&mut dyn Program, &mut Desk<'_>)) {
        let who = &mut self.clients[client as usize];
        // A client that comes back is another one to those who judge: nothing orders it after what it left behind.
        self.record.at(self.now, u64::from(client) + who.life * CLIENT_LIVES_APART);
        let mut desk = Desk {
            now: self.now,
            clocks: who.clock.read(self.now),
            log: &mut self.record,
            board: &mut self.board,
            calls: Vec::new(),
            wires: Vec::new(),
            wake: None,
        };
        self.work = Some(Work::Client(client));
        thought(who.program.as_mut(), &mut desk);
        self.work = None;
        let Desk { calls, wires, wake, .. } = desk;
        if let Some(at) = wake.and_then(|at| who.thinks.set(at.max(self.now + 1))) {
            self.queue.push(at, Happening::ProgramWake { client, at });
        }
        for wish in wires {
            match wish {
                client::Effect::Connect { conn, host, .. } => self.connect(client, conn, &host),
                client::Effect::Transmit { conn, bytes } => self.transmit(client, conn, joined(bytes)),
                client::Effect::Disconnect { conn } => self.client_closes(client, conn),
                client::Effect::WakeAt(_) | client::Effect::Completed { .. } => {
                    unreachable!("a program wakes by its desk, and completes nothing")
                }
            }
        }
        for (call, operation) in calls {
            self.client_step(client, client::Input::Call { call, operation });
        }
    }

    fn client_step(&mut self, client: u32, input: client::Input) {
        let who = &mut self.clients[client as usize];
        let now = who.clock.read(self.now);
        self.digest.word(self.now);
        self.digest.word(u64::from(CLIENTS + client));
        if self.trace.is_some() {
            let text = format!("client {client} {}", show(&input));
            self.line(None, || text);
        }
        if self.clients[client as usize].raw {
            return self.think(client, |program, desk| program.heard(input, desk));
        }
        let mut wishes = std::mem::take(&mut self.wishes);
        self.work = Some(Work::Client(client));
        self.clients[client as usize].client.step(now, input, &mut wishes);
        self.work = None;
        let mut ended = Vec::new();
        for wish in wishes.drain(..) {
            match wish {
                client::Effect::Connect { conn, host, .. } => self.connect(client, conn, &host),
                client::Effect::Transmit { conn, bytes } => self.transmit(client, conn, joined(bytes)),
                client::Effect::Disconnect { conn } => self.client_closes(client, conn),
                client::Effect::WakeAt(moment) => {
                    let who = &mut self.clients[client as usize];
                    let when = who.clock.when(moment).max(self.now + 1);
                    if let Some(at) = who.alarm.set(when) {
                        self.queue.push(at, Happening::ClientWake { client, at });
                    }
                }
                client::Effect::Completed { call, result } => ended.push((call, result)),
            }
        }
        self.wishes = wishes;
        for (call, result) in ended {
            if self.trace.is_some() {
                let text = format!("client {client}   completed {call:?}: {}", short(&result));
                self.line(None, || text);
            }
            self.think(client, |program, desk| program.completed(call, result, desk));
        }
    }

    fn transmit(&mut self, client: u32, name: u64, bytes: Bytes) {
        let who = &mut self.clients[client as usize];
        let Some(id) = who.wires.get(&name).copied() else {
            return;
        };
        self.digest.bytes(&bytes);
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.up.send(self.now, bytes, &mut who.rng);
        }
        self.schedule(id, Way::Up);
    }

    fn client_closes(&mut self, client: u32, name: u64) {
        let Some(id) = self.clients[client as usize].wires.remove(&name) else {
            return;
        };
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.client_open = false;
            wire.up.finished = true;
        }
        self.schedule(id, Way::Up);
    }

    fn connect(&mut self, client: u32, name: u64, host: &str) {
        let place = host.strip_prefix("broker-").and_then(|number| number.parse::<u32>().ok());
        let Some(place) = place.filter(|node| (1..=self.scenario.brokers).contains(node)).map(|node| node - 1) else {
            panic!("a client was told to connect to `{host}`, which nobody is");
        };
        let latency = table::WIRE_LATENCY.draw(&mut self.clients[client as usize].rng);
        let cut = self.net.is_cut(CLIENTS + client, place) || self.net.is_cut(place, CLIENTS + client);
        let at = self.now + latency;
        match self.hosts[place as usize].process {
            Some(_) if !cut => {}
            _ => {
                let at = if cut { self.now + CONNECT_TIMEOUT } else { at };
                let life = self.clients[client as usize].life;
                self.queue.push(at, Happening::Refused { client, life, name });
                return;
            }
        }
        let wire = self.next_wire;
        self.next_wire += 1;
        self.wires.insert(
            wire,
            Wire {
                client,
                name,
                place,
                life: self.hosts[place as usize].life,
                conn: None,
                broker_open: false,
                client_open: true,
                up: Stream::default(),
                down: Stream::default(),
                muted: false,
                frames: FrameReader::new(),
                next_request: 1,
            },
        );
        self.clients[client as usize].wires.insert(name, wire);
        self.queue.push(at, Happening::Accept { wire });
    }

    pub(super) fn refused(&mut self, client: u32, life: u64, name: u64) {
        if self.clients[client as usize].life == life {
            self.client_step(client, client::Input::Disconnected { conn: name });
        }
    }

    /// A client process dies: what it asked for and was not told it will never know.
    pub(super) fn kill_client(&mut self, client: u32, down: u64) {
        let who = &mut self.clients[client as usize];
        if who.down {
            return;
        }
        who.life += 1;
        who.down = true;
        let life = who.life;
        let config = who.program.restarted(life);
        who.client = client::Client::new(client::Config { mutants: self.mutants, ..config });
        who.alarm = Alarm::default();
        who.thinks = Alarm::default();
        let wires: Vec<u64> = std::mem::take(&mut who.wires).into_values().collect();
        for id in wires {
            let delivered = self.nemesis.per_mille(500);
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.client_open = false;
            }
            self.break_wire(id, delivered);
        }
        self.queue.push(self.now.saturating_add(down), Happening::ClientBack { client, life });
    }

    pub(super) fn client_back(&mut self, client: u32, life: u64) {
        let who = &mut self.clients[client as usize];
        if who.life == life && std::mem::take(&mut who.down) {
            let mut rng = Rng::stream(self.scenario.seed, &[streams::WIRE, u64::from(client), life]);
            who.clock = Clock::draw(self.now, 0, &mut rng);
            self.think(client, |program, desk| program.wake(desk));
        }
    }

    /// The broker accepts a connection, if it is still there.
    pub(super) fn accept(&mut self, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (place, life, client) = (wire.place, wire.life, wire.client);
        let at = self.now + table::WIRE_LATENCY.draw(&mut self.clients[client as usize].rng);
        let Some(process) = self.hosts[place as usize].alive(life) else {
            self.queue.push(at, Happening::ClientHangsUp { wire: id });
            return;
        };
        let conn = ConnId(process.next_conn);
        process.next_conn += 1;
        process.wires.insert(conn, id);
        wire.conn = Some(conn);
        wire.broker_open = true;
        self.deliver(place, life, Input::Opened { conn, peer: format!("client-{client}") });
        self.queue.push(at, Happening::Connected { wire: id });
    }

    pub(super) fn connected(&mut self, id: u64) {
        let Some(wire) = self.wires.get(&id) else {
            return;
        };
        if wire.client_open {
            let (client, name) = (wire.client, wire.name);
            self.client_step(client, client::Input::Connected { conn: name });
        }
    }

    fn schedule(&mut self, id: u64, way: Way) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if way == Way::Up && wire.muted {
            return;
        }
        let stream = match way {
            Way::Up => &mut wire.up,
            Way::Down => &mut wire.down,
        };
        if let Some(at) = stream.schedule() {
            self.queue.push(at.max(self.now), Happening::Stream { wire: id, way });
        }
    }

    /// The first chunk of a stream has come, unless the network is cut: then it is sent again later.
    pub(super) fn stream(&mut self, id: u64, way: Way) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (from, to, stream) = match way {
            Way::Up => (CLIENTS + wire.client, wire.place, &mut wire.up),
            Way::Down => (wire.place, CLIENTS + wire.client, &mut wire.down),
        };
        stream.scheduled = false;
        if way == Way::Up && wire.muted {
            return;
        }
        if self.net.is_cut(from, to) {
            let again = self.now + table::RETRANSMIT.draw(&mut self.clients[wire.client as usize].rng);
            stream.scheduled = true;
            self.queue.push(again, Happening::Stream { wire: id, way });
            return;
        }
        let chunk = stream.chunks.pop_front();
        match (chunk, way) {
            (Some((_, bytes)), Way::Up) => self.bytes_at_broker(id, &bytes),
            (Some((_, bytes)), Way::Down) => {
                if wire.client_open {
                    let (client, name) = (wire.client, wire.name);
                    self.client_step(client, client::Input::Received { conn: name, bytes });
                }
            }
            (None, Way::Up) => {
                self.gone_at_broker(id);
                return;
            }
            (None, Way::Down) => {
                self.gone_at_client(id);
                return;
            }
        }
        self.schedule(id, way);
    }

    fn bytes_at_broker(&mut self, id: u64, bytes: &Bytes) {
        if let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.broker_open) {
            wire.frames.feed(bytes);
            self.requests(id);
        }
    }

    /// Hands whole requests to the broker while it reads from the connection.
    fn requests(&mut self, id: u64) {
        loop {
            let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.broker_open && !wire.muted) else {
                return;
            };
            let frame = match wire.frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => panic!("a broker cannot read what a client wrote: {error}"),
            };
            let Some(conn) = wire.conn else {
                return;
            };
            let (place, life) = (wire.place, wire.life);
            let request = RequestId(wire.next_request);
            wire.next_request += 1;
            match decode_request(frame) {
                Ok(mut decoded) => {
                    let client = wire.client as usize;
                    if matches!(decoded.body, RequestBody::DeleteTopics(_)) {
                        self.slow_deletion();
                    }
                    let skips = self.clients.get_mut(client).and_then(|client| client.skips.as_mut());
                    if skips.is_some_and(|skips| skips.comes(&mut decoded)) {
                        self.tally.fault("skipped_sequences");
                    }
                    self.deliver(place, life, Input::Request { conn, id: request, request: decoded });
                }
                Err(error) => panic!("a broker cannot read what a client wrote: {error:?}"),
            }
        }
    }

    /// A broker answers: its bytes go down the wire, in the order of the effects.
    pub(super) fn respond(&mut self, place: u32, life: u64, at: u64, conn: ConnId, bytes: Bytes) {
        let Some(id) = self.wire_of(place, life, conn) else {
            return;
        };
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.broker_open) else {
            return;
        };
        let rng = &mut self.clients[wire.client as usize].rng;
        wire.down.send(at, bytes, rng);
        self.schedule(id, Way::Down);
    }

    fn wire_of(&mut self, place: u32, life: u64, conn: ConnId) -> Option<u64> {
        self.hosts[place as usize].alive(life)?.wires.get(&conn).copied()
    }

    pub(super) fn broker_closes(&mut self, place: u32, life: u64, at: u64, conn: ConnId) {
        if let Some(process) = self.hosts[place as usize].alive(life) {
            process.closing.insert(conn);
        }
        let Some(id) = self.wire_of(place, life, conn) else {
            return;
        };
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.down.finished = true;
            wire.up.sever();
        }
        self.schedule(id, Way::Down);
        self.queue.push(at, Happening::BrokerHangsUp { wire: id });
    }

    pub(super) fn set_muted(&mut self, place: u32, life: u64, conn: ConnId, muted: bool) {
        self.digest.word(conn.0 << 1 | u64::from(muted));
        let Some(id) = self.wire_of(place, life, conn) else {
            return;
        };
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.muted = muted;
        }
        if !muted {
            self.requests(id);
            self.schedule(id, Way::Up);
        }
    }

    /// The broker learns that a connection is gone.
    pub(super) fn gone_at_broker(&mut self, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (place, life, conn) = (wire.place, wire.life, wire.conn);
        if std::mem::take(&mut wire.broker_open)
            && let (Some(conn), Some(process)) = (conn, self.hosts[place as usize].alive(life))
        {
            process.wires.remove(&conn);
            self.deliver(place, life, Input::Closed { conn });
        }
        self.forget(id);
    }

    /// The client learns that a connection is gone.
    pub(super) fn gone_at_client(&mut self, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (client, name) = (wire.client, wire.name);
        if std::mem::take(&mut wire.client_open) {
            self.clients[client as usize].wires.remove(&name);
            self.client_step(client, client::Input::Disconnected { conn: name });
        }
        self.forget(id);
    }

    fn forget(&mut self, id: u64) {
        let Some(wire) = self.wires.get(&id) else {
            return;
        };
        let accepting = wire.conn.is_none() && wire.client_open;
        if !wire.broker_open && !wire.client_open && !accepting {
            self.wires.remove(&id);
        }
    }

    /// A connection breaks: each side learns it soon, or after what is under way has come if `delivered`.
    pub(super) fn break_wire(&mut self, id: u64, delivered: bool) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if !delivered {
            wire.up.sever();
            wire.down.sever();
        }
        let rng = &mut self.clients[wire.client as usize].rng;
        let soon = self.now + table::WIRE_LATENCY.draw(rng);
        let up = soon.max(wire.up.drained() + 1);
        let down = soon.max(wire.down.drained() + 1);
        self.queue.push(if delivered { up } else { soon }, Happening::BrokerHangsUp { wire: id });
        self.queue.push(if delivered { down } else { soon }, Happening::ClientHangsUp { wire: id });
    }

    /// All connections to a host break, because its process ends.
    pub(super) fn hang_up_all(&mut self, place: u32) {
        let ids: Vec<u64> = self.wires.iter().filter(|(_, wire)| wire.place == place).map(|(id, _)| *id).collect();
        for id in ids {
            let delivered = self.nemesis.per_mille(500);
            self.break_wire(id, delivered);
        }
    }

    /// Connections to a host break; the process lives on.
    pub(super) fn reset_all(&mut self, place: u32, delivered: bool) -> usize {
        let ids: Vec<u64> = self.wires.iter().filter(|(_, wire)| wire.place == place).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.break_wire(*id, delivered));
        ids.len()
    }
}

fn show(input: &client::Input) -> String {
    match input {
        client::Input::Received { conn, bytes } => format!("gets {} bytes on {conn}", bytes.len()),
        client::Input::Call { call, operation } => format!("{call:?} {}", clipped(format!("{operation:?}"), 300)),
        other => format!("{other:?}"),
    }
}

fn short(result: &Result<client::Outcome, client::Failure>) -> String {
    match result {
        Ok(client::Outcome::Polled { records, .. }) => format!("{} records", records.len()),
        other => clipped(format!("{other:?}"), 300),
    }
}
