//! An image registry for tests: one repository, one small image, on the loopback device, where Docker
//! speaks plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bytes of the image's only file: large enough for Docker to tell how far it is.
const FILE: usize = 8 << 20;

/// Serves until it is dropped.
pub(super) struct Registry {
    /// `127.0.0.1:port/name:tag`
    pub(super) image: String,
    /// The ID that the image will have.
    pub(super) id: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    /// Holds the second half of the layer back until there is a permit.
    second_half: Semaphore,
    broken: AtomicBool,
    asked: AtomicUsize,
}

impl Registry {
    /// A registry that breaks off every request, or one that answers but keeps half of the image
    /// back until [`Registry::give_the_rest`].
    pub(super) async fn start(broken: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The number makes it another image each time.
        let layer = tar(&format!("file-{port}"));
        let digest = |bytes: &[u8]| format!("sha256:{}", hex(&Sha256::digest(bytes)));
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Env": ["A=1", "NODE_OPTIONS=--bad"], "Volumes": { "/data": {} } },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(),
                "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(),
                "digest": digest(&layer),
            }],
        });
        let id = digest(&config);
        let shared = Arc::new(Shared {
            manifest: manifest.to_string().into_bytes(),
            config,
            layer,
            second_half: Semaphore::new(0),
            broken: AtomicBool::new(broken),
            asked: AtomicUsize::new(0),
        });
        let mut server = JoinSet::new();
        let serving = Arc::clone(&shared);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                // Docker hangs up when it has what it wants.
                connections.spawn(async move { drop(serving.answer(stream).await) });
            }
        });
        Self {
            image: format!("127.0.0.1:{port}/tests/image:1"),
            id,
            shared,
            _server: server,
        }
    }

    pub(super) fn give_the_rest(&self) {
        self.shared.second_half.add_permits(1_000);
    }

    pub(super) fn mend(&self) {
        self.shared.broken.store(false, Ordering::Relaxed);
    }

    /// How often it was asked for the image.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Shared {
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        let request = lines.next_line().await?.unwrap_or_default();
        while lines
            .next_line()
            .await?
            .is_some_and(|line| !line.is_empty())
        {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let manifest = "application/vnd.docker.distribution.manifest.v2+json";
        let (status, kind, body): (_, _, &[u8]) = if path == "/v2/" {
            ("200 OK", "application/json", b"{}")
        } else if path.contains("/manifests/") {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.broken.load(Ordering::Relaxed) {
                (
                    "404 Not Found",
                    "application/json",
                    b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}",
                )
            } else {
                ("200 OK", manifest, &self.manifest)
            }
        } else if path.ends_with(&hex(&Sha256::digest(&self.config))) {
            ("200 OK", "application/octet-stream", &self.config)
        } else if path.contains("/blobs/") {
            ("200 OK", "application/octet-stream", &self.layer)
        } else {
            ("404 Not Found", "text/plain", b"")
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: sha256:{}\r\nConnection: close\r\n\r\n",
            body.len(),
            hex(&Sha256::digest(body)),
        );
        write.write_all(head.as_bytes()).await?;
        if method == "HEAD" {
            return Ok(());
        }
        let (first, second) = body.split_at(body.len() / 2);
        write.write_all(first).await?;
        if body.len() > FILE {
            drop(self.second_half.acquire().await);
        }
        write.write_all(second).await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive with one file of [`FILE`] zeros.
fn tar(name: &str) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{FILE:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.resize(512 + FILE + 1_024, 0);
    archive
}
