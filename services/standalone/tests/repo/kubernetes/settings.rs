//! Every setting of the manifests through the real programs: `--check-config` in the environment and with
//! the files that the pod would have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{all, deployments, documents, folder, list, name, namespace, object, text};
use crate::root;

/// Address of the pod, as the cluster would say.
const POD_IP: &str = "10.1.2.3";

fn program(called: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_dynamic-mcp")).with_file_name(called);
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace --bins",
        path.display()
    );
    path
}

/// The Secrets that operators make with the script.
fn secrets(place: &Path) -> Vec<Value> {
    let url = place.join("url");
    std::fs::write(
        &url,
        "postgres://dynamic_mcp:s3cret@postgres.default.svc:5432/dynamic_mcp?sslmode=verify-full\n",
    )
    .unwrap();
    let made = Command::new(folder().join("make-secrets"))
        .arg("--postgres-url-file")
        .arg(&url)
        .arg("--folder")
        .arg(place.join("certs"))
        .arg("--program")
        .arg(program("dynamic-mcp"))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    documents(&String::from_utf8(made.stdout).unwrap())
}

/// What the container of a pod finds: its variables, and its files below a folder of this test.
struct Container {
    program: &'static str,
    environment: BTreeMap<String, String>,
}

/// Makes the files of its volumes below `place`, and settings that name them.
fn container(deployment: &Value, secrets: &[Value], place: &Path) -> Container {
    let everything = all();
    let home = namespace(deployment);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut mounts = BTreeMap::new();
    for mount in list(container, "/volumeMounts") {
        let volume = list(pod, "/volumes")
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("no volume {mount}"));
        let path = text(mount, "/mountPath");
        let there = place.join(path.trim_start_matches('/'));
        if volume.get("hostPath").is_some() {
            continue;
        }
        std::fs::create_dir_all(&there).unwrap();
        let secret = text(volume, "/secret/secretName");
        if !secret.is_empty() {
            let secret = object(secrets, "Secret", home, secret);
            for (key, value) in secret["data"].as_object().unwrap() {
                let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
                testkit::certificates::write(
                    &there.join(key),
                    std::str::from_utf8(&bytes).unwrap(),
                );
            }
        }
        mounts.insert(path.to_owned(), there);
    }
    let mut environment = BTreeMap::new();
    for source in list(container, "/envFrom") {
        let config = object(
            &everything,
            "ConfigMap",
            home,
            text(source, "/configMapRef/name"),
        );
        for (key, value) in config["data"].as_object().unwrap() {
            environment.insert(key.clone(), value.as_str().unwrap().to_owned());
        }
    }
    for variable in list(container, "/env") {
        let value = match text(variable, "/valueFrom/fieldRef/fieldPath") {
            "" => text(variable, "/value").replace("$(POD_IP)", POD_IP),
            "status.podIP" => POD_IP.to_owned(),
            other => panic!("{other}"),
        };
        environment.insert(text(variable, "/name").to_owned(), value);
    }
    for value in environment.values_mut() {
        if let Some((mount, there)) = mounts
            .iter()
            .find(|(mount, _)| value.starts_with(mount.as_str()))
        {
            *value = value.replacen(mount.as_str(), &there.display().to_string(), 1);
        }
    }
    let image = text(container, "/image");
    let program = ["gateway", "registry", "executor"]
        .into_iter()
        .find(|program| image.contains(&format!("/dynamic-mcp-{program}:")))
        .unwrap_or_else(|| panic!("{image}"));
    Container {
        program,
        environment,
    }
}

fn check(container: &Container, place: &Path) -> Output {
    Command::new(program(container.program))
        .arg("--check-config")
        .env_clear()
        .envs(&container.environment)
        // Tests may run beside a daemon of Docker, which pods of gateways do not.
        .envs(
            (container.program == "gateway").then_some(("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true")),
        )
        .current_dir(place)
        .output()
        .unwrap()
}

/// Everything that a program says of the configuration of these pods, by Deployment.
fn said(change: impl Fn(&mut Container)) -> BTreeMap<String, (bool, String)> {
    let place = tempfile::tempdir().unwrap();
    let secrets = secrets(place.path());
    deployments()
        .iter()
        .map(|deployment| {
            let place = place.path().join(name(deployment));
            let mut container = container(deployment, &secrets, &place);
            change(&mut container);
            let output = check(&container, &place);
            let text =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            (
                name(deployment).to_owned(),
                (output.status.success(), text.into_owned()),
            )
        })
        .collect()
}

#[test]
fn every_pod_would_start_with_its_settings_and_secrets() {
    for (name, (success, text)) in said(|_| {}) {
        assert!(success, "{name}: {text}");
        assert_eq!(
            text.lines().count(),
            1,
            "{name}: nothing to warn of: {text}"
        );
        assert!(
            text.contains("the configuration is valid"),
            "{name}: {text}"
        );
    }
}

/// A wrong name, value or file is seen: the test above can fail.
#[test]
fn a_wrong_setting_of_a_pod_is_seen() {
    let wrong = said(|container| {
        container
            .environment
            .insert("MCP_SHUTDOWN_GRACE".to_owned(), "1".to_owned());
    });
    assert!(
        wrong
            .values()
            .all(|(_, text)| text.contains("MCP_SHUTDOWN_GRACE is unknown")),
        "{wrong:?}"
    );
    let wrong = said(|container| {
        container
            .environment
            .insert("MCP_SHUTDOWN_GRACE_MS".to_owned(), "long".to_owned());
    });
    assert!(wrong.values().all(|(success, _)| !success), "{wrong:?}");
    let wrong = said(|container| {
        let key = container
            .environment
            .get_mut("MCP_INTERNAL_TLS_KEY")
            .unwrap();
        key.push_str(".old");
    });
    assert!(wrong.values().all(|(success, _)| !success), "{wrong:?}");
}

/// The Secrets of the manifest are empty, and no program starts with them.
#[test]
fn secrets_that_nobody_filled_in_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let empty: Vec<Value> = all()
        .into_iter()
        .filter(|document| super::kind(document) == "Secret")
        .map(|mut secret| {
            secret["data"] = secret["stringData"].take();
            secret
        })
        .collect();
    for deployment in deployments() {
        let place = place.path().join(name(&deployment));
        let output = check(&container(&deployment, &empty, &place), &place);
        assert_eq!(output.status.code(), Some(78), "{}", name(&deployment));
    }
}

/// Names that no program warns of (those without `MCP_`) are known too: the generated page has all.
#[test]
fn every_name_is_in_the_reference() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    for document in all()
        .iter()
        .filter(|document| super::kind(document) == "ConfigMap")
    {
        for key in document["data"].as_object().unwrap().keys() {
            let known = page.contains(&format!("`{key}`"));
            let of_file = key
                .strip_suffix("_FILE")
                .is_some_and(|base| page.contains(&format!("`{base}`")));
            assert!(known || of_file, "{}: {key}", name(document));
        }
    }
}

/// A tool that the registry lets in has a pool that can run it.
#[test]
fn every_image_has_a_pool() {
    let everything = all();
    let images = |place: &str, config: &str| -> Vec<String> {
        let config = object(&everything, "ConfigMap", place, config);
        let images = text(&config["data"], "/MCP_SANDBOX_ALLOWED_IMAGES").to_owned();
        images.split(',').map(str::to_owned).collect()
    };
    let mut pools: Vec<String> = ["default", "ml"]
        .iter()
        .flat_map(|pool| {
            images(
                super::EXECUTORS,
                &format!("dynamic-mcp-executor-{pool}-config"),
            )
        })
        .collect();
    pools.sort();
    let mut allowed = images(super::OWN, "dynamic-mcp-registry-config");
    assert_eq!(allowed, images(super::OWN, "dynamic-mcp-config"));
    allowed.sort();
    assert_eq!(allowed, pools);
}
