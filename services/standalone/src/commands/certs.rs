//! `dynamic-mcp certs`: certificates and keys for the channels between services.

use bootstrap::Diagnosis;

pub(super) fn run(words: &[String]) -> Diagnosis {
    Diagnosis {
        complaint: Some(format!("certs {}: not there yet", words.join(" "))),
        exit_code: 1,
        ..Diagnosis::default()
    }
}
