//! Certificates that change under a running process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::config::Service;
use crate::reload::{Reload, ReloadRequests};

struct Rig {
    folder: TempDir,
    app: App,
    requests: ReloadRequests,
}

impl Rig {
    fn new() -> Self {
        let (requests, reload) = Reload::channel();
        let mut app = App::detached(Service::Gateway).unwrap();
        app.reload = reload;
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
            app,
            requests,
        };
        rig.write(2030);
        rig
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate that ends with the first day of `year`, and its key.
    fn write(&self, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        private(&self.path("key.pem"), &key.serialize_pem(), 0o600);
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            endpoint: "http",
            certificate: NamedFile::new("MCP_HTTP_TLS_CERT", &self.path("cert.pem")),
            key: NamedFile::new("MCP_HTTP_TLS_KEY", &self.path("key.pem")),
            authority: None,
        }
    }

    fn metric(&self, line: &str) -> bool {
        let text = self.app.metrics.encode().unwrap();
        text.lines().any(|one| one == line)
    }

    async fn until(&self, line: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while !self.metric(line) {
            assert!(Instant::now() < end, "never {line}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn private(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// 1 January 2030 and 2031.
const ENDS: [i64; 2] = [1_893_456_000, 1_924_992_000];

fn ends(at: i64) -> String {
    format!("mcp_tls_certificate_expiry_timestamp_seconds{{endpoint=\"http\"}} {at}")
}

fn reloads(outcome: &str, count: u32) -> String {
    format!("mcp_reloads_total{{outcome=\"{outcome}\",what=\"http\"}} {count}")
}

#[test]
fn the_end_of_a_certificate_is_read_in_both_forms_of_time() {
    let key = KeyPair::generate().unwrap();
    for (year, seconds) in [
        (2030, ENDS[0]),
        (2049, 2_493_072_000),
        (2060, 2_840_140_800),
    ] {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(
            expiry::not_after(certificate.der()),
            Some(seconds),
            "{year}"
        );
    }
}

#[tokio::test]
async fn another_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let rig = Rig::new();
    let tls = ServerTls::public(rig.files(), &rig.app).unwrap();
    let first = tls.config();
    assert!(rig.metric(&ends(ENDS[0])));

    rig.write(2031);
    rig.requests.ask();
    rig.until(&ends(ENDS[1])).await;
    rig.until(&reloads("ok", 1)).await;
    let second = tls.config();
    assert!(!Arc::ptr_eq(&first, &second));

    let mut in_use = second;
    for (count, name) in [(1, "cert.pem"), (2, "key.pem")] {
        let before = std::fs::read_to_string(rig.path(name)).unwrap();
        std::fs::write(rig.path(name), "nothing of use").unwrap();
        rig.requests.ask();
        rig.until(&reloads("failed", count)).await;
        assert!(Arc::ptr_eq(&in_use, &tls.config()), "{name}");
        assert!(rig.metric(&ends(ENDS[1])));
        std::fs::write(rig.path(name), before).unwrap();
        rig.requests.ask();
        rig.until(&reloads("ok", count + 1)).await;
        assert!(!Arc::ptr_eq(&in_use, &tls.config()), "{name}");
        in_use = tls.config();
    }
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_every_few_seconds() {
    let rig = Rig::new();
    let tls = ServerTls::public(rig.files(), &rig.app).unwrap();
    let first = tls.config();
    sleep(Duration::from_secs(60)).await;
    assert!(Arc::ptr_eq(&first, &tls.config()), "nothing changed");
    rig.write(2031);
    let changed = async {
        while Arc::ptr_eq(&first, &tls.config()) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(5), changed).await.unwrap();
}

#[test]
fn what_cannot_be_used_names_the_setting_and_the_fix() {
    let rig = Rig::new();
    let refusal = || rig.files().read().unwrap_err().to_string();
    assert!(rig.files().read().is_ok());

    let key = std::fs::read_to_string(rig.path("key.pem")).unwrap();
    for mode in [0o644, 0o604, 0o602, 0o601] {
        private(&rig.path("key.pem"), &key, mode);
        let text = refusal();
        assert!(text.starts_with("MCP_HTTP_TLS_KEY: "), "{text}");
        assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
        assert!(text.contains("chmod 600"), "{text}");
    }
    private(&rig.path("key.pem"), &key, 0o640);
    assert!(rig.files().read().is_ok(), "the group may");

    let stranger = KeyPair::generate().unwrap().serialize_pem();
    private(&rig.path("key.pem"), &stranger, 0o600);
    assert!(refusal().contains("belong together"), "{}", refusal());
    private(&rig.path("key.pem"), "canary", 0o600);
    assert!(refusal().contains("holds no private key"), "{}", refusal());
    assert!(!refusal().contains("canary"));

    private(&rig.path("key.pem"), &key, 0o600);
    std::fs::write(rig.path("cert.pem"), "canary").unwrap();
    assert!(
        refusal().starts_with("MCP_HTTP_TLS_CERT: "),
        "{}",
        refusal()
    );
    std::fs::remove_file(rig.path("cert.pem")).unwrap();
    assert!(refusal().contains("cannot be read"), "{}", refusal());
    rig.write(2020);
    assert!(refusal().contains("has expired"), "{}", refusal());

    rig.write(2030);
    let mut files = rig.files();
    files.authority = Some(NamedFile::new("MCP_INTERNAL_TLS_CA", &rig.path("key.pem")));
    let text = files.read().unwrap_err().to_string();
    assert!(text.starts_with("MCP_INTERNAL_TLS_CA: "), "{text}");
}

#[tokio::test]
async fn a_followed_text_is_handed_on_when_it_is_another_one() {
    let rig = Rig::new();
    let path = rig.path("verify.pem");
    std::fs::write(&path, "one\n").unwrap();
    let file = |in_use| TextFile {
        what: "verify_keys",
        file: NamedFile::new("MCP_INTERNAL_VERIFY_KEYS_FILE", &path),
        private: false,
        in_use,
    };
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let told = sender.clone();
    follow_text(file("one"), &rig.app, move |text| {
        if text.starts_with("bad") {
            return Err("is bad".to_owned());
        }
        told.send(format!("followed {text}")).unwrap();
        Ok(())
    });
    // It changed between the reading of the configuration and now.
    follow_text(file("zero"), &rig.app, move |text| {
        sender.send(format!("late {text}")).unwrap();
        Ok(())
    });
    rig.requests.ask();
    let mut next = async || timeout(Duration::from_secs(5), seen.recv()).await.unwrap();
    assert_eq!(next().await.unwrap(), "late one\n");
    std::fs::write(&path, "bad").unwrap();
    sleep(Duration::from_millis(500)).await;
    std::fs::write(&path, "two").unwrap();
    rig.requests.ask();
    let mut both = [next().await.unwrap(), next().await.unwrap()];
    both.sort();
    assert_eq!(both, ["followed two", "late two"]);
}
