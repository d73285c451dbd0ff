//! The rules of the catalogue.

pub(crate) mod change;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use domain::catalog::Deleted;
use domain::idempotency::{self, RequestDigest};
use domain::principal::{Action, authorize};
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, CatalogVersion, ChangeStream, CodeDigest, Error, ErrorCode, Lockfile,
    Principal, Result, Revision, TenantId, ToolDraft, ToolName, ToolPatch, ToolRecord, validate,
};
use jiff::Timestamp;

use crate::feed;
use crate::registry::{Core, Registry};
use crate::store::{Answer, NewRevision, Once, Refusal};

/// What somebody wants to do with a tool that requires these scopes.
type Right = for<'a> fn(&'a BTreeSet<String>) -> Action<'a>;

const USE: Right = |scopes| Action::UseTool(scopes);
const READ: Right = |scopes| Action::ReadTool(scopes);

#[async_trait]
impl Catalog for Registry {
    async fn create(&self, context: &CallContext, draft: ToolDraft) -> Result<ToolRecord> {
        authorize(&context.principal, Action::WriteTools)?;
        let once = once(context, || RequestDigest::of_create(&draft))?;
        if let Some(answer) = self.core.answered(context, once.as_ref()).await? {
            return answer.record();
        }
        draft.name.check_not_reserved()?;
        self.check_writable("create")?;
        validate::draft(&draft, &self.core.settings.policy)?;
        let (tenant, name) = (context.principal.tenant.clone(), draft.name.clone());
        let mut tool = revision_of(tenant, draft, &context.principal.subject)?;
        tool.once = once;
        let core = Arc::clone(&self.core);
        let work = async move {
            let max = core.settings.max_tools;
            let made = core.store.create(tool, max).await?;
            let record = made.map_err(|refusal| core.refused(refusal, &name, None))?;
            core.announce(record.version);
            Ok(record)
        };
        self.core.write(context, "create", work).await
    }

    async fn update(
        &self,
        context: &CallContext,
        name: &ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<ToolRecord> {
        authorize(&context.principal, Action::WriteTools)?;
        let once = once(context, || RequestDigest::of_update(name, &patch, expected))?;
        if let Some(answer) = self.core.answered(context, once.as_ref()).await? {
            return answer.record();
        }
        name.check_not_reserved()?;
        self.check_writable(if only_enables(&patch) {
            "enable/disable"
        } else {
            "update"
        })?;
        let (principal, name) = (Arc::clone(&context.principal), name.clone());
        let core = Arc::clone(&self.core);
        let work = async move {
            let made = core
                .update(&principal, name, patch, expected, once.as_ref())
                .await;
            core.unless_answered(once.as_ref(), made, Answer::record)
                .await
        };
        self.core.write(context, "update", work).await
    }

    async fn delete(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Result<Deleted> {
        authorize(&context.principal, Action::WriteTools)?;
        let once = once(context, || RequestDigest::of_delete(name, expected))?;
        if let Some(answer) = self.core.answered(context, once.as_ref()).await? {
            let version = answer.deletion()?;
            return Ok(Deleted { version });
        }
        self.check_writable("delete")?;
        let (principal, name) = (Arc::clone(&context.principal), name.clone());
        let core = Arc::clone(&self.core);
        let work = async move {
            let made = core
                .delete(&principal, &name, expected, once.as_ref())
                .await;
            let read = |answer: Answer| {
                Ok(Deleted {
                    version: answer.deletion()?,
                })
            };
            core.unless_answered(once.as_ref(), made, read).await
        };
        self.core.write(context, "delete", work).await
    }

    async fn get(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<ToolWithCode> {
        let principal = &context.principal;
        authorize(principal, Action::ReadTools)?;
        let visible = self.core.visible(principal, name, revision, READ);
        self.core.read(context, "get", visible).await
    }

    async fn code(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Arc<str>> {
        let usable = self
            .core
            .visible(&context.principal, name, Some(revision), USE);
        let wanted = self.core.read(context, "code", usable).await?;
        Ok(wanted.code)
    }

    async fn lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Lockfile>> {
        let work = async {
            let principal = &context.principal;
            let visible = self.core.visible(principal, name, Some(revision), USE);
            let tool = visible.await?;
            let runtime = tool.record.spec.runtime;
            let lock = self.core.lock(&principal.tenant, name, revision);
            let parsed = lock.await?.map(|text| Lockfile::parse(runtime, &text));
            parsed.transpose().map_err(Error::internal)
        };
        self.core.read(context, "lock", work).await
    }

    async fn set_lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
        lock: Lockfile,
    ) -> Result<Lockfile> {
        let (core, name) = (Arc::clone(&self.core), name.clone());
        let principal = Arc::clone(&context.principal);
        let read_only = self.core.settings.read_only;
        let work = async move {
            let visible = core.visible(&principal, &name, Some(revision), USE);
            let tool = visible.await?;
            let spec = tool.record.spec;
            let draft = ToolDraft {
                name,
                spec,
                code: tool.code,
                lock: Some(lock),
            };
            validate::lock(&draft, &core.settings.policy)?;
            let ToolDraft {
                name, spec, lock, ..
            } = draft;
            let tenant = &principal.tenant;
            // A catalogue that is not written to keeps none; each call then finds its own.
            if let Some(lock) = lock.as_ref().filter(|_| !read_only) {
                core.store.put_lock(tenant, &name, revision, lock).await?;
            }
            match core.lock(tenant, &name, revision).await? {
                Some(text) => Lockfile::parse(spec.runtime, &text).map_err(Error::internal),
                None => lock.ok_or_else(|| missing(&name, Some(revision))),
            }
        };
        self.core.write(context, "set_lock", work).await
    }

    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<ChangeStream> {
        authorize(&context.principal, Action::Internal)?;
        feed::watch(&self.core, context, since).await
    }
}

impl Registry {
    fn check_writable(&self, operation: &str) -> Result<()> {
        if !self.core.settings.read_only {
            return Ok(());
        }
        let message = format!(
            "Dynamic registry is read-only; cannot {operation} tools while \
             MCP_DYNAMIC_READ_ONLY is enabled."
        );
        Err(Error::new(ErrorCode::PolicyDenied, message))
    }
}

impl Core {
    /// A kept revision, or the newest, of a tool with which this caller may do that. The tool as it is
    /// now says who may, an older revision never more.
    async fn visible(
        &self,
        principal: &Principal,
        name: &ToolName,
        revision: Option<Revision>,
        right: Right,
    ) -> Result<ToolWithCode> {
        let tenant = &principal.tenant;
        // One answer for what is not there and what this caller may not know of.
        let hidden = || missing(name, revision);
        let newest = self.store.load(tenant, name, None).await?;
        let newest = newest.ok_or_else(hidden)?;
        let wanted = match revision {
            Some(older) if older != newest.record.revision => {
                let found = self.store.load(tenant, name, Some(older)).await?;
                found.ok_or_else(hidden)?
            }
            _ => newest.clone(),
        };
        for tool in [&newest, &wanted] {
            let scopes = &tool.record.spec.required_scopes;
            authorize(principal, right(scopes)).map_err(|_| hidden())?;
        }
        Ok(wanted)
    }

    /// What the same write was answered before.
    async fn answered(&self, context: &CallContext, once: Option<&Once>) -> Result<Option<Answer>> {
        let Some(once) = once else {
            return Ok(None);
        };
        let answered = self.store.answered(once);
        let answered = self.read(context, "answered", answered).await?;
        answered.map_err(|_| idempotency::reused())
    }

    async fn lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<String>> {
        let found = self.store.load_lock(tenant, name, revision).await?;
        found.ok_or_else(|| missing(name, Some(revision)))
    }

    fn refused(&self, refusal: Refusal, name: &ToolName, expected: Option<Revision>) -> Error {
        match refusal {
            Refusal::Exists => Error::new(
                ErrorCode::AlreadyExists,
                format!("Dynamic tool already exists: {name}"),
            )
            .with_fix("update it, or choose another name"),
            Refusal::Full => Error::new(
                ErrorCode::LimitExceeded,
                format!("Dynamic tool limit reached ({}).", self.settings.max_tools),
            )
            .with_fix("delete a tool, or raise MCP_DYNAMIC_MAX_TOOLS"),
            Refusal::Missing => not_found(name),
            Refusal::Reused => idempotency::reused(),
            Refusal::Moved(current) => {
                let expected = expected
                    .map_or_else(|| "no change".to_owned(), |revision| revision.to_string());
                Error::new(
                    ErrorCode::RevisionConflict,
                    format!(
                        "Revision conflict for dynamic tool \"{name}\": expected {expected}, \
                         current {current}."
                    ),
                )
                .with_fix("read the tool again and repeat the change on what it is now")
            }
        }
    }
}

/// What makes a write happen once, when its caller gave it a key.
fn once(
    context: &CallContext,
    request: impl FnOnce() -> Result<RequestDigest>,
) -> Result<Option<Once>> {
    let Some(key) = &context.idempotency_key else {
        return Ok(None);
    };
    Ok(Some(Once {
        tenant: context.principal.tenant.clone(),
        subject: context.principal.subject.clone(),
        key: key.clone(),
        request: request()?,
        at: Timestamp::now(),
    }))
}

fn not_found(name: &ToolName) -> Error {
    Error::not_found(format!("Dynamic tool not found: {name}"))
}

fn missing(name: &ToolName, revision: Option<Revision>) -> Error {
    match revision {
        None => not_found(name),
        Some(revision) => Error::not_found(format!(
            "Dynamic tool not found: {name} (revision {revision})"
        )),
    }
}

pub(crate) fn revision_of(
    tenant: TenantId,
    draft: ToolDraft,
    subject: &str,
) -> Result<NewRevision> {
    // What is answered now has to equal what is read later: the store keeps milliseconds.
    let made_at =
        Timestamp::from_millisecond(Timestamp::now().as_millisecond()).map_err(Error::internal)?;
    Ok(NewRevision {
        tenant,
        name: draft.name,
        spec: draft.spec,
        code_digest: CodeDigest::of(&draft.code),
        code: draft.code,
        made_at,
        made_by: subject.to_owned(),
        changed: Vec::new(),
        lock: draft.lock,
        lock_of: None,
        once: None,
        declared: false,
    })
}

fn only_enables(patch: &ToolPatch) -> bool {
    let ToolPatch {
        title,
        description,
        code,
        image,
        timeout_ms,
        dependencies,
        enabled,
        ..
    } = patch;
    enabled.is_some()
        && *title == domain::tool::Change::Keep
        && (description, code, image) == (&None, &None, &None)
        && (timeout_ms, dependencies) == (&None, &None)
}
