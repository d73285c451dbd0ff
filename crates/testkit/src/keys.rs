//! Key pairs for services under test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where the two halves of a key pair lie.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Path of the PKCS#8 PEM.
    pub private: String,
    /// Path of the public PEM.
    pub public: String,
}

/// Makes a new Ed25519 key pair in `folder`.
///
/// # Panics
/// When the folder cannot be written.
#[must_use]
pub fn write_pair(folder: &Path) -> KeyPair {
    let pair = Ed25519KeyPair::generate().unwrap_or_else(|error| panic!("{error}"));
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap_or_else(|error| panic!("{error}"));
    let text = STANDARD.encode(der.as_ref());
    let private = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let key = auth::internal::SigningKey::from_pem(&private);
    let key = key.unwrap_or_else(|error| panic!("{error}"));
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, private))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.display().to_string()
    };
    KeyPair {
        private: write("service.pem", &private),
        public: write("service.pub.pem", &key.public_pem()),
    }
}
