
# --- Children and their streams ---

def find_program(name):
    for folder in os.environ.get("PATH", "").split(":"):
        path = "%s/%s" % (folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


SHELL = find_program("sh")
has = {"node": find_program("node") is not None, "python": True, "shell": SHELL is not None}

MAX_ORPHANED = 64
PIPE_HOLDS = 1 << 20
orphaned = []


class Stream:
    """What a child writes, until nobody has its other end any more."""

    def __init__(self, fd, take):
        self.fd = fd
        self.take = take
        os.set_blocking(fd, False)
        events.register(fd, selectors.EVENT_READ, self.readable)

    def read(self):
        """How many bytes came; nothing when there are none now."""
        try:
            data = os.read(self.fd, PIECE)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if data:
            self.take(data)
        else:
            self.close()
        return len(data)

    def readable(self):
        if self.fd >= 0:
            self.read()

    def close(self):
        if self.fd >= 0:
            events.unregister(self.fd)
            os.close(self.fd)
            self.fd = -1
            if self in orphaned:
                orphaned.remove(self)

    def drain(self):
        """What is in the pipe when its process has ended; what comes later is thrown away."""
        left = PIPE_HOLDS
        while left > 0 and self.fd >= 0:
            read = self.read()
            if read == 0:
                break
            left -= read
        self.take = lambda data: None
        if self.fd >= 0:
            orphaned.append(self)
            if len(orphaned) > MAX_ORPHANED:
                orphaned[0].close()


class Feed:
    """What a child reads."""

    def __init__(self, fd):
        self.fd = fd
        self.pending = []
        os.set_blocking(fd, False)

    def write(self, data):
        if self.fd < 0:
            return
        self.pending.append(memoryview(bytes(data)))
        if len(self.pending) == 1:
            events.register(self.fd, selectors.EVENT_WRITE, self.writable)

    def writable(self):
        try:
            while self.pending:
                written = os.write(self.fd, self.pending[0])
                self.pending[0] = self.pending[0][written:]
                if not self.pending[0]:
                    self.pending.pop(0)
        except BlockingIOError:
            return
        except OSError:
            # It reads no more.
            self.pending = [b""]
            self.close()
            return
        events.unregister(self.fd)

    def close(self):
        if self.fd >= 0:
            if self.pending:
                events.unregister(self.fd)
            self.pending = []
            os.close(self.fd)
            self.fd = -1


children = {}


class Child:
    """A child in a session of its own. `ended(code, signal)` comes once, after all that it wrote before."""

    def __init__(self, arguments, env, take, ended, program=None, fed=False):
        pipes = [os.pipe(), os.pipe()]
        try:
            self.process = subprocess.Popen(
                arguments, executable=program, cwd=WORKSPACE, env=env, start_new_session=True, bufsize=0,
                stdin=subprocess.PIPE if fed else subprocess.DEVNULL, stdout=pipes[0][1], stderr=pipes[1][1],
            )
        except BaseException:
            for pair in pipes:
                os.close(pair[0])
            raise
        finally:
            for pair in pipes:
                os.close(pair[1])
        self.pid = self.process.pid
        offer(self.pid)
        self.streams = [Stream(pipes[0][0], lambda data: take(1, data)), Stream(pipes[1][0], lambda data: take(2, data))]
        self.feed = None
        if fed:
            self.feed = Feed(os.dup(self.process.stdin.fileno()))
            self.process.stdin.close()
        self.ended = ended
        children[self.pid] = self

    def look(self):
        status = self.process.poll()
        if status is None:
            return
        del children[self.pid]
        if self.feed is not None:
            self.feed.close()
        for stream in self.streams:
            stream.drain()
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = "SIG%d" % -status
            self.ended(None, name)
        else:
            self.ended(status, None)


wake_read, wake_write = os.pipe()
for fd in (wake_read, wake_write):
    os.set_blocking(fd, False)
signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)


def woken():
    try:
        while os.read(wake_read, 4096):
            pass
    except BlockingIOError:
        pass
    for child in list(children.values()):
        child.look()


events.register(wake_read, selectors.EVENT_READ, woken)
