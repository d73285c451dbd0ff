//! One row of the configuration table.

use std::fmt;

use crate::units::DurationUnit;

/// A program of this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `dynamic-mcp`: everything in one process.
    Standalone,
    /// `gateway`: the MCP endpoint.
    Gateway,
    /// `registry`: tools and their revisions.
    Registry,
    /// `executor`: runs calls in sandboxes.
    Executor,
}

impl Service {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self::Standalone,
        Self::Gateway,
        Self::Registry,
        Self::Executor,
    ];

    /// Name of the binary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "dynamic-mcp",
            Self::Gateway => "gateway",
            Self::Registry => "registry",
            Self::Executor => "executor",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Standalone => 1,
            Self::Gateway => 2,
            Self::Registry => 4,
            Self::Executor => 8,
        }
    }
}

/// The programs that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services(u8);

impl Services {
    /// Every program.
    pub const ALL: Self = Self(15);
    /// `dynamic-mcp` only.
    pub const STANDALONE: Self = Self(1);
    /// `dynamic-mcp` and the gateway.
    pub const PUBLIC: Self = Self(1 | 2);
    /// `dynamic-mcp` and the registry.
    pub const CATALOG: Self = Self(1 | 4);
    /// `dynamic-mcp` and the executor.
    pub const SANDBOX: Self = Self(1 | 8);
    /// The gateway only.
    pub const GATEWAY: Self = Self(2);
    /// The registry only.
    pub const REGISTRY: Self = Self(4);
    /// The executor only.
    pub const EXECUTOR: Self = Self(8);
    /// The gateway and the executor.
    pub const CALLERS: Self = Self(2 | 8);
    /// The registry and the executor.
    pub const INNER: Self = Self(4 | 8);
    /// The three services, not `dynamic-mcp`.
    pub const SPLIT: Self = Self(2 | 4 | 8);

    /// Whether `service` is one of them.
    #[must_use]
    pub fn contains(self, service: Service) -> bool {
        self.0 & service.bit() != 0
    }
}

impl fmt::Display for Services {
    /// `all`, or the names with commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let mut first = true;
        for service in Service::ALL
            .into_iter()
            .filter(|service| self.contains(*service))
        {
            if !first {
                f.write_str(", ")?;
            }
            f.write_str(service.name())?;
            first = false;
        }
        Ok(())
    }
}

/// What a value may be. Bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false` (also 1, yes, on, 0, no, off).
    Bool,
    /// A whole number.
    Integer(u64, u64),
    /// A number with a fraction.
    Decimal(f64, f64),
    /// Bytes, with an optional k, m or g.
    Size(u64, u64),
    /// A duration, in the unit when written without one; the bounds count in it too.
    Duration(DurationUnit, u64, u64),
    /// One of these.
    Choice(&'static [&'static str]),
    /// Texts separated by commas.
    List,
    /// A path of a file or directory.
    Path,
    /// `host:port` or `unix:/path`.
    Listen,
    /// `https://host:port`, the same with http, or `unix:/path`: one service.
    Url,
    /// Such URLs separated by commas, also `dns+https://name:port`, where each address is a service.
    Urls,
    /// PEM text.
    Pem,
    /// So many in a window: `300/1m`.
    Rate,
    /// Rates, all but one with a name: `300/1m,free=60/1m`.
    Rates,
    /// Hashes of API keys.
    Keys,
    /// Seconds by name: `weather=60,news=5m`.
    Ttls,
    /// Declared tools.
    Tools,
}

impl Kind {
    /// Whether nothing at all is a value too: an empty list.
    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Kind::List | Kind::Urls)
    }
}

/// One configuration key: the single source of its names, bounds, default and documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Environment variable; its kebab forms (`--port`, `--mcp-port`) are always flags.
    pub name: &'static str,
    /// Other environment variables that mean the same.
    pub aliases: &'static [&'static str],
    /// A flag of another name.
    pub flag: Option<&'static str>,
    /// `section.key` in a configuration file.
    pub file: &'static str,
    /// Programs that read it.
    pub services: Services,
    /// Type, unit and range.
    pub kind: Kind,
    /// Default as it would be written; empty when there is none.
    pub default: &'static str,
    /// Said instead of the default when that depends on something.
    pub default_note: &'static str,
    /// Never shown.
    pub secret: bool,
    /// `<NAME>_FILE` names a file that holds the value.
    pub from_file: bool,
    /// What it does, one or two sentences.
    pub doc: &'static str,
    /// First version that has it; before `0.5` that was the Node server.
    pub since: &'static str,
}

/// Keys of the Node server.
const NODE: &str = "0.1";
/// Keys that this server adds.
const NEW: &str = "0.5";

impl Key {
    /// A key that the Node server had.
    pub(crate) const fn kept(name: &'static str, file: &'static str) -> Self {
        let mut key = Self::added(name, file);
        key.since = NODE;
        key
    }

    /// A key that is new here.
    pub(crate) const fn added(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            flag: None,
            file,
            services: Services::ALL,
            kind: Kind::Text,
            default: "",
            default_note: "",
            secret: false,
            from_file: false,
            doc: "",
            since: NEW,
        }
    }

    pub(crate) const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    pub(crate) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    pub(crate) const fn default_note(mut self, note: &'static str) -> Self {
        self.default_note = note;
        self
    }

    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self.from_file = true;
        self
    }

    pub(crate) const fn or_file(mut self) -> Self {
        self.from_file = true;
        self
    }

    pub(crate) const fn documented(mut self, services: Services, doc: &'static str) -> Self {
        self.services = services;
        self.doc = doc;
        self
    }

    /// Every flag without dashes, the one to show first: the Node server's own name where it had an
    /// odd one, then `port`, then `mcp-port` for `MCP_PORT`.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = self.flag.into_iter().map(str::to_owned).collect();
        flags.extend(flags_of(self.name));
        flags.dedup();
        flags
    }

    /// The name and its aliases.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The allowed values in words, for errors and the reference.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Text => String::from("text"),
            Kind::Bool => String::from("`true` or `false`"),
            Kind::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Decimal(min, max) => format!("a number from {min} to {max}"),
            Kind::Size(min, max) => format!("bytes from {min} to {max}, also with k, m or g"),
            Kind::Duration(unit, min, max) => format!(
                "{} from {min} to {max}, also with ms, s, m or h",
                match unit {
                    DurationUnit::Milliseconds => "milliseconds",
                    DurationUnit::Seconds => "seconds",
                }
            ),
            Kind::Choice(choices) => {
                let quoted: Vec<String> = choices.iter().map(|c| format!("`{c}`")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Kind::List => String::from("texts separated by commas"),
            Kind::Path => String::from("a path"),
            Kind::Listen => String::from("`host:port`, `[ipv6]:port` or `unix:/absolute/path`"),
            Kind::Url => {
                String::from("`https://host:port` (or with http) or `unix:/absolute/path`")
            }
            Kind::Urls => String::from(
                "separated by commas: `https://host:port`, `dns+https://name:port` for every address of a name (or either with http) or `unix:/absolute/path`",
            ),
            Kind::Pem => String::from("PEM text"),
            Kind::Keys => String::from(
                "a list of tables (in a variable: of JSON objects), each with name, prefix, sha256 and role or scopes, and maybe tenant, subject, tier and expires",
            ),
            Kind::Ttls => {
                String::from("seconds by name as `weather=60,news=5m`, or a table of them by name")
            }
            Kind::Tools => String::from(
                "a list of tables (in a variable: of JSON objects), each with name, description and handler, and what else a tool has",
            ),
            Kind::Rate => String::from("a rate as `300/1m`, or a table of maxRequests and window"),
            Kind::Rates => String::from(
                "rates as `300/1m,name=60/1m`, or a table of maxRequests and window and of such tables by name",
            ),
        }
    }
}

/// `port` and `mcp-port` for `MCP_PORT`; one for a name without the prefix.
pub(crate) fn flags_of(name: &str) -> Vec<String> {
    let long = name.to_ascii_lowercase().replace('_', "-");
    let short = long.strip_prefix("mcp-").map(str::to_owned);
    short.into_iter().chain(std::iter::once(long)).collect()
}
