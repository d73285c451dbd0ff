//! `dynamic-mcp keys`: makes, lists, revokes and rotates API keys.

mod reach;
mod show;

use std::collections::BTreeSet;

use auth::MadeKey;
use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, StandaloneConfig};
use clap::{Args, Parser, Subcommand};
use domain::keys::{KeyPrefix, NewKey, Rotation};
use domain::principal::Roles;
use jiff::{SignedDuration, Timestamp};

use self::reach::{Reach, Reached};

/// Exit code of words that are none.
const NOT_UNDERSTOOD: u8 = 2;

/// Makes, lists, revokes and rotates API keys: in the store of this configuration, or at a registry.
#[derive(Debug, Parser)]
#[command(
    name = "dynamic-mcp keys",
    no_binary_name = true,
    disable_help_subcommand = true
)]
struct Words {
    // Before the command or after it: whoever sets them once for all puts them before.
    #[command(flatten)]
    at: Reach,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a key and prints it on standard output, this once.
    Create(Create),
    /// Lists the keys of a tenant, the newest first.
    List {
        #[command(flatten)]
        form: Form,
    },
    /// Ends a key at once: every gateway refuses it within seconds.
    Revoke {
        /// The key's prefix: the middle of `dmcp_PREFIX_...`.
        #[arg(value_name = "PREFIX", value_parser = prefix)]
        prefix: KeyPrefix,
        #[command(flatten)]
        form: Form,
    },
    /// Makes a key that takes the place of another and prints it, this once; the old one works on for
    /// a while.
    Rotate {
        /// The old key's prefix: the middle of `dmcp_PREFIX_...`.
        #[arg(value_name = "PREFIX", value_parser = prefix)]
        prefix: KeyPrefix,
        /// How long the old key still works: 15m, 24h, 7d; at most 30 days.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
        overlap: SignedDuration,
        /// When the new key stops working: 2027-01-31T00:00:00Z, or after 12h, 90d.
        #[arg(long, value_name = "TIME", value_parser = moment)]
        expires: Option<Timestamp>,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What people call the key.
    #[arg(long)]
    name: String,
    /// The role whose scopes it opens: viewer, operator, developer, admin, or one of MCP_AUTH_ROLES.
    #[arg(long)]
    role: Option<String>,
    /// A scope that it opens, beside those of the role; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// As whom its holder acts; without it as `key:PREFIX`.
    #[arg(long)]
    subject: Option<String>,
    /// The tier of limits that it belongs to.
    #[arg(long)]
    tier: Option<String>,
    /// When it stops working: 2027-01-31T00:00:00Z, or after 12h, 90d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires: Option<Timestamp>,
    /// Stores nothing: prints the key, and the entry for `security.apiKeys` of a configuration file.
    #[arg(long, conflicts_with = "json")]
    for_file: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct Form {
    /// Answers in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    words: &[String],
    config: Result<StandaloneConfig, ConfigError>,
) -> Diagnosis {
    let asked = match Words::try_parse_from(words) {
        Ok(asked) => asked,
        Err(answer) if answer.use_stderr() => {
            return Diagnosis {
                complaint: Some(answer.render().to_string().trim_end().to_owned()),
                exit_code: NOT_UNDERSTOOD,
                ..Diagnosis::default()
            };
        }
        Err(answer) => {
            return Diagnosis {
                text: answer.render().to_string(),
                ..Diagnosis::default()
            };
        }
    };
    match Box::pin(carry_out(asked.at, asked.command, config)).await {
        Ok(said) => said,
        Err(why) => Diagnosis {
            complaint: Some(why),
            exit_code: 1,
            ..Diagnosis::default()
        },
    }
}

async fn carry_out(
    at: Reach,
    command: Command,
    config: Result<StandaloneConfig, ConfigError>,
) -> Result<Diagnosis, String> {
    match command {
        Command::Create(create) => make(at, create, config).await,
        Command::List { form } => {
            let reached = at.open(config).await?;
            let listed = reached.keys.list(&reached.context).await;
            reached.close().await;
            show::list(&listed.map_err(told)?, form.json)
        }
        Command::Revoke { prefix, form } => {
            let reached = at.open(config).await?;
            let revoked = reached.keys.revoke(&reached.context, &prefix).await;
            reached.close().await;
            show::revoked(&revoked.map_err(told)?, form.json)
        }
        Command::Rotate {
            prefix,
            overlap,
            expires,
            form,
        } => {
            let made = MadeKey::generate().map_err(|error| error.to_string())?;
            let rotation = Rotation {
                prefix: made.prefix,
                digest: made.digest,
                overlap_seconds: overlap.as_secs(),
                expires_at: expires,
            };
            let reached = at.open(config).await?;
            let rotated = reached
                .keys
                .rotate(&reached.context, &prefix, rotation)
                .await;
            reached.close().await;
            show::rotated(&made, &rotated.map_err(told)?, form.json)
        }
    }
}

async fn make(
    at: Reach,
    create: Create,
    config: Result<StandaloneConfig, ConfigError>,
) -> Result<Diagnosis, String> {
    let mut scopes: BTreeSet<String> = create.scopes.into_iter().collect();
    if let Some(role) = &create.role {
        scopes.extend(scopes_of(role, &config)?);
    } else if scopes.is_empty() {
        return Err("say what the key opens: --role ROLE, or --scope SCOPE".to_owned());
    }
    let made = MadeKey::generate().map_err(|error| error.to_string())?;
    let key = NewKey {
        prefix: made.prefix,
        digest: made.digest,
        name: create.name,
        subject: create.subject,
        scopes,
        role: create.role,
        tier: create.tier,
        expires_at: create.expires,
    };
    key.check(Timestamp::now()).map_err(told)?;
    if create.for_file {
        if at.is_elsewhere() {
            return Err("--for-file asks no registry: leave --registry away".to_owned());
        }
        return Ok(show::for_file(&made, &key, at.tenant.as_str()));
    }
    let reached: Reached = at.open(config).await?;
    let record = reached.keys.create(&reached.context, key).await;
    reached.close().await;
    show::made(&made, &record.map_err(told)?, create.form.json)
}

fn scopes_of(
    role: &str,
    config: &Result<StandaloneConfig, ConfigError>,
) -> Result<Vec<String>, String> {
    let predefined = Roles::default();
    let roles = match config {
        Ok(config) => &config.public.auth.roles,
        // What the words are about may be elsewhere; a role of its own has to be readable here.
        Err(_) if predefined.has(role) => &predefined,
        Err(error) => return Err(format!("--role {role}: {error}")),
    };
    if !roles.has(role) {
        let known: Vec<&str> = roles.iter().map(|(name, _)| name).collect();
        let known = known.join(", ");
        return Err(format!(
            "--role {role}: there is no such role; there are {known}"
        ));
    }
    Ok(roles.scopes(role).map(str::to_owned).collect())
}

fn told(error: domain::Error) -> String {
    let mut text = error.to_string();
    if let Some(cause) = error.cause() {
        text.push_str(&format!(" ({cause})"));
    }
    text
}

fn prefix(text: &str) -> Result<KeyPrefix, String> {
    KeyPrefix::parse(text).map_err(|error| error.to_string())
}

fn span(text: &str) -> Result<SignedDuration, String> {
    let read = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let number: u32 = number.parse().ok()?;
        Some(SignedDuration::from_secs(i64::from(number) * seconds))
    };
    read().ok_or_else(|| "is no length of time; write 30s, 15m, 24h, 7d".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let after = span(text).map_err(|_| "is no time; write 2027-01-31T00:00:00Z, or 12h, 90d")?;
    let end = Timestamp::now().checked_add(after);
    end.map_err(|_| "is too far away".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Words, clap::Error> {
        Words::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn words_are_read() {
        use clap::CommandFactory as _;
        Words::command().debug_assert();
        for good in [
            "create --name ci --role developer --expires 90d --tier gold --json",
            "create --name ci --scope mcp:invoke --scope team:blue --tenant acme",
            "list --json --registry unix:/run/registry.sock --signing-key gateway.pem",
            "revoke 0a1b2c3d",
            "rotate 0a1b2c3d --overlap 0s --expires 2030-01-01T00:00:00Z",
            "--registry https://registry:50051 --signing-key s.pem --ca ca.pem --cert o.pem --key o.key \
             create --name ci --role admin --tenant acme",
        ] {
            parsed(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "",
            "create",
            "create --name ci --expires yesterday",
            "revoke dmcp_0a1b2c3d",
            "revoke 0A1B2C3D",
            "rotate 0a1b2c3d --overlap 1w",
            "list --registry unix:/run/registry.sock",
            "--registry unix:/run/registry.sock list",
            "--registry https://registry:50051 --signing-key s.pem --ca ca.pem list",
            "create --name ci --tenant a/b",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
