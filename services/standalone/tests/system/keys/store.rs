//! One process and its store, which the command opens beside it.

use super::*;
use crate::deployment::{Deployment, Kind};

const ENV: &[(&str, &str)] = &[
    ("MCP_AUTH_MODE", "apikey"),
    UNLIMITED,
    ("MCP_AUDIT_ENABLED", "true"),
    ("MCP_AUTH_ROLES", "blue=mcp:invoke team:blue"),
];

async fn life(kind: Kind) {
    let deployment = Deployment::start(kind, ENV).await;
    let (folder, address) = (deployment.folder(), deployment.address.as_str());
    let nobody = Client::new(address, Era::Modern);
    let refused = ask(&nobody).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers.get("www-authenticate").unwrap(), "Bearer");

    let key = keys(folder, "create --name ci --role developer --tier gold", ENV)
        .await
        .key();
    let client = with(address, &key);
    until(&client, 200, EVERYWHERE).await;
    let bearer = Client {
        headers: vec![("authorization".to_owned(), format!("Bearer {key}"))],
        ..client.clone()
    };
    crate::faults::make(&bearer, "made.by.key", "return 'ran'").await;
    assert_eq!(client.ok("made.by.key", json!({})).await["result"], "ran");

    // The right prefix with another secret, and both headers at once.
    let other = keys(folder, "create --name other --role viewer", ENV)
        .await
        .key();
    let mixed = format!("{}{}", &key[..14], &other[14..]);
    assert_eq!(ask(&with(address, &mixed)).await.status, 401);
    let mut both = client.clone();
    both.headers.extend(bearer.headers.clone());
    assert_eq!(ask(&both).await.status, 400);

    // A viewer sees and does not run.
    let viewer = with(address, &other);
    until(&viewer, 200, EVERYWHERE).await;
    let call = json!({"name": "made.by.key", "arguments": {}});
    let lacks = viewer.send("tools/call", call).await;
    assert_eq!(lacks.status, 403, "{}", lacks.text());
    let challenge = lacks.headers.get("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"mcp:invoke\""), "{challenge}");

    // The tenant of the key is the tenant of its holder, and the command's list is the tenant's.
    let words = "create --name theirs --role developer --tenant acme";
    let theirs = with(address, &keys(folder, words, ENV).await.key());
    until(&theirs, 200, EVERYWHERE).await;
    assert!(!theirs.names().await.contains(&"made.by.key".to_owned()));
    let list = keys(folder, "list --tenant acme --json", ENV).await.json();
    assert_eq!(list["keys"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["keys"][0]["name"], "theirs");

    // When it was last used comes with a delay, and what it is with it.
    let end = Instant::now() + Duration::from_secs(15);
    let known = loop {
        let list = keys(folder, "list --json", ENV).await.json();
        let listed = list["keys"].as_array().unwrap();
        let known = listed.iter().find(|known| known["prefix"] == prefix(&key));
        let known = known.unwrap().clone();
        if known["lastUsedAt"].is_string() {
            break known;
        }
        assert!(Instant::now() < end, "{known}");
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(known["subject"], format!("key:{}", prefix(&key)));
    assert_eq!(
        (&known["role"], &known["tier"]),
        (&json!("developer"), &json!("gold"))
    );
    assert_eq!(known["state"], "active");
    let table = keys(folder, "list", ENV).await.ok().out;
    assert!(
        table.contains(prefix(&key)) && !table.contains(&key[14..]),
        "{table}"
    );

    // Rotated: both work, the old one until its overlap ends.
    let words = format!("rotate {} --overlap 3s", prefix(&key));
    let new = keys(folder, &words, ENV).await.key();
    let next = with(address, &new);
    until(&next, 200, EVERYWHERE).await;
    assert_eq!(next.ok("made.by.key", json!({})).await["result"], "ran");
    until(&client, 401, Duration::from_secs(8)).await;
    assert!(ask(&client).await.text().contains("has expired"));
    assert_eq!(ask(&next).await.status, 200);

    // Revoked: gone within five seconds.
    let words = format!("revoke {}", prefix(&new));
    assert_eq!(
        keys(folder, &words, ENV).await.ok().out,
        format!("revoked {} (ci)\n", prefix(&new))
    );
    until(&next, 401, EVERYWHERE).await;
    assert!(ask(&next).await.text().contains("was revoked"));

    let log = std::fs::read_to_string(folder.join(".dynamic-mcp/audit.log")).unwrap();
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let by_key: Vec<Value> = records
        .filter(|record| {
            record["action"] == "http.auth" && record["details"]["method"] == "api_key"
        })
        .collect();
    let has = |result: &str, reason: Value| {
        by_key
            .iter()
            .any(|of| of["result"] == result && of["details"]["reason"] == reason)
    };
    assert!(has("success", Value::Null) && has("denied", json!("revoked")));
    assert!(has("denied", json!("wrong")) && has("denied", json!("expired")));
    let everything = format!("{log}{}", deployment.front.log().join("\n"));
    for secret in [&key, &new, &other] {
        assert!(!everything.contains(&secret[14..]), "a key is in a log");
    }
    deployment.stop().await;
}

#[tokio::test]
async fn a_key_lives_in_one_process() {
    life(Kind::Direct).await;
}

#[tokio::test]
async fn a_key_lives_over_pipes() {
    life(Kind::Pipes).await;
}

#[tokio::test]
async fn a_key_expires() {
    let deployment = Deployment::start(Kind::Direct, ENV).await;
    let (folder, address) = (deployment.folder(), deployment.address.as_str());
    let key = keys(
        folder,
        "create --name short --role viewer --expires 4s",
        ENV,
    )
    .await
    .key();
    let client = with(address, &key);
    until(&client, 200, EVERYWHERE).await;
    until(&client, 401, Duration::from_secs(8)).await;
    assert!(ask(&client).await.text().contains("has expired"));
    deployment.stop().await;
}

#[tokio::test]
async fn a_key_may_stand_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let words = "create --for-file --name file --role blue --tenant acme";
    let ran = keys(folder.path(), words, ENV).await.ok();
    let key = ran.out.trim().to_owned();
    let entry = ran.complaint.split_once("\n\n").unwrap().1;
    assert!(!entry.contains(&key[14..]), "{entry}");
    std::fs::write(folder.path().join("dynamic-mcp.toml"), entry).unwrap();
    let list = keys(folder.path(), "list --tenant acme --json", ENV)
        .await
        .json();
    assert_eq!(list["keys"], json!([]), "nothing was stored");
    let env = [ENV, &[("CONFIG_PATH", "dynamic-mcp.toml")]].concat();
    let deployment = Deployment::start_in(Kind::Direct, folder, &env).await;
    let client = with(&deployment.address, &key);
    assert_eq!(ask(&client).await.status, 200);
    let ran = client
        .ok("run_js_ephemeral", json!({"code": "return 6 * 7"}))
        .await;
    assert_eq!(ran["result"], 42);
    deployment.stop().await;
}

#[tokio::test]
async fn wrong_words_say_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code, why) in [
        ("create --name ci", 1, "--role ROLE, or --scope SCOPE"),
        (
            "create --name ci --role boss",
            1,
            "there is no such role; there are admin, blue",
        ),
        (
            "create --name ci --scope dynamic-mcp:internal",
            1,
            "only services have",
        ),
        (
            "create --name ci --role viewer --expires 2001-01-01T00:00:00Z",
            1,
            "not in the future",
        ),
        ("revoke 00000000", 1, "there is no API key 00000000"),
        ("revoke dmcp_1", 2, "is no prefix of a key"),
        ("shred", 2, "unrecognized subcommand"),
    ] {
        let ran = keys(folder.path(), words, ENV).await;
        assert_eq!(ran.code, Some(code), "{words}: {}", ran.complaint);
        assert!(ran.complaint.contains(why), "{words}: {}", ran.complaint);
        assert_eq!(ran.out, "", "{words}");
    }
    let help = keys(folder.path(), "--help", ENV).await.ok().out;
    for command in ["create", "list", "revoke", "rotate"] {
        assert!(help.contains(command), "{help}");
    }
}

/// Every command that the page about keys shows, in its order.
#[tokio::test]
async fn the_commands_of_the_page_work() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authentication.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("    dynamic-mcp keys "))
        .collect();
    assert_eq!(shown.len(), 6, "{shown:?}");
    let folder = tempfile::tempdir().unwrap();
    let mut newest = String::new();
    for words in shown {
        let words = words.replace("PREFIX", &newest);
        let out = keys(folder.path(), &words, &[]).await.ok().out;
        if words.contains("--name ci") || words.starts_with("rotate") {
            newest = prefix(&out).to_owned();
        }
    }
    let list = keys(folder.path(), "list --json", &[]).await.json();
    let states = list["keys"].as_array().unwrap().iter();
    let states: Vec<&str> = states.map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["revoked", "rotated"], "{list}");
}

/// The key that an earlier version kept in a file goes into the store, and does not come back.
#[tokio::test]
async fn the_key_of_an_earlier_version_is_taken_over() {
    let made = auth::MadeKey::generate().unwrap();
    let text = secrecy::ExposeSecret::expose_secret(&made.text).to_owned();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join(".dynamic-mcp");
    std::fs::create_dir(&store).unwrap();
    let kept = json!({"prefix": made.prefix, "sha256": made.digest.to_hex(), "madeBy": "0.5.0"});
    std::fs::write(store.join("api-key.json"), kept.to_string()).unwrap();
    let env = [("MCP_HOST", "0.0.0.0"), UNLIMITED];
    let deployment = Deployment::start_in(Kind::Direct, folder, &env).await;
    let address = deployment.address.replace("0.0.0.0", "127.0.0.1");
    let client = with(&address, &text);
    assert_eq!(ask(&client).await.status, 200);
    let log = deployment.front.log().join("\n");
    assert!(
        !log.contains("shown this once"),
        "no other key is made: {log}"
    );
    let list = keys(deployment.folder(), "list --json", &[]).await.json();
    assert_eq!(list["keys"][0]["name"], "first key", "{list}");
    let words = format!("revoke {}", prefix(&text));
    keys(deployment.folder(), &words, &[]).await.ok();
    until(&client, 401, EVERYWHERE).await;
    let folder = deployment.stop_keeping().await;
    assert!(
        folder
            .path()
            .join(".dynamic-mcp/api-key.json.taken-over")
            .exists()
    );
    let deployment = Deployment::start_in(Kind::Direct, folder, &env).await;
    let client = with(&deployment.address.replace("0.0.0.0", "127.0.0.1"), &text);
    assert_eq!(ask(&client).await.status, 401);
    let log = deployment.front.log().join("\n");
    assert!(
        log.contains("shown this once"),
        "nobody could get in: {log}"
    );
    deployment.stop().await;
}
