//! X.509: an authority, and the certificates that it signs.

use std::net::IpAddr;

use jiff::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// What the certificate of the authority says of itself. A leaf names its issuer by this, so it never
/// changes.
const AUTHORITY: &str = "dynamic-mcp services";

/// What a certificate is to say.
pub(super) struct Leaf<'a> {
    pub(super) name: &'a str,
    pub(super) dns: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) days: u32,
}

/// Name and text of each file.
type Files = Vec<(String, String)>;

fn failed(why: rcgen::Error) -> String {
    format!("the certificate could not be made: {why}")
}

/// `ca.pem` and `ca.key`.
pub(super) fn make_authority(days: u32) -> Result<Files, String> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = authority_params();
    (params.not_before, params.not_after) = valid(days)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(vec![
        ("ca.pem".to_owned(), certificate.pem()),
        ("ca.key".to_owned(), key.serialize_pem()),
    ])
}

/// `NAME.pem` and `NAME.key`, good for both ends of a connection.
pub(super) fn leaf(authority: &str, key: &str, asked: Leaf<'_>) -> Result<Files, String> {
    let authority_key =
        KeyPair::from_pem(key).map_err(|why| format!("ca.key is not a key: {why}"))?;
    if !holds(authority, authority_key.public_key_raw()) {
        return Err(
            "ca.key is not the key of ca.pem; `dynamic-mcp certs ca --force` makes both anew"
                .to_owned(),
        );
    }
    let issuer = Issuer::new(authority_params(), authority_key);
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, asked.name);
    (params.not_before, params.not_after) = valid(asked.days)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = names(&asked)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    Ok(vec![
        (format!("{}.pem", asked.name), certificate.pem()),
        (format!("{}.key", asked.name), key.serialize_pem()),
    ])
}

/// The name of the service for ours; host names for clients that look at those.
fn names(asked: &Leaf<'_>) -> Result<Vec<SanType>, String> {
    let text = |name: &str| {
        name.try_into()
            .map_err(|_| format!("{name:?} cannot stand in a certificate"))
    };
    let mut names = vec![SanType::URI(text(&rpc::service_uri(asked.name))?)];
    let own = [asked.name, "localhost"];
    let hosts = own.into_iter().chain(asked.dns.iter().map(String::as_str));
    for host in hosts {
        names.push(SanType::DnsName(text(host)?));
    }
    let loopback = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0_u16, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let addresses = loopback.iter().chain(&asked.addresses);
    names.extend(addresses.map(|address| SanType::IpAddress(*address)));
    Ok(names)
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From yesterday, since clocks differ, for so many days from today.
fn valid(days: u32) -> Result<(time::OffsetDateTime, time::OffsetDateTime), String> {
    let now = Timestamp::now();
    let at = |days: i64| {
        let moved = now.checked_add(Span::new().hours(days * 24));
        let second = moved.map_err(|why| why.to_string())?.as_second();
        time::OffsetDateTime::from_unix_timestamp(second).map_err(|why| why.to_string())
    };
    Ok((at(-1)?, at(i64::from(days))?))
}

/// Whether a certificate in PEM is the one of this public key: its bytes stand in it as they are.
fn holds(pem: &str, public: &[u8]) -> bool {
    pem::parse(pem).is_ok_and(|block| {
        block
            .contents()
            .windows(public.len())
            .any(|window| window == public)
    })
}
