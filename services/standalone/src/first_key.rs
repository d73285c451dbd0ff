//! The API key that guards an address which others reach, where nobody configured anything else:
//! made at the first start, shown once, kept as its hash beside the store.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use auth::ApiKey;
use bootstrap::{StartError, VERSION};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// Name of the file in the folder of the store.
const FILE: &str = "api-key.json";

/// The key that is kept in `folder`; makes it when there is none, and shows it on standard error.
///
/// # Errors
/// A sentence that names the file and what to do.
pub(crate) fn read_or_make(folder: &Path) -> Result<ApiKey, StartError> {
    let path = folder.join(FILE);
    if let Some(key) = read(&path)? {
        tracing::info!(prefix = key.prefix(), file = %path.display(), "callers need the API key");
        return Ok(key);
    }
    let (secret, key) = ApiKey::generate()?;
    if keep(folder, &path, &key).map_err(|error| wrong(&path, &error))? {
        show(&secret, &path)?;
        return Ok(key);
    }
    // Another process was quicker; its key is the one.
    read(&path)?.ok_or_else(|| wrong(&path, &"it was there a moment ago"))
}

fn read(path: &Path) -> Result<Option<ApiKey>, StartError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(path, &error)),
    };
    let kept: Value = serde_json::from_str(&text).map_err(|error| wrong(path, &error))?;
    let field = |name: &str| kept[name].as_str().unwrap_or_default().to_owned();
    let key = ApiKey::kept(&field("prefix"), &field("sha256"));
    key.map(Some).map_err(|error| wrong(path, &error))
}

/// Writes the whole file or nothing. False when there is one already.
fn keep(folder: &Path, path: &Path, key: &ApiKey) -> std::io::Result<bool> {
    fs::create_dir_all(folder)?;
    let kept = json!({"prefix": key.prefix(), "sha256": key.digest(), "madeBy": VERSION});
    let draft = folder.join(format!("{FILE}.{}", key.prefix()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(format!("{kept}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Not through the log, which goes on to places where no secret belongs.
fn show(secret: &SecretString, path: &Path) -> Result<(), StartError> {
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "This address is open to others, so callers need an API key. It is shown this once:\n\n  \
         {}\n\nSend it as `Authorization: Bearer <key>` or `x-api-key: <key>`. Its hash is kept in {}; \
         delete that file to get a new key at the next start.\n",
        secret.expose_secret(),
        path.display()
    )
    .map_err(|error| -> StartError { format!("the API key cannot be shown: {error}").into() })
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> StartError {
    let path: PathBuf = path.into();
    format!(
        "the API key in {} cannot be used: {why}; make the file readable and its folder writable, \
         delete the file for a new key, or configure MCP_AUTH_MODE",
        path.display()
    )
    .into()
}
