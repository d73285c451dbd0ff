# The agent of a session for images with Python and without Node.js: what the engine gives to
# `python3 -c`. The same program as the files beside it that end in .js, file by file; what it does and
# why is told there.
import heapq
import json
import os
import select
import selectors
import signal
import stat as modes
import subprocess
import sys
import time
import uuid

options = json.loads(sys.argv[1])
programs = {"node": sys.argv[2:2 + options["node"]], "python": sys.argv[2 + options["node"]:]}
WORKSPACE = options["workspace"]

# --- To the agent: u32 length | u8 kind | u32 operation | payload (the length counts all but itself) ---

OPEN, EXEC, RUN, WRITE, READ, LIST, UNPACK, DATA, CANCEL, END = range(1, 11)
LARGEST_FRAME = 16 << 20

# --- From the agent: 16 nonce | u32 length | u8 10 | u8 kind | u32 operation | payload ---

READY, SESSION = 1, 10
DONE, OUT, ERR, COMMAND, STARTED = range(1, 6)
PIECE = 65536

nonce = bytes(16)


def write_all(data):
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(1, view):]
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            # Nobody reads any more.
            os._exit(70)


def send(kind, operation, payload):
    size = (5 + len(payload)).to_bytes(4, "little")
    write_all(b"".join((nonce, size, bytes((SESSION, kind)), operation.to_bytes(4, "little"), payload)))


def tell(kind, operation, value):
    send(kind, operation, json.dumps(value).encode())


def pour(kind, operation, data):
    for at in range(0, len(data), PIECE):
        send(kind, operation, data[at:at + PIECE])


class Refusal(Exception):
    """A refusal that the caller is told, with a code of the contract."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


KERNEL_SAYS = {
    "ENOENT": ("not_found", "there is no such file or directory"),
    "ENOSPC": ("limit_exceeded", "the workspace is full"),
    "EDQUOT": ("limit_exceeded", "the workspace is full"),
    "EFBIG": ("limit_exceeded", "the file is too large"),
    "EMFILE": ("limit_exceeded", "too many files are open in the session"),
    "ENFILE": ("limit_exceeded", "too many files are open in the session"),
    "EAGAIN": ("limit_exceeded", "the session has as many processes as it may, or no memory is left"),
    "ENOMEM": ("limit_exceeded", "the session has as many processes as it may, or no memory is left"),
    "ENOTDIR": ("invalid_argument", "a part of the path is not a directory"),
    "EISDIR": ("invalid_argument", "it is a directory"),
    "ELOOP": ("invalid_argument", "a part of the path is a link that changed"),
    "ENAMETOOLONG": ("invalid_argument", "a name is too long"),
    "EACCES": ("invalid_argument", "the session may not do that there"),
    "EPERM": ("invalid_argument", "the session may not do that there"),
}


def refusal(error):
    if isinstance(error, Refusal):
        return error
    import errno
    name = errno.errorcode.get(getattr(error, "errno", None), "")
    if name in KERNEL_SAYS:
        return Refusal(*KERNEL_SAYS[name])
    return Refusal("internal", "the session's agent failed: %s" % (name or repr(error)[:200]))


# --- The operation that runs now: there is one at a time ---

current = None


class Job:
    """An operation. What is not overridden needs nothing more."""

    def __init__(self, operation):
        self.operation = operation
        self.cancelled = False

    def data(self, payload):
        pass

    def end(self):
        pass

    def cancel(self):
        pass


def finish(operation, answer):
    global current
    if current is None or current.operation != operation:
        return
    current = None
    tell(DONE, operation, answer)


def fail(operation, error):
    told = refusal(error)
    finish(operation, {"error": {"code": told.code, "message": told.message}})


# --- What happens: files that can be read or written, children that end, times that come ---

events = selectors.DefaultSelector()
timers = []
count = 0


def later(seconds, call):
    """Calls once; the answer takes it back."""
    global count
    count += 1
    entry = [time.monotonic() + seconds, count, call]
    heapq.heappush(timers, entry)

    def forget():
        entry[2] = None
    return forget


def turn():
    wait = None
    while timers and timers[0][2] is None:
        heapq.heappop(timers)
    if timers:
        wait = max(0, timers[0][0] - time.monotonic())
    for key, _ in events.select(wait):
        key.data()
    now = time.monotonic()
    while timers and timers[0][0] <= now:
        call = heapq.heappop(timers)[2]
        if call is not None:
            call()
