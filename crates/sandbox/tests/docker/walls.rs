//! What the code finds around it, and that it ends there.

use domain::error::ErrorCode;
use domain::runner::Call;
use domain::tool::Isolation;
use sandbox::Job;
use serde_json::{Value, json};

use crate::rig::{Rig, printed, settings};
use crate::suite::run::{IMAGE, call, run, run_call, start};

/// What tools of the Node server count on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_node_is_all_there() {
    let rig = Rig::new().await;
    let cases = [
        ("return require('path').join('a', 'b')", json!("a/b")),
        (
            "const { join } = await import('node:path'); return join('a', 'b')",
            json!("a/b"),
        ),
        (
            "const fs = require('fs/promises'); await fs.writeFile('x.mjs', 'export default 7'); return (await import('./x.mjs')).default",
            json!(7),
        ),
        (
            "require('fs').writeFileSync('y.js', 'module.exports = 8'); return require('./y.js')",
            json!(8),
        ),
        (
            "return [process.cwd(), typeof module, typeof exports, typeof __filename, process.argv.length]",
            json!(["/workspace", "undefined", "undefined", "undefined", 1]),
        ),
        ("return Buffer.from('hé').toString('base64')", json!("aMOp")),
        (
            "return [typeof fetch, typeof process.version, process.getuid() > 0, new Date(0).getHours()]",
            json!(["function", "string", true, 0]),
        ),
        (
            "return require('child_process').execSync('echo $((6 * 7))').toString()",
            json!("42\n"),
        ),
        (
            "const { fork } = require('child_process'); require('fs').writeFileSync('c.js', 'process.send(process.argv.length)'); \
          return new Promise((done) => fork('./c.js').on('message', done))",
            json!(2),
        ),
        (
            "const { Worker } = require('worker_threads'); return new Promise((done) => \
          new Worker('require(\"worker_threads\").parentPort.postMessage(5)', {eval: true}).on('message', done))",
            json!(5),
        ),
        (
            "let text = ''; for await (const chunk of process.stdin) text += chunk; return text",
            json!(""),
        ),
        (
            "return require('zlib').gunzipSync(require('zlib').gzipSync('x')).toString()",
            json!("x"),
        ),
        (
            "return structuredClone(new Map([[1, {a: 2n}]])).get(1).a === 2n",
            json!(true),
        ),
    ];
    for (code, wanted) in cases {
        let ended = run(&rig.engine, code).await;
        assert_eq!(ended.value(), Some(wanted), "{code}: {}", printed(&ended));
        assert_eq!(
            printed(&ended),
            "",
            "{code}: nothing but what the code prints"
        );
    }
    let ended = run(&rig.engine, "throw new Error('x')").await;
    assert_eq!(printed(&ended), "Error: x\n    at run (tool.js:1:7)");
    rig.close().await;
}

/// 43: neither the executor's environment nor anybody's is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_43_no_environment_but_ours() {
    let rig = Rig::new().await;
    let code = "const fs = require('fs'); const all = {own: Object.keys(process.env)}; \
        for (const it of ['1', 'self']) { \
          try { all[it] = fs.readFileSync(`/proc/${it}/environ`, 'utf8').split('\\0').map((it) => it.split('=')[0]) } catch (e) { all[it] = [] } } \
        all.processes = fs.readdirSync('/proc').filter((it) => /^[0-9]+$/.test(it)).length; \
        return all";
    let found = run(&rig.engine, code).await.value().unwrap();
    for who in ["own", "1", "self"] {
        for name in found[who].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let known = [
                "PATH",
                "HOME",
                "TMPDIR",
                "LANG",
                "TZ",
                "HOSTNAME",
                "GOMAXPROCS",
                "",
            ];
            let ours =
                known.contains(&name) || name.ends_with("_THREADS") || name == "UV_THREADPOOL_SIZE";
            assert!(ours, "{who}: {name}");
        }
    }
    assert!(found["processes"].as_u64().unwrap() <= 3, "{found}");
    rig.close().await;
}

/// 44, 47, 48, 49: no way to the machine, and none out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_44_48_49_there_is_nothing_to_reach() {
    let rig = Rig::new().await;
    let code = r#"const net = require('net'), fs = require('fs'), dns = require('dns').promises, os = require('os');
        const reached = [];
        const tries = (name, it) => it.then(() => reached.push(name), () => {});
        const connect = (to) => new Promise((good, bad) => {
          const socket = net.connect(to).on('connect', good).on('error', bad); setTimeout(bad, 500, 'late') });
        await tries('metadata', connect({host: '169.254.169.254', port: 80}));
        await tries('internet', connect({host: '1.1.1.1', port: 443}));
        await tries('gateway', connect({host: '172.17.0.1', port: 22}));
        await tries('IPv6', connect({host: '2606:4700:4700::1111', port: 443}));
        await tries('names', dns.lookup('example.com'));
        await tries('UDP', new Promise((good, bad) => require('dgram').createSocket('udp4').on('error', bad)
          .send('x', 53, '8.8.8.8', (error) => error ? bad(error) : good())));
        for (const path of ['/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock'])
          await tries(path, connect({path}));
        for (const path of ['/proc/kcore', '/proc/keys', '/proc/sched_debug', '/sys/firmware', '/dev/mem', '/dev/sda'])
          try { const data = fs.statSync(path).isDirectory() ? fs.readdirSync(path) : fs.readFileSync(path);
            if (data.length > 0) reached.push(path) } catch {}
        for (const path of ['/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/sys/fs/cgroup/memory/memory.limit_in_bytes'])
          try { fs.writeFileSync(path, '1'); reached.push(path) } catch {}
        return [reached, Object.keys(os.networkInterfaces()).filter((it) => it !== 'lo')]"#;
    let ended = run_call(&rig.engine, crate::suite::run::brief(code, 20_000)).await;
    assert_eq!(ended.value(), Some(json!([[], []])));
    rig.close().await;
}

/// 50: two that run at once do not meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_50_two_sandboxes_are_apart() {
    let rig = Rig::new().await;
    let waits = "require('fs').writeFileSync('/tmp/mark', 'x'); \
        require('net').createServer().listen(4567, '0.0.0.0'); require('net').createServer().listen('\\0abstract'); \
        await ctx.log('info', 'listens'); await new Promise((done) => setTimeout(done, 4000)); return 1";
    let looks = "const net = require('net'), fs = require('fs'); \
        const connect = (to) => new Promise((done) => net.connect(to).on('connect', () => done(true)).on('error', () => done(false))); \
        const alive = fs.readdirSync('/proc').filter((it) => /^[0-9]+$/.test(it)); \
        return [await connect({port: 4567}), await connect({path: '\\0abstract'}), fs.existsSync('/tmp/mark'), \
          alive.length <= 3, (() => { try { process.kill(-1, 0); return true } catch { return false } })() && alive.length <= 3]";
    let first = start(&rig.engine, call(waits)).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let seen = run(&rig.engine, looks).await.value().unwrap();
    assert_eq!(
        seen.as_array().unwrap()[..4],
        [json!(false), json!(false), json!(false), json!(true)]
    );
    let asked = tokio::time::Instant::now();
    while rig.engine.status().running > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert!(
        asked.elapsed().as_millis() < 2_000 && rig.engine.status().running == 1,
        "the first one ran all the time"
    );
    drop(first);
    rig.close().await;
}

/// Any image with node will do, also one without a shell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_an_image_with_nothing_but_node_works() {
    let bare = testkit::docker::BARE_IMAGE;
    let rig = Rig::with(sandbox::docker::DockerEngineSettings {
        allowed_images: vec![bare.to_owned()],
        ..settings()
    })
    .await;
    let call = Call {
        image: bare.to_owned(),
        ..call("return [typeof require('fs').readFileSync, process.cwd()]")
    };
    let ended = run_call(&rig.engine, call).await;
    assert_eq!(ended.value(), Some(json!(["function", "/workspace"])));
    rig.close().await;
}

/// What this engine cannot do is said before anything runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_what_it_cannot_do_is_named() {
    let rig = Rig::new().await;
    let calls = [
        (
            Call {
                isolation: Isolation::Tool,
                ..call("return 1")
            },
            "MCP_SANDBOX_SHARED_TOOLS",
        ),
        (
            Call {
                image: "alpine:3".to_owned(),
                ..call("return 1")
            },
            "alpine:3",
        ),
    ];
    for (call, words) in calls {
        let error = rig.engine.supports(&call).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PolicyDenied, "{words}: {error}");
        assert!(error.to_string().contains(words), "{error}");
        let job = Job {
            deadline: tokio::time::Instant::now() + call.limits.timeout,
            call,
            request_id: domain::RequestId::random(),
            tenant: domain::TenantId::default(),
            slot: None,
        };
        assert!(rig.engine.start(job).await.is_err());
    }
    rig.close().await;
}

/// An image without node is told as that, and the others do not suffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_an_image_without_node_is_named() {
    let docker = testkit::docker::daemon();
    let name = format!("dynamic-mcp-test/none-{}:1", uuid::Uuid::new_v4().simple());
    let tar = tempfile::NamedTempFile::new().unwrap();
    let made = std::process::Command::new("tar")
        .args([
            "-cf",
            tar.path().to_str().unwrap(),
            "-C",
            "/etc",
            "hostname",
        ])
        .status();
    assert!(made.unwrap().success());
    docker
        .run(&["import", tar.path().to_str().unwrap(), &name])
        .await;
    let rig = Rig::with(sandbox::docker::DockerEngineSettings {
        allowed_images: vec![IMAGE.to_owned(), name.clone()],
        ..settings()
    })
    .await;
    let asked = Call {
        image: name.clone(),
        ..call("return 1")
    };
    let job = Job {
        deadline: tokio::time::Instant::now() + asked.limits.timeout,
        call: asked,
        request_id: domain::RequestId::random(),
        tenant: domain::TenantId::default(),
        slot: None,
    };
    let error = rig.engine.start(job).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    let fine: Option<Value> = run(&rig.engine, "return 1").await.value();
    assert_eq!(fine, Some(json!(1)));
    rig.close().await;
    docker.run(&["rmi", &name]).await;
}
