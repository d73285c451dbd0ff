//! Keys of the contract that a later version brings. None of them is ever silently ignored.

use super::key::Services;

/// What setting such a key does in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Refuses to start (whoever sets it counts on it), but for this value, which asks for what is so anyway.
    RefusedUnless(&'static str),
    /// Warns: it only tunes a part that this version does not have.
    Unused,
}

/// A key that this version knows by name only.
#[derive(Debug)]
pub(crate) struct Later {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) services: Services,
    pub(crate) effect: Effect,
    /// The part that the key belongs to.
    pub(crate) part: &'static str,
}

impl Later {
    pub(crate) fn variables(&self) -> impl Iterator<Item = String> {
        let file = format!("{}_FILE", self.name);
        let names = std::iter::once(self.name).chain(self.aliases.iter().copied());
        names.map(str::to_owned).chain(std::iter::once(file))
    }
}

const fn unless(
    name: &'static str,
    value: &'static str,
    services: Services,
    part: &'static str,
) -> Later {
    Later {
        name,
        aliases: &[],
        services,
        effect: Effect::RefusedUnless(value),
        part,
    }
}

const fn unused(name: &'static str, services: Services, part: &'static str) -> Later {
    Later {
        name,
        aliases: &[],
        services,
        effect: Effect::Unused,
        part,
    }
}

const FEDERATION: &str = "upstream federation";

pub(crate) const LATER: &[Later] = &[
    unless(
        "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH",
        "false",
        Services::PUBLIC,
        FEDERATION,
    ),
    unused(
        "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX",
        Services::PUBLIC,
        FEDERATION,
    ),
];

/// Sections of a configuration file that a later version brings, with the part that reads them.
pub(crate) const LATER_SECTIONS: &[(&str, &str)] = &[];
