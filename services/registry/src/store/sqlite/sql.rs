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
    PUT_CODE = "put_code.sql";
    PUT_REVISION = "put_revision.sql";
    TAKE_OLDEST_REVISIONS = "take_oldest_revisions.sql";
    DROP_UNUSED_CODE = "drop_unused_code.sql";
    LOAD = "load.sql";
    CHANGES = "changes.sql";
    EVER_USED = "ever_used.sql";
    PUT_META = "put_meta.sql";
    DROP_EXPIRED_EXECUTORS = "drop_expired_executors.sql";
    COUNT_OTHER_EXECUTORS = "count_other_executors.sql";
    RENEW_EXECUTOR = "renew_executor.sql";
    DROP_EXECUTOR = "drop_executor.sql";
    EXECUTORS = "executors.sql";
}
