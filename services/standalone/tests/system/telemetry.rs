//! One call is one trace through every service, and one line in the log where it fails.

mod path;
mod profiles;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Era;
use testkit::otlp::{self, Span};
use testkit::receiver::Receiver;
use tokio::time::{Instant, sleep};

use self::path::Trace;
use crate::deployment::{Deployment, Kind};
use crate::sessions;

const CANARY: &str = "canary-6b1f";

/// Starts a deployment whose spans go to the receiver at once.
async fn traced(kind: Kind, receiver: &Receiver, protocol: &str) -> Deployment {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    Deployment::start(kind, &env).await
}

fn tool(name: &str, code: &str) -> Value {
    json!({"tool": {"name": name, "description": "d", "code": code}})
}

/// A trace of the caller, with its id and the id of his span.
fn parent(trace: char) -> (String, String, &'static str) {
    let id: String = std::iter::repeat_n(trace, 32).collect();
    let span = "b7ad6b7169203331";
    (format!("00-{id}-{span}-01"), id, span)
}

/// The trace once so many spans of it have come: each service sends its own when it likes.
async fn trace_of(receiver: &Receiver, id: &str, spans: usize) -> Trace {
    receiver
        .wait(|requests| {
            let all = otlp::spans(requests).into_iter();
            let found: Vec<Span> = all.filter(|span| span.trace_id == id).collect();
            (found.len() >= spans).then_some(Trace(found))
        })
        .await
}

#[tokio::test]
async fn a_call_is_one_trace_through_three_services() {
    let receiver = Receiver::start().await;
    let mut deployment = traced(Kind::Three, &receiver, "grpc").await;
    let client = deployment.client(Era::Modern);
    let code =
        format!("if (args.fail) throw new Error('{CANARY}'); return '{CANARY}' + args.secret");
    client
        .ok("dynamic.tool.create", tool("trace.one", &code))
        .await;

    // By `_meta`: the first call of a gateway, which also asks the registry for the code.
    deployment.restart_gateway().await;
    let client = deployment.client(Era::Modern);
    let (traceparent, id, above) = parent('1');
    let asked = json!({"name": "trace.one", "arguments": {"args": {"secret": CANARY}}});
    let meta = json!({"traceparent": traceparent, "tracestate": "vendor=1"});
    let answer = client
        .send_with_meta("tools/call", asked.clone(), meta)
        .await;
    assert!(answer.text().contains(CANARY), "{}", answer.text());
    let trace = trace_of(&receiver, &id, 12).await;
    let call = trace.below(above, "tools/call", "gateway");
    assert_eq!(call.attributes["tool"], "trace.one");
    trace.hop(call, "dynamic_mcp.v1.Catalog/GetCode", "registry");
    let run = trace.hop(call, "dynamic_mcp.v1.Runner/Run", "executor");
    trace.stages(run, "isolate");

    // By headers: the HTTP request is above the call.
    let (traceparent, id, above) = parent('2');
    let mut by_header = client.clone();
    by_header
        .headers
        .push(("traceparent".to_owned(), traceparent));
    by_header.send("tools/call", asked.clone()).await;
    let trace = trace_of(&receiver, &id, 11).await;
    let http = trace.below(above, "POST /mcp", "gateway");
    assert_eq!(http.attributes["http.response.status_code"], "200");
    let call = trace.below(&http.span_id, "tools/call", "gateway");
    trace.stages(
        trace.hop(call, "dynamic_mcp.v1.Runner/Run", "executor"),
        "isolate",
    );

    // One that fails is marked, and says its code and nothing else of it.
    let (traceparent, id, above) = parent('3');
    let mut failing = asked.clone();
    failing["arguments"]["args"]["fail"] = json!(true);
    let meta = json!({"traceparent": traceparent});
    client.send_with_meta("tools/call", failing, meta).await;
    let trace = trace_of(&receiver, &id, 10).await;
    let call = trace.below(above, "tools/call", "gateway");
    assert_eq!(call.attributes["code"], "tool_failed");

    // One that the caller does not record is not recorded here.
    let meta = json!({"traceparent": parent('4').0.replace("-01", "-00")});
    client
        .send_with_meta("tools/call", asked.clone(), meta)
        .await;
    // A name that stands for nothing can be any text.
    let meta = json!({"traceparent": parent('5').0});
    let unknown = json!({"name": format!("no.{CANARY}"), "arguments": {}});
    client.send_with_meta("tools/call", unknown, meta).await;
    trace_of(&receiver, &parent('5').1, 1).await;
    deployment.stop().await;
    let requests = receiver.requests();
    for request in &requests {
        let text = String::from_utf8_lossy(&request.body);
        assert!(
            !text.contains(CANARY) && !text.contains("return "),
            "{text}"
        );
    }
    let spans = otlp::spans(&requests);
    assert!(!spans.iter().any(|span| span.trace_id == parent('4').1));
    path::only_bounded(&spans);
}

#[tokio::test]
async fn without_grpc_the_stages_are_below_the_call() {
    let receiver = Receiver::start().await;
    let deployment = traced(Kind::Direct, &receiver, "http/protobuf").await;
    let client = deployment.client(Era::Modern);
    client
        .ok("dynamic.tool.create", tool("trace.two", "return 1"))
        .await;
    let (traceparent, id, above) = parent('6');
    let asked = json!({"name": "trace.two", "arguments": {"args": {}}});
    client
        .send_with_meta("tools/call", asked, json!({"traceparent": traceparent}))
        .await;
    let trace = trace_of(&receiver, &id, 8).await;
    let call = trace.below(above, "tools/call", "dynamic-mcp");
    trace.stages(call, "isolate");
    deployment.stop().await;
}

/// What an operation of a session waits for, and what it does.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("sandbox.exec", &["queue", "run"]),
    ("sandbox.run_js", &["queue", "write", "load", "run", "read"]),
    ("sandbox.files.write", &["queue", "write"]),
    ("sandbox.files.read", &["queue", "read"]),
    ("sandbox.files.list", &["queue", "read"]),
    ("sandbox.stop", &["teardown"]),
];

#[tokio::test]
async fn calls_and_sessions_in_containers_have_their_stages() {
    let receiver = Receiver::start().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let (deployment, client) = sessions::serve(Kind::Direct, &env).await;
    client
        .ok("dynamic.tool.create", tool("trace.three", "return 1"))
        .await;
    // Each in a trace of its own.
    let traced = async |trace: char, name: &str, arguments: Value| {
        let (traceparent, id, above) = parent(trace);
        let asked = json!({"name": name, "arguments": arguments});
        let meta = json!({"traceparent": traceparent});
        let answer = client.send_with_meta("tools/call", asked, meta).await;
        let mut result = answer.messages().pop().unwrap()["result"].take();
        assert_ne!(result["isError"], json!(true), "{name}: {result}");
        (id, above, result["structuredContent"].take())
    };
    let stages = async |(id, above): (String, &str), stages: &[&str]| {
        let trace = trace_of(&receiver, &id, stages.len() + 1).await;
        let call = trace.below(above, "tools/call", "dynamic-mcp");
        trace.these_stages(call, "docker", stages);
    };
    let (id, above, _) = traced('1', "trace.three", json!({"args": {}})).await;
    let trace = trace_of(&receiver, &id, 8).await;
    trace.stages(trace.below(above, "tools/call", "dynamic-mcp"), "docker");

    let (id, above, ready) = traced('2', "sandbox.initialize", json!({})).await;
    stages((id, above), &["take", "load"]).await;
    for ((tool, wanted), digit) in OPERATIONS.iter().zip('3'..) {
        let arguments = json!({
            "sandbox.exec": {"commands": [format!("echo {CANARY}")]},
            "sandbox.run_js": {"code": format!("return '{CANARY}'")},
            "sandbox.files.write": {"path": CANARY, "content": CANARY},
            "sandbox.files.read": {"path": CANARY},
            "sandbox.files.list": {"path": "."},
            "sandbox.stop": {},
        });
        let mut arguments = arguments[*tool].clone();
        arguments["sessionId"] = ready["sessionId"].clone();
        let (id, above, _) = traced(digit, tool, arguments).await;
        stages((id, above), wanted).await;
    }
    an_image_of_one_language_is_no_warning(&deployment).await;
    sessions::end(deployment).await;
    let requests = receiver.requests();
    for request in &requests {
        assert!(!String::from_utf8_lossy(&request.body).contains(CANARY));
    }
    path::only_bounded(&otlp::spans(&requests));
}

/// Which language an image is for is found out by trying it: that is said once, and nothing is wrong.
async fn an_image_of_one_language_is_no_warning(deployment: &Deployment) {
    let found = |text: &str| {
        let lines = deployment.front.log().into_iter();
        lines.filter(|line| line.contains(text)).count()
    };
    let begun = Instant::now();
    while found("the image has no such program") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is said");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(found("the image has no such program"), 1);
    assert_eq!(found("it needs `node` in its PATH"), 0);
}

/// Lines of all processes that belong to a request, with the process they are of.
fn lines(deployment: &Deployment, request: &str) -> Vec<(&'static str, Value)> {
    let inner = deployment.inner.as_ref().unwrap();
    let programs = [
        ("gateway", &deployment.front),
        ("registry", &inner.registry),
        ("executor", &inner.executor),
    ];
    let all = programs.into_iter().flat_map(|(name, program)| {
        program.log().into_iter().map(move |line| {
            let line: Value =
                serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
            (name, line)
        })
    });
    all.filter(|(_, line)| line["request_id"] == request)
        .collect()
}

#[tokio::test]
async fn a_failed_call_has_one_line_with_its_code_tool_and_ids() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    let code = "if (args.loop) while (true) {} ; if (args.big) return 'x'.repeat(5e6); throw new Error('no')";
    client
        .ok("dynamic.tool.create", tool("fails.always", code))
        .await;
    let (traceparent, trace_id, _) = parent('7');
    let cases = [
        ("tool_failed", "fails.always", json!({"args": {}})),
        (
            "output_too_large",
            "fails.always",
            json!({"args": {"big": true}}),
        ),
        ("invalid_argument", "fails.always", json!({"args": 7})),
        (
            "invalid_argument",
            "dynamic.tool.create",
            json!({"tool": {"name": "x"}}),
        ),
        (
            "not_found",
            "dynamic.tool.delete",
            json!({"name": "no.such.tool"}),
        ),
        ("unknown_tool", "no.such.tool", json!({})),
    ];
    for (number, (code, tool, arguments)) in cases.iter().enumerate() {
        let id = format!("request-{number}");
        let mut client = client.clone();
        client.headers.push(("x-request-id".to_owned(), id.clone()));
        client
            .headers
            .push(("traceparent".to_owned(), traceparent.clone()));
        let asked = json!({"name": tool, "arguments": arguments});
        client.send("tools/call", asked).await;
        let end = Instant::now() + Duration::from_secs(10);
        while lines(&deployment, &id).is_empty() {
            assert!(Instant::now() < end, "{code}: no line");
            sleep(Duration::from_millis(10)).await;
        }
        let found = lines(&deployment, &id);
        let [(service, line)] = found.as_slice() else {
            panic!("{code}: {found:#?}")
        };
        assert_eq!(
            (*service, line["message"].as_str()),
            ("gateway", Some("tool call"))
        );
        assert_eq!(line["outcome"], *code, "{line}");
        assert_eq!(line["tool"], *tool);
        assert_eq!(line["trace_id"], trace_id.as_str());
    }
    deployment.stop().await;
}

#[tokio::test]
async fn a_fault_behind_the_gateway_has_one_line_there_and_its_report() {
    let receiver = Receiver::start().await;
    let dsn = receiver.endpoint.replace("http://", "http://key@") + "/7";
    let deployment = Deployment::start(Kind::Three, &[("SENTRY_DSN", &dsn)]).await;
    let client = deployment.client(Era::Modern);
    client
        .ok("dynamic.tool.create", tool("fault.one", "return 1"))
        .await;
    // Somebody else's hands in the database.
    path::break_store(deployment.folder());
    let mut broken = client.clone();
    broken
        .headers
        .push(("x-request-id".to_owned(), "request-broken".to_owned()));
    let arguments = json!({"name": "fault.one", "patch": {"title": CANARY}});
    let answer = broken.call("dynamic.tool.update", arguments).await;
    assert_eq!(answer["structuredContent"]["code"], "internal", "{answer}");
    let report = receiver.wait(|requests| requests.first().cloned()).await;
    let text = String::from_utf8(report.body.to_vec()).unwrap();
    assert!(
        text.contains("\"fault\":\"internal\"") && text.contains("registry@"),
        "{text}"
    );
    assert!(
        !text.contains(CANARY) && !text.contains("request-broken"),
        "{text}"
    );
    // What was logged is read by another task.
    let end = Instant::now() + Duration::from_secs(10);
    while lines(&deployment, "request-broken").len() < 2 && Instant::now() < end {
        sleep(Duration::from_millis(10)).await;
    }
    let found = lines(&deployment, "request-broken");
    let grave: Vec<_> = found
        .iter()
        .filter(|(_, line)| matches!(line["level"].as_str(), Some("ERROR" | "WARN")))
        .collect();
    assert_eq!(grave.len(), 1, "{found:#?}");
    assert_eq!(grave[0].0, "registry");
    let calls = found
        .iter()
        .filter(|(_, line)| line["message"] == "tool call");
    assert_eq!(calls.count(), 1, "{found:#?}");
}
