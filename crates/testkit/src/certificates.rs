//! An authority of the services for a test, and the certificates that it signs, good and bad.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What the tests of this project do with errors.
fn made<T, E: std::fmt::Display>(made: Result<T, E>) -> T {
    made.unwrap_or_else(|error| panic!("{error}"))
}

impl Authority {
    /// A new one of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = made(KeyPair::generate());
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = made(params.self_signed(&key)).pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// The certificate of a service, good until 2040.
    #[must_use]
    pub fn service(&self, name: &str) -> Leaf {
        self.leaf(&[&format!("spiffe://dynamic-mcp/service/{name}")], 2040)
    }

    /// A certificate with these URIs that ends with the first day of `year`.
    #[must_use]
    pub fn leaf(&self, uris: &[&str], year: i32) -> Leaf {
        let key = made(KeyPair::generate());
        let mut params = made(CertificateParams::new(vec!["localhost".to_owned()]));
        for uri in uris {
            let uri = made((*uri).try_into());
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
        params.subject_alt_names.push(SanType::IpAddress(loopback));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = made(params.signed_by(&key, &self.issuer));
        Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Leaf {
    /// Writes `NAME.pem` and `NAME.key`, each as a whole, the key for its owner alone.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path, name: &str) {
        write(&folder.join(format!("{name}.pem")), &self.certificate);
        write(&folder.join(format!("{name}.key")), &self.key);
    }
}

/// Replaces a file as a whole; nobody else may read it.
///
/// # Panics
/// When it cannot be written.
pub fn write(path: &Path, text: &str) {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    made(std::fs::write(&beside, text));
    let private = std::fs::Permissions::from_mode(0o600);
    made(std::fs::set_permissions(&beside, private));
    made(std::fs::rename(&beside, path));
}
