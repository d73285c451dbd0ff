//! What would change, without changing anything: for `--check-config`.

use std::time::Duration;

use bootstrap::config::{Backend, CatalogConfig, Declared, DeclaredTool, PostgresConfig};
use tokio::time::timeout;

use super::plan::{Plan, label};
use super::{Diff, Difference};
use crate::service::{RegistryParts, database, settings};
use crate::store::Store;
use crate::{PostgresStore, SqliteStore, StorePaths};

/// How long the store may take to tell.
const WITHIN: Duration = Duration::from_secs(5);

/// The declared tools and how the store differs from them, as text; empty when none are declared. A
/// store that cannot be asked is no mistake of the configuration: the text says why.
pub async fn what_would_change(parts: RegistryParts<'_>) -> String {
    let Some(tools) = &parts.declared.tools else {
        return String::new();
    };
    let count = tools.len();
    let told = match timeout(WITHIN, differences(&parts, parts.declared)).await {
        Ok(told) => told,
        Err(_) => Err(String::from("it did not answer in time")),
    };
    match told {
        Ok(diff) if diff.is_empty() => {
            format!("declared tools: {count}, and the store has them as they are declared\n")
        }
        Ok(diff) => {
            let summary = diff.summary();
            format!("declared tools: {count}; a start would leave {summary}\n{diff}")
        }
        Err(error) => format!(
            "declared tools: {count}; what a start would change is not known, since the store cannot \
             be asked: {error}\n"
        ),
    }
}

async fn differences(parts: &RegistryParts<'_>, declared: &Declared) -> Result<Diff, String> {
    let tools = declared.tools.as_deref().unwrap_or_default();
    let Some(store) = look(parts.catalog, parts.postgres)? else {
        let created = |tool: &DeclaredTool| {
            let label = label(&tool.tenant, &tool.draft.name);
            (label, Difference::Created)
        };
        return Ok(Diff {
            lines: tools.iter().map(created).collect(),
            unchanged: 0,
        });
    };
    let plan = Plan::of(&*store, &settings(*parts), tools).await;
    store.close().await;
    let plan = plan.map_err(|error| match error.cause() {
        // Whoever asks is the operator: a column that is missing says that the tables are older.
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    let lines = plan.steps.into_iter();
    Ok(Diff {
        lines: lines.map(|step| (step.label(), step.difference)).collect(),
        unchanged: plan.unchanged,
    })
}

/// The store as it is, nothing made or brought up to date; `None` when there is none yet.
fn look(
    catalog: &CatalogConfig,
    postgres: &PostgresConfig,
) -> Result<Option<Box<dyn Store>>, String> {
    match catalog.backend {
        Backend::Sqlite | Backend::File => {
            let path = StorePaths::of(&catalog.store).database;
            let store = SqliteStore::look(&path).map_err(|error| error.to_string())?;
            Ok(store.map(|store| Box::new(store) as Box<dyn Store>))
        }
        Backend::Postgres => {
            let settings = database(postgres).map_err(|error| error.to_string())?;
            let store = PostgresStore::look(settings).map_err(|error| error.to_string())?;
            Ok(Some(Box::new(store)))
        }
    }
}
