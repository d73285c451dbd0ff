//! A certificate, its key and the authorities, as the files hold them now.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

use super::expiry;
use super::files::{FileProblem, NamedFile};

/// The files of one endpoint.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// What the log and the metrics call it: `http` or `internal`.
    pub endpoint: &'static str,
    /// The certificate and those between it and the authority, PEM.
    pub certificate: NamedFile,
    /// Its private key, PEM.
    pub key: NamedFile,
    /// The authorities whose certificates the other side may show, PEM.
    pub authority: Option<NamedFile>,
}

/// What the files hold.
#[derive(Debug)]
pub struct Material {
    /// The certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// The authorities; empty when no file is named.
    pub roots: RootCertStore,
    /// When the certificate ends, in seconds since 1970.
    pub not_after: i64,
}

/// The one provider of cryptography in this project.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl TlsFiles {
    /// Every file.
    pub(crate) fn all(&self) -> Vec<NamedFile> {
        let two = [&self.certificate, &self.key].into_iter();
        two.chain(&self.authority).cloned().collect()
    }

    /// Reads and checks the files: they parse, the key is the certificate's and nobody else's to
    /// read, and the certificate has not expired.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(&self) -> Result<Material, FileProblem> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key.read_private()?).map_err(|_| {
            self.key.problem(
                "holds no private key in PEM",
                "write a key in PKCS#8: `-----BEGIN PRIVATE KEY-----`",
            )
        })?;
        let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider());
        if let Err(why) = certified {
            return Err(self.key.problem(
                format!(
                    "cannot be used with {}: {why}",
                    self.certificate.path.display()
                ),
                format!(
                    "name the certificate and the key that belong together in {} and {}",
                    self.certificate.setting, self.key.setting
                ),
            ));
        }
        let not_after = chain.first().and_then(|first| expiry::not_after(first));
        let not_after = not_after.ok_or_else(|| {
            self.certificate
                .problem("does not say when it ends", "write an X.509 certificate")
        })?;
        let now = UnixTime::now().as_secs();
        if i64::try_from(now).is_ok_and(|now| now >= not_after) {
            return Err(self
                .certificate
                .problem("has expired", "write a new certificate"));
        }
        let mut roots = RootCertStore::empty();
        if let Some(authority) = &self.authority {
            for certificate in certificates(authority)? {
                roots.add(certificate).map_err(|why| {
                    authority.problem(
                        format!("holds a certificate that is no authority's: {why}"),
                        "write the certificates of authorities",
                    )
                })?;
            }
        }
        Ok(Material {
            chain,
            key,
            roots,
            not_after,
        })
    }
}

fn certificates(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let text = file.read()?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(file.problem(
            "holds no certificate in PEM",
            "write `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`",
        )),
    }
}
