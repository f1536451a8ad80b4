//! An input and its moment in a recording.

use bytes::{Buf, BufMut, Bytes};
use tidelog_core::compute::Output;
use tidelog_core::effect::{DiskError, DiskOutput, DiskResult, Input};
use tidelog_core::id::{ConnId, FileId, JobId, NodeId, Offset, OpId, RequestId};
use tidelog_core::kafka::decode_request;
use tidelog_core::peer::Envelope;
use tidelog_core::time::{Instant, Now, Timestamp};

use super::bytes::{Malformed, Reader, put_bytes};

pub(super) fn put(out: &mut Vec<u8>, now: Now, input: &Input, frame: Option<&Bytes>) {
    out.put_u64_le(now.mono.0);
    out.put_i64_le(now.wall.0);
    match input {
        Input::Wake => out.put_u8(0),
        Input::Opened { conn, peer } => {
            out.put_u8(1);
            out.put_u64_le(conn.0);
            put_bytes(out, peer.as_bytes());
        }
        Input::Request { conn, id, request: _ } => {
            out.put_u8(2);
            out.put_u64_le(conn.0);
            out.put_u64_le(id.0);
            put_bytes(out, frame.expect("who records keeps the frames of requests"));
        }
        Input::Closed { conn } => {
            out.put_u8(3);
            out.put_u64_le(conn.0);
        }
        Input::Peer { from, envelope } => {
            out.put_u8(4);
            out.put_u32_le(from.0);
            let pieces = envelope.encode();
            out.put_u64_le(pieces.iter().map(|piece| piece.len() as u64).sum());
            pieces.iter().for_each(|piece| out.put_slice(piece));
        }
        Input::DiskDone { op, result } => {
            out.put_u8(5);
            out.put_u64_le(op.0);
            put_result(out, result);
        }
        Input::Computed { job, output: Output::FoundTimestamp(found) } => {
            out.put_u8(6);
            out.put_u64_le(job.0);
            out.put_u8(found.is_some().into());
            if let Some((offset, timestamp)) = found {
                out.put_i64_le(offset.0);
                out.put_i64_le(timestamp.0);
            }
        }
        Input::Stop => out.put_u8(7),
        Input::Lost { node } => {
            out.put_u8(8);
            out.put_u32_le(node.0);
        }
    }
}

fn put_result(out: &mut Vec<u8>, result: &DiskResult) {
    match result {
        Ok(DiskOutput::Listed(files)) => {
            out.put_u8(0);
            out.put_u64_le(files.len() as u64);
            for (file, length) in files {
                out.put_u64_le(file.raw());
                out.put_u64_le(*length);
            }
        }
        Ok(DiskOutput::Read(bytes)) => {
            out.put_u8(1);
            put_bytes(out, bytes);
        }
        Ok(DiskOutput::Done) => out.put_u8(2),
        Err(DiskError::Full) => out.put_u8(3),
        Err(DiskError::Missing) => out.put_u8(4),
        Err(DiskError::Io(why)) => {
            out.put_u8(5);
            put_bytes(out, why.as_bytes());
        }
    }
}

pub(super) fn take(r: &mut Reader) -> Result<(Now, Input), Malformed> {
    let now = Now { mono: Instant(r.u64()?), wall: Timestamp(r.i64()?) };
    let input = match r.u8()? {
        0 => Input::Wake,
        1 => Input::Opened { conn: ConnId(r.u64()?), peer: r.string()? },
        2 => {
            let (conn, id) = (ConnId(r.u64()?), RequestId(r.u64()?));
            Input::Request { conn, id, request: decode_request(r.bytes()?).map_err(|_| Malformed)? }
        }
        3 => Input::Closed { conn: ConnId(r.u64()?) },
        4 => {
            let from = NodeId(r.u32()?);
            let mut frame = r.bytes()?;
            frame.try_get_u32().map_err(|_| Malformed)?;
            Input::Peer { from, envelope: Envelope::decode(frame).map_err(|_| Malformed)? }
        }
        5 => Input::DiskDone { op: OpId(r.u64()?), result: take_result(r)? },
        6 => {
            let job = JobId(r.u64()?);
            let found = if r.bool()? { Some((Offset(r.i64()?), Timestamp(r.i64()?))) } else { None };
            Input::Computed { job, output: Output::FoundTimestamp(found) }
        }
        7 => Input::Stop,
        8 => Input::Lost { node: NodeId(r.u32()?) },
        _ => return Err(Malformed),
    };
    r.end()?;
    Ok((now, input))
}

fn take_result(r: &mut Reader) -> Result<DiskResult, Malformed> {
    Ok(match r.u8()? {
        0 => {
            let file = |r: &mut Reader| Ok((FileId::from_raw(r.u64()?).ok_or(Malformed)?, r.u64()?));
            Ok(DiskOutput::Listed(r.list(file)?))
        }
        1 => Ok(DiskOutput::Read(r.bytes()?)),
        2 => Ok(DiskOutput::Done),
        3 => Err(DiskError::Full),
        4 => Err(DiskError::Missing),
        5 => Err(DiskError::Io(r.string()?)),
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use tidelog_core::id::FileKind;

    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let done = |result| Input::DiskDone { op: OpId(4), result };
        let file = FileId::new(FileKind::Segment, 2, 3);
        let envelope = Envelope { commands: vec![Bytes::from_static(b"do")], to: NodeId(1), ..Envelope::default() };
        let computed = |found| Input::Computed { job: JobId(5), output: Output::FoundTimestamp(found) };
        // Metadata version 1 for every topic, from nobody in particular.
        let frame = Bytes::from_static(&[0, 3, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let request = decode_request(frame.clone()).expect("a request");
        for input in [
            Input::Wake,
            Input::Opened { conn: ConnId(1), peer: "there".to_owned() },
            Input::Request { conn: ConnId(1), id: RequestId(2), request },
            Input::Closed { conn: ConnId(1) },
            Input::Peer { from: NodeId(3), envelope },
            done(Ok(DiskOutput::Listed(vec![(file, 6)]))),
            done(Ok(DiskOutput::Read(Bytes::from_static(b"read")))),
            done(Ok(DiskOutput::Done)),
            done(Err(DiskError::Full)),
            done(Err(DiskError::Missing)),
            done(Err(DiskError::Io("why".to_owned()))),
            computed(None),
            computed(Some((Offset(6), Timestamp(7)))),
            Input::Stop,
            Input::Lost { node: NodeId(3) },
        ] {
            let now = Now { mono: Instant(8), wall: Timestamp(-9) };
            let mut bytes = Vec::new();
            put(&mut bytes, now, &input, Some(&frame));
            let taken = take(&mut Reader(bytes.clone().into())).expect("what was put");
            assert_eq!(format!("{taken:?}"), format!("{:?}", (now, &input)));
            for cut in 0..bytes.len() {
                assert!(take(&mut Reader(bytes[..cut].to_vec().into())).is_err(), "{input:?} cut at {cut}");
            }
        }
    }
}
