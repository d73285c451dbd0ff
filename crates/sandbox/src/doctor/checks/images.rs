//! What runs in a sandbox besides the tool: images, and where packages come from.

use crate::doctor::facts::{Facts, ImageFact, ImageThere, RegistryFact};
use crate::doctor::finding::{State, Verdict};

pub(super) fn allowed(facts: &Facts) -> Vec<Verdict> {
    if facts.daemon.is_none() {
        return vec![Verdict::skipped("Docker is not configured")];
    }
    vec![match facts.wanted.any_image {
        true => Verdict::bad(
            State::Weak,
            "every image is allowed",
            "name the images that tools may use in MCP_SANDBOX_ALLOWED_IMAGES",
        ),
        false => {
            let names: Vec<&str> = facts.images.iter().map(|it| it.name.as_str()).collect();
            Verdict::ok(names.join(", "))
        }
    }]
}

pub(super) fn each(facts: &Facts) -> Vec<Verdict> {
    if facts.docker().is_none() {
        return vec![Verdict::skipped("no Docker daemon to ask")];
    }
    facts
        .images
        .iter()
        .map(|image| one(image).about(&image.name))
        .collect()
}

fn one(image: &ImageFact) -> Verdict {
    let there = match (&image.there, &image.error) {
        (_, Some(why)) => {
            return Verdict::bad(
                State::Weak,
                format!("it cannot be looked at: {why}"),
                "correct its name in MCP_SANDBOX_ALLOWED_IMAGES, or what the daemon says",
            );
        }
        (None, None) => {
            return Verdict::bad(
                State::Advice,
                "not on the daemon; it is pulled when the executor starts",
                "without a registry: load it, see docs/sandbox-images.md; or take it off the list",
            );
        }
        (Some(there), None) => there,
    };
    let brings = match there.volumes.as_slice() {
        [] => String::new(),
        volumes => format!("; its volumes {} are closed", volumes.join(", ")),
    };
    let pinned = image.name.contains("sha256:") || image.name == there.id[7..];
    if pinned {
        return Verdict::ok(format!("there, pinned{brings}"));
    }
    Verdict::bad(
        State::Advice,
        format!("there, by a name that may move{brings}"),
        format!("pin it: {}", pin(there)),
    )
}

/// How to name exactly this image: by the digest of its registry, else by its ID.
fn pin(there: &ImageThere) -> &str {
    there.digests.first().unwrap_or(&there.id)
}

pub(super) fn install(facts: &Facts) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    match &facts.install.extra_ca {
        None => {}
        Some((file, Ok(count))) if *count > 0 => verdicts.push(
            Verdict::ok(format!("{file}: {count} certificates"))
                .about("MCP_SANDBOX_EXTRA_CA_CERTS"),
        ),
        Some((file, found)) => {
            let why = match found {
                Ok(_) => "it holds no certificate",
                Err(why) => why,
            };
            let bad = Verdict::bad(
                State::Fail,
                format!("{file}: {why}"),
                "a PEM file with certificates that the executor's user can read",
            );
            verdicts.push(bad.about("MCP_SANDBOX_EXTRA_CA_CERTS"));
        }
    }
    verdicts.extend(facts.install.registries.iter().map(registry));
    if verdicts.is_empty() {
        verdicts.push(Verdict::ok(
            "the package managers' own, with the image's certificates",
        ));
    }
    verdicts
}

fn registry(registry: &RegistryFact) -> Verdict {
    let verdict = match (&registry.place, &registry.reached) {
        (Err(why), _) => Verdict::bad(
            State::Fail,
            why.clone(),
            format!("{} is an http or https URL", registry.key),
        ),
        (Ok((scheme, host, port)), _) if scheme != "https" => Verdict::bad(
            State::Weak,
            format!("{scheme}://{host}:{port} is without TLS"),
            "use https; lockfiles keep packages from changing later, not at the first resolve",
        ),
        (Ok((_, host, port)), Err(why)) => Verdict::bad(
            State::Weak,
            format!("{host}:{port} cannot be reached from here: {why}"),
            "installs go through the executor: let it reach this host",
        ),
        (Ok((_, host, port)), Ok(())) => Verdict::ok(format!("{host}:{port} can be reached")),
    };
    verdict.about(registry.key)
}
