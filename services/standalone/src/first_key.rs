//! The API key that guards an address which others reach, where nobody configured anything else:
//! made when the store holds none that works, and shown once.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auth::MadeKey;
use bootstrap::StartError;
use domain::keys::{KeyChange, KeyDigest, KeyPrefix, Keys, NewKey};
use domain::{CallContext, CatalogVersion, ErrorCode, Principal, RequestId, Scope, TenantId};
use futures::StreamExt as _;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// The file in the folder of the store in which earlier versions kept the one key that they had.
const FILE: &str = "api-key.json";
/// What becomes of it.
const TAKEN_OVER: &str = "api-key.json.taken-over";
/// How long the store may take.
const WITHIN: Duration = Duration::from_secs(30);
/// What people see it called.
const NAME: &str = "first key";

/// Makes sure that some key lets its holder in: takes over that of an earlier version, and makes one
/// and shows it on standard error when none works.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) async fn make_sure(keys: &dyn Keys, folder: &Path) -> Result<(), StartError> {
    take_over(keys, folder).await?;
    if works_any(keys).await? {
        return Ok(());
    }
    let made = MadeKey::generate()?;
    let key = first(made.prefix, made.digest);
    keys.create(&context(), key).await?;
    show(&made.text)
}

/// The key of an earlier version goes into the store; its file is kept under another name, so that it
/// cannot come back when it was revoked.
async fn take_over(keys: &dyn Keys, folder: &Path) -> Result<(), StartError> {
    let path = folder.join(FILE);
    let Some((prefix, digest)) = read(&path)? else {
        return Ok(());
    };
    match keys.create(&context(), first(prefix, digest)).await {
        Ok(_) => {}
        Err(error) if error.code() == ErrorCode::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    fs::rename(&path, folder.join(TAKEN_OVER)).map_err(|error| wrong(&path, &error))?;
    tracing::info!(%prefix, file = %path.display(), "the API key of the file is in the store now");
    Ok(())
}

fn read(path: &Path) -> Result<Option<(KeyPrefix, KeyDigest)>, StartError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(path, &error)),
    };
    let kept: Value = serde_json::from_str(&text).map_err(|error| wrong(path, &error))?;
    let field = |name: &str| kept[name].as_str().unwrap_or_default().to_owned();
    let prefix = KeyPrefix::parse(&field("prefix")).map_err(|error| wrong(path, &error))?;
    let digest = KeyDigest::parse(&field("sha256")).map_err(|error| wrong(path, &error))?;
    Ok(Some((prefix, digest)))
}

/// Whether a key of any tenant works.
async fn works_any(keys: &dyn Keys) -> Result<bool, StartError> {
    let look = async {
        let context = CallContext::service("dynamic-mcp", WITHIN);
        let mut feed = keys.watch(&context, CatalogVersion::default()).await?;
        while let Some(change) = feed.next().await {
            match change? {
                KeyChange::Put(key) if key.record.state(Timestamp::now()).works() => {
                    return Ok(true);
                }
                KeyChange::Synced(_) => break,
                KeyChange::Put(_) | KeyChange::Reset => {}
            }
        }
        Ok(false)
    };
    tokio::time::timeout(WITHIN, look)
        .await
        .unwrap_or_else(|_| Err("the store did not tell its API keys in time".into()))
}

fn first(prefix: KeyPrefix, digest: KeyDigest) -> NewKey {
    let scopes = Scope::OUTSIDE.iter().map(|scope| scope.as_str().to_owned());
    NewKey {
        prefix,
        digest,
        name: NAME.to_owned(),
        subject: None,
        scopes: scopes.collect(),
        role: None,
        tier: None,
        expires_at: None,
    }
}

/// The program itself, which owns the store.
fn context() -> CallContext {
    let principal = Principal {
        tenant: TenantId::default(),
        subject: "dynamic-mcp".to_owned(),
        client_id: None,
        scopes: [Scope::Admin.as_str().to_owned()].into(),
        tier: None,
    };
    CallContext::new(Arc::new(principal), RequestId::random(), WITHIN)
}

/// Not through the log, which goes on to places where no secret belongs.
fn show(secret: &SecretString) -> Result<(), StartError> {
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "This address is open to others, so callers need an API key. It is shown this once:\n\n  \
         {}\n\nSend it as `Authorization: Bearer <key>` or `x-api-key: <key>`. Only its hash is kept; \
         `dynamic-mcp keys` makes, lists, rotates and revokes keys.\n",
        secret.expose_secret(),
    )
    .map_err(|error| -> StartError { format!("the API key cannot be shown: {error}").into() })
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> StartError {
    let path: PathBuf = path.into();
    format!(
        "the API key in {} cannot be taken over: {why}; make the file readable and its folder writable, \
         or delete the file for a new key",
        path.display()
    )
    .into()
}
