//! How many connections this process can hold: each is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside the connections: links to the other parts, the audit log, the store.
const OTHERS: u64 = 256;

/// Lets the process open as many files as it takes, as far as the system allows; the number of
/// connections that there is room for. Without room a connection would neither be taken nor refused.
pub(super) fn room_for(connections: usize) -> usize {
    let wanted = connections as u64 + OTHERS;
    let limits = getrlimit(Resource::Nofile);
    let current = limits.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return connections;
    }
    let raised = limits.maximum.map_or(wanted, |most| most.min(wanted));
    let more = Rlimit {
        current: Some(raised),
        maximum: limits.maximum,
    };
    let open = match setrlimit(Resource::Nofile, more) {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            current
        }
    };
    if open >= wanted {
        return connections;
    }
    let room = usize::try_from(open.saturating_sub(OTHERS)).unwrap_or(connections);
    let room = room.max(1);
    tracing::warn!(
        wanted = connections,
        room,
        "this process may open too few files for MCP_HTTP_MAX_CONNECTIONS: raise `ulimit -n` or \
         LimitNOFILE"
    );
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_the_system_allows() {
        assert_eq!(room_for(1), 1);
        let limits = getrlimit(Resource::Nofile);
        if let Some(most) = limits.maximum {
            let more = usize::try_from(most).unwrap();
            assert!(room_for(more) < more);
        }
    }
}
