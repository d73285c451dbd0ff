# --- Printed text ---

LEVEL_BYTES = tuple(bytes([level]) for level in range(len(LEVELS)))


def print_line(level, line):
    """One line, cut where it is too long."""
    cut = min(len(line), MAX_LINE, max(0, state.bytes_left))
    if cut < len(line):
        state.truncated = True
        while cut > 0 and line[cut] & 0xc0 == 0x80:
            cut -= 1
        if cut == 0:
            return
    text = line[:cut]
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode('utf-8', 'replace').encode()
    if admit(len(text)):
        write_all(frame(PRINT, LEVEL_BYTES[level] + text))


def print_bytes(level, data):
    """What is written is cut into lines; the rest waits for its end."""
    with lock:
        rest = state.unfinished[level] + data
        told = LOGGED.get(thread_ident(), level) if LOGGED and level == ERROR else level
        at = 0
        while True:
            end = rest.find(b'\n', at)
            if end < 0:
                break
            if state.messages_left == 0 or state.ended:
                state.truncated = True
                at = len(rest)
                break
            print_line(told, rest[at:end])
            at = end + 1
        rest = rest[at:]
        if len(rest) > 2 * MAX_LINE:
            state.truncated = True
            rest = rest[:2 * MAX_LINE]
        state.unfinished[level] = rest


def flush_lines():
    for stream in (PRINTED, ERRORS):
        try:
            text_flush(stream)
        except BaseException:
            pass  # The code closed it, or put something else in its place.
    if flush_c is not None and not state.silent:
        flush_c(None)
    for level in (INFO, ERROR):
        rest, state.unfinished[level] = state.unfinished[level], b''
        if rest:
            print_line(level, rest)


class Printing(io.RawIOBase):
    """What sys.stdout and sys.stderr write to."""

    def __init__(self, fd, level):
        self._fd, self._level = fd, level

    def writable(self):
        return True

    def fileno(self):
        return self._fd

    def isatty(self):
        return False

    def write(self, data):
        data = bytes(data)
        if state.is_child:
            # A process that the code forked is none of the agent's.
            view = memoryview(data)
            while view:
                view = view[os_write(self._fd, view):]
        else:
            print_bytes(self._level, data)
        return len(data)


text_flush = io.TextIOWrapper.flush
PRINTED, ERRORS = (
    io.TextIOWrapper(Printing(fd, level), encoding='utf-8', errors='well-formed', newline='\n',
                     line_buffering=True, write_through=fd == 2)
    for fd, level in ((1, INFO), (2, ERROR))
)
PRINTED.mode = ERRORS.mode = 'w'


# A record of logging that ends up on stderr has its own level, and not that of stderr.
LOGGED = {}
log_record = logging.StreamHandler.emit


def emit(self, record):
    me = thread_ident()
    number = record.levelno
    LOGGED[me] = 0 if number < 20 else INFO if number < 30 else WARNING if number < 40 else ERROR if number < 50 else 5
    try:
        log_record(self, record)
    finally:
        LOGGED.pop(me, None)


logging.StreamHandler.emit = emit
warnings.filterwarnings('ignore', message='This process .* is multi-threaded')


def forked():
    global lock
    lock = threading.RLock()
    state.is_child = True


os.register_at_fork(after_in_child=forked)


