//! Which service may call which method.
//!
//! This is about programs: what a gateway never does in its work, nobody does with a gateway's
//! certificate. On whose behalf a request is made, and what that caller may do, is checked besides.

use std::sync::Arc;

use domain::{Error, ErrorCode, Result};

use super::connection::Peer;
use crate::method;

const GATEWAY: &str = "gateway";
const EXECUTOR: &str = "executor";
const REGISTRY: &str = "registry";

/// Kinds of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// Gateways, and whoever else asks on behalf of a caller: internal services.
    Asking,
    /// Gateways only.
    Gateways,
    /// Executors only.
    Executors,
}

/// Who may call the method at `path`; `None` for a path without a row, which no service may call.
fn of(path: &str) -> Option<Callers> {
    let listed = |methods: &[&method::Method]| methods.iter().any(|method| method.path == path);
    if listed(&[
        &method::RUN,
        &method::RESOLVE,
        &method::OPEN,
        &method::EXEC,
        &method::RUN_IN,
        &method::WRITE_FILE,
        &method::READ_FILE,
        &method::LIST_FILES,
        &method::STOP,
        &method::LIST,
        &method::CREATE,
        &method::UPDATE,
        &method::DELETE,
        &method::GET,
        &method::GET_CODE,
        &method::GET_LOCK,
        &method::AUDIT_SEGMENTS,
        &method::AUDIT_SEARCH,
        &method::CREATE_KEY,
        &method::LIST_KEYS,
        &method::REVOKE_KEY,
        &method::ROTATE_KEY,
    ]) {
        Some(Callers::Asking)
    } else if listed(&[
        &method::SET_LOCK,
        &method::WATCH_CATALOG,
        &method::WATCH_FLEET,
        &method::AUDIT_HEAD,
        &method::AUDIT_APPEND,
        &method::WATCH_KEYS,
        &method::TOUCH_KEYS,
    ]) {
        Some(Callers::Gateways)
    } else if listed(&[&method::HEARTBEAT, &method::LEAVE]) {
        Some(Callers::Executors)
    } else {
        None
    }
}

impl Callers {
    fn contain(self, service: &str) -> bool {
        match self {
            Self::Asking => service != EXECUTOR && service != REGISTRY,
            Self::Gateways => service == GATEWAY,
            Self::Executors => service == EXECUTOR,
        }
    }
}

/// The service that a request to `path` comes from, if it may make it. Where a certificate was shown,
/// its name counts, and the key that signed has to be that service's own: listed with it as issuer,
/// or the plain key of a gateway or executor. Without certificates the issuer counts, and a plain
/// key may do everything.
pub(crate) fn admit(path: &str, peer: &Peer, issuer: Option<&str>) -> Result<Option<Arc<str>>> {
    let service: Arc<str> = match (peer, issuer) {
        (Peer::Unnamed, None) => return Ok(None),
        (Peer::Unnamed, Some(issuer)) => Arc::from(issuer),
        (Peer::Named(name), Some(issuer)) if **name == *issuer => Arc::clone(name),
        (Peer::Named(name), None) if matches!(&**name, GATEWAY | EXECUTOR) => Arc::clone(name),
        (Peer::Named(name), _) => {
            return Err(denied(format!(
                "the key that signed the identity is not the one of {name}, whose certificate was shown"
            )));
        }
    };
    match of(path) {
        Some(callers) if callers.contain(&service) => Ok(Some(service)),
        _ => Err(denied(format!("{service} may not call this method"))),
    }
}

fn denied(why: String) -> Error {
    Error::new(ErrorCode::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(path: &str, peer: Option<&str>, issuer: Option<&str>) -> bool {
        let peer = peer.map_or(Peer::Unnamed, |name| Peer::Named(Arc::from(name)));
        admit(path, &peer, issuer).is_ok()
    }

    #[test]
    fn every_method_has_a_row() {
        for method in method::ALL {
            assert!(of(method.path).is_some(), "{} has no row", method.path);
            assert!(
                !may(method.path, Some("registry"), None),
                "registries call nobody"
            );
            assert!(!may(method.path, Some("registry"), Some("registry")));
            let executor = may(method.path, Some("executor"), None);
            assert_eq!(executor, matches!(method.name, "Heartbeat" | "Leave"));
            assert_eq!(executor, !may(method.path, Some("gateway"), None));
        }
        assert!(!may(
            "/dynamic_mcp.v1.Catalog/Unheard",
            Some("gateway"),
            None
        ));
    }

    #[test]
    fn internal_services_ask_for_callers_and_are_no_part_of_the_fleet() {
        for (method, may_call) in [
            (&method::RUN, true),
            (&method::CREATE, true),
            (&method::WATCH_CATALOG, false),
            (&method::SET_LOCK, false),
            (&method::HEARTBEAT, false),
            (&method::WATCH_FLEET, false),
        ] {
            for peer in [Some("billing"), None] {
                assert_eq!(
                    may(method.path, peer, Some("billing")),
                    may_call,
                    "{method:?}"
                );
            }
        }
    }

    #[test]
    fn certificate_and_key_are_of_one_service() {
        let run = method::RUN.path;
        assert!(may(run, Some("gateway"), Some("gateway")));
        for (peer, issuer) in [
            ("billing", None),
            ("billing", Some("gateway")),
            ("gateway", Some("billing")),
            ("executor", Some("gateway")),
        ] {
            assert!(!may(run, Some(peer), issuer), "{peer} {issuer:?}");
        }
        assert!(
            may(run, None, None),
            "a plain key where no certificates are shown"
        );
    }
}
