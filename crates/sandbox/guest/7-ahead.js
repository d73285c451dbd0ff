// --- Packages that are loaded before the call comes ---

// The engine names what the code of the call begins with. Whatever stands in the way of waiting quietly,
// or would be missing in the call, is told, and then this process serves nobody.
const required = createRequire(`${process.cwd()}/tool.js`);
const LOOKS = 10;

// As the code's own `import()`.
const importing = () => runHere(new Script('(name) => import(name)', {
  filename: 'tool.js',
  importModuleDynamically: loader ?? ((name) => import(name)),
}));

const loadAll = async (loads) => {
  // All threads for slow work come with the first of it.
  await new PromiseOf((done) => { fs.stat('/', done); });
  const [active, threads, processes] = [activeNow(), countThreads(), processesNow().length];
  const isQuiet = () => {
    for (const [kind, count] of activeNow()) if (count > (active.get(kind) ?? 0)) return false;
    return countThreads() <= threads && processesNow().length <= processes;
  };
  const load = importing();
  for (const [how, name] of loads) {
    if (how === 'import') await load(name);
    else required(name);
  }
  for (let look = 0; look < LOOKS; look += 1) {
    await new PromiseOf((done) => { later(done); });
    if (isQuiet()) break;
    wait(pause, 0, 0, 2);
  }
  // Nothing is printed without a call, but that it was tried is known.
  if (truncated || unfinished[INFO] !== '' || unfinished[ERROR] !== '') return 'it printed something';
  if (!isQuiet()) return 'it left a timer, a file, a connection, a thread or a process';
  if (kills() > 0 || pidsRefused() > 0) return 'it was refused memory or processes';
  return undefined;
};

let loading = false;
const loadAhead = (payload) => {
  loading = true;
  truncated = false;
  const done = (why) => {
    if (why !== undefined) {
      const message = stringify(wellFormed(clip(why)));
      writeAll(frame(FAILURE, bytesOf(`{"cause":"Threw","message":${message}}`)));
      exit(0);
    }
    loading = false;
    send(READY, allocUnsafe(0));
  };
  loadAll(parse(utf8(payload)).loads).then(done, (error) => {
    let told;
    try { told = describe(error).message; } catch { /* it cannot be described */ }
    done(told ?? 'it threw');
  });
};

