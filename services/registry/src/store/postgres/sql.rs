//! Every statement of the store. A test prepares each on a migrated database.

macro_rules! statements {
    ($($name:ident = $file:literal;)+) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../../../sql/postgres/", $file));)+

        /// All of them with the file each comes from.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($file, $name)),+];
    };
}

statements! {
    LOCK = "lock.sql";
    CREATE = "create.sql";
    REPLACE = "replace.sql";
    BURY = "bury.sql";
    PRUNE = "prune.sql";
    FORGET = "forget.sql";
    IMPORT = "import.sql";
    IMPORTED = "imported.sql";
    EVER_USED = "ever_used.sql";
    IS_RUNNING = "is_running.sql";
    WAS_MADE = "was_made.sql";
    SPAN = "span.sql";
    LOAD = "load.sql";
    DECLARED = "declared.sql";
    STANDING = "standing.sql";
    COUNT_LIVE = "count_live.sql";
    LOAD_LOCK = "load_lock.sql";
    PUT_LOCK = "put_lock.sql";
    ANSWERED = "answered.sql";
    KEEP_ANSWER = "keep_answer.sql";
    CHANGES = "changes.sql";
    LOCK_EXECUTORS = "lock_executors.sql";
    RENEW = "renew.sql";
    LEAVE = "leave.sql";
    EXECUTORS = "executors.sql";
    LOCK_AUDIT = "lock_audit.sql";
    AUDIT_STATE = "audit_state.sql";
    PUT_AUDIT_SEGMENT = "put_audit_segment.sql";
    MOVE_AUDIT_HEAD = "move_audit_head.sql";
    PUT_AUDIT_RECORDS = "put_audit_records.sql";
    COUNT_AUDIT_RECORDS = "count_audit_records.sql";
    AUDIT_SEGMENTS = "audit_segments.sql";
    SEARCH_AUDIT = "search_audit.sql";
    NODE_TABLE = "node_table.sql";
    NODE_SIZE = "node_size.sql";
    NODE_TOOLS = "node_tools.sql";
    KEY_LOAD = "key_load.sql";
    KEY_LIST = "key_list.sql";
    KEY_CHANGES = "key_changes.sql";
    KEY_SPAN = "key_span.sql";
    KEY_COUNTS = "key_counts.sql";
    KEY_PUT = "key_put.sql";
    KEY_PRUNE = "key_prune.sql";
    KEY_TOUCH = "key_touch.sql";
    KEY_BUMP = "key_bump.sql";
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, ConnectOptions, Executor as _, PgConnection, Row as _};
    use telemetry::{BuildInfo, Metrics};
    use testkit::postgres::{Cluster, Durability};

    use super::super::{PostgresSettings, PostgresStore, open};

    /// A connection as the store's own are.
    async fn connection(settings: &PostgresSettings) -> PgConnection {
        let mut connection = open::options(settings).unwrap().connect().await.unwrap();
        let session = sqlx::raw_sql(AssertSqlSafe(settings.session()));
        connection.execute(session).await.unwrap();
        connection
    }

    async fn migrated(cluster: &Cluster) -> PostgresSettings {
        let settings = PostgresSettings::of(cluster.url("postgres"));
        let build = BuildInfo {
            service: "registry",
            version: "test",
            commit: "test",
        };
        let metrics = std::sync::Arc::new(Metrics::new(build).unwrap());
        let store = PostgresStore::open(settings.clone(), metrics);
        drop(store.await.unwrap());
        settings
    }

    #[tokio::test]
    async fn every_statement_prepares_on_an_empty_store() {
        let cluster = Cluster::start(Durability::Relaxed).await;
        let settings = migrated(&cluster).await;
        let mut connection = connection(&settings).await;
        // The Node server's, as it makes it.
        let table = "CREATE TABLE dynamic_tools (name TEXT PRIMARY KEY, title TEXT,
            description TEXT NOT NULL, image TEXT NOT NULL, timeout_ms INTEGER NOT NULL,
            dependencies JSONB NOT NULL, code TEXT NOT NULL, enabled BOOLEAN NOT NULL,
            created_at TIMESTAMPTZ NOT NULL, updated_at TIMESTAMPTZ NOT NULL,
            revision INTEGER NOT NULL)";
        connection.execute(table).await.unwrap();
        for (file, statement) in super::ALL {
            let result = if statement.contains("BEGIN") {
                // Several statements in one message cannot be prepared.
                let both = format!("{statement}; ROLLBACK");
                let run = connection.execute(sqlx::raw_sql(AssertSqlSafe(both)));
                run.await.map(|_| ())
            } else {
                connection
                    .prepare(sqlx::SqlStr::from_static(statement))
                    .await
                    .map(|_| ())
            };
            assert!(result.is_ok(), "{file}: {}", result.err().unwrap());
        }
        let files =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/postgres")).unwrap();
        assert_eq!(
            files.count(),
            super::ALL.len(),
            "a file in sql/postgres is not used"
        );
    }

    /// What the database or the role has set otherwise does not matter.
    #[tokio::test]
    async fn a_session_is_as_the_settings_say() {
        let cluster = Cluster::start(Durability::Relaxed).await;
        let roles = "ALTER ROLE postgres SET synchronous_commit TO off;
            ALTER ROLE postgres SET statement_timeout TO 0;
            ALTER ROLE postgres SET search_path TO public";
        cluster.sql("postgres", roles).await;
        let settings = migrated(&cluster).await;
        let mut connection = connection(&settings).await;
        for (name, value) in [
            ("search_path", "dynamic_mcp"),
            ("statement_timeout", "5s"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "2s"),
            ("synchronous_commit", "on"),
            ("application_name", "dynamic-mcp"),
        ] {
            let show = format!("SHOW {name}");
            let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(show)));
            let found: String = row.await.unwrap().get(0);
            assert_eq!(found.trim_matches('"'), value, "{name}");
        }
    }
}
