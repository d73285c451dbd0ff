//! Compiled schemas of stored tools: made at the first call of a revision, kept while they are used.

use std::sync::Arc;

use domain::schema::{Role, Schema};
use domain::{RawValue, Result};
use moka::sync::Cache;

/// Most memory for compiled schemas, by the estimate below.
const BYTES: u64 = 32 << 20;
/// What a compiled schema takes for each byte of its text, roughly.
const EXPANSION: u32 = 16;

/// Compiled schemas by the snapshot's entry and the role. A new revision is a new entry; what
/// belongs to an old one falls out as the least used.
#[derive(Debug)]
pub(crate) struct Schemas {
    /// Entry, and whether it is the output schema.
    cache: Cache<(u64, bool), Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    schema: Arc<Schema>,
    bytes: u32,
}

impl Schemas {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        let cache = Cache::builder()
            .weigher(|_, kept: &Kept| kept.bytes)
            .max_capacity(BYTES);
        Self {
            cache: cache.build(),
        }
    }

    /// The compiled form of `text`, which is the schema of that role of the entry `id`.
    ///
    /// # Errors
    /// Those of [`Schema::compile`]: the registry checks schemas before it stores them, so only a
    /// record of a version with other rules has any.
    pub(crate) fn get(&self, id: u64, role: Role, text: &RawValue) -> Result<Arc<Schema>> {
        let key = (id, role == Role::Output);
        if let Some(kept) = self.cache.get(&key) {
            return Ok(kept.schema);
        }
        let make = || -> Result<Kept> {
            let size = u32::try_from(text.get().len()).unwrap_or(u32::MAX);
            let bytes = size.saturating_mul(EXPANSION).saturating_add(1_024);
            Ok(Kept {
                schema: Arc::new(Schema::compile(role, text)?),
                bytes,
            })
        };
        match self.cache.try_get_with(key, make) {
            Ok(kept) => Ok(kept.schema),
            Err(shared) => Err((*shared).clone()),
        }
    }
}
