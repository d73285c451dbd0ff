
# --- The beginning, and what comes in ---

TMP_CA = "/tmp/.extra-ca.pem"


# Where packages are: mounted, and put into the workspace later.
PACKAGES = (WORKSPACE + "/node_modules/.bin", "/node_modules/.bin", WORKSPACE + "/.site-packages/bin", "/site-packages/bin")
MODULES = WORKSPACE + "/.site-packages:/site-packages"


def leave():
    os._exit(0)


forget_dead_man = later(options["maxAgeMs"] / 1000, leave)


def open_session(operation, payload):
    global nonce, environment, memory_limit, life_ends, forget_dead_man
    told = json.loads(payload)
    nonce = bytes.fromhex(told["nonce"])
    environment["PATH"] = ":".join((environment.get("PATH", ""), *PACKAGES))
    environment["PYTHONPATH"] = MODULES
    if told.get("ca") is not None:
        with open(TMP_CA, "w") as file:
            file.write(told["ca"])
        given.extend(options["caVariables"])
        for name in options["caVariables"]:
            environment[name] = TMP_CA
    environment.update(told["env"])
    given.extend(told["env"])
    memory_limit = told["memoryBytes"]
    forget_dead_man()
    life_ends = time.monotonic() + told["leftMs"] / 1000
    forget_dead_man = later(told["leftMs"] / 1000, leave)
    finish(operation, has)
    later(AFTER_TAKE, lambda: prepare("python"))


at_once = {OPEN: open_session, READ: read_file, LIST: list_files}
in_time = {EXEC: Exec, RUN: Run, WRITE: WriteFile, UNPACK: Unpack}


def received(kind, operation, payload):
    global current
    if kind in (DATA, CANCEL, END):
        # It may have ended while this was on its way.
        if current is None or current.operation != operation:
            return
        if kind == DATA:
            current.data(payload)
        elif kind == END:
            current.end()
        else:
            current.cancel()
        return
    # Not the engine.
    if current is not None or not (kind in at_once or kind in in_time):
        os._exit(71)
    current = Job(operation)
    try:
        if kind in at_once:
            at_once[kind](operation, payload)
        else:
            current = in_time[kind](operation, payload)
            current.begin()
    except Exception as error:
        fail(operation, error)


incoming = bytearray()


def receive():
    try:
        data = os.read(0, PIECE)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if not data:
        # The engine is gone: so is the reason to be.
        leave()
    incoming.extend(data)
    while len(incoming) >= 9:
        length = int.from_bytes(incoming[:4], "little")
        if length < 5 or length > LARGEST_FRAME:
            os._exit(71)
        if len(incoming) < 4 + length:
            return
        payload = bytes(incoming[9:4 + length])
        kind, operation = incoming[4], int.from_bytes(incoming[5:9], "little")
        del incoming[:4 + length]
        received(kind, operation, payload)


# Somebody who tidies up with `pkill python3` means other processes. A handler, since what is ignored
# stays so in children.
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGCHLD"):
    signal.signal(getattr(signal, name), lambda number, frame: None)
try:
    with open("/proc/self/comm", "w") as own_name:
        own_name.write("session-agent")
except OSError:
    pass  # Then it keeps its name.

# What runs for the first time is slow.
if SHELL is not None:
    practised = []
    Child(["sh", "-c", "--", ":"], environment, lambda fd, data: None, lambda code, name: practised.append(code), SHELL)
    while not practised:
        turn()
strangers(Before())
events.register(0, selectors.EVENT_READ, receive)
write_all(bytes(20) + bytes((READY,)))
while True:
    turn()
