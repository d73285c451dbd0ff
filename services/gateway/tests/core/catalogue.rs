//! The snapshot: other gateways' changes, and a registry that is away.

use std::sync::Arc;
use std::time::Duration;

use domain::{Catalog, Error, Principal, Scope};
use gateway::settings::Settings;
use serde_json::json;
use testkit::{FakeCatalog, FakeRunner};

use super::rig::{CALLER, Rig, gateway, listed, rig, tool_call};

fn another(of: &Rig) -> Rig {
    let (gateway, metrics) = gateway(
        Settings::default(),
        of.registry.clone(),
        of.executor.clone(),
    );
    Rig {
        gateway,
        metrics,
        registry: of.registry.clone(),
        executor: of.executor.clone(),
        sessions: of.sessions.clone(),
    }
}

#[tokio::test]
async fn what_one_gateway_changes_the_other_sees_and_hears() {
    let one = rig(|_| {}).await;
    let two = another(&one);
    assert!(two.gateway.synced(Duration::from_secs(5)).await);
    let mut changes = two.gateway.subscribe(&domain::TenantId::default());
    one.create("shared.tool", json!({})).await;
    tokio::time::timeout(Duration::from_secs(2), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(two.listed(), ["shared.tool"]);
    two.ok("shared.tool", json!({})).await;
    one.ok("dynamic.tool.delete", json!({"name": "shared.tool"}))
        .await;
    tokio::time::timeout(Duration::from_secs(2), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(two.listed().is_empty());
    two.unknown(tool_call("shared.tool", json!({}))).await;
}

#[tokio::test]
async fn while_the_registry_is_away_lists_and_calls_go_on_and_writes_do_not() {
    let one = rig(|_| {}).await;
    one.create("known.tool", json!({})).await;
    let two = another(&one);
    assert!(two.gateway.synced(Duration::from_secs(5)).await);
    one.registry.fail_with(Some(Error::unavailable("registry")));

    assert_eq!(one.listed(), ["known.tool"]);
    one.ok("known.tool", json!({})).await;
    one.ok("dynamic.tool.list", json!({})).await;
    let patch = json!({"name": "known.tool", "patch": {"title": "T"}});
    one.refused("dynamic.tool.update", patch, "unavailable")
        .await;
    // The other gateway has never had the code.
    two.refused("known.tool", json!({}), "unavailable").await;

    one.registry.fail_with(None);
    two.ok("known.tool", json!({})).await;
    let patch = json!({"name": "known.tool", "patch": {"title": "T"}});
    one.ok("dynamic.tool.update", patch).await;
}

#[tokio::test]
async fn the_code_is_fetched_once() {
    let one = rig(|_| {}).await;
    one.create("known.tool", json!({})).await;
    let two = another(&one);
    assert!(two.gateway.synced(Duration::from_secs(5)).await);
    two.ok("known.tool", json!({})).await;
    two.registry.fail_with(Some(Error::unavailable("registry")));
    two.ok("known.tool", json!({})).await;
    // A revision with the same code needs none either.
    two.registry.fail_with(None);
    let patch = json!({"name": "known.tool", "patch": {"title": "T"}});
    one.ok("dynamic.tool.update", patch).await;
    let mut title = String::new();
    while title.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let list = two.ok("dynamic.tool.list", json!({})).await;
        title = list.structured["tools"][0]["title"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
    }
    two.registry.fail_with(Some(Error::unavailable("registry")));
    two.ok("known.tool", json!({})).await;
}

#[tokio::test]
async fn before_the_first_sync_nothing_is_pretended() {
    let registry = Arc::new(FakeCatalog::default());
    let context = testkit::context(CALLER);
    registry
        .create(&context, testkit::draft("early.tool"))
        .await
        .unwrap();
    registry.fail_with(Some(Error::unavailable("registry")));
    let executor = Arc::new(FakeRunner::answering("1"));
    let (gateway, metrics) = gateway(Settings::default(), registry.clone(), executor.clone());
    let rig = Rig {
        gateway,
        registry,
        executor,
        sessions: Arc::new(testkit::FakeSessions::new("fake")),
        metrics,
    };
    assert!(!rig.gateway.synced(Duration::from_millis(50)).await);
    let principal = Principal::anonymous(CALLER);
    assert_eq!(
        rig.gateway.list_tools(&principal, None).unwrap_err().code,
        -32603
    );
    rig.refused("early.tool", json!({}), "unavailable").await;
    rig.refused("dynamic.tool.list", json!({}), "unavailable")
        .await;
    rig.ok("system.health", json!({})).await;
    assert!(
        rig.gateway
            .health()
            .iter()
            .any(|check| check.needed && !check.healthy)
    );

    rig.registry.fail_with(None);
    assert!(
        rig.gateway.synced(Duration::from_secs(3)).await,
        "it heals by itself"
    );
    assert_eq!(listed(&rig.gateway, &principal), ["early.tool"]);
    assert!(rig.gateway.health().iter().all(|check| check.healthy));
}

#[tokio::test]
async fn a_name_that_the_snapshot_may_have_missed_is_asked_for() {
    /// A registry whose feed never opens.
    struct Mute(FakeCatalog);

    #[async_trait::async_trait]
    impl Catalog for Mute {
        async fn create(
            &self,
            context: &domain::CallContext,
            draft: domain::ToolDraft,
        ) -> domain::Result<domain::ToolRecord> {
            self.0.create(context, draft).await
        }
        async fn update(
            &self,
            context: &domain::CallContext,
            name: &domain::ToolName,
            patch: domain::ToolPatch,
            expected: Option<domain::Revision>,
        ) -> domain::Result<domain::ToolRecord> {
            self.0.update(context, name, patch, expected).await
        }
        async fn delete(
            &self,
            context: &domain::CallContext,
            name: &domain::ToolName,
            expected: Option<domain::Revision>,
        ) -> domain::Result<domain::catalog::Deleted> {
            self.0.delete(context, name, expected).await
        }
        async fn get(
            &self,
            context: &domain::CallContext,
            name: &domain::ToolName,
            revision: Option<domain::Revision>,
        ) -> domain::Result<domain::tool::ToolWithCode> {
            self.0.get(context, name, revision).await
        }
        async fn code(
            &self,
            context: &domain::CallContext,
            name: &domain::ToolName,
            revision: domain::Revision,
        ) -> domain::Result<Arc<str>> {
            self.0.code(context, name, revision).await
        }
        async fn lock(
            &self,
            context: &domain::CallContext,
            name: &domain::ToolName,
            revision: domain::Revision,
        ) -> domain::Result<Option<domain::Lockfile>> {
            self.0.lock(context, name, revision).await
        }
        async fn set_lock(
            &self,
            context: &domain::CallContext,
            name: &domain::ToolName,
            revision: domain::Revision,
            lock: domain::Lockfile,
        ) -> domain::Result<domain::Lockfile> {
            self.0.set_lock(context, name, revision, lock).await
        }
        async fn watch(
            &self,
            _: &domain::CallContext,
            _: domain::CatalogVersion,
        ) -> domain::Result<domain::ChangeStream> {
            Err(Error::unavailable("registry"))
        }
    }

    let registry = Mute(FakeCatalog::default());
    let context = testkit::context(CALLER);
    registry
        .create(&context, testkit::draft("unheard.tool"))
        .await
        .unwrap();
    let executor = Arc::new(FakeRunner::answering("1"));
    let (gateway, metrics) = gateway(Settings::default(), Arc::new(registry), executor.clone());
    let rig = Rig {
        gateway,
        registry: Arc::default(),
        executor,
        sessions: Arc::new(testkit::FakeSessions::new("fake")),
        metrics,
    };
    rig.ok("unheard.tool", json!({})).await;
    rig.unknown(tool_call("no.such.tool", json!({}))).await;
    rig.unknown(tool_call("no such tool", json!({}))).await;
    let cannot_ask = Principal::anonymous(&[Scope::Invoke]);
    let call = super::rig::tool_call_as(cannot_ask, "other.tool", json!({}));
    assert_eq!(
        rig.send(call).await.unwrap().structured["code"],
        "unavailable"
    );
}

#[tokio::test]
async fn shutdown_ends_the_feed() {
    let rig = rig(|_| {}).await;
    tokio::time::timeout(Duration::from_secs(2), rig.gateway.shutdown())
        .await
        .unwrap();
}
