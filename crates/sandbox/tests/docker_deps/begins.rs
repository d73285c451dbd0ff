//! Code of stored tools that begins before its call: in the same world, with the same result, and only as
//! far as it is the same in each call.

use std::time::Duration;

use domain::runner::Call;
use domain::tool::{Isolation, Runtime};
use domain::{ErrorCode, Lockfile, Revision};
use serde_json::{Value, json, value::RawValue};
use tokio::time::sleep;

use crate::ahead::rig;
use crate::rig::{PYTHON, Rig, call};
use crate::server::{Server, wheel};

/// How far the agent lets code begin: the very part of it, in the image's own Python.
#[tokio::test(flavor = "multi_thread")]
async fn code_begins_only_as_far_as_it_is_the_same_in_each_call() {
    let agent = include_str!("../../guest/python/11-same.py");
    let cases = include_str!("begins.py");
    let daemon = testkit::docker::daemon();
    let run = ["run", "--rm", "--network", "none", PYTHON];
    let page = include_str!("../../../../docs/dependencies.md");
    let (_, example) = page.split_once("```python\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    // It is part of a list.
    let example: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line))
        .collect();
    let example = example.join("\n");
    let python = ["python3", "-B", "-c", cases, agent, &example];
    let said = daemon.run(&[&run[..], &python].concat()).await;
    assert!(said.trim().ends_with(" are right"), "{said}");
}

/// Tells when its classes were made, and what it is used for first takes its time.
const MODEL: &str = "import time\n\
    class Base:\n    def __init_subclass__(cls, **more):\n        cls.at = time.monotonic()\n        cls.more = more\n\
    def Field(**more):\n    return more\n\
    def age(cls):\n    return time.monotonic() - cls.at\n\
    class Loud:\n    def __init_subclass__(cls):\n        print('made')\n\
    class Broken:\n    def __init_subclass__(cls):\n        raise ValueError('cannot be made')\n";

const BEGINS: &str = "import json\nfrom model import Base, Field, age\n\
    class Row(Base, table='rows'):\n    \"\"\"A row.\"\"\"\n    n: int = Field(gt=0)\n    \
    def told(self):\n        return type(self).__name__\n\
    seen = []\n";

fn stored(wanted: &[(&str, &str)], lock: &Lockfile, code: &str, args: &Value) -> Call {
    Call {
        revision: Some(Revision(1)),
        args: RawValue::from_string(args.to_string()).unwrap(),
        ..call(Runtime::Python, wanted, Some(lock), code)
    }
}

/// Waits until a container has had time to wait in.
async fn until_old(rig: &Rig) {
    rig.until_full().await;
    sleep(Duration::from_millis(1_200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_41_classes_are_made_before_the_call_and_the_code_is_what_it_is_without() {
    let server = Server::start().await;
    let bytes = wheel("model", &[], &[("model.py", MODEL.as_bytes())]);
    server.pypi("model", &[("model-1.0-py3-none-any.whl", &bytes)]);
    let rig = rig(&server, |settings| {
        settings.shared_tools = vec!["shared".to_owned()];
    })
    .await;
    let wanted = [("model", "1.0")];
    let lock = rig.resolve(Runtime::Python, &wanted).await.unwrap();
    let stored = |code: &str, args: Value| stored(&wanted, &lock, code, &args);
    let code = format!(
        "{BEGINS}seen.append(args['x'])\nprint('said', seen)\n\
         return [age(Row), seen, [Row().told(), ctx.tool.name], Row.more, Row.n, __name__, json.dumps(Row.__doc__)]"
    );
    let mut ages = Vec::new();
    for round in 0..3 {
        let outcome = rig.run(stored(&code, json!({"x": round}))).await.unwrap();
        let value = outcome.result.unwrap().unwrap();
        let value: Vec<Value> = serde_json::from_str(value.get()).unwrap();
        ages.push(value[0].as_f64().unwrap());
        let expected = json!([[round], ["Row", "test.tool"], {"table": "rows"}, {"gt": 0}, "__main__", "\"A row.\""]);
        assert_eq!(json!(value[1..]), expected, "round {round}");
        assert_eq!(outcome.printed.len(), 1, "{:?}", outcome.printed);
        until_old(&rig).await;
    }
    assert!(ages[0] < 1.0 && ages[1] > 1.0 && ages[2] > 1.0, "{ages:?}");

    // What fails later fails at its own line; what it awaits and that it is cancelled is as ever.
    let failing =
        format!("{BEGINS}import asyncio\nawait asyncio.sleep(0)\nraise ValueError(args['x'])");
    let hanging = format!("{BEGINS}import asyncio\nawait asyncio.sleep(60)");
    let mut told = Vec::new();
    for _ in 0..2 {
        let outcome = rig
            .run(stored(&failing, json!({"x": "why"})))
            .await
            .unwrap();
        assert_eq!(outcome.result.unwrap_err().message, "why");
        told.push(format!("{:?}", outcome.printed));
        let mut hanging = stored(&hanging, json!({}));
        hanging.limits.timeout = Duration::from_secs(2);
        let outcome = rig.run(hanging).await.unwrap();
        assert_eq!(outcome.result.unwrap_err().code, ErrorCode::Timeout);
        until_old(&rig).await;
    }
    assert!(
        told[0].contains("line 11") && told[0] == told[1],
        "{told:?}"
    );

    // One-off code has its packages loaded, and begins with its call.
    let once = format!("{BEGINS}return age(Row)");
    for _ in 0..2 {
        let call = Call {
            revision: None,
            ..stored(&once, json!({}))
        };
        assert!(rig.value(call).await.as_f64().unwrap() < 1.0);
        until_old(&rig).await;
    }

    // The first call of a container that is kept goes on with it; each one after it begins anew.
    let code = format!("{BEGINS}seen.append(args['x'])\nreturn [age(Row), seen]");
    let plain = stored(&code, json!({"x": 0}));
    rig.value(plain).await;
    until_old(&rig).await;
    let mut shared = Vec::new();
    for x in 1..=3 {
        let call = Call {
            tool: "shared".to_owned(),
            isolation: Isolation::Tool,
            ..stored(&code, json!({ "x": x }))
        };
        let value = rig.value(call).await;
        assert_eq!(value[1], json!([x]));
        shared.push(value[0].as_f64().unwrap() > 1.0);
    }
    assert_eq!(shared, [true, false, false]);
    assert_eq!(rig.loads("python", &["unfit", "late", "died", "busy"]), 0);

    // Classes that print or fail are made by the call, as ever.
    for (base, printed, error) in [("Loud", 1, None), ("Broken", 0, Some("cannot be made"))] {
        let code = format!("from model import {base}\nclass Row({base}):\n    pass\nreturn 1");
        let unfit = rig.loads("python", &["unfit"]);
        for round in 1..=4 {
            let outcome = rig.run(stored(&code, json!({}))).await.unwrap();
            let failed = outcome.result.err().map(|it| it.message);
            assert_eq!(failed.as_deref(), error);
            assert!(outcome.printed.len() >= printed, "{:?}", outcome.printed);
            let tries = unfit + round.min(3);
            rig.until_loads("python", &["unfit"], tries, 30).await;
        }
        rig.until_full().await;
    }
    rig.close().await;
}
