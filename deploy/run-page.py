#!/usr/bin/env python3
"""Runs the commands of a Markdown page from top to bottom, as they stand there.

    deploy/run-page.py docs/production-runbook.md                 runs the page
    deploy/run-page.py --list docs/production-runbook.md          prints its blocks as JSON
    deploy/run-page.py --report FILE docs/production-runbook.md   and writes what came of it

Of every fenced block the word behind the fence says what becomes of it:

    sh            run, in the order of the page, all in one shell; a command that fails ends the run
    text          what the block before it prints: these lines, in this order; … stands for anything
    sh not-run    not run, because it needs a machine that is not here. A quotation right above it has
                  to begin with "> Not run here:" and say why, so that the page itself says so

Any other block, and one without a word, is an error: no command stands on the page that was not run
and does not say so. Settings that the page asks for come from the environment.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

KINDS = ("sh", "text", "sh not-run")
REASON = "> Not run here:"
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(.*?)\s*$")
MARK = "\x1e"
MOST_OUTPUT = 64 * 1024


class Wrong(Exception):
    """The page, or what it did, is not as it says."""


def blocks(path):
    """The fenced blocks of a page: kind, first line, heading, text, and the reason not to run it."""
    found, heading, quotation, open_block = [], "", [], None
    with open(path, encoding="utf-8") as page:
        lines = page.read().split("\n")
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if open_block is not None:
            if fence and fence.group(2)[:3] == open_block["fence"] and not fence.group(3):
                del open_block["fence"]
                open_block["text"] = "\n".join(open_block["text"]) + "\n"
                found.append(open_block)
                open_block, quotation = None, []
            else:
                open_block["text"].append(line[open_block["indent"]:])
            continue
        if fence:
            open_block = {
                "kind": fence.group(3), "line": number, "heading": heading, "text": [],
                "fence": fence.group(2)[:3], "indent": len(fence.group(1)), "reason": None,
            }
            text = " ".join(quotation)
            if text.startswith(REASON):
                open_block["reason"] = text[len(REASON):].replace("\n> ", " ").strip()
            continue
        if re.match(r"^#{1,6} ", line):
            heading = line.lstrip("#").strip()
        if line.startswith(">"):
            quotation.append(line if not quotation else line.lstrip("> "))
        elif line.strip():
            quotation = []
        if line.startswith("    ") and not lines[number - 2].strip() and not in_list(lines, number):
            raise Wrong(f"{path}:{number}: an indented block; use a fence")
    if open_block is not None:
        raise Wrong(f"{path}:{open_block['line']}: this block has no end")
    check(path, found)
    for block in found:
        block.pop("indent")
    return found


def in_list(lines, number):
    """Whether an indented line goes on with an item of a list."""
    for line in reversed(lines[: number - 1]):
        if line.strip() and not line.startswith(" "):
            return bool(re.match(r"^([-*]|\d+\.) ", line))
    return False


def check(path, found):
    """Every block has a word that is known and what belongs to it."""
    before = None
    for block in found:
        place = f"{path}:{block['line']}"
        if block["kind"] not in KINDS:
            raise Wrong(f"{place}: a block of '{block['kind']}'; there are: {', '.join(KINDS)}")
        if block["kind"] == "sh not-run" and not block["reason"]:
            raise Wrong(f"{place}: not run, and no line '{REASON} ...' above it says why")
        if block["kind"] == "text" and (before is None or before["kind"] != "sh"):
            raise Wrong(f"{place}: what is printed has to stand right behind the block that prints it")
        if not block["text"].strip():
            raise Wrong(f"{place}: an empty block")
        before = block


def expect(wanted, printed):
    """Finds each line of what the page says is printed, in order; the first that is missing."""
    have = iter(printed.split("\n"))
    for line in wanted.strip("\n").split("\n"):
        pattern = ".*".join(re.escape(part) for part in line.rstrip().split("…"))
        if not any(re.fullmatch(pattern, one.rstrip()) for one in have):
            return line
    return None


def script(found, go):
    """All blocks as one script that says on its own line where each begins and ends, and after each
    waits on the file descriptor `go` until somebody has looked at what was printed."""
    parts = ["set -eo pipefail\n"]
    for number, block in enumerate(found):
        if block["kind"] == "sh":
            parts.append(f"printf '{MARK}begin {number}\\n'\n{block['text']}")
            parts.append(f"\nprintf '{MARK}end {number}\\n'\nread -r -u {go} _\n")
    return "".join(parts)


def run(path, found, seconds):
    """Runs the page; one result of each block, None for what was not reached."""
    results = [None] * len(found)
    go, goes = os.pipe()
    with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as file:
        file.write(script(found, go))
    shell = subprocess.Popen(
        ["bash", file.name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, pass_fds=(go,),
    )
    os.close(go)
    late = threading.Event()

    def stop():
        late.set()
        os.killpg(shell.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()

    def end(number, _frame):
        os.killpg(shell.pid, signal.SIGKILL)
        sys.exit(128 + number)

    # Whoever ends the runner ends what it runs.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    current, began, printed = None, 0.0, []
    for line in shell.stdout:
        # Output without a newline at its end stands before the mark.
        text, marked, mark = line.partition(MARK)
        if text and current is not None:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
            if sum(map(len, printed)) < MOST_OUTPUT:
                printed.append(text)
        if not marked:
            continue
        word, number = mark.split()
        number = int(number)
        if word == "begin":
            current, began, printed = number, time.monotonic(), []
            block = found[number]
            print(f"\n== {path}:{block['line']} {block['heading']}", flush=True)
            continue
        results[number] = {"seconds": time.monotonic() - began, "failure": None}
        following = number + 1
        if following < len(found) and found[following]["kind"] == "text":
            missing = expect(found[following]["text"], "".join(printed))
            results[following] = {"seconds": 0.0, "failure": None}
            if missing is not None:
                place = f"{path}:{found[following]['line']}"
                results[following]["failure"] = f"{place}: this was not printed: {missing}"
                os.close(goes)
                goes = None
        current = None
        if goes is not None:
            try:
                os.write(goes, b"\n")
            except BrokenPipeError:
                pass  # The shell was killed meanwhile: its exit code says so.
    code = shell.wait()
    timer.cancel()
    if goes is not None:
        os.close(goes)
    os.unlink(file.name)
    if current is not None:
        why = f"{seconds} seconds were over" if late.is_set() else f"exit code {code}"
        place = f"{path}:{found[current]['line']}"
        results[current] = {"seconds": time.monotonic() - began, "failure": f"{place}: {why}"}
    return results


def first_command(text):
    """The first line of a block that does something, for the report."""
    for line in text.split("\n"):
        if line.strip() and not line.lstrip().startswith("#"):
            return line.strip()
    return ""


def report(path, found, results, facts):
    """What was run, as a page of Markdown; it holds no output, and so no secret."""
    ran = [r for b, r in zip(found, results) if b["kind"] == "sh" and r and not r["failure"]]
    told = [r for b, r in zip(found, results) if b["kind"] == "text" and r and not r["failure"]]
    shells = sum(b["kind"] == "sh" for b in found)
    texts = sum(b["kind"] == "text" for b in found)
    skipped = sum(b["kind"] == "sh not-run" for b in found)
    lines = [f"# {os.path.basename(path)}, run from top to bottom", ""]
    lines += [f"Written by `deploy/run-page.py --report` from `{path}`.", ""]
    lines += [f"- {fact}" for fact in facts]
    lines += [
        f"- blocks run: {len(ran)} of {shells}; outputs as the page says: {len(told)} of {texts}; "
        f"not run, as the page says: {skipped}", "",
        "| line | section | first command | result | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for block, result in zip(found, results):
        if block["kind"] == "text":
            continue
        if block["kind"] == "sh not-run":
            word, took = "not run: " + block["reason"], ""
        elif result is None:
            word, took = "not reached", ""
        else:
            word, took = result["failure"] or "ran", f"{result['seconds']:.1f}"
        command = first_command(block["text"]).replace("|", "\\|")
        lines.append(f"| {block['line']} | {block['heading']} | `{command}` | {word} | {took} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Runs the commands of a Markdown page.")
    parser.add_argument("page")
    parser.add_argument("--list", action="store_true", help="print the blocks as JSON and run none")
    parser.add_argument("--report", metavar="FILE", help="write what was run there, as Markdown")
    parser.add_argument("--fact", action="append", default=[], help="a line for the report")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    words = parser.parse_args()
    try:
        found = blocks(words.page)
    except (Wrong, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if words.list:
        json.dump(found, sys.stdout, ensure_ascii=False, indent=1)
        print()
        return 0
    results = run(words.page, found, words.timeout)
    if words.report:
        with open(words.report, "w", encoding="utf-8") as file:
            file.write(report(words.page, found, results, words.fact))
    failures = [r["failure"] for r in results if r and r["failure"]]
    missed = sum(r is None and b["kind"] != "sh not-run" for b, r in zip(found, results))
    ran = sum(b["kind"] == "sh" and r is not None and not r["failure"] for b, r in zip(found, results))
    skipped = sum(b["kind"] == "sh not-run" for b in found)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"\n{words.page}: {ran} blocks run, {skipped} not run, as the page says", flush=True)
    if not failures and missed:
        print(f"error: {missed} blocks were not reached", file=sys.stderr)
    return 1 if failures or missed else 0


if __name__ == "__main__":
    sys.exit(main())
