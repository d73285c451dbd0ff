// --- Calls of a tool that share this process: a realm for each, and afterwards the world as it was ---

// It is no wall: what is of the host, such as modules and the classes of the web, is the same object in
// every realm. It keeps honest code from stumbling over the call before; what cannot be cleaned ends
// the process.
const { createContext } = vm;
const { readdirSync, rmSync } = fs;
const { ownKeys, getOwnPropertyDescriptor } = Reflect;
const { defineProperty, is: same } = Object;
const ROOMS = ['/workspace', '/tmp', '/dev/shm'];
const THREADS = +(process.env.UV_THREADPOOL_SIZE || 4);
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

const makeRealm = () => {
  const global = createContext({}, { name: 'tool' });
  for (const name of world.host) {
    const found = getOwnPropertyDescriptor(globalThis, name);
    if (found !== undefined) defineProperty(global, name, found.get ? {
      get: () => globalThis[name],
      set(value) { defineProperty(global, name, { value, writable: true, configurable: true }); },
      configurable: true, enumerable: found.enumerable,
    } : found);
  }
  defineProperty(global, 'console', { value: { ...console }, writable: true, configurable: true });
  defineProperty(global, 'global', { value: global, writable: true, configurable: true });
  defineProperty(global, 'require', { value: world.require(), writable: true, configurable: true });
  return global;
};

const listenersNow = () => {
  const all = new Map();
  for (const name of process.eventNames()) all.set(name, process.rawListeners(name));
  return all;
};
const countProcesses = () => readdirSync('/proc').filter((name) => name[0] >= '0' && name[0] <= '9').length;
const countThreads = () => readdirSync('/proc/self/task').length;
const countFiles = () => readdirSync('/proc/self/fd').length;
const activeNow = () => {
  const counts = new Map();
  for (const kind of process.getActiveResourcesInfo?.() ?? []) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
};
const INTRINSICS = [Object, Function, Array, String, Number, Promise, Map, Set, RegExp, Error, Date, Buffer, URL,
  AbortSignal, AbortController, EventTarget].flatMap((it) => [it, it.prototype]).concat([JSON, Math, Reflect]);
const intrinsicsNow = () => INTRINSICS.map((object) => ownKeys(object).map((key) => {
  const found = getOwnPropertyDescriptor(object, key);
  return found.value ?? found.get ?? key;
}));

// What a call may have changed.
const makeWorld = () => {
  const timers = require('timers');
  for (const [name, stop] of [['setTimeout', 'clearTimeout'], ['setInterval', 'clearInterval'],
    ['setImmediate', 'clearImmediate']]) {
    globalThis[name] = timers[name] = track(timers[name], timers[stop], name !== 'setInterval');
  }
  // What ECMAScript itself brings is each realm's own.
  const own = new Set(new Script('Object.getOwnPropertyNames(globalThis)').runInContext(createContext({})));
  const cache = createRequire('/').cache;
  return {
    host: Object.getOwnPropertyNames(globalThis).filter((name) => !own.has(name) && name !== 'global'),
    cwd: process.cwd(),
    env: { ...process.env },
    listeners: listenersNow(),
    active: activeNow(),
    globals: ownKeys(globalThis),
    intrinsics: intrinsicsNow(),
    threads: countThreads(),
    processes: countProcesses(),
    files: countFiles(),
    // Packages stay, for they are where nothing can be written; the tool's own files are read afresh.
    require() {
      for (const path of Object.keys(cache)) {
        if (ROOMS.some((room) => path.startsWith(`${room}/`))) delete cache[path];
      }
      return createRequire(`${this.cwd}/tool.js`);
    },
  };
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
  for (const name of ownKeys(globalThis)) if (!world.globals.includes(name)) delete globalThis[name];
  const intrinsics = intrinsicsNow();
  for (let at = 0; at < intrinsics.length; at += 1) {
    const [own, before] = [intrinsics[at], world.intrinsics[at]];
    if (own.length !== before.length || own.some((value, i) => !same(value, before[i]))) return false;
  }
  if (roomsAreFull) for (const room of ROOMS) {
    for (const name of readdirSync(room)) rmSync(`${room}/${name}`, { recursive: true, force: true });
  }
  for (const [kind, count] of activeNow()) {
    if (count > (world.active.get(kind) ?? 0)) return false;
  }
  return countThreads() <= world.threads + THREADS && countProcesses() <= world.processes &&
    countFiles() <= world.files;
};

// The end of a shared call: ready for the next one, or no more. It says so together with the answer and
// looks only then, while the answer is on its way: nothing of the tool runs in between, and an agent that
// ends before it has said that it began with a call has not had it, so that another gets it. What takes
// long, removing files, comes before the word.
const again = (answer) => {
  const ready = frame(READY, allocUnsafe(0));
  let full = true, clean = false;
  try {
    full = ROOMS.some((room) => readdirSync(room).length > 0);
  } catch { /* then all of it is looked at once more */ }
  writeAll(full ? answer : concat([answer, ready]));
  try {
    clean = isAsBefore(full);
    if (clean && full) writeAll(ready);
  } catch { /* what cannot be looked at is not clean */ }
  if (!clean) return exit(0);
  stopTimer(deadMan);
  working = false;
  ended = false;
  truncated = false;
  cancel = () => {};
  staying = false;
  input.ref();
  deadMan = waitsUntil();
  prepared = makeRealm();
  return undefined;
};

