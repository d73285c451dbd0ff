//! The page about this engine names exactly what the code finds.

use std::collections::BTreeSet;

use super::isolate;
use super::suite::run::run;

const PAGE: &str = include_str!("../../../../docs/isolate-engine.md");

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The globals by the page: the words of its one block, and the first column of the table below it.
fn of_the_page() -> BTreeSet<&'static str> {
    let (_, rest) = PAGE.split_once("```text\n").unwrap();
    let (block, rest) = rest.split_once("```").unwrap();
    let (_, table) = rest.split_once("| global | notes |").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    block
        .split_whitespace()
        .chain(first.flat_map(quoted))
        .collect()
}

async fn names(code: &str) -> Vec<String> {
    let engine = isolate().await;
    let value = run(&engine, code).await.value().unwrap();
    engine.shutdown().await;
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn the_page_names_every_global_and_no_other() {
    let found = names("return Object.getOwnPropertyNames(globalThis)").await;
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, of_the_page());
}

/// And what the globals offer that are not ECMAScript's, as far as they are no classes of the web.
#[tokio::test]
async fn the_page_names_what_the_globals_offer() {
    let found = names(
        "const own = (it) => Object.getOwnPropertyNames(it).filter((name) => \
         !['length', 'name', 'prototype', 'constructor'].includes(name)); \
         return [...own(console), ...own(performance), ...own(URL), ...own(AbortSignal), \
         ...own(Object.getPrototypeOf(crypto)), ...own(crypto)]",
    )
    .await;
    assert!(found.len() > 20, "{found:?}");
    let named: BTreeSet<&str> = quoted(PAGE).collect();
    let missing: Vec<_> = found
        .iter()
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// The claims about the language, each tried.
#[tokio::test]
async fn the_page_is_right_about_the_language() {
    let claims = [
        "typeof Intl === 'undefined' && typeof Temporal === 'undefined'",
        "typeof WebAssembly === 'undefined'",
        "(1234.5).toLocaleString() === '1234.5'",
        "/(?<=a)(?<n>b)/.exec('ab').groups.n === 'b' && /[\\p{L}--[a-z]]/v.test('Z')",
        "[1, 2].values().map((it) => it * 2).toArray().join() === '2,4'",
        "new Set([1]).union(new Set([2])).size === 2",
        "typeof Promise.withResolvers === 'function' && typeof Promise.try === 'function'",
        "new ArrayBuffer(1, {maxByteLength: 8}).resizable",
        "Uint8Array.fromBase64('aGk=').length === 2 && Error.isError(new Error())",
        "class A { #x = 1; static has(it) { return #x in it } }; A.has(new A())",
        "{ using it = {[Symbol.dispose]() {}}; } true",
        "2n ** 64n === 18446744073709551616n",
    ];
    for claim in claims {
        let code = format!("return [`${{eval({claim:?})}}`]");
        assert_eq!(names(&code).await, ["true"], "{claim}");
    }
    // Nobody could wake it.
    let code = "try { return [Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)] } \
                catch (error) { return [error.name] }";
    let ended = names(code).await;
    assert!(
        ["timed-out", "TypeError"].contains(&&*ended[0]),
        "{ended:?}"
    );
}
