//! Data that an operator gives to every sandbox.

use std::os::unix::fs::PermissionsExt as _;

use domain::DataMount;
use domain::error::ErrorCode;
use domain::runner::Call;
use domain::tool::Runtime;
use sandbox::docker::DockerEngineSettings;
use serde_json::json;
use testkit::docker::PYTHON_IMAGE;

use crate::rig::{Rig, job, settings};
use crate::suite::run::{IMAGE, call, run_call};

/// What the code of a call can do with a folder: everything that reads, nothing that writes.
const TRIES: &str = "\
const fs = require('fs');
const refused = (what) => { try { what(); return 'done'; } catch (error) { return error.code; } };
return {
  read: fs.readFileSync('/data/models/weights.txt', 'utf8'),
  listed: fs.readdirSync('/data/models'),
  folders: fs.readdirSync('/data'),
  written: refused(() => fs.writeFileSync('/data/models/weights.txt', 'mine')),
  made: refused(() => fs.writeFileSync('/data/models/new.txt', 'mine')),
  open: refused(() => fs.writeFileSync('/data/models/open/new.txt', 'mine')),
  removed: refused(() => fs.unlinkSync('/data/models/weights.txt')),
  renamed: refused(() => fs.renameSync('/data/models/weights.txt', '/data/models/b.txt')),
  changed: refused(() => fs.chmodSync('/data/models/weights.txt', 0o777)),
  beside: refused(() => fs.mkdirSync('/data/other')),
};";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_data_of_the_operator_is_read_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    let file = folder.path().join("weights.txt");
    std::fs::write(&file, "0.25").unwrap();
    std::fs::create_dir(folder.path().join("open")).unwrap();
    // Whoever may write to it on the machine: the mount is the wall, not the mode.
    for path in [folder.path(), &file, &folder.path().join("open")] {
        open(path);
    }
    let mount = format!("models={}", folder.path().display());
    let rig = Rig::with(DockerEngineSettings {
        allowed_images: vec![IMAGE.to_owned(), PYTHON_IMAGE.to_owned()],
        data_mounts: vec![DataMount::parse(&mount).unwrap()],
        ..settings()
    })
    .await;
    let ended = run_call(&rig.engine, call(TRIES)).await;
    let expected = json!({
        "read": "0.25", "listed": ["open", "weights.txt"], "folders": ["models"],
        "written": "EROFS", "made": "EROFS", "open": "EROFS", "removed": "EROFS",
        "renamed": "EROFS", "changed": "EROFS", "beside": "EROFS",
    });
    assert_eq!(ended.value(), Some(expected));
    let python = Call {
        runtime: Runtime::Python,
        image: PYTHON_IMAGE.to_owned(),
        ..call("return open('/data/models/weights.txt').read()")
    };
    let ended = run_call(&rig.engine, python).await;
    assert_eq!(ended.value(), Some(json!("0.25")));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "0.25");
    rig.close().await;
}

/// A folder that the machine has not got: calls say which, and nothing is made in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_data_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let away = folder.path().join("away");
    let mount = format!("models={}", away.display());
    let rig = Rig::with(DockerEngineSettings {
        data_mounts: vec![DataMount::parse(&mount).unwrap()],
        ..settings()
    })
    .await;
    let error = rig.engine.start(job(call("return 1"))).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("MCP_SANDBOX_DATA_MOUNTS") && text.contains("`models`"),
        "{text}"
    );
    assert!(
        !text.contains("away"),
        "callers need not know the machine: {text}"
    );
    assert!(!away.exists(), "the daemon made it");
    rig.close().await;
}
