//! The keys of the HTTP server: addresses, connections, TLS.

use super::*;
use crate::config::StandaloneConfig;

fn nets(list: &[ipnet::IpNet]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn networks_are_read_in_every_form() {
    let loaded = start(
        "",
        &[
            (
                "MCP_HTTP_ALLOWED_IPS",
                "192.0.2.7, 10.0.0.0/8,2001:db8::/32,::1",
            ),
            (
                "MCP_HTTP_TRUSTED_PROXIES",
                "::ffff:10.1.0.0/112,::ffff:10.2.0.1",
            ),
        ],
    );
    let http = loaded
        .load::<StandaloneConfig>()
        .unwrap()
        .config
        .public
        .http;
    assert_eq!(
        nets(&http.allowed_ips),
        ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32", "::1/128"]
    );
    assert_eq!(nets(&http.trusted_proxies), ["10.1.0.0/16", "10.2.0.1/32"]);
}

#[test]
fn an_allow_list_may_stand_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(
        &path,
        "[security]\nipAllowlist = [\"10.0.0.0/8\", \"::1\"]\n",
    )
    .unwrap();
    let config = format!("--config {}", path.display());
    let http = start(&config, &[])
        .load::<StandaloneConfig>()
        .unwrap()
        .config
        .public
        .http;
    assert_eq!(nets(&http.allowed_ips), ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn networks_that_are_none_or_trust_everybody_are_refused() {
    for (name, value, why) in [
        (
            "MCP_HTTP_ALLOWED_IPS",
            "10.0.0.1/8",
            "did you mean 10.0.0.0/8?",
        ),
        (
            "MCP_HTTP_ALLOWED_IPS",
            "10.0.0.0/33",
            "`10.0.0.0/33` is no address and no network",
        ),
        (
            "MCP_HTTP_ALLOWED_IPS",
            "localhost",
            "`localhost` is no address",
        ),
        ("MCP_HTTP_ALLOWED_IPS", "127.1", "`127.1` is no address"),
        (
            "MCP_HTTP_TRUSTED_PROXIES",
            "0.0.0.0/0",
            "trusts every address",
        ),
        (
            "MCP_HTTP_TRUSTED_PROXIES",
            "10.0.0.0/8,::/0",
            "trusts every address",
        ),
    ] {
        let text = start("", &[(name, value)]).refused::<StandaloneConfig>();
        assert!(text.contains(name) && text.contains(why), "{text}");
    }
}

#[test]
fn tls_needs_both_files_and_says_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing.pem").display().to_string();
    for (given, missing) in [
        ("MCP_HTTP_TLS_CERT", "MCP_HTTP_TLS_KEY"),
        ("MCP_HTTP_TLS_KEY", "MCP_HTTP_TLS_CERT"),
    ] {
        let text = start("", &[(given, &path)]).refused::<StandaloneConfig>();
        assert!(text.contains(&format!("needs {missing}")), "{text}");
    }
    let both = [
        ("MCP_HTTP_TLS_CERT", path.as_str()),
        ("MCP_HTTP_TLS_KEY", path.as_str()),
    ];
    let text = start("", &both).refused::<StandaloneConfig>();
    assert!(text.contains("cannot be read"), "{text}");
}
