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


def sized(payload, at):
    end = at + 4 + unpack_u32(payload, at)[0]
    return payload[at + 4:end], end


def work(payload):
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
    state.working = True
    send(STARTED, b'')
    if not state.silent:
        live_until(head['leftMs'] + OPTIONS['marginMs'])
    state.cpu_before = cpu_micros()
    try:
        args = loads(args)
    except (ValueError, RecursionError) as error:
        return fail(f'the arguments cannot be read: {sentence(error)}')
    return run_call(head, args, code)


def live_until(millis):
    """Whatever happens then, the process ends: also when the code holds the interpreter's lock."""
    dump_later(millis / 1000, exit=True, file=NOWHERE)


# --- The world as the code finds it, then a few calls for practice, then the real one ---

for name in list(os.environ):
    if name not in OPTIONS['env']:
        del os.environ[name]
sys.argv = ['tool.py']
sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = PRINTED, ERRORS
sys.stdin = sys.__stdin__ = open(0, encoding='utf-8', closefd=False)
threading.excepthook = thread_failed
sys.dont_write_bytecode = True
PACKAGES = '/site-packages'
if os.path.isdir(PACKAGES):
    known = list(sys.path)
    site.addsitedir(PACKAGES)
    added = [path for path in sys.path if path not in known]
    at = next((at for at, path in enumerate(known) if path.endswith(('site-packages', 'dist-packages'))), len(known))
    sys.path[:] = known[:at] + added + known[at:]
    os.environ['PYTHONPATH'] = os.pathsep.join(added)
sys.path.insert(0, os.getcwd())

PRACTICE = (
    'import sys\nprint("%s" % 1, {"a": [2]}, file=sys.stderr); raise ValueError("x")',
    'print(1); ctx.log("info", {"a": 1}); await ctx.progress(1, 2, "x"); return {"a": [1, "é", None]}',
    'return 1',
    '  import asyncio\n  await asyncio.sleep(0)\n  return args',
)


def practise():
    # What runs for the first time is slow.
    head = json.dumps({
        'nonce': '00' * 16, 'tool': 'x', 'revision': 1, 'requestId': 'x', 'leftMs': 60000,
        'maxOutputBytes': 65536, 'logLevel': 'debug', 'wantsProgress': True, 'clientCapabilities': {},
    }).encode()
    for code in PRACTICE:
        new_loop()
        args = b'{"a":1}'
        work(struct.pack('<I', len(head)) + head + struct.pack('<I', len(args)) + args + code.encode())
        THE_LOOP.close()
    state.clear()
    state.nonce = NO_CALL
    lines_cache.pop(FILE, None)
    new_loop()


def begin():
    global OWN_THREADS
    practise()
    _thread.start_new_thread(listen, ())
    live_until(OPTIONS['maxAgeMs'])
    OWN_THREADS = len(os.listdir('/proc/self/task'))
    gc.collect()
    gc.freeze()
    state.silent = False
    write_all(frame(READY, b''))
    called.acquire()
    work(CALLS.pop())
    os_exit(74)


try:
    begin()
except BaseException as error:
    if state.is_child:
        os_exit(1)
    os.write(2, join(describe_trace(type(error), error, error.__traceback__).format()).encode())
    os_exit(73)
