//! U-219 and U-220: what the Node server let through without end.

use serde_json::json;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};

use super::http::{post, request};
use super::{checks, document, serve};

checks! {
    "U-219" => guesses_come_to_an_end,
    "U-220" => requests_in_progress_are_bounded,
}

async fn guesses_come_to_an_end() {
    let issuer = Issuer::default();
    let key = issuer.public_pem();
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_PUBLIC_KEY", &*key),
        ("MCP_AUTH_ISSUER", ISSUER),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
    ];
    let (program, client) = serve(folder.path(), &env).await;
    let address = client.address;
    let ping = request("ping", json!({}));
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        post(&address, "/mcp", &[("authorization", &bearer)], &ping).await
    };
    for n in 0..20 {
        assert_eq!(ask(&format!("guess.{n}.x")).await.status, 401);
    }
    let right = issuer.token("jane", "mcp:invoke", &json!({}));
    let refused = ask(&right).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after"));
    let said = &document::line("U-219").said[0];
    assert!(refused.text().contains(said), "{}", refused.text());
    program.stop().await;
}

async fn requests_in_progress_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_HTTP_MAX_IN_FLIGHT", "1"),
        ("MCP_HTTP_MAX_QUEUED", "0"),
    ];
    let (program, client) = serve(folder.path(), &env).await;
    let address = client.address;
    let wait = json!({"code": "await new Promise(done => setTimeout(done, 900)); return 1"});
    let slow = request(
        "tools/call",
        json!({"name": "run_js_ephemeral", "arguments": wait}),
    );
    let ping = request("ping", json!({}));
    let mut begun = std::pin::pin!(post(&address, "/mcp", &[], &slow));
    // Whichever came second is refused: a ping, or the slow one itself.
    let refused = loop {
        let answer = tokio::select! {
            biased;
            answer = &mut begun => break answer,
            answer = post(&address, "/mcp", &[], &ping) => answer,
        };
        if answer.status != 200 {
            assert!(!begun.await.messages().is_empty());
            break answer;
        }
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.headers["retry-after"], "1");
    let said = &document::line("U-220").said[0];
    assert!(refused.text().contains(said), "{}", refused.text());
    program.stop().await;
}
