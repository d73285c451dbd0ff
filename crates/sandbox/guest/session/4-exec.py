
# --- Commands of the shell, one after another ---

environment = dict(os.environ)


class Kept:
    """The beginning of what a stream brings, and how much it was."""

    def __init__(self, most):
        self.most = most
        self.bytes = bytearray()
        self.total = 0

    def add(self, more):
        self.total += len(more)
        room = self.most - len(self.bytes)
        if room > 0:
            self.bytes += more[:room]


def shares(out, err, most):
    """How much of each is sent when both together may be so much: the smaller one is whole."""
    out, err = len(out.bytes), len(err.bytes)
    if out + err <= most:
        return out, err
    half = most >> 1
    if err <= half:
        return most - err, err
    if out <= half:
        return out, most - out
    return most - half, half


class Exec(Job):
    def __init__(self, operation, payload):
        super().__init__(operation)
        told = json.loads(payload)
        self.commands = told["commands"]
        self.each = told["timeoutMs"] / 1000
        self.until = time.monotonic() + told["leftMs"] / 1000
        self.left = told["most"]
        self.at = 0
        self.before = None
        if SHELL is None:
            raise Refusal("policy_denied", "the image of this session has no shell (`sh`)")

    def begin(self):
        try:
            self.next()
        except Exception as error:
            fail(self.operation, error)

    def next(self):
        seconds = min(self.each, self.until - time.monotonic())
        if self.at == len(self.commands) or self.cancelled or seconds <= 0:
            finish(self.operation, {})
            return
        text = self.commands[self.at]
        most = self.left // (len(self.commands) - self.at)
        self.at += 1
        before = Before()
        if self.before is None:
            self.before = before
        kills = oom_kills()
        out, err = Kept(most), Kept(most)
        begun = time.monotonic()
        timed_out = False

        def over():
            nonlocal timed_out
            timed_out = True
            # With everything that it started; its own end follows.
            kill_strangers(before)

        def ended(code, name):
            forget()
            if not self.cancelled:
                of_out, of_err = shares(out, err, most)
                self.left -= of_out + of_err
                pour(OUT, self.operation, out.bytes[:of_out])
                pour(ERR, self.operation, err.bytes[:of_err])
                tell(COMMAND, self.operation, {
                    "code": code, "signal": name, "timedOut": timed_out,
                    "micros": round((time.monotonic() - begun) * 1e6),
                    "out": out.total, "err": err.total, "oomKills": oom_kills() - kills,
                })
            self.begin()

        Child(["sh", "-c", "--", text], environment, lambda fd, data: (out if fd == 1 else err).add(data), ended, SHELL)
        forget = later(seconds, over)

    def cancel(self):
        self.cancelled = True
        if self.before is not None:
            kill_strangers(self.before)
