//! One Raft group around raft-rs: its log in memory, what of it is durable, and the fence between the crate and the world.
//!
//! Promises: no message leaves before the hard state of the group's current term is durable; no byte from outside reaches
//! a panic in the crate; elections depend on the boot seed, the replica, the term and the campaign count alone. Does not
//! know what a record is, where a file lies, or what time it is.
//!
//! What the crate calls a snapshot are files here: its message is held back at this edge until a follower has copied and
//! synced them, and marked them in its journal. Which files, and how they travel, is not known here.
//!

// Messages of the crate are made by its protobuf code: a default, then fields.
#[allow(clippy::field_reassign_with_default)]
mod change;
mod conf;
// Messages of the crate are made by its protobuf code: a default, then fields.
#[allow(clippy::field_reassign_with_default)]
mod fence;
#[allow(clippy::field_reassign_with_default)]
mod group;
mod terms;
mod window;

pub(crate) use fence::is_change;

pub use change::{Change, Member};
pub use conf::Conf;
pub use fence::{Offered, Refused};
pub use group::Group;
pub use terms::{Admission, Committed, Output, Recovered, Role, Setup, Token};

/// The digest of a committed entry's bytes; the same that [`crate::event::Event::Appended`] carries.
pub(crate) fn digest(entry: &Committed) -> u64 {
    group::entry_digest(&entry.context, &entry.data)
}
