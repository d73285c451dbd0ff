//! Takes over what the Node server left: its JSON store, `{"version": 1, "tools": [...]}`, or its
//! table on Postgres.
//!
//! Once, into a registry that never held a tool, and all at once. The source is only read, so going
//! back to the Node server works. A record that breaks a rule of this server is named and left out.

mod record;

use std::io;
use std::path::{Path, PathBuf};

use domain::{Error, ErrorCode};
use jiff::Timestamp;

use crate::registry::Registry;
use crate::store::{Import, Refusal};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

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
    /// Where the tools were, for people: the path of a file, or a table.
    pub source: String,
    /// How many tools were taken over.
    pub imported: usize,
    /// The records that were left out.
    pub invalid: Vec<InvalidRecord>,
}

/// A record that was left out of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRecord {
    /// Its place in the array `tools`, or among the rows by name, from 0.
    pub position: usize,
    /// Its name, where it has one; at most 64 characters of it.
    pub name: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Why nothing was imported; `place` is the file or the table.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is there and cannot be read.
    #[error(
        "the tools in {place} cannot be read: {source}; check its rights, or move it away to start without them"
    )]
    Unreadable {
        /// Where it is.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file or table is not one of the Node server.
    #[error(
        "{place} is not a tool store of the Node server: {reason}; repair it, or move it away to start without its tools"
    )]
    Foreign {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More tools than a tenant may have.
    #[error(
        "{place} holds {found} tools and {limit} are allowed; raise MCP_DYNAMIC_MAX_TOOLS to at least {found}; nothing was imported"
    )]
    TooMany {
        /// Where it is.
        place: String,
        /// How many valid ones it has.
        found: usize,
        /// How many are allowed.
        limit: u32,
    },
    /// The registry's own store failed.
    #[error("the tools in {place} were not imported: {source}")]
    Store {
        /// Where it is.
        place: String,
        /// What failed.
        source: Error,
    },
}

impl Registry {
    /// Imports the file `path` when this registry never held a tool and the file exists; otherwise
    /// does nothing and answers `None`. Reserved names and what breaks a limit of the contract are
    /// left out; images and packages are not held against the policy, which every run checks again.
    /// Read-only mode refuses clients and not this.
    ///
    /// # Errors
    /// See [`ImportError`]; then nothing was imported.
    pub async fn import_node_store(
        &self,
        path: &Path,
    ) -> Result<Option<ImportReport>, ImportError> {
        let place = path.display().to_string();
        if !self.is_unused(&place).await? {
            return Ok(None);
        }
        let Some(text) = read(path).await? else {
            return Ok(None);
        };
        let records = record::records(&text).map_err(|reason| ImportError::Foreign {
            place: place.clone(),
            reason,
        })?;
        let sorted = record::sort(records.into_iter().map(|record| record.get()));
        self.take_over(place, sorted).await
    }

    /// Imports the Node server's table beside the store's own tables, by the same rules as
    /// [`Registry::import_node_store`]; `None` also when there is no such table.
    ///
    /// # Errors
    /// See [`ImportError`]; then nothing was imported.
    pub async fn import_node_table(&self) -> Result<Option<ImportReport>, ImportError> {
        let place = "the Node server's table";
        if !self.is_unused(place).await? {
            return Ok(None);
        }
        let table = self.core.store.node_table().await.map_err(|source| {
            let place = place.to_owned();
            if source.code() == ErrorCode::InvalidArgument {
                let reason = source.to_string();
                return ImportError::Foreign { place, reason };
            }
            ImportError::Store { place, source }
        })?;
        let Some(table) = table else {
            return Ok(None);
        };
        let sorted = record::sort(table.records.iter().map(String::as_str));
        self.take_over(table.place, sorted).await
    }

    async fn is_unused(&self, place: &str) -> Result<bool, ImportError> {
        let unused = self.core.store.is_unused().await;
        unused.map_err(|source| ImportError::Store {
            place: place.to_owned(),
            source,
        })
    }

    async fn take_over(
        &self,
        place: String,
        (tools, invalid): (Vec<Import>, Vec<InvalidRecord>),
    ) -> Result<Option<ImportReport>, ImportError> {
        let limit = self.core.settings.max_tools;
        if tools.len() > limit as usize {
            let found = tools.len();
            return Err(ImportError::TooMany {
                place,
                found,
                limit,
            });
        }
        let imported = tools.len();
        if imported > 0 {
            let note = format!("{imported} from {place} at {}", Timestamp::now());
            let made = self.core.store.import(tools, &note).await;
            match made {
                Ok(Ok(version)) => self.core.announce(version),
                // Another process was faster.
                Ok(Err(Refusal::Exists)) => return Ok(None),
                Ok(Err(refusal)) => {
                    let source = Error::internal(format!("{refusal:?}"));
                    return Err(ImportError::Store { place, source });
                }
                Err(source) => return Err(ImportError::Store { place, source }),
            }
        }
        Ok(Some(ImportReport {
            source: place,
            imported,
            invalid,
        }))
    }
}

async fn read(path: &Path) -> Result<Option<Vec<u8>>, ImportError> {
    let unreadable = |source| ImportError::Unreadable {
        place: path.display().to_string(),
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
            place: path.display().to_string(),
            reason,
        });
    }
    tokio::fs::read(path).await.map(Some).map_err(unreadable)
}
