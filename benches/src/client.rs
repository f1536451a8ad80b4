//! A client that blocks: frames over one TCP connection without Nagle's delay.
//!
//! Promises that what it measures is little more than the broker: no batching, no retries, no metadata of its own. Broken
//! answers and connections are errors, told to the caller.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidelog_core::kafka::{RequestBody, RequestHeader, ResponseBody, decode_response};

use crate::requests;

/// How long a topic may take to have all its leaders.
const LEADERS_MAX: Duration = Duration::from_secs(30);

/// One connection to a broker.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    next: i32,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, next: 1 })
    }

    /// The same connection once more, for another thread that reads while this one writes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn split(&self) -> io::Result<Self> {
        let stream = self.stream.try_clone()?;
        Ok(Self { stream, ..*self })
    }

    /// Sends a frame made by [`requests::frame`].
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)
    }

    /// The next answer, which must be to a request with this header.
    ///
    /// # Errors
    ///
    /// The system's, or that the answer can not be read.
    pub fn receive(&mut self, to: &RequestHeader) -> io::Result<ResponseBody> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        let response = decode_response(Bytes::from(frame), to.api_key, to.api_version).map_err(io::Error::other)?;
        if response.correlation_id == to.correlation_id {
            Ok(response.body)
        } else {
            Err(io::Error::other("an answer out of line"))
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// As [`Client::receive`].
    pub fn ask(&mut self, body: &RequestBody) -> io::Result<ResponseBody> {
        let header = requests::header(body, self.next);
        self.next = self.next.wrapping_add(1);
        self.send(&requests::frame(body, header.correlation_id))?;
        self.receive(&header)
    }

    /// Creates a topic, and waits until every partition has a leader.
    ///
    /// # Errors
    ///
    /// As [`Client::receive`], that the topic is refused, or that leaders are missing after half a minute.
    pub fn create_topic(&mut self, topic: &str, partitions: i32) -> io::Result<()> {
        let ResponseBody::CreateTopics(created) = self.ask(&requests::create(topic, partitions, 1))? else {
            return Err(io::Error::other("an answer to another question"));
        };
        match created.topics.first() {
            Some(topic) if topic.error_code == 0 => {}
            refused => return Err(io::Error::other(format!("no topic: {refused:?}"))),
        }
        let begun = Instant::now();
        while begun.elapsed() < LEADERS_MAX {
            let ResponseBody::Metadata(answer) = self.ask(&requests::metadata(topic))? else {
                return Err(io::Error::other("an answer to another question"));
            };
            let led = answer.topics.first().map_or(0, |topic| {
                let led = |partition: &&_| is_led(partition);
                topic.partitions.iter().filter(led).count()
            });
            if i32::try_from(led) == Ok(partitions) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other("no leader in half a minute"))
    }
}

fn is_led(partition: &tidelog_core::kafka::messages::MetadataResponsePartition) -> bool {
    partition.error_code == 0 && partition.leader_id >= 0
}

/// What a Produce of one batch came to: the offset of the first record, or the error's code.
///
/// # Errors
///
/// That it is no such answer.
pub fn produced(answer: &ResponseBody) -> io::Result<Result<i64, i16>> {
    let ResponseBody::Produce(answer) = answer else {
        return Err(io::Error::other("an answer to another question"));
    };
    let topic = answer.responses.first();
    let partition = topic.and_then(|topic| topic.partition_responses.first());
    let partition = partition.ok_or_else(|| io::Error::other("an answer about nothing"))?;
    Ok(match partition.error_code {
        0 => Ok(partition.base_offset),
        code => Err(code),
    })
}

/// As [`produced`], where nothing may be refused.
///
/// # Errors
///
/// That the answer is no success.
pub fn base_offset(answer: &ResponseBody) -> io::Result<i64> {
    produced(answer)?.map_err(|code| io::Error::other(format!("not produced: error {code}")))
}
