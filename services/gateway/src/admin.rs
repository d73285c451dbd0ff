//! The admin token: taken out of the arguments before anything else sees them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Error, Principal, RawValue, Result, Scope};

/// The same caller with the scope `mcp:admin`.
pub(crate) fn elevated(principal: &Principal) -> Arc<Principal> {
    let mut principal = principal.clone();
    principal.scopes.insert(Scope::Admin.as_str().to_owned());
    Arc::new(principal)
}

/// Takes `adminToken` out of the arguments of a management tool.
///
/// # Errors
/// `invalid_argument` when it is no string or the arguments cannot be read.
pub(crate) fn take_token(text: &str) -> Result<(Cow<'_, str>, Option<String>)> {
    if !text.contains("dminToken") && !text.contains('\\') {
        return Ok((Cow::Borrowed(text), None));
    }
    let unreadable = |error: serde_json::Error| Error::invalid("arguments", error.to_string());
    let mut members: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(text).map_err(unreadable)?;
    let Some(token) = members.remove("adminToken") else {
        return Ok((Cow::Borrowed(text), None));
    };
    let token: String = serde_json::from_str(token.get())
        .map_err(|_| Error::invalid("/adminToken", "is not a string").with_limit("a string"))?;
    let rest = serde_json::to_string(&members).map_err(unreadable)?;
    Ok((Cow::Owned(rest), Some(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_out_however_it_is_written() {
        for text in [
            r#"{"a":1,"adminToken":"s"}"#,
            r#"{"\u0061dminToken":"s","a":1}"#,
        ] {
            let (rest, token) = take_token(text).unwrap();
            assert_eq!(rest, r#"{"a":1}"#);
            assert_eq!(token.as_deref(), Some("s"));
        }
        assert_eq!(
            take_token(r#"{"a":1}"#).unwrap(),
            (r#"{"a":1}"#.into(), None)
        );
        let code = r#"{"code":"adminToken\n"}"#;
        assert_eq!(take_token(code).unwrap(), (code.into(), None));
        let error = take_token(r#"{"adminToken":7}"#).unwrap_err();
        assert_eq!(error.field(), Some("/adminToken"));
    }
}
