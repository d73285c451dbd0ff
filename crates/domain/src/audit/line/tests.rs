use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::call::CallContext;
use crate::principal::Principal;
use crate::{CallId, RequestId};

const WRITER: Writer = Writer {
    service: "dynamic-mcp",
    version: "1.2.3",
    max_bytes: 20_000,
};

fn record() -> Record {
    let principal = std::sync::Arc::new(Principal::anonymous(&[]));
    let id = RequestId::accept("r-1").unwrap();
    let mut context = CallContext::new(principal, id, Duration::from_secs(1));
    context.call_id = CallId::parse("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap();
    context.source = Some([127, 0, 0, 1].into());
    Record {
        time: "2026-01-02T03:04:05.678999Z".parse().unwrap(),
        target: Some("math.add".to_owned()),
        code: Some(ErrorCode::ToolFailed),
        duration: Some(Duration::from_micros(12_345)),
        ..Record::of_call(&context, Action::Exec, Outcome::Error).with("revision", 3)
    }
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_line_has_this_form() {
    let link = Link {
        seq: 7,
        prev: [0xab; 32],
    };
    let line = WRITER.line(&record(), &link).unwrap();
    let prev = "ab".repeat(32);
    assert_eq!(
        line,
        format!(
            "{}{}{}",
            r#"{"timestamp":"2026-01-02T03:04:05.678Z","service":"dynamic-mcp","serviceVersion":"1.2.3","requestId":"r-1","callId":"67e55044-10b1-426f-9247-bb680e5fe0c8","actor":{"subject":"anonymous","tenant":"default"},"#,
            r#""action":"dynamic.exec","target":"math.add","result":"error","code":"tool_failed","durationMs":12.345,"source":"127.0.0.1","details":{"revision":3},"#,
            format_args!(r#""seq":7,"prev":"{prev}"}}"#),
        )
    );
}

#[test]
fn secrets_are_redacted_in_the_line() {
    let record = record().with("nested", json!([{"apiKey": "canary", "plain": "seen"}]));
    let line = WRITER.line(&record, &Link::FIRST).unwrap();
    assert!(!line.contains("canary") && line.contains("seen"), "{line}");
    assert_eq!(
        parsed(&line)["details"]["nested"][0]["apiKey"],
        "[REDACTED]"
    );
}

#[test]
fn the_largest_details_go_first_when_a_line_is_too_long() {
    let record = record()
        .with("schema", "s".repeat(30_000))
        .with("description", "d".repeat(4_000));
    let line = WRITER.line(&record, &Link::FIRST).unwrap();
    assert!(line.len() <= WRITER.max_bytes);
    let details = &parsed(&line)["details"];
    assert_eq!(details["truncated"], true);
    assert_eq!(details["reason"], "payload exceeds 20000 bytes");
    assert_eq!(details["leftOut"], json!(["schema"]));
    assert_eq!(details["revision"], 3);
    assert_eq!(details["description"].as_str().unwrap().len(), 4_000);
}

#[test]
fn no_text_of_a_caller_leaves_its_string() {
    let mut record = record();
    let nasty = "a\n{\"action\":\"x\"}\r\u{1b}[2J\u{85}\u{2028}\u{202e}\u{7f}\"";
    record.actor.subject = nasty.to_owned();
    let line = WRITER.line(&record, &Link::FIRST).unwrap();
    assert!(!line.chars().any(misleads), "{line:?}");
    assert_eq!(parsed(&line)["actor"]["subject"], nasty);
    assert_eq!(parsed(&line)["action"], "dynamic.exec");
}

proptest! {
    #[test]
    fn every_line_is_json_within_its_limit(
        subject in ".{1,256}",
        target in "\\PC{0,128}|[\u{0}-\u{1f}]{0,128}",
        details in proptest::collection::btree_map(".{0,300}", ".{0,900}", 0..8),
        max_bytes in 1_000usize..4_000,
    ) {
        let mut record = record();
        record.actor.subject = subject.clone();
        record.actor.client_id = Some(subject.clone());
        record.request_id = RequestId::accept(&"\"".repeat(128));
        record.target = Some(target);
        for (key, value) in details {
            record = record.with(&key, value);
        }
        let writer = Writer { max_bytes, ..WRITER };
        let line = writer.line(&record, &Link::FIRST).unwrap();
        prop_assert!(line.len() <= max_bytes, "{} > {max_bytes}: {line}", line.len());
        prop_assert!(!line.chars().any(misleads));
        let value = parsed(&line);
        let cut = value["details"]["truncated"] == true;
        prop_assert!(cut || value["actor"]["subject"] == subject.as_str());
        prop_assert_eq!(Link::after(line.as_bytes()).seq, 2);
    }
}
