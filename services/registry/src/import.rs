//! Takes over the JSON store of the Node server: `{"version": 1, "tools": [...]}`.
//!
//! Once, into a registry that never held a tool, and all at once. The file is only read, so going
//! back to the Node server works. A record that breaks a rule of this server is named and left out.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use domain::dependency::Dependency;
use domain::tool::{EngineChoice, Isolation, Runtime, ToolSpec};
use domain::validate::{self, Policy};
use domain::{CodeDigest, Error, RawValue, Revision, TenantId, ToolDraft, ToolName, limits};
use jiff::Timestamp;
use serde::Deserialize;

use crate::registry::Registry;
use crate::store::{Import, NewRevision, Refusal};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Largest revision that JSON of every client can hold.
const MAX_REVISION: u64 = (1 << 53) - 1;

/// Where the registry's database is and which file of the Node server it may take over, from
/// `MCP_DYNAMIC_STORE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePaths {
    /// The SQLite file.
    pub database: PathBuf,
    /// The JSON store to import when the registry is empty and this file exists.
    pub import: PathBuf,
}

impl StorePaths {
    /// A path that ends in `.json` is a store to import, with the database `registry.db` beside
    /// it; any other is the database, and `tools.json` beside it is imported.
    #[must_use]
    pub fn of(configured: &Path) -> Self {
        let is_json = configured
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("json"));
        if is_json {
            Self {
                database: configured.with_file_name("registry.db"),
                import: configured.into(),
            }
        } else {
            Self {
                database: configured.into(),
                import: configured.with_file_name("tools.json"),
            }
        }
    }
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// The file.
    pub source: PathBuf,
    /// How many tools were taken over.
    pub imported: usize,
    /// The records that were left out.
    pub invalid: Vec<InvalidRecord>,
}

/// A record that was left out of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRecord {
    /// Its place in the array `tools`, from 0.
    pub position: usize,
    /// Its name, where it has one; at most 64 characters of it.
    pub name: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is there and cannot be read.
    #[error("the tools in {} cannot be read: {source}; check its rights, or move it away to start without them", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a store of the Node server.
    #[error("{} is not a tool store of the Node server: {reason}; repair it, or move it away to start without its tools", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More tools than a tenant may have.
    #[error("{} holds {found} tools and {limit} are allowed; raise MCP_DYNAMIC_MAX_TOOLS to at least {found}; nothing was imported", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// How many valid ones it has.
        found: usize,
        /// How many are allowed.
        limit: u32,
    },
    /// The registry's own store failed.
    #[error("the tools in {} were not imported: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: Error,
    },
}

#[derive(Deserialize)]
struct File<'a> {
    version: u64,
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct NameOnly {
    name: String,
}

/// A record as the Node server writes it; like there, unknown fields do not matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    name: String,
    title: Option<String>,
    description: String,
    #[serde(default = "default_image")]
    image: String,
    #[serde(default = "default_timeout")]
    timeout_ms: u32,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    code: String,
    #[serde(default = "enabled")]
    enabled: bool,
    created_at: String,
    updated_at: String,
    revision: u64,
}

fn default_image() -> String {
    limits::DEFAULT_IMAGE.to_owned()
}

fn default_timeout() -> u32 {
    limits::DEFAULT_TIMEOUT_MS
}

fn enabled() -> bool {
    true
}

impl Registry {
    /// Imports `path` when this registry never held a tool and the file exists; otherwise does
    /// nothing and answers `None`. Reserved names and what breaks a limit of the contract are left
    /// out; images and packages are not held against the policy, which every run checks again.
    /// Read-only mode refuses clients and not this.
    ///
    /// # Errors
    /// See [`ImportError`]; then nothing was imported.
    pub async fn import_node_store(
        &self,
        path: &Path,
    ) -> Result<Option<ImportReport>, ImportError> {
        let store_failed = |source| ImportError::Store {
            path: path.to_owned(),
            source,
        };
        if !self.core.store.is_unused().await.map_err(store_failed)? {
            return Ok(None);
        }
        let Some(text) = read(path).await? else {
            return Ok(None);
        };
        let (tools, invalid) = parse(path, &text)?;
        let limit = self.core.settings.max_tools;
        if tools.len() > limit as usize {
            return Err(ImportError::TooMany {
                path: path.to_owned(),
                found: tools.len(),
                limit,
            });
        }
        let imported = tools.len();
        if imported > 0 {
            let note = format!(
                "{} from {} at {}",
                imported,
                path.display(),
                Timestamp::now()
            );
            match self
                .core
                .store
                .import(tools, &note)
                .await
                .map_err(store_failed)?
            {
                Ok(version) => self.core.announce(version),
                // Another process was faster.
                Err(Refusal::Exists) => return Ok(None),
                Err(refusal) => return Err(store_failed(Error::internal(format!("{refusal:?}")))),
            }
        }
        Ok(Some(ImportReport {
            source: path.to_owned(),
            imported,
            invalid,
        }))
    }
}

async fn read(path: &Path) -> Result<Option<Vec<u8>>, ImportError> {
    let unreadable = |source| ImportError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size = match tokio::fs::metadata(path).await {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if size > MAX_BYTES {
        let reason = format!("it has {size} bytes, and at most {MAX_BYTES} are read");
        return Err(ImportError::Foreign {
            path: path.to_owned(),
            reason,
        });
    }
    tokio::fs::read(path).await.map(Some).map_err(unreadable)
}

fn parse(path: &Path, text: &[u8]) -> Result<(Vec<Import>, Vec<InvalidRecord>), ImportError> {
    let foreign = |reason: String| ImportError::Foreign {
        path: path.to_owned(),
        reason,
    };
    let file: File<'_> =
        serde_json::from_slice(text).map_err(|error| foreign(error.to_string()))?;
    if file.version != 1 {
        return Err(foreign(format!(
            "its version is {} and not 1",
            file.version
        )));
    }
    let (mut tools, mut invalid) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for (position, record) in file.tools.into_iter().enumerate() {
        let checked = check(record.get()).and_then(|tool| {
            if names.insert(tool.tool.name.clone()) {
                Ok(tool)
            } else {
                Err("an earlier record has the same name".to_owned())
            }
        });
        match checked {
            Ok(tool) => tools.push(tool),
            Err(reason) => {
                let name = serde_json::from_str(record.get())
                    .ok()
                    .map(|NameOnly { name }| name.chars().take(64).collect());
                invalid.push(InvalidRecord {
                    position,
                    name,
                    reason,
                });
            }
        }
    }
    Ok((tools, invalid))
}

fn check(record: &str) -> Result<Import, String> {
    let record: Record = serde_json::from_str(record).map_err(|error| error.to_string())?;
    if !(1..=MAX_REVISION).contains(&record.revision) {
        return Err(format!(
            "revision: is {} (allowed: 1-{MAX_REVISION})",
            record.revision
        ));
    }
    let created_at = moment("createdAt", &record.created_at)?;
    let made_at = moment("updatedAt", &record.updated_at)?;
    let draft = ToolDraft {
        name: ToolName::parse(&record.name).map_err(|error| error.to_string())?,
        spec: ToolSpec {
            title: record.title,
            description: record.description,
            image: record.image,
            timeout_ms: record.timeout_ms,
            dependencies: record.dependencies,
            enabled: record.enabled,
            input_schema: None,
            output_schema: None,
            annotations: None,
            runtime: Runtime::Node,
            engine: EngineChoice::Any,
            isolation: Isolation::Call,
            tags: BTreeSet::new(),
            rate_limit: None,
            cache: None,
            required_scopes: BTreeSet::new(),
        },
        code: record.code.into(),
    };
    let open = Policy {
        allowed_images: Vec::new(),
        blocked_packages: Vec::new(),
        max_dependencies: limits::DEPENDENCIES,
        max_timeout_ms: *limits::TIMEOUT_MS.end(),
    };
    validate::draft(&draft, &open).map_err(|error| error.to_string())?;
    Ok(Import {
        tool: NewRevision {
            tenant: TenantId::default(),
            name: draft.name,
            spec: draft.spec,
            code_digest: CodeDigest::of(&draft.code),
            code: draft.code,
            made_at,
            made_by: "import".to_owned(),
            changed: Vec::new(),
        },
        revision: Revision(record.revision),
        created_at,
    })
}

fn moment(field: &str, text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{field}: is not a time in UTC such as 2026-01-31T12:00:00.000Z"))
}
