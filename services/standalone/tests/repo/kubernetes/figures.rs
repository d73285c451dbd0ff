//! The figures and names that users of the Node server and the runbook count on.

use serde_json::{Value, json};

use super::{
    EXECUTORS, OWN, all, deployments, file, folder, kind, list, name, namespace, object, text,
};
use crate::root;

fn container(deployment: &Value) -> &Value {
    let containers = list(deployment, "/spec/template/spec/containers");
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn probe(path: &str, port: &str, figures: [u32; 4]) -> Value {
    json!({
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": figures[0], "periodSeconds": figures[1],
        "timeoutSeconds": figures[2], "failureThreshold": figures[3],
    })
}

#[test]
fn names_probes_and_resources_are_as_promised() {
    for deployment in deployments() {
        let name = name(&deployment);
        let container = container(&deployment);
        let port = if name == "dynamic-mcp" {
            "http"
        } else {
            "admin"
        };
        assert_eq!(
            container["livenessProbe"],
            probe("/livez", port, [10, 10, 2, 3]),
            "{name}"
        );
        assert_eq!(
            container["readinessProbe"],
            probe("/readyz", port, [5, 5, 2, 6]),
            "{name}"
        );
        let memory = if name.contains("executor") {
            ("512Mi", "2Gi")
        } else {
            ("256Mi", "1Gi")
        };
        let resources = json!({
            "requests": {"cpu": "250m", "memory": memory.0},
            "limits": {"cpu": "1000m", "memory": memory.1},
        });
        assert_eq!(container["resources"], resources, "{name}");
        assert!(
            deployment["spec"]["replicas"].as_u64().unwrap() >= 2,
            "{name}"
        );
        assert_eq!(
            deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0,
            "{name}"
        );
    }
    let main = file("dynamic-mcp-postgres.yaml");
    let gateway = object(&main, "Deployment", OWN, "dynamic-mcp");
    let label = json!({"app": "dynamic-mcp"});
    assert_eq!(gateway["spec"]["selector"]["matchLabels"], label);
    assert_eq!(container(&gateway)["name"], "dynamic-mcp");
    let service = object(&main, "Service", OWN, "dynamic-mcp");
    assert_eq!(service["spec"]["selector"], label);
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "http", "port": 8788, "targetPort": "http"}])
    );
    object(&main, "ConfigMap", OWN, "dynamic-mcp-config");
    object(&main, "Secret", OWN, "dynamic-mcp-secrets");
}

/// The time that a pod is given to end is longer than what its program may take.
#[test]
fn a_pod_may_take_as_long_to_end_as_its_program() {
    let everything = all();
    for deployment in deployments() {
        let spec = &deployment["spec"]["template"]["spec"];
        let config = text(spec, "/containers/0/envFrom/0/configMapRef/name");
        let config = object(&everything, "ConfigMap", namespace(&deployment), config);
        let setting = |name: &str| {
            text(&config["data"], &format!("/{name}"))
                .parse::<u64>()
                .unwrap()
        };
        let needed = setting("MCP_SHUTDOWN_MIN_DELAY_MS") + setting("MCP_SHUTDOWN_GRACE_MS");
        let given = spec["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
        assert!(
            given >= needed + 5000,
            "{}: {given} ms for {needed}",
            name(&deployment)
        );
    }
}

#[test]
fn scaling_is_as_promised() {
    let scaling = file("dynamic-mcp-scalability.yaml");
    let scaler = object(&scaling, "HorizontalPodAutoscaler", OWN, "dynamic-mcp");
    let spec = &scaler["spec"];
    assert_eq!(
        (&spec["minReplicas"], &spec["maxReplicas"]),
        (&json!(2), &json!(10))
    );
    let target = |name: &str, percent: u32| {
        json!({"type": "Resource", "resource": {
            "name": name, "target": {"type": "Utilization", "averageUtilization": percent}}})
    };
    assert_eq!(
        spec["metrics"],
        json!([target("cpu", 65), target("memory", 80)])
    );
    let down = &spec["behavior"]["scaleDown"];
    assert_eq!(down["stabilizationWindowSeconds"], 300);
    assert_eq!(
        down["policies"],
        json!([{"type": "Pods", "value": 1, "periodSeconds": 60}])
    );
    for deployment in deployments() {
        let (place, name) = (namespace(&deployment), name(&deployment));
        let budget = object(&scaling, "PodDisruptionBudget", place, name);
        assert_eq!(budget["spec"]["minAvailable"], 1, "{name}");
        assert_eq!(
            budget["spec"]["selector"], deployment["spec"]["selector"],
            "{name}"
        );
        let vertical = object(&scaling, "VerticalPodAutoscaler", place, name);
        assert_eq!(
            vertical["spec"]["updatePolicy"]["updateMode"], "Off",
            "{name}"
        );
    }
    for scaler in scaling
        .iter()
        .filter(|document| kind(document) == "HorizontalPodAutoscaler")
    {
        let target = &scaler["spec"]["scaleTargetRef"];
        object(
            &all(),
            "Deployment",
            namespace(scaler),
            text(target, "/name"),
        );
    }
}

/// What names something else names something that is there.
#[test]
fn everything_that_is_named_exists() {
    let everything = all();
    let labels = |deployment: &Value| deployment["spec"]["template"]["metadata"]["labels"].clone();
    for deployment in deployments() {
        let place = namespace(&deployment);
        let pod = &deployment["spec"]["template"]["spec"];
        object(
            &everything,
            "ServiceAccount",
            place,
            text(pod, "/serviceAccountName"),
        );
        for volume in list(pod, "/volumes") {
            let secret = text(volume, "/secret/secretName");
            if !secret.is_empty() {
                object(&everything, "Secret", place, secret);
                let mode = &volume["secret"]["defaultMode"];
                assert_eq!(mode, 0o440, "{}: {secret}", name(&deployment));
            }
        }
        let selector = deployment["spec"]["selector"]["matchLabels"].clone();
        for (key, value) in selector.as_object().unwrap() {
            assert_eq!(&labels(&deployment)[key], value);
        }
    }
    for service in everything
        .iter()
        .filter(|document| kind(document) == "Service")
    {
        let selector = service["spec"]["selector"].as_object().unwrap();
        let behind: Vec<Value> = deployments()
            .into_iter()
            .filter(|deployment| namespace(deployment) == namespace(service))
            .filter(|deployment| {
                selector
                    .iter()
                    .all(|(key, value)| &labels(deployment)[key] == value)
            })
            .collect();
        assert_eq!(
            behind.len(),
            1,
            "{} has one Deployment behind it",
            name(service)
        );
        let ports = list(&behind[0], "/spec/template/spec/containers/0/ports");
        let annotations = &service["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/scrape"], "true");
        assert_eq!(annotations["prometheus.io/path"], "/metrics");
        let scraped: u64 = text(annotations, "/prometheus.io~1port").parse().unwrap();
        assert!(
            ports.iter().any(|port| port["containerPort"] == scraped),
            "{}",
            name(service)
        );
        for port in list(service, "/spec/ports") {
            assert!(
                ports
                    .iter()
                    .any(|known| known["name"] == port["targetPort"]),
                "{port}"
            );
        }
    }
}

/// Somebody on call reads no Secret, and whoever looks changes nothing.
#[test]
fn roles_give_no_secrets_and_no_commands() {
    let everything = all();
    for place in [OWN, EXECUTORS] {
        for role in ["dynamic-mcp-viewer", "dynamic-mcp-operator"] {
            let role = object(&everything, "Role", place, role);
            for rule in list(&role, "/rules") {
                let rule_text = rule.to_string();
                for forbidden in [
                    "secrets",
                    "pods/exec",
                    "pods/attach",
                    "*",
                    "create",
                    "serviceaccounts",
                    "roles",
                ] {
                    assert!(
                        !rule_text.contains(forbidden),
                        "{}: {rule_text}",
                        name(&role)
                    );
                }
                if name(&role) == "dynamic-mcp-viewer" {
                    assert_eq!(rule["verbs"], json!(["get", "list", "watch"]));
                }
            }
        }
    }
    assert!(
        everything
            .iter()
            .all(|document| !kind(document).starts_with("ClusterRole"))
    );
}

#[test]
fn secrets_are_renewed_every_90_days() {
    let store = file("dynamic-mcp-external-secrets.yaml");
    let main = file("dynamic-mcp-postgres.yaml");
    for secret in main.iter().filter(|document| kind(document) == "Secret") {
        let external = object(&store, "ExternalSecret", namespace(secret), name(secret));
        let interval = text(&external, "/spec/refreshInterval");
        // Made there every 90 days; or made elsewhere, and looked at every hour.
        let generated = name(secret) == "dynamic-mcp-secrets" || name(secret).ends_with("-tls");
        assert_eq!(
            interval,
            if generated { "2160h" } else { "1h" },
            "{}",
            name(secret)
        );
        let keys = external["spec"].to_string();
        for key in secret["stringData"].as_object().unwrap().keys() {
            assert!(keys.contains(key), "{}: {key}", name(secret));
        }
        for value in secret["stringData"].as_object().unwrap().values() {
            assert_eq!(value, "", "no secret stands in the repository");
        }
    }
}

/// Versions of the chart, of the images in the manifests, and of the programs are one.
#[test]
fn versions_are_those_of_the_workspace() {
    let chart = std::fs::read_to_string(folder().join("../helm/dynamic-mcp/Chart.yaml")).unwrap();
    let chart: Value = serde_yaml_ng::from_str(&chart).unwrap();
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let version = manifest["workspace"]["package"]["version"]
        .as_str()
        .unwrap();
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(version), &json!(version))
    );
    for deployment in deployments() {
        let image = text(container(&deployment), "/image");
        assert!(image.ends_with(&format!(":{version}")), "{image}");
        let part = image.rsplit('/').next().unwrap().split(':').next().unwrap();
        assert!(
            [
                "dynamic-mcp-gateway",
                "dynamic-mcp-registry",
                "dynamic-mcp-executor"
            ]
            .contains(&part)
        );
    }
}
