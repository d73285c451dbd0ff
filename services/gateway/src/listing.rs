//! `tools/list`: pages made once per change of the list and kept as the bytes that are sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::principal::{Action, authorize};
use domain::{Principal, RawValue, RequestId, Scope, TenantId, ToolName};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::catalog::entry::Entry;
use crate::cursor;
use crate::gateway::Gateway;
use crate::mcp::Page;
use crate::operations::ProtocolError;

/// Tools on a page (contract section 3).
const PAGE: usize = 1_000;
/// Most memory for pages that are kept, in bytes.
const BYTES: u64 = 16 << 20;

/// What a page depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    generation: u64,
    after: Option<ToolName>,
    /// The caller's rights, as far as the list depends on them.
    rights: Rights,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Rights {
    /// Which of the product's scopes the caller holds: a built-in asks for nothing else.
    Product([bool; Scope::OUTSIDE.len()]),
    /// The caller's very scopes: some tool requires scopes of its own.
    Scopes(BTreeSet<String>),
}

/// Pages of `tools/list` by what they depend on; the least recently used go first.
#[derive(Debug)]
pub(crate) struct Pages {
    cache: Cache<Key, Page>,
}

impl Pages {
    pub(crate) fn new() -> Self {
        let weigh =
            |_: &Key, page: &Page| u32::try_from(page.items.get().len() + 512).unwrap_or(u32::MAX);
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(BYTES)
            .eviction_policy(EvictionPolicy::lru());
        Self {
            cache: cache.build(),
        }
    }
}

impl Gateway {
    /// A page of the tools that this caller may use: built-ins first, then the tenant's tools by
    /// name, 1,000 on a page.
    ///
    /// # Errors
    /// -32602 for a cursor that is not one of ours; -32603 while the registry has never been
    /// reached, because a list without its tools would be wrong.
    pub fn list_tools(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
    ) -> Result<Page, ProtocolError> {
        let after = cursor
            .map(cursor::read)
            .transpose()
            .map_err(|error| ProtocolError::invalid_params(format!("Invalid params: {error}")))?;
        if !self.catalogue().has_synced() {
            return Err(ProtocolError {
                code: -32603,
                message: "the tools are not known yet: the registry cannot be reached; \
                          try again in a few seconds"
                    .to_owned(),
                data: None,
            });
        }
        let tools = self.catalogue().tools(&principal.tenant);
        let rights = if tools.scoped {
            Rights::Scopes(principal.scopes.clone())
        } else {
            Rights::Product(std::array::from_fn(|at| principal.has(Scope::OUTSIDE[at])))
        };
        let key = Key {
            tenant: principal.tenant.clone(),
            generation: tools.generation,
            after,
            rights,
        };
        if let Some(page) = self.pages().cache.get(&key) {
            return Ok(page);
        }
        let rest = tools.after(key.after.as_ref().map(ToolName::as_str));
        let page = self.make_page(principal, key.after.is_none(), rest)?;
        self.pages().cache.insert(key, page.clone());
        Ok(page)
    }

    fn make_page(
        &self,
        principal: &Principal,
        first: bool,
        rest: &[Arc<Entry>],
    ) -> Result<Page, ProtocolError> {
        let built_ins = if first { self.built_ins() } else { &[] };
        let built_ins = built_ins
            .iter()
            .filter(|tool| authorize(principal, tool.action()).is_ok());
        let mut shown: Vec<&str> = built_ins.map(|tool| tool.listing.as_str()).collect();
        let visible = |entry: &&Arc<Entry>| {
            let action = Action::UseTool(&entry.record.spec.required_scopes);
            entry.served() && authorize(principal, action).is_ok()
        };
        let mut stored = rest.iter().filter(visible);
        let mut last = None;
        for entry in stored.by_ref().take(PAGE - shown.len()) {
            shown.push(&entry.listing);
            last = Some(&entry.record.name);
        }
        let next_cursor = last.filter(|_| stored.next().is_some()).map(cursor::after);
        let size = shown.iter().map(|tool| tool.len() + 1).sum::<usize>() + 1;
        let mut json = String::with_capacity(size);
        json.push('[');
        for (at, tool) in shown.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            json.push_str(tool);
        }
        json.push(']');
        let tools = RawValue::from_string(json).map_err(|cause| {
            let request = RequestId::random();
            tracing::error!(fault = "internal", request_id = %request, %cause, "a list could not be written");
            ProtocolError::internal(&request)
        })?;
        Ok(Page {
            items: tools.into(),
            next_cursor,
        })
    }
}
