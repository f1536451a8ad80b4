//! Whatever another broker says about files, a broker neither panics nor believes what it can not check.

#[path = "support/house.rs"]
mod house;

use bytes::Bytes;
use house::House;
use proptest::prelude::*;
use tidelog_core::effect::Input;
use tidelog_core::id::{ClusterId, FileId, FileKind, GroupId, Index, NodeId, Offset, ReplicaId, Term};
use tidelog_core::log::Manifest;
use tidelog_core::marks;
use tidelog_core::peer::{CopyBody, CopyMessage, Envelope, Offer};
use tidelog_core::raft::Conf;
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1u64..40, Just(u64::MAX), Just(u64::MAX / 2), any::<u64>()]
}

fn file() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), (1u64..3, 1u64..60).prop_map(|(boot, n)| FileId::new(FileKind::State, boot, n).raw())]
}

fn conf() -> impl Strategy<Value = Bytes> {
    let members = [(NodeId(1), ReplicaId(1), true), (NodeId(2), ReplicaId(2), true), (NodeId(3), ReplicaId(3), true)];
    let good = Conf::of(&members).encode();
    let cut = good.clone();
    prop_oneof![
        4 => Just(good),
        1 => (0..cut.len()).prop_map(move |at| cut.slice(..at)),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
    ]
}

fn manifest() -> impl Strategy<Value = Bytes> {
    let made = (number(), any::<u32>(), 0i64..100, 0i64..100).prop_map(|(state_len, state_crc, a, b)| {
        let state = FileId::new(FileKind::State, 1, 5);
        Manifest { state, state_len, state_crc, next_offset: Offset(a.max(b)), log_start: Offset(a.min(b)) }.encode()
    });
    prop_oneof![4 => made, 1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)]
}

fn body() -> impl Strategy<Value = CopyBody> {
    let offer = (number(), number(), conf(), manifest()).prop_map(|(term, index_term, conf, manifest)| {
        CopyBody::Offer(Offer { term: Term(term), index_term: Term(index_term), conf, manifest })
    });
    let piece = (file(), number(), proptest::collection::vec(any::<u8>(), 0..5_000))
        .prop_map(|(file, at, bytes)| CopyBody::Piece { file, at, bytes: bytes.into() });
    prop_oneof![
        4 => offer,
        2 => (file(), number(), any::<u32>()).prop_map(|(file, at, len)| CopyBody::Pull { file, at, len }),
        2 => piece,
        1 => Just(CopyBody::Busy),
        1 => Just(CopyBody::Failed),
        2 => Just(CopyBody::Want),
        1 => Just(CopyBody::Had),
    ]
}

fn lie() -> impl Strategy<Value = CopyMessage> {
    (0u64..3, 0u64..4, number(), body()).prop_map(|(group, from, index, body)| CopyMessage {
        group: GroupId(group),
        from: ReplicaId(from),
        to: ReplicaId(1),
        index: Index(index),
        body,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn lies_change_nothing(lies in proptest::collection::vec(lie(), 1..30)) {
        let mut house = House::new(3);
        house.ready();
        let before = house.homes[&ONE].broker.status().groups[0].applied;
        for (at, message) in lies.into_iter().enumerate() {
            let from = NodeId(2 + (at % 2) as u32);
            let envelope =
                Envelope { cluster: ClusterId([7; 16]), from, to: ONE, copies: vec![message], ..Envelope::default() };
            house.inputs.push_back((ONE, Input::Peer { from, envelope }));
            house.settle();
            house.pass(Duration::from_millis(30));
        }
        house.pass(Duration::from_secs(3));
        prop_assert!(!house.homes[&ONE].stopped);
        prop_assert!(!house.marks.contains_key(&(ONE, marks::SNAPSHOT_INSTALLED)));
        let groups = house.homes[&ONE].broker.status().groups;
        prop_assert!(groups[0].applied >= before);
    }
}
