use proptest::prelude::*;

use super::*;

fn dependency(name: &str, version: &str) -> Dependency {
    Dependency {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

#[test]
fn npm_ranges() {
    for good in [
        "1.2.3",
        "^1.2.0",
        "~1.2",
        ">=1.2.3 <2.0.0",
        "1.x",
        "*",
        "1 - 2",
        "1.0.0-rc.1",
        "^1 || ^2",
        "=1.2.3+b.1",
        "v1.2.3",
        "0.0.0-experimental-af1b7da-20220426",
        "1.2.3 || 2 - 3",
    ] {
        assert!(npm::is_range(good), "{good}");
    }
}

/// Everything that npm or pip would read as an address, an alias, a tag, a file or an option.
#[test]
fn fault_64_addresses_aliases_tags_files_and_options_are_no_versions() {
    let bad = [
        "latest",
        "next",
        "",
        " ",
        "npm:pm2@1",
        "NPM:pm2",
        "git+ssh://x",
        "git://x",
        "https://x/y.tgz",
        "http://x",
        "file:../x",
        "file:x",
        "link:x",
        "workspace:*",
        "catalog:",
        "--flag",
        "-e .",
        "-r x",
        "1.2.3; rm",
        "user/repo",
        "github:u/r",
        "1.2.3.4.5/",
        "||",
        "^",
        "../x",
        "./x",
        "~/x",
        ".",
        "1.0.0-x.tgz",
        "1.0.0-x.TGZ",
        "1.0.0-x.tar",
        "1.0.0\n--registry=http://x",
        ">=1.0\n",
        "\n1.0",
        ">=\n1.0",
        "1.0\t",
        "1.0\u{a0}",
        "\u{2003}1.0",
        "１.０.０",
        "1.0 --pre",
        "1.0 --hash=sha256:00",
        "1.0 ; python_version<'3'",
        "1.0 # x",
        "@ https://x",
        "@1",
        "1.0\0",
        "==1.0 --index-url http://x",
        "1.0\\",
        "$HOME",
        "${X}",
        "%00",
        "x".repeat(129).as_str(),
        "99999999999999999999",
    ]
    .map(str::to_owned);
    // For pip this is the version of somebody's own build.
    assert!(!npm::is_range("1.0.0+x.tar.gz") && pypi::is_specifier("1.0.0+x.tar.gz"));
    for bad in bad {
        for runtime in [Runtime::Node, Runtime::Python] {
            let error = dependency("x", &bad)
                .check("dependencies/0", runtime)
                .unwrap_err();
            assert_eq!(error.field(), Some("dependencies/0/version"), "{bad:?}");
        }
    }
}

#[test]
fn fault_64_what_is_no_name_is_no_package() {
    for good in ["lodash", "@scope/pkg", "a.b-c_d~e"] {
        assert!(npm::is_name(good), "{good}");
    }
    for bad in [
        "",
        "PM2",
        "../x",
        "@scope",
        "@/x",
        "@a/b/c",
        "a b",
        "-x",
        "--global",
        ".x",
        "_x",
        "a@1",
        "a/b",
        "x\n",
        "é",
        "node_modules",
        "@node_modules/x",
        "http://x",
        "a:b",
        "a#b",
        "a%2fb",
        "x\\y",
    ] {
        assert!(!npm::is_name(bad), "{bad:?}");
        assert!(
            !pypi::is_name(bad) || bad == "PM2" || bad == "node_modules",
            "{bad:?}"
        );
    }
    assert!(pypi::is_name("ruamel.yaml"));
    for bad in ["-e", "x y", "x[extra]", "x;y", "x@y", ".x", "x-", "x==1"] {
        assert!(!pypi::is_name(bad), "{bad:?}");
    }
    assert!(npm::is_old_name("JSONStream") && !npm::is_name("JSONStream"));
}

#[test]
fn pypi_versions() {
    for good in [
        "1.2.3",
        ">=1.2,<2",
        "1!2.0.post1",
        "==1.*",
        "!=1.5.*",
        "~=1.4",
        "1.0a1",
        "1.0.dev3",
        "1.0rc1",
        "1.0-1",
        "2.0.0b2.post1.dev3",
        "1.0+local.1",
        ">= 1.2, < 2",
        "2024.1",
        "v1.0",
    ] {
        assert!(pypi::is_specifier(good), "{good}");
    }
    for bad in [
        "latest",
        "1..2",
        "~=1",
        ">=1.*",
        "===1",
        "1.0*",
        "*",
        "1.0.x",
        ">",
        "1,",
        "1.0+",
        "1.0+a..b",
        "1.0foo",
        "1!",
        "!1",
        "~=1.0.*",
        "==1.0+x.*",
    ] {
        assert!(!pypi::is_specifier(bad), "{bad}");
    }
    assert_eq!(pypi::requirement("1.2"), "==1.2");
    assert_eq!(pypi::requirement(">= 1.2, 3"), ">=1.2,==3");
    assert_eq!(pypi::canonical("Ruamel__YAML.x"), "ruamel-yaml-x");
}

#[test]
fn what_published_packages_need_comes_from_the_registry() {
    for good in [
        "^1.0.0",
        "*",
        "",
        "latest",
        "npm:string-width@^4.2.0",
        "npm:@a/b@1",
        "npm:x",
        ">= 1.2 < 2",
    ] {
        assert!(npm::is_registry_spec(good), "{good}");
    }
    for bad in [
        "git+https://x/y",
        "u/r",
        "file:../x",
        "https://x/y.tgz",
        "link:x",
        "github:u/r",
        "workspace:*",
        "npm:../x@1",
        "npm:x@file:y",
        "./x.tgz",
        "x.tgz",
        "git@host:u/r",
        "u/r#branch",
    ] {
        assert!(!npm::is_registry_spec(bad), "{bad}");
    }
}

proptest! {
    /// Whatever passes is made of characters that mean nothing to a shell, a URL, a path or a
    /// configuration file.
    #[test]
    fn fault_64_what_passes_is_harmless(text in "[-0-9a-zA-Z.^~<>=|*+!, xv:/@#\\n\\t\u{a0}-]{0,24}") {
        for good in [npm::is_range(&text), pypi::is_specifier(&text)] {
            if good {
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b" .^~<>=|*+!,-".contains(&b)));
                prop_assert!(!text.starts_with(['-', '.', ' ']) && !text.ends_with(' '));
                prop_assert!(text.contains(|c: char| c.is_ascii_digit() || "xX*".contains(c)));
            }
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,200}") {
        for runtime in [Runtime::Node, Runtime::Python] {
            // A number is both a name and a version.
            let passes = dependency(&text, &text).check("x", runtime).is_ok();
            prop_assert!(!passes || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte)));
        }
        prop_assert!(pypi::requirement(&text).len() <= 3 * text.len() + 2);
        prop_assert!(!npm::is_version(&text) || npm::is_range(&text));
    }
}
