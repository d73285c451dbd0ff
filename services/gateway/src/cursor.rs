//! Cursors of lists: the name after which the next page starts. They hold nothing secret, name no
//! tenant and grant nothing: a list always looks in the caller's tenant and filters again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Error, Result, ToolName};

const PREFIX: &str = "1:";

/// The cursor for what comes after this tool.
pub(crate) fn after(name: &ToolName) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PREFIX}{name}"))
}

/// The tool after which a cursor starts; it need not exist any more.
///
/// # Errors
/// `invalid_argument` for everything that [`after`] does not make.
pub(crate) fn read(cursor: &str) -> Result<ToolName> {
    let invalid = || {
        Error::invalid("cursor", "is not a cursor of this list")
            .with_fix("use nextCursor of the page before, or none to start again")
    };
    if cursor.len() > 256 {
        return Err(invalid());
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let name = text.strip_prefix(PREFIX).ok_or_else(invalid)?;
    ToolName::parse(name).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_name() {
        let name = ToolName::parse("a.tool:x-1").unwrap();
        assert_eq!(read(&after(&name)).unwrap(), name);
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "A".repeat(10_000);
        for bad in ["", "x", "!!!", "MTp4", "YS50b29s", "MTphLnRvb2w=", &long] {
            assert_eq!(read(bad).unwrap_err().field(), Some("cursor"), "{bad}");
        }
    }
}
