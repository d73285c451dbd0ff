use super::*;

#[test]
fn every_definition_is_complete_and_its_schemas_compile() {
    for tool in BuiltIn::all(Profile::Enterprise).unwrap() {
        let listing: Value = serde_json::from_str(&tool.listing).unwrap();
        assert!(!tool.listing.contains('\n'), "{}", tool.name());
        assert!(
            domain::name::BUILT_INS.contains(&tool.name()),
            "{}",
            tool.name()
        );
        for member in ["title", "description"] {
            assert!(!listing[member].as_str().unwrap().is_empty());
        }
        assert_eq!(listing["inputSchema"]["type"], "object");
        assert_eq!(listing["inputSchema"]["additionalProperties"], false);
        assert_eq!(listing["outputSchema"]["type"], "object", "{}", tool.name());
        let output = RawValue::from_string(listing["outputSchema"].to_string()).unwrap();
        let output = Schema::compile(Role::Output, &output).unwrap();
        let failure = serde_json::json!({
            "ok": false, "error": "x", "code": "rate_limited", "retryAfterMs": 7, "durationMs": 0
        });
        output.check(&failure).unwrap();
        if tool.kind() != Kind::RuntimeConfig && tool.runs_code().is_none() {
            output.check(&serde_json::json!({"other": 1})).unwrap_err();
        }
        assert_eq!(listing["annotations"].as_object().unwrap().len(), 4);
    }
}

#[test]
fn profiles_have_what_the_contract_says() {
    let names = |profile| -> Vec<_> {
        let all = BuiltIn::all(profile).unwrap();
        all.iter().map(BuiltIn::name).collect()
    };
    let mvp = names(Profile::Mvp);
    assert_eq!(mvp.len(), 9);
    assert!(!mvp.contains(&"dev.echo") && mvp.contains(&"run_js_ephemeral"));
    assert!(mvp.iter().all(|name| !name.starts_with("sandbox.")));
    assert_eq!(names(Profile::Enterprise).len(), 22);
}

#[test]
fn the_listing_of_each_profile_changes_on_purpose_only() {
    let all = |profile| -> Vec<Value> {
        let all = BuiltIn::all(profile).unwrap();
        let parsed = |tool: &BuiltIn| serde_json::from_str(&tool.listing).unwrap();
        all.iter().map(parsed).collect()
    };
    let enterprise = all(Profile::Enterprise);
    insta::assert_json_snapshot!("tools_list_enterprise", enterprise);
    // The smaller profile has the same definitions, so that its names say all.
    let mvp = all(Profile::Mvp);
    assert!(mvp.iter().all(|tool| enterprise.contains(tool)));
    let names: Vec<_> = mvp.iter().map(|tool| &tool["name"]).collect();
    insta::assert_json_snapshot!("tools_list_mvp", names);
}

#[test]
fn management_tools_take_the_admin_token_and_are_guarded() {
    for tool in BuiltIn::all(Profile::Enterprise).unwrap() {
        let name = tool.name();
        let managing = name.starts_with("dynamic.tool.") || name.starts_with("sandbox.");
        assert_eq!(tool.is_management(), managing);
        let one_off = matches!(name, "run_js_ephemeral" | "run_python_ephemeral");
        assert_eq!(tool.is_guarded(), managing || one_off);
        let takes = tool.listing.contains("adminToken");
        assert_eq!(takes, managing, "{}", tool.name());
    }
}

#[test]
fn a_tool_without_a_schema_of_its_own_is_listed_with_args() {
    let text = RawValue::from_string(crate::catalog::entry::ARGS_SCHEMA.to_owned()).unwrap();
    let schema = Schema::compile(Role::Input, &text).unwrap();
    for (arguments, good) in [
        ("{}", true),
        (r#"{"args":{"a":1}}"#, true),
        (r#"{"args":[]}"#, false),
        (r#"{"a":1}"#, false),
    ] {
        let value: Value = serde_json::from_str(arguments).unwrap();
        assert_eq!(schema.check(&value).is_ok(), good, "{arguments}");
        assert_eq!(
            crate::arguments::args_property(arguments).is_ok(),
            good,
            "the same rule"
        );
    }
}

#[test]
fn a_new_tool_has_defaults_and_a_patch_has_none() {
    let schema = |name: &str| -> Value {
        let all = BuiltIn::all(Profile::Mvp).unwrap();
        let tool = all.iter().find(|tool| tool.name() == name).unwrap();
        let listing: Value = serde_json::from_str(&tool.listing).unwrap();
        listing["inputSchema"]["properties"].clone()
    };
    let defaults = |properties: &Value| -> Vec<(String, Value)> {
        let properties = properties["properties"].as_object().unwrap().iter();
        let given =
            properties.filter_map(|(name, of)| Some((name.clone(), of.get("default")?.clone())));
        given.collect()
    };
    let create = defaults(&schema("dynamic.tool.create")["tool"]);
    let expected = serde_json::json!({
        "image": domain::limits::DEFAULT_IMAGE, "timeoutMs": domain::limits::DEFAULT_TIMEOUT_MS,
        "dependencies": [], "enabled": true
    });
    assert_eq!(Value::Object(create.into_iter().collect()), expected);
    assert!(defaults(&schema("dynamic.tool.update")["patch"]).is_empty());
}

#[test]
fn packages_of_either_runtime_pass_the_schema() {
    let all = BuiltIn::all(Profile::Mvp).unwrap();
    let create = all.iter().find(|tool| tool.name() == "dynamic.tool.create");
    for (runtime, package) in [("node", "@scope/left-pad"), ("python", "PyYAML")] {
        let tool = serde_json::json!({
            "name": "a.tool", "description": "d", "code": "1", "runtime": runtime,
            "dependencies": [{"name": package, "version": "1.0.0"}]
        });
        let arguments = serde_json::json!({ "tool": tool });
        create.unwrap().schema().check(&arguments).unwrap();
    }
}
