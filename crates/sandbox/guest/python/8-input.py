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


def listen():
    try:
        while True:
            head = read_exactly(5)
            length = unpack_u32(head)[0]
            if not 1 <= length <= LARGEST_FRAME:
                os_exit(71)
            payload = read_exactly(length - 1)
            if head[4] == TO_CANCEL:
                if state.working:
                    abort(state.signal)
            elif head[4] == TO_JOB and not state.working and not CALLS:
                CALLS.append(payload)
                called.release()
            else:
                # Anything else than one call: not the engine.
                os_exit(71)
    except BaseException:
        os_exit(71)


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
    state.working = True
    send(STARTED, b'')
    if not state.silent:
        live_until(head['leftMs'] + OPTIONS['marginMs'])
    state.cpu_before = cpu_micros()
    if state.shared:
        WORLD = WORLD or World()
        state.kills_before, state.refused_before = max(0, account(KILLS, b'oom_kill ')), max(0, account(PIDS, b'max '))
    try:
        args = loads(args)
    except (ValueError, RecursionError) as error:
        return fail(f'the arguments cannot be read: {sentence(error)}')
    return run_call(head, args, code)


def live_until(millis):
    """Whatever happens then, the process ends: also when the code holds the interpreter's lock."""
    dump_later(millis / 1000, exit=True, file=NOWHERE)


