//! What a person meets: precedence, every kind of mistake, and the texts.

mod caching;
mod data;
mod front;
mod internal;
mod keys;
mod limits;
mod mistakes;
mod observed;
mod precedence;
mod texts;

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::environment::Environment;

pub(super) const KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

/// A start in an empty directory of its own.
pub(super) struct Start {
    pub(super) directory: TempDir,
    pub(super) environment: Environment,
}

pub(super) fn start(arguments: &str, variables: &[(&str, &str)]) -> Start {
    let directory = tempfile::tempdir().unwrap();
    let environment = Environment {
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        variables: variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        directory: directory.path().to_owned(),
        ..Environment::default()
    };
    Start {
        directory,
        environment,
    }
}

impl Start {
    pub(super) fn file(self, name: &str, content: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn load<C: ServiceConfig>(&self) -> Result<Loaded<C>, ConfigError> {
        load(&self.environment)
    }

    pub(super) fn standalone(&self) -> Loaded<StandaloneConfig> {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The problems, with the directory's name taken out.
    pub(super) fn refused<C: ServiceConfig>(&self) -> String {
        let error = match self.load::<C>() {
            Ok(_) => panic!("it must be refused"),
            Err(error) => error.to_string(),
        };
        error.replace(&*self.path().to_string_lossy(), "DIR")
    }
}

/// What a gateway needs at least.
pub(super) const GATEWAY: &[(&str, &str)] = &[("MCP_INTERNAL_SIGNING_KEY", KEY_PEM)];
/// What a registry or an executor needs at least.
pub(super) const INNER: &[(&str, &str)] = &[(
    "MCP_INTERNAL_VERIFY_KEYS",
    "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n",
)];

#[test]
fn every_program_loads_with_what_it_needs_at_least() {
    start("", &[]).standalone();
    start("", GATEWAY).load::<GatewayConfig>().unwrap();
    start("", INNER).load::<RegistryConfig>().unwrap();
    start("", INNER).load::<ExecutorConfig>().unwrap();
}

#[test]
fn every_key_of_a_program_is_read_by_it_once_and_no_other() {
    fn read<C: ServiceConfig>(variables: &[(&str, &str)]) -> Vec<String> {
        let printed = start("", variables).load::<C>().unwrap().printed;
        let mut names: Vec<String> = keys()
            .filter(|key| {
                let tagged = |end: &str| printed.matches(&format!("# {}{end}", key.name)).count();
                let count = tagged(":");
                assert!(count <= 1, "{} twice", key.name);
                count == 1
            })
            .map(|key| key.name.to_owned())
            .collect();
        names.sort();
        names
    }
    fn expected(service: Service) -> Vec<String> {
        let mine = keys().filter(|key| key.services.contains(service));
        let mut names: Vec<String> = mine.map(|key| key.name.to_owned()).collect();
        names.sort();
        names
    }
    assert_eq!(read::<StandaloneConfig>(&[]), expected(Service::Standalone));
    assert_eq!(read::<GatewayConfig>(GATEWAY), expected(Service::Gateway));
    assert_eq!(read::<RegistryConfig>(INNER), expected(Service::Registry));
    assert_eq!(read::<ExecutorConfig>(INNER), expected(Service::Executor));
}

#[test]
fn the_table_is_consistent() {
    let mut flags = std::collections::HashSet::new();
    let mut variables = std::collections::HashSet::new();
    let mut files = std::collections::HashSet::new();
    for key in keys() {
        for flag in key.flags() {
            assert!(flags.insert(flag.clone()), "--{flag} twice");
        }
        for name in key.variables() {
            assert!(variables.insert(name), "{name} twice");
        }
        if !key.file.is_empty() {
            assert!(files.insert(key.file), "{} twice", key.file);
        }
        assert!(key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
        assert!(!key.secret || key.default.is_empty(), "{}", key.name);
        assert!(!key.secret || key.from_file, "{}", key.name);
    }
    for later in super::later::LATER {
        assert!(variables.insert(later.name), "{} twice", later.name);
    }
}

#[test]
fn transport_follows_stdio_when_it_is_auto() {
    let mut piped = start("", &[]);
    piped.environment.stdio_is_piped = true;
    let config = piped.standalone().config;
    assert!(config.transport.stdio);
    assert_eq!(
        config.transport.why,
        "stdin and stdout are both pipes or sockets"
    );
    assert_eq!(config.listeners(), []);
    assert!(!start("", &[]).standalone().config.transport.stdio);
    assert!(
        start("--transport stdio", &[])
            .standalone()
            .config
            .transport
            .stdio
    );
    piped.environment.arguments = vec!["--transport=http".to_owned()];
    assert!(!piped.standalone().config.transport.stdio);
}

#[test]
fn listeners_are_what_the_keys_say() {
    let names = |listeners: Vec<(&'static str, crate::ListenAddress)>| -> Vec<String> {
        listeners
            .iter()
            .map(|(name, address)| format!("{name} {address}"))
            .collect()
    };
    let standalone = start("--port 1 --metrics-port 2", &[]).standalone().config;
    assert_eq!(
        names(standalone.listeners()),
        ["http 127.0.0.1:1", "admin 127.0.0.1:2"]
    );
    let registry = start("", INNER).load::<RegistryConfig>().unwrap().config;
    assert_eq!(
        names(registry.listeners()),
        ["grpc 127.0.0.1:50051", "admin 127.0.0.1:9464"]
    );
    let executor = start("--executor-listen unix:/run/e.sock", INNER);
    let executor = executor.load::<ExecutorConfig>().unwrap().config;
    assert_eq!(
        names(executor.listeners()),
        ["grpc unix:/run/e.sock", "admin 127.0.0.1:9465"]
    );
    assert_eq!(executor.readiness().unwrap().to_string(), "127.0.0.1:9465");
}
