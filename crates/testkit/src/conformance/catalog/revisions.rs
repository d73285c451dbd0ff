//! Revisions and what is expected of them.

use domain::{ErrorCode, Revision};
use serde_json::json;

use super::{Catalogs, Rules, admin, name, patch, refused, small};

/// Old revisions keep their definition and their code.
pub async fn every_revision_stays_readable(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let mut records = vec![catalog.create(&me, small("old")).await.unwrap()];
    for at in 2..=6 {
        let change = json!({ "description": format!("d{at}"), "code": format!("return {at}") });
        records.push(
            catalog
                .update(&me, &name("old"), patch(&change), None)
                .await
                .unwrap(),
        );
    }
    for (at, record) in (1..).zip(&records) {
        let read = catalog
            .get(&me, &record.name, Some(Revision(at)))
            .await
            .unwrap();
        assert_eq!(
            (&read.record, &*read.code),
            (record, &*format!("return {at}"))
        );
        let code = catalog.code(&me, &record.name, Revision(at)).await.unwrap();
        assert_eq!(code, read.code);
    }
}

/// Beyond the number that is kept, the oldest is gone; code that others still have is not.
pub async fn the_oldest_revision_goes_first(catalogs: &dyn Catalogs) {
    let rules = Rules {
        max_revisions: 3,
        ..Rules::default()
    };
    let subject = catalogs.make(rules).await;
    let (catalog, me, tool) = (&subject.catalog, admin(), name("kept"));
    catalog.create(&me, small("kept")).await.unwrap();
    for description in ["2", "3", "4", "5"] {
        let change = patch(&json!({ "description": description }));
        catalog.update(&me, &tool, change, None).await.unwrap();
    }
    for gone in [1, 2] {
        refused(
            catalog.get(&me, &tool, Some(Revision(gone))).await,
            ErrorCode::NotFound,
        );
    }
    for kept in [3, 4, 5] {
        let read = catalog.get(&me, &tool, Some(Revision(kept))).await.unwrap();
        assert_eq!(
            (&*read.record.spec.description, &*read.code),
            (&*kept.to_string(), "return 1")
        );
    }
}

/// As in the Node server.
pub async fn an_update_that_changes_nothing_is_a_revision(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let made = catalog.create(&me, small("same")).await.unwrap();
    let again = catalog
        .update(&me, &made.name, patch(&json!({})), None)
        .await
        .unwrap();
    assert_eq!((again.revision, again.spec), (Revision(2), made.spec));
}

/// A name that is used again goes on with its numbers, as a new tool.
pub async fn numbers_go_on_after_a_deletion(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let mut made = catalog.create(&me, small("again")).await.unwrap();
    for round in 1..=5 {
        assert_eq!(made.revision, Revision(round * 2 - 1));
        let change = patch(&json!({ "description": "changed" }));
        let changed = catalog.update(&me, &made.name, change, None).await.unwrap();
        catalog
            .delete(&me, &made.name, Some(changed.revision))
            .await
            .unwrap();
        // The clock has to move for a new time of creation to be seen.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let next = catalog.create(&me, small("again")).await.unwrap();
        assert!(next.created_at > made.created_at && next.created_at == next.updated_at);
        assert!(next.version > changed.version);
        refused(
            catalog.get(&me, &made.name, Some(changed.revision)).await,
            ErrorCode::NotFound,
        );
        made = next;
    }
}

/// Delete and create again, then act on what was known before: a conflict that names both.
pub async fn an_old_revision_never_matches_again(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let made = catalog.create(&me, small("aba")).await.unwrap();
    catalog.delete(&me, &made.name, None).await.unwrap();
    catalog.create(&me, small("aba")).await.unwrap();
    let change = patch(&json!({ "enabled": false }));
    let wanted = "Revision conflict for dynamic tool \"aba\": expected 1, current 2.";
    for error in [
        refused(
            catalog
                .update(&me, &made.name, change, Some(made.revision))
                .await,
            ErrorCode::RevisionConflict,
        ),
        refused(
            catalog.delete(&me, &made.name, Some(made.revision)).await,
            ErrorCode::RevisionConflict,
        ),
    ] {
        assert_eq!(error.message(), wanted);
    }
    refused(
        catalog.code(&me, &made.name, made.revision).await,
        ErrorCode::NotFound,
    );
}
