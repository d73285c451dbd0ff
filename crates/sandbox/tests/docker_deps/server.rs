//! A registry of the tests: what it answers is a table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is answered at a path.
#[derive(Clone)]
pub(crate) enum Page {
    Body(&'static str, Vec<u8>),
    Redirect(String),
    /// Nothing, ever.
    Hang,
}

/// The table, and who came.
pub(crate) struct Server {
    pub(crate) port: u16,
    pages: Arc<parking_lot::Mutex<HashMap<String, Page>>>,
    seen: Arc<parking_lot::Mutex<Vec<String>>>,
    /// `Authorization` that every request has to have.
    wanted: Arc<parking_lot::Mutex<Option<String>>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages = Arc::<parking_lot::Mutex<HashMap<String, Page>>>::default();
        let seen = Arc::<parking_lot::Mutex<Vec<String>>>::default();
        let wanted = Arc::<parking_lot::Mutex<Option<String>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let mut tasks = JoinSet::new();
        let shared = (
            Arc::clone(&pages),
            Arc::clone(&seen),
            Arc::clone(&wanted),
            Arc::clone(&connections),
        );
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.3.fetch_add(1, Ordering::Relaxed);
                let (pages, seen, wanted) = (
                    Arc::clone(&shared.0),
                    Arc::clone(&shared.1),
                    Arc::clone(&shared.2),
                );
                clients.spawn(async move {
                    serve(stream, &pages, &seen, &wanted).await;
                });
            }
        });
        Self {
            port,
            pages,
            seen,
            wanted,
            connections,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn put(&self, path: &str, page: Page) {
        self.pages.lock().insert(path.to_owned(), page);
    }

    pub(crate) fn demand(&self, authorization: &str) {
        *self.wanted.lock() = Some(authorization.to_owned());
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.seen.lock().iter().filter(|seen| *seen == path).count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A package with one version 1.0.0: its manifest's other members, and its file.
    pub(crate) fn npm(&self, name: &str, more: serde_json::Value, file: &[u8]) {
        let integrity = format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(file)));
        self.npm_with(name, more, file, &integrity);
    }

    pub(crate) fn npm_with(
        &self,
        name: &str,
        more: serde_json::Value,
        file: &[u8],
        integrity: &str,
    ) {
        let path = format!("/{name}/-/{name}-1.0.0.tgz");
        let mut manifest = serde_json::json!({
            "name": name, "version": "1.0.0",
            "dist": {"tarball": format!("{}{path}", self.address()), "integrity": integrity}
        });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        let all = serde_json::json!({
            "name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": manifest}
        });
        self.put(
            &format!("/{name}"),
            Page::Body("application/json", all.to_string().into_bytes()),
        );
        self.put(&path, Page::Body("application/octet-stream", file.to_vec()));
    }

    /// A page of a Python package with these files, and the files.
    pub(crate) fn pypi(&self, name: &str, files: &[(&str, &[u8])]) {
        let link = |(file, bytes): &(&str, &[u8])| {
            let digest = hex(&Sha256::digest(bytes));
            self.put(
                &format!("/files/{file}"),
                Page::Body("application/octet-stream", bytes.to_vec()),
            );
            format!("<a href=\"/files/{file}#sha256={digest}\">{file}</a>")
        };
        let links: String = files.iter().map(link).collect();
        self.put(
            &format!("/simple/{name}/"),
            Page::Body("text/html", links.into_bytes()),
        );
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn serve(
    mut stream: TcpStream,
    pages: &parking_lot::Mutex<HashMap<String, Page>>,
    seen: &parking_lot::Mutex<Vec<String>>,
    wanted: &parking_lot::Mutex<Option<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) if head.len() < 64 << 10 => head.push(byte),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().push(path.clone());
    let authorized = wanted.lock().clone().is_none_or(|wanted| {
        head.lines()
            .any(|line| line.eq_ignore_ascii_case(&format!("authorization: {wanted}")))
    });
    let page = pages.lock().get(&path).cloned();
    let (status, kind, body) = match page {
        _ if !authorized => ("401 Unauthorized".to_owned(), "text/plain", b"no".to_vec()),
        None => (
            "404 Not Found".to_owned(),
            "application/json",
            b"{}".to_vec(),
        ),
        Some(Page::Body(kind, body)) => ("200 OK".to_owned(), kind, body),
        Some(Page::Redirect(to)) => (
            format!("302 Found\r\nLocation: {to}"),
            "text/plain",
            Vec::new(),
        ),
        Some(Page::Hang) => return std::future::pending().await,
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client may go in the middle.
    if stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(&body).await.is_ok() {
        drop(stream.shutdown().await);
    }
}

/// One entry of an archive: its kind as tar writes it, its name, where it leads, its bytes.
pub(crate) struct Entry<'a>(
    pub(crate) u8,
    pub(crate) &'a str,
    pub(crate) &'a str,
    pub(crate) &'a [u8],
);

pub(crate) fn file<'a>(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
    Entry(b'0', name, "", bytes)
}

/// A tar archive; npm takes it without compression too.
pub(crate) fn tar<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Vec<u8> {
    let mut all = Vec::new();
    for Entry(kind, name, target, bytes) in entries {
        let mut head = [0u8; 512];
        let mut put =
            |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0006755\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(157, target);
        put(257, "ustar\x0000");
        head[156] = kind;
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        all.extend(head);
        all.extend(bytes);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    all
}

/// A package of npm with this code.
pub(crate) fn package(code: &str) -> Vec<u8> {
    let manifest = br#"{"name":"x","version":"1.0.0","main":"index.js"}"#;
    tar([
        file("package/package.json", manifest),
        file("package/index.js", code.as_bytes()),
    ])
}

/// A wheel: an archive whose files are stored as they are.
pub(crate) fn wheel(name: &str, needs: &[&str], files: &[(&str, &[u8])]) -> Vec<u8> {
    let info = format!("{name}-1.0.dist-info");
    let needs: String = needs
        .iter()
        .map(|needed| format!("Requires-Dist: {needed}\n"))
        .collect();
    let about = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}");
    let mut all: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
        .collect();
    all.push((format!("{info}/METADATA"), about.into_bytes()));
    let kind = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    all.push((format!("{info}/WHEEL"), kind.into()));
    let record: String = all.iter().map(|(name, _)| format!("{name},,\n")).collect();
    all.push((
        format!("{info}/RECORD"),
        format!("{record}{info}/RECORD,,\n").into_bytes(),
    ));
    zip(&all)
}

fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut all, mut index) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let at = u32::try_from(all.len()).unwrap();
        let length = u32::try_from(bytes.len()).unwrap();
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend(crc(bytes).to_le_bytes());
        common.extend(length.to_le_bytes());
        common.extend(length.to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        all.extend(b"PK\x03\x04");
        all.extend(&common);
        all.extend(name.as_bytes());
        all.extend(bytes);
        index.extend(b"PK\x01\x02\x14\x00");
        index.extend(&common);
        index.extend([0; 10]);
        index.extend(at.to_le_bytes());
        index.extend(name.as_bytes());
    }
    let (start, size) = (
        u32::try_from(all.len()).unwrap(),
        u32::try_from(index.len()).unwrap(),
    );
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    all.extend(index);
    all.extend(b"PK\x05\x06\0\0\0\0");
    all.extend(count);
    all.extend(count);
    all.extend(size.to_le_bytes());
    all.extend(start.to_le_bytes());
    all.extend([0, 0]);
    all
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    };
    !bytes.iter().fold(!0, step)
}
