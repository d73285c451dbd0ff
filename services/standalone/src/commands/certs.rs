//! `dynamic-mcp certs`: certificates and keys for the channels between services.

mod authority;
mod deployment;
mod files;
mod keys;

use std::net::IpAddr;
use std::path::PathBuf;

use auth::internal::is_service_name;
use bootstrap::Diagnosis;
use clap::{Args, Parser, Subcommand};

use self::authority::{Leaf, leaf, make_authority};
use self::files::Folder;
use self::keys::{Entry, make_pair};

/// Services that are part of the product.
const OURS: [&str; 3] = ["gateway", "registry", "executor"];

/// Makes certificates and keys for the channels between services: for development, and for
/// deployments that have no other authority. Every file is mode 0600, and none is overwritten.
#[derive(Debug, Parser)]
#[command(name = "dynamic-mcp certs", no_binary_name = true)]
struct Certs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The authority that signs all others: ca.pem and ca.key.
    Ca {
        #[command(flatten)]
        to: To,
        /// How long it holds, in days.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// The certificate of a gateway, registry or executor, signed by the authority in the folder.
    Leaf {
        /// gateway, registry or executor.
        #[arg(value_parser = OURS)]
        name: String,
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        certificate: Certificate,
    },
    /// The certificate and the signing key of an internal service of yours, and the entry for
    /// MCP_INTERNAL_VERIFY_KEYS that says what it may do.
    Service {
        /// Its name: lower-case letters, digits and `-`.
        #[arg(value_parser = service_name)]
        name: String,
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        certificate: Certificate,
        #[command(flatten)]
        bounds: Bounds,
    },
    /// A key that signs calls: NAME-signing.pem, and NAME-signing.pub for those who accept them.
    SigningKey {
        /// gateway or executor.
        #[arg(value_parser = ["gateway", "executor"], default_value = "gateway")]
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Everything that a deployment of one gateway or more needs, a folder for each service: the
    /// authority, certificates, signing keys, passwords and the admin token. Makes what is missing, and
    /// certificates of which two thirds of the time are over; keeps everything else.
    Deployment {
        /// The folder of the folders.
        #[arg(long, default_value = "secrets")]
        out: PathBuf,
        /// A password for a Redis at `redis:6379` too.
        #[arg(long)]
        redis: bool,
        /// A password for Grafana's administrator too.
        #[arg(long)]
        grafana: bool,
    },
}

#[derive(Debug, Args)]
struct To {
    /// The folder of the files.
    #[arg(long, default_value = "certs")]
    out: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Certificate {
    /// A host name by which clients of other makes reach it; may be repeated.
    #[arg(long)]
    dns: Vec<String>,
    /// An address likewise; may be repeated.
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// How long it holds, in days.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
}

#[derive(Debug, Args)]
struct Bounds {
    /// Whom it may call; may be repeated.
    #[arg(long, value_parser = ["registry", "executor"], default_values = ["registry", "executor"])]
    audience: Vec<String>,
    /// A scope that callers it speaks for may hold; may be repeated.
    #[arg(long, default_values = ["mcp:invoke", "mcp:tools:read"])]
    scope: Vec<String>,
    /// A tenant that it may speak for; may be repeated.
    #[arg(long, default_values = ["default"])]
    tenant: Vec<String>,
}

fn service_name(name: &str) -> Result<String, String> {
    if OURS.contains(&name) {
        return Err(format!(
            "is a service of this product: see `certs leaf {name}`"
        ));
    }
    if !is_service_name(name) {
        return Err(String::from(
            "is not 1-63 lower-case letters, digits and `-` that start with a letter",
        ));
    }
    Ok(name.to_owned())
}

pub(super) fn run(words: &[String]) -> Diagnosis {
    let asked = match Certs::try_parse_from(words) {
        Ok(asked) => asked,
        Err(answer) if answer.use_stderr() => {
            return Diagnosis {
                complaint: Some(answer.render().to_string().trim_end().to_owned()),
                exit_code: 2,
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
    match make(asked.what) {
        Ok(text) => Diagnosis {
            text,
            ..Diagnosis::default()
        },
        Err(why) => Diagnosis {
            complaint: Some(why),
            exit_code: 1,
            ..Diagnosis::default()
        },
    }
}

fn make(what: What) -> Result<String, String> {
    match what {
        What::Deployment {
            out,
            redis,
            grafana,
        } => deployment::make(&out, deployment::Extras { redis, grafana }),
        What::Ca { to, days } => {
            let folder = Folder::new(to.out, to.force)?;
            let written = folder.write(&make_authority(days)?)?;
            Ok(format!(
                "{written}\nKeep ca.key where no service is. Next: `dynamic-mcp certs leaf gateway`, \
                 `… leaf registry`, `… leaf executor`.\n"
            ))
        }
        What::Leaf {
            name,
            to,
            certificate,
        } => {
            let folder = Folder::new(to.out, to.force)?;
            let written = folder.write(&signed(&folder, &name, certificate)?)?;
            Ok(format!("{written}\n{}", settings(&folder, &name)))
        }
        What::Service {
            name,
            to,
            certificate,
            bounds,
        } => {
            let folder = Folder::new(to.out, to.force)?;
            let entry = Entry {
                issuer: &name,
                audiences: &bounds.audience,
                scopes: &bounds.scope,
                tenants: &bounds.tenant,
            };
            let pair = make_pair(&name)?;
            let table = entry.table(&pair)?;
            let mut files = signed(&folder, &name, certificate)?;
            files.extend(pair.files);
            let written = folder.write(&files)?;
            Ok(format!(
                "{written}\n# At registry and executor, at the end of the file that \
                 MCP_INTERNAL_VERIFY_KEYS_FILE names:\n\n{table}"
            ))
        }
        What::SigningKey { name, to } => {
            let folder = Folder::new(to.out, to.force)?;
            let pair = make_pair(&name)?;
            let place = folder.place(&format!("{name}-signing.pem"));
            let accept = if name == "executor" {
                let entry = Entry {
                    issuer: &name,
                    audiences: &[String::from("registry")],
                    scopes: &[String::from("dynamic-mcp:internal")],
                    tenants: &[String::from("default")],
                };
                format!(
                    "# At the registry, at the end of the file that MCP_INTERNAL_VERIFY_KEYS_FILE \
                     names:\n\n{}",
                    entry.table(&pair)?
                )
            } else {
                format!(
                    "# At registry and executor:\nMCP_INTERNAL_VERIFY_KEYS_FILE={}\n",
                    folder.place(&format!("{name}-signing.pub"))
                )
            };
            let written = folder.write(&pair.files)?;
            Ok(format!(
                "{written}\n# At the {name}:\nMCP_INTERNAL_SIGNING_KEY_FILE={place}\n{accept}"
            ))
        }
    }
}

fn signed(
    folder: &Folder,
    name: &str,
    certificate: Certificate,
) -> Result<Vec<(String, String)>, String> {
    let (authority, key) = (folder.read("ca.pem")?, folder.read("ca.key")?);
    let asked = Leaf {
        name,
        dns: certificate.dns,
        addresses: certificate.ip,
        days: certificate.days,
    };
    leaf(&authority, &key, asked)
}

fn settings(folder: &Folder, name: &str) -> String {
    format!(
        "# At the {name}:\nMCP_INTERNAL_TLS_CA={}\nMCP_INTERNAL_TLS_CERT={}\nMCP_INTERNAL_TLS_KEY={}\n",
        folder.place("ca.pem"),
        folder.place(&format!("{name}.pem")),
        folder.place(&format!("{name}.key")),
    )
}
