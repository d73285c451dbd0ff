//! The suite of the port, directly: one registry, and two that share a file.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Catalog;
use registry::Settings;
use testkit::conformance::catalog::{Catalogs, Rules, Subject};

use super::open;

struct World {
    registries: usize,
}

#[async_trait]
impl Catalogs for World {
    async fn make(&self, rules: Rules) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let settings = Settings {
            max_tools: rules.max_tools,
            max_revisions: rules.max_revisions,
            read_only: rules.read_only,
            policy: rules.policy,
            ..Settings::default()
        };
        let first = open(&path, settings.clone()).await;
        let second = if self.registries == 2 {
            open(&path, settings).await
        } else {
            first.clone()
        };
        Subject {
            catalog: Arc::new(first) as Arc<dyn Catalog>,
            other: Arc::new(second),
            keep: Box::new(directory),
        }
    }
}

mod one_registry {
    testkit::catalog_conformance!(super::World { registries: 1 });
}

mod two_registries_on_one_file {
    testkit::catalog_conformance!(super::World { registries: 2 });
}
