# --- After a call of a tool whose calls share this process: the world as it was, or none at all ---

WORLD = None
ROOMS = ('/workspace', '/tmp', '/dev/shm')
PATIENCE = 0.05


def processes():
    return [name for name in os.listdir('/proc') if name.isdigit()]


def account_of(processes):
    """The control group's count of tasks, if it is that of these processes with the agent's own threads; else 0.

    A thread that is just ending, as that of the clock that was set before (`live_for`), is still counted: who took such a
    count for that of nobody would not see the next process that a call leaves.
    """
    tasks = account(TASKS)
    return tasks if tasks == OWN_THREADS + len(processes) - 1 else 0


FILES = '/proc/self/fd'


def count_files():
    """The size of that directory is the number of open files, since Linux 6.2."""
    return os.stat(FILES).st_size or len(os.listdir(FILES))


class Room:
    """A place for files. One in memory is as large as it has entries; another, as it is tried once, is read."""

    def __init__(self, path):
        self.path, self.fd = path, -1
        probe = f'{path}/.probe'
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.empty = os.fstat(fd).st_size
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            full = os.fstat(fd).st_size
            os.unlink(probe)
            if os.fstat(fd).st_size == self.empty < full:
                self.fd = fd
        except OSError:
            pass  # Whenever somebody wants to know.

    def is_empty(self):
        return os.fstat(self.fd).st_size == self.empty if self.fd >= 0 else not os.listdir(self.path)


class World:
    """What a call may have changed. It is no wall: it keeps honest code from stumbling over the call before."""

    def __init__(self):
        self.rooms = [Room(path) for path in ROOMS]
        self.environ = dict(os.environ._data)
        self.cwd = os.getcwd()
        self.path = list(sys.path)
        self.hooks = (list(sys.meta_path), list(sys.path_hooks))
        self.modules = dict(sys.modules)
        self.filters = list(warnings.filters)
        self.numbers = [int(number) for number in signal.valid_signals()]
        self.handlers = list(map(get_handler, self.numbers))
        self.limits = (sys.getrecursionlimit(), sys.getswitchinterval())
        self.loggers = set(logging.root.manager.loggerDict)
        self.files = count_files()
        own = processes()
        self.processes = len(own)
        self.tasks = account_of(own)
        self.attributes = [(vars(module), dict(vars(module))) for module in (os, sys, json, asyncio, time, threading, io)]
        self.collected = gc.get_count()[1:]

    def is_quickly_restored(self):
        """Whether there is nothing to wait for and nothing to be removed."""
        try:
            return all(task.done() for task in state.tasks) and len(sys._current_frames()) == 2 \
                and all(room.is_empty() for room in self.rooms)
        except BaseException:
            return False

    def restore(self, is_quick):
        """Whether everything is as it was."""
        try:
            return (is_quick or self.tasks_are_over()) and self.names_are_restored() \
                and (is_quick or self.rooms_are_empty()) and self.is_alone()
        except BaseException:
            return False

    def tasks_are_over(self):
        left = [task for task in list(state.tasks) if not task.done()]
        if left:
            for task in left:
                task.cancel()
            THE_LOOP.run_until_complete(wait_for_all(left, timeout=PATIENCE))
            if not all(task.done() for task in left):
                return False
        executor = THE_LOOP._default_executor
        if executor is not None:
            executor.shutdown(wait=False)
        return True

    def names_are_restored(self):
        restore_builtins()
        if os.environ._data != self.environ:
            os.environ.clear()
            os.environ.update((os.fsdecode(name), os.fsdecode(value)) for name, value in self.environ.items())
        os.chdir(self.cwd)
        sys.path[:] = self.path
        sys.meta_path[:], sys.path_hooks[:] = self.hooks
        ARGV[:] = ['tool.py']
        sys.argv = ARGV
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = PRINTED, ERRORS
        sys.stdin = sys.__stdin__ = EMPTY
        threading.excepthook = thread_failed
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self.limits[0])
        sys.setswitchinterval(self.limits[1])
        gc.enable()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if list(map(get_handler, self.numbers)) != self.handlers:
            for number, handler in zip(self.numbers, self.handlers):
                if get_handler(number) is not handler and handler is not None:
                    signal.signal(number, handler)
        warnings.filters[:] = self.filters
        logging.root.handlers[:] = []
        logging.root.setLevel(logging.WARNING)
        logging.disable(logging.NOTSET)
        for name in [name for name in logging.root.manager.loggerDict if name not in self.loggers]:
            del logging.root.manager.loggerDict[name]
        # To compare whole dictionaries is many times faster than one entry after another.
        for names, before in self.attributes:
            if names != before and \
                    any(names.get(name, self) is not value for name, value in before.items() if name[:2] != '__'):
                return False
        sys.modules['__main__'] = self.modules['__main__']
        if sys.modules != self.modules:
            self.modules_are_restored()
        lines_cache.pop(FILE, None)
        return not PRINTED.closed and not ERRORS.closed

    def modules_are_restored(self):
        """Modules of packages stay, because many cannot be loaded twice; the tool's own are loaded afresh."""
        for name, module in list(sys.modules.items()):
            if self.modules.get(name) is not module and not is_of_package(module):
                if name in self.modules:
                    sys.modules[name] = self.modules[name]
                else:
                    del sys.modules[name]
        self.modules = dict(sys.modules)

    def rooms_are_empty(self):
        for room in ROOMS:
            with os.scandir(room) as entries:
                for entry in list(entries):
                    if entry.is_dir(follow_symlinks=False):
                        rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
        return True

    def is_alone(self):
        """No thread, no process and no open file is left."""
        # What came with the call is still among the youngest, unless they were looked through meanwhile.
        gc.collect(0 if gc.get_count()[1:] == self.collected else 2)
        self.collected = gc.get_count()[1:]
        until = now() + PATIENCE
        while not self.has_nobody():
            if now() > until:
                return False
            sleep(0.001)
        return count_files() <= self.files

    def has_nobody(self):
        """Whether there is no thread of Python's and no process. Threads of C libraries alone are none of the tool's."""
        if len(sys._current_frames()) != 2:
            return False
        # Of all control groups' counts the one that is read at once; what it cannot tell is looked up.
        tasks = account(TASKS)
        if 0 < tasks == self.tasks:
            return True
        while has_children():
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        left = processes()
        if len(left) != self.processes:
            return False
        self.tasks = account_of(left)
        return True

    @staticmethod
    def refresh():
        """What the next call needs anew."""
        THE_LOOP.close()
        new_loop()
        random.seed()


def is_of_package(module):
    """Whether it came from where nothing can be written."""
    origin = getattr(module, '__file__', None) or getattr(getattr(module, '__spec__', None), 'origin', None)
    return isinstance(origin, str) and not origin.startswith(ROOMS) and origin != FILE


