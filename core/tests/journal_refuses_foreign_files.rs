//! Another cluster's, another directory's or a newer version's files are refused with a cure; the golden image of version 2
//! stays readable.

mod journal_support;

use bytes::Bytes;
use journal_support::*;
use tidelog_core::id::{DirectoryId, FileId, FileKind, GroupId, Index};
use tidelog_core::journal::{Done, Identity, Journal};

const A: GroupId = GroupId(1);

fn first_event(host: &mut Host) -> Done {
    while host.events.is_empty() {
        host.collect();
        assert!(host.finish_one());
    }
    host.events[0].clone()
}

#[test]
fn another_directory_is_refused() {
    let mut host = Host::fresh().killed();
    let other = Identity { directory: DirectoryId([1; 16]), ..identity(5) };
    host.journal = Journal::open(host.settings, other, host.disk.listing());
    assert!(matches!(first_event(&mut host), Done::Foreign(text) if text.contains("another cluster or directory")));
    host.collect();
    assert!(host.pending.is_empty(), "it does nothing more");
}

#[test]
fn frames_of_another_directory_prove_nothing() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=1, 1, 10), None, None);
    host.settle();
    let file = host.disk.writes[0].0;
    (0..512).for_each(|at| host.damage(file, at, |byte| *byte = 0));
    let mut host = host.killed();
    let other = Identity { directory: DirectoryId([1; 16]), ..identity(5) };
    host.journal = Journal::open(host.settings, other, host.disk.listing());
    let recovered = host.recover();
    assert!(!recovered.all_suspended && recovered.groups.is_empty());
}

#[test]
fn a_newer_format_is_refused_with_a_cure() {
    let mut host = Host::fresh();
    let file = host.disk.writes[0].0;
    host.damage(file, 8, |byte| *byte += 1);
    let header = host.disk.files[&file].medium[..512].to_vec();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[8..12]), &header[16..]).to_le_bytes();
    (0..4).for_each(|at| host.damage(file, 12 + at, |byte| *byte = crc[at as usize]));
    assert!(matches!(first_event(&mut host.killed()), Done::Foreign(text) if text.contains("format 3")));
}

#[test]
fn a_boot_counter_that_went_back_is_refused() {
    let host = Host::fresh();
    let mut host = Host::start(host.disk, 1, settings());
    assert!(matches!(first_event(&mut host), Done::Failed(text) if text.contains("boot counter")));
}

/// What the golden image holds.
fn golden() -> Host {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=3, 1, 20), None, Some(hard(1, 2, 0)));
    host.journal.append(GroupId(2), entries(1..=1, 1, 20), None, None);
    host.settle();
    let mut host = host.killed();
    host.recover();
    host.journal.mark(A, mark(1, 1));
    host.journal.append(A, entries(3..=4, 2, 5), Some(Index(3)), None);
    host.journal.carry(A, entries(2..=2, 1, 20));
    host.journal.append(GroupId(3), entries(1..=5, 1, 20), None, None);
    host.journal.install(GroupId(3), mark(4, 2));
    host.journal.forget(GroupId(2));
    host.settle();
    host
}

/// Each file: id, length, then its bytes without the zeros at its end, prefixed with their length.
fn image(disk: &Disk) -> Vec<u8> {
    let mut image = Vec::new();
    for (id, file) in &disk.files {
        let used = file.medium.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        for number in [id.raw(), file.medium.len() as u64, used as u64] {
            image.extend_from_slice(&number.to_le_bytes());
        }
        image.extend_from_slice(&file.medium[..used]);
    }
    image
}

fn disk(image: &'static [u8]) -> Disk {
    let mut disk = Disk::default();
    let mut rest = Bytes::from_static(image);
    while !rest.is_empty() {
        let head = rest.split_to(24);
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let mut bytes = rest.split_to(number(16) as usize).to_vec();
        bytes.resize(number(8) as usize, 0);
        let id = FileId::from_raw(number(0)).expect("a file id");
        assert_eq!(id.kind(), FileKind::Journal);
        disk.files.insert(id, File { cache: bytes.clone(), medium: bytes });
    }
    disk
}

#[test]
fn the_golden_image_of_version_2_is_readable_and_still_written() {
    let golden_image = include_bytes!("golden/journal-v2-spares.bin");
    let written = image(&golden().disk);
    if written != golden_image {
        let path = format!("{}/journal-v2-spares.bin", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, written).expect("the target folder can be written");
        panic!("the format changed: give it a new version and a golden of its own; what is written now is in {path}");
    }
    is_read(golden_image);
}

#[test]
fn images_without_spares_stay_readable() {
    is_read(include_bytes!("golden/journal-v2-lengths.bin"));
}

#[test]
fn files_that_do_not_say_how_long_they_are_stay_readable() {
    is_read(include_bytes!("golden/journal-v2.bin"));
}

fn is_read(image: &'static [u8]) {
    let mut host = Host::start(disk(image), 3, settings());
    let recovered = host.recover();
    assert_eq!(recovered.groups.len(), 2);
    let group = &recovered.groups[&A];
    assert_eq!((group.hard, group.mark.clone()), (hard(1, 2, 0), Some(mark(1, 1))));
    assert_eq!(group.entries, [entries(2..=2, 1, 20), entries(3..=4, 2, 5)].concat());
    let installed = &recovered.groups[&GroupId(3)];
    assert_eq!((installed.mark.clone(), installed.entries.len()), (Some(mark(4, 2)), 0));
}
