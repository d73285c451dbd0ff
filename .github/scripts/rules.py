"""Our rules for workflows: every action by commit, every step a script of this repository that is there,
no rights that a job does not name, a time limit on every job. No library is needed: workflows here are
written one key to a line, and what these rules cannot read they refuse."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ACTION = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
COMMAND = re.compile(r"^(?:bash )?(\.?[\w-]+(?:/[\w.-]+)+)(?: [\w./=-]+| \"\$[A-Z_]+\")*$")
# What a hosted runner needs before the gate's tests may make sandboxes.
ALLOWED = {"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"}


def check(file):
    """Every breach in a workflow, as text."""
    lines = file.read_text().splitlines()
    if not any(line.startswith("permissions:") for line in lines):
        yield f"{file}: has no permissions of its own"
    job, jobs, limited = None, set(), set()
    inside = False
    for number, line in enumerate(lines, 1):
        place = f"{file}:{number}"
        if re.match(r"^\S", line):
            inside = line.rstrip() == "jobs:"
        if inside and (named := re.match(r"^  ([\w-]+):$", line)):
            job = named[1]
            jobs.add(job)
        if inside and re.match(r"^    timeout-minutes: \d+$", line):
            limited.add(job)
        if (step := re.match(r"^\s+(?:- )?uses: (.*)$", line)) and not ACTION.match(step[1]):
            yield f"{place}: an action is named by its commit, with its version behind it: {step[1]}"
        if step := re.match(r"^\s+(?:- )?run: (.*)$", line):
            command = step[1].strip()
            if command in ALLOWED:
                continue
            script = COMMAND.match(command)
            if not script:
                yield f"{place}: a step calls a script of this repository: {command}"
            elif not (ROOT / script[1]).is_file():
                yield f"{place}: there is no script {script[1]}"
    for name in sorted(jobs - limited):
        yield f"{file}: the job {name} has no timeout-minutes"


def main():
    found = [breach for name in sys.argv[1:] for breach in check(pathlib.Path(name))]
    for breach in found:
        print(breach, file=sys.stderr)
    sys.exit(1 if found else 0)


main()
