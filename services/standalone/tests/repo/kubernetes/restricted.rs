//! Row 105: every pod against the Pod Security Standard `restricted`, and row 106: what a gateway has not.

use serde_json::{Value, json};

use super::{EXECUTORS, OWN, all, deployments, kind, list, name, namespace, object, text};

/// What `restricted` forbids (Kubernetes, Pod Security Standards), and what is asked for here beyond it:
/// a read-only root, our user and group, no token of the cluster.
fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |yes: bool, what: String| {
        if yes {
            found.push(what);
        }
    };
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        wrong(pod[key] == true, key.to_owned());
    }
    wrong(
        pod["automountServiceAccountToken"] != false,
        "a token of the cluster".to_owned(),
    );
    wrong(
        pod["enableServiceLinks"] != false,
        "variables of Services".to_owned(),
    );
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in list(pod, "/volumes") {
        let kinds = volume
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "name");
        for kind in kinds {
            wrong(!allowed.contains(&kind.as_str()), format!("volume {kind}"));
        }
    }
    let outer = &pod["securityContext"];
    wrong(outer.get("sysctls").is_some(), "sysctls".to_owned());
    let groups = ["initContainers", "containers", "ephemeralContainers"];
    let containers = groups
        .iter()
        .flat_map(|group| list(pod, &format!("/{group}")));
    for container in containers {
        let inner = &container["securityContext"];
        let either = |key: &str| {
            inner
                .get(key)
                .or_else(|| outer.get(key))
                .unwrap_or(&Value::Null)
        };
        wrong(inner["privileged"] == true, "privileged".to_owned());
        wrong(
            inner["allowPrivilegeEscalation"] != false,
            "escalation".to_owned(),
        );
        wrong(
            inner["readOnlyRootFilesystem"] != true,
            "writable root".to_owned(),
        );
        wrong(
            inner["capabilities"] != json!({"drop": ["ALL"]}),
            "capabilities".to_owned(),
        );
        wrong(either("runAsNonRoot") != true, "may be root".to_owned());
        wrong(either("runAsUser") != 10001, "user".to_owned());
        wrong(either("runAsGroup") != 10001, "group".to_owned());
        let profile = &either("seccompProfile")["type"];
        wrong(profile != "RuntimeDefault", format!("seccomp {profile}"));
        for key in ["procMount", "seLinuxOptions", "windowsOptions"] {
            wrong(
                inner.get(key).is_some() || outer.get(key).is_some(),
                key.to_owned(),
            );
        }
        for port in list(container, "/ports") {
            wrong(
                port.get("hostPort").is_some(),
                "a port of the node".to_owned(),
            );
        }
    }
    found
}

/// Namespaces, and whether they let in nothing but `restricted`.
fn enforced(place: &str) -> String {
    let namespace = object(&all(), "Namespace", "", place);
    let labels = &namespace["metadata"]["labels"];
    text(labels, "/pod-security.kubernetes.io~1enforce").to_owned()
}

#[test]
fn every_pod_is_restricted_but_for_the_docker_socket_in_a_place_of_its_own() {
    for deployment in deployments() {
        let pod = &deployment["spec"]["template"]["spec"];
        let found = violations(pod);
        if namespace(&deployment) == OWN {
            assert!(found.is_empty(), "{}: {found:?}", name(&deployment));
            continue;
        }
        assert_eq!(namespace(&deployment), EXECUTORS);
        assert_eq!(found, ["volume hostPath"], "{}", name(&deployment));
        let host: Vec<&Value> = list(pod, "/volumes")
            .iter()
            .filter(|volume| volume.get("hostPath").is_some())
            .collect();
        assert_eq!(host.len(), 1);
        assert_eq!(
            host[0]["hostPath"],
            json!({"path": "/var/run/docker.sock", "type": "Socket"})
        );
        let label = "dynamic-mcp.io/docker";
        assert_eq!(pod["nodeSelector"], json!({label: "true"}));
        assert_eq!(pod["tolerations"][0]["key"], label);
    }
    assert_eq!(enforced(OWN), "restricted");
    assert_eq!(enforced(EXECUTORS), "privileged");
    let pools: Vec<String> = deployments()
        .iter()
        .filter(|deployment| namespace(deployment) == OWN)
        .map(|deployment| name(deployment).to_owned())
        .collect();
    assert!(
        pools.contains(&"dynamic-mcp-executor-isolate".to_owned()),
        "{pools:?}"
    );
    for account in all()
        .iter()
        .filter(|document| kind(document) == "ServiceAccount")
    {
        assert_eq!(
            account["automountServiceAccountToken"],
            false,
            "{}",
            name(account)
        );
    }
}

/// The check itself sees each of these.
#[test]
fn each_way_out_of_restricted_is_seen() {
    let gateway = object(&all(), "Deployment", OWN, "dynamic-mcp");
    let good = &gateway["spec"]["template"]["spec"];
    assert_eq!(violations(good), Vec::<String>::new());
    let changes = [
        ("/hostNetwork", json!(true)),
        ("/hostPID", json!(true)),
        ("/hostIPC", json!(true)),
        ("/automountServiceAccountToken", json!(true)),
        (
            "/volumes/0",
            json!({"name": "data", "hostPath": {"path": "/"}}),
        ),
        (
            "/securityContext/sysctls",
            json!([{"name": "kernel.msgmax", "value": "1"}]),
        ),
        ("/securityContext/runAsUser", json!(0)),
        ("/containers/0/securityContext/privileged", json!(true)),
        (
            "/containers/0/securityContext/allowPrivilegeEscalation",
            json!(null),
        ),
        (
            "/containers/0/securityContext/readOnlyRootFilesystem",
            json!(false),
        ),
        (
            "/containers/0/securityContext/capabilities",
            json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        ),
        ("/containers/0/securityContext/runAsNonRoot", json!(false)),
        ("/containers/0/securityContext/runAsUser", json!(0)),
        (
            "/containers/0/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
        ),
        ("/containers/0/securityContext/procMount", json!("Unmasked")),
        ("/containers/0/ports/0/hostPort", json!(8788)),
        (
            "/initContainers",
            json!([{"name": "more", "image": "more"}]),
        ),
    ];
    for (pointer, value) in changes {
        let mut pod = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        assert!(!violations(&pod).is_empty(), "{pointer} is not seen");
    }
}

#[test]
fn the_gateway_has_no_docker_no_database_and_no_token() {
    let everything = all();
    let gateway = object(&everything, "Deployment", OWN, "dynamic-mcp");
    let pod = &gateway["spec"]["template"]["spec"];
    let mut seen = pod.to_string();
    for source in list(pod, "/containers/0/envFrom") {
        let config = text(source, "/configMapRef/name");
        assert!(
            !config.is_empty(),
            "secrets are files, not variables: {source}"
        );
        seen += &object(&everything, "ConfigMap", OWN, config).to_string();
    }
    for volume in list(pod, "/volumes") {
        let secret = text(volume, "/secret/secretName");
        if !secret.is_empty() {
            let keys = object(&everything, "Secret", OWN, secret);
            seen += &keys["stringData"].to_string();
        }
    }
    assert!(
        seen.contains("MCP_ADMIN_TOKEN") && seen.contains("tls.key"),
        "{seen}"
    );
    for forbidden in [
        "docker.sock",
        "DOCKER_HOST",
        "_PG_",
        "postgres",
        "hostPath",
        "SYS_",
        "NET_",
        "ALLOW_DOCKER_SOCKET",
    ] {
        assert!(!seen.contains(forbidden), "the gateway has {forbidden}");
    }
    for (place, deployment) in deployments()
        .iter()
        .map(|deployment| (name(deployment), deployment))
    {
        let secret_variables = list(deployment, "/spec/template/spec/containers/0/envFrom")
            .iter()
            .any(|source| source.get("secretRef").is_some());
        assert!(!secret_variables, "{place}: secrets are files");
    }
}
