
# --- Code: each call in a process of its own, which waits with the guest agent loaded ---

spare = {"node": None, "python": None}
READY_FRAME = 21
READY_TIME = 20
AFTER_TAKE = 0.025
life_ends = float("inf")
memory_limit = float("inf")
# Names of the variables of this session.
given = []


def program_of(runtime):
    arguments = list(programs[runtime])
    told = json.loads(arguments[-1])
    told["env"] = told["env"] + given
    left = (life_ends - time.monotonic()) * 1000
    told["maxAgeMs"] = int(max(1, min(2 ** 31 - 1, left)))
    arguments[-1] = json.dumps(told)
    return arguments


class Runner:
    """A process that gets ready. Whoever waits for it is told whether it did."""

    def __init__(self, runtime):
        self.runtime = runtime
        self.head = bytearray()
        self.said = b""
        self.taken = None
        self.over = None
        self.gone = None
        self.is_ready = None
        self.waiting = []
        self.child = Child(program_of(runtime), environment, self.take, self.ended, find_program(programs[runtime][0]), True)
        helpers.add(self.child.pid)
        self.forget = later(READY_TIME, self.late)

    def late(self):
        send_signal(self.child.pid, signal.SIGKILL)

    def ready(self, is_ready):
        if self.is_ready is None:
            self.is_ready = is_ready
            self.forget()
            waiting, self.waiting = self.waiting, []
            for call in waiting:
                call()

    def take(self, fd, data):
        if self.taken is not None:
            self.taken(fd, data)
        elif fd == 2:
            self.said = (self.said + data)[-500:]
        else:
            head = self.head
            head += data
            if len(head) >= READY_FRAME and len(head) >= READY_FRAME + int.from_bytes(head[16:20], "little"):
                self.ready(head[20] == READY)

    def ended(self, code, name):
        helpers.discard(self.child.pid)
        if spare[self.runtime] is self:
            spare[self.runtime] = None
        self.gone = (code, name)
        self.ready(False)
        if self.over is not None:
            self.over(code, name)

    def then(self, call):
        if self.is_ready is None:
            self.waiting.append(call)
        else:
            call()


def prepare(runtime):
    """Sees to it that one waits, where there is room for it."""
    if spare[runtime] is None and has[runtime] and memory_used() < memory_limit / 2:
        try:
            spare[runtime] = Runner(runtime)
        except Exception:
            pass  # No process can be made now: the call that wants one is told.


class Run(Job):
    def __init__(self, operation, payload):
        super().__init__(operation)
        told = json.loads(payload)
        self.runtime = told["runtime"]
        self.until = time.monotonic() + told["leftMs"] / 1000
        self.runner = None
        self.before = None
        self.early = []
        self.tries = 0
        self.timed_out = False
        self.forget = lambda: None
        if not has[self.runtime]:
            name = "Node.js (`node`)" if self.runtime == "node" else "Python (`python3`)"
            raise Refusal("policy_denied", "the image of this session has no %s" % name)

    def begin(self):
        try:
            runner = spare[self.runtime]
            if runner is None:
                runner = spare[self.runtime] = Runner(self.runtime)
        except Exception as error:
            fail(self.operation, error)
            return
        runner.then(lambda: self.take(runner))

    def take(self, runner):
        if spare[self.runtime] is runner:
            spare[self.runtime] = None
        if not runner.is_ready or runner.gone is not None:
            self.tries += 1
            if self.tries < 2 and not self.cancelled:
                self.begin()
                return
            code, name = runner.gone or (None, "no time left")
            said = runner.said.decode("utf-8", "replace")
            why = name or "exit code %s" % code
            fail(self.operation, Refusal(
                "unavailable", "no %s gets ready in the session (%s): %s" % (self.runtime, why, said)))
            return
        pid = runner.child.pid
        if self.cancelled:
            send_signal(pid, signal.SIGKILL)
            finish(self.operation, {})
            return
        known = process_of(pid)
        helpers.discard(pid)
        before = Before()
        if known is not None:
            before.known.discard((pid, known.begun))
        before.sessions.discard(pid)
        self.before = before
        self.runner = runner
        kills = oom_kills()
        tell(STARTED, self.operation, {"oomKills": kills, "pidsRefused": pids_refused()})
        runner.taken = lambda fd, data: pour(OUT if fd == 1 else ERR, self.operation, data)

        def over(code, name):
            self.forget()
            runner.taken = lambda fd, data: None
            finish(self.operation, {
                "code": code, "signal": name, "timedOut": self.timed_out, "oomKills": oom_kills() - kills,
            })

        runner.over = over
        self.forget = later(max(0.001, self.until - time.monotonic()), self.late)
        for data in self.early:
            runner.child.feed.write(data)
        self.early = []
        later(AFTER_TAKE, lambda: prepare(self.runtime))

    def late(self):
        self.timed_out = True
        kill_strangers(self.before)

    def data(self, payload):
        if self.runner is not None:
            self.runner.child.feed.write(payload)
        else:
            self.early.append(bytes(payload))

    def end(self):
        """It has reported: what it left running goes on, as after a command."""
        if self.runner is not None and self.runner.gone is None:
            send_signal(self.runner.child.pid, signal.SIGKILL)

    def cancel(self):
        self.cancelled = True
        if self.before is not None:
            kill_strangers(self.before)
