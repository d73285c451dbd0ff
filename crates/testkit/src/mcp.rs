//! An MCP client that sends exactly what a test says, in both eras of the protocol.

use std::io;

use serde_json::{Value, json};

use crate::http::{Answer, attempt, exchange};

type Headers = Vec<(String, String)>;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28: everything in `_meta` and headers.
    Modern,
    /// 2025-11-25: after an `initialize`, without a session.
    Legacy,
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    /// `host:port`.
    pub address: String,
    /// How it speaks.
    pub era: Era,
    /// Headers sent with every request.
    pub headers: Vec<(String, String)>,
}

impl Client {
    /// A client of the server at `http://host:port/mcp` or `host:port`.
    #[must_use]
    pub fn new(url: &str, era: Era) -> Self {
        let address = url
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or_default();
        Self {
            address: address.to_owned(),
            era,
            headers: Vec::new(),
        }
    }

    /// Sends one request and returns the whole answer.
    pub async fn send(&self, method: &str, params: Value) -> Answer {
        self.send_with_meta(method, params, json!({})).await
    }

    /// As [`Client::send`], with more members of `_meta`.
    pub async fn send_with_meta(&self, method: &str, params: Value, meta: Value) -> Answer {
        let (headers, body) = self.request(method, params, meta);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        exchange(&self.address, "POST", "/mcp", &headers, &body).await
    }

    /// As [`Client::send_with_meta`], to a server that may end at any moment.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn attempt(&self, method: &str, params: Value, meta: Value) -> io::Result<Answer> {
        let (headers, body) = self.request(method, params, meta);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        attempt(&self.address, "POST", "/mcp", &headers, &body).await
    }

    /// Headers and body of a request.
    fn request(&self, method: &str, mut params: Value, meta: Value) -> (Headers, Vec<u8>) {
        let name = ["name", "uri"]
            .iter()
            .find_map(|key| params[*key].as_str().map(str::to_owned));
        let mut all = meta;
        if self.era == Era::Modern {
            all["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            all["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        if all.as_object().is_some_and(|all| !all.is_empty()) {
            params["_meta"] = all;
        }
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let mut headers: Vec<(&str, &str)> = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        match self.era {
            Era::Modern => {
                headers.push(("mcp-protocol-version", "2026-07-28"));
                headers.push(("mcp-method", method));
                headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
            }
            Era::Legacy => headers.push(("mcp-protocol-version", "2025-11-25")),
        }
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = headers.chain(self.headers.iter().cloned()).collect();
        (headers, body.to_string().into_bytes())
    }

    /// Sends one request and returns the last message: the response.
    ///
    /// # Panics
    /// When there is none.
    pub async fn response(&self, method: &str, params: Value) -> Value {
        let answer = self.send(method, params).await;
        let last = answer.messages().pop();
        last.unwrap_or_else(|| panic!("{method}: no message, status {}", answer.status))
    }

    /// The `result` of a request.
    ///
    /// # Panics
    /// When it is an error.
    pub async fn result(&self, method: &str, params: Value) -> Value {
        let mut response = self.response(method, params).await;
        let result = response["result"].take();
        assert!(!result.is_null(), "{method}: {response}");
        result
    }

    /// The result of `tools/call`, also when `isError` is set.
    ///
    /// # Panics
    /// When the request itself failed.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// As [`Client::call`] for a call that has to succeed; returns `structuredContent`.
    ///
    /// # Panics
    /// When it has failed.
    pub async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let mut result = self.call(tool, arguments).await;
        assert_ne!(result["isError"], json!(true), "{tool}: {result}");
        result["structuredContent"].take()
    }

    /// The code of a call that has to fail as a tool result.
    ///
    /// # Panics
    /// When it has not.
    pub async fn refusal(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], json!(true), "{tool}: {result}");
        let code = result["structuredContent"]["code"].as_str();
        code.unwrap_or_else(|| panic!("{tool}: no code in {result}"))
            .to_owned()
    }

    /// The names of all listed tools, over all pages.
    pub async fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut params = json!({});
        loop {
            let page = self.result("tools/list", params).await;
            let tools = page["tools"].as_array().cloned().unwrap_or_default();
            names.extend(
                tools
                    .iter()
                    .filter_map(|tool| tool["name"].as_str().map(str::to_owned)),
            );
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => return names,
            }
        }
    }
}
