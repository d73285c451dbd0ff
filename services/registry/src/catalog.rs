//! The rules of the catalogue.

use std::sync::Arc;

use async_trait::async_trait;
use domain::catalog::Deleted;
use domain::principal::{Action, authorize};
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, CatalogVersion, ChangeStream, CodeDigest, Error, ErrorCode, Lockfile,
    Principal, Result, Revision, TenantId, ToolDraft, ToolName, ToolPatch, ToolRecord, ToolSpec,
    validate,
};
use jiff::Timestamp;

use crate::feed;
use crate::registry::{Core, Registry};
use crate::store::{NewRevision, Refusal};

/// How often an update without an expectation is tried again after another writer was faster.
const MAX_TRIES: u32 = 100;

#[async_trait]
impl Catalog for Registry {
    async fn create(&self, context: &CallContext, draft: ToolDraft) -> Result<ToolRecord> {
        authorize(&context.principal, Action::WriteTools)?;
        draft.name.check_not_reserved()?;
        self.check_writable("create")?;
        validate::draft(&draft, &self.core.settings.policy)?;
        let (tenant, name) = (context.principal.tenant.clone(), draft.name.clone());
        let tool = revision_of(tenant, draft, &context.principal.subject)?;
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
        name.check_not_reserved()?;
        self.check_writable(if only_enables(&patch) {
            "enable/disable"
        } else {
            "update"
        })?;
        let (tenant, name) = (context.principal.tenant.clone(), name.clone());
        let subject = context.principal.subject.clone();
        let core = Arc::clone(&self.core);
        let work = async move { core.update(tenant, name, patch, expected, subject).await };
        self.core.write(context, "update", work).await
    }

    async fn delete(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Result<Deleted> {
        authorize(&context.principal, Action::WriteTools)?;
        self.check_writable("delete")?;
        let (tenant, name) = (context.principal.tenant.clone(), name.clone());
        let core = Arc::clone(&self.core);
        let work = async move {
            let keep = core.settings.max_deleted;
            let deleted = core.store.delete(&tenant, &name, expected, keep).await?;
            let version = match deleted {
                Ok(version) => version,
                // A stored tool whose name the product took later can be deleted like any other.
                Err(Refusal::Missing) if name.is_reserved() => {
                    return name.check_not_reserved().and(Err(not_found(&name)));
                }
                Err(refusal) => return Err(core.refused(refusal, &name, expected)),
            };
            core.announce(version);
            Ok(Deleted { version })
        };
        self.core.write(context, "delete", work).await
    }

    async fn get(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<ToolWithCode> {
        authorize(&context.principal, Action::ReadTools)?;
        let tenant = &context.principal.tenant;
        let found = self
            .core
            .read(context, "get", self.core.store.load(tenant, name, revision))
            .await?;
        found.ok_or_else(|| missing(name, revision))
    }

    async fn code(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Arc<str>> {
        let usable = self.core.usable(&context.principal, name, revision);
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
            let tool = self.core.usable(principal, name, revision).await?;
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
            let tool = core.usable(&principal, &name, revision).await?;
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
    /// A kept revision that this caller may use. The tool as it is now says who may, an older revision
    /// never more.
    async fn usable(
        &self,
        principal: &Principal,
        name: &ToolName,
        revision: Revision,
    ) -> Result<ToolWithCode> {
        let tenant = &principal.tenant;
        // One answer for what is not there and what this caller may not know of.
        let hidden = || missing(name, Some(revision));
        let newest = self.store.load(tenant, name, None).await?;
        let newest = newest.ok_or_else(hidden)?;
        let wanted = if newest.record.revision == revision {
            newest.clone()
        } else {
            let older = self.store.load(tenant, name, Some(revision)).await?;
            older.ok_or_else(hidden)?
        };
        for tool in [&newest, &wanted] {
            let scopes = &tool.record.spec.required_scopes;
            authorize(principal, Action::UseTool(scopes)).map_err(|_| hidden())?;
        }
        Ok(wanted)
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

    async fn update(
        &self,
        tenant: TenantId,
        name: ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
        subject: String,
    ) -> Result<ToolRecord> {
        for _ in 0..MAX_TRIES {
            let found = self.store.load(&tenant, &name, None).await?;
            let current = found.ok_or_else(|| not_found(&name))?;
            let based_on = current.record.revision;
            if expected.is_some_and(|expected| expected != based_on) {
                return Err(self.refused(Refusal::Moved(based_on), &name, expected));
            }
            let before = (current.record.spec.clone(), current.record.code_digest);
            let draft = patch
                .clone()
                .apply(name.clone(), current.record.spec, current.code);
            // What policy no longer allows can still be switched off.
            if !(only_enables(&patch) && patch.enabled == Some(false)) {
                validate::draft(&draft, &self.settings.policy)?;
            }
            let same = (before.0.runtime, &before.0.dependencies)
                == (draft.spec.runtime, &draft.spec.dependencies);
            let mut tool = revision_of(tenant.clone(), draft, &subject)?;
            tool.lock_of = same.then_some(based_on);
            tool.changed = changed((&before.0, before.1), (&tool.spec, tool.code_digest))?;
            match self
                .store
                .replace(tool, based_on, self.settings.max_revisions)
                .await?
            {
                Ok(record) => {
                    self.announce(record.version);
                    return Ok(record);
                }
                // Another writer was faster and this one expected nothing: lay the patch over
                // what is there now.
                Err(Refusal::Moved(_)) if expected.is_none() => {}
                Err(refusal) => return Err(self.refused(refusal, &name, expected)),
            }
        }
        Err(Error::new(
            ErrorCode::Overloaded,
            format!("too many writers change dynamic tool \"{name}\" at once"),
        )
        .with_retry_after(std::time::Duration::from_millis(200)))
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

fn revision_of(tenant: TenantId, draft: ToolDraft, subject: &str) -> Result<NewRevision> {
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

/// The names of the fields that differ.
fn changed(
    (before, code_before): (&ToolSpec, CodeDigest),
    (after, code_after): (&ToolSpec, CodeDigest),
) -> Result<Vec<String>> {
    let fields = |spec: &ToolSpec| match serde_json::to_value(spec) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::internal("a tool is not an object")),
        Err(error) => Err(Error::internal(error)),
    };
    let (before, after) = (fields(before)?, fields(after)?);
    let mut names: Vec<String> = before
        .keys()
        .chain(after.keys())
        .filter(|&name| before.get(name) != after.get(name))
        .cloned()
        .collect();
    if code_before != code_after {
        names.push("code".to_owned());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
