//! Row 107: which edges between the zones the network policies leave open.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::policies::{End, Pod, passes};
use super::{EXECUTORS, OWN, deployments, file, name, namespace};
use crate::root;

/// The edges of the zones (architecture, and section 1 of the threats): from, to, port.
const EDGES: &[(&str, &str, &str)] = &[
    ("client", "gateway", "TCP 8788"),
    ("client of a named namespace", "gateway", "TCP 8788"),
    ("gateway", "registry", "TCP 50051"),
    ("gateway", "executor default", "TCP 50052"),
    ("gateway", "executor ml", "TCP 50052"),
    ("gateway", "executor isolate", "TCP 50052"),
    ("executor default", "registry", "TCP 50051"),
    ("executor ml", "registry", "TCP 50051"),
    ("executor isolate", "registry", "TCP 50051"),
    ("registry", "postgres", "TCP 5432"),
    ("executor default", "internet", "TCP 443"),
    ("executor ml", "internet", "TCP 443"),
    ("gateway", "dns", "TCP 53"),
    ("gateway", "dns", "UDP 53"),
    ("registry", "dns", "TCP 53"),
    ("registry", "dns", "UDP 53"),
    ("executor default", "dns", "TCP 53"),
    ("executor default", "dns", "UDP 53"),
    ("executor ml", "dns", "TCP 53"),
    ("executor ml", "dns", "UDP 53"),
    ("executor isolate", "dns", "TCP 53"),
    ("executor isolate", "dns", "UDP 53"),
];

/// Every port that anything here listens on, and some that attackers like: SSH, the cluster's API, the
/// kubelet, a daemon of Docker, the web.
const PORTS: &[(&str, u64)] = &[
    ("TCP", 8788),
    ("TCP", 9464),
    ("TCP", 9465),
    ("TCP", 50051),
    ("TCP", 50052),
    ("TCP", 5432),
    ("TCP", 53),
    ("UDP", 53),
    ("TCP", 22),
    ("TCP", 80),
    ("TCP", 443),
    ("TCP", 2375),
    ("TCP", 2376),
    ("TCP", 6379),
    ("TCP", 6443),
    ("TCP", 10250),
    ("UDP", 443),
    ("SCTP", 8788),
];

fn pod(namespace: &str, labels: Value, more: &Value) -> End {
    let mut namespace_labels = json!({"kubernetes.io/metadata.name": namespace});
    for (key, value) in more.as_object().unwrap() {
        namespace_labels[key] = value.clone();
    }
    End::Pod(Pod {
        namespace: namespace.to_owned(),
        namespace_labels,
        labels,
    })
}

/// Everything that could want to speak to something else, the zones and their neighbours.
fn ends() -> Vec<(String, End)> {
    let none = json!({});
    let mut ends: Vec<(String, End)> = deployments()
        .iter()
        .map(|deployment| {
            let called = match name(deployment) {
                "dynamic-mcp" => "gateway".to_owned(),
                "dynamic-mcp-registry" => "registry".to_owned(),
                executor => format!("executor {}", executor.rsplit('-').next().unwrap()),
            };
            let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
            (called, pod(namespace(deployment), labels, &none))
        })
        .collect();
    let client = json!({"mcp-client": "true"});
    let clients = json!({"dynamic-mcp.io/clients": "true"});
    let mut add = |name: &str, end: End| ends.push((name.to_owned(), end));
    add("client", pod(OWN, client.clone(), &none));
    add(
        "client of a named namespace",
        pod("ingress-nginx", client.clone(), &clients),
    );
    add(
        "client of another namespace",
        pod("default", client.clone(), &none),
    );
    add("client among executors", pod(EXECUTORS, client, &none));
    add(
        "unlabelled beside the gateway",
        pod(OWN, none.clone(), &none),
    );
    add(
        "unlabelled of a named namespace",
        pod("ingress-nginx", none.clone(), &clients),
    );
    add(
        "unlabelled among executors",
        pod(EXECUTORS, none.clone(), &none),
    );
    add(
        "prometheus",
        pod(
            "monitoring",
            json!({"mcp-metrics": "true"}),
            &json!({"dynamic-mcp.io/metrics": "true"}),
        ),
    );
    // Labels of ours that somebody else gave to a pod of theirs.
    add(
        "false gateway",
        pod("default", json!({"app": "dynamic-mcp"}), &none),
    );
    add(
        "false executor",
        pod("default", json!({"app": "dynamic-mcp-executor"}), &none),
    );
    add(
        "false registry",
        pod("default", json!({"app": "dynamic-mcp-registry"}), &none),
    );
    add(
        "false dns",
        pod("default", json!({"k8s-app": "kube-dns"}), &none),
    );
    add(
        "postgres",
        pod("default", json!({"app": "postgres"}), &none),
    );
    add(
        "dns",
        pod("kube-system", json!({"k8s-app": "kube-dns"}), &none),
    );
    add(
        "another of kube-system",
        pod("kube-system", none.clone(), &none),
    );
    for (name, address) in [
        ("internet", "203.0.113.10"),
        ("metadata of the cloud", "169.254.169.254"),
        ("node", "10.0.0.1"),
        ("sandbox", "172.17.0.2"),
    ] {
        add(name, End::Address(address.parse().unwrap()));
    }
    ends
}

/// Ends that are ours: what is open between others is none of our policies' business.
fn ours(name: &str) -> bool {
    name == "gateway" || name == "registry" || name.starts_with("executor")
}

/// Everything that passes with these manifests, from or to a pod of ours.
fn open(documents: &[Value]) -> BTreeSet<(String, String, String)> {
    let ends = ends();
    let mut open = BTreeSet::new();
    for (from, source) in &ends {
        for (to, target) in ends.iter().filter(|(to, _)| ours(from) || ours(to)) {
            for port in PORTS {
                if passes(documents, source, target, *port) {
                    open.insert((from.clone(), to.clone(), format!("{} {}", port.0, port.1)));
                }
            }
        }
    }
    open
}

fn wanted() -> BTreeSet<(String, String, String)> {
    EDGES
        .iter()
        .map(|(from, to, port)| ((*from).to_owned(), (*to).to_owned(), (*port).to_owned()))
        .collect()
}

#[test]
fn the_edges_of_the_zones_are_open_and_no_other() {
    let policies = file("dynamic-mcp-networkpolicy.yaml");
    assert_eq!(open(&policies), wanted());
    // Without policies everything is: the computation does see what is open.
    let ends = ends().len();
    assert!(open(&[]).len() > ends * PORTS.len());
}

#[test]
fn monitoring_opens_the_metrics_and_nothing_else() {
    let mut policies = file("dynamic-mcp-networkpolicy.yaml");
    policies.extend(file("dynamic-mcp-monitoring.yaml"));
    let more: BTreeSet<_> = open(&policies).difference(&wanted()).cloned().collect();
    assert!(!more.is_empty());
    for (from, to, port) in &more {
        let metrics = port == "TCP 9464" || port == "TCP 9465";
        assert!(
            from == "prometheus" && ours(to) && metrics,
            "{from} -> {to} {port}"
        );
    }
}

/// A policy that is taken away, or whose selector selects nothing, is seen.
#[test]
fn each_policy_is_needed() {
    let policies = file("dynamic-mcp-networkpolicy.yaml");
    for index in 0..policies.len() {
        let mut fewer = policies.clone();
        let gone = fewer.remove(index);
        if name(&gone).ends_with("default-deny") {
            // For pods that are not ours: those have a policy of their own.
            let stranger = pod(namespace(&gone), json!({"app": "new"}), &json!({}));
            let internet = End::Address([203, 0, 113, 10].into());
            assert!(passes(&fewer, &stranger, &internet, ("TCP", 443)));
            assert!(!passes(&policies, &stranger, &internet, ("TCP", 443)));
        } else {
            assert_ne!(
                open(&fewer),
                wanted(),
                "{}/{} changes nothing",
                namespace(&gone),
                name(&gone)
            );
        }
    }
}

/// The page has the table that operators read.
#[test]
fn the_page_has_every_edge() {
    let page = std::fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    let family = |name: &str| match name {
        executor if executor.starts_with("executor") => "executors".to_owned(),
        "dns" => "DNS of the cluster".to_owned(),
        "postgres" => "Postgres".to_owned(),
        client if client.starts_with("client") => "clients".to_owned(),
        other => other.to_owned(),
    };
    let rows: BTreeSet<String> = EDGES
        .iter()
        .map(|(from, to, port)| {
            let port = port.split(' ').next_back().unwrap();
            format!("| {} | {} | {port} |", family(from), family(to))
        })
        .collect();
    let told: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.split('|').count() == 5)
        .filter(|line| {
            line.trim_end_matches('|')
                .trim()
                .rsplit(' ')
                .next()
                .is_some_and(|last| last.parse::<u16>().is_ok())
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(told, rows);
}
