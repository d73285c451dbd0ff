//! Every word has its number, and what is no proper value is refused by its field.

use domain::runner::{EngineKind, LogLevel};
use domain::tool::{EngineChoice, Isolation, Runtime};
use domain::{ErrorCode, TenantId};

use super::words::Word;
use super::*;
use crate::pb;

fn table<W: Word + std::fmt::Debug>(count: usize) {
    assert_eq!(W::TABLE.len(), count);
    for (word, _) in W::TABLE {
        assert_ne!(word.wire(), 0, "{word:?}");
        assert!(W::of_wire("f", word.wire()).unwrap().same(*word));
    }
    for wire in [0, -1, 99] {
        assert_eq!(W::of_wire("f", wire).unwrap_err().field(), Some("f"));
    }
}

#[test]
fn every_word_has_a_number_of_its_own() {
    table::<Runtime>(2);
    table::<EngineChoice>(2);
    table::<EngineKind>(2);
    table::<Isolation>(2);
    table::<LogLevel>(LogLevel::ALL.len());
}

#[test]
fn what_is_no_call_is_refused_by_its_field() {
    let good = call_to(&TenantId::default(), testkit::call("return 1"));
    assert!(call_from(good.clone()).is_ok());
    let field = |change: fn(&mut pb::Call)| {
        let mut call = good.clone();
        change(&mut call);
        let error = call_from(call).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        error.field().unwrap().to_owned()
    };
    assert_eq!(
        field(|call| call.args_json = "{".to_owned()),
        "call.args_json"
    );
    assert_eq!(
        field(|call| call.args_json = String::new()),
        "call.args_json"
    );
    assert_eq!(
        field(|call| call.args_json = "{} {}".to_owned()),
        "call.args_json"
    );
    assert_eq!(field(|call| call.code_digest.clear()), "code_digest");
    assert_eq!(field(|call| call.limits = None), "call.limits");
    assert_eq!(field(|call| call.runtime = 0), "call.runtime");
    assert_eq!(field(|call| call.engine = 7), "call.engine");
    assert_eq!(field(|call| call.isolation = -1), "call.isolation");
    assert_eq!(field(|call| call.log_level = Some(0)), "call.log_level");
    let capabilities = |call: &mut pb::Call| call.client_capabilities_json = Some("x".to_owned());
    assert_eq!(field(capabilities), "call.client_capabilities_json");
}

#[test]
fn what_is_no_tool_or_patch_is_refused_by_its_field() {
    let good = draft_to(&TenantId::default(), testkit::draft("abc"));
    assert!(draft_from(good.clone()).is_ok());
    let field = |change: fn(&mut pb::CreateRequest)| {
        let mut request = good.clone();
        change(&mut request);
        draft_from(request).unwrap_err().field().unwrap().to_owned()
    };
    assert_eq!(field(|request| request.name = "a b".to_owned()), "name");
    assert_eq!(field(|request| request.spec = None), "spec");
    let schema = |request: &mut pb::CreateRequest| {
        request.spec.as_mut().unwrap().input_schema_json = Some("nope".to_owned());
    };
    assert_eq!(field(schema), "spec.input_schema_json");
    let patch = |patch: pb::ToolPatch| patch_from(patch).unwrap_err().field().unwrap().to_owned();
    assert_eq!(
        patch(pb::ToolPatch {
            clear: vec![0],
            ..Default::default()
        }),
        "patch.clear"
    );
    assert_eq!(
        patch(pb::ToolPatch {
            clear: vec![99],
            ..Default::default()
        }),
        "patch.clear"
    );
    let annotations = pb::ToolPatch {
        annotations_json: Some("{".into()),
        ..Default::default()
    };
    assert_eq!(patch(annotations), "patch.annotations_json");
    assert_eq!(
        patch(pb::ToolPatch {
            runtime: Some(5),
            ..Default::default()
        }),
        "patch.runtime"
    );
}

#[test]
fn an_empty_message_is_no_event_and_no_change() {
    assert_eq!(
        event_from(pb::RunResponse::default()).unwrap_err().field(),
        Some("event")
    );
    assert_eq!(
        change_from(pb::CatalogWatchResponse::default())
            .unwrap_err()
            .field(),
        Some("change")
    );
    assert_eq!(record_from(None).unwrap_err().field(), Some("tool"));
    let failure = pb::Failure {
        code: "oops".to_owned(),
        ..Default::default()
    };
    let outcome = pb::Outcome {
        result: Some(pb::outcome::Result::Failure(failure)),
        ..Default::default()
    };
    let finished = pb::RunResponse {
        event: Some(pb::run_response::Event::Finished(outcome)),
    };
    assert_eq!(
        event_from(finished).unwrap_err().field(),
        Some("finished.code")
    );
}
