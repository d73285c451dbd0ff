# --- Running the code ---

FILE = 'tool.py'
ASYNC_GENERATOR = 0x200


def parsed(code):
    """The statements of the code, with the lines that its author knows."""
    first = re.search(r'^(?![ \t\f]*(#|$))', code, re.MULTILINE)
    if first is None or code[first.end()] not in ' \t':
        return parse_code(code, FILE).body
    # All of it is indented: as it is, inside of a block, so that no text in it changes.
    try:
        body = parse_code(f'if 1:\n{code}', FILE).body
    except SyntaxError as error:
        if error.lineno is not None:
            error.lineno -= 1
        raise
    if len(body) != 1:
        raise IndentationError('unindent does not match the first line',
                               (FILE, body[1].lineno - 1, 1, None))
    ast.increment_lineno(body[0], -1)
    return body[0].body


def compiled(code, begins=False):
    if code[:1] == '\ufeff':
        code = code[1:]
    body = parsed(code)
    future = []
    while body and isinstance(body[0], ast.ImportFrom) and body[0].module == '__future__':
        future.append(body.pop(0))
    run = parse_code('async def run(args, ctx): pass', FILE)
    if body:
        run.body[0].body = with_gate(body) if begins else body
    run.body[:0] = future
    return compile_code(run, FILE, 'exec', dont_inherit=True)


KNOWN = [None, None]


def compiled_once(code):
    """A shared sandbox runs the same code again and again."""
    if KNOWN[0] != code:
        KNOWN[:] = code, compiled(code)
    return KNOWN[1]


def load(code, begins=False):
    """The coroutine function that the code is the body of, in a module of its own; one that `begins`
    without its call has a gate for arguments."""
    lines_cache[FILE] = (len(code), None, code.splitlines(True), FILE)
    module = types.ModuleType('__main__')
    module.__file__ = FILE
    module.__builtins__ = _builtins
    sys.modules['__main__'] = module
    names = module.__dict__
    execute(compiled(code, True) if begins else compiled_once(code), names)
    run = names.pop('run')
    if run.__code__.co_flags & ASYNC_GENERATOR:
        raise SyntaxError('the code yields; its result is what it returns', (FILE, 1, 1, None))
    return run


def syntax_error(error):
    place = ''
    if error.filename == FILE and error.lineno is not None:
        place = f' ({FILE}:{error.lineno}:{error.offset or 1})'
    trace = join(describe_trace(type(error), error, None).format_exception_only())
    fail(f'{error.msg}{place}', clip(trace.rstrip('\n')))


LOOK_AGAIN = 0.1


class Watched(selectors.DefaultSelector):
    """Notices that nothing is left to wait for."""

    def select(self, timeout=None):
        if timeout is None and state.working:
            if not self.can_wake():
                # What has just gone may have woken it up before.
                woken = super().select(0)
                if woken:
                    return woken
                fail('the code can never come to its end: nothing that it waits for is left')
            # What could wake it up may go without a word, as a thread does.
            timeout = LOOK_AGAIN
        return super().select(timeout)

    def can_wake(self):
        # The loop's own pair is always there.
        return len(self.get_map()) > 1 or state.signal._waiting or signal.getitimer(signal.ITIMER_REAL)[0] > 0 \
            or THE_LOOP._signal_handlers or other_threads() or has_children()


def other_threads():
    """Whether there are threads besides those of the agent, also such as Python does not know."""
    return len(os.listdir('/proc/self/task')) > OWN_THREADS


def has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        return False


def task_of(loop, coro, **more):
    task = Task(coro, loop=loop, **more)
    state.tasks.add(task)
    return task


def loop_failed(_loop, context):
    """What nobody could catch."""
    error = context.get('exception')
    if error is None:
        with lock:
            print_line(ERROR, bytes_of(clip(str(context.get('message')))))
    else:
        fail_with(error)


def thread_failed(args):
    if not issubclass(args.exc_type, SystemExit):
        fail_with(args.exc_value if args.exc_value is not None else args.exc_type())


def restore_builtins():
    names = vars(_builtins)
    if names == BUILTINS:
        return
    dict.update(names, BUILTINS)
    for name in [name for name in names if name not in BUILTINS]:
        del names[name]


async def drive(run, args, context):
    try:
        value = await run(args, context)
    finally:
        # The loop needs them once more.
        restore_builtins()
    # What fails in this turn is known after it.
    await pause(0)
    return value


def new_loop():
    global THE_LOOP
    state.tasks = weakref.WeakSet()
    THE_LOOP = asyncio.SelectorEventLoop(Watched())
    THE_LOOP.set_task_factory(task_of)
    THE_LOOP.set_exception_handler(loop_failed)


def run_call(head, args, code):
    told = state.signal = Signal()
    context = Context(head, told)
    main = go_on(code, args, context)
    if main is None:
        try:
            run = load(code)
        except SyntaxError as error:
            return syntax_error(error)
        except (MemoryError, RecursionError):
            return fail('the code is nested too deeply to be compiled')
        except ValueError as error:
            return fail(sentence(error))
        main = THE_LOOP.create_task(drive(run, args, context))
        state.tasks.discard(main)
    try:
        value = THE_LOOP.run_until_complete(main)
    except BaseException as error:
        state.is_over = True
        return fail_with(error)
    state.is_over = True
    for task in list(state.tasks):
        # It failed, and nobody asked.
        if task.done() and task._log_traceback:
            return fail_with(task.exception())
    return finish(value)


