//! Contradictions between the keys of the HTTP server: who may come, who is believed, and TLS.

use crate::config::sections::HttpConfig;
use crate::config::settings::Settings;

pub(crate) fn addresses(settings: &mut Settings, http: Option<&HttpConfig>) {
    let Some(http) = http else { return };
    if http.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
        settings.refuse(
            "MCP_HTTP_TRUSTED_PROXIES",
            "trusts every address there is, so that each client could choose its own in \
             X-Forwarded-For",
            "name the addresses or networks of your proxies, or unset it",
        );
    }
    if http.max_connections_per_address > http.max_connections {
        settings.derived(
            "MCP_HTTP_MAX_CONNECTIONS_PER_ADDRESS",
            serde_json::Value::from(http.max_connections),
        );
    }
}

pub(crate) fn https(settings: &mut Settings, http: Option<&HttpConfig>) {
    let Some(http) = http else { return };
    let (given, missing) = match (&http.tls_cert, &http.tls_key) {
        (Some(_), None) => ("MCP_HTTP_TLS_CERT", "MCP_HTTP_TLS_KEY"),
        (None, Some(_)) => ("MCP_HTTP_TLS_KEY", "MCP_HTTP_TLS_CERT"),
        _ => {
            if let Some(Err(problem)) = http.tls_files().map(|files| files.read()) {
                settings.refuse(problem.setting, problem.message, problem.fix);
            }
            return;
        }
    };
    settings.refuse(
        given,
        format!("needs {missing}, which is not set"),
        format!("set {missing} too, or unset {given} to serve without TLS"),
    );
}
