use super::*;
use domain::runner::{Failure, Usage};
use domain::schema::Role;

fn outcome(result: Option<&str>) -> Outcome {
    Outcome {
        result: Ok(result.map(|text| RawValue::from_string(text.to_owned()).unwrap())),
        printed: Vec::new(),
        truncated: false,
        usage: Usage::default(),
    }
}

fn settle(outcome: Outcome, schema: Option<&str>) -> (Value, Option<ErrorCode>) {
    let request = RequestId::accept("r-1").unwrap();
    let schema = schema.map(|text| {
        let text = RawValue::from_string(text.to_owned()).unwrap();
        Schema::compile(Role::Output, &text).unwrap()
    });
    let settling = Settling {
        tool: "a.tool",
        output: schema.as_ref(),
        default_form: false,
        as_printed: false,
        request: &request,
        max_text_bytes: 1_000,
        took: Duration::from_millis(5),
    };
    let (result, code) = settling.settle(outcome).unwrap();
    let shown = json!({
        "content": serde_json::from_str::<Value>(result.content.get()).unwrap(),
        "structured": result.structured_content.map(|raw| {
            serde_json::from_str::<Value>(raw.get()).unwrap()
        }),
        "isError": result.is_error,
        "meta": result.meta,
    });
    (shown, code)
}

#[test]
fn a_plain_result_has_the_node_servers_form() {
    let (shown, code) = settle(outcome(Some(r#"{"sum":5}"#)), None);
    assert_eq!(code, None);
    assert_eq!(
        shown["structured"],
        json!({"ok": true, "result": {"sum": 5}, "durationMs": 5})
    );
    assert_eq!(
        shown["content"],
        json!([{"type": "text", "text":
            "Dynamic tool succeeded: a.tool\n\nDuration: 5ms\n\nResult:\n{\n  \"sum\": 5\n}"}])
    );
    let (shown, _) = settle(outcome(None), None);
    assert_eq!(shown["structured"], json!({"ok": true, "durationMs": 5}));
    assert!(
        shown["content"][0]["text"]
            .as_str()
            .unwrap()
            .ends_with("Result:\nundefined")
    );
}

#[test]
fn printed_text_comes_along() {
    let mut printing = outcome(Some("1"));
    printing.printed = vec![Printed {
        level: LogLevel::Info,
        message: "hello".into(),
    }];
    printing.truncated = true;
    let (shown, _) = settle(printing.clone(), None);
    let logs = shown["structured"]["logs"].clone();
    assert_eq!(logs[0], json!({"level": "info", "message": "hello"}));
    assert_eq!(logs[1]["level"], "warning");
    let (shown, _) = settle(printing, Some("{}"));
    assert_eq!(shown["meta"][META_LOGS], logs);
    assert_eq!(shown["structured"], 1);
}

#[test]
fn a_failure_has_code_and_message() {
    let failure = Failure {
        code: ErrorCode::ToolFailed,
        message: "it broke".into(),
        may_have_run: true,
    };
    let (shown, code) = settle(
        Outcome {
            result: Err(failure),
            ..outcome(None)
        },
        None,
    );
    assert_eq!(code, Some(ErrorCode::ToolFailed));
    assert_eq!(
        shown["structured"],
        json!({"ok": false, "error": "it broke", "code": "tool_failed", "durationMs": 5})
    );
    assert_eq!(shown["isError"], true);
    assert_eq!(
        shown["content"][0]["text"],
        "Dynamic tool failed: a.tool\n\nDuration: 5ms\n\nit broke\n\nCode: tool_failed"
    );
}

#[test]
fn an_output_schema_is_kept() {
    let schema = r#"{"type":"object","properties":{"at":{"type":"string","format":"date-time"}},
        "required":["at"]}"#;
    let (shown, code) = settle(
        outcome(Some(r#"{"at":"2026-01-02T03:04:05Z"}"#)),
        Some(schema),
    );
    assert_eq!(code, None);
    assert_eq!(shown["structured"], json!({"at": "2026-01-02T03:04:05Z"}));
    assert_eq!(
        shown["content"][0]["text"],
        r#"{"at":"2026-01-02T03:04:05Z"}"#
    );
    for (bad, told) in [
        (Some(r#"{"at":"yesterday"}"#), "/at"),
        (Some(r#"{"at":"yesterday"}"#), "[format]"),
        (Some("{}"), "[required]"),
        (Some("7"), "[type]"),
        (None, "returned nothing"),
    ] {
        let (shown, code) = settle(outcome(bad), Some(schema));
        assert_eq!(code, Some(ErrorCode::ToolFailed), "{bad:?}");
        // structuredContent belongs to the author's schema, which a failure does not fit.
        assert_eq!(shown["structured"], Value::Null);
        let failure = &shown["meta"][error::META_ERROR];
        assert_eq!(failure["code"], "tool_failed");
        let error = failure["error"].as_str().unwrap();
        assert!(error.contains(told), "{error}");
        assert!(shown["content"][0]["text"].as_str().unwrap().contains(told));
    }
}

#[test]
fn mcp_content_goes_through_as_it_is() {
    let text = r#"{"content":[{"type":"text","text":"a"},{"type":"resource_link","uri":"u:v","name":"n","size":3}],"isError":true,"structuredContent":[1]}"#;
    let (shown, code) = settle(outcome(Some(text)), None);
    assert_eq!(code, Some(ErrorCode::ToolFailed));
    assert_eq!(shown["isError"], true);
    assert_eq!(shown["structured"], json!([1]));
    assert_eq!(shown["content"][1]["size"], 3);
    let (shown, code) = settle(outcome(Some(r#"{"content":[]}"#)), None);
    assert_eq!(
        (code, &shown["content"], &shown["structured"]),
        (None, &json!([]), &Value::Null)
    );
}

#[test]
fn broken_mcp_content_is_the_tools_failure_and_names_the_block() {
    for (bad, told) in [
        (
            r#"{"content":[{"type":"text","text":"a"},{"type":"text"}]}"#,
            "content[1]",
        ),
        (r#"{"content":["a"],"isError":false}"#, "content[0]"),
        (r#"{"content":[],"isError":"no"}"#, "isError"),
    ] {
        let (shown, code) = settle(outcome(Some(bad)), None);
        assert_eq!(code, Some(ErrorCode::ToolFailed));
        assert!(
            shown["structured"]["error"]
                .as_str()
                .unwrap()
                .contains(told)
        );
    }
}

#[test]
fn data_that_happens_to_have_content_is_data() {
    for data in [
        r#"{"content":[{"id":1}],"total":1}"#,
        r#"{"content":"text"}"#,
        r#"{"deep":{"content":[1]}}"#,
        r#"[{"content":[1]}]"#,
    ] {
        let (shown, code) = settle(outcome(Some(data)), None);
        assert_eq!(code, None, "{data}");
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(shown["structured"]["result"], value);
    }
}

#[test]
fn content_of_a_tool_with_an_output_schema_has_structured_content_that_fits() {
    let schema = r#"{"type":"object","required":["n"]}"#;
    let content = r#""content":[{"type":"text","text":"a"}]"#;
    let (_, code) = settle(
        outcome(Some(&format!(
            r#"{{{content},"structuredContent":{{"n":1}}}}"#
        ))),
        Some(schema),
    );
    assert_eq!(code, None);
    for bad in [
        format!("{{{content}}}"),
        format!(r#"{{{content},"structuredContent":{{}}}}"#),
    ] {
        let (_, code) = settle(outcome(Some(&bad)), Some(schema));
        assert_eq!(code, Some(ErrorCode::ToolFailed));
    }
    let failing = format!(r#"{{{content},"isError":true}}"#);
    let (shown, _) = settle(outcome(Some(&failing)), Some(schema));
    assert_eq!(shown["isError"], true);
    let told = |structured: &str| {
        let failing = format!(r#"{{{content},"isError":true,"structuredContent":{structured}}}"#);
        settle(outcome(Some(&failing)), Some(schema)).0
    };
    assert_eq!(told(r#"{"n":2}"#)["structured"], json!({"n": 2}));
    let unfit = told(r#"{"why":"x"}"#);
    assert_eq!(unfit["structured"], Value::Null);
    assert_eq!(unfit["content"][0]["text"], "a");
    let kept = &unfit["meta"][error::META_ERROR];
    assert_eq!(kept["structuredContent"], json!({"why": "x"}));
    assert!(kept["error"].as_str().unwrap().contains("[required]"));
}

#[test]
fn content_of_one_off_code_keeps_the_form_that_the_tool_promises() {
    let request = RequestId::accept("r-1").unwrap();
    let settling = Settling {
        tool: "run_js_ephemeral",
        output: None,
        default_form: true,
        as_printed: false,
        request: &request,
        max_text_bytes: 1_000,
        took: Duration::from_millis(5),
    };
    let text = r#"{"content":[{"type":"text","text":"a"}],"structuredContent":[1]}"#;
    let (result, code) = settling.settle(outcome(Some(text))).unwrap();
    assert_eq!(code, None);
    assert_eq!(result.content.get(), r#"[{"type":"text","text":"a"}]"#);
    let structured = result.structured_content.unwrap();
    assert_eq!(
        structured.get(),
        r#"{"ok":true,"result":[1],"durationMs":5}"#
    );
}

/// Faults 70 and 71: a result that clients cannot parse is told so, in every form that it can have.
#[test]
fn fault_70_71_a_result_nested_without_end_is_a_failure_of_the_tool() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let content = r#""content":[{"type":"text","text":"x"}]"#;
    let results = [
        deep.clone(),
        format!("{{{content},\"structuredContent\":{{\"d\":{deep}}}}}"),
        format!("{{{content},\"isError\":true,\"structuredContent\":{{\"d\":{deep}}}}}"),
    ];
    for result in &results {
        for schema in [None, Some(r#"{"type":"object"}"#)] {
            let (shown, code) = settle(outcome(Some(result)), schema);
            assert_eq!(code, Some(ErrorCode::ToolFailed));
            let text = shown["content"][0]["text"].as_str().unwrap();
            assert!(text.contains("nested deeper than 100 levels"), "{text}");
        }
    }
    let bound = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(settle(outcome(Some(&bound)), None).1, None);
}

/// JSON has no bounds for numbers, but what checks and rewrites it does.
#[test]
fn a_number_that_no_value_can_hold_is_no_panic() {
    let result = r#"{"content":[],"isError":true,"structuredContent":{"n":1e999}}"#;
    let (shown, code) = settle(outcome(Some(result)), Some(r#"{"type":"object"}"#));
    assert_eq!(code, Some(ErrorCode::ToolFailed));
    assert_eq!(
        shown["meta"][error::META_ERROR]["structuredContent"],
        r#"{"n":1e999}"#
    );
}
