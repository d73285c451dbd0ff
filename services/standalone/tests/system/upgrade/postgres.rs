//! U-651 to U-658: the table of the Node server, taken over by the real programs.

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use testkit::postgres::{Cluster, Durability, Stop};
use tokio::time::{Duration, Instant, sleep};

use super::{checks, document, record, run, serve};
use crate::deployment::{Deployment, Kind};

checks! {
    "U-651" "U-652" => the_table_is_imported_once_and_stays,
    "U-653" => what_the_node_server_writes_later_is_not_seen,
    "U-654" => an_outage_ends_nothing,
    "U-657" => a_file_is_imported_where_there_is_no_table,
    "U-658" => connections_are_bounded_and_named,
    "U-656" => modes_of_tls_are_those_of_postgres,
    "U-655" => a_database_that_is_not_there_is_waited_for,
}

/// As the Node server makes it: `src/dynamic/postgres-registry.ts`.
const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS dynamic_mcp;
    CREATE TABLE IF NOT EXISTS dynamic_mcp.dynamic_tools (
        name TEXT PRIMARY KEY, title TEXT, description TEXT NOT NULL, image TEXT NOT NULL,
        timeout_ms INTEGER NOT NULL, dependencies JSONB NOT NULL, code TEXT NOT NULL,
        enabled BOOLEAN NOT NULL, created_at TIMESTAMPTZ NOT NULL, updated_at TIMESTAMPTZ NOT NULL,
        revision INTEGER NOT NULL);";

/// Everything in the table, in a form that shows every change.
const CONTENT: &str = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY name)) || ' ' || count(*)
    FROM dynamic_mcp.dynamic_tools t";

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The row that the Node server writes for a record.
fn row(record: &Value) -> String {
    let text = |member: &str| literal(record[member].as_str().unwrap());
    let title = record["title"].as_str().map_or("NULL".to_owned(), literal);
    format!(
        "INSERT INTO dynamic_mcp.dynamic_tools VALUES ({}, {title}, {}, {}, {}, {}::jsonb, {}, {}, \
         {}::timestamptz, {}::timestamptz, {});",
        text("name"),
        text("description"),
        text("image"),
        record["timeoutMs"],
        literal(&record["dependencies"].to_string()),
        text("code"),
        record["enabled"],
        text("createdAt"),
        text("updatedAt"),
        record["revision"],
    )
}

async fn database(records: &[Value]) -> Cluster {
    let cluster = Cluster::start(Durability::Relaxed).await;
    cluster.sql("postgres", TABLE).await;
    // As many at once as a command line takes.
    for part in records.chunks(20) {
        let rows: Vec<String> = part.iter().map(row).collect();
        cluster.sql("postgres", &rows.join("\n")).await;
    }
    cluster
}

fn settings(url: &str) -> Vec<(&str, &str)> {
    vec![
        ("MCP_EXECUTION_ENGINE", "node"),
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", url),
        ("MCP_DYNAMIC_PG_SCHEMA", "dynamic_mcp"),
    ]
}

async fn stored(client: &Client) -> Vec<String> {
    let listed = client.ok("dynamic.tool.list", json!({})).await;
    let tools = listed["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn the_table_is_imported_once_and_stays() {
    let mut tagged = record("has.tag", "return 1");
    tagged["dependencies"] = json!([{"name": "zod", "version": "latest"}]);
    let mut titled = record("has.title", "return `${args.who}'s \u{1F600}`");
    titled["title"] = json!("It's a title");
    titled["revision"] = json!(12);
    let mut disabled = record("is.disabled", "return 1");
    disabled["enabled"] = json!(false);
    let cluster = database(&[
        tagged,
        titled,
        disabled,
        record("system.health", "return 1"),
    ])
    .await;
    let before = cluster.sql("postgres", CONTENT).await;
    let url = cluster.url("postgres");
    for kind in [Kind::Three, Kind::Direct] {
        let deployment = Deployment::start(kind, &settings(&url)).await;
        let client = deployment.client(Era::Modern);
        assert_eq!(
            stored(&client).await,
            ["has.title", "is.disabled"],
            "{kind:?}"
        );
        let answer = client
            .ok("has.title", json!({"args": {"who": "Ann"}}))
            .await;
        assert_eq!(answer["result"], "Ann's \u{1F600}");
        let got = client
            .ok("dynamic.tool.get", json!({"name": "has.title"}))
            .await;
        let tool = &got["tool"];
        assert_eq!(
            (&tool["revision"], &tool["title"]),
            (&json!(12), &json!("It's a title"))
        );
        assert_eq!(tool["createdAt"], "2025-01-31T12:00:00.000Z");
        let registry = deployment
            .inner
            .as_ref()
            .map_or(&deployment.front, |inner| &inner.registry);
        let log = registry.log().join("\n");
        // The first start imports, the second does not.
        let first = kind == Kind::Three;
        assert_eq!(
            log.contains("imported the Node server's tools"),
            first,
            "{log}"
        );
        let said = &document::line("U-603").said[0];
        assert_eq!(
            log.matches(said.as_str()).count(),
            if first { 2 } else { 0 },
            "{log}"
        );
        deployment.stop().await;
    }
    assert_eq!(
        cluster.sql("postgres", CONTENT).await,
        before,
        "the table is as it was"
    );
}

async fn what_the_node_server_writes_later_is_not_seen() {
    let cluster = database(&[record("was.there", "return 1")]).await;
    let url = cluster.url("postgres");
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &settings(&url)).await;
    cluster
        .sql("postgres", &row(&record("is.late", "return 1")))
        .await;
    let tool = json!({"name": "is.new", "description": "d", "code": "return 1"});
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    program.stop().await;
    let (program, client) = serve(folder.path(), &settings(&url)).await;
    assert_eq!(stored(&client).await, ["is.new", "was.there"]);
    let names = "SELECT string_agg(name, ',' ORDER BY name) FROM dynamic_mcp.dynamic_tools";
    assert_eq!(cluster.sql("postgres", names).await, "is.late,was.there");
    program.stop().await;
}

async fn a_file_is_imported_where_there_is_no_table() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let url = cluster.url("postgres");
    let folder = tempfile::tempdir().unwrap();
    super::write_store(folder.path(), &[record("of.the.file", "return 1")]);
    let (program, client) = serve(folder.path(), &settings(&url)).await;
    assert_eq!(stored(&client).await, ["of.the.file"]);
    program.stop().await;
    let cluster = database(&[record("of.the.table", "return 1")]).await;
    let url = cluster.url("postgres");
    let (program, client) = serve(folder.path(), &settings(&url)).await;
    assert_eq!(stored(&client).await, ["of.the.table"]);
    program.stop().await;
}

async fn an_outage_ends_nothing() {
    let mut cluster = database(&[record("was.there", "return 'runs'")]).await;
    let url = cluster.url("postgres");
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &settings(&url)).await;
    client.ok("was.there", json!({})).await;
    cluster.stop(Stop::Immediate).await;
    assert!(client.names().await.contains(&"was.there".to_owned()));
    assert_eq!(client.ok("was.there", json!({})).await["result"], "runs");
    let tool = json!({"tool": {"name": "is.new", "description": "d", "code": "return 1"}});
    assert_eq!(
        client.refusal("dynamic.tool.create", tool.clone()).await,
        "unavailable"
    );
    cluster.resume().await;
    let end = Instant::now() + Duration::from_secs(15);
    while client.call("dynamic.tool.create", tool.clone()).await["isError"] == true {
        assert!(Instant::now() < end, "it does not heal");
        sleep(Duration::from_millis(100)).await;
    }
    program.stop().await;
}

async fn a_database_that_is_not_there_is_waited_for() {
    let mut cluster = database(&[record("was.there", "return 1")]).await;
    let url = cluster.url("postgres");
    cluster.stop(Stop::Fast).await;
    let folder = tempfile::tempdir().unwrap();
    let mut env = settings(&url);
    env.extend([
        ("MCP_PORT", "0"),
        ("MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS", "2"),
        ("MCP_DYNAMIC_PG_INIT_BACKOFF_MS", "50"),
    ]);
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    let said = document::line("U-655").said;
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    ended.assert(1, &said);
    env.retain(|(name, _)| *name != "MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS");
    let binary = crate::deployment::binary("dynamic-mcp");
    let mut program = testkit::process::Program::start(&binary, folder.path(), &[], &env);
    program.field_of_line("trying again", "level").await;
    cluster.resume().await;
    program
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    program.stop().await;
}

/// The thousand tools of a JSON store, as rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rows_are_imported() {
    let all = super::many::tools(super::many::IMAGES);
    let cluster = database(&all).await;
    let before = cluster.sql("postgres", CONTENT).await;
    let url = cluster.url("postgres");
    let mut env = settings(&url);
    env.push(("MCP_DYNAMIC_MAX_TOOLS", "1000"));
    super::many::served_and_called(Kind::Three, &all, &env).await;
    assert_eq!(
        cluster.sql("postgres", CONTENT).await,
        before,
        "the table is as it was"
    );
}

async fn connections_are_bounded_and_named() {
    let cluster = database(&[record("was.there", "return 1")]).await;
    let url = cluster.url("postgres");
    let folder = tempfile::tempdir().unwrap();
    let shown = super::effective(folder.path(), &[], &settings(&url)).await;
    assert_eq!(
        super::printed(&shown, "MCP_DYNAMIC_PG_MAX_CONNECTIONS"),
        "20"
    );
    let mut env = settings(&url);
    env.push(("MCP_DYNAMIC_PG_MAX_CONNECTIONS", "3"));
    let (program, client) = serve(folder.path(), &env).await;
    let tool = |at: usize| json!({"name": format!("made.{at}"), "description": "d", "code": "1"});
    let made = (0..8).map(|at| client.ok("dynamic.tool.create", json!({"tool": tool(at)})));
    futures::future::join_all(made).await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dynamic-mcp'";
    let count: u32 = cluster.sql("postgres", count).await.parse().unwrap();
    assert!((1..=3).contains(&count), "{count} connections");
    program.stop().await;
}

/// Modes of TLS: the words of Postgres.
async fn modes_of_tls_are_those_of_postgres() {
    let cluster = database(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    for (mode, starts) in [("prefer", true), ("disable", true), ("require", false)] {
        let url = format!("{}?sslmode={mode}", cluster.url("postgres"));
        let mut env = settings(&url);
        env.extend([("MCP_PORT", "0"), ("MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS", "1")]);
        if starts {
            let (program, client) = serve(folder.path(), &env).await;
            client.ok("system.health", json!({})).await;
            program.stop().await;
        } else {
            // This cluster has no TLS.
            let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
            ended.assert(1, &["MCP_DYNAMIC_PG_URL"]);
        }
    }
    let url = format!("{}?sslmode=no-verify", cluster.url("postgres"));
    let mut env = settings(&url);
    env.push(("MCP_PORT", "0"));
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    let said = document::line("U-656").said;
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    ended.assert(1, &said);
}
