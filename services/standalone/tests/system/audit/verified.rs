//! `audit verify` on the log of a real process: whatever is done to its files has a place.

use std::path::{Path, PathBuf};

use serde_json::json;
use testkit::mcp::Era;

use super::copy::audit;
use super::{ON, log_in, tool};
use crate::deployment::{Deployment, Kind};

fn aside(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// What is done to the files of a log.
type Deed = fn(&Path);

fn change(path: &Path, number: u32, deed: impl FnOnce(&mut Vec<String>)) {
    let path = if number == 0 {
        path.to_owned()
    } else {
        aside(path, number)
    };
    let mut lines = lines(&path);
    deed(&mut lines);
    std::fs::write(path, lines.concat()).unwrap();
}

#[tokio::test]
async fn the_first_line_that_is_wrong_is_named() {
    let env = [
        ON,
        ("MCP_AUDIT_MAX_FILE_BYTES", "10000"),
        ("MCP_AUDIT_MAX_FILES", "3"),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let client = deployment.client(Era::Modern);
    client.ok("dynamic.tool.create", tool("rotated.one")).await;
    for n in 0..80 {
        client.ok("rotated.one", json!({"n": n + 10})).await;
    }
    let folder = deployment.stop_keeping().await;
    let path = log_in(folder.path());
    let files = [
        aside(&path, 3),
        aside(&path, 2),
        aside(&path, 1),
        path.clone(),
    ];
    let whole: Vec<String> = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let ended = audit(folder.path(), &["verify"]).await;
    ended.assert(0, &[]);
    assert!(ended.out.contains("in 4 files"), "{ended:?}");
    let deeds: &[(&str, Deed, &str)] = &[
        (
            "changed",
            |path| {
                change(path, 2, |lines| {
                    lines[4] = lines[4].replacen("dynamic", "dynamoc", 1)
                })
            },
            "audit.log.2:5: ",
        ),
        (
            "removed",
            |path| change(path, 1, |lines| drop(lines.remove(6))),
            "audit.log.1:7: ",
        ),
        (
            "moved",
            |path| change(path, 0, |lines| lines.swap(2, 3)),
            "audit.log:3: ",
        ),
        (
            "put in",
            |path| {
                change(path, 3, |lines| {
                    lines.insert(3, "{\"action\":\"mine\"}\n".to_owned())
                })
            },
            "audit.log.3:4: ",
        ),
        (
            "beheaded",
            |path| change(path, 3, |lines| drop(lines.remove(0))),
            "audit.log.3:1: ",
        ),
        (
            "cut",
            |path| {
                change(path, 0, |lines| {
                    let last = lines.last_mut().unwrap();
                    last.truncate(last.len() / 2);
                })
            },
            "this line does not end",
        ),
        (
            "a file is gone",
            |path| {
                std::fs::remove_file(aside(path, 1)).unwrap();
                std::fs::rename(aside(path, 2), aside(path, 1)).unwrap();
                std::fs::rename(aside(path, 3), aside(path, 2)).unwrap();
            },
            "audit.log:1: ",
        ),
        (
            "files are swapped",
            |path| {
                std::fs::rename(aside(path, 1), path.with_extension("x")).unwrap();
                std::fs::rename(aside(path, 2), aside(path, 1)).unwrap();
                std::fs::rename(path.with_extension("x"), aside(path, 2)).unwrap();
            },
            "audit.log.2:1: ",
        ),
        (
            "a line too long",
            |path| {
                change(path, 0, |lines| {
                    lines.push(format!("{}\n", "x".repeat(3 << 20)))
                })
            },
            "too long",
        ),
    ];
    for (what, deed, named) in deeds {
        for (file, text) in files.iter().zip(&whole) {
            std::fs::write(file, text).unwrap();
        }
        deed(&path);
        let ended = audit(folder.path(), &["verify"]).await;
        assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
        assert!(ended.out.contains(named), "{what}: {ended:?}");
    }
    // Named one by one, in whatever order the shell gives them.
    for (file, text) in files.iter().zip(&whole) {
        std::fs::write(file, text).unwrap();
    }
    let names: Vec<String> = files
        .iter()
        .rev()
        .map(|file| file.display().to_string())
        .collect();
    let words: Vec<&str> = std::iter::once("verify")
        .chain(names.iter().map(String::as_str))
        .collect();
    audit(folder.path(), &words).await.assert(0, &[]);
    std::fs::write(&path, b"\xff\xfe\n").unwrap();
    audit(folder.path(), &["verify", &names[0]])
        .await
        .assert(2, &["nothing to verify"]);
}
