//! API keys as a way in, and those that stand in a file.

use super::*;

#[test]
fn an_address_that_others_reach_may_be_guarded_by_api_keys() {
    for (mode, admission) in [
        ("apikey", Admission::Keys),
        ("jwt+apikey", Admission::TokensAndKeys),
    ] {
        let tokens = "--auth-jwks-url https://i.example/k --auth-issuer i --auth-audience a";
        let tokens = if mode == "apikey" { "" } else { tokens };
        let open = format!("--host 0.0.0.0 --auth-mode {mode} {tokens}");
        let loaded = start(&open, &[]).standalone();
        assert_eq!(loaded.config.public.admission, admission);
        let loaded = start(&open, GATEWAY).load::<GatewayConfig>().unwrap();
        assert_eq!(loaded.config.public.admission, admission);
    }
    let text = start("--auth-mode jwt+apikey", &[]).refused::<StandaloneConfig>();
    assert!(text.contains("MCP_AUTH_ISSUER"), "{text}");
}

#[test]
fn api_keys_of_a_file_are_checked_one_by_one() {
    const HASH: &str = "ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01ab01";
    let entry =
        |more: &str| format!("[[security.apiKeys]]\nname = \"ci\"\nsha256 = \"{HASH}\"\n{more}\n");
    let good = entry("prefix = \"0a1b2c3d\"\nrole = \"viewer\"\ntier = \"gold\"")
        + &entry("prefix = \"0a1b2c3e\"\nscopes = [\"team:blue\"]\ntenant = \"acme\"");
    let loaded = start("--config keys.toml --auth-mode apikey", &[])
        .file("keys.toml", &good)
        .standalone();
    let keys = &loaded.config.public.file_keys;
    let [one, two] = keys.as_slice() else {
        panic!("two keys: {keys:?}");
    };
    assert!(one.record.scopes.contains("mcp:tools:read"), "its role's");
    assert_eq!(one.record.tier.as_deref(), Some("gold"));
    assert_eq!(two.record.tenant.as_str(), "acme");
    let shown = loaded.printed + &loaded.view.to_string();
    assert!(shown.contains("ci (0a1b2c3d)"), "{shown}");
    assert!(!shown.contains("ab01"), "{shown}");

    let prefix = "prefix = \"0a1b2c3d\"\n";
    for (file, why) in [
        (entry("role = \"viewer\""), "missing field `prefix`"),
        (
            entry("prefix = \"x\"\nrole = \"viewer\""),
            "is no prefix of a key",
        ),
        (
            entry(&format!("{prefix}role = \"boss\"")),
            "there is no role",
        ),
        (entry(prefix), "would open nothing"),
        (
            entry(&format!("{prefix}scopes = [\"dynamic-mcp:internal\"]")),
            "only services have",
        ),
        (
            entry(&format!("{prefix}secret = \"canary\"")),
            "unknown field `secret`",
        ),
        (
            entry(&format!("{prefix}scopes = \"canary\"")),
            "of another type",
        ),
        (
            good.replace("0a1b2c3e", "0a1b2c3d"),
            "another key has the prefix",
        ),
        (good.replace(HASH, "ab01"), "is no SHA-256"),
        (
            "[security]\napiKeys = [\"dmcp_canary\"]\n".to_owned(),
            "is no list of tables",
        ),
    ] {
        let text = start("--config keys.toml --auth-mode apikey", &[])
            .file("keys.toml", &file)
            .refused::<StandaloneConfig>();
        assert!(text.contains(why), "{why}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
