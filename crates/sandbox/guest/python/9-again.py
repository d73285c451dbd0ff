# --- After a call of a tool whose calls share this process: the world as it was, or none at all ---

WORLD = None
ROOMS = ('/workspace', '/tmp', '/dev/shm')
PATIENCE = 0.05


class World:
    """What a call may have changed. It is no wall: it keeps honest code from stumbling over the call before."""

    def __init__(self):
        self.environ = dict(os.environ)
        self.cwd = os.getcwd()
        self.path = list(sys.path)
        self.hooks = (list(sys.meta_path), list(sys.path_hooks))
        self.modules = dict(sys.modules)
        self.filters = list(warnings.filters)
        self.signals = [(number, signal.getsignal(number)) for number in signal.valid_signals()]
        self.limits = (sys.getrecursionlimit(), sys.getswitchinterval())
        self.loggers = set(logging.root.manager.loggerDict)
        self.files = len(os.listdir('/proc/self/fd'))
        self.processes = self.count_processes()
        self.attributes = [(module, dict(vars(module))) for module in (os, sys, json, asyncio, time, threading, io)]

    @staticmethod
    def count_processes():
        return sum(name.isdigit() for name in os.listdir('/proc'))

    def is_quickly_restored(self):
        """Whether there is nothing to wait for and nothing to be removed."""
        try:
            return all(task.done() for task in list(state.tasks)) and len(sys._current_frames()) == 2 \
                and not any(os.listdir(room) for room in ROOMS)
        except BaseException:
            return False

    def restore(self):
        """Whether everything is as it was."""
        try:
            return self.tasks_are_over() and self.names_are_restored() and self.rooms_are_empty() and self.is_alone()
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
        THE_LOOP.close()
        return True

    def names_are_restored(self):
        restore_builtins()
        if dict(os.environ) != self.environ:
            os.environ.clear()
            os.environ.update(self.environ)
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
        for number, handler in self.signals:
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
        warnings.filters[:] = self.filters
        logging.root.handlers[:] = []
        logging.root.setLevel(logging.WARNING)
        logging.disable(logging.NOTSET)
        for name in [name for name in logging.root.manager.loggerDict if name not in self.loggers]:
            del logging.root.manager.loggerDict[name]
        for module, names in self.attributes:
            if any(vars(module).get(name, self) is not value for name, value in names.items() if name[:2] != '__'):
                return False
        # Modules of packages stay, because many cannot be loaded twice; the tool's own are loaded afresh.
        for name, module in list(sys.modules.items()):
            if self.modules.get(name) is not module and not is_of_package(module):
                if name in self.modules:
                    sys.modules[name] = self.modules[name]
                else:
                    del sys.modules[name]
        random.seed()
        lines_cache.pop(FILE, None)
        return not PRINTED.closed and not ERRORS.closed

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
        gc.collect()
        until = now() + PATIENCE
        while True:
            while has_children():
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            # Threads of C libraries alone are none of the tool's.
            if len(sys._current_frames()) == 2 and self.count_processes() == self.processes:
                break
            if now() > until:
                return False
            sleep(0.001)
        new_loop()
        return len(os.listdir('/proc/self/fd')) <= self.files


def is_of_package(module):
    """Whether it came from where nothing can be written."""
    origin = getattr(module, '__file__', None) or getattr(getattr(module, '__spec__', None), 'origin', None)
    return isinstance(origin, str) and not origin.startswith(ROOMS) and origin != FILE


