//! One declared tool: its table, its handler, its check.

use std::path::{Path, PathBuf};

use domain::tool::Runtime;
use domain::validate::{self, Policy};
use domain::{Error, TenantId, ToolDraft, ToolName, ToolSpec, limits};
use serde_json::{Map, Value as Json};

use super::DeclaredTool;
use crate::config::problem::shorten;

/// What stands for code that cannot be read, so that the rest is checked all the same.
const ANY_CODE: &str = "return";

/// What is wrong, and what to do.
type Mistake = (String, String);

/// How a tool is named in messages: its name, or its place in the list.
pub(super) fn label(item: &Json, position: usize) -> String {
    match item.get("name").and_then(Json::as_str) {
        Some(name) => shorten(name),
        None => format!("number {}", position + 1),
    }
}

/// A checked tool with its code.
pub(super) fn resolve(
    item: &Json,
    folder: &Path,
    policy: &Policy,
) -> Result<DeclaredTool, Vec<Mistake>> {
    let Json::Object(fields) = item else {
        return Err(vec![mistake("is no table", "write it as a table")]);
    };
    let mut mistakes = Vec::new();
    let mut fields = fields.clone();
    let mut keep =
        |outcome: Result<String, Mistake>| outcome.map_err(|mistake| mistakes.push(mistake)).ok();
    let name = keep(text(&mut fields, "name"));
    let handler = keep(text(&mut fields, "handler"));
    let tenant = match fields.remove("tenant") {
        None => Ok(TenantId::default()),
        Some(Json::String(tenant)) => TenantId::parse(&tenant).map_err(of_domain),
        Some(_) => Err(mistake(
            "tenant: is no text",
            "name a tenant, or leave it out",
        )),
    };
    let name = name.and_then(|name| {
        let parsed = ToolName::parse(&name).map_err(of_domain);
        parsed.map_err(|mistake| mistakes.push(mistake)).ok()
    });
    let code = handler.and_then(|handler| {
        let read = code(&folder.join(handler));
        read.map_err(|mistake| mistakes.push(mistake)).ok()
    });
    if fields.contains_key("code") {
        let fix = "put the code into a file and name it as handler";
        mistakes.push(mistake("code: is not written into the configuration", fix));
        fields.remove("code");
    }
    let python = code.as_ref().is_some_and(|(path, _)| {
        path.extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("py"))
    });
    let spec = spec(fields, policy).map_err(|mistake| mistakes.push(mistake));
    let tenant = tenant.map_err(|mistake| mistakes.push(mistake));
    if let (Some(name), Ok(spec), Ok(tenant)) = (name, spec, tenant) {
        if python && spec.runtime != Runtime::Python {
            let fix = "write runtime = \"python\", or name a handler in JavaScript";
            mistakes.push(mistake(
                "runtime: is node, but the handler is a .py file",
                fix,
            ));
        }
        let draft = ToolDraft {
            name,
            spec,
            code: code.map_or_else(|| ANY_CODE.into(), |(_, code)| code.into()),
            lock: None,
        };
        match validate::draft(&draft, policy) {
            Ok(()) if mistakes.is_empty() => return Ok(DeclaredTool { tenant, draft }),
            Ok(()) => {}
            Err(error) => mistakes.push(of_domain(error)),
        }
    }
    Err(mistakes)
}

/// A field that has to be there, taken out.
fn text(fields: &mut Map<String, Json>, name: &str) -> Result<String, Mistake> {
    match fields.remove(name) {
        Some(Json::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(_) => Err(mistake(
            &format!("{name}: is no text"),
            "write it as a text",
        )),
        None => Err(mistake(
            &format!("{name}: is missing"),
            "every tool has name, description and handler",
        )),
    }
}

fn spec(mut fields: Map<String, Json>, policy: &Policy) -> Result<ToolSpec, Mistake> {
    if !fields.contains_key("image") {
        let python = fields.get("runtime").and_then(Json::as_str) == Some("python");
        let runtime = if python {
            Runtime::Python
        } else {
            Runtime::Node
        };
        fields.insert("image".to_owned(), policy.image_for(runtime).into());
    }
    // By way of its text: a schema is kept as it is written there.
    let text = Json::Object(fields).to_string();
    serde_json::from_str(&text).map_err(|why| {
        let why = why.to_string();
        // Where in a text that nobody has seen does not help.
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        (
            why,
            String::from("write it as dynamic.tool.create takes it"),
        )
    })
}

/// The code of a handler's file, and where that is.
fn code(path: &Path) -> Result<(PathBuf, String), Mistake> {
    // Four bytes a character at most; what is longer is refused by its characters below that.
    let most = 4 * limits::CODE_CHARS as u64;
    let unusable = |why: String| {
        (
            format!("handler: {} {why}", path.display()),
            String::from("name a readable file with the code, relative to the configuration file"),
        )
    };
    let found =
        std::fs::metadata(path).map_err(|why| unusable(format!("cannot be read: {why}")))?;
    if !found.is_file() {
        return Err(unusable(String::from("is no file")));
    }
    if found.len() > most {
        return Err(unusable(format!("is larger than {most} bytes")));
    }
    let code = std::fs::read_to_string(path);
    let code = code.map_err(|why| unusable(format!("cannot be read: {why}")))?;
    if code.trim().is_empty() {
        return Err(unusable(String::from("is empty")));
    }
    Ok((path.to_owned(), code))
}

fn mistake(why: &str, fix: &str) -> Mistake {
    (why.to_owned(), fix.to_owned())
}

fn of_domain(error: Error) -> Mistake {
    let fix = error.fix().unwrap_or("correct it").to_owned();
    (error.to_string(), fix)
}
