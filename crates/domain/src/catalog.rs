//! The port `Catalog`: what is this tool?

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;

use crate::call::CallContext;
use crate::error::Result;
use crate::id::{CatalogVersion, Revision, TenantId};
use crate::lockfile::Lockfile;
use crate::name::ToolName;
use crate::tool::{ToolDraft, ToolPatch, ToolRecord, ToolWithCode};

/// One step of the change feed.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogChange {
    /// What follows is the whole catalogue: forget everything. Sent first when the feed cannot go
    /// on from the version that was asked for.
    Reset,
    /// A tool was created or has a new revision.
    Upserted(Box<ToolRecord>),
    /// A tool was deleted.
    Removed {
        /// Whose it was.
        tenant: TenantId,
        /// Its name.
        name: ToolName,
        /// The version of the deletion.
        version: CatalogVersion,
    },
    /// Everything up to this version has been sent. Repeated at least every five seconds, so that
    /// silence means that the feed is broken.
    Synced(CatalogVersion),
}

/// The change feed; it ends only with an error or when the registry goes away.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<CatalogChange>> + Send>>;

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The catalogue's version at the deletion.
    pub version: CatalogVersion,
}

/// Keeps tools. All methods but `watch` act within the tenant of the context's principal, and each
/// authorises the principal itself.
///
/// Common errors: `unavailable` when the store cannot be reached (nothing was changed, or the
/// message says that the outcome is unknown), `permission_denied`.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Stores a new tool after checking it completely.
    ///
    /// # Errors
    /// `invalid_argument`, `policy_denied` (reserved name, image, package, read-only),
    /// `already_exists`, `limit_exceeded`.
    async fn create(&self, context: &CallContext, draft: ToolDraft) -> Result<ToolRecord>;

    /// Makes a new revision. With `expected` only if that is the current one.
    ///
    /// # Errors
    /// As `create`, and `not_found`, `revision_conflict` (names both revisions).
    async fn update(
        &self,
        context: &CallContext,
        name: &ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<ToolRecord>;

    /// Deletes a tool; its revision numbers are never used again.
    ///
    /// # Errors
    /// `not_found`, `revision_conflict`, `policy_denied` (read-only).
    async fn delete(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Result<Deleted>;

    /// The tool with its code, in its current or a kept older revision.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<ToolWithCode>;

    /// The code alone, for a call: needs the right to use the tool, not to read definitions.
    ///
    /// # Errors
    /// `not_found` when that revision is not kept (any more).
    async fn code(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Arc<str>>;

    /// What the dependencies of a kept revision resolved to; `None` while nobody has resolved them,
    /// as for a tool that was taken over from elsewhere. Needs the right to use the tool.
    ///
    /// # Errors
    /// `not_found` when that revision is not kept (any more).
    async fn lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Lockfile>>;

    /// Keeps a lockfile for a revision that has none yet and answers with the one that is kept: the
    /// first one that came. Needs the right to use the tool.
    ///
    /// # Errors
    /// `not_found` as [`Catalog::lock`]; `invalid_argument`, `policy_denied` (a blocked package).
    async fn set_lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
        lock: Lockfile,
    ) -> Result<Lockfile>;

    /// Follows all tenants' tools from just after `since` (zero: from the start). For services
    /// only.
    ///
    /// # Errors
    /// `permission_denied` for anyone but a service.
    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<ChangeStream>;
}
