# --- How much was used: the cgroup's own account where it can be read (version 1, then 2) ---


def open_first(*paths):
    for path in paths:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # The other version.
    return -1


CPU = open_first('/sys/fs/cgroup/cpuacct/cpuacct.usage', '/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage',
                 '/sys/fs/cgroup/cpu.stat')
PEAK = open_first('/sys/fs/cgroup/memory/memory.max_usage_in_bytes', '/sys/fs/cgroup/memory.peak')
KILLS = open_first('/sys/fs/cgroup/memory/memory.oom_control', '/sys/fs/cgroup/memory.events')
PIDS = open_first('/sys/fs/cgroup/pids/pids.events', '/sys/fs/cgroup/pids.events')
TASKS = open_first('/sys/fs/cgroup/pids/pids.current', '/sys/fs/cgroup/pids.current')


def account(fd, name=b''):
    try:
        text = os_pread(fd, 1024, 0)
        return int(text[text.index(name) + len(name):].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return -1


IS_NANOS = account(CPU, b'usage_usec ') < 0


def cpu_micros():
    return account(CPU) // 1000 if IS_NANOS else account(CPU, b'usage_usec ')


def spent(failed):
    peak = account(PEAK)
    # What the agent itself needed until the call came is not the call's.
    cpu = cpu_micros() - state.cpu_before
    if cpu < 0 or state.cpu_before < 0 or peak < 0:
        own = getrusage(resource.RUSAGE_SELF)
        cpu, peak = int((own.ru_utime + own.ru_stime) * 1e6), own.ru_maxrss * 1024
    # What the kernel refused explains a failure and nothing else.
    killed = refused = 0
    if failed:
        killed = max(0, account(KILLS, b'oom_kill ') - state.kills_before)
        refused = max(0, account(PIDS, b'max ') - state.refused_before)
    return b'{"cpu_micros":%d,"peak_bytes":%d,"truncated":%s,"oom_kills":%d,"pids_refused":%d}' % (
        cpu, peak, b'true' if state.truncated else b'false', killed, refused)


# --- The end of the call ---


def report(kind, payload):
    if state.is_child:
        os_exit(0 if kind == VALUE else 1)
    with lock:
        if state.ended:
            return
        flush_lines()
        last = frame(kind, payload) + frame(SPENT, spent(kind == FAILURE))
        state.ended = True
        if state.is_over and state.shared:
            # It goes out together with the word that the next call may come.
            state.answer = last
            return
        write_all(last)
    if state.silent or state.shared and thread_ident() == main_ident:
        return
    leave()


def answer(more=b''):
    """Sends what a shared call has come to, if that was not done before what takes long."""
    last, state.answer = state.answer + more, b''
    if last:
        write_all(last)


def leave():
    # Nothing runs any more. The end of a process takes a while, and the engine will see to it once it
    # has passed the answer on; should it not, there is an end all the same.
    sleep(0.1)
    os_exit(0)


def fail(message, trace=None, cause='Threw'):
    if state.is_child:
        # A process that the code forked: its end is nobody's result.
        os.write(2, bytes_of((trace or message) + '\n'))
        os_exit(1)
    with lock:
        if state.ended:
            return
        if trace is not None:
            try:
                text_flush(ERRORS)
            except BaseException:
                pass  # The code closed it.
            print_line(ERROR, bytes_of(trace))
        report(FAILURE, b'{"cause":"%s","message":%s}' % (cause.encode(), bytes_of(escaped(clip(message)))))


def sentence(error):
    """What an exception says."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:
        return f'{name}, which cannot be described'
    if not text:
        return name
    # The text of these is the key alone.
    return f'{name}: {text}' if isinstance(error, KeyError) else text


def trace_of(error):
    """Where it came from, without the agent's own part."""
    try:
        place = first = error.__traceback__
        while place is not None and place.tb_frame.f_code.co_filename != FILE:
            place = place.tb_next
        told = describe_trace(type(error), error, place or first, limit=-STACK_LINES)
        return clip(join(told.format()).rstrip('\n'))
    except BaseException:
        return None


def fail_with(error, before=''):
    if isinstance(error, MemoryError):
        limit = OPTIONS['memoryBytes']
        return fail(f'the code used more than its memory limit of {limit} bytes', trace_of(error), 'OutOfMemory')
    if isinstance(error, SystemExit):
        code = error.code
        if code is not None and not isinstance(code, int):
            print(clip(sentence(error)), file=ERRORS)
            code = 1
        if state.is_child:
            os_exit(int(code or 0) & 255)
        number = code if code is not None else 0
        return fail(f'the code ended its own process (exit code {int(number)}) before it returned')
    return fail(before + sentence(error), trace_of(error))


def finish(value):
    try:
        data = encode(value)
    except NotJson as error:
        return fail(f'the returned value is not JSON: it {error}' if not error.path
                    else f'the returned value is not JSON: result{error}')
    except BaseException as error:
        return fail_with(error, 'the returned value is not JSON: ')
    if len(data) > state.max_output:
        return fail(f'the result has {len(data)} bytes; {state.max_output} are allowed', None, 'TooLarge')
    return report(VALUE, data)


