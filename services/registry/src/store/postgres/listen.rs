//! Word of changes made by other processes.
//!
//! One connection listens for notifications and looks at the version besides, many times a second:
//! a notification is only the quicker of the two, and none that is lost is missed for long. When
//! that connection is lost, whatever was written meanwhile is found by the first look of the next.

use std::sync::Arc;
use std::time::Duration;

use domain::CatalogVersion;
use sqlx::postgres::{PgConnectOptions, PgListener};
use telemetry::Metrics;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::Hints;
use super::failure::no_answer;
use super::link::{Link, pool_options};
use super::settings::PostgresSettings;
use super::sql;

/// The channel of every registry in the database; what is said names the schema it is about.
const CHANNEL: &str = "dynamic_mcp";
/// How often the version is looked at: the longest that a change stays unseen without word of it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a look may take until the connection counts as lost.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// How long a connection may take to be made. The pool tries again within it, ever more slowly up to
/// a fifth of it.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// First and longest pause between two connections.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// What the listening task needs.
pub(super) struct Listener {
    pub(super) options: PgConnectOptions,
    pub(super) settings: PostgresSettings,
    pub(super) link: Link,
    pub(super) hints: Arc<Hints>,
    pub(super) metrics: Arc<Metrics>,
}

/// A message on the channel.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Catalogue(CatalogVersion),
    Fleet,
}

impl Listener {
    /// Listens until `stop`, on one connection after the other.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pause = PAUSES.0;
        let mut seen = None;
        let mut told = false;
        loop {
            let before = seen;
            let began = Instant::now();
            let lost = tokio::select! {
                () = stop.cancelled() => return,
                lost = self.listen(&mut seen, &mut told) => lost,
            };
            // Whatever ended this connection may have ended the others.
            self.link.distrust();
            if !told {
                tracing::warn!(error = %lost, "the database is away; trying to reach it again");
                told = true;
            }
            if seen != before || began.elapsed() > CONNECT_WITHIN * 2 {
                pause = PAUSES.0;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Listens on one connection until it is lost.
    async fn listen(&self, seen: &mut Option<CatalogVersion>, told: &mut bool) -> sqlx::Error {
        match self.listen_until_lost(seen, told).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn listen_until_lost(
        &self,
        seen: &mut Option<CatalogVersion>,
        told: &mut bool,
    ) -> Result<std::convert::Infallible, sqlx::Error> {
        let pool = pool_options(&self.settings)
            .max_connections(1)
            .acquire_timeout(CONNECT_WITHIN)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        within(LOOK_WITHIN, listener.listen(CHANNEL)).await?;
        let first = self.look(&mut listener).await?;
        if *told {
            tracing::info!("the database is back");
            *told = false;
        }
        // Who joined or left meanwhile is not known, also before the first connection: somebody may have
        // read the list by then.
        self.hints.fleet_changed();
        self.found(
            first,
            seen,
            if seen.is_some() { "reconnect" } else { "poll" },
        );
        loop {
            let next_look = Instant::now() + LOOK_EVERY;
            while let Ok(word) = tokio::time::timeout_at(next_look, listener.try_recv()).await {
                // Nothing instead of a word: the connection ended.
                let word = word?.ok_or_else(no_answer)?;
                match read(word.payload(), &self.settings.schema) {
                    Some(Word::Catalogue(version)) => self.found(version, seen, "notify"),
                    Some(Word::Fleet) => self.hints.fleet_changed(),
                    None => {}
                }
            }
            let version = self.look(&mut listener).await?;
            self.found(version, seen, "poll");
            self.count_connections();
        }
    }

    async fn look(&self, listener: &mut PgListener) -> Result<CatalogVersion, sqlx::Error> {
        let query = sqlx::query_as(sql::SPAN).fetch_one(listener);
        let (_first, version): (i64, i64) = within(LOOK_WITHIN, query).await?;
        Ok(CatalogVersion(version.unsigned_abs()))
    }

    /// Tells the followers of a version, unless they know.
    fn found(&self, version: CatalogVersion, seen: &mut Option<CatalogVersion>, how: &str) {
        let before = seen.unwrap_or_default();
        if version < before && how != "notify" {
            // Restored from an older copy.
            self.hints.start_again(version);
        } else if version <= before || !self.hints.announce(version) {
            *seen = Some(version.max(before));
            return;
        }
        *seen = Some(version);
        self.metrics
            .store_notifications
            .with_label_values(&[how])
            .inc();
    }

    fn count_connections(&self) {
        let pool = &self.link.pool;
        let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
        // One more listens; it is always in use.
        let used = i64::from(pool.size()).saturating_sub(idle) + 1;
        for (state, number) in [("used", used), ("idle", idle)] {
            self.metrics
                .store_connections
                .with_label_values(&[state])
                .set(number);
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, work).await.map_err(|_| no_answer())?
}

/// A message, when it is about this schema. What cannot be read is not for us: the look finds it.
fn read(message: &str, schema: &str) -> Option<Word> {
    let mut words = message.split(' ');
    if words.next()? != schema {
        return None;
    }
    match (words.next()?, words.next()) {
        ("catalogue", Some(version)) => {
            Some(Word::Catalogue(CatalogVersion(version.parse().ok()?)))
        }
        ("fleet", None) => Some(Word::Fleet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_our_schema_are_read() {
        let version = Some(Word::Catalogue(CatalogVersion(7)));
        assert_eq!(read("mine catalogue 7", "mine"), version);
        assert_eq!(read("mine fleet", "mine"), Some(Word::Fleet));
        for other in [
            "yours catalogue 7",
            "mine",
            "mine catalogue x",
            "",
            "mine x",
        ] {
            assert_eq!(read(other, "mine"), None, "{other}");
        }
    }
}
