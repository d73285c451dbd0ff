//! The code of tools, kept compressed in a cache that is bounded by bytes.

use std::future::Future;
use std::sync::Arc;

use domain::{CodeDigest, Error, Result, TenantId, ToolRecord};
use moka::future::Cache;

/// What an entry costs besides its compressed text, in bytes, roughly.
const OVERHEAD: usize = 256;

type Key = (TenantId, CodeDigest);

/// Code by tenant and digest: two revisions with the same code share it, two tenants do not, so
/// that nothing of one tenant can be told from what is cached for another.
#[derive(Debug)]
pub(crate) struct CodeCache {
    cache: Cache<Key, Arc<[u8]>>,
}

impl CodeCache {
    /// A cache of at most this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let weigh = |_: &Key, packed: &Arc<[u8]>| {
            u32::try_from(packed.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self {
            cache: Cache::builder().weigher(weigh).max_capacity(bytes).build(),
        }
    }

    /// How many tools' code it holds and in how many bytes, roughly.
    pub(crate) fn extent(&self) -> (u64, u64) {
        (self.cache.entry_count(), self.cache.weighted_size())
    }

    /// Keeps the code that this gateway has just stored.
    pub(crate) async fn put(&self, record: &ToolRecord, code: &str) {
        if CodeDigest::of(code) == record.code_digest {
            self.cache.insert(key(record), pack(code)).await;
        }
    }

    /// The code of this record, if it is here.
    pub(crate) async fn peek(&self, record: &ToolRecord) -> Result<Option<Arc<str>>> {
        self.cache
            .get(&key(record))
            .await
            .map(|packed| unpack(&packed))
            .transpose()
    }

    /// The code of this record, from the cache or by `fetch`: one fetch however many ask at once.
    ///
    /// # Errors
    /// Those of `fetch`; `internal` when what comes is not what the record says.
    pub(crate) async fn get(
        &self,
        record: &ToolRecord,
        fetch: impl Future<Output = Result<Arc<str>>>,
    ) -> Result<Arc<str>> {
        let load = async {
            let code = fetch.await?;
            if CodeDigest::of(&code) != record.code_digest {
                return Err(Error::internal("the registry's code has another digest"));
            }
            Ok(pack(&code))
        };
        match self.cache.try_get_with(key(record), load).await {
            Ok(packed) => unpack(&packed),
            Err(shared) => Err((*shared).clone()),
        }
    }
}

fn key(record: &ToolRecord) -> Key {
    (record.tenant.clone(), record.code_digest)
}

fn pack(code: &str) -> Arc<[u8]> {
    lz4_flex::compress_prepend_size(code.as_bytes()).into()
}

fn unpack(packed: &[u8]) -> Result<Arc<str>> {
    let bytes = lz4_flex::decompress_size_prepended(packed).map_err(Error::internal)?;
    String::from_utf8(bytes)
        .map(Arc::from)
        .map_err(Error::internal)
}
