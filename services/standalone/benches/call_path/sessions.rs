//! `--sessions`: sandbox sessions and dependencies through HTTP and gRPC, on containers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::load::Connection;
use crate::programs::Three;
use crate::real::{IMAGE, idle, report};
use crate::{call, say};

/// Sessions that are open at once at the end.
const MANY: usize = 100;
/// A waiting container for calls and one for sessions.
const READY: usize = 2;
const NO_PAUSE: Duration = Duration::ZERO;
/// The next runner of `sandbox.run_js` is started in it, off the path.
const THINKS: Duration = Duration::from_millis(120);
const REFILL: Duration = Duration::from_secs(30);

pub(crate) async fn measure(scale: usize) {
    say("sandbox sessions and dependencies, three services over loopback, containers");
    #[allow(clippy::disallowed_methods, reason = "a bench has no bootstrap")]
    let extra = std::env::var("SSL_CERT_FILE").unwrap_or_default();
    let many = MANY.to_string();
    let image = ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE);
    let mut executor = vec![
        ("MCP_EXECUTION_ENGINE", "docker"),
        image,
        ("MCP_SANDBOX_POOL_SIZE", "1"),
        ("MCP_SANDBOX_MAX_SESSIONS", many.as_str()),
    ];
    if !extra.is_empty() {
        executor.push(("MCP_SANDBOX_EXTRA_CA_CERTS", &extra));
    }
    let gateway = [
        image,
        ("MCP_PROFILE", "enterprise"),
        ("MCP_AUDIT_ENABLED", "false"),
    ];
    let three = Three::start_with(&[image], &executor, &gateway).await;
    let place = Place {
        address: &three.address,
        metrics: &three.executor_metrics,
    };
    place.operations(scale).await;
    place.dependencies(scale).await;
    place.many(&three).await;
    three.stop().await;
}

struct Place<'a> {
    address: &'a str,
    metrics: &'a str,
}

impl Place<'_> {
    async fn call(&self, connection: &mut Connection, tool: &str, arguments: &Value) -> Value {
        let body = connection.exchange(&call(tool, arguments)).await;
        let text = String::from_utf8_lossy(body);
        // An answer is JSON, or one event of a stream.
        let json = text.find('{').map(|at| &text[at..]).unwrap_or_default();
        let answer = serde_json::Deserializer::from_str(json)
            .into_iter::<Value>()
            .next();
        let answer = answer.expect("an answer").expect("JSON");
        let result = &answer["result"];
        assert!(result["isError"] != json!(true), "{tool}: {result}");
        result["structuredContent"].clone()
    }

    async fn ready(&self) {
        let end = Instant::now() + REFILL;
        while idle(self.metrics).await < READY {
            assert!(Instant::now() < end, "no containers wait");
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_millis(100)).await;
    }

    async fn open(&self, connection: &mut Connection) -> String {
        let made = self
            .call(connection, "sandbox.initialize", &json!({}))
            .await;
        made["sessionId"].as_str().expect("a handle").to_owned()
    }

    async fn operations(&self, scale: usize) {
        let mut connection = Connection::open(self.address).await;
        let (mut opened, begun) = (Vec::new(), Instant::now());
        for _ in 0..40 / scale.min(4) {
            self.ready().await;
            let asked = Instant::now();
            let id = self.open(&mut connection).await;
            opened.push(asked.elapsed());
            let stop = json!({ "sessionId": id });
            self.call(&mut connection, "sandbox.stop", &stop).await;
        }
        report("sandbox.initialize from the pool", opened, begun);

        let id = self.open(&mut connection).await;
        let exec = json!({ "sessionId": id, "commands": ["echo hello"] });
        // One after another, and as an agent does it, which thinks in between.
        self.repeated(
            &mut connection,
            "sandbox.exec",
            &exec,
            500 / scale,
            NO_PAUSE,
        )
        .await;
        self.repeated(&mut connection, "sandbox.exec", &exec, 200 / scale, THINKS)
            .await;
        let code = json!({ "sessionId": id, "code": "return 1 + 1" });
        self.repeated(
            &mut connection,
            "sandbox.run_js",
            &code,
            100 / scale,
            THINKS,
        )
        .await;
        let write = json!({ "sessionId": id, "path": "a.txt", "content": "x".repeat(10_000) });
        self.repeated(
            &mut connection,
            "sandbox.files.write",
            &write,
            200 / scale,
            NO_PAUSE,
        )
        .await;
        let stop = json!({ "sessionId": id });
        self.call(&mut connection, "sandbox.stop", &stop).await;
    }

    async fn repeated(
        &self,
        connection: &mut Connection,
        tool: &str,
        arguments: &Value,
        times: usize,
        pause: Duration,
    ) {
        let mut took = Vec::new();
        let begun = Instant::now();
        for _ in 0..times {
            let asked = Instant::now();
            self.call(connection, tool, arguments).await;
            took.push(asked.elapsed());
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        let name = match pause.is_zero() {
            true => tool.to_owned(),
            false => format!("{tool}, after {} ms", pause.as_millis()),
        };
        report(&name, took, begun);
    }

    /// A tool with packages beside one without, both from the pool.
    async fn dependencies(&self, scale: usize) {
        let mut connection = Connection::open(self.address).await;
        let packages = json!([{ "name": "lodash", "version": "4.17.21" }]);
        let code = "return require('lodash').add(args.a, args.b)";
        let with = json!({ "name": "bench.with", "description": "adds", "code": code,
            "dependencies": packages });
        let without = json!({ "name": "bench.without", "description": "adds",
            "code": "return args.a + args.b" });
        let begun = Instant::now();
        self.call(
            &mut connection,
            "dynamic.tool.create",
            &json!({ "tool": with }),
        )
        .await;
        let resolved = begun.elapsed();
        self.call(
            &mut connection,
            "dynamic.tool.create",
            &json!({ "tool": without }),
        )
        .await;
        let sum = json!({ "args": { "a": 1, "b": 2 } });
        let begun = Instant::now();
        self.call(&mut connection, "bench.with", &sum).await;
        say(&format!(
            "a tool with one npm package: made (resolved) in {:.0} ms, first call (installed) in {:.0} ms",
            resolved.as_secs_f64() * 1e3,
            begun.elapsed().as_secs_f64() * 1e3
        ));
        let (mut later, mut plain) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        for _ in 0..40 / scale.min(4) {
            // The kind with packages is kept warm too, since it is in use.
            for (tool, took) in [("bench.with", &mut later), ("bench.without", &mut plain)] {
                sleep(Duration::from_millis(600)).await;
                let asked = Instant::now();
                self.call(&mut connection, tool, &sum).await;
                took.push(asked.elapsed());
            }
        }
        report("a later call of a tool with packages", later, begun);
        report("the same of one without", plain, begun);
    }

    /// What so many open sessions cost the executor itself.
    async fn many(&self, three: &Three) {
        let mut connection = Connection::open(self.address).await;
        let before = three.executor_mib();
        let begun = Instant::now();
        for _ in 0..MANY {
            self.open(&mut connection).await;
        }
        say(&format!(
            "{MANY} sessions open after {:.0} s: executor {:.1} MiB resident, {before:.1} MiB before",
            begun.elapsed().as_secs_f64(),
            three.executor_mib()
        ));
    }
}
