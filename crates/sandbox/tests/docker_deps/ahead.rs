//! Packages that are loaded in containers that wait: those that are fit for it, and those that are not,
//! with which a call is what it is without.

use std::time::Duration;

use domain::runner::{Call, Outcome};
use domain::tool::{Isolation, Runtime};
use domain::{ErrorCode, Lockfile, Revision};
use futures::future::join_all;
use sandbox::Engine;
use sandbox::docker::{DockerEngineSettings, InstallSettings};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, call, install};
use crate::server::{Server, file, package, tar, wheel};

pub(crate) async fn rig(server: &Server, change: impl FnOnce(&mut DockerEngineSettings)) -> Rig {
    let install = InstallSettings {
        npm_registry: Some(server.address()),
        pip_index: Some(format!("{}/simple", server.address())),
        ..install()
    };
    let owner = uuid::Uuid::new_v4().to_string();
    Rig::set_up(owner, install, |settings| {
        settings.pool_size = 1;
        settings.allowed_images.truncate(2);
        settings.pool_memory_bytes = 2 << 30;
        change(settings);
    })
    .await
}

impl Rig {
    pub(crate) fn loads(&self, language: &str, outcomes: &[&str]) -> u64 {
        let all = outcomes.iter().map(|outcome| {
            let found = &self.metrics.loads_ahead;
            found.with_label_values(&[language, outcome]).get()
        });
        all.sum()
    }

    /// Waits until so many containers had packages loaded in them, with one of these outcomes.
    pub(crate) async fn until_loads(
        &self,
        language: &str,
        outcomes: &[&str],
        count: u64,
        seconds: u64,
    ) {
        let begun = Instant::now();
        while self.loads(language, outcomes) < count {
            let found = ["loaded", "unfit", "late", "died", "busy"]
                .map(|outcome| (outcome, self.loads(language, &[outcome])));
            assert!(
                begun.elapsed() < Duration::from_secs(seconds),
                "{count} of {outcomes:?}: {found:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all that is to wait does.
    pub(crate) async fn until_full(&self) {
        let begun = Instant::now();
        let is_full = |rig: &Self| {
            let kinds = rig.engine.status().pool.kinds;
            kinds.iter().all(|it| it.making == 0 && it.idle >= it.size)
        };
        while !is_full(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{:?}",
                self.engine.status()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What a caller sees of a call.
type Seen = (Result<String, (ErrorCode, String)>, Vec<String>);

fn seen(outcome: &Outcome) -> Seen {
    let result = match &outcome.result {
        Ok(value) => Ok(value
            .as_ref()
            .map_or_else(String::new, |it| it.get().to_owned())),
        Err(failure) => Err((failure.code, failure.message.clone())),
    };
    let printed = outcome.printed.iter();
    // Where a stack was is the same place with other numbers of the process.
    (result, printed.map(|it| format!("{it:?}")).collect())
}

/// Tells when it was loaded, and is different each time.
const EARLY: &str = "let calls = 0; const at = process.uptime(), own = Math.random(); \
    module.exports = { age: () => process.uptime() - at, own, call: () => ++calls }";

#[tokio::test(flavor = "multi_thread")]
async fn fault_41_packages_are_there_before_the_call_and_no_two_calls_share_them() {
    let server = Server::start().await;
    server.npm("early", json!({}), &package(EARLY));
    let manifest =
        br#"{"name":"modern","version":"1.0.0","type":"modern","exports":{"import":"./index.mjs"}}"#;
    let module = b"const at = await Promise.resolve(process.uptime()); export const age = () => process.uptime() - at";
    let module = tar([
        file("package/package.json", manifest),
        file("package/index.mjs", module),
    ]);
    server.npm("modern", json!({}), &module);
    let rig = rig(&server, |settings| {
        settings.shared_tools = vec!["shared".to_owned()];
    })
    .await;
    let wanted = [("early", "1.0.0"), ("modern", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let begins = "const early = require('early');\nconst { age } = await import('modern');\n";
    let code = format!("{begins} return [early.age(), age(), early.own, early.call()]");
    let call = |code: &str| call(Runtime::Node, &wanted, Some(&lock), code);
    let first = rig.value(call(&code)).await;
    assert!(
        first[0].as_f64().unwrap() < 1.0,
        "the call loads it itself: {first}"
    );
    let mut own = vec![first[2].clone()];
    for round in 1..=2 {
        rig.until_loads("node", &["loaded"], round, 20).await;
        rig.until_full().await;
        sleep(Duration::from_millis(1_200)).await;
        let later = rig.value(call(&code)).await;
        for age in [&later[0], &later[1]] {
            assert!(age.as_f64().unwrap() > 1.0, "before the call: {later}");
        }
        assert_eq!(later[3], 1, "41: nobody had it before");
        assert!(!own.contains(&later[2]), "80: {own:?} {later}");
        own.push(later[2].clone());
    }
    // Code that does something else first has its packages loaded when it says so.
    let code = format!("process.env.X = '1';\n{code}");
    for _ in 0..2 {
        rig.until_full().await;
        sleep(Duration::from_millis(1_200)).await;
        let value = rig.value(call(&code)).await;
        assert!(value[0].as_f64().unwrap() < 1.0, "{value}");
    }
    // A container that calls of a tool share begins with them too, and is kept as others are.
    rig.until_full().await;
    sleep(Duration::from_millis(1_200)).await;
    let loaded = rig.loads("node", &["loaded"]);
    let code = format!("{begins} return [early.age(), age(), early.own, early.call()]");
    let mut calls = Vec::new();
    for _ in 0..2 {
        let call = Call {
            tool: "shared".to_owned(),
            revision: Some(Revision(1)),
            isolation: Isolation::Tool,
            ..call(&code)
        };
        calls.push(rig.value(call).await);
    }
    assert!(calls[0][0].as_f64().unwrap() > 1.0, "{calls:?}");
    assert_eq!(
        (&calls[0][2], &calls[0][3], &calls[1][3]),
        (&calls[1][2], &json!(1), &json!(2))
    );
    assert!(rig.loads("node", &["loaded"]) <= loaded + 1);
    assert_eq!(rig.loads("node", &["unfit", "late", "died", "busy"]), 0);
    rig.close().await;

    let off = self::rig(&server, |settings| settings.load_ahead = false).await;
    for _ in 0..2 {
        let code = format!("{begins} return early.age()");
        let value = off
            .value(self::call(Runtime::Node, &wanted, Some(&lock), &code))
            .await;
        assert!(value.as_f64().unwrap() < 1.0, "{value}");
        off.until_full().await;
        sleep(Duration::from_millis(1_200)).await;
    }
    assert_eq!(off.loads("node", &["loaded"]), 0);
    off.close().await;
}

/// What a caller saw of two calls is the same.
fn is_the_same(name: &str, one: &Seen, other: &Seen) {
    if name == "hogs" {
        let why = one.0.as_ref().unwrap_err();
        assert_eq!(why.0, ErrorCode::OutOfMemory, "{why:?}");
    }
    assert_eq!(one, other, "{name}");
}

/// Each of these is loaded by each call itself: what a caller sees is the same before and after it was
/// tried, and nobody waits for that.
async fn the_same_before_and_after(
    rig: &Rig,
    (runtime, language): (Runtime, &str),
    lock: &Lockfile,
    (wanted, code): (&[(&str, &str)], impl Fn(&str) -> String),
    bad: &[&str],
) -> Vec<Seen> {
    let run = async |name: &str| {
        let mut call = call(runtime, wanted, Some(lock), &code(name));
        let seconds = if *name == *"hangs" { 3 } else { 20 };
        call.limits.timeout = Duration::from_secs(seconds);
        call.limits.memory_bytes = 96 << 20;
        let outcome = rig.run(call).await.unwrap();
        (seen(&outcome), outcome.usage.checkout)
    };
    // Installed.
    let none = call(runtime, wanted, Some(lock), "return 1");
    rig.value(none).await;
    let mut first = Vec::new();
    for name in bad {
        first.push(run(name).await.0);
    }
    // Those that hang hang still.
    let again = join_all(bad.iter().map(|name| run(name))).await;
    let others = bad.iter().zip(&again).filter(|it| *it.0 != "hangs");
    let others = others.map(|(_, (_, checkout))| *checkout).max().unwrap();
    for ((name, first), (again, checkout)) in bad.iter().zip(&first).zip(again) {
        is_the_same(name, first, &again);
        // All wait for a new container each; with what loading it ahead may take it would be 10 s more.
        let is_held_up = checkout > others + Duration::from_secs(6);
        assert!(
            *name != "hangs" || !is_held_up,
            "{checkout:?}, others at most {others:?}"
        );
    }
    let count = bad.len() as u64;
    rig.until_loads(language, &["unfit", "died", "late"], count, 60)
        .await;
    for (name, first) in bad.iter().zip(&first) {
        is_the_same(name, first, &run(name).await.0);
    }
    assert_eq!(rig.loads(language, &["loaded"]), 0);
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_73_npm_packages_that_are_not_fit_are_loaded_by_the_call_as_ever() {
    const BAD: [(&str, &str); 9] = [
        ("throws", "throw new Error('no luck')"),
        ("prints", "console.log('hello'); module.exports = 1"),
        (
            "writes",
            "require('fs').writeSync(1, 'hello\\n'); module.exports = 1",
        ),
        ("ticks", "setInterval(() => {}, 1000); module.exports = 1"),
        (
            "forks",
            "require('child_process').spawn('sleep', ['60'], {stdio: 'ignore', detached: true}).unref(); module.exports = 1",
        ),
        (
            "threads",
            "new (require('worker_threads').Worker)('setTimeout(() => {}, 60000)', {eval: true}).unref(); module.exports = 1",
        ),
        ("exits", "process.exit(3)"),
        (
            "hogs",
            "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))",
        ),
        (
            "hangs",
            "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
        ),
    ];
    let server = Server::start().await;
    for (name, code) in BAD {
        server.npm(name, json!({}), &package(code));
    }
    let rig = rig(&server, |_| {}).await;
    let names = BAD.map(|(name, _)| name);
    let wanted = names.map(|name| (name, "1.0.0"));
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let code = |name: &str| format!("return require('{name}')");
    let kind = (Runtime::Node, "node");
    let seen = the_same_before_and_after(&rig, kind, &lock, (&wanted, code), &names).await;
    let value = |at: usize| seen[at].0.as_ref().unwrap().as_str();
    let error = |at: usize| seen[at].0.as_ref().unwrap_err();
    assert_eq!(error(0).1, "no luck");
    for (at, printed) in [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)] {
        assert_eq!(
            (value(at), seen[at].1.len()),
            ("1", printed),
            "{:?}",
            seen[at]
        );
    }
    assert!(error(6).1.contains("exit code 3"), "{:?}", error(6));
    is_the_same("hogs", &seen[7], &seen[7]);
    assert_eq!(error(8).0, ErrorCode::Timeout);
    assert!(rig.loads("node", &["late"]) >= 1 && rig.loads("node", &["died"]) >= 2);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_73_wheels_that_are_not_fit_are_loaded_by_the_call_as_ever() {
    const BAD: [(&str, &str); 7] = [
        ("throws", "raise ValueError('no luck')"),
        ("prints", "print('hello')"),
        ("writes", "import os\nos.write(1, b'hello\\n')"),
        (
            "forks",
            "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)",
        ),
        ("strays", "import os\nos.fork()"),
        (
            "threads",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        ),
        ("exits", "raise SystemExit(3)"),
    ];
    let server = Server::start().await;
    let names = BAD.map(|(name, _)| name);
    let put = |name: &str, code: &str| {
        let bytes = wheel(name, &[], &[(&format!("{name}.py"), code.as_bytes())]);
        server.pypi(name, &[(&format!("{name}-1.0-py3-none-any.whl"), &bytes)]);
    };
    for (name, code) in BAD {
        put(name, code);
    }
    let early = "import random, time\nAT = time.monotonic()\nOWN = random.random()\n\
        def age():\n    return time.monotonic() - AT\n";
    put("early", early);
    let rig = rig(&server, |_| {}).await;
    let mut wanted = names.map(|name| (name, "1.0")).to_vec();
    wanted.push(("early", "1.0"));
    let lock = rig.resolve(Runtime::Python, &wanted).await.unwrap();
    let code = |name: &str| format!("import {name}\nreturn 1");
    let kind = (Runtime::Python, "python");
    let seen = the_same_before_and_after(&rig, kind, &lock, (&wanted, code), &names).await;
    let error = |at: usize| &seen[at].0.as_ref().unwrap_err().1;
    assert!(error(0).contains("no luck"), "{seen:?}");
    for (at, printed) in [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)] {
        let expected = (Ok("1".to_owned()), printed);
        assert_eq!(
            (seen[at].0.clone(), seen[at].1.len()),
            expected,
            "{:?}",
            seen[at]
        );
    }
    assert!(error(6).contains("exit code 3"), "{seen:?}");

    // And one that is.
    let code = "import json\nfrom early import age, OWN\nreturn [age(), OWN]";
    let run = || rig.value(call(Runtime::Python, &wanted, Some(&lock), code));
    let mut own: Vec<Value> = Vec::new();
    for round in 0..3_u64 {
        rig.until_loads("python", &["loaded"], round, 20).await;
        rig.until_full().await;
        sleep(Duration::from_millis(1_200)).await;
        let value = run().await;
        let is_early = value[0].as_f64().unwrap() > 1.0;
        assert_eq!(is_early, round > 0, "round {round}: {value}");
        assert!(!own.contains(&value[1]), "80: {own:?} {value}");
        own.push(value[1].clone());
    }
    rig.close().await;
}

/// Whether the full counts were asked for.
#[allow(
    clippy::disallowed_methods,
    reason = "the soak command tells tests by its environment"
)]
fn soak() -> bool {
    std::env::var_os("MCP_TEST_SOAK").is_some()
}

/// A package that works or ends while it waits costs its container, and after three of them no more is
/// loaded of it. What takes a minute is for the long tests.
#[tokio::test(flavor = "multi_thread")]
async fn fault_13_a_package_that_is_not_idle_while_it_waits_is_not_loaded_for_long() {
    let soak = soak();
    let server = Server::start().await;
    let burns = "setInterval(() => { const end = Date.now() + 300; while (Date.now() < end); }, 1000).unref(); \
        module.exports = 1";
    let dies = "setTimeout(() => process.abort(), 1000).unref(); module.exports = 1";
    server.npm("burns", json!({}), &package(burns));
    server.npm("dies", json!({}), &package(dies));
    let rig = rig(&server, |_| {}).await;
    let wanted = [("burns", "1.0.0"), ("dies", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let all = [("dies", "died"), ("burns", "busy")];
    for (name, outcome) in &all[..if soak { 2 } else { 1 }] {
        let code = format!("return require('{name}')");
        let run = || rig.value(call(Runtime::Node, &wanted, Some(&lock), &code));
        assert_eq!(run().await, 1);
        rig.until_loads("node", &[outcome], 3, 90).await;
        rig.until_full().await;
        assert_eq!(run().await, 1);
        rig.until_full().await;
        sleep(Duration::from_secs(if soak { 12 } else { 2 })).await;
        assert_eq!(rig.loads("node", &[outcome]), 3, "no more is loaded");
        assert_eq!(run().await, 1);
    }
    rig.close().await;
}
