//! How the files that the system allows a process are shared out, so that nobody takes what another needs: a crowd of clients
//! leaves the data files, the other brokers and the health checks theirs.

use std::fmt;

use crate::cluster::VOTERS_MAX;
use crate::error::StartError;
use crate::limits::{
    CONNECTIONS_MAX, FILES_NEEDED, FILES_OPEN_MAX, FILES_OTHER_MAX, HEALTH_CONNECTIONS_MAX, PEER_CONNECTIONS_MAX,
};

/// Of how many files one health check, and one connection from another broker, is allowed where files are few.
const FILES_EACH: usize = 16;

/// How many files and sockets of each kind a node opens at most.
///
/// - all shares together, and what has none, are no more than the system allows
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    /// What the system allows.
    allowed: usize,
    /// Connections of clients.
    pub(crate) clients: usize,
    /// Connections from other brokers; those to them are with what has no share.
    pub(crate) peers: usize,
    /// Health checks.
    pub(crate) health: usize,
    /// Data files kept open.
    pub(crate) data: usize,
}

impl Shares {
    /// As many files as it takes for all shares to be as large as they become.
    pub(crate) const WANTED: usize =
        CONNECTIONS_MAX + PEER_CONNECTIONS_MAX + HEALTH_CONNECTIONS_MAX + FILES_OPEN_MAX + FILES_OTHER_MAX + VOTERS_MAX;

    /// The shares of so many files.
    ///
    /// # Errors
    ///
    /// [`StartError::FewFiles`].
    pub(crate) fn of(allowed: u64) -> Result<Self, StartError> {
        if allowed < FILES_NEEDED as u64 {
            return Err(StartError::FewFiles { allowed, needed: FILES_NEEDED as u64 });
        }
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).min(Self::WANTED);
        let peers = PEER_CONNECTIONS_MAX.min(allowed / FILES_EACH);
        let health = HEALTH_CONNECTIONS_MAX.min(allowed / FILES_EACH);
        let left = allowed - peers - health - FILES_OTHER_MAX - VOTERS_MAX;
        let data = FILES_OPEN_MAX.min(left / 2);
        let clients = CONNECTIONS_MAX.min(left - data);
        Ok(Self { allowed, clients, peers, health, data })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, clients, data, .. } = self;
        let wanted = Self::WANTED;
        if *allowed == wanted {
            write!(f, "files for {clients} clients at a time and {data} data files")
        } else {
            write!(
                f,
                "the system allows {allowed} open files: for {clients} clients at a time and {data} data files; with {wanted} \
                 (`ulimit -n`, `LimitNOFILE`) it were {CONNECTIONS_MAX} and {FILES_OPEN_MAX}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_share_takes_from_another_whatever_the_system_allows() {
        for allowed in FILES_NEEDED as u64..40_000 {
            let shares = Shares::of(allowed).expect("enough");
            let Shares { clients, peers, health, data, .. } = shares;
            let all = clients + peers + health + data + FILES_OTHER_MAX + VOTERS_MAX;
            assert!(all as u64 <= allowed, "{allowed}: {shares:?}");
            // Everybody in the longest list, and one that comes back before its last connection is missed.
            assert!(peers >= VOTERS_MAX && health >= VOTERS_MAX && data >= 64, "{allowed}: {shares:?}");
        }
    }

    #[test]
    fn half_a_thousand_files_serve_a_hundred_clients_and_plenty_serve_all() {
        let few = Shares::of(512).expect("enough");
        assert!(few.clients >= 100, "{few:?}");
        let plenty = Shares::of(u64::MAX).expect("enough");
        let Shares { clients, peers, health, data, .. } = plenty;
        let all = (CONNECTIONS_MAX, PEER_CONNECTIONS_MAX, HEALTH_CONNECTIONS_MAX, FILES_OPEN_MAX);
        assert_eq!((clients, peers, health, data), all);
    }

    #[test]
    fn too_few_are_told_with_the_cure() {
        let error = Shares::of(255).expect_err("too few").to_string();
        assert!(error.contains("255 open files") && error.contains("256") && error.contains("ulimit -n"), "{error}");
    }
}
