//! Tools that the configuration declares, with their code in files of their own.

mod entry;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::validate::Policy;
use domain::{TenantId, ToolDraft};
use serde_json::Value as Json;

use self::entry::{label, resolve};
use super::file;
use super::key::{Key, Service};
use super::problem::{ConfigError, Problem};
use super::value::{Raw, Value};

/// Key of the list.
pub(crate) const KEY: &str = "MCP_DECLARED_TOOLS";
/// Section of a configuration file.
const SECTION: &str = "tools";

/// The list as it is written; `None` where nothing is said, which is not the same as an empty list.
#[derive(Debug, Clone, Default)]
pub struct DeclaredList(Option<Vec<Json>>);

/// One tool, checked whole.
#[derive(Debug, Clone)]
pub struct DeclaredTool {
    /// Whose tool it is.
    pub tenant: TenantId,
    /// The tool with its code.
    pub draft: ToolDraft,
}

/// The tools that the configuration declares, and how to look at it again.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The tools; `None` where the configuration does not say which there are.
    pub tools: Option<Vec<DeclaredTool>>,
    source: Source,
    service: Service,
    rules: Rules,
}

/// What tools are checked against.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Images, packages and bounds.
    pub(crate) policy: Policy,
    /// Most tools of one tenant.
    pub(crate) max_tools: u32,
}

/// Where the list stands.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In a configuration file.
    File(PathBuf),
    /// In a variable or a flag, which does not change; the handlers, relative to this folder, may.
    Fixed(DeclaredList, PathBuf),
}

impl Declared {
    /// Reads and checks every tool.
    ///
    /// # Errors
    /// Every mistake.
    pub(crate) fn new(
        list: &DeclaredList,
        source: Source,
        service: Service,
        rules: Rules,
    ) -> Result<Self, Vec<Problem>> {
        let tools = checked(list, source.folder(), &rules)?;
        Ok(Self {
            tools,
            source,
            service,
            rules,
        })
    }

    /// Reads the list and the handlers again. Nothing else of the configuration is looked at.
    ///
    /// # Errors
    /// Every mistake at once; what was declared before is not touched.
    pub fn read_again(&self) -> Result<Self, ConfigError> {
        let refused = |problems| ConfigError {
            service: self.service,
            problems,
        };
        let list = match &self.source {
            Source::Fixed(list, _) => list.clone(),
            Source::File(path) => of_file(path).map_err(|problem| refused(vec![problem]))?,
        };
        let tools = checked(&list, self.source.folder(), &self.rules).map_err(refused)?;
        Ok(Self {
            tools,
            ..self.clone()
        })
    }
}

impl Source {
    /// Where handlers are looked for.
    fn folder(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(Path::new("")),
            Self::Fixed(_, folder) => folder,
        }
    }
}

/// The list of a configuration file.
fn of_file(path: &Path) -> Result<DeclaredList, Problem> {
    let wrong = |why: String| {
        let fix = "write tools as a list of tables; what was declared before stays as it is";
        Problem::new(SECTION, why, fix).from(format!("configuration file {}", path.display()))
    };
    let entries = file::read(path).map_err(wrong)?;
    let is_ours = |entry: &&file::Entry| {
        let name = file::normalised(&entry.path);
        name == SECTION || name.starts_with("tools.")
    };
    let Some(entry) = entries.iter().find(is_ours) else {
        return Ok(DeclaredList::default());
    };
    match (&entry.tables, &entry.raw) {
        (Some(tables), _) => DeclaredList::of_text(tables).map_err(wrong),
        (None, Some(Raw::List(items))) if items.is_empty() => Ok(DeclaredList(Some(Vec::new()))),
        _ => Err(wrong(String::from("is no list of tables"))),
    }
}

/// Every tool of a list, or every mistake.
fn checked(
    list: &DeclaredList,
    folder: &Path,
    rules: &Rules,
) -> Result<Option<Vec<DeclaredTool>>, Vec<Problem>> {
    let Some(items) = &list.0 else {
        return Ok(None);
    };
    let (mut tools, mut problems) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for (position, item) in items.iter().enumerate() {
        let label = label(item, position);
        let problem = |(why, fix): (String, String)| {
            Problem::new(format!("{SECTION}[{label}]"), why, fix).from("configuration file")
        };
        match resolve(item, folder, &rules.policy) {
            Ok(tool) => {
                if names.insert((tool.tenant.clone(), tool.draft.name.clone())) {
                    tools.push(tool);
                } else {
                    let why = String::from("is declared twice for one tenant");
                    problems.push(problem((why, String::from("keep one of them"))));
                }
            }
            Err(mistakes) => problems.extend(mistakes.into_iter().map(problem)),
        }
    }
    let mut tenants: Vec<&TenantId> = tools.iter().map(|tool| &tool.tenant).collect();
    tenants.sort();
    for of_one in tenants.chunk_by(|one, other| one == other) {
        if of_one.len() > rules.max_tools as usize {
            let why = format!(
                "declares {} tools for tenant {}, and {} are allowed",
                of_one.len(),
                of_one[0],
                rules.max_tools
            );
            let fix = "declare fewer, or raise MCP_DYNAMIC_MAX_TOOLS";
            problems.push(Problem::new(SECTION, why, fix).from("configuration file"));
        }
    }
    if problems.is_empty() {
        Ok(Some(tools))
    } else {
        Err(problems)
    }
}

impl DeclaredList {
    fn of_text(text: &str) -> Result<Self, String> {
        let items = serde_json::from_str(text).map_err(|_| String::from("is no list of tables"))?;
        Ok(Self(Some(items)))
    }
}

impl Value for DeclaredList {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        match raw {
            Raw::List(items) if items.is_empty() => Ok(Self(Some(Vec::new()))),
            Raw::List(_) => Err(String::from("is no list of tables")),
            Raw::Text(text) | Raw::OfFile { text, .. } => Self::of_text(text),
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    /// The names: definitions and code are not repeated.
    fn json(&self, _: &Key) -> Json {
        let names = |items: &Vec<Json>| {
            let names = items.iter().enumerate();
            names
                .map(|(at, item)| Json::from(label(item, at)))
                .collect()
        };
        self.0.as_ref().map_or(Json::Null, names)
    }
}

#[cfg(test)]
mod tests;
