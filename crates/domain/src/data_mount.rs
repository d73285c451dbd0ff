//! Folders of data that an operator gives to every sandbox of an executor, for reading.

use std::fmt;

use crate::error::{Error, Result};

/// Most folders of one executor.
pub const MAX_DATA_MOUNTS: usize = 16;
/// Longest name of a folder.
const MAX_NAME: usize = 32;
/// Longest path on the machine, as the kernel has it.
const MAX_PATH: usize = 4_095;
/// The kernel's own trees: they hold no data, and what they do hold is the machine.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Where Docker daemons listen: whoever reaches one has the machine.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/var/run/docker.sock"];

/// One folder: `name=/path`. Code finds it at `/data/<name>` and cannot write there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataMount {
    name: String,
    path: String,
}

impl DataMount {
    /// Reads `name=/absolute/path`, a path on the Docker daemon's machine.
    ///
    /// # Errors
    /// `invalid_argument`: the name is not 1-32 lower-case letters, digits, `-` and `_`, or the path
    /// is not absolute, is not plain (`..`, `.`, an empty part), or is one that no sandbox may see: the
    /// root, the kernel's trees, a Docker socket or a folder that holds one.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = |why: String| Error::invalid("dataMounts", why);
        let Some((name, path)) = text.split_once('=') else {
            return Err(refused(format!("`{text}` is not name=/absolute/path")));
        };
        let (name, path) = (name.trim(), path.trim());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !starts_well || name.len() > MAX_NAME || !name.chars().all(plain) {
            return Err(refused(format!(
                "the name in `{text}` is not 1-{MAX_NAME} of a-z, 0-9, `-` and `_`"
            )));
        }
        let path = path.trim_end_matches('/');
        if !path.starts_with('/') {
            return Err(refused(format!(
                "`{text}` does not name an absolute path other than /"
            )));
        }
        let strange = path
            .split('/')
            .skip(1)
            .any(|part| matches!(part, "" | "." | ".."));
        if strange || path.len() > MAX_PATH || path.contains(char::is_control) {
            return Err(refused(format!(
                "the path in `{text}` is not plain: it holds `..`, `.`, an empty part or a control \
                 character, or is too long"
            )));
        }
        if let Some(tree) = KERNEL.iter().find(|tree| within(path, tree)) {
            return Err(refused(format!(
                "`{text}` is in {tree}, which holds no data"
            )));
        }
        if let Some(socket) = SOCKETS.iter().find(|socket| within(socket, path)) {
            return Err(refused(format!(
                "`{text}` would give {socket} to code, and with it the machine"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Reads a list of them.
    ///
    /// # Errors
    /// As [`DataMount::parse`]; more than [`MAX_DATA_MOUNTS`], or a name that is there twice.
    pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>> {
        let mounts: Vec<Self> = texts.into_iter().map(Self::parse).collect::<Result<_>>()?;
        if mounts.len() > MAX_DATA_MOUNTS {
            return Err(Error::invalid("dataMounts", "are too many")
                .with_limit(format!("at most {MAX_DATA_MOUNTS}")));
        }
        for (at, mount) in mounts.iter().enumerate() {
            if mounts[..at].iter().any(|other| other.name == mount.name) {
                let why = format!("the name `{}` is there twice", mount.name);
                return Err(Error::invalid("dataMounts", why));
            }
        }
        Ok(mounts)
    }

    /// What code calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is on the daemon's machine.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where code finds it.
    #[must_use]
    pub fn target(&self) -> String {
        format!("/data/{}", self.name)
    }

    /// Whether code would find this file or folder in it.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        within(path, &self.path)
    }
}

impl fmt::Display for DataMount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.name, self.path)
    }
}

/// Whether `path` is `folder` or below it.
fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_name_and_a_path() {
        let mount = DataMount::parse(" models-2 = /srv/models/v2/ ").unwrap();
        assert_eq!((mount.name(), mount.path()), ("models-2", "/srv/models/v2"));
        assert_eq!(mount.target(), "/data/models-2");
        assert_eq!(mount.to_string(), "models-2=/srv/models/v2");
        assert!(mount.holds("/srv/models/v2/a") && !mount.holds("/srv/models/v20"));
    }

    #[test]
    fn what_is_no_data_is_refused_with_the_reason() {
        for (text, why) in [
            ("/srv/models", "is not name=/absolute/path"),
            ("a=srv", "absolute"),
            ("a=/", "other than /"),
            ("a=", "absolute"),
            ("a=/srv/../etc", "not plain"),
            ("a=/srv//x", "not plain"),
            ("a=/srv/./x", "not plain"),
            ("a=/srv/\u{7}x", "not plain"),
            ("A=/srv", "the name"),
            ("=/srv", "the name"),
            ("../x=/srv", "the name"),
            ("-a=/srv", "the name"),
            ("a=/proc/1", "/proc"),
            ("a=/dev", "/dev"),
            ("a=/run/docker.sock", "docker.sock"),
            ("a=/var/run", "docker.sock"),
            ("a=/run", "docker.sock"),
            ("a=/var", "docker.sock"),
        ] {
            let error = DataMount::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = format!("{}=/srv", "a".repeat(33));
        assert!(DataMount::parse(&long).is_err());
    }

    #[test]
    fn names_are_told_apart_and_bounded() {
        assert!(DataMount::parse_all(["a=/srv/a", "b=/srv/a"]).is_ok());
        let twice = DataMount::parse_all(["a=/srv/a", "a=/srv/b"]).unwrap_err();
        assert!(twice.to_string().contains("twice"), "{twice}");
        let many: Vec<String> = (0..17).map(|n| format!("m{n}=/srv/{n}")).collect();
        let many = DataMount::parse_all(many.iter().map(String::as_str)).unwrap_err();
        assert_eq!(many.limit(), Some("at most 16"));
    }
}
