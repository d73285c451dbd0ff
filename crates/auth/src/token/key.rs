//! One public key of an issuer.

use std::ops::RangeInclusive;

use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::algorithm::Algorithm;

/// Accepted sizes of an RSA modulus, in bits.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// Longest `kid`, in bytes.
pub(crate) const MAX_KEY_ID_BYTES: usize = 256;

/// A member of a JSON Web Key Set (RFC 7517), as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A key that checks signatures.
pub(crate) struct PublicKey {
    id: Option<String>,
    /// Parsed once for each algorithm that the key may be used with.
    parsed: Vec<(Algorithm, ParsedPublicKey)>,
}

impl PublicKey {
    /// Reads a member of a key set; `None` for a key that cannot check signatures here: symmetric,
    /// for encryption, of another curve, too weak, or not well-formed.
    pub(crate) fn from_jwk(jwk: Jwk) -> Option<Self> {
        let for_signatures = jwk.r#use.as_deref().is_none_or(|usage| usage == "sig")
            && jwk
                .key_ops
                .as_ref()
                .is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && jwk
                .kid
                .as_ref()
                .is_none_or(|kid| kid.len() <= MAX_KEY_ID_BYTES);
        if !for_signatures {
            return None;
        }
        let mut parsed = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => rsa(&number(&jwk.n)?, &number(&jwk.e)?)?,
            ("EC", Some("P-256")) => one(Algorithm::Es256, &point(&jwk, 32)?)?,
            ("EC", Some("P-384")) => one(Algorithm::Es384, &point(&jwk, 48)?)?,
            ("OKP", Some("Ed25519")) => one(Algorithm::Ed25519, &sized(&jwk.x, 32)?)?,
            _ => return None,
        };
        if let Some(only) = &jwk.alg {
            let only = Algorithm::parse(only)?;
            parsed.retain(|(algorithm, _)| *algorithm == only);
        }
        (!parsed.is_empty()).then_some(Self {
            id: jwk.kid,
            parsed,
        })
    }

    /// Reads SubjectPublicKeyInfo; `None` for a key of another kind or too weak.
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        let parsed = if let Ok(key) = PublicEncryptingKey::from_der(der) {
            if !RSA_BITS.contains(&key.key_size_bits()) {
                return None;
            }
            parse_all(&Algorithm::RSA, der)?
        } else {
            [Algorithm::Es256, Algorithm::Es384, Algorithm::Ed25519]
                .into_iter()
                .find_map(|algorithm| one(algorithm, der))?
        };
        Some(Self { id: None, parsed })
    }

    /// `kid`.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it may be used with this algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.parsed.iter().any(|(of, _)| *of == algorithm)
    }

    /// Whether this is its signature of the message.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let parsed = self.parsed.iter().find(|(of, _)| *of == algorithm);
        parsed.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |(mine, theirs): (&(Algorithm, ParsedPublicKey), &(Algorithm, ParsedPublicKey))| {
                mine.0 == theirs.0 && mine.1.as_ref() == theirs.1.as_ref()
            };
        self.id == other.id
            && self.parsed.len() == other.parsed.len()
            && self.parsed.iter().zip(&other.parsed).all(same)
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) {
        return None;
    }
    let components = RsaPublicKeyComponents { n, e };
    let parse = |algorithm: Algorithm| {
        let key = components.to_parsed_public_key(algorithm.rsa()).ok()?;
        Some((algorithm, key))
    };
    Algorithm::RSA.into_iter().map(parse).collect()
}

fn one(algorithm: Algorithm, bytes: &[u8]) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    parse_all(&[algorithm], bytes)
}

fn parse_all(algorithms: &[Algorithm], bytes: &[u8]) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let parse = |algorithm: &Algorithm| {
        let key = ParsedPublicKey::new(algorithm.verification(), bytes).ok()?;
        Some((*algorithm, key))
    };
    algorithms.iter().map(parse).collect()
}

fn bytes(member: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member.as_ref()?).ok()
}

/// A big-endian number; some issuers pad it with zero bytes.
fn number(member: &Option<String>) -> Option<Vec<u8>> {
    let mut bytes = bytes(member)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}

fn sized(member: &Option<String>, length: usize) -> Option<Vec<u8>> {
    bytes(member).filter(|bytes| bytes.len() == length)
}

/// The point of an elliptic curve, uncompressed (SEC 1, section 2.3.3).
fn point(jwk: &Jwk, length: usize) -> Option<Vec<u8>> {
    let (x, y) = (sized(&jwk.x, length)?, sized(&jwk.y, length)?);
    Some([&[4][..], &x, &y].concat())
}
