//! Every statement of the store. A test prepares each on a migrated database.

macro_rules! statements {
    ($($name:ident = $file:literal;)+) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../../../sql/sqlite/", $file));)+

        /// All of them with the file each comes from.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($file, $name)),+];
    };
}

statements! {
    SPAN = "span.sql";
    BUMP = "bump.sql";
    HEAD = "head.sql";
    COUNT_LIVE = "count_live.sql";
    PUT_HEAD = "put_head.sql";
    BURY = "bury.sql";
    FORGET_OLDEST = "forget_oldest.sql";
    RAISE_FLOOR = "raise_floor.sql";
    RAISE_FIRST_VERSION = "raise_first_version.sql";
    REVISION_FLOOR = "revision_floor.sql";
    PUT_CODE = "put_code.sql";
    PUT_REVISION = "put_revision.sql";
    TAKE_OLDEST_REVISIONS = "take_oldest_revisions.sql";
    DROP_UNUSED_CODE = "drop_unused_code.sql";
    LOAD = "load.sql";
    DECLARED = "declared.sql";
    STANDING = "standing.sql";
    LOAD_LOCK = "load_lock.sql";
    PUT_LOCK = "put_lock.sql";
    ANSWERED = "answered.sql";
    KEEP_ANSWER = "keep_answer.sql";
    DROP_OLD_ANSWERS = "drop_old_answers.sql";
    CHANGES = "changes.sql";
    EVER_USED = "ever_used.sql";
    PUT_META = "put_meta.sql";
    DROP_EXPIRED_EXECUTORS = "drop_expired_executors.sql";
    COUNT_OTHER_EXECUTORS = "count_other_executors.sql";
    RENEW_EXECUTOR = "renew_executor.sql";
    DROP_EXECUTOR = "drop_executor.sql";
    EXECUTORS = "executors.sql";
    AUDIT_STATE = "audit_state.sql";
    PUT_AUDIT_SEGMENT = "put_audit_segment.sql";
    MOVE_AUDIT_HEAD = "move_audit_head.sql";
    PUT_AUDIT_RECORD = "put_audit_record.sql";
    AUDIT_TO_DROP = "audit_to_drop.sql";
    DROP_AUDIT_RECORDS = "drop_audit_records.sql";
    COUNT_AUDIT_RECORDS = "count_audit_records.sql";
    AUDIT_SEGMENTS = "audit_segments.sql";
    SEARCH_AUDIT = "search_audit.sql";
    KEY_LOAD = "key_load.sql";
    KEY_LIST = "key_list.sql";
    KEY_CHANGES = "key_changes.sql";
    KEY_SPAN = "key_span.sql";
    KEY_COUNTS = "key_counts.sql";
    KEY_PUT = "key_put.sql";
    KEY_PRUNE = "key_prune.sql";
    KEY_TOUCH = "key_touch.sql";
    KEY_RAISE_FLOOR = "key_raise_floor.sql";
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::super::SqliteStore;

    #[tokio::test]
    async fn every_statement_prepares_on_an_empty_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("registry.db"))
            .await
            .unwrap();
        for (file, statement) in super::ALL {
            let prepared = store
                .writer
                .prepare(sqlx::SqlStr::from_static(statement))
                .await;
            assert!(prepared.is_ok(), "{file}: {}", prepared.err().unwrap());
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/sqlite")).unwrap();
        assert_eq!(
            files.count(),
            super::ALL.len(),
            "a file in sql/sqlite is not used"
        );
    }
}
