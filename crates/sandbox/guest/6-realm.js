// --- Calls of a tool that share this process: a realm for each, and afterwards the world as it was ---

// It is no wall: what is of the host, such as modules and the classes of the web, is the same object in
// every realm. It keeps honest code from stumbling over the call before; what cannot be cleaned ends
// the process.
const { createContext } = vm;
const { readdirSync, rmSync, writeFileSync } = fs;
const { ownKeys, getOwnPropertyDescriptor } = Reflect;
const { defineProperty, is: same } = Object;
const PARSE = new Script('JSON.parse');

let world;
// The realm of the next call, made while nobody waits for it.
let prepared;

// Timers that end with their call: each with what stops it.
const tracked = new Map();
const track = (start, stop, once) => {
  const timer = (callback, ...rest) => {
    if (typeof callback !== 'function') return start(callback, ...rest);
    const handle = start(once ? (...args) => {
      tracked.delete(handle);
      return apply(callback, undefined, args);
    } : callback, ...rest);
    tracked.set(handle, stop);
    return handle;
  };
  const promisified = start[util.promisify.custom];
  if (promisified !== undefined) defineProperty(timer, util.promisify.custom, { value: promisified });
  return timer;
};

// What a realm has of the host, as it is defined there. A name that is set in a realm is that realm's own.
const hosted = (names) => names.map((name) => {
  const found = getOwnPropertyDescriptor(globalThis, name);
  return [name, found.get ? {
    get: () => globalThis[name],
    set(value) { defineProperty(this, name, { value, writable: true, configurable: true }); },
    configurable: true, enumerable: found.enumerable,
  } : found];
});

const makeRealm = () => {
  const global = createContext({}, { name: 'tool' });
  for (const [name, found] of world.host) defineProperty(global, name, found);
  defineProperty(global, 'console', { value: { ...console }, writable: true, configurable: true });
  defineProperty(global, 'global', { value: global, writable: true, configurable: true });
  defineProperty(global, 'require', { value: world.required, writable: true, configurable: true });
  return global;
};

const listenersNow = () => {
  const all = new Map();
  for (const name of process.eventNames()) all.set(name, process.rawListeners(name));
  return all;
};
// Processes and threads: of all control groups' counts the one that is read at once. What it cannot tell
// is looked up when it has changed.
const countTasks = () => account(accounts.tasks);
const processesNow = () => readdirSync('/proc').filter((name) => name[0] >= '0' && name[0] <= '9');
const countThreads = (process = 'self') => readdirSync(`/proc/${process}/task`).length;
// The control group's count, if it is that of the threads that all processes are seen to have; else 0. A task
// that is just ending, as those of the container's start, is counted for a moment without being anybody's: who
// took that for the count of nobody would not see the next process that a call leaves.
const countSeen = (processes) => {
  const tasks = countTasks();
  return tasks === processes.reduce((sum, process) => sum + countThreads(process), 0) ? tasks : 0;
};
const isAlone = () => {
  const tasks = countTasks();
  if (tasks > 0 && tasks === world.tasks) return true;
  const left = processesNow();
  if (countThreads() > world.threads || left.length > world.processes) return false;
  world.tasks = countSeen(left);
  return true;
};
// The size of that directory is the number of open files, since Linux 6.2.
const FILES = '/proc/self/fd';
const countFiles = () => statSync(FILES).size || readdirSync(FILES).length;
const activeNow = () => {
  const counts = new Map();
  for (const kind of process.getActiveResourcesInfo?.() ?? []) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
};

// A directory in memory is as large as it has entries. Where it is not, as it is tried once, it is read.
const measured = (path) => {
  try {
    const fd = openSync(path, 'r');
    const size = () => fstatSync(fd).size;
    const [empty, probe] = [size(), `${path}/.probe`];
    writeFileSync(probe, '');
    const full = size();
    rmSync(probe);
    if (full > empty && size() === empty) return { fd, empty, path };
  } catch { /* it is read, whenever somebody wants to know */ }
  return { path };
};
const isEmpty = ({ fd, empty, path }) =>
  empty === undefined ? readdirSync(path).length === 0 : fstatSync(fd).size === empty;
const ROOM_PATHS = ['/workspace', '/tmp', '/dev/shm'];

// Own properties of what all realms share. Only what is no accessor can be read where it is, which is
// many times faster than to ask how it is defined.
const INTRINSICS = [Object, Function, Array, String, Number, Promise, Map, Set, RegExp, Error, Date, Buffer, URL,
  AbortSignal, AbortController, EventTarget].flatMap((it) => [it, it.prototype]).concat([JSON, Math, Reflect]);
const noted = (object) => {
  const keys = ownKeys(object);
  const found = keys.map((key) => [key, getOwnPropertyDescriptor(object, key)]);
  const values = found.filter(([, own]) => 'value' in own).map(([key, { value }]) => [key, value]);
  const accessors = found.filter(([, own]) => !('value' in own));
  return { object, count: keys.length, values, accessors };
};
const isAsNoted = ({ object, count, values, accessors }) => {
  if (ownKeys(object).length !== count) return false;
  for (let at = 0; at < values.length; at += 1) {
    const own = values[at];
    if (!same(object[own[0]], own[1])) return false;
  }
  for (let at = 0; at < accessors.length; at += 1) {
    const own = getOwnPropertyDescriptor(object, accessors[at][0]);
    if (own === undefined || own.get !== accessors[at][1].get || own.set !== accessors[at][1].set) return false;
  }
  return true;
};

// What a call may have changed.
const makeWorld = () => {
  const timers = require('timers');
  for (const [name, stop] of [['setTimeout', 'clearTimeout'], ['setInterval', 'clearInterval'],
    ['setImmediate', 'clearImmediate']]) {
    globalThis[name] = timers[name] = track(timers[name], timers[stop], name !== 'setInterval');
  }
  // What ECMAScript itself brings is each realm's own.
  const own = new Set(new Script('Object.getOwnPropertyNames(globalThis)').runInContext(createContext({})));
  const cwd = process.cwd();
  const required = createRequire(`${cwd}/tool.js`);
  const rooms = ROOM_PATHS.map(measured);
  const active = activeNow();
  // All threads for slow work come with the first of it: from here on any other is the tool's.
  fs.stat('/', () => { world.pending = 0; });
  const processes = processesNow();
  return {
    host: hosted(Object.getOwnPropertyNames(globalThis).filter((name) => !own.has(name) && name !== 'global')),
    cwd,
    required,
    rooms,
    env: { ...process.env },
    listeners: listenersNow(),
    active,
    pending: 1,
    globals: new Set(ownKeys(globalThis)),
    intrinsics: [...INTRINSICS, required, required.resolve].map(noted),
    tasks: countSeen(processes),
    threads: countThreads(),
    processes: processes.length,
    files: countFiles(),
  };
};

// Packages stay, for they are where nothing can be written; the tool's own files are read afresh.
const forgetOwnFiles = () => {
  const { cache } = world.required;
  for (const path in cache) {
    if (ROOM_PATHS.some((room) => path.startsWith(`${room}/`))) delete cache[path];
  }
};

const isAsBefore = (roomsAreFull) => {
  for (const [handle, stop] of tracked) stop(handle);
  tracked.clear();
  process.chdir(world.cwd);
  for (const name of Object.keys(process.env)) if (!(name in world.env)) delete process.env[name];
  for (const name of Object.keys(world.env)) {
    if (process.env[name] !== world.env[name]) process.env[name] = world.env[name];
  }
  process.exitCode = undefined;
  for (const name of process.eventNames()) {
    const before = world.listeners.get(name) ?? [];
    for (const listener of process.rawListeners(name)) {
      if (!before.includes(listener)) process.removeListener(name, listener);
    }
  }
  for (const [name, before] of world.listeners) {
    if (process.rawListeners(name).length !== before.length) return false;
  }
  for (const name of ownKeys(globalThis)) if (!world.globals.has(name)) delete globalThis[name];
  forgetOwnFiles();
  if (!world.intrinsics.every(isAsNoted)) return false;
  if (roomsAreFull) for (const { path } of world.rooms) {
    for (const name of readdirSync(path)) rmSync(`${path}/${name}`, { recursive: true, force: true });
  }
  for (const [kind, count] of activeNow()) {
    const ours = kind === 'FSReqCallback' ? world.pending : 0;
    if (count > (world.active.get(kind) ?? 0) + ours) return false;
  }
  return isAlone() && countFiles() <= world.files;
};

const looksAsBefore = (roomsAreFull) => {
  try {
    return isAsBefore(roomsAreFull);
  } catch {
    // What cannot be looked at is not clean.
    return false;
  }
};
const hasFiles = () => {
  try {
    return !world.rooms.every(isEmpty);
  } catch {
    // Then all of it is looked at once more.
    return true;
  }
};

// The end of a shared call: ready for the next one, or no more. Who says that it is ready has looked
// before, in one write with the answer; only where files have to be removed, which takes long, the answer
// goes first. So an agent that is ready waits for nothing but its next call, and needs no word that it
// began with it: whatever becomes of it then may be the call's doing.
const again = (answer) => {
  const ready = frame(READY, allocUnsafe(0));
  const full = hasFiles();
  if (full) writeAll(answer);
  const clean = looksAsBefore(full);
  if (!full) writeAll(clean ? concat([answer, ready]) : answer);
  if (!clean) return exit(0);
  if (full) writeAll(ready);
  working = false;
  ended = false;
  truncated = false;
  staying = false;
  input.ref();
  endIn(options.maxAgeMs);
  prepared = makeRealm();
  return undefined;
};

