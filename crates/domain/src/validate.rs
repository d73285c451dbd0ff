//! The complete check of a tool before anything is stored: grammar, bounds and policy.

use crate::error::{Error, ErrorCode, Result};
use crate::limits;
use crate::lockfile::Lockfile;
use crate::schema::{Role, Schema};
use crate::tool::{Isolation, Runtime, ToolDraft};
use crate::{dependency, image};

/// What configuration allows besides the fixed limits.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Images that tools may name; empty allows all.
    pub allowed_images: Vec<String>,
    /// Packages that no tool may depend on; case does not matter.
    pub blocked_packages: Vec<String>,
    /// Most dependencies of a tool.
    pub max_dependencies: usize,
    /// Longest time a call may ask for, in milliseconds.
    pub max_timeout_ms: u32,
    /// Names of the tools whose calls may share a sandbox (`isolation: tool`).
    pub shared_tools: Vec<String>,
}

impl Default for Policy {
    /// The defaults of contract section 5.
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            allowed_images: list(&["node:lts-slim", "python:3-slim"]),
            blocked_packages: list(&["child_process", "node-pty", "npm", "pm2"]),
            max_dependencies: 32,
            max_timeout_ms: 120_000,
            shared_tools: Vec::new(),
        }
    }
}

impl Policy {
    /// The image of code in this language whose author names none: the first that is allowed, where
    /// its name does not say that it is for the other language. Where no name speaks of Python and the second
    /// is an ID alone, that one is for Python.
    #[must_use]
    pub fn image_for(&self, runtime: Runtime) -> &str {
        let says_python = |image: &&String| image.to_ascii_lowercase().contains("python");
        let usual = match runtime {
            Runtime::Node => limits::DEFAULT_IMAGE,
            Runtime::Python => limits::DEFAULT_PYTHON_IMAGE,
        };
        let mut allowed = self.allowed_images.iter();
        let second = self.allowed_images.get(1);
        let second = second.filter(|image| image.starts_with("sha256:"));
        let fitting = match runtime {
            Runtime::Node => allowed.find(|image| !says_python(image)),
            Runtime::Python => allowed.find(says_python).or(second),
        };
        let any = fitting.or(self.allowed_images.first());
        any.map_or(usual, String::as_str)
    }
}

/// Checks a draft whole: the name, every field and the policy. Stored tools went through here.
///
/// # Errors
/// The first fault: `invalid_argument` with field and limit, or `policy_denied`.
pub fn draft(draft: &ToolDraft, policy: &Policy) -> Result<()> {
    draft.name.check_not_reserved()?;
    let spec = &draft.spec;
    if let Some(title) = &spec.title {
        chars("title", title, limits::TITLE_CHARS)?;
    }
    chars("description", &spec.description, limits::DESCRIPTION_CHARS)?;
    chars("code", &draft.code, limits::CODE_CHARS)?;
    bounds("timeoutMs", spec.timeout_ms, limits::TIMEOUT_MS)?;
    if spec.timeout_ms > policy.max_timeout_ms {
        return Err(
            Error::new(ErrorCode::PolicyDenied, "is longer than this server allows")
                .with_field("timeoutMs")
                .with_limit(format!("{} ms", policy.max_timeout_ms)),
        );
    }
    image_allowed("image", &spec.image, policy)?;
    dependencies_allowed("dependencies", &spec.dependencies, spec.runtime, policy)?;
    if let Some(schema) = &spec.input_schema {
        Schema::compile(Role::Input, schema)?;
    }
    if let Some(schema) = &spec.output_schema {
        Schema::compile(Role::Output, schema)?;
    }
    annotations(draft)?;
    words("tags", &spec.tags, limits::TAGS)?;
    words(
        "requiredScopes",
        &spec.required_scopes,
        limits::REQUIRED_SCOPES,
    )?;
    if let Some(limit) = spec.rate_limit {
        bounds("rateLimit/maxCalls", limit.max_calls, 1..=1_000_000)?;
        bounds("rateLimit/windowMs", limit.window_ms, 1_000..=86_400_000)?;
    }
    if let Some(cache) = spec.cache {
        bounds("cache/ttlSeconds", cache.ttl_seconds, 1..=86_400)?;
    }
    if spec.isolation == Isolation::Tool {
        may_share(draft.name.as_str(), policy)?;
    }
    lock(draft, policy)
}

/// Checks that a draft's lockfile is one of its dependencies and names no package that is blocked.
///
/// # Errors
/// `invalid_argument`, `policy_denied`.
pub fn lock(draft: &ToolDraft, policy: &Policy) -> Result<()> {
    let Some(lock) = &draft.lock else {
        return Ok(());
    };
    let spec = &draft.spec;
    if spec.dependencies.is_empty() || lock.runtime() != spec.runtime {
        return Err(Error::invalid("lockfile", "is of other dependencies"));
    }
    lock.check_for(&spec.dependencies)?;
    lockfile_allowed("dependencies", lock, policy)
}

/// Checks that no package of a lockfile is blocked, also none that only another package needs.
///
/// # Errors
/// `policy_denied`, naming the package and what leads to it.
pub fn lockfile_allowed(field: &str, lock: &Lockfile, policy: &Policy) -> Result<()> {
    lock.check_blocked(&policy.blocked_packages)
        .map_err(|error| error.with_field(field))
}

/// Checks that an administrator lets the calls of this tool share a sandbox.
///
/// # Errors
/// `policy_denied`.
pub fn may_share(name: &str, policy: &Policy) -> Result<()> {
    if policy.shared_tools.iter().any(|allowed| allowed == name) {
        return Ok(());
    }
    let message = "isolation \"tool\" has not been turned on for this tool by an administrator";
    Err(Error::new(ErrorCode::PolicyDenied, message)
        .with_field("isolation")
        .with_fix("leave it out or use \"call\", or name the tool in MCP_SANDBOX_SHARED_TOOLS"))
}

/// Checks an image by grammar and allow list.
///
/// # Errors
/// `invalid_argument` or `policy_denied`, naming `field`.
pub fn image_allowed(field: &str, reference: &str, policy: &Policy) -> Result<()> {
    image::check(field, reference)?;
    if policy.allowed_images.is_empty() || policy.allowed_images.iter().any(|it| it == reference) {
        return Ok(());
    }
    Err(
        Error::new(ErrorCode::PolicyDenied, "is not an allowed image")
            .with_field(field)
            .with_limit(policy.allowed_images.join(", ")),
    )
}

/// Checks dependencies by number, grammar and block list.
///
/// # Errors
/// `invalid_argument` or `policy_denied`, naming the entry at fault.
pub fn dependencies_allowed(
    field: &str,
    list: &[dependency::Dependency],
    runtime: Runtime,
    policy: &Policy,
) -> Result<()> {
    if list.len() > limits::DEPENDENCIES {
        return Err(
            Error::invalid(field, "are too many").with_limit(limits::DEPENDENCIES.to_string())
        );
    }
    if list.len() > policy.max_dependencies {
        return Err(
            Error::new(ErrorCode::PolicyDenied, "are more than this server allows")
                .with_field(field)
                .with_limit(policy.max_dependencies.to_string()),
        );
    }
    for (at, entry) in list.iter().enumerate() {
        let place = format!("{field}/{at}");
        // The block list first: `PM2` is refused as blocked, not only as a bad name.
        let canonical = |name: &str| dependency::canonical(runtime, name);
        let its = canonical(&entry.name);
        if policy
            .blocked_packages
            .iter()
            .any(|name| canonical(name) == its)
        {
            return Err(Error::new(ErrorCode::PolicyDenied, "is a blocked package")
                .with_field(format!("{place}/name")));
        }
        entry.check(&place, runtime)?;
        if list[..at].iter().any(|other| canonical(&other.name) == its) {
            return Err(Error::invalid(format!("{place}/name"), "is named twice"));
        }
    }
    Ok(())
}

fn annotations(draft: &ToolDraft) -> Result<()> {
    let Some(annotations) = &draft.spec.annotations else {
        return Ok(());
    };
    let text = annotations.get();
    if text.len() > limits::ANNOTATIONS_BYTES || !text.trim_start().starts_with('{') {
        return Err(Error::invalid("annotations", "has to be a JSON object")
            .with_limit(format!("{} bytes", limits::ANNOTATIONS_BYTES)));
    }
    Ok(())
}

fn words(field: &str, list: &std::collections::BTreeSet<String>, most: usize) -> Result<()> {
    if list.len() > most {
        return Err(Error::invalid(field, "are too many").with_limit(most.to_string()));
    }
    let good = |word: &String| {
        (1..=limits::TAG_BYTES).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic())
    };
    match list.iter().find(|word| !good(word)) {
        None => Ok(()),
        Some(_) => Err(Error::invalid(field, "has an entry that is not a word")
            .with_limit("1-64 printable ASCII characters without space")),
    }
}

fn chars(field: &str, text: &str, most: usize) -> Result<()> {
    // Bytes bound characters, so that a huge text is refused without being counted.
    let fits =
        !text.is_empty() && (text.len() <= most || text.chars().take(most + 1).count() <= most);
    if fits {
        return Ok(());
    }
    let message = if text.is_empty() {
        "is empty"
    } else {
        "is too long"
    };
    Err(Error::invalid(field, message).with_limit(format!("1-{most} characters")))
}

fn bounds(field: &str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(
        Error::invalid(field, format!("is {value}")).with_limit(format!(
            "{}-{}",
            range.start(),
            range.end()
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::Dependency;
    use crate::name::ToolName;

    fn good() -> ToolDraft {
        ToolDraft {
            name: ToolName::parse("my.tool").unwrap(),
            spec: serde_json::from_str(r#"{"description":"says hello"}"#).unwrap(),
            code: "return 1".into(),
            lock: None,
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut ToolDraft), field: &str, code: ErrorCode) {
        let mut bad = good();
        change(&mut bad);
        let error = draft(&bad, &Policy::default()).unwrap_err();
        assert_eq!(
            (error.field(), error.code()),
            (Some(field), code),
            "{error}"
        );
    }

    #[test]
    fn a_good_draft_passes_at_the_bounds() {
        let mut tool = good();
        tool.spec.title = Some("ß".repeat(limits::TITLE_CHARS));
        tool.spec.description = "d".repeat(limits::DESCRIPTION_CHARS);
        tool.code = "語".repeat(limits::CODE_CHARS).into();
        draft(&tool, &Policy::default()).unwrap();
    }

    #[test]
    fn each_field_has_its_error() {
        use ErrorCode::{InvalidArgument as Invalid, PolicyDenied as Denied};
        let dependency = |name: &str, version: &str| Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        refused(
            |tool| tool.spec.title = Some(String::new()),
            "title",
            Invalid,
        );
        refused(
            |tool| tool.spec.title = Some("x".repeat(121)),
            "title",
            Invalid,
        );
        refused(|tool| tool.spec.description.clear(), "description", Invalid);
        refused(
            |tool| tool.code = "x".repeat(200_001).into(),
            "code",
            Invalid,
        );
        refused(|tool| tool.spec.timeout_ms = 999, "timeoutMs", Invalid);
        refused(|tool| tool.spec.image = "-v".into(), "image", Invalid);
        refused(|tool| tool.spec.image = "alpine:3".into(), "image", Denied);
        refused(
            |tool| tool.spec.dependencies = vec![dependency("PM2", "1.0.0")],
            "dependencies/0/name",
            Denied,
        );
        refused(
            |tool| tool.spec.dependencies = vec![dependency("zod", "npm:pm2@1")],
            "dependencies/0/version",
            Invalid,
        );
        refused(
            |tool| tool.spec.isolation = Isolation::Tool,
            "isolation",
            Denied,
        );
        refused(
            |tool| tool.name = ToolName::parse("time.now").unwrap(),
            "name",
            Denied,
        );
        refused(
            |tool| tool.spec.tags = ["a b".to_owned()].into(),
            "tags",
            Invalid,
        );
    }

    #[test]
    fn an_image_fits_its_language_where_one_does() {
        let policy = |images: &[&str]| Policy {
            allowed_images: images.iter().map(|&image| image.to_owned()).collect(),
            ..Policy::default()
        };
        for (images, node, python) in [
            (
                &["node:lts-slim", "python:3-slim"][..],
                "node:lts-slim",
                "python:3-slim",
            ),
            (&["my/python:3", "mine:1"], "mine:1", "my/python:3"),
            (&["mine:1"], "mine:1", "mine:1"),
            (&["sha256:1f", "sha256:2e"], "sha256:1f", "sha256:2e"),
            (&["Python:3"], "Python:3", "Python:3"),
            (&[], limits::DEFAULT_IMAGE, limits::DEFAULT_PYTHON_IMAGE),
        ] {
            let policy = policy(images);
            assert_eq!(policy.image_for(Runtime::Node), node);
            assert_eq!(policy.image_for(Runtime::Python), python);
        }
    }
}
