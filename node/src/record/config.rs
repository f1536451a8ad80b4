//! The boot and the configuration in a recording. Planted bugs are not recorded: a node has none.

use bytes::BufMut;
use tidelog_core::broker::{Boot, Config, Settings};
use tidelog_core::id::{DirectoryId, NodeId};
use tidelog_core::mutants::Mutants;
use tidelog_core::time::Duration;

use super::bytes::{Malformed, Reader, put_bytes};

pub(super) fn put(out: &mut Vec<u8>, config: &Config, boot: &Boot) {
    let Boot { counter, seed } = boot;
    out.put_u64_le(*counter);
    out.put_u64_le(*seed);
    let Config { node, directory, voters, host, port, rack, auto_create, settings, mutants: _ } = config;
    out.put_u32_le(node.0);
    out.put_slice(&directory.0);
    out.put_u64_le(voters.len() as u64);
    for node in voters {
        out.put_u32_le(node.0);
    }
    put_bytes(out, host.as_bytes());
    out.put_u16_le(*port);
    out.put_u8(rack.is_some().into());
    put_bytes(out, rack.as_deref().unwrap_or_default().as_bytes());
    out.put_u8((*auto_create).into());
    put_settings(out, settings);
}

fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    let Settings {
        tick,
        election_ticks_min,
        election_ticks_max,
        heartbeat_ticks,
        journal_file_bytes,
        journal_files_target,
        journal_files_max,
        sector_bytes,
        index_interval_bytes,
        segment_allocate_bytes,
        segment_write_bytes,
        tail_bytes,
        checkpoint_bytes,
        seal_after,
        gossip_every,
        request_timeout,
        unwritten_bytes_max,
        journal_files_busy,
        window_bytes,
        copy_piece_bytes,
        journal_block_bytes,
        segment_bytes_max,
        append_bytes,
        journal_file_bytes_first,
        journal_rest_bytes,
        journal_look_every,
        segment_allocate_bytes_first,
        producers_max,
        producer_expires_after,
    } = settings;
    for span in [tick, seal_after, gossip_every, request_timeout, journal_look_every, producer_expires_after] {
        out.put_u64_le(span.0);
    }
    for number in [election_ticks_min, election_ticks_max, heartbeat_ticks] {
        out.put_u32_le(*number);
    }
    for number in [journal_files_target, journal_files_max, journal_files_busy, sector_bytes, copy_piece_bytes] {
        out.put_u32_le(*number);
    }
    out.put_u32_le(*producers_max);
    for bytes in [journal_file_bytes, index_interval_bytes, segment_allocate_bytes, segment_write_bytes] {
        out.put_u64_le(*bytes);
    }
    for bytes in [tail_bytes, checkpoint_bytes, unwritten_bytes_max, window_bytes] {
        out.put_u64_le(*bytes);
    }
    for bytes in [journal_block_bytes, segment_bytes_max, append_bytes] {
        out.put_u64_le(*bytes);
    }
    for bytes in [journal_file_bytes_first, journal_rest_bytes, segment_allocate_bytes_first] {
        out.put_u64_le(*bytes);
    }
}

pub(super) fn take(r: &mut Reader) -> Result<(Config, Boot), Malformed> {
    let boot = Boot { counter: r.u64()?, seed: r.u64()? };
    let config = Config {
        node: NodeId(r.u32()?),
        directory: DirectoryId(r.array()?),
        voters: r.list(|r| Ok(NodeId(r.u32()?)))?,
        host: r.string()?,
        port: r.u16()?,
        rack: {
            let is_some = r.bool()?;
            let rack = r.string()?;
            is_some.then_some(rack)
        },
        auto_create: r.bool()?,
        settings: take_settings(r)?,
        mutants: Mutants::default(),
    };
    r.end()?;
    Ok((config, boot))
}

fn take_settings(r: &mut Reader) -> Result<Settings, Malformed> {
    // In the order in which they were put.
    Ok(Settings {
        tick: Duration(r.u64()?),
        seal_after: Duration(r.u64()?),
        gossip_every: Duration(r.u64()?),
        request_timeout: Duration(r.u64()?),
        journal_look_every: Duration(r.u64()?),
        producer_expires_after: Duration(r.u64()?),
        election_ticks_min: r.u32()?,
        election_ticks_max: r.u32()?,
        heartbeat_ticks: r.u32()?,
        journal_files_target: r.u32()?,
        journal_files_max: r.u32()?,
        journal_files_busy: r.u32()?,
        sector_bytes: r.u32()?,
        copy_piece_bytes: r.u32()?,
        producers_max: r.u32()?,
        journal_file_bytes: r.u64()?,
        index_interval_bytes: r.u64()?,
        segment_allocate_bytes: r.u64()?,
        segment_write_bytes: r.u64()?,
        tail_bytes: r.u64()?,
        checkpoint_bytes: r.u64()?,
        unwritten_bytes_max: r.u64()?,
        window_bytes: r.u64()?,
        journal_block_bytes: r.u64()?,
        segment_bytes_max: r.u64()?,
        append_bytes: r.u64()?,
        journal_file_bytes_first: r.u64()?,
        journal_rest_bytes: r.u64()?,
        segment_allocate_bytes_first: r.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let config = Config {
            node: NodeId(2),
            directory: DirectoryId([3; 16]),
            voters: vec![NodeId(2), NodeId(9)],
            host: "here".to_owned(),
            port: 5,
            rack: Some("east".to_owned()),
            auto_create: true,
            settings: Settings { tail_bytes: 77, ..Settings::node() },
            mutants: Mutants::default(),
        };
        let boot = Boot { counter: 7, seed: 8 };
        let mut bytes = Vec::new();
        put(&mut bytes, &config, &boot);
        let (taken, booted) = take(&mut Reader(bytes.clone().into())).expect("what was put");
        assert_eq!((format!("{taken:?}"), booted), (format!("{config:?}"), boot));
        for cut in 0..bytes.len() {
            assert!(take(&mut Reader(bytes[..cut].to_vec().into())).is_err(), "cut at {cut}");
        }
    }
}
