
# --- Processes: who there is, and the end of what an operation started ---

helpers = set()
SELF = os.getpid()


class Process:
    __slots__ = ("pid", "state", "parent", "session", "begun")

    def __init__(self, pid, fields):
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.begun = fields[19]


def process_of(pid):
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name is in brackets and may hold anything.
    fields = text[text.rfind(b") ") + 2:].decode("latin-1").split(" ")
    return Process(pid, fields) if len(fields) > 19 else None


def everybody():
    all_of_them = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = process_of(int(name))
            if found is not None:
                all_of_them[found.pid] = found
    return all_of_them


class Before:
    """What is there before an operation begins, and so is none of it."""

    def __init__(self):
        there = everybody().values()
        self.known = {(it.pid, it.begun) for it in there}
        self.sessions = {it.session for it in there}


def strangers(before):
    there = everybody()

    def is_older(found):
        it = found
        for _ in range(1000):
            if it is None:
                return False
            if it.pid in (1, SELF):
                return it is found
            if it.pid in helpers or (it.pid, it.begun) in before.known or it.session in before.sessions:
                return True
            it = there.get(it.parent)
        return False
    return [it for it in there.values() if it.state not in "ZX" and not is_older(it)]


def send_signal(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass  # It is gone.


PATIENCE = 3


def kill_strangers(before):
    asleep = {it.pid for it in everybody().values() if it.state == "T"}
    until = time.monotonic() + PATIENCE
    # In one call of the kernel that no fork gets past.
    send_signal(-1, signal.SIGSTOP)
    try:
        while True:
            left = strangers(before)
            if not left:
                return
            # What the kernel does not end cannot be left behind: the session ends.
            if time.monotonic() > until:
                os._exit(75)
            for it in left:
                send_signal(it.pid, signal.SIGKILL)
            time.sleep(0.001)
    finally:
        for pid in everybody():
            if pid not in (1, SELF) and pid not in asleep:
                send_signal(pid, signal.SIGCONT)


def offer(pid):
    """When memory runs out the kernel takes these before it takes the agent."""
    try:
        with open("/proc/%d/oom_score_adj" % pid, "w") as file:
            file.write("1000")
    except OSError:
        pass  # It has ended.


# --- What the kernel counts for the whole session (control groups version 1, then 2) ---

def opened(*paths):
    for path in paths:
        try:
            return os.open(path, os.O_RDONLY)
        except OSError:
            pass  # The other version.
    return -1


accounts = {
    "kills": opened("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"),
    "pids": opened("/sys/fs/cgroup/pids/pids.events", "/sys/fs/cgroup/pids.events"),
    "used": opened("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory.current"),
}


def account(name, word):
    try:
        text = os.pread(accounts[name], 1024, 0).decode("latin-1") if accounts[name] >= 0 else ""
        for line in text.split("\n"):
            if line.startswith(word):
                return int(line[len(word):] or 0)
    except (OSError, ValueError):
        pass  # Then it is not known.
    return 0


def oom_kills():
    return account("kills", "oom_kill ")


def pids_refused():
    return account("pids", "max ")


def memory_used():
    return account("used", "")
