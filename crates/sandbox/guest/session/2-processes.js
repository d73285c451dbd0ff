
// --- Processes: who there is, and the end of what an operation started ---

// Children of the agent that belong to no operation: their ids.
const helpers = new Set();

const scratch = Buffer.alloc(1024);
const processOf = (pid) => {
  let text;
  try {
    const fd = fs.openSync(`/proc/${pid}/stat`, O_RDONLY);
    try {
      text = scratch.latin1Slice(0, fs.readSync(fd, scratch, 0, scratch.length, 0));
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return undefined;
  }
  // The name is in brackets and may hold anything.
  const fields = text.slice(text.lastIndexOf(') ') + 2).split(' ');
  return { pid, state: fields[0], parent: +fields[1], session: +fields[3], begun: fields[19] };
};

const everybody = () => {
  const all = new Map();
  for (const name of fs.readdirSync('/proc')) {
    const first = name.charCodeAt(0);
    if (first < 49 || first > 57) continue;
    const found = processOf(+name);
    if (found !== undefined) all.set(found.pid, found);
  }
  return all;
};

// What is there before an operation begins, and so is none of it.
const remember = () => {
  const known = new Set(), sessions = new Set();
  for (const { pid, begun, session } of everybody().values()) {
    known.add(`${pid} ${begun}`);
    sessions.add(session);
  }
  return { known, sessions };
};

// Whatever is new, but for what older processes started: those above it in the tree, or the session
// that it is still in, were there before. A process that is new can become neither.
const strangers = (before) => {
  const all = everybody();
  const isOlder = (found) => {
    for (let it = found, steps = 0; it !== undefined && steps < 1000; steps += 1) {
      if (it.pid === 1 || it.pid === process.pid) return it === found;
      if (helpers.has(it.pid) || before.known.has(`${it.pid} ${it.begun}`)) return true;
      if (before.sessions.has(it.session)) return true;
      it = all.get(it.parent);
    }
    return false;
  };
  return [...all.values()].filter((it) => it.state !== 'Z' && it.state !== 'X' && !isOlder(it));
};

const signal = (pid, name) => {
  try { process.kill(pid, name); } catch { /* it is gone */ }
};

const PATIENCE = 3000;

// Ends everything that an operation started, whatever it did to get away. First everybody is frozen,
// in one call of the kernel that no fork gets past: then nobody can fork while others are killed.
const killStrangers = (before) => {
  const asleep = new Set();
  for (const { pid, state } of everybody().values()) if (state === 'T') asleep.add(pid);
  const until = performance.now() + PATIENCE;
  signal(-1, 'SIGSTOP');
  try {
    for (;;) {
      const left = strangers(before);
      if (left.length === 0) return;
      // What the kernel does not end cannot be left behind: the session ends.
      if (performance.now() > until) process.reallyExit(75);
      for (const { pid } of left) signal(pid, 'SIGKILL');
      sleep(1);
    }
  } finally {
    for (const pid of everybody().keys()) {
      if (pid !== 1 && pid !== process.pid && !asleep.has(pid)) signal(pid, 'SIGCONT');
    }
  }
};

// When memory runs out the kernel takes these before it takes the agent.
const offer = (pid) => {
  try { fs.writeFileSync(`/proc/${pid}/oom_score_adj`, '1000'); } catch { /* it has ended */ }
};

// --- What the kernel counts for the whole session (control groups version 1, then 2) ---

const opened = (...paths) => {
  for (const path of paths) {
    try { return fs.openSync(path, 'r'); } catch { /* the other version */ }
  }
  return -1;
};
const accounts = {
  kills: opened('/sys/fs/cgroup/memory/memory.oom_control', '/sys/fs/cgroup/memory.events'),
  pids: opened('/sys/fs/cgroup/pids/pids.events', '/sys/fs/cgroup/pids.events'),
  used: opened('/sys/fs/cgroup/memory/memory.usage_in_bytes', '/sys/fs/cgroup/memory.current'),
};
const account = (fd, name) => {
  if (fd < 0) return 0;
  let text;
  try {
    text = scratch.latin1Slice(0, fs.readSync(fd, scratch, 0, scratch.length, 0));
  } catch {
    return 0;
  }
  const line = text.split('\n').find((it) => it.startsWith(name)) ?? '';
  const number = +line.slice(name.length);
  return Number.isFinite(number) ? number : 0;
};
const oomKills = () => account(accounts.kills, 'oom_kill ');
const pidsRefused = () => account(accounts.pids, 'max ');
const memoryUsed = () => account(accounts.used, '');
