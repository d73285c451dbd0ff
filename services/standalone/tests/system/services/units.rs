//! The units of `deploy/systemd`: how open each is by systemd's own measure, that their settings are ones
//! that the programs take, and what must not be in them (threats 106 and 109).

use std::path::Path;
use std::process::Command;

use super::site::shipped;
use crate::deployment::binary;

struct Unit {
    file: &'static str,
    /// As an instance of a template is called.
    name: &'static str,
    program: &'static str,
    settings: &'static str,
    /// Most that `systemd-analyze security` may say.
    exposure: f64,
    /// Whether the Docker engine may be put to it.
    docker: bool,
}

const UNITS: [Unit; 4] = [
    Unit {
        file: "dynamic-mcp-gateway@.service",
        name: "dynamic-mcp-gateway@8788.service",
        program: "gateway",
        settings: "gateway.env",
        exposure: 2.0,
        docker: false,
    },
    Unit {
        file: "dynamic-mcp-registry.service",
        name: "dynamic-mcp-registry.service",
        program: "registry",
        settings: "registry.env",
        exposure: 2.0,
        docker: false,
    },
    Unit {
        file: "dynamic-mcp-executor.service",
        name: "dynamic-mcp-executor.service",
        program: "executor",
        settings: "executor.env",
        exposure: 4.0,
        docker: true,
    },
    Unit {
        file: "dynamic-mcp.service",
        name: "dynamic-mcp.service",
        program: "dynamic-mcp",
        settings: "standalone.env",
        exposure: 4.0,
        docker: true,
    },
];

fn place(name: &str) -> String {
    shipped(&format!("deploy/systemd/{name}"))
}

/// The figure of `systemd-analyze security` for a unit in this folder.
fn exposure(folder: &Path, unit: &Unit) -> f64 {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(folder.join(unit.name))
        .output()
        .expect("systemd-analyze: `bash .ci/nginx` installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let figure = line.and_then(|line| line.rsplit(": ").next()?.split(' ').next()?.parse().ok());
    figure.unwrap_or_else(|| {
        panic!(
            "{}: {text}{}",
            unit.name,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[test]
fn threat_109_the_units_are_as_closed_as_they_say() {
    for unit in &UNITS {
        for docker in [false, true] {
            if docker && !unit.docker {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let text = place(unit.file);
            std::fs::write(folder.path().join(unit.name), &text).unwrap();
            if docker {
                let more = folder.path().join(format!("{}.d", unit.name));
                std::fs::create_dir(&more).unwrap();
                std::fs::write(more.join("docker.conf"), place("docker.conf")).unwrap();
            }
            let figure = exposure(folder.path(), unit);
            assert!(figure <= unit.exposure, "{} {docker}: {figure}", unit.name);
            if !docker {
                let said = format!("gives it {figure:.1} ");
                assert!(
                    text.contains(&said),
                    "{} says another figure than {figure}",
                    unit.file
                );
            }
        }
    }
}

/// Threat 106: nothing but the executor comes near Docker, and nobody holds what is another's.
#[test]
fn threat_106_units_hold_only_what_is_theirs() {
    for unit in &UNITS {
        let text = place(unit.file);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for line in &lines {
            let docker = line.contains("docker") && !line.starts_with("InaccessiblePaths=");
            assert!(!docker, "{}: {line}", unit.file);
            assert!(!line.starts_with("User=root"), "{}: {line}", unit.file);
        }
        for needed in [
            "DynamicUser=yes",
            "NoNewPrivileges=yes",
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "MemoryDenyWriteExecute=yes",
            "SystemCallArchitectures=native",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Type=notify",
        ] {
            assert!(lines.contains(&needed), "{}: no {needed}", unit.file);
        }
        if !unit.docker {
            let away = lines.iter().any(|line| {
                line.starts_with("InaccessiblePaths=") && line.contains("/run/docker.sock")
            });
            assert!(away, "{} could reach a Docker socket", unit.file);
        }
        let credentials: Vec<&&str> = lines
            .iter()
            .filter(|line| line.starts_with("LoadCredential="))
            .collect();
        for credential in credentials {
            let gateways = credential.contains("/secrets/gateway/");
            let whose = unit.program == "gateway" || unit.program == "dynamic-mcp";
            assert_eq!(gateways, whose, "{}: {credential}", unit.file);
        }
    }
}

/// Every setting is one that the program takes, as it is started: with its credentials, in its folder.
#[test]
fn the_settings_of_units_are_ones_that_the_programs_take() {
    let secrets = tempfile::tempdir().unwrap();
    let made = Command::new(binary("dynamic-mcp"))
        .args(["certs", "deployment", "--out"])
        .arg(secrets.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for unit in &UNITS {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display().to_string();
        let mut command = Command::new(binary(unit.program));
        command
            .arg("--check-config")
            .current_dir(folder.path())
            .env_clear();
        let instance = unit
            .name
            .split('@')
            .nth(1)
            .unwrap_or_default()
            .replace(".service", "");
        for line in place(unit.file).lines() {
            if let Some(credential) = line.strip_prefix("LoadCredential=") {
                let (name, path) = credential.split_once(':').unwrap();
                let path = path.strip_prefix("/etc/dynamic-mcp/secrets/").unwrap();
                std::fs::copy(secrets.path().join(path), folder.path().join(name)).unwrap();
            }
            if let Some(setting) = line.strip_prefix("Environment=") {
                let (name, value) = setting.split_once('=').unwrap();
                let value = value
                    .replace("%d", &here)
                    .replace("%S", &here)
                    .replace("%i", &instance);
                command.env(name, value);
            }
        }
        for line in place(unit.settings).lines() {
            if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                command.env(name, value);
            }
        }
        // The machine of a test may have a daemon, which the unit hides.
        if unit.program == "gateway" {
            command.env("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true");
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", unit.name);
        assert!(!said.contains("warning"), "{}: {said}", unit.name);
    }
}
