//! A client of few words that asks several things at once, in pieces, and takes its time to read: every answer must be to
//! the next question of this connection. Now and then it ends with what is no question: then the broker may owe it answers,
//! but ends the connection so that it can read those that were given.

use std::collections::VecDeque;
use std::time::Duration;

use tidelog::simulated::TcpStream;
use tidelog_core::id::NodeId;
use tidelog_core::kafka::{ApiKey, FrameReader, decode_response};
use tidelog_core::rng::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::clients::{Desk, Stage};
use crate::machines::{address, brokers};

/// How long a broker has to answer while nothing is broken.
const PATIENCE: Duration = Duration::from_secs(8);

/// Asks one broker after the other until the run drains.
pub(crate) async fn probe(desk: Desk, mut rng: Rng) {
    let all: Vec<NodeId> = brokers().collect();
    while desk.stage() != Stage::Drain {
        let node = *rng.pick(&all).expect("there are brokers");
        let before = desk.stage();
        let result = timeout(PATIENCE, ask(node, &mut rng)).await;
        let calm = before == Stage::Calm && desk.stage() == Stage::Calm;
        let wrong = match result {
            Ok(Ok(())) => None,
            Ok(Err(Trouble::Wrong(why))) => Some(why),
            Ok(Err(Trouble::Broken(why))) => calm.then_some(why),
            Err(_) => calm.then(|| format!("no answer within {PATIENCE:?}")),
        };
        if let Some(why) = wrong {
            desk.wrong(format!("the prober of broker {node}: {why}"));
        }
        sleep(Duration::from_millis(rng.between(5, 200))).await;
    }
}

enum Trouble {
    /// The connection, which anything may happen to.
    Broken(String),
    /// What was said on it, which must not.
    Wrong(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

async fn ask(node: NodeId, rng: &mut Rng) -> Result<(), Trouble> {
    let stream = TcpStream::connect(address(node)).await?;
    let (mut read, mut write) = stream.into_split();
    let mut owed = VecDeque::new();
    let mut questions = Vec::new();
    // No other connection has these numbers.
    let first = (rng.below(1 << 30) as i32) & !0xff;
    for number in 0..rng.between(1, 40) as i32 {
        let (api, version, body): (_, i16, &[u8]) =
            if rng.per_mille(500) { (ApiKey::ApiVersions, 0, &[]) } else { (ApiKey::Metadata, 1, &[0xff; 4]) };
        let mut request = Vec::new();
        request.extend((api as i16).to_be_bytes());
        request.extend(version.to_be_bytes());
        request.extend((first + number).to_be_bytes());
        request.extend([0xff, 0xff]);
        request.extend(body);
        questions.extend((request.len() as u32).to_be_bytes());
        questions.extend(request);
        owed.push_back((first + number, api, version));
    }
    let rude = rng.per_mille(200);
    if rude {
        // A frame longer than any may be, and some of it.
        questions.extend(i32::MAX.to_be_bytes());
        questions.extend([0; 200]);
    }
    let pieces = rng.between(1, 4) as usize;
    let pauses: Vec<u64> = (0..pieces).map(|_| rng.between(1, 30)).collect();
    let slow = rng.per_mille(300);
    let asking = async {
        for (piece, pause) in questions.chunks(questions.len().div_ceil(pieces)).zip(pauses) {
            write.write_all(piece).await?;
            sleep(Duration::from_millis(pause)).await;
        }
        std::io::Result::Ok(write)
    };
    let reading = async {
        let mut frames = FrameReader::new();
        let mut buffer = [0; 2048];
        while let Some(&(number, api, version)) = owed.front() {
            while let Some(frame) = frames.next_frame().map_err(|error| Trouble::Wrong(error.to_string()))? {
                let Some((number, api, version)) = owed.pop_front() else {
                    return Err(Trouble::Wrong("an answer to nothing".to_owned()));
                };
                let response =
                    decode_response(frame, api, version).map_err(|error| Trouble::Wrong(error.to_string()))?;
                if response.correlation_id != number {
                    let other = response.correlation_id;
                    return Err(Trouble::Wrong(format!("answer {other} where {number} is due")));
                }
            }
            if owed.is_empty() {
                break;
            }
            if slow {
                sleep(Duration::from_millis(20)).await;
            }
            match read.read(&mut buffer).await? {
                0 if rude => return Ok(()),
                0 => return Err(Trouble::Broken(format!("closed before {number} ({api:?} {version}) was answered"))),
                more => frames.feed(&buffer[..more]),
            }
        }
        Ok(())
    };
    let (asked, answered) = tokio::join!(asking, reading);
    answered?;
    let mut write = asked?;
    if rude && !owed.is_empty() {
        return Ok(());
    }
    // The broker answers the end of our stream with the end of its own.
    write.shutdown().await?;
    match read.read(&mut [0; 64]).await? {
        0 => Ok(()),
        _ => Err(Trouble::Wrong("something more was said".to_owned())),
    }
}
