# The guest agent for Python: what the engine gives to `python3 -c`, so that any image with Python 3.9
# or newer works. It says that it is ready, reads one call from its input, runs it in this very process
# and reports the end. docs/python.md tells what the code finds here.
#
# Nothing below trusts a name that the code of a tool could have replaced: what is needed later is taken
# before. A tool that patches modules harms itself only; its frames are judged by the engine.
import builtins as _builtins

BUILTINS = dict(vars(_builtins))
globals().update({name: value for name, value in BUILTINS.items() if name[0] != '_'})

import ast, asyncio, codecs, dataclasses, datetime, enum, faulthandler, functools, gc, importlib.util, io, json
import linecache, logging, math, os, random, re, resource, select, selectors, shutil, signal, site, struct, sys
import threading, time, traceback, types, uuid, warnings, weakref
import _signal, _thread

OPTIONS = json.loads(sys.argv[1])

# --- What the agent keeps for itself ---

os_write, os_read, os_pread, os_exit, getpid = os.write, os.read, os.pread, os._exit, os.getpid
loads, escaped = json.loads, json.encoder.encode_basestring
now, sleep, monotonic = time.time, time.sleep, time.monotonic
pack_head, unpack_u32 = struct.Struct('<16sIB').pack, struct.Struct('<I').unpack_from
compile_code, parse_code, execute = compile, ast.parse, exec
Task = asyncio.Task
dump_later = faulthandler.dump_traceback_later
getrusage = resource.getrusage
get_handler = _signal.getsignal
describe_trace = traceback.TracebackException
lines_cache = linecache.cache
running_loop, pause, wait_for_all = asyncio.get_running_loop, asyncio.sleep, asyncio.wait
rmtree = shutil.rmtree
main_ident = _thread.get_ident()
thread_ident = _thread.get_ident
try:
    import ctypes
    flush_c = ctypes.CDLL(None).fflush
except Exception:
    flush_c = None

# The streams of the container are the agent's own: the code finds an empty input and an output that
# its children and C code may write to as they like, or close.
INPUT = os.dup(0)
OUTPUT = os.dup(1)
NOWHERE = os.open('/dev/null', os.O_RDWR | os.O_CLOEXEC)
os.dup2(NOWHERE, 0)

# Without lone surrogates, which readers of JSON refuse.
codecs.register_error('well-formed', lambda error: (b'\xef\xbf\xbd' * (error.end - error.start), error.end))


def bytes_of(text, _encode=str.encode):
    return _encode(text, 'utf-8', 'well-formed')


def clip(text):
    data = bytes_of(text)
    if len(data) > MAX_MESSAGE:
        data = data[:MAX_MESSAGE] + b'...'
    return data.decode('utf-8', 'ignore')


