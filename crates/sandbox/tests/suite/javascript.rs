//! What only JavaScript has: the globals of the web, values of its own, and built-ins that can be
//! replaced.

use domain::error::ErrorCode;
use domain::runner::LogLevel;
use serde_json::{Value, json};

use super::run::{Subject, run, run_call, with_args};
use super::spoken::Spoken;

pub(crate) async fn every_global_of_the_contract_is_there(it: &Spoken) {
    let engine: &Subject = &it.engine;
    let code = "const names = ['console', 'setTimeout', 'clearTimeout', 'setInterval', \
        'clearInterval', 'queueMicrotask', 'structuredClone', 'TextEncoder', 'TextDecoder', 'URL', \
        'URLSearchParams', 'atob', 'btoa', 'AbortController', 'AbortSignal', 'crypto', \
        'performance', 'Promise', 'Map', 'Proxy', 'BigInt', 'Intl'.slice(0, 0) || 'JSON']; \
        return names.filter((name) => typeof globalThis[name] === 'undefined')";
    assert_eq!(run(engine, code).await.value().unwrap(), json!([]));
}

pub(crate) async fn the_globals_do_what_the_web_says(it: &Spoken) {
    let engine: &Subject = &it.engine;
    let cases = [
        (
            "const u = new URL('../x?a=1&b=2#h', 'http://user:pw@Example.com:8080/a/b/c'); \
          u.searchParams.append('c', 'é &'); u.port = '80'; \
          return [u.href, u.host, u.origin, u.searchParams.get('b'), u.hash]",
            json!([
                "http://user:pw@example.com/a/x?a=1&b=2&c=%C3%A9+%26#h",
                "example.com",
                "http://example.com",
                "2",
                "#h"
            ]),
        ),
        (
            "try { new URL('nope') } catch (e) { return [e instanceof TypeError, URL.canParse('a:b')] }",
            json!([true, true]),
        ),
        (
            "const p = new URLSearchParams('?a=1&a=2&b=%20'); p.set('a', '3'); p.delete('x'); \
          return [p.toString(), [...p], p.has('b'), p.size, new URLSearchParams({q: 'x y'}) + '']",
            json!(["a=3&b=+", [["a", "3"], ["b", " "]], true, 2, "q=x+y"]),
        ),
        (
            "const b = new TextEncoder().encode('héé🌍\\ud800'); return [[...b], new TextDecoder().decode(b)]",
            json!([
                [104, 195, 169, 195, 169, 240, 159, 140, 141, 239, 191, 189],
                "héé🌍\u{fffd}"
            ]),
        ),
        (
            "const d = new TextDecoder(); const b = new TextEncoder().encode('a🌍b'); let s = ''; \
          for (const byte of b) s += d.decode(new Uint8Array([byte]), {stream: true}); return s + d.decode()",
            json!("a🌍b"),
        ),
        (
            "try { new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array([255])) } catch (e) { return e.name }",
            json!("TypeError"),
        ),
        (
            "return [btoa('hi'), atob('aGk='), (() => { try { atob('*') } catch (e) { return e.name } })()]",
            json!(["aGk=", "hi", "InvalidCharacterError"]),
        ),
        (
            "const a = {m: new Map([[1, {d: new Date(5)}]]), s: new Set([1]), b: new Uint8Array([1, 2]), r: /x/gi}; a.self = a; \
          const c = structuredClone(a); \
          return [c.self === c, c !== a, c.m.get(1).d.getTime(), c.s.has(1), [...c.b], String(c.r), \
          (() => { try { structuredClone(() => 1) } catch (e) { return e.name } })()]",
            json!([true, true, 5, true, [1, 2], "/x/gi", "DataCloneError"]),
        ),
        (
            "const order = []; setTimeout(() => order.push('t2'), 2); setTimeout(() => order.push('t0'), 0); \
          const gone = setTimeout(() => order.push('never'), 1); clearTimeout(gone); \
          queueMicrotask(() => order.push('m')); Promise.resolve().then(() => order.push('p')); order.push('s'); \
          await new Promise((r) => setTimeout(r, 20)); return order",
            json!(["s", "m", "p", "t0", "t2"]),
        ),
        (
            "let n = 0; await new Promise((r) => { const i = setInterval(() => { if (++n === 3) { clearInterval(i); r(); } }, 1) }); return n",
            json!(3),
        ),
        (
            "const c = new AbortController(); const seen = []; c.signal.addEventListener('abort', (e) => seen.push(e.type), {once: true}); \
          c.abort('why'); c.abort('again'); seen.push(c.signal.reason, AbortSignal.any([c.signal]).aborted); return seen",
            json!(["abort", "why", true]),
        ),
        (
            "const s = AbortSignal.timeout(30); await new Promise((r) => s.onabort = r); return s.reason.name",
            json!("TimeoutError"),
        ),
        (
            "const b = crypto.getRandomValues(new Uint32Array(4)); return [b.length, new Set(b).size > 1, \
          /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID())]",
            json!([4, true, true]),
        ),
        (
            "const a = performance.now(); await new Promise((r) => setTimeout(r, 5)); const t = performance.now() - a; return t >= 4 && t < 2000",
            json!(true),
        ),
    ];
    for (code, wanted) in cases {
        assert_eq!(run(engine, code).await.value(), Some(wanted), "{code}");
    }
}

/// Values whose JSON the language's own rules make.
pub(crate) async fn values_of_javascript_are_what_its_json_says(it: &Spoken) {
    let engine: &Subject = &it.engine;
    let values: [(&str, Value); 8] = [
        ("return new Date(0)", json!("1970-01-01T00:00:00.000Z")),
        ("return {toJSON() { return 'own' }}", json!("own")),
        (
            "Object.prototype.polluted = 1; return {own: 2}",
            json!({"own": 2}),
        ),
        ("return new Proxy([1, 2], {})", json!([1, 2])),
        (
            "return Object.create({inherited: 1}, {own: {value: 2, enumerable: true}})",
            json!({"own": 2}),
        ),
        ("return new Map([[1, 2]])", json!({})),
        (
            "Array.prototype[Symbol.iterator] = null; console.log('x'); ctx.log('info', 1); return 3",
            json!(3),
        ),
        ("return {a: undefined, b: () => 1}", json!({})),
    ];
    for (code, wanted) in values {
        assert_eq!(run(engine, code).await.value(), Some(wanted), "{code}");
    }
    let patched = "Error.prototype.toString = Error.prototype.message = null; \
                   Object.defineProperty(Error.prototype, 'name', {get() { throw 1 }}); throw new Error('told')";
    let told = run(engine, patched).await;
    assert_eq!(told.failure(ErrorCode::ToolFailed).message, "told");
    let thrown = run(engine, "throw 'just text'").await;
    assert_eq!(thrown.failure(ErrorCode::ToolFailed).message, "just text");
    let thrown = run(engine, "throw {reason: 7}").await;
    let message = &thrown.failure(ErrorCode::ToolFailed).message;
    assert!(message.contains(r#"{"reason":7}"#), "{message}");
    let own = r#"{"__proto__":{"x":1}}"#;
    let ended = run_call(engine, with_args("return Object.keys(args)", own)).await;
    assert_eq!(ended.value(), Some(json!(["__proto__"])));
}

/// Code that replaces what the globals are made of harms itself only: nothing it says is taken for
/// a sandbox that broke out.
pub(crate) async fn fault_70_replaced_builtins_are_the_codes_own_matter(it: &Spoken) {
    let engine: &Subject = &it.engine;
    let code = "Number.isFinite = () => true; try { ctx.progress(Infinity, Infinity) } catch {} \
                try { ctx.progress(1, Infinity) } catch { ctx.progress(1) } \
                Array.prototype.includes = () => true; \
                try { ctx.log('no level', 1) } catch {} JSON.stringify = () => 'not JSON'; ctx.log('info', 2); \
                String.prototype.toWellFormed = () => 5; ctx.progress(2, 3, '\\ud800'); \
                return {a: 1}";
    let ended = run(engine, code).await;
    assert_eq!(ended.value(), Some(json!({"a": 1})));
    let reported: Vec<_> = ended.progress.iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(reported, [(1.0, None), (2.0, Some(3.0))]);
    assert_eq!(ended.logs, [(LogLevel::Info, json!(2))]);
}
