//! A catalogue in memory: the contract of the port without validation, storage or history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::catalog::Deleted;
use domain::idempotency::{self, IdempotencyKey, RequestDigest};
use domain::principal::{Action, authorize};
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, CatalogChange, CatalogVersion, ChangeStream, CodeDigest, Error,
    ErrorCode, Lockfile, Result, Revision, TenantId, ToolDraft, ToolName, ToolPatch, ToolRecord,
};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How often a feed says that it lives.
const SYNCED_EVERY: Duration = Duration::from_millis(500);

/// A catalogue in memory. Keeps the current revision of each tool only.
pub struct FakeCatalog {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    tools: BTreeMap<(TenantId, ToolName), ToolWithCode>,
    revisions: BTreeMap<(TenantId, ToolName), u64>,
    locks: BTreeMap<(TenantId, ToolName, Revision), Lockfile>,
    changes: Vec<(u64, CatalogChange)>,
    answers: BTreeMap<(TenantId, String, IdempotencyKey), (RequestDigest, Answer)>,
    failure: Option<Error>,
}

/// What a write with an idempotency key was answered.
#[derive(Clone)]
enum Answer {
    Stored(Box<ToolRecord>),
    Deleted(Deleted),
}

/// What somebody wants to do with a tool that requires these scopes.
type Right = for<'a> fn(&'a BTreeSet<String>) -> Action<'a>;

const WRITE: Right = |scopes| Action::WriteTool(scopes);

fn not_there(name: &ToolName) -> Error {
    Error::not_found(format!("there is no tool {name}"))
}

impl Default for FakeCatalog {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl FakeCatalog {
    /// Makes every following method fail with `error`, until `None` is given.
    pub fn fail_with(&self, error: Option<Error>) {
        self.state.lock().failure = error;
    }

    fn put(&self, context: &CallContext, draft: ToolDraft, state: &mut State) -> ToolRecord {
        let key = (context.principal.tenant.clone(), draft.name.clone());
        let revision = state.revisions.entry(key.clone()).or_default();
        *revision += 1;
        let version = *self.version.borrow() + 1;
        let now = Timestamp::now();
        let record = ToolRecord {
            tenant: key.0.clone(),
            name: draft.name,
            spec: draft.spec,
            code_digest: CodeDigest::of(&draft.code),
            code_size_bytes: draft.code.len() as u64,
            revision: Revision(*revision),
            version: CatalogVersion(version),
            created_at: state
                .tools
                .get(&key)
                .map_or(now, |tool| tool.record.created_at),
            updated_at: now,
        };
        if let Some(lock) = draft.lock {
            let place = (key.0.clone(), key.1.clone(), record.revision);
            state.locks.insert(place, lock);
        }
        let stored = ToolWithCode {
            record: record.clone(),
            code: draft.code,
        };
        state.tools.insert(key, stored);
        state
            .changes
            .push((version, CatalogChange::Upserted(Box::new(record.clone()))));
        self.version.send_replace(version);
        record
    }
}

impl State {
    fn check(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn find(&self, context: &CallContext, name: &ToolName) -> Result<ToolWithCode> {
        self.tools
            .get(&(context.principal.tenant.clone(), name.clone()))
            .cloned()
            .ok_or_else(|| not_there(name))
    }

    /// A tool with which this caller may do that.
    fn visible(
        &self,
        context: &CallContext,
        name: &ToolName,
        right: Right,
    ) -> Result<ToolWithCode> {
        let tool = self.find(context, name)?;
        let allowed = authorize(&context.principal, right(&tool.record.spec.required_scopes));
        allowed.map_err(|_| not_there(name))?;
        Ok(tool)
    }

    fn expect(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
        right: Right,
    ) -> Result<ToolWithCode> {
        let tool = self.visible(context, name, right)?;
        let current = tool.record.revision;
        match expected {
            Some(expected) if expected != current => Err(Error::new(
                ErrorCode::RevisionConflict,
                format!("expected revision {expected}, current is {current}"),
            )),
            _ => Ok(tool),
        }
    }

    /// What the same write was answered before.
    fn answered(&self, context: &CallContext, request: RequestDigest) -> Result<Option<Answer>> {
        let found = answer_of(context).and_then(|key| self.answers.get(&key));
        match found {
            None => Ok(None),
            Some((before, answer)) if *before == request => Ok(Some(answer.clone())),
            Some(_) => Err(idempotency::reused()),
        }
    }

    fn keep(&mut self, context: &CallContext, request: RequestDigest, answer: Answer) {
        if let Some(key) = answer_of(context) {
            self.answers.insert(key, (request, answer));
        }
    }

    fn after(&self, since: u64) -> Vec<CatalogChange> {
        let later = self.changes.iter().filter(|(version, _)| *version > since);
        later.map(|(_, change)| change.clone()).collect()
    }
}

/// Under what the answer of a write is kept, when it has a key.
fn answer_of(context: &CallContext) -> Option<(TenantId, String, IdempotencyKey)> {
    let principal = &context.principal;
    let key = context.idempotency_key.clone()?;
    Some((principal.tenant.clone(), principal.subject.clone(), key))
}

#[async_trait]
impl Catalog for FakeCatalog {
    async fn create(&self, context: &CallContext, draft: ToolDraft) -> Result<ToolRecord> {
        authorize(&context.principal, Action::WriteTools)?;
        let request = RequestDigest::of_create(&draft)?;
        let mut state = self.state.lock();
        state.check()?;
        if let Some(Answer::Stored(record)) = state.answered(context, request)? {
            return Ok(*record);
        }
        if state.find(context, &draft.name).is_ok() {
            return Err(Error::new(
                ErrorCode::AlreadyExists,
                format!("there is a tool {} already", draft.name),
            ));
        }
        let record = self.put(context, draft, &mut state);
        state.keep(context, request, Answer::Stored(Box::new(record.clone())));
        Ok(record)
    }

    async fn update(
        &self,
        context: &CallContext,
        name: &ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<ToolRecord> {
        authorize(&context.principal, Action::WriteTools)?;
        let request = RequestDigest::of_update(name, &patch, expected)?;
        let mut state = self.state.lock();
        state.check()?;
        if let Some(Answer::Stored(record)) = state.answered(context, request)? {
            return Ok(*record);
        }
        let tool = state.expect(context, name, expected, WRITE)?;
        let draft = patch.apply(name.clone(), tool.record.spec, tool.code);
        let record = self.put(context, draft, &mut state);
        state.keep(context, request, Answer::Stored(Box::new(record.clone())));
        Ok(record)
    }

    async fn delete(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Result<Deleted> {
        authorize(&context.principal, Action::WriteTools)?;
        let request = RequestDigest::of_delete(name, expected)?;
        let mut state = self.state.lock();
        state.check()?;
        if let Some(Answer::Deleted(deleted)) = state.answered(context, request)? {
            return Ok(deleted);
        }
        let tool = state.expect(context, name, expected, WRITE)?;
        let tenant = tool.record.tenant;
        state.tools.remove(&(tenant.clone(), name.clone()));
        let version = *self.version.borrow() + 1;
        let change = CatalogChange::Removed {
            tenant,
            name: name.clone(),
            version: CatalogVersion(version),
        };
        state.changes.push((version, change));
        self.version.send_replace(version);
        let deleted = Deleted {
            version: CatalogVersion(version),
        };
        state.keep(context, request, Answer::Deleted(deleted));
        Ok(deleted)
    }

    async fn get(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<ToolWithCode> {
        authorize(&context.principal, Action::ReadTools)?;
        let state = self.state.lock();
        state.check()?;
        let tool = state.visible(context, name, |scopes| Action::ReadTool(scopes))?;
        match revision {
            Some(revision) if revision != tool.record.revision => Err(Error::not_found(format!(
                "{name} has no revision {revision}"
            ))),
            _ => Ok(tool),
        }
    }

    async fn code(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Arc<str>> {
        let state = self.state.lock();
        state.check()?;
        let tool = state.visible(context, name, |scopes| Action::UseTool(scopes))?;
        if tool.record.revision == revision {
            Ok(tool.code)
        } else {
            Err(Error::not_found(format!(
                "{name} has no revision {revision}"
            )))
        }
    }

    async fn lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Lockfile>> {
        let state = self.state.lock();
        state.check()?;
        let place = (context.principal.tenant.clone(), name.clone(), revision);
        Ok(state.locks.get(&place).cloned())
    }

    async fn set_lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
        lock: Lockfile,
    ) -> Result<Lockfile> {
        let mut state = self.state.lock();
        state.check()?;
        let place = (context.principal.tenant.clone(), name.clone(), revision);
        Ok(state.locks.entry(place).or_insert(lock).clone())
    }

    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<ChangeStream> {
        authorize(&context.principal, Action::Internal)?;
        self.state.lock().check()?;
        let feed = (
            since.0,
            true,
            self.version.subscribe(),
            Arc::clone(&self.state),
        );
        let batches = stream::unfold(feed, |(since, first, mut version, state)| async move {
            if !first
                && let Ok(Err(_)) = tokio::time::timeout(SYNCED_EVERY, version.changed()).await
            {
                return None;
            }
            let mut changes = state.lock().after(since);
            let now = *version.borrow_and_update();
            changes.push(CatalogChange::Synced(CatalogVersion(now)));
            let batch = stream::iter(changes.into_iter().map(Ok));
            Some((batch, (now, false, version, state)))
        });
        Ok(Box::pin(batches.flatten()))
    }
}
