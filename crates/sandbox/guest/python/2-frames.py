# --- Frames: nonce, length of the payload, kind, payload ---

READY, STARTED, LOG, PROGRESS, PRINT, VALUE, FAILURE, SPENT = range(1, 9)
TO_JOB, TO_CANCEL, TO_LOAD = 1, 2, 4
LARGEST_FRAME = 64 << 20
LEVELS = ('debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency')
LEVEL_OF = {name: at for at, name in enumerate(LEVELS)}
INFO, WARNING, ERROR = 1, 3, 4

MAX_LINE = 16384
MAX_MESSAGES = 10000
MAX_MESSAGE = 8192
STACK_LINES = 10
NO_CALL = bytes(16)


class State:
    """What the agent knows of the call."""
    __slots__ = ('nonce', 'silent', 'working', 'ended', 'truncated', 'bytes_left', 'messages_left',
                 'least_level', 'wants_progress', 'last_progress', 'max_output', 'cpu_before',
                 'kills_before', 'refused_before', 'is_child', 'signal', 'unfinished', 'tasks', 'shared', 'answer',
                 'is_over', 'number', 'is_heard')

    def __init__(self):
        self.nonce, self.silent, self.is_child, self.shared = NO_CALL, True, False, False
        self.answer = b''
        self.number, self.is_heard = 0, False
        self.signal, self.max_output, self.kills_before, self.refused_before = None, 0, 0, 0
        self.clear()

    def clear(self):
        self.working = self.ended = self.truncated = self.wants_progress = self.is_over = False
        self.bytes_left, self.messages_left, self.least_level = 0, 0, math.inf
        self.last_progress, self.cpu_before = -math.inf, -1
        self.unfinished = {INFO: b'', ERROR: b''}


state = State()
lock = threading.RLock()


def write_all(data):
    if state.silent:
        return
    view = memoryview(data)
    while view:
        try:
            view = view[os_write(OUTPUT, view):]
        except BlockingIOError:
            # The code can make the pipe non-blocking.
            sleep(0.001)
        except OSError:
            # Nobody reads any more.
            os_exit(70)


def frame(kind, payload):
    return pack_head(state.nonce, len(payload), kind) + payload


def send(kind, payload):
    with lock:
        if not state.ended:
            write_all(frame(kind, payload))


def admit(size):
    if state.ended or size > state.bytes_left or state.messages_left == 0:
        state.truncated = True
        return False
    state.bytes_left -= size
    state.messages_left -= 1
    return True


