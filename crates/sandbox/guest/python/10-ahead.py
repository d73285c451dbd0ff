# --- Packages that are loaded before the call comes ---


def is_installed(name):
    """Whether a module comes from where the packages of the call are."""
    spec = importlib.util.find_spec(name.partition('.')[0])
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    return any(isinstance(place, str) and place.startswith(f'{PACKAGES}/') for place in places)


FORKS = []


def count_fork():
    if not state.working:
        FORKS.append(None)


os.register_at_fork(after_in_parent=count_fork)


async def load_each(loads):
    """In the loop of the call, as its code would do it."""
    for how, name, names in loads:
        if is_installed(name):
            __import__(name, fromlist=names if how == 'from' else ())
        if state.is_child:
            os_exit(0)


def is_quiet(before):
    """No task, no thread of Python's, no process. Threads of C libraries wait for work without a sound."""
    while has_children():
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            return False
    return all(task.done() for task in state.tasks) and len(sys._current_frames()) == 2 \
        and len(processes()) == before


def load_all(loads, code):
    """Loads what the code of the call begins with, or has the code begin if it is given; says why this
    process cannot wait for it then, if so."""
    before = len(processes())
    state.truncated = False
    main = THE_LOOP.create_task(load_each(loads) if code is None else begin_code(code))
    state.tasks.discard(main)
    THE_LOOP.run_until_complete(main)
    until = monotonic() + PATIENCE
    while not is_quiet(before):
        if monotonic() > until:
            return 'it left a task, a thread or a process'
        sleep(0.002)
    # Nothing is printed without a call, but that it was tried is known.
    with lock:
        flush_lines()
    if state.truncated:
        return 'it printed something'
    if FORKS:
        return 'it forked'
    if account(KILLS, b'oom_kill ') > 0 or account(PIDS, b'max ') > 0:
        return 'it was refused memory or processes'
    return None


def load_ahead(payload):
    """The engine names what is to be loaded. Whoever says that it is done waits as before."""
    global OWN_THREADS
    try:
        why = load_all(**loads(payload))
    except BaseException as error:
        why = sentence(error)
    if state.is_child:
        os_exit(1)
    if why is not None:
        write_all(frame(FAILURE, b'{"cause":"Threw","message":%s}' % bytes_of(escaped(clip(why)))))
        os_exit(0)
    restore_builtins()
    OWN_THREADS = len(os.listdir('/proc/self/task'))
    gc.collect()
    gc.freeze()
    send(READY, b'')


