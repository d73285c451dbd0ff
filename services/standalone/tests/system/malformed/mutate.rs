//! Requests that are wrong in one to four places: a seeded mutator over requests that are right.

use fastrand::Rng;
use serde_json::{Value, json};
use testkit::frames::{END_HEADERS, END_STREAM, frame, head, hello, kind};

/// A request in parts, so that each can be spoilt alone.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The bytes that go out, in pieces that are written one by one.
#[derive(Debug, Clone)]
pub(crate) struct Spoilt {
    pub(crate) pieces: Vec<Vec<u8>>,
    /// How many requests may be in it: each is answered once at most.
    pub(crate) requests: usize,
    pub(crate) http2: bool,
}

/// Texts that parsers stumble over.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\t",
    "0",
    "-1",
    "+2",
    "1e400",
    "18446744073709551616",
    "99999999999999999999999999",
    "0x10",
    "2, 3",
    "null",
    "true",
    "chunked, chunked",
    "gzip",
    "\"",
    "'",
    "\\",
    "%00",
    "..%2f..%2fetc/passwd",
    "/../../",
    "<script>alert(1)</script>",
    "=?base64?!!!?=",
    "=?base64?aGk=?=",
    "ä€😀",
    "\u{0}",
    "\u{7f}",
    "a\r\nX-Injected: b",
    "a\nb",
    "*/*;q=0",
    "application/json; charset=\"utf-8",
    "1900-01-01",
    "2026-07-28",
    "2025-11-25",
    "127.0.0.1",
    "evil.example.com",
    "localhost:99999",
    "user@localhost",
    "::ffff:127.0.0.1, 10.0.0.1",
    "__proto__",
];

/// Headers that change what a request means.
const HEADERS: &[(&str, &str)] = &[
    ("Transfer-Encoding", "chunked"),
    ("Transfer-Encoding", "identity"),
    ("Transfer-Encoding", "gzip, chunked"),
    ("Content-Length", "0"),
    ("Content-Length", "5"),
    ("Content-Length", "-5"),
    ("Content-Length", "1000000000"),
    ("Content-Encoding", "gzip"),
    ("Content-Type", "text/plain"),
    ("Expect", "100-continue"),
    ("Expect", "something"),
    ("Connection", "close"),
    ("Connection", "upgrade"),
    ("Connection", "Content-Length"),
    ("Upgrade", "h2c"),
    ("Upgrade", "websocket"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("Host", "evil.example.com"),
    ("Host", "localhost"),
    ("Origin", "null"),
    ("Origin", "https://evil.example.com"),
    ("Authorization", "Bearer x"),
    ("Authorization", "Basic Og=="),
    ("X-Api-Key", "x"),
    ("X-Mcp-Admin-Token", "x"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Request-Id", "<b>"),
    ("Mcp-Session-Id", "x"),
    ("Last-Event-ID", "1"),
    ("MCP-Protocol-Version", "2026-07-28"),
    ("MCP-Protocol-Version", "2024-11-05"),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "other"),
    ("Accept", "text/html"),
    ("Accept-Encoding", "gzip;q=0, *"),
    ("Range", "bytes=0-1"),
    ("Trailer", "Host"),
    ("TE", "trailers"),
    ("traceparent", "00-0-0-0"),
    ("Cookie", "a=b"),
];

impl Parts {
    /// A POST of a message with all its headers.
    pub(crate) fn post(method: &str, mut params: Value, modern: bool) -> Self {
        let subject = ["name", "uri"].iter().find_map(|key| params[*key].as_str());
        let mut headers = vec![
            ("Host", "localhost".to_owned()),
            ("Content-Type", "application/json".to_owned()),
            ("Accept", "application/json, text/event-stream".to_owned()),
        ];
        if modern {
            headers.push(("MCP-Protocol-Version", "2026-07-28".to_owned()));
            headers.push(("Mcp-Method", method.to_owned()));
            headers.extend(subject.map(|subject| ("Mcp-Name", subject.to_owned())));
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "progressToken": 1,
            });
        } else if method != "initialize" {
            headers.push(("MCP-Protocol-Version", "2025-11-25".to_owned()));
        }
        let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if !method.starts_with("notifications/") {
            message["id"] = json!(7);
        }
        let headers = headers.into_iter();
        Self {
            line: "POST /mcp HTTP/1.1".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: message.to_string().into_bytes(),
        }
    }

    /// A GET of a path.
    pub(crate) fn get(path: &str) -> Self {
        Self {
            line: format!("GET {path} HTTP/1.1"),
            headers: vec![("Host".to_owned(), "localhost".to_owned())],
            body: Vec::new(),
        }
    }

    /// As it is, with its length.
    pub(crate) fn whole(mut self) -> Vec<u8> {
        let length = self.body.len().to_string();
        self.headers.push(("Content-Length".to_owned(), length));
        self.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Spoils one of the corpus.
pub(crate) fn spoil(corpus: &[Parts], rng: &mut Rng) -> Spoilt {
    let mut parts = corpus[rng.usize(..corpus.len())].clone();
    if rng.u8(..) < 20 {
        return http2(&parts, rng);
    }
    let (mut framed, mut raw, mut requests) = (false, 0, 1);
    for _ in 0..rng.usize(1..=4) {
        match rng.u8(..10) {
            0 => line(&mut parts.line, rng),
            1 | 2 => header(&mut parts.headers, rng),
            3..=5 => parts.body = json_of(&parts.body, rng),
            6 => bytes(&mut parts.body, rng),
            7 => {
                let other = &corpus[rng.usize(..corpus.len())].body;
                let at = rng.usize(..=parts.body.len());
                parts.body.truncate(at);
                parts
                    .body
                    .extend_from_slice(&other[rng.usize(..=other.len())..]);
            }
            8 => framed = true,
            _ => raw += 1,
        }
    }
    if framed {
        framing(&mut parts, rng);
    } else {
        let length = parts.body.len().to_string();
        parts.headers.push(("Content-Length".to_owned(), length));
    }
    let mut all = parts.bytes();
    for _ in 0..raw {
        bytes(&mut all, rng);
    }
    if rng.u8(..) < 12 {
        all.extend(corpus[rng.usize(..corpus.len())].clone().whole());
        requests = 2;
    }
    let pieces = if rng.u8(..) < 16 && all.len() > 2 {
        let at = rng.usize(1..all.len());
        vec![all[..at].to_vec(), all[at..].to_vec()]
    } else {
        vec![all]
    };
    // A byte that is gone or more can make two requests of one.
    let lines = |bytes: &[u8]| {
        bytes
            .windows(8)
            .filter(|eight| eight.ends_with(b" HTTP/1"))
            .count()
    };
    let requests = requests.max(lines(&pieces.concat()));
    Spoilt {
        pieces,
        requests,
        http2: false,
    }
}

fn text(rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0 => "a".repeat(rng.usize(..20_000)),
        1 => "9".repeat(rng.usize(1..2_000)),
        2 => (0..rng.usize(1..40)).map(|_| rng.char(..)).collect(),
        _ => TEXTS[rng.usize(..TEXTS.len())].to_owned(),
    }
}

fn line(line: &mut String, rng: &mut Rng) {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    match rng.u8(..7) {
        0 => {
            let methods = [
                "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "HEAD", "PATCH", "get", "PRI", "",
            ];
            words[0] = methods[rng.usize(..methods.len())].to_owned();
        }
        1 => {
            let paths = [
                "/",
                "*",
                "//mcp",
                "/%6dcp",
                "/mcp/..;/",
                "/livez/../mcp",
                "/mcp?access_token=x",
                "http://localhost/mcp",
                "http://evil.test/mcp",
                "localhost:80",
                "/mcp#x",
                "/mcp\\x",
            ];
            words[1] = paths[rng.usize(..paths.len())].to_owned();
        }
        2 => words[1] = format!("/{}", text(rng)),
        3 => words[1].push_str(&format!("?{}", text(rng))),
        4 => {
            let versions = [
                "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/11", "http/1.1", "",
            ];
            words[2] = versions[rng.usize(..versions.len())].to_owned();
        }
        5 => words.push(text(rng)),
        _ => words.swap(0, 1),
    }
    *line = words.join(" ");
}

fn header(headers: &mut Vec<(String, String)>, rng: &mut Rng) {
    let at = rng
        .usize(..headers.len().max(1))
        .min(headers.len().saturating_sub(1));
    match rng.u8(..8) {
        0 if !headers.is_empty() => drop(headers.remove(at)),
        1 if !headers.is_empty() => headers.push(headers[at].clone()),
        2 if !headers.is_empty() => headers[at].1 = text(rng),
        3 if !headers.is_empty() => headers[at].0 = headers[at].0.to_uppercase(),
        4 if !headers.is_empty() => headers[at].0.push_str(&text(rng)),
        5 => {
            let many = rng.usize(1..120);
            headers.extend((0..many).map(|number| (format!("X-{number}"), "v".to_owned())));
        }
        _ => {
            let (name, value) = HEADERS[rng.usize(..HEADERS.len())];
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// Lengths and chunks that are right, nearly right or wrong.
fn framing(parts: &mut Parts, rng: &mut Rng) {
    let length = parts.body.len();
    let mut name = |name: &str, value: String| parts.headers.push((name.to_owned(), value));
    match rng.u8(..6) {
        0 => name("Content-Length", (length + rng.usize(1..50)).to_string()),
        1 => name(
            "Content-Length",
            length.saturating_sub(rng.usize(1..50)).to_string(),
        ),
        2 => {
            name("Content-Length", length.to_string());
            name("Content-Length", (length + rng.usize(..2)).to_string());
        }
        3 => {
            name("Content-Length", length.to_string());
            name("Transfer-Encoding", "chunked".to_owned());
        }
        4 => {}
        _ => name("Transfer-Encoding", "chunked".to_owned()),
    }
    if rng.bool() {
        return;
    }
    let mut chunked = Vec::new();
    for chunk in parts.body.chunks(rng.usize(1..200)) {
        let size = match rng.u8(..24) {
            0 => format!("{:x}", chunk.len() + 1),
            1 => format!("0x{:x}", chunk.len()),
            2 => format!("-{:x}", chunk.len()),
            3 => "ffffffffffffffffff".to_owned(),
            4 => format!("{:x};{}", chunk.len(), text(rng)),
            _ => format!("{:x}", chunk.len()),
        };
        chunked.extend_from_slice(size.as_bytes());
        chunked.extend_from_slice(if rng.u8(..30) == 0 { b"\n" } else { b"\r\n" });
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    if rng.u8(..5) > 0 {
        chunked.extend_from_slice(b"0\r\n");
        if rng.u8(..4) == 0 {
            chunked.extend_from_slice(format!("X-Trailer: {}\r\n", text(rng)).as_bytes());
        }
        chunked.extend_from_slice(b"\r\n");
    }
    parts.body = chunked;
}

/// A few bytes changed, taken out, put in or said again.
fn bytes(bytes: &mut Vec<u8>, rng: &mut Rng) {
    const SPECIAL: &[u8] = b"\0\r\n\t \":,{}[]\\/\x7f\x80\xff%;0";
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=bytes.len());
        let some = rng.usize(..40).min(bytes.len() - at);
        match rng.u8(..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 if at < bytes.len() => bytes[at] = SPECIAL[rng.usize(..SPECIAL.len())],
            2 => bytes.insert(at, SPECIAL[rng.usize(..SPECIAL.len())]),
            3 => drop(bytes.drain(at..at + some)),
            4 => {
                let again = bytes[at..at + some].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.truncate(at),
        }
    }
}

/// The text of a JSON body with one of its values spoilt, also in ways that no JSON tree can have.
fn json_of(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let Ok(mut tree) = serde_json::from_slice::<Value>(body) else {
        return body.to_vec();
    };
    const MARK: &str = "\u{1}mark\u{1}";
    let places = count(&tree);
    let mut at = rng.usize(..places);
    let raw = match rng.u8(..16) {
        0 => "null".to_owned(),
        1 => "[]".to_owned(),
        2 => "{}".to_owned(),
        3 => "1e999".to_owned(),
        4 => "-0".to_owned(),
        5 => "18446744073709551616".to_owned(),
        6 => "9".repeat(rng.usize(1..1_000)),
        7 => {
            let depth = rng.usize(1..300);
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        }
        8 => format!("{}1{}", "{\"a\":".repeat(150), "}".repeat(150)),
        9 => "\"\\ud800\"".to_owned(),
        10 => "{\"a\":1,\"a\":2}".to_owned(),
        11 => "NaN".to_owned(),
        12 => "1.5".to_owned(),
        13 => "true".to_owned(),
        _ => Value::from(text(rng)).to_string(),
    };
    spoil_at(&mut tree, &mut at, MARK, rng.u8(..5) == 0);
    if rng.u8(..12) == 0 {
        tree = Value::Array(vec![tree; rng.usize(1..40)]);
    }
    let mark = Value::from(MARK).to_string();
    tree.to_string().replace(&mark, &raw).into_bytes()
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Puts the mark at the place of this number, or takes the member there out.
fn spoil_at(tree: &mut Value, at: &mut usize, mark: &str, remove: bool) -> bool {
    if *at == 0 {
        *tree = Value::from(mark);
        return true;
    }
    *at -= 1;
    match tree {
        Value::Array(items) => items
            .iter_mut()
            .any(|item| spoil_at(item, at, mark, remove)),
        Value::Object(members) => {
            let keys: Vec<String> = members.keys().cloned().collect();
            for key in keys {
                if *at == 0 && remove {
                    members.remove(&key);
                    return true;
                }
                if members
                    .get_mut(&key)
                    .is_some_and(|value| spoil_at(value, at, mark, remove))
                {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}

/// The request over HTTP/2, with some bytes of its frames spoilt.
fn http2(parts: &Parts, rng: &mut Rng) -> Spoilt {
    let mut words = parts.line.split(' ');
    let method = words.next().unwrap();
    let path = words.next().unwrap();
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
    ];
    let lower: Vec<(String, &str)> = parts.headers[1..]
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    fields.extend(lower.iter().map(|(name, value)| (name.as_str(), *value)));
    let mut frames = frame(kind::HEADERS, END_HEADERS, 1, &head(&fields));
    frames.extend(frame(kind::DATA, END_STREAM, 1, &parts.body));
    for _ in 0..rng.usize(1..4) {
        bytes(&mut frames, rng);
    }
    Spoilt {
        pieces: vec![[hello(), frames].concat()],
        requests: 1,
        http2: true,
    }
}
