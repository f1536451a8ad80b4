//! Where a node waits whose disk has no room for its first files: it says so, and answers health checks meanwhile.
//!
//! Clients and other brokers that connect are not accepted yet. Knows no broker: there is none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::data_dir::NoRoom;
use crate::limits::{HEALTH_REQUEST_BYTES_MAX, ROOM_LOOK_EVERY, ROOM_TOLD_EVERY};

/// How long one health check is waited for.
const CHECK_MAX: Duration = Duration::from_millis(200);
/// How often somebody is looked for at the door.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Says what is waited for, now and then.
#[derive(Debug, Default)]
pub(crate) struct Porch {
    told: Option<Instant>,
}

impl Porch {
    /// Waits a moment for room, answering whoever knocks at the door for health checks, which does not block.
    pub(crate) fn wait(&mut self, door: Option<&TcpListener>, why: &NoRoom) {
        if self.told.is_none_or(|told| told.elapsed() >= ROOM_TOLD_EVERY) {
            self.told = Some(Instant::now());
            warn!("{why}");
        }
        let until = Instant::now() + ROOM_LOOK_EVERY;
        while Instant::now() < until {
            match door.map(TcpListener::accept) {
                // Who does not take the answer is none the wiser.
                Some(Ok((stream, _))) => drop(answer(stream, why)),
                Some(Err(_)) | None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
}

fn answer(mut stream: TcpStream, why: &NoRoom) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CHECK_MAX))?;
    stream.set_write_timeout(Some(CHECK_MAX))?;
    let mut request = [0; HEALTH_REQUEST_BYTES_MAX];
    let mut read = 0;
    while read < request.len() && !request[..read].windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut request[read..])? {
            0 => break,
            more => read += more,
        }
    }
    let (code, text) = if request.starts_with(b"GET /livez") {
        ("200 OK", "ok".to_owned())
    } else {
        ("503 Service Unavailable", format!("waiting for room: {why}"))
    };
    let length = text.len() + 1;
    let head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
    stream.write_all(format!("HTTP/1.1 {code}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{text}\n").as_bytes())
}
