//! The Redis that gateways share, and the tools that the configuration declares.

use std::path::Path;

use url::Url;

use crate::address::is_loopback;
use crate::config::declared::{self, Declared, DeclaredList, Rules};
use crate::config::key::Service;
use crate::config::sections::{CacheConfig, CatalogConfig, PolicyConfig, RedisConfig};
use crate::config::settings::{Settings, Source};

/// Highest number of a Redis database that is worth a try: the server says what it has.
const MAX_DATABASE: u32 = 1_000_000;

pub(crate) fn redis(
    settings: &mut Settings,
    redis: Option<&RedisConfig>,
    cache: Option<&CacheConfig>,
) {
    let (Some(redis), Some(cache)) = (redis, cache) else {
        return;
    };
    let Some(url) = &redis.url else {
        if redis.tls_ca.is_some() {
            let fix = "set REDIS_URL to a rediss:// URL, or unset REDIS_TLS_CA";
            settings.refuse("REDIS_TLS_CA", "is set, but REDIS_URL is not", fix);
        }
        return;
    };
    let url = Url::parse(url.expose()).ok().filter(is_usable);
    let Some(url) = url else {
        settings.refuse(
            "REDIS_URL",
            "is not the URL of a Redis: redis:// or rediss://, a host, and at most the number of a \
             database",
            "set it to redis://user:password@host:6379/0, or with rediss:// for TLS",
        );
        return;
    };
    let encrypted = url.scheme() == "rediss";
    if !encrypted && redis.tls_ca.is_some() {
        let fix = "write REDIS_URL with rediss://, or unset REDIS_TLS_CA";
        settings.refuse("REDIS_TLS_CA", "is for rediss:// only", fix);
    }
    let host = url.host_str().unwrap_or_default();
    if !encrypted && !is_loopback(host.trim_matches(['[', ']'])) {
        settings.warnings.push(String::from(
            "REDIS_URL: with redis:// the password and the results of tools may cross the network in \
             the clear; rediss:// encrypts them and checks the server's certificate",
        ));
    }
    if !cache.enabled {
        settings.warnings.push(String::from(
            "REDIS_URL is not used: it keeps the response cache, and MCP_CACHE_ENABLED is false",
        ));
    }
}

/// A fragment could ask not to check the certificate, and a query for other things that nobody has
/// thought about here.
fn is_usable(url: &Url) -> bool {
    let number = url.path().trim_start_matches('/');
    let database = number.is_empty() || number.parse::<u32>().is_ok_and(|at| at <= MAX_DATABASE);
    matches!(url.scheme(), "redis" | "rediss")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.query().is_none()
        && url.fragment().is_none()
        && database
}

/// The declared tools, each checked with its handler.
pub(crate) fn declared(
    settings: &mut Settings,
    service: Service,
    directory: &Path,
    list: &DeclaredList,
    (catalog, policy): (&CatalogConfig, &PolicyConfig),
) -> Option<Declared> {
    let line = |name: &str| settings.effective.iter().find(|line| line.key.name == name);
    let written = line(declared::KEY).map(|line| line.source.clone());
    let config = line("CONFIG_PATH").and_then(|line| line.value.as_str());
    // Where nothing is declared now, the file is where it may be declared later.
    let source = match (written, config) {
        (Some(Source::File(_) | Source::Default), Some(config)) => {
            declared::Source::File(directory.join(config))
        }
        _ => declared::Source::Fixed(list.clone(), directory.to_owned()),
    };
    let rules = Rules {
        policy: policy.rules(),
        max_tools: catalog.max_tools,
    };
    match Declared::new(list, source, service, rules) {
        Ok(declared) => Some(declared),
        Err(problems) => {
            settings.problems.extend(problems);
            None
        }
    }
}
