//! The Dockerfiles: one set of stages that compiles, and the version of the workspace.

use super::root;

fn dockerfile(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The stages that compile, without the comment before them.
fn compiles(text: &str) -> &str {
    let from = text.find("ARG BUILDER_IMAGE").unwrap();
    let to = text.find("FROM scratch AS folder").unwrap();
    &text[from..to]
}

/// A builder does the same stages once: a difference of a letter would compile everything twice.
#[test]
fn both_dockerfiles_compile_in_the_same_stages() {
    let (gateway, executor) = (
        dockerfile("Dockerfile.gateway"),
        dockerfile("Dockerfile.executor"),
    );
    assert!(compiles(&gateway).contains("cargo build --locked --release"));
    assert_eq!(compiles(&gateway), compiles(&executor));
}

/// What an image says when nobody tells it another: a plain `docker build` does not.
#[test]
fn images_have_the_version_of_the_workspace() {
    for name in ["Dockerfile.gateway", "Dockerfile.executor"] {
        let text = dockerfile(name);
        let versions: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("ARG VERSION="))
            .collect();
        assert_eq!(versions, [env!("CARGO_PKG_VERSION"); 2], "{name}");
    }
}

/// Settings of cargo are part of what is built: without them an image would have another program than a
/// release.
#[test]
fn images_are_built_with_the_settings_of_cargo() {
    assert!(root().join(".cargo/config.toml").is_file());
    let kept = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    assert!(kept.lines().any(|line| line == "!.cargo/config.toml"));
    for name in ["Dockerfile.gateway", "Dockerfile.executor"] {
        let text = dockerfile(name);
        assert!(compiles(&text).contains("\nCOPY .cargo .cargo\n"), "{name}");
        assert!(compiles(&text).contains("! -path './.cargo/*'"), "{name}");
    }
}
