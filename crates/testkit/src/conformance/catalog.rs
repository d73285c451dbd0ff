//! The suite of the port [`Catalog`].
//!
//! A crate runs it with one line, which makes a test of every case:
//! `testkit::catalog_conformance!(World);` where `World` implements [`Catalogs`].

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the cases are tests: a panic is how they fail"
)]

mod feed;
mod locks;
mod once;
mod races;
mod records;
mod revisions;
mod rules;
mod texts;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::validate::Policy;
use domain::{
    CallContext, Catalog, ErrorCode, Principal, RequestId, Result, Scope, TenantId, ToolDraft,
    ToolName, ToolPatch,
};

pub use self::feed::*;
pub use self::locks::*;
pub use self::once::*;
pub use self::races::*;
pub use self::records::*;
pub use self::revisions::*;
pub use self::rules::*;
pub use self::texts::*;

/// The configuration of a catalogue under test.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Most tools of a tenant.
    pub max_tools: u32,
    /// Revisions kept of a tool.
    pub max_revisions: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// What tools may name.
    pub policy: Policy,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_tools: 256,
            max_revisions: 100,
            read_only: false,
            policy: Policy::default(),
        }
    }
}

/// A catalogue under test.
pub struct Subject {
    /// The port.
    pub catalog: Arc<dyn Catalog>,
    /// Another way to the same catalogue, for tests that need two sides: a second replica, or the
    /// same one again.
    pub other: Arc<dyn Catalog>,
    /// What has to live as long: directories, servers.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Makes catalogues.
#[async_trait]
pub trait Catalogs: Send + Sync {
    /// A new empty catalogue.
    async fn make(&self, rules: Rules) -> Subject;
}

/// Makes one `#[tokio::test]` of each case, in the module where it stands; with `, small`, of all
/// but the one that makes ten thousand tools.
#[macro_export]
macro_rules! catalog_conformance {
    ($catalogs:expr) => {
        $crate::catalog_conformance! { $catalogs, small }
        $crate::catalog_conformance! { @each $catalogs; ten_thousand_tools_are_listed, }
    };
    ($catalogs:expr, small) => {
        $crate::catalog_conformance! { @each $catalogs;
            a_tool_is_made_read_changed_and_deleted,
            a_patch_changes_what_it_names_and_nothing_else,
            what_is_not_there_is_not_found,
            a_name_is_taken_once,
            names_differ_by_case,
            tenants_do_not_see_each_other,
            every_revision_stays_readable,
            the_oldest_revision_goes_first,
            an_update_that_changes_nothing_is_a_revision,
            numbers_go_on_after_a_deletion,
            an_old_revision_never_matches_again,
            of_64_creators_one_wins,
            of_64_updaters_one_wins_each_round,
            updates_without_an_expectation_all_happen,
            deletion_and_update_race_to_one_end,
            max_tools_holds_under_parallel_creates,
            read_only_refuses_every_write,
            every_limit_is_checked_on_create,
            every_limit_is_checked_on_update,
            a_refused_change_changes_nothing,
            every_method_needs_its_scope,
            code_is_for_those_who_may_use_the_tool,
            a_lockfile_stays_as_long_as_its_dependencies,
            the_first_lockfile_is_kept,
            a_lockfile_is_for_those_who_may_use_the_tool,
            a_write_with_a_key_happens_once,
            a_key_is_of_one_request_of_one_caller,
            a_refused_write_keeps_no_answer,
            of_64_senders_of_one_write_all_get_its_answer,
            what_a_caller_may_not_use_it_may_not_read_or_change,
            text_comes_back_byte_for_byte,
            the_longest_code_comes_back,
            the_feed_starts_with_everything,
            the_feed_goes_on_with_every_change,
            the_feed_goes_on_from_a_version,
            the_feed_starts_again_for_a_foreign_version,
            the_feed_shows_all_tenants,
            the_feed_repeats_synced,
            a_slow_watcher_misses_nothing,
        }
    };
    (@each $catalogs:expr; $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::catalog::$case(&$catalogs).await;
            }
        )+
    };
}

const BUDGET: Duration = Duration::from_secs(60);

fn context(principal: Principal) -> CallContext {
    CallContext::new(Arc::new(principal), RequestId::random(), BUDGET)
}

/// A caller of a tenant with exactly these scopes.
fn caller(tenant: &str, scopes: &[&str]) -> CallContext {
    context(Principal {
        tenant: TenantId::parse(tenant).unwrap(),
        subject: "conformance".to_owned(),
        client_id: None,
        scopes: scopes
            .iter()
            .map(|&scope| scope.to_owned())
            .collect::<BTreeSet<_>>(),
        tier: None,
    })
}

fn admin() -> CallContext {
    caller("default", &[Scope::Admin.as_str()])
}

fn service() -> CallContext {
    CallContext::service("gateway", BUDGET)
}

fn name(text: &str) -> ToolName {
    ToolName::parse(text).unwrap()
}

/// A tool from its JSON as a client would send it, `code` aside.
fn draft(tool: &str, spec: &serde_json::Value, code: &str) -> ToolDraft {
    ToolDraft {
        name: name(tool),
        spec: serde_json::from_str(&spec.to_string()).unwrap(),
        code: code.into(),
        lock: None,
    }
}

/// A small tool.
fn small(tool: &str) -> ToolDraft {
    draft(
        tool,
        &serde_json::json!({ "description": "a tool" }),
        "return 1",
    )
}

fn patch(json: &serde_json::Value) -> ToolPatch {
    serde_json::from_str(&json.to_string()).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, code: ErrorCode) -> domain::Error {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}
