//! The build script's questions to git, in repositories made for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::git::{Found, commit};

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

fn sources(folder: &Path) {
    for name in ["crates/one/src", "services", "proto"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "crates/one/src/lib.rs",
    ] {
        fs::write(folder.join(name), "1\n").unwrap();
    }
}

fn repository() -> (TempDir, PathBuf) {
    let temp = TempDir::new().unwrap();
    let root = temp.path().join("sources");
    sources(&root);
    git(&root, &["init", "-q", "-b", "main"]);
    record(&root);
    (temp, root)
}

fn record(root: &Path) -> String {
    git(root, &["add", "-A"]);
    git(root, &["commit", "-q", "--allow-empty", "-m", "one more"]);
    git(root, &["rev-parse", "HEAD"])
}

fn found(root: &Path) -> Found {
    commit("git", root).unwrap()
}

/// The youngest of these, as cargo looks: folders with all that is in them.
fn youngest(paths: &[PathBuf]) -> SystemTime {
    let below = |path: &PathBuf| {
        let inner: Vec<PathBuf> = fs::read_dir(path)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        if inner.is_empty() {
            SystemTime::UNIX_EPOCH
        } else {
            youngest(&inner)
        }
    };
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    paths
        .iter()
        .map(|path| modified(path).max(below(path)))
        .max()
        .unwrap()
}

/// Whether cargo runs the build script again after this.
fn seen(found: &Found, change: impl FnOnce()) -> bool {
    let before = youngest(&found.watch);
    sleep(Duration::from_millis(20));
    change();
    found.watch.iter().any(|path| !path.exists()) || youngest(&found.watch) > before
}

#[test]
fn a_clean_tree_is_its_commit_until_a_source_changes() {
    let (_temp, root) = repository();
    let clean = found(&root);
    assert_eq!(clean.commit, git(&root, &["rev-parse", "HEAD"]));
    assert!(!seen(&clean, || fs::write(root.join("README.md"), "2\n").unwrap()));
    assert!(!seen(&clean, || drop(git(&root, &["status"]))));
    assert_eq!(
        found(&root).commit,
        clean.commit,
        "the page is compiled into nothing"
    );

    assert!(seen(&clean, || fs::write(
        root.join("crates/one/src/lib.rs"),
        "2\n"
    )
    .unwrap()));
    assert_eq!(found(&root).commit, format!("{}-dirty", clean.commit));
    git(&root, &["checkout", "-q", "--", "crates"]);
    assert_eq!(found(&root).commit, clean.commit);

    let clean = found(&root);
    assert!(seen(&clean, || fs::write(root.join("services/new.rs"), "")
        .unwrap()));
    assert_eq!(
        found(&root).commit,
        format!("{}-dirty", clean.commit),
        "a file that git does not know"
    );
    fs::remove_file(root.join("services/new.rs")).unwrap();

    let clean = found(&root);
    assert!(seen(&clean, || fs::remove_file(root.join("Cargo.lock")).unwrap()));
    assert_eq!(found(&root).commit, format!("{}-dirty", clean.commit));
}

#[test]
fn a_dirty_tree_is_looked_at_again_with_a_commit_or_a_checkout() {
    let (_temp, root) = repository();
    let file = root.join("crates/one/src/lib.rs");
    fs::write(&file, "2\n").unwrap();
    let dirty = found(&root);
    assert!(dirty.commit.ends_with("-dirty"));
    assert!(
        !seen(&dirty, || fs::write(&file, "3\n").unwrap()),
        "compiled again with each change"
    );
    assert!(seen(&dirty, || drop(git(
        &root,
        &["checkout", "-q", "--", "crates"]
    ))));
    assert!(!found(&root).commit.ends_with("-dirty"));

    fs::write(&file, "4\n").unwrap();
    let dirty = found(&root);
    let mut head = String::new();
    assert!(seen(&dirty, || head = record(&root)));
    assert_eq!(found(&root).commit, head);
}

#[test]
fn packed_refs_worktrees_and_no_branch_at_all() {
    let (temp, root) = repository();
    let first = git(&root, &["rev-parse", "HEAD"]);
    git(&root, &["pack-refs", "--all"]);
    assert!(!root.join(".git/refs/heads/main").exists());
    let packed = found(&root);
    assert_eq!(packed.commit, first);
    let mut second = String::new();
    assert!(seen(&packed, || second = record(&root)));
    assert_eq!(found(&root).commit, second);

    let tree = temp.path().join("tree");
    git(
        &root,
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "side/way",
            tree.to_str().unwrap(),
            &first,
        ],
    );
    // Git keeps no empty folders: not all that is watched in the first tree is here.
    let there = found(&tree);
    assert_eq!(there.commit, first);
    let mut third = String::new();
    assert!(seen(&there, || third = record(&tree)));
    assert_eq!(found(&tree).commit, third);
    assert_eq!(found(&root).commit, second);

    git(&tree, &["checkout", "-q", "--detach"]);
    let detached = found(&tree);
    let mut fourth = String::new();
    assert!(seen(&detached, || fourth = record(&tree)));
    assert_eq!(found(&tree).commit, fourth);
}

#[test]
fn what_is_no_repository_of_ours_has_a_reason() {
    let (temp, root) = repository();
    let plain = temp.path().join("plain");
    sources(&plain);
    let why = commit("git", &plain).unwrap_err();
    assert!(why.contains("not a git repository"), "{why}");
    let why = commit("git-that-nobody-has", &root).unwrap_err();
    assert!(
        why.starts_with("git-that-nobody-has cannot be run"),
        "{why}"
    );

    sources(&root.join("vendor/theirs"));
    let why = commit("git", &root.join("vendor/theirs")).unwrap_err();
    assert_eq!(
        why,
        "the repository around the sources is that of something else"
    );

    git(&plain, &["init", "-q"]);
    let why = commit("git", &plain).unwrap_err();
    assert!(why.contains("single revision"), "{why}");
}
