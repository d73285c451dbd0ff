//! Rows of the tables, the same in every database, and what they become.

use domain::tool::ToolWithCode;
use domain::{CatalogVersion, CodeDigest, Revision, TenantId, ToolName, ToolRecord};
use jiff::Timestamp;

use super::{Change, DeclaredHead};

type Reason = Box<dyn std::error::Error + Send + Sync>;

/// The head of a name.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Head {
    pub(super) revision: i64,
    pub(super) deleted: bool,
    pub(super) created_at: i64,
}

/// A revision with its code.
#[derive(sqlx::FromRow)]
pub(super) struct Loaded {
    tenant: String,
    name: String,
    created_at: i64,
    revision: i64,
    version: i64,
    spec: String,
    code_digest: Vec<u8>,
    code_bytes: i64,
    made_at: i64,
    code: Vec<u8>,
}

impl Loaded {
    pub(super) fn into_tool(self) -> Result<ToolWithCode, Reason> {
        let code = String::from_utf8(self.code)?.into();
        let record = ToolRecord {
            tenant: TenantId::parse(&self.tenant)?,
            name: ToolName::parse(&self.name)?,
            spec: serde_json::from_str(&self.spec)?,
            code_digest: CodeDigest::from_bytes(&self.code_digest)?,
            code_size_bytes: self.code_bytes.try_into()?,
            revision: Revision(self.revision.try_into()?),
            version: CatalogVersion(self.version.try_into()?),
            created_at: Timestamp::from_millisecond(self.created_at)?,
            updated_at: Timestamp::from_millisecond(self.made_at)?,
        };
        Ok(ToolWithCode { record, code })
    }
}

impl DeclaredHead {
    pub(super) fn of(tenant: &str, name: &str, revision: i64) -> domain::Result<Self> {
        Ok(Self {
            tenant: TenantId::parse(tenant)?,
            name: ToolName::parse(name)?,
            revision: Revision(revision.unsigned_abs()),
        })
    }
}

/// The newest change of a name; the fields of the revision are missing for a deleted tool.
#[derive(sqlx::FromRow)]
pub(super) struct Changed {
    tenant: String,
    name: String,
    head_version: i64,
    deleted: bool,
    created_at: i64,
    revision: Option<i64>,
    spec: Option<String>,
    code_digest: Option<Vec<u8>>,
    code_bytes: Option<i64>,
    made_at: Option<i64>,
}

impl Changed {
    pub(super) fn into_change(self) -> Change {
        let place = format!("{}/{}", self.tenant, self.name);
        let version = CatalogVersion(self.head_version.unsigned_abs());
        self.read(version)
            .unwrap_or_else(|reason| Change::Unreadable {
                place,
                version,
                reason: reason.to_string(),
            })
    }

    fn read(self, version: CatalogVersion) -> Result<Change, Reason> {
        let tenant = TenantId::parse(&self.tenant)?;
        let name = ToolName::parse(&self.name)?;
        if self.deleted {
            return Ok(Change::Gone {
                tenant,
                name,
                version,
            });
        }
        let missing = "its revision is missing";
        Ok(Change::Live(Box::new(ToolRecord {
            tenant,
            name,
            spec: serde_json::from_str(&self.spec.ok_or(missing)?)?,
            code_digest: CodeDigest::from_bytes(&self.code_digest.ok_or(missing)?)?,
            code_size_bytes: self.code_bytes.ok_or(missing)?.try_into()?,
            revision: Revision(self.revision.ok_or(missing)?.try_into()?),
            version,
            created_at: Timestamp::from_millisecond(self.created_at)?,
            updated_at: Timestamp::from_millisecond(self.made_at.ok_or(missing)?)?,
        })))
    }
}
