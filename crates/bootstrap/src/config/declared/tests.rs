use std::fs;

use serde_json::json;

use super::*;

fn rules() -> Rules {
    Rules {
        policy: Policy::default(),
        max_tools: 3,
    }
}

fn read(folder: &Path, list: Json) -> Result<Option<Vec<DeclaredTool>>, Vec<String>> {
    let list = DeclaredList(list.as_array().cloned());
    let checked = checked(&list, folder, &rules());
    checked.map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("handlers")).unwrap();
    fs::write(folder.path().join("handlers/one.js"), "return 1;\n").unwrap();
    fs::write(folder.path().join("two.py"), "return 2\n").unwrap();
    fs::write(folder.path().join("empty.js"), " \n").unwrap();
    folder
}

#[test]
fn tools_are_read_with_their_handlers() {
    let folder = folder();
    let tools = read(
        folder.path(),
        json!([
            {"name": "one.tool", "description": "One", "handler": "handlers/one.js",
             "inputSchema": {"type": "object", "properties": {"z": {}, "a": {}}},
             "cache": {"ttlSeconds": 5, "scope": "tenant"}},
            {"name": "two.tool", "description": "Two", "handler": "two.py", "runtime": "python",
             "tenant": "acme"},
        ]),
    );
    let tools = tools.unwrap().unwrap();
    assert_eq!(&*tools[0].draft.code, "return 1;\n");
    assert_eq!(tools[0].draft.spec.image, "node:lts-slim");
    assert_eq!(tools[1].draft.spec.image, "python:3-slim");
    assert_eq!(
        (tools[0].tenant.as_str(), tools[1].tenant.as_str()),
        ("default", "acme")
    );
    assert!(
        read(folder.path(), Json::Null).unwrap().is_none(),
        "nothing is said"
    );
    assert!(read(folder.path(), json!([])).unwrap().unwrap().is_empty());
}

#[test]
fn every_mistake_is_named_with_its_tool() {
    let folder = folder();
    let good = json!({"name": "a.good.one", "description": "x", "handler": "handlers/one.js"});
    let mistakes = read(
        folder.path(),
        json!([
            good, good,
            {"name": "no.handler", "description": "x"},
            {"name": "away", "description": "x", "handler": "gone.js", "timeoutMs": 1},
            {"name": "a.folder", "description": "x", "handler": "handlers"},
            {"name": "nothing", "description": "x", "handler": "empty.js"},
            {"name": "1", "description": "x", "handler": "handlers/one.js"},
            {"name": "dynamic.tool.create", "description": "x", "handler": "handlers/one.js"},
            {"name": "inline", "description": "x", "handler": "handlers/one.js", "code": "return"},
            {"name": "typo", "descripton": "x", "handler": "handlers/one.js"},
            {"name": "snake", "description": "x", "handler": "two.py"},
            {"name": "forbidden", "description": "x", "handler": "handlers/one.js",
             "image": "evil:latest"},
            {"name": "bad.schema", "description": "x", "handler": "handlers/one.js",
             "inputSchema": {"type": 7}},
            {"name": "bad.tenant", "description": "x", "handler": "handlers/one.js", "tenant": "/"},
            {"description": "x", "handler": "handlers/one.js"},
            "text",
        ]),
    );
    let text = mistakes.unwrap_err().join("\n");
    let text = text.replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!("mistakes", text);
}

#[test]
fn more_tools_than_a_tenant_may_have_are_refused() {
    let folder = folder();
    let tool = |number: usize, tenant: &str| {
        json!({"name": format!("tool{number}"), "description": "x", "handler": "handlers/one.js",
               "tenant": tenant})
    };
    let of_two = [tool(1, "a"), tool(2, "a"), tool(3, "a"), tool(1, "b")];
    read(folder.path(), Json::from(of_two.to_vec())).unwrap();
    let of_one: Vec<Json> = (0..4).map(|number| tool(number, "a")).collect();
    let text = read(folder.path(), Json::from(of_one))
        .unwrap_err()
        .join("\n");
    assert!(
        text.contains("4 tools for tenant a, and 3 are allowed"),
        "{text}"
    );
}

#[test]
fn a_file_is_read_again() {
    let folder = folder();
    let path = folder.path().join("config.toml");
    let write = |tools: &str| fs::write(&path, format!("{tools}\n[http]\nport = 1\n")).unwrap();
    let tool =
        "[[tools]]\nname = \"one.tool\"\ndescription = \"x\"\nhandler = \"handlers/one.js\"\n";
    write(tool);
    let list = of_file(&path).unwrap();
    let source = Source::File(path.clone());
    let declared = Declared::new(&list, source, Service::Registry, rules()).unwrap();
    assert_eq!(declared.tools.as_ref().unwrap().len(), 1);

    fs::write(folder.path().join("handlers/one.js"), "return 11;").unwrap();
    let again = declared.read_again().unwrap();
    assert_eq!(&*again.tools.unwrap()[0].draft.code, "return 11;");
    write("tools = []");
    assert_eq!(declared.read_again().unwrap().tools.unwrap().len(), 0);
    write("");
    assert!(declared.read_again().unwrap().tools.is_none());
    for wrong in [
        "tools = 3",
        "tools = [1]",
        "[tools.one]\nhandler = \"x\"",
        "tools = [",
        "[[tools]]",
    ] {
        write(wrong);
        declared.read_again().expect_err(wrong);
    }
    fs::remove_file(&path).unwrap();
    let gone = declared.read_again().unwrap_err().to_string();
    assert!(gone.contains("cannot be read"), "{gone}");
}
