# --- ctx ---


class Done:
    """What may be awaited and need not be."""
    __slots__ = ()

    def __await__(self):
        return iter(())


DONE = Done()


class Signal:
    """Whether the call was cancelled."""
    __slots__ = ('_aborted', '_waiting')

    def __init__(self):
        self._aborted, self._waiting = False, []

    @property
    def aborted(self):
        """True once nobody waits for the result any more."""
        return self._aborted

    async def wait(self):
        """Returns once the call is cancelled."""
        with lock:
            if self._aborted:
                return
            loop = running_loop()
            future = loop.create_future()
            entry = (loop, future)
            self._waiting.append(entry)
        try:
            await future
        finally:
            with lock:
                if entry in self._waiting:
                    self._waiting.remove(entry)


def abort(told):
    with lock:
        told._aborted = True
        waiting, told._waiting[:] = list(told._waiting), ()
    for loop, future in waiting:
        try:
            loop.call_soon_threadsafe(wake, future)
        except RuntimeError:
            pass  # A loop that the code has closed.


def wake(future):
    if not future.done():
        future.set_result(None)


@dataclasses.dataclass(frozen=True)
class Tool:
    """What runs."""
    name: str
    revision: object


def finite(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value - value != 0:
        raise TypeError(f'ctx.progress: {name} must be a finite number')
    return repr(float(value)) if isinstance(value, float) else int.__repr__(int(value))


class Context:
    """What the code learns of its call."""
    __slots__ = ('tool', 'request_id', 'deadline', 'client_capabilities', '_signal')

    def __init__(self, head, told):
        keep = functools.partial(object.__setattr__, self)
        keep('tool', Tool(head['tool'], head['revision']))
        keep('request_id', head['requestId'])
        keep('deadline', int(now() * 1000) + head['leftMs'])
        keep('client_capabilities', head['clientCapabilities'])
        keep('_signal', told)

    def __setattr__(self, name, value):
        raise AttributeError(f'ctx.{name} cannot be set')

    __delattr__ = functools.partialmethod(__setattr__, None)

    @property
    def signal(self):
        hear()
        return self._signal

    @property
    def requestId(self):
        return self.request_id

    @property
    def clientCapabilities(self):
        return self.client_capabilities

    def log(self, level, data):
        """Sends a message to the client."""
        at = LEVEL_OF.get(level) if isinstance(level, str) else None
        if at is None:
            raise ValueError(f'ctx.log: the level must be one of {", ".join(LEVELS)}')
        try:
            text = encode(data)
        except NotJson as error:
            raise TypeError(f'ctx.log: the data must be JSON: it {error}' if not error.path
                            else f'ctx.log: the data must be JSON: data{error}') from None
        if at >= state.least_level:
            with lock:
                if admit(len(text)):
                    send(LOG, LEVEL_BYTES[at] + text)
        return DONE

    def progress(self, progress, total=None, message=None):
        """Tells the client how far it is."""
        done = finite('progress', progress)
        of = 'null' if total is None else finite('total', total)
        word = 'null' if message is None else escaped(str(message))
        with lock:
            # MCP wants it to grow; a report that does not is not one.
            if state.wants_progress and progress > state.last_progress:
                state.last_progress = progress
                text = bytes_of(f'{{"progress":{done},"total":{of},"message":{word}}}')
                if admit(len(text)):
                    send(PROGRESS, text)
        return DONE


