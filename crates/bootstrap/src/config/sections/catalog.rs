//! Where tools are kept.

use std::path::PathBuf;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;

choice! {
    /// What keeps the tools.
    pub enum Backend {
        /// One SQLite file.
        Sqlite = "sqlite",
        /// The Node server's word: its JSON store is imported once, then SQLite keeps the tools.
        File = "file",
    }
    later {
        "postgres" => "Postgres comes with a later one; use `sqlite`",
    }
}

section! {
    /// The tools and their revisions.
    pub struct CatalogConfig for CATALOG {
        /// What keeps the tools. `file` imports the Node server's JSON store once and then means
        /// `sqlite`.
        pub backend: Backend = Key::kept("MCP_DYNAMIC_BACKEND", "dynamic.backend")
            .kind(Kind::Choice(Backend::CHOICES)).default("sqlite");
        /// The database file; its directory is made. A `.json` path is a store of the Node server to
        /// import: the database then lies beside it, and the store stays as it is.
        pub store: PathBuf = Key::kept("MCP_DYNAMIC_STORE", "dynamic.storeFilePath")
            .kind(Kind::Path).default(".dynamic-mcp/registry.db");
        /// Tools per tenant.
        pub max_tools: u32 = Key::kept("MCP_DYNAMIC_MAX_TOOLS", "dynamic.maxTools")
            .kind(Kind::Integer(1, 100_000)).default("256");
        /// Revisions kept per tool; the oldest go first.
        pub max_revisions: u32 = Key::added("MCP_DYNAMIC_MAX_REVISIONS", "dynamic.maxRevisions")
            .kind(Kind::Integer(1, 100_000)).default("100");
        /// Refuses every change of tools.
        pub read_only: bool = Key::kept("MCP_DYNAMIC_READ_ONLY", "dynamic.readOnly")
            .kind(Kind::Bool).default("false");
    }
}
