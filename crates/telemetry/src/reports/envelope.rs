//! The bytes of one report.

use serde_json::json;
use uuid::Uuid;

use super::ReportSettings;

/// One fault: nothing in it was written by a user.
#[derive(Debug)]
pub(super) struct Fault {
    /// `internal` or `panic`.
    pub(super) kind: String,
    /// The literal message of the event.
    pub(super) message: String,
    pub(super) target: &'static str,
    pub(super) file: &'static str,
    pub(super) line: u32,
    /// Where it came from, where that is another place.
    pub(super) at: Option<String>,
    /// Names of the spans around it, the nearest first.
    pub(super) spans: Vec<&'static str>,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
}

/// An envelope with one event.
pub(super) fn write(fault: &Fault, about: &ReportSettings) -> Vec<u8> {
    let id = Uuid::new_v4().simple().to_string();
    let now = jiff::Timestamp::now().to_string();
    let at = match &fault.at {
        Some(at) => at.clone(),
        None => format!("{}:{}", fault.file, fault.line),
    };
    let trace = fault.trace_id.as_ref().map(|trace_id| {
        let span_id = fault.span_id.as_deref().unwrap_or("0000000000000001");
        json!({"trace": {"trace_id": trace_id, "span_id": span_id}})
    });
    let event = json!({
        "event_id": id,
        "timestamp": now,
        "platform": "native",
        "level": "error",
        "logger": fault.target,
        "release": format!("{}@{}+{}", about.service, about.version, about.commit),
        "tags": {"service": about.service, "fault": fault.kind, "at": at},
        "exception": {"values": [{
            "type": fault.kind,
            "value": fault.message,
            "mechanism": {"type": "generic", "handled": fault.kind != "panic"},
        }]},
        "fingerprint": [fault.kind, fault.message, at],
        "contexts": trace.unwrap_or_else(|| json!({})),
        "extra": {"spans": fault.spans},
    })
    .to_string();
    let header = json!({"event_id": id, "sent_at": now});
    let item = json!({"type": "event", "content_type": "application/json", "length": event.len()});
    format!("{header}\n{item}\n{event}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::Dsn;
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_envelope_is_three_lines_whose_lengths_are_right() {
        let fault = Fault {
            kind: "internal".to_owned(),
            message: "internal error".to_owned(),
            target: "rpc::status",
            file: "crates/rpc/src/status.rs",
            line: 64,
            at: None,
            spans: vec!["grpc"],
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            span_id: None,
        };
        let about = ReportSettings {
            dsn: Dsn::parse("https://canary@h/1").unwrap(),
            service: "gateway",
            version: "1.2.3",
            commit: "abc",
        };
        let text = String::from_utf8(write(&fault, &about)).unwrap();
        assert!(!text.contains("canary"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let [header, item, event] = lines.as_slice() else {
            panic!("{text}")
        };
        let header: Value = serde_json::from_str(header).unwrap();
        let item: Value = serde_json::from_str(item).unwrap();
        assert_eq!(item["length"], event.len());
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["event_id"], header["event_id"]);
        assert_eq!(event["event_id"].as_str().unwrap().len(), 32);
        assert_eq!(event["release"], "gateway@1.2.3+abc");
        assert_eq!(event["tags"]["at"], "crates/rpc/src/status.rs:64");
        assert_eq!(
            event["contexts"]["trace"]["trace_id"],
            "0af7651916cd43dd8448eb211c80319c"
        );
    }
}
