//! From what is declared and what is stored to the writes between them.

use std::collections::{BTreeMap, BTreeSet};

use bootstrap::config::DeclaredTool;
use domain::audit::Action;
use domain::{CatalogVersion, Error, ErrorCode, Result, Revision, TenantId, ToolDraft, ToolName};

use super::ACTOR;
use super::diff::Difference;
use crate::catalog::change::changed;
use crate::catalog::revision_of;
use crate::settings::Settings;
use crate::store::{NewRevision, Refusal, Standing, Store};

/// Everything there is to do, in the order to do it: what is deleted makes room for what is made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) unchanged: usize,
}

/// One write.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) tenant: TenantId,
    pub(super) name: ToolName,
    pub(super) difference: Difference,
    write: Write,
}

#[derive(Debug)]
enum Write {
    Create(Box<NewRevision>),
    Replace(Box<NewRevision>, Revision),
    Delete(Revision),
}

impl Plan {
    /// What to do now.
    ///
    /// # Errors
    /// `limit_exceeded`, `unavailable`.
    pub(super) async fn of(
        store: &dyn Store,
        settings: &Settings,
        tools: &[DeclaredTool],
    ) -> Result<Self> {
        let named: BTreeSet<(&TenantId, &ToolName)> = tools
            .iter()
            .map(|tool| (&tool.tenant, &tool.draft.name))
            .collect();
        let mut plan = Self {
            steps: Vec::new(),
            unchanged: 0,
        };
        for head in store.declared().await? {
            if !named.contains(&(&head.tenant, &head.name)) {
                plan.steps.push(Step {
                    tenant: head.tenant,
                    name: head.name,
                    difference: Difference::Deleted,
                    write: Write::Delete(head.revision),
                });
            }
        }
        let mut created = Vec::new();
        for tool in tools {
            match step(store, tool).await? {
                None => plan.unchanged += 1,
                Some(step) if step.difference == Difference::Created => created.push(step),
                Some(step) => plan.steps.push(step),
            }
        }
        plan.steps.extend(created);
        plan.check_room(store, settings).await?;
        Ok(plan)
    }

    /// Whether every tenant has room for what is made, before anything is.
    async fn check_room(&self, store: &dyn Store, settings: &Settings) -> Result<()> {
        let mut more: BTreeMap<&TenantId, i64> = BTreeMap::new();
        for step in &self.steps {
            let change = match step.difference {
                Difference::Created => 1,
                Difference::Deleted => -1,
                Difference::Changed(_) | Difference::TakenOver(_) => 0,
            };
            *more.entry(&step.tenant).or_default() += change;
        }
        for (tenant, more) in more.into_iter().filter(|(_, more)| *more > 0) {
            let there = i64::try_from(store.count(tenant).await?).unwrap_or(i64::MAX);
            if there.saturating_add(more) > i64::from(settings.max_tools) {
                return Err(Error::new(
                    ErrorCode::LimitExceeded,
                    format!(
                        "tenant {tenant} has {there} tools, {more} more are declared, and {} are \
                         allowed; nothing was changed",
                        settings.max_tools
                    ),
                )
                .with_fix("declare fewer, delete some, or raise MCP_DYNAMIC_MAX_TOOLS"));
            }
        }
        Ok(())
    }
}

/// What there is to do for one declared tool; `None` when it is as it is declared.
async fn step(store: &dyn Store, tool: &DeclaredTool) -> Result<Option<Step>> {
    let (tenant, name) = (&tool.tenant, &tool.draft.name);
    let mut made = made(tool)?;
    let (difference, write) = match store.standing(tenant, name).await? {
        None => (Difference::Created, Write::Create(Box::new(made))),
        Some(Standing { revision, declared }) => {
            let fields = differences(store, &mut made, revision).await?;
            let difference = match declared {
                true if fields.is_empty() => return Ok(None),
                true => Difference::Changed(fields.clone()),
                false => Difference::TakenOver(fields.clone()),
            };
            made.changed = fields;
            (difference, Write::Replace(Box::new(made), revision))
        }
    };
    Ok(Some(Step {
        tenant: tenant.clone(),
        name: name.clone(),
        difference,
        write,
    }))
}

fn made(tool: &DeclaredTool) -> Result<NewRevision> {
    let draft = ToolDraft {
        lock: None,
        ..tool.draft.clone()
    };
    let mut made = revision_of(tool.tenant.clone(), draft, ACTOR)?;
    made.declared = true;
    Ok(made)
}

/// The fields that differ from the stored revision, whose lockfile is kept where the dependencies are
/// the same.
async fn differences(
    store: &dyn Store,
    made: &mut NewRevision,
    stored: Revision,
) -> Result<Vec<String>> {
    let found = match store.load(&made.tenant, &made.name, Some(stored)).await {
        Ok(found) => found,
        // A row that nobody can read is no reason to leave it there.
        Err(error) if error.code() == ErrorCode::Internal => None,
        Err(error) => return Err(error),
    };
    let Some(found) = found else {
        return Ok(vec!["everything".to_owned()]);
    };
    let before = &found.record.spec;
    let same =
        (before.runtime, &before.dependencies) == (made.spec.runtime, &made.spec.dependencies);
    made.lock_of = same.then_some(stored);
    changed(
        (before, found.record.code_digest),
        (&made.spec, made.code_digest),
    )
}

/// A tool as people find it: with its tenant, unless that is the usual one.
pub(super) fn label(tenant: &TenantId, name: &ToolName) -> String {
    if *tenant == TenantId::default() {
        return name.to_string();
    }
    format!("{tenant}/{name}")
}

impl Step {
    pub(super) fn label(&self) -> String {
        label(&self.tenant, &self.name)
    }

    pub(super) fn action(&self) -> Action {
        match self.write {
            Write::Create(_) => Action::ToolCreate,
            Write::Replace(..) => Action::ToolUpdate,
            Write::Delete(_) => Action::ToolDelete,
        }
    }

    /// Does it, if the tool is still as it was read; `None` when it is not.
    pub(super) async fn write(
        &self,
        store: &dyn Store,
        settings: &Settings,
    ) -> Result<Option<CatalogVersion>> {
        let written = match &self.write {
            Write::Create(tool) => {
                let made = store
                    .create(NewRevision::clone(tool), settings.max_tools)
                    .await?;
                made.map(|record| record.version)
            }
            Write::Replace(tool, based_on) => {
                let tool = NewRevision::clone(tool);
                let made = store
                    .replace(tool, *based_on, settings.max_revisions)
                    .await?;
                made.map(|record| record.version)
            }
            Write::Delete(revision) => {
                let (tenant, name, keep) = (&self.tenant, &self.name, settings.max_deleted);
                store
                    .delete(tenant, name, Some(*revision), keep, None)
                    .await?
            }
        };
        match written {
            Ok(version) => Ok(Some(version)),
            Err(Refusal::Exists | Refusal::Missing | Refusal::Moved(_)) => Ok(None),
            // There was room when this was planned: who took it is seen in the next plan.
            Err(Refusal::Full) => Ok(None),
            Err(Refusal::Reused) => Err(Error::internal("a declared tool has no idempotency key")),
        }
    }
}
