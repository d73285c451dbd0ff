//! Changes and deletions of tools that are there.

use domain::catalog::Deleted;
use domain::principal::Action;
use domain::{
    CodeDigest, Error, ErrorCode, Principal, Result, Revision, Scope, TenantId, ToolName,
    ToolPatch, ToolRecord, ToolSpec, validate,
};

use super::{Right, not_found, only_enables, revision_of};
use crate::registry::Core;
use crate::store::{Answer, Once, Refusal};

/// How often a write without an expectation is tried again after another writer was faster.
const MAX_TRIES: u32 = 100;

const WRITE: Right = |scopes| Action::WriteTool(scopes);

impl Core {
    /// Lays a patch over a tool.
    pub(super) async fn update(
        &self,
        principal: &Principal,
        name: ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
        once: Option<&Once>,
    ) -> Result<ToolRecord> {
        let tenant = &principal.tenant;
        for _ in 0..MAX_TRIES {
            let current = self.visible(principal, &name, None, WRITE).await?;
            let based_on = current.record.revision;
            if expected.is_some_and(|expected| expected != based_on) {
                return Err(self.refused(Refusal::Moved(based_on), &name, expected));
            }
            self.check_not_declared(tenant, &name).await?;
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
            let mut tool = revision_of(tenant.clone(), draft, &principal.subject)?;
            tool.once = once.cloned();
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
        Err(crowded(&name))
    }

    /// What was refused is answered all the same when this very write was made meanwhile: sent twice
    /// at once, the second may see what the first has left.
    pub(super) async fn unless_answered<T>(
        &self,
        once: Option<&Once>,
        made: Result<T>,
        read: fn(Answer) -> Result<T>,
    ) -> Result<T> {
        let (Err(refusal), Some(once)) = (&made, once) else {
            return made;
        };
        if refusal.code() == ErrorCode::Unavailable {
            return made;
        }
        match self.store.answered(once).await? {
            Ok(Some(answer)) => read(answer),
            _ => made,
        }
    }

    /// Deletes a tool.
    pub(super) async fn delete(
        &self,
        principal: &Principal,
        name: &ToolName,
        expected: Option<Revision>,
        once: Option<&Once>,
    ) -> Result<Deleted> {
        let keep = self.settings.max_deleted;
        for _ in 0..MAX_TRIES {
            let seen = self.may_delete(principal, name).await?;
            let tenant = &principal.tenant;
            let standing = self.check_not_declared(tenant, name).await?;
            let based_on = expected.or(seen).or(standing);
            let deleted = self.store.delete(tenant, name, based_on, keep, once);
            match deleted.await? {
                Ok(version) => {
                    self.announce(version);
                    return Ok(Deleted { version });
                }
                // Another writer was faster; who may delete what it has left is asked anew.
                Err(Refusal::Moved(_)) if expected.is_none() => {}
                // A stored tool whose name the product took later can be deleted like any other.
                Err(Refusal::Missing) if name.is_reserved() => {
                    return name.check_not_reserved().and(Err(not_found(name)));
                }
                Err(refusal) => return Err(self.refused(refusal, name, expected)),
            }
        }
        Err(crowded(name))
    }

    /// Refuses what only the configuration may change; answers the revision that says it may not. What
    /// the configuration takes over after this is another revision.
    async fn check_not_declared(
        &self,
        tenant: &TenantId,
        name: &ToolName,
    ) -> Result<Option<Revision>> {
        match self.store.standing(tenant, name).await? {
            Some(standing) if standing.declared => Err(Error::new(
                ErrorCode::PolicyDenied,
                format!(
                    "Dynamic tool \"{name}\" is declared in the server's configuration and cannot be \
                     changed here."
                ),
            )
            .with_fix(
                "change or remove its entry under tools in the configuration file, and send the \
                 process that keeps the tools SIGHUP",
            )),
            standing => Ok(standing.map(|standing| standing.revision)),
        }
    }

    /// Whether this caller may delete a tool, and the revision that says so. Of an administrator
    /// nothing is asked: a record that cannot be read can still be deleted.
    async fn may_delete(&self, principal: &Principal, name: &ToolName) -> Result<Option<Revision>> {
        if principal.has(Scope::Admin) {
            return Ok(None);
        }
        match self.visible(principal, name, None, WRITE).await {
            Ok(tool) => Ok(Some(tool.record.revision)),
            Err(error) if error.code() == ErrorCode::NotFound && name.is_reserved() => {
                name.check_not_reserved().and(Err(error))
            }
            Err(error) => Err(error),
        }
    }
}

fn crowded(name: &ToolName) -> Error {
    Error::new(
        ErrorCode::Overloaded,
        format!("too many writers change dynamic tool \"{name}\" at once"),
    )
    .with_retry_after(std::time::Duration::from_millis(200))
}

/// The names of the fields that differ.
pub(crate) fn changed(
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
