"""The command line that both scripts share, the overall time limit, and the one line they end with."""

import argparse
import os
import sys
import threading
import traceback
import warnings

import anyio

LIMIT_SECONDS = 60


class Checks:
    """Counts what held; the first that does not ends the run."""

    def __init__(self):
        self.passed = 0
        self.last = "none"

    def __call__(self, holds, what, got=None):
        if not holds:
            shown = "" if got is None else f"\n  got: {str(got)[:2000]}"
            raise AssertionError(f"check failed: {what}{shown}")
        self.passed += 1
        self.last = what


check = Checks()


def parse(description, eras):
    """The options of ../README.md; ends the process with 2 when they make no sense."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url")
    parser.add_argument("--token", help="an access token (JWT), only with --url")
    parser.add_argument("--login", metavar="http://ID:SECRET@ISSUER", help="the SDK gets its tokens itself, only with --url")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--profile", choices=["mvp", "enterprise"], default="enterprise")
    parser.add_argument("--engine", choices=["isolate", "docker"])
    parser.add_argument("--era", choices=eras, default=eras[0])
    parser.add_argument("--without-additions", action="store_true")
    parser.add_argument("--stdio", nargs=argparse.REMAINDER, metavar="PROGRAM [ARGUMENT]...")
    options = parser.parse_args()
    if (options.url is None) == (not options.stdio):
        parser.error("give --url or --stdio")
    if options.token is not None and options.login is not None:
        parser.error("give --token or --login")
    if (options.token or options.login) is not None and options.url is None:
        parser.error("--token and --login need --url")
    options.headers = dict(header.split("=", 1) for header in options.header)
    return options


def finish(work):
    """Runs `work` and answers the exit code: `ok <n> checks` and 0, or what failed and 1."""
    warnings.simplefilter("ignore")  # The SDKs warn that logging/setLevel is deprecated: that is what is tested.

    def too_late():
        print(f"FAILED: not done within {LIMIT_SECONDS} s; last passed: {check.last}", flush=True)
        os._exit(1)

    timer = threading.Timer(LIMIT_SECONDS, too_late)
    timer.daemon = True
    timer.start()
    try:
        anyio.run(work)
    except BaseException as error:
        print(f"FAILED after {check.passed} checks; last passed: {check.last}", flush=True)
        # Task groups wrap what went wrong; the first inner error is the one that tells.
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        traceback.print_exception(error, file=sys.stdout, limit=-4, chain=False)
        return 1
    print(f"ok {check.passed} checks")
    return 0
