//! What a cluster makes of NetworkPolicies (networking.k8s.io/v1), computed: which packets pass.

use std::net::IpAddr;

use serde_json::Value;

use super::{kind, list, namespace};

/// An end of a connection: a pod, or an address outside the cluster.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// A pod.
    Pod(Pod),
    /// Something else.
    Address(IpAddr),
}

/// A pod, as policies see it.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) namespace_labels: Value,
    pub(super) labels: Value,
}

/// Whether labels are what a selector asks for. Only `matchLabels` is understood: anything else fails
/// the test, so that nothing is read as less than it is.
fn selects(selector: &Value, labels: &Value) -> bool {
    let fields = selector.as_object().unwrap();
    assert!(fields.keys().all(|key| key == "matchLabels"), "{selector}");
    let wanted = selector["matchLabels"].as_object();
    wanted.is_none_or(|wanted| {
        wanted
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// Whether a `from` or `to` of a policy of `home` names this end.
fn names(peer: &Value, home: &str, end: &End) -> bool {
    let fields = peer.as_object().unwrap();
    let known = ["podSelector", "namespaceSelector", "ipBlock"];
    assert!(
        fields.keys().all(|key| known.contains(&key.as_str())),
        "{peer}"
    );
    match end {
        End::Address(address) => fields.get("ipBlock").is_some_and(|block| {
            let inside = |network: &Value| {
                let (network, bits) = network.as_str().unwrap().split_once('/').unwrap();
                within(*address, network.parse().unwrap(), bits.parse().unwrap())
            };
            inside(&block["cidr"]) && !list(block, "/except").iter().any(inside)
        }),
        End::Pod(pod) => {
            if fields.contains_key("ipBlock") {
                return false;
            }
            let place = match fields.get("namespaceSelector") {
                Some(selector) => selects(selector, &pod.namespace_labels),
                None => pod.namespace == home,
            };
            place
                && fields
                    .get("podSelector")
                    .is_none_or(|selector| selects(selector, &pod.labels))
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let cut = |ip: std::net::Ipv4Addr| u64::from(ip.to_bits()) >> (32 - bits);
            cut(address) == cut(network)
        }
        _ => panic!("only networks of IPv4 are understood"),
    }
}

/// Whether one rule lets this port through from or to `other`.
fn rule_allows(rule: &Value, side: &str, home: &str, other: &End, port: (&str, u64)) -> bool {
    let fields = rule.as_object().unwrap();
    assert!(
        fields.keys().all(|key| key == side || key == "ports"),
        "{rule}"
    );
    let peers = list(rule, &format!("/{side}"));
    let ports = list(rule, "/ports");
    let peer = peers.is_empty() || peers.iter().any(|peer| names(peer, home, other));
    let through = ports.is_empty()
        || ports.iter().any(|entry| {
            assert!(entry.get("endPort").is_none(), "{entry}");
            let number = entry["port"].as_u64().unwrap_or_else(|| panic!("{entry}"));
            entry["protocol"] == port.0 && number == port.1
        });
    peer && through
}

/// What the policies say of one direction: everything, when none of them is for this pod and direction.
fn direction(policies: &[Value], pod: &Pod, way: &str, other: &End, port: (&str, u64)) -> bool {
    let (rules, side) = match way {
        "Ingress" => ("/spec/ingress", "from"),
        _ => ("/spec/egress", "to"),
    };
    let mine: Vec<&Value> = policies
        .iter()
        .filter(|policy| {
            namespace(policy) == pod.namespace
                && selects(&policy["spec"]["podSelector"], &pod.labels)
                && list(policy, "/spec/policyTypes")
                    .iter()
                    .any(|kind| kind == way)
        })
        .collect();
    mine.is_empty()
        || mine.iter().any(|policy| {
            let home = namespace(policy);
            list(policy, rules)
                .iter()
                .any(|rule| rule_allows(rule, side, home, other, port))
        })
}

/// Whether a connection passes: both ends have to let it.
pub(super) fn passes(documents: &[Value], from: &End, to: &End, port: (&str, u64)) -> bool {
    let policies: Vec<Value> = documents
        .iter()
        .filter(|document| kind(document) == "NetworkPolicy")
        .cloned()
        .collect();
    let out = match from {
        End::Pod(pod) => direction(&policies, pod, "Egress", to, port),
        End::Address(_) => true,
    };
    let inward = match to {
        End::Pod(pod) => direction(&policies, pod, "Ingress", from, port),
        End::Address(_) => true,
    };
    out && inward
}
