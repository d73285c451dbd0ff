//! Names of images, by Docker's own grammar. Stricter than what a tool may hold: what is built from
//! them is a path of the daemon's API.

use domain::error::{Error, Result};

/// Where an image comes from that names no registry.
const REGISTRY: &str = "docker.io";
/// The folder there of an image that names none.
const LIBRARY: &str = "library";

/// One image, written in one way: two names that mean the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Reference {
    /// `registry/path:tag` or `registry/path@sha256:…`
    Name(String),
    /// `sha256:…`, an image of the daemon. Cannot be pulled.
    Id(String),
}

impl Reference {
    /// # Errors
    /// `invalid_argument` about `image`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| {
            let shown: String = text.chars().take(200).collect();
            Error::invalid("image", format!("`{shown}` is not an image reference"))
                .with_limit("[registry/]path[:tag][@sha256:digest] in lower case")
        })
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > 255 {
            return None;
        }
        if is_digest(text) {
            return Some(Self::Id(text.to_owned()));
        }
        if text.len() == 64 && is_hex(text) {
            return Some(Self::Id(format!("sha256:{text}")));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return None;
        }
        let (rest, tag) = match rest.rsplit_once(':') {
            // A colon before a slash is a registry's port.
            Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, path.to_owned())
            }
            Some(_) => (REGISTRY, rest.to_owned()),
            None => (REGISTRY, format!("{LIBRARY}/{rest}")),
        };
        if !is_registry(registry) || !path.split('/').all(is_component) {
            return None;
        }
        Some(Self::Name(match (digest, tag) {
            (Some(digest), _) => format!("{registry}/{path}@{digest}"),
            (None, tag) => format!("{registry}/{path}:{}", tag.unwrap_or("latest")),
        }))
    }

    /// As the daemon takes it.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Id(text) => text,
        }
    }
}

fn is_hex(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.bytes().all(digit)
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && is_hex(hex))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().take(1).all(word)
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Words of lower case letters and digits with one of `.`, `_`, `__` or any number of `-` between.
fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut joint = String::new();
    // Begins and ends with a word: as if there was a joint that is too long outside.
    let bytes = component.as_bytes();
    if !(bytes.first().is_some_and(|it| word(*it)) && bytes.last().is_some_and(|it| word(*it))) {
        return false;
    }
    for byte in component.bytes() {
        if word(byte) {
            let good = matches!(joint.as_str(), "" | "." | "_" | "__")
                || joint.bytes().all(|byte| byte == b'-');
            if !good {
                return false;
            }
            joint.clear();
        } else {
            joint.push(char::from(byte));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Reference::read(text).map(|reference| reference.as_str().to_owned())
    }

    #[test]
    fn fault_52_two_names_of_one_image_are_the_same() {
        let digest = format!("sha256:{}", "ab12".repeat(16));
        for (given, expected) in [
            ("node", "docker.io/library/node:latest".to_owned()),
            (
                "node:lts-slim",
                "docker.io/library/node:lts-slim".to_owned(),
            ),
            (
                "library/node:lts-slim",
                "docker.io/library/node:lts-slim".to_owned(),
            ),
            (
                "docker.io/library/node:lts-slim",
                "docker.io/library/node:lts-slim".to_owned(),
            ),
            (
                "team/a__b--c.d:V1",
                "docker.io/team/a__b--c.d:V1".to_owned(),
            ),
            ("localhost:5000/x", "localhost:5000/x:latest".to_owned()),
            ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1".to_owned()),
            (
                &format!("node:20@{digest}"),
                format!("docker.io/library/node@{digest}"),
            ),
            (&digest, digest.clone()),
            (&digest[7..], digest.clone()),
        ] {
            assert_eq!(
                canonical(given).as_deref(),
                Some(expected.as_str()),
                "{given}"
            );
        }
    }

    #[test]
    fn fault_52_tricks_are_refused_before_docker_sees_them() {
        let long = "a".repeat(256);
        for trick in [
            "",
            "-node",
            "--privileged",
            "Node",
            "node:",
            "node:-x",
            "node@",
            "node@sha256:12",
            "a/../b",
            "a/..",
            "../x",
            "a//b",
            "/a",
            "a/",
            "a._b",
            "a___b",
            "a.",
            "a b",
            "a\nb",
            "nöde",
            "x/../../containers/abc",
            "host:port/x",
            "-host.io/x",
            "a..io/x",
            "node?x=1",
            "node#1",
            "node%2e",
            &long,
        ] {
            assert_eq!(canonical(trick), None, "{trick}");
        }
    }
}
