//! What `/health` and `/readyz` say of the gateway.

use serde_json::{Map, Value, json};

use crate::gateway::Gateway;
use crate::operations::Check;
use crate::placement::Placement;

impl Gateway {
    /// The state of everything that this gateway stands on, in a stable order.
    #[must_use]
    pub fn health(&self) -> Vec<Check> {
        let status = self.catalogue().status();
        let (version, tools) = self.catalogue().extent();
        let age = status
            .age()
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let synced = self.catalogue().has_synced();
        let mut checks = vec![
            Check {
                name: "registry",
                healthy: status.connected,
                // A catalogue that is known serves on while the registry is away.
                needed: false,
                detail: object(json!({"connected": status.connected, "lastSyncAgeMs": age})),
            },
            Check {
                name: "catalogue",
                healthy: !self.catalogue().is_stale(),
                needed: false,
                detail: object(json!({
                    "synced": synced, "version": version.0, "tools": tools, "ageMs": age
                })),
            },
        ];
        // Not ready before the first sync, and from then on as long as it is known.
        if !synced {
            for check in &mut checks {
                check.healthy = false;
                check.needed = true;
            }
        }
        // The one executor of a program that holds all three is there as long as the program is.
        let (known, usable) = self.placement().map_or((1, 1), Placement::extent);
        checks.push(Check {
            name: "executors",
            healthy: usable > 0,
            needed: true,
            detail: object(json!({"known": known, "usable": usable})),
        });
        let (entries, bytes) = self.codes().extent();
        let (usable, responses) = self.cache().health();
        checks.push(Check {
            name: "cache",
            healthy: usable,
            // Without it every call runs.
            needed: false,
            detail: object(json!({
                "codeEntries": entries, "codeBytes": bytes, "responses": responses
            })),
        });
        checks.extend(self.audit().health());
        checks
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
