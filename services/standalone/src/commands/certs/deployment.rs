//! All that a deployment needs at its first start, in one go: each service finds what is its own in a
//! folder that it shares with nobody, and nothing is a default that everybody knows.

use std::path::Path;
use std::time::Duration;

use auth::random_text;

use super::authority::{Leaf, leaf, make_authority};
use super::files::Folder;
use super::keys::{Entry, make_pair};

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority's certificate holds, in days.
const AUTHORITY_DAYS: u32 = 3_650;
/// How long the others hold, in days.
const LEAF_DAYS: u32 = 365;
/// When they are made anew: two thirds of that.
const RENEW_AFTER: Duration = DAY.saturating_mul(243);
/// The service in whose name an administrator's commands ask a registry.
const OPERATOR: &str = "operator";

/// What not every deployment has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extras {
    pub(super) redis: bool,
    pub(super) grafana: bool,
}

/// Makes what is missing below `out`, and says what that was.
pub(super) fn make(out: &Path, extras: Extras) -> Result<String, String> {
    let mut stock = Stock {
        out,
        written: String::new(),
    };
    let authority = stock.authority()?;
    for service in ["registry", "gateway", "executor", "postgres", OPERATOR] {
        stock.certificate(&authority, service)?;
    }
    stock.signing_keys(&authority)?;
    stock.passwords(extras)?;
    if stock.written.is_empty() {
        return Ok("# everything is there already\n".to_owned());
    }
    Ok(stock.written)
}

struct Stock<'a> {
    out: &'a Path,
    written: String,
}

impl Stock<'_> {
    fn folder(&self, name: &str) -> Result<Folder, String> {
        Folder::new(self.out.join(name), true)
    }

    fn put(&mut self, folder: &Folder, name: &str, text: &str) -> Result<(), String> {
        if folder.keep(name, text)? {
            self.written
                .push_str(&format!("# wrote {}\n", folder.place(name)));
        }
        Ok(())
    }

    fn put_all(&mut self, folder: &Folder, files: &[(String, String)]) -> Result<(), String> {
        files
            .iter()
            .try_for_each(|(name, text)| self.put(folder, name, text))
    }

    /// Half an authority is none, and a new one would shut out whatever trusts the old one.
    fn authority(&mut self) -> Result<Folder, String> {
        let folder = self.folder("authority")?;
        let there = [folder.age(&["ca.pem"])?, folder.age(&["ca.key"])?];
        if there == [None, None] {
            let files = make_authority(AUTHORITY_DAYS)?;
            self.put_all(&folder, &files)?;
        } else if there.contains(&None) {
            return Err(format!(
                "only one of {} and {} is there: put the other one back from your backup, or delete the \
                 one that is left for a new authority and new certificates for all services",
                folder.place("ca.pem"),
                folder.place("ca.key")
            ));
        }
        Ok(folder)
    }

    fn certificate(&mut self, authority: &Folder, service: &str) -> Result<(), String> {
        let folder = self.folder(service)?;
        let (ca, key) = (authority.read("ca.pem")?, authority.read("ca.key")?);
        let names = [format!("{service}.pem"), format!("{service}.key")];
        let age = folder.age(&names.each_ref().map(String::as_str))?;
        let of_this_authority = folder.age(&["ca.pem"])?.is_some() && folder.read("ca.pem")? == ca;
        if !of_this_authority || age.is_none_or(|age| age > RENEW_AFTER) {
            let asked = Leaf {
                name: service,
                dns: Vec::new(),
                addresses: Vec::new(),
                days: LEAF_DAYS,
            };
            let files = leaf(&ca, &key, asked)?;
            self.put_all(&folder, &files)?;
        }
        self.put(&folder, "ca.pem", &ca)
    }

    /// Private halves are at those who sign; the authority's folder remembers the public ones, from
    /// which those who accept are told.
    fn signing_keys(&mut self, authority: &Folder) -> Result<(), String> {
        let gateway = self.folder("gateway")?;
        let (private, public) = ("gateway-signing.pem", "gateway-signing.pub");
        if gateway.age(&[private])?.is_none() || authority.age(&[public])?.is_none() {
            let pair = make_pair("gateway")?;
            for (name, text) in &pair.files {
                let folder = if name == public { authority } else { &gateway };
                self.put(folder, name, text)?;
            }
        }
        let operator = self.folder(OPERATOR)?;
        let (private, entry) = ("operator-signing.pem", "operator.toml");
        if operator.age(&[private])?.is_none() || authority.age(&[entry])?.is_none() {
            let pair = make_pair(OPERATOR)?;
            let table = Entry {
                issuer: OPERATOR,
                audiences: &[String::from("registry")],
                scopes: &[String::from("mcp:admin")],
                tenants: &[String::from("*")],
            }
            .table(&pair)?;
            let secret = pair.files.iter().filter(|(name, _)| name == private);
            for (name, text) in secret {
                self.put(&operator, name, text)?;
            }
            self.put(authority, entry, &table)?;
        }
        let (gateways, operators) = (authority.read(public)?, authority.read(entry)?);
        let registry = self.folder("registry")?;
        self.put(
            &registry,
            "verify-keys.toml",
            &format!("{gateways}\n{operators}"),
        )?;
        let executor = self.folder("executor")?;
        self.put(&executor, "verify-keys.pem", &gateways)
    }

    /// What two have to know is kept by one, and the other's file follows it.
    fn passwords(&mut self, extras: Extras) -> Result<(), String> {
        let gateway = self.folder("gateway")?;
        self.secret(&gateway, "admin-token")?;
        let postgres = self.folder("postgres")?;
        let password = self.secret(&postgres, "password")?;
        let registry = self.folder("registry")?;
        self.put(
            &registry,
            "postgres-url",
            &format!(
                "postgres://dynamic_mcp:{password}@postgres:5432/dynamic_mcp?sslmode=verify-full&sslrootcert={}",
                registry_sees("ca.pem")
            ),
        )?;
        if extras.redis {
            let redis = self.folder("redis")?;
            let password = self.secret(&redis, "password")?;
            self.put(&redis, "redis.conf", &format!("requirepass {password}\n"))?;
            self.put(
                &gateway,
                "redis-url",
                &format!("redis://:{password}@redis:6379/0"),
            )?;
        }
        if extras.grafana {
            let grafana = self.folder("grafana")?;
            self.secret(&grafana, "password")?;
        }
        Ok(())
    }

    fn secret(&mut self, folder: &Folder, name: &str) -> Result<String, String> {
        if folder.age(&[name])?.is_none() {
            let made = random_text().map_err(|why| why.to_string())?;
            self.put(folder, name, &made)?;
        }
        let text = folder.read(name)?;
        match text.trim() {
            "" => Err(format!(
                "{} is empty: delete it for a new one",
                folder.place(name)
            )),
            text => Ok(text.to_owned()),
        }
    }
}

/// Where a registry finds a file of its folder: each service has its own at the same place.
fn registry_sees(name: &str) -> String {
    format!("/secrets/{name}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;

    const ALL: Extras = Extras {
        redis: true,
        grafana: true,
    };

    fn files(out: &Path) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for service in fs::read_dir(out).unwrap() {
            for file in fs::read_dir(service.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.strip_prefix(out).unwrap().to_owned();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
        found
    }

    #[test]
    fn a_second_run_changes_nothing_and_what_is_missing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let said = make(out, ALL).unwrap();
        let first = files(out);
        assert_eq!(said.lines().count(), first.len(), "{said}");
        for path in first.keys() {
            let mode = fs::metadata(out.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        for (path, text) in &first {
            assert!(!said.contains(text.trim()), "{} is shown", path.display());
        }
        assert_eq!(make(out, ALL).unwrap(), "# everything is there already\n");
        assert_eq!(files(out), first);

        let password = &first[Path::new("postgres/password")];
        assert!(first[Path::new("registry/postgres-url")].contains(password.as_str()));
        fs::remove_file(out.join("registry/postgres-url")).unwrap();
        fs::remove_file(out.join("registry/verify-keys.toml")).unwrap();
        make(out, ALL).unwrap();
        assert_eq!(files(out), first);

        // A signing key that is lost is replaced, and everybody who accepts it is told.
        fs::remove_file(out.join("gateway/gateway-signing.pem")).unwrap();
        make(out, ALL).unwrap();
        let public = fs::read_to_string(out.join("authority/gateway-signing.pub")).unwrap();
        assert_ne!(public, first[Path::new("authority/gateway-signing.pub")]);
        assert_eq!(files(out)[Path::new("executor/verify-keys.pem")], public);
        assert!(files(out)[Path::new("registry/verify-keys.toml")].starts_with(&public));
    }

    #[test]
    fn no_two_deployments_share_a_secret() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(one.path(), ALL).unwrap();
        make(other.path(), ALL).unwrap();
        let other = files(other.path());
        for (path, text) in files(one.path()) {
            assert_ne!(other[&path], text, "{}", path.display());
        }
    }

    #[test]
    fn certificates_are_renewed_in_time_and_follow_their_authority() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        make(out, ALL).unwrap();
        let first = files(out);
        for name in ["gateway.pem", "gateway.key"] {
            let file = fs::File::options()
                .write(true)
                .open(out.join("gateway").join(name))
                .unwrap();
            file.set_modified(SystemTime::now() - RENEW_AFTER - DAY)
                .unwrap();
        }
        let said = make(out, ALL).unwrap();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert_ne!(
            files(out)[Path::new("gateway/gateway.pem")],
            first[Path::new("gateway/gateway.pem")]
        );

        fs::remove_file(out.join("authority/ca.key")).unwrap();
        let refused = make(out, ALL).unwrap_err();
        assert!(refused.contains("backup"), "{refused}");
        fs::remove_file(out.join("authority/ca.pem")).unwrap();
        make(out, ALL).unwrap();
        let second = files(out);
        for service in ["registry", "gateway", "executor", "postgres", "operator"] {
            let name = PathBuf::from(format!("{service}/{service}.pem"));
            assert_ne!(second[&name], first[&name], "{service}");
        }
    }
}
