//! Writes that are sent twice and happen once.

use std::sync::Arc;

use domain::{CallContext, ErrorCode, IdempotencyKey, Principal, Revision};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Catalogs, Rules, admin, caller, name, patch, refused, small};

/// The same caller with a key.
fn with(mut me: CallContext, key: &str) -> CallContext {
    me.idempotency_key = Some(IdempotencyKey::parse(key).unwrap());
    me
}

/// A creation, a change and a deletion, each sent again, also through the other side and after others
/// have written: the answer is that of the first time, and nothing happens.
pub async fn a_write_with_a_key_happens_once(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (here, there) = (&subject.catalog, &subject.other);
    let create = with(admin(), "create-1");
    let made = here.create(&create, small("once")).await.unwrap();
    assert_eq!(there.create(&create, small("once")).await.unwrap(), made);

    let update = with(admin(), "update-1");
    let change = || patch(&json!({ "description": "changed", "title": "é" }));
    let tool = name("once");
    let expected = Some(Revision(1));
    let changed = here.update(&update, &tool, change(), expected).await;
    let changed = changed.unwrap();
    assert_eq!(changed.revision, Revision(2));
    let later = patch(&json!({ "description": "of somebody else" }));
    let later = here.update(&admin(), &tool, later, None).await.unwrap();
    for side in [there, here] {
        let again = side.update(&update, &tool, change(), expected).await;
        assert_eq!(again.unwrap(), changed);
        assert_eq!(side.create(&create, small("once")).await.unwrap(), made);
    }
    let now = there.get(&admin(), &tool, None).await.unwrap();
    assert_eq!(now.record, later);

    let delete = with(admin(), "delete-1");
    let deleted = here.delete(&delete, &tool, None).await.unwrap();
    assert_eq!(there.delete(&delete, &tool, None).await.unwrap(), deleted);
    let anew = here.create(&admin(), small("once")).await.unwrap();
    assert_eq!(there.delete(&delete, &tool, None).await.unwrap(), deleted);
    // The first creation is answered as it was; what is there now is another tool.
    assert_eq!(here.create(&create, small("once")).await.unwrap(), made);
    let now = there.get(&admin(), &tool, None).await.unwrap();
    assert_eq!(now.record, anew);
}

/// The same key with another request is refused; with another caller it is another key.
pub async fn a_key_is_of_one_request_of_one_caller(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let catalog = &subject.catalog;
    let me = with(admin(), "key");
    catalog.create(&me, small("mine")).await.unwrap();
    let tool = name("mine");
    let mut longer = small("mine");
    longer.code = "return 2".into();
    let change = || patch(&json!({ "enabled": false }));
    let errors = [
        catalog.create(&me, small("other")).await.err(),
        catalog.create(&me, longer).await.err(),
        catalog.update(&me, &tool, change(), None).await.err(),
        catalog.delete(&me, &tool, None).await.err(),
    ];
    for error in errors {
        let error = error.expect("another request");
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{error}");
        assert_eq!(error.field(), Some("idempotencyKey"), "{error}");
    }
    let there = catalog.get(&admin(), &tool, None).await.unwrap();
    assert_eq!(there.record.revision, Revision(1));
    refused(
        catalog.get(&admin(), &name("other"), None).await,
        ErrorCode::NotFound,
    );

    let mut somebody = me.clone();
    somebody.principal = Arc::new(Principal {
        subject: "somebody".to_owned(),
        ..(*me.principal).clone()
    });
    catalog.create(&somebody, small("theirs")).await.unwrap();
    let elsewhere = with(caller("elsewhere", &["mcp:admin"]), "key");
    catalog.create(&elsewhere, small("mine2")).await.unwrap();
}

/// What was refused has left nothing: the same request with the same key is decided anew.
pub async fn a_refused_write_keeps_no_answer(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let catalog = &subject.catalog;
    let tool = name("soon");
    let me = with(admin(), "early");
    let change = || patch(&json!({ "description": "changed" }));
    let early = catalog
        .update(&me, &tool, change(), Some(Revision(2)))
        .await;
    refused(early, ErrorCode::NotFound);
    catalog.create(&admin(), small("soon")).await.unwrap();
    let early = catalog
        .update(&me, &tool, change(), Some(Revision(2)))
        .await;
    refused(early, ErrorCode::RevisionConflict);
    let enabled = patch(&json!({ "enabled": true }));
    catalog
        .update(&admin(), &tool, enabled, None)
        .await
        .unwrap();
    let made = catalog
        .update(&me, &tool, change(), Some(Revision(2)))
        .await;
    assert_eq!(made.unwrap().revision, Revision(3));
}

/// One write sent 64 times at once, half of it to the other side: it is made once, and every sender
/// gets its answer.
pub async fn of_64_senders_of_one_write_all_get_its_answer(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    subject
        .catalog
        .create(&admin(), small("same"))
        .await
        .unwrap();
    for round in 1..=5_u64 {
        let mut senders = JoinSet::new();
        for at in 0..64 {
            let sides = [&subject.catalog, &subject.other];
            let side = Arc::clone(sides[at % 2]);
            let me = with(admin(), &format!("round-{round}"));
            senders.spawn(async move {
                let change = patch(&json!({ "description": format!("round {round}") }));
                let expected = Some(Revision(round));
                side.update(&me, &name("same"), change, expected).await
            });
        }
        let answers = senders.join_all().await;
        let first = answers[0].as_ref().unwrap().clone();
        assert_eq!(first.revision, Revision(round + 1));
        for answer in answers {
            assert_eq!(answer.unwrap(), first, "round {round}");
        }
    }
    let there = subject.other.get(&admin(), &name("same"), None).await;
    assert_eq!(there.unwrap().record.revision, Revision(6));
}

/// Reading, changing and deleting a tool whose scopes a caller lacks is answered as if there were no
/// such tool: same code, same text, same fields.
pub async fn what_a_caller_may_not_use_it_may_not_read_or_change(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let catalog = &subject.catalog;
    let mut secret = small("secret");
    secret.spec.required_scopes = ["team:a".to_owned()].into();
    let made = catalog.create(&admin(), secret).await.unwrap();
    let all = ["mcp:invoke", "mcp:tools:read", "mcp:tools:write"];
    let outsider = caller("default", &all);
    let mut answers = Vec::new();
    for tool in ["secret", "absent"] {
        let tool = name(tool);
        let revision = made.revision;
        let change = || patch(&json!({ "enabled": false, "requiredScopes": [] }));
        let errors = [
            catalog.get(&outsider, &tool, None).await.err(),
            catalog.get(&outsider, &tool, Some(revision)).await.err(),
            catalog.code(&outsider, &tool, revision).await.err(),
            catalog.lock(&outsider, &tool, revision).await.err(),
            catalog.update(&outsider, &tool, change(), None).await.err(),
            catalog
                .update(&outsider, &tool, change(), Some(revision))
                .await
                .err(),
            catalog
                .update(&outsider, &tool, change(), Some(Revision(9)))
                .await
                .err(),
            catalog.delete(&outsider, &tool, None).await.err(),
            catalog.delete(&outsider, &tool, Some(revision)).await.err(),
            catalog
                .delete(&outsider, &tool, Some(Revision(9)))
                .await
                .err(),
        ];
        answers.push(errors.map(|error| {
            let error = error.expect("refused");
            assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
            let text = error.to_string().replace(tool.as_str(), "NAME");
            let place = (
                error.field().map(str::to_owned),
                error.limit().map(str::to_owned),
            );
            (text, place, error.fix().map(str::to_owned))
        }));
    }
    assert_eq!(answers[0], answers[1]);
    let there = catalog.get(&admin(), &made.name, None).await.unwrap();
    assert_eq!(there.record, made);

    let member = caller("default", &[&all[..], &["team:a"]].concat());
    catalog.get(&member, &made.name, None).await.unwrap();
    let change = patch(&json!({ "description": "ours" }));
    catalog
        .update(&member, &made.name, change, None)
        .await
        .unwrap();
    catalog.delete(&member, &made.name, None).await.unwrap();
}
