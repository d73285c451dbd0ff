"""What a client does with dynamic-mcp, step by step, once for both lines of the Python SDK.

The steps are those of ../README.md and of ../typescript/scenario.mjs. `peer` (a Peer) hides which SDK
it is; what the SDK made of an answer is looked at as JSON. Every check that does not hold ends the run.
"""

import json
import os
import re
import time

import anyio
from command_line import check

CODE_LIMIT = 200_000
ARGUMENTS = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number", "minimum": 0}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
UNICODE = "\n".join(
    [
        "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭",
        "CJK 漢字かな交じり文 한국어 𠮷野家",
        "RTL שלום עולם مرحبا بالعالم \u202eoverride\u202c",
        "combining e\u0301 n\u0303 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
        "separators \u2028 \u2029 \u00a0 \ufeff control \u0001 \u001f \u007f",
        "quotes \" ' ` ${x} \\ \\n \r\n\t </script> <!--",
    ]
)
NODE_CODE = """const os = require('node:os');
return { platform: os.platform(), version: process.version, text: Buffer.from(args.text, 'base64').toString() };"""
MANAGED = ["create", "update", "delete", "enable", "list", "get"]


def structured(result):
    return result["structuredContent"] or {}


def code_of(result):
    return structured(result).get("code")


def text_of(result):
    return "\n".join(block["text"] for block in result["content"] if block["type"] == "text")


async def connected(peer):
    check(peer.version == peer.expected_version, f"protocol {peer.expected_version} is agreed on", peer.version)
    check(peer.server_name == "dynamic-mcp", "the server says who it is", peer.server_name)
    tools = await peer.tools()
    listed = [tool["name"] for tool in tools]
    for name in ["system.health", "run_js_ephemeral", *(f"dynamic.tool.{verb}" for verb in MANAGED)]:
        check(name in listed, f"{name} is listed", listed)
    check(
        all(tool["description"] and tool["inputSchema"].get("type") == "object" for tool in tools),
        "every tool has a description and an object schema",
    )
    if peer.additions:
        for tool in tools:
            if tool["name"].startswith("dynamic.tool."):
                check(
                    tool["title"] and tool["outputSchema"] and tool["annotations"],
                    f"{tool['name']} has title, outputSchema and annotations",
                    tool,
                )
    check([tool["name"] for tool in await peer.tools()] == listed, "the order is the same twice", listed)
    health = await peer.call("system.health", {})
    check(structured(health).get("status") == "ok", "system.health is ok", health)


async def more_scopes(peer):
    """A login begins with the scope to call tools; the SDK asks for more when a refusal names it, and keeps what it had."""
    listed = [tool["name"] for tool in await peer.tools()]
    check("run_js_ephemeral" in listed and "dynamic.tool.create" not in listed, "a first token is for calls alone", listed)
    found = await peer.manage("list", {})
    check(not found["isError"], "the SDK gets the scope to read tools", found)
    gone = await peer.manage("delete", {"name": f"client.{os.getpid()}.none"})
    check(code_of(gone) == "not_found", "and the scope to write them", gone)
    again = await peer.manage("list", {})
    check(not again["isError"], "without losing the one before", again)


async def made(peer, names):
    async with peer.listening():
        before = peer.changes
        created = await peer.manage(
            "create",
            {
                "tool": {
                    "name": names["sum"],
                    "title": "Sum",
                    "description": "Adds two numbers.",
                    "code": "return { sum: args.a + args.b };",
                    **({"inputSchema": ARGUMENTS} if peer.additions else {}),
                }
            },
        )
        record = structured(created).get("tool", {})
        check(
            record.get("name") == names["sum"] and record.get("revision") == 1 and record.get("enabled") is True,
            "create answers the record",
            created,
        )
        check(record.get("codeSizeBytes") == 32 and "code" not in record, "with the size of the code, not the code", record)
        listed = await peer.tool(names["sum"])
        check(listed is not None and listed["description"] == "Adds two numbers.", "the very next list has the tool", listed)
        if peer.additions:
            check(listed["inputSchema"] == ARGUMENTS, "with its inputSchema as it was given", listed["inputSchema"])
        if (peer.capabilities.get("tools") or {}).get("listChanged"):
            with anyio.move_on_after(5):
                while peer.changes == before:
                    await anyio.sleep(0.02)
            check(peer.changes > before, "a declared tools/list_changed arrives")
    twice = await peer.manage("create", {"tool": {"name": names["sum"], "description": "Again.", "code": "return 1;"}})
    check(twice["isError"], "a second create of the name is refused", twice)
    if peer.additions:
        check(code_of(twice) == "already_exists", "with already_exists", twice)


async def called(peer, names):
    result = await peer.call(names["sum"], peer.input({"a": 2, "b": 3}))
    check(not result["isError"] and structured(result).get("ok") is True, "a call succeeds", result)
    check(structured(result)["result"] == {"sum": 5}, "with the result", result)
    check(isinstance(structured(result)["durationMs"], int), "and its duration", result)
    check(names["sum"] in text_of(result) and '"sum": 5' in text_of(result), "the text says it too", text_of(result))
    if not peer.additions:
        return
    negative = await peer.call(names["sum"], {"a": 2, "b": -1})
    check(negative["isError"] and code_of(negative) == "invalid_argument", "an argument against the schema is refused", negative)
    said = json.dumps(structured(negative)) + text_of(negative)
    check("/b" in said and "minimum" in said, "naming the path and the rule", negative)
    missing = await peer.call(names["sum"], {"a": 2})
    check(missing["isError"] and "required" in json.dumps(missing), "so is a missing one", missing)
    await chatty(peer, names["chatty"])
    await typed(peer, names["typed"])
    await blocks(peer, names["blocks"])
    await failing(peer, names["failing"])


async def chatty(peer, name):
    code = """await ctx.log('info', { step: 'begin' });
for (let i = 1; i <= 3; i += 1) {
  await ctx.progress(i, 3, 'step ' + i);
  await new Promise((done) => setTimeout(done, 60));
}
await ctx.log('warning', 'nearly done');
return ctx.tool.name + ' revision ' + ctx.tool.revision;"""
    await peer.manage("create", {"tool": {"name": name, "description": "Says what it does.", "code": code}})
    steps = []

    async def progress(done, total, message):
        steps.append((done, total, message))

    result = await peer.call(name, {"args": {}}, progress)
    check(structured(result).get("result") == f"{name} revision 1", "ctx.tool names tool and revision", result)
    check(len(steps) >= 3, "at least three progress notifications arrive", steps)
    check(all(a[0] < b[0] for a, b in zip(steps, steps[1:])), "they rise", steps)
    check(steps[-1][:2] == (3, 3) and steps[0][2] == "step 1", "with total and message", steps)
    check(("info", {"step": "begin"}) in peer.logs, "ctx.log arrives with its level and data", peer.logs)
    check(any(level == "warning" for level, _ in peer.logs), "and the second one", peer.logs)


async def typed(peer, name):
    await peer.manage(
        "create",
        {
            "tool": {
                "name": name,
                "description": "Has an output schema.",
                "code": "return { n: args.n === undefined ? 7 : args.n };",
                "inputSchema": {"type": "object", "properties": {"n": {}}},
                "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
            }
        },
    )
    await peer.tools()  # From the list the SDK learns the output schema that it checks results against.
    result = await peer.call(name, {})
    check(result["structuredContent"] == {"n": 7}, "with outputSchema the result is structuredContent", result)
    # Some SDKs check structuredContent of failures too: an error must conform, or come without.
    wrong = await peer.call(name, {"n": "seven"})
    check(wrong["isError"], "a result against outputSchema is an error", wrong)


async def blocks(peer, name):
    code = """return { content: [
  { type: 'text', text: 'first' },
  { type: 'image', data: 'iVBORw0KGgo=', mimeType: 'image/png' },
  { type: 'resource_link', uri: 'https://example.com/x', name: 'x' },
] };"""
    await peer.manage("create", {"tool": {"name": name, "description": "Answers content blocks.", "code": code}})
    result = await peer.call(name, {"args": {}})
    kinds = [block["type"] for block in result["content"]]
    check(kinds == ["text", "image", "resource_link"], "content blocks pass as they are", result)
    check(result["content"][1]["data"] == "iVBORw0KGgo=", "with their data", result)


async def failing(peer, name):
    code = 'console.log("before"); throw new Error("it broke");'
    await peer.manage("create", {"tool": {"name": name, "description": "Fails.", "code": code}})
    result = await peer.call(name, {"args": {}})
    check(result["isError"] and structured(result).get("ok") is False, "a throw is a failed call", result)
    check("it broke" in structured(result)["error"] and code_of(result) == "tool_failed", "with message and code", result)
    check("before" in json.dumps(structured(result).get("logs")), "and what was printed", result)


async def changed(peer, names):
    name, code = names["sum"], "return { product: args.a * args.b };"
    updated = await peer.manage("update", {"name": name, "patch": {"code": code}, "expectedRevision": 1})
    check(structured(updated).get("tool", {}).get("revision") == 2, "update makes revision 2", updated)
    result = await peer.call(name, peer.input({"a": 2, "b": 3}))
    check(structured(result).get("result") == {"product": 6}, "the very next call runs the new code", result)
    stale = await peer.manage("update", {"name": name, "patch": {"code": code}, "expectedRevision": 1})
    check(stale["isError"], "an old expectedRevision is refused", stale)
    if peer.additions:
        check(code_of(stale) == "revision_conflict", "with revision_conflict", stale)
    got = structured(await peer.manage("get", {"name": name})).get("tool", {})
    check(got.get("code") == code and got.get("revision") == 2, "get answers the code", got)
    entries = structured(await peer.manage("list", {})).get("tools", [])
    entry = next((tool for tool in entries if tool["name"] == name), {})
    check(entry.get("revision") == 2 and "code" not in entry, "list answers the record without code", entry)

    await peer.manage("enable", {"name": name, "enabled": False})
    check(await peer.tool(name) is None, "a disabled tool is out of the very next list")
    await refused_as_unknown(peer, name, "a disabled tool cannot be called")
    enabled = await peer.manage("enable", {"name": name, "enabled": True})
    check(structured(enabled).get("tool", {}).get("revision") == 4, "enable answers the record", enabled)
    check(await peer.tool(name) is not None, "an enabled tool is back")
    back = await peer.call(name, peer.input({"a": 4, "b": 5}))
    check(structured(back).get("result") == {"product": 20}, "and can be called", back)


async def unicode(peer, names):
    name = names["echo"]
    literal = json.dumps(UNICODE, ensure_ascii=False)
    code = f"return {{ given: args.text, own: {literal}, length: args.text.length }};"
    await peer.manage("create", {"tool": {"name": name, "title": UNICODE[:20], "description": UNICODE, "code": code}})
    listed = await peer.tool(name)
    check(listed is not None and listed["description"] == UNICODE, "a description of all scripts comes back unchanged", listed)
    got = structured(await peer.manage("get", {"name": name})).get("tool", {})
    check(got.get("code") == code, "so does code", got)
    result = structured(await peer.call(name, {"args": {"text": UNICODE}})).get("result", {})
    check(result.get("given") == UNICODE, "so do arguments and results", result)
    check(result["own"] == UNICODE, "and literals in the code", result)
    units = len(UNICODE.encode("utf-16-le")) // 2
    check(result["length"] == units, "with the length that JavaScript gives them", result)


async def big(peer, names):
    name = names["big"]
    limit = CODE_LIMIT if peer.additions else 90_000  # The Node server takes bodies of 102,400 bytes.
    end = "*/ return args.text.length;"
    code = f"/*{'x' * (limit - 2 - len(end))}{end}"
    created = await peer.manage("create", {"tool": {"name": name, "description": "Is big.", "code": code}})
    size = structured(created).get("tool", {}).get("codeSizeBytes")
    check(size == limit, f"code of {limit} characters is stored", created)
    result = await peer.call(name, {"args": {"text": "y" * (limit // 2)}})
    check(structured(result).get("result") == limit // 2, "and runs", result)
    if not peer.additions:
        return
    over = await peer.manage("update", {"name": name, "patch": {"code": code + " "}})
    check(over["isError"] and code_of(over) == "invalid_argument", "one character more is refused", over)
    said = text_of(over).replace(",", "").replace(".", "")
    check("code" in said and "200000" in said, "naming field and limit", text_of(over))


async def ephemeral(peer):
    good = await peer.call("run_js_ephemeral", {"code": "return args.list.map((n) => n * 2);", "args": {"list": [1, 2, 3]}})
    check(structured(good).get("result") == [2, 4, 6], "run_js_ephemeral runs code with arguments", good)
    bad = await peer.call("run_js_ephemeral", {"code": 'throw new Error("no such luck");'})
    check(bad["isError"], "and reports a failure", bad)
    if not peer.additions:
        return
    check(structured(bad).get("ok") is False and "no such luck" in structured(bad)["error"], "with the message", bad)
    slow = await peer.call("run_js_ephemeral", {"code": "for (;;) {}", "timeoutMs": 1000})
    check(slow["isError"] and code_of(slow) == "timeout", "an endless loop ends as timeout", slow)


async def engine(peer):
    """Which engine ran a call, by what it says and by what only one of the two has."""
    wanted = peer.options.engine
    docker = wanted == "docker"

    def says(result):
        check((result["_meta"] or {}).get("dynamic-mcp/engine") == wanted, f"{wanted} has run it", result)

    globals_code = "return [typeof require, typeof process, typeof Buffer];"
    found = await peer.call("run_js_ephemeral", {"code": globals_code})
    says(found)
    kinds = ["function", "object", "function"] if docker else ["undefined"] * 3
    check(structured(found).get("result") == kinds, "Node is there exactly with Docker", found)
    says(await peer.call("run_js_ephemeral", {"code": 'throw new Error("on purpose");'}))

    name = f"client.{os.getpid()}.node"
    await peer.manage("create", {"tool": {"name": name, "description": "Needs Node.", "code": NODE_CODE, "engine": "docker"}})
    result = await peer.call(name, {"args": {"text": "c3RyYcOfZQ=="}})
    if docker:
        says(result)
        got = structured(result).get("result", {})
        check(got.get("platform") == "linux", "require gives a module of Node", result)
        check(re.fullmatch(r"v\d+\.\d+\.\d+", got["version"]), "process says the version of Node", result)
        check(got["text"] == "straße", "Buffer decodes", result)
    else:
        check(result["isError"] and code_of(result) == "policy_denied", "a tool for Docker is refused", result)
    gone = await peer.manage("delete", {"name": name})
    check(not gone["isError"], "it is deleted", gone)


async def enterprise(peer):
    echo = await peer.call("dev.echo", {"message": "straße", "uppercase": True})
    check(echo["structuredContent"] == {"message": "STRASSE", "length": 7}, "dev.echo", echo)
    now = structured(await peer.call("time.now", {"timeZone": "Asia/Shanghai"}))
    check(abs(now["unixSeconds"] - time.time()) < 10 and now["timeZone"] == "Asia/Shanghai", "time.now", now)
    nowhere = await peer.call("time.now", {"timeZone": "Mars/Olympus"})
    check(nowhere["isError"], "time.now refuses an unknown zone", nowhere)
    scopes = structured(await peer.call("system.guard_metrics", {}))["scopes"]
    counted = [scope for scope in scopes if scope["scope"] == "run_js_ephemeral" and scope["allowed"] >= 2]
    check(counted, "system.guard_metrics counts", scopes)
    config = structured(await peer.call("system.runtime_config", {}))
    check("sandbox" in config and "dynamic" in config, "system.runtime_config", config)

    resources = [resource["uri"] for resource in await peer.resources()]
    for uri in ["dynamic://service/meta", "dynamic://service/runtime-config", "dynamic://metrics/guard"]:
        check(uri in resources, f"{uri} is listed", resources)
        contents = await peer.read(uri)
        readable = len(contents) == 1 and contents[0]["uri"] == uri and isinstance(json.loads(contents[0]["text"]), dict)
        check(readable, f"{uri} can be read", contents)
    await fails(peer, peer.read("dynamic://no/such"), [-32602, -32002], "a resource that is not there is an error")
    prompts = [prompt["name"] for prompt in await peer.prompts()]
    check("tool-call-checklist" in prompts, "the prompt is listed", prompts)
    messages = await peer.prompt("tool-call-checklist", {"toolName": "dev.echo"})
    check(messages and "dev.echo" in messages[0]["content"]["text"], "the prompt names the tool", messages)


async def sessions(peer):
    """A sandbox session from its first to its last moment; without containers there is none."""
    made = await peer.call("sandbox.initialize", {"env": {"GREETING": "grüezi"}})
    if peer.options.engine != "docker":
        check(made["isError"] and code_of(made) == "policy_denied", "sessions need containers, and say so", made)
        return
    own = {"sessionId": structured(made)["sessionId"]}
    listed = structured(await peer.call("sandbox.session.list", {}))["sessions"]
    check(own["sessionId"] in [session["sessionId"] for session in listed], "the session is listed", listed)
    ran = await peer.call("sandbox.exec", {**own, "commands": ["echo $GREETING; echo no >&2; exit 3", "pwd"]})
    first, second = structured(ran)["results"]
    check((first["exitCode"], first["stdout"], first["stderr"]) == (3, "grüezi\n", "no\n"), "a command has its code and streams", ran)
    check(second["stdout"] == "/workspace\n", "the next one runs all the same", ran)
    written = await peer.call("sandbox.files.write", {**own, "path": "data/in.txt", "content": "one\ntwo\n"})
    check(not written["isError"], "a file is written", written)

    seen, steps = len(peer.logs), []

    async def progress(done, total, message):
        steps.append((done, total, message))

    code = """const lines = require('node:fs').readFileSync('data/in.txt', 'utf8').trim().split('\\n');
for (const [at, line] of lines.entries()) {
  await ctx.log('info', { line });
  await ctx.progress(at + 1, lines.length, line);
  await new Promise((done) => setTimeout(done, 60));
}
require('node:fs').writeFileSync('data/out.txt', String(lines.length));
return lines;"""
    result = await peer.call("sandbox.run_js", {**own, "code": code}, progress)
    check(structured(result).get("result") == ["one", "two"], "sandbox.run_js sees the file", result)
    check(steps == [(1, 2, "one"), (2, 2, "two")], "its progress arrives while it runs", steps)
    lines = [data["line"] for level, data in peer.logs[seen:] if level == "info" and "line" in data]
    check(lines == ["one", "two"], "so do its logs", peer.logs[seen:])
    read = await peer.call("sandbox.files.read", {**own, "path": "data/out.txt"})
    check(structured(read).get("content") == "2", "its file stays", read)
    stopped = await peer.call("sandbox.stop", own)
    check(structured(stopped).get("stopped") is True, "the session is stopped", stopped)
    gone = await peer.call("sandbox.exec", {**own, "commands": ["true"]})
    check(gone["isError"] and code_of(gone) == "not_found", "and is not found any more", gone)


async def removed(peer, names):
    kept = names.values() if peer.additions else [names["sum"], names["echo"], names["big"]]
    for name in kept:
        gone = await peer.manage("delete", {"name": name})
        check(not gone["isError"] and name in text_of(gone), f"{name} is deleted", gone)
        if peer.additions:
            check(gone["structuredContent"] == {"name": name, "deleted": True}, "delete answers name and deleted", gone)
        check(await peer.tool(name) is None, "a deleted tool is out of the very next list")
    await refused_as_unknown(peer, names["sum"], "a deleted tool cannot be called")
    got = await peer.manage("get", {"name": names["sum"]})
    check(got["isError"] and (not peer.additions or code_of(got) == "not_found"), "get answers not_found", got)


async def refused_as_unknown(peer, name, what):
    """Calling a tool that is not there: error -32602; the Node server answers isError instead."""
    if peer.additions:
        await fails(peer, peer.call(name, {}), [-32602], what)
    else:
        check((await peer.call(name, {"args": {}}))["isError"], what)


async def fails(peer, work, codes, what):
    try:
        got = await work
    except peer.error as error:
        check(error.error.code in codes, what, error.error)
    else:
        check(False, what, got)


async def scenario(peer):
    """Runs every step; the first check that does not hold ends it."""
    short = ["sum", "chatty", "typed", "blocks", "failing", "echo", "big"]
    names = {name: f"client.{os.getpid()}.{name}" for name in short}
    if peer.options.login is not None and peer.steps_up:
        await more_scopes(peer)
    await connected(peer)
    await made(peer, names)
    await called(peer, names)
    await changed(peer, names)
    await unicode(peer, names)
    await big(peer, names)
    await ephemeral(peer)
    if peer.options.engine is not None:
        await engine(peer)
    if peer.options.profile == "enterprise":
        await enterprise(peer)
        if peer.options.engine is not None:
            await sessions(peer)
    else:
        check(await peer.tool("dev.echo") is None, "mvp has no dev.echo")
    await removed(peer, names)
