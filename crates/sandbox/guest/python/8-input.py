# --- The input: one call, then perhaps that it is cancelled ---

CALLS = []
called = _thread.allocate_lock()
called.acquire()


def read_exactly(size, eof_ok=False):
    parts = []
    while size > 0:
        part = os_read(INPUT, min(size, 1 << 20))
        if not part:
            # The engine is gone: so is the reason to be.
            os_exit(0)
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b''.join(parts)


def read_call():
    """The next call, and nothing else, from the engine."""
    while True:
        head = read_exactly(5)
        length = unpack_u32(head)[0]
        if not 1 <= length <= LARGEST_FRAME:
            os_exit(71)
        payload = read_exactly(length - 1)
        if head[4] == TO_JOB and not state.working and not CALLS:
            return payload
        if head[4] == TO_LOAD and WORLD is None and not state.working and thread_ident() == main_ident:
            load_ahead(payload)
            continue
        if head[4] != TO_CANCEL:
            # Anything else than one call: not the engine.
            os_exit(71)
        if state.working:
            abort(state.signal)


# While a call runs another thread hears what the engine says: that the call is cancelled, or nothing any
# more because it is gone. That thread takes each call from then on, and to pass one on between threads
# costs more than a short call itself takes. So with calls that share this process it begins only once
# a call has asked for its signal, or has run for a while.
HEARS_AFTER = 1
turn = _thread.allocate_lock()
needed = _thread.allocate_lock()
needed.acquire()
listens = _thread.allocate_lock()
listens.acquire()


def hear():
    """The other thread reads from now on."""
    if state.is_heard or state.is_child or state.silent:
        return
    with turn:
        if state.is_heard:
            return
        state.is_heard = True
        needed.release()


def wait_until_needed():
    seen = -1
    while not needed.acquire(timeout=HEARS_AFTER):
        with turn:
            if state.working and state.number == seen:
                state.is_heard = True
            if state.is_heard:
                return
            seen = state.number


def listen():
    listens.release()
    try:
        wait_until_needed()
        while True:
            CALLS.append(read_call())
            called.release()
    except BaseException:
        os_exit(71)


IDLE_AFTER = 1
INCOMING = select.poll()
INCOMING.register(INPUT, select.POLLIN)


def next_call():
    """The next call. Nobody sets the end anew between calls that follow each other."""
    with turn:
        is_heard = state.is_heard
    if not (called.acquire(timeout=IDLE_AFTER) if is_heard else INCOMING.poll(IDLE_AFTER * 1000)):
        live_for(OPTIONS['maxAgeMs'])
        if is_heard:
            called.acquire()
    return CALLS.pop() if is_heard else read_call()


LATER = '/workspace/.site-packages'


def sized(payload, at):
    end = at + 4 + unpack_u32(payload, at)[0]
    return payload[at + 4:end], end


def work(payload):
    global WORLD
    head, at = sized(payload, 0)
    args, at = sized(payload, at)
    code = payload[at:].decode()
    head = loads(head)
    state.clear()
    state.nonce = bytes.fromhex(head['nonce'])
    state.bytes_left = state.max_output = head['maxOutputBytes']
    state.messages_left = MAX_MESSAGES
    state.least_level = math.inf if head['logLevel'] is None else LEVEL_OF[head['logLevel']]
    state.wants_progress = head['wantsProgress']
    state.shared = head.get('shared', False)
    # Packages that came into a session after it was opened.
    if os.path.isdir(LATER) and LATER not in sys.path:
        sys.path.insert(1, LATER)
    state.number += 1
    state.working = True
    # A container that has said that it is ready for one more call of its tool needs no word for it.
    if WORLD is None:
        send(STARTED, b'')
    if not state.silent:
        live_for(head['leftMs'] + OPTIONS['marginMs'], MORE if state.shared else 0)
        if not state.shared:
            hear()
    state.cpu_before = cpu_micros()
    if state.shared:
        WORLD = WORLD or World()
        state.kills_before, state.refused_before = max(0, account(KILLS, b'oom_kill ')), max(0, account(PIDS, b'max '))
    try:
        args = loads(args)
    except (ValueError, RecursionError) as error:
        return fail(f'the arguments cannot be read: {sentence(error)}')
    return run_call(head, args, code)


# How much longer, in milliseconds: so long no call that follows sets it anew, which makes a thread.
MORE = 5000
ends_at = 0.0


def live_for(millis, more=0):
    """Whatever happens then, the process ends: also when the code holds the interpreter's lock."""
    global ends_at
    until = monotonic() + millis / 1000
    if not until <= ends_at <= until + more / 1000:
        ends_at = until + more / 1000
        dump_later((millis + more) / 1000, exit=True, file=NOWHERE)
