//! Container image references as users may write them.

use crate::error::{Error, Result};

/// Checks `^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]{0,199}$`: nothing that a command line could take for a
/// flag, nothing outside ASCII.
///
/// # Errors
/// `invalid_argument` naming `field`.
pub fn check(field: &str, image: &str) -> Result<()> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/@-".contains(&byte);
    let good = (1..=200).contains(&image.len())
        && image.as_bytes()[0].is_ascii_alphanumeric()
        && image.bytes().all(inner);
    if good {
        return Ok(());
    }
    Err(Error::invalid(field, "is not an image reference")
        .with_limit("^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]{0,199}$"))
}
