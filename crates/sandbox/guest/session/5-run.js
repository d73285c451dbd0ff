
// --- Code: each call in a process of its own, which waits with the guest agent loaded ---

// The next process for each runtime, idle or on its way.
const spare = { node: undefined, python: undefined };
const READY_FRAME = 21;
const READY_TIME = 20000;
const AFTER_TAKE = 25;
let lifeEnds = Infinity;
let memoryLimit = Infinity;
// Names of the variables of this session.
let given = [];

// What the guest agent is told when it starts is the last of its arguments.
const programOf = (runtime) => {
  const [program, ...rest] = programs[runtime];
  const told = JSON.parse(rest.pop());
  told.env = [...told.env, ...given];
  told.maxAgeMs = Math.max(1, Math.min(2 ** 31 - 1, Math.round(lifeEnds - performance.now())));
  return [program, [...rest, JSON.stringify(told)]];
};

// A process that gets ready. `ready` settles to whether it did.
const makeRunner = async (runtime) => {
  const pipes = await twoPipes();
  const runner = { runtime, take: undefined, ended: undefined, gone: undefined, said: '' };
  const [program, args] = programOf(runtime);
  let head = Buffer.alloc(0);
  runner.ready = new Promise((done) => {
    const timer = setTimeout(() => { signal(runner.child.pid, 'SIGKILL'); done(false); }, READY_TIME);
    timer.unref();
    const ready = (is) => { clearTimeout(timer); done(is); };
    runner.child = start(program, args, pipes, {
      env: environment,
      stdin: 'pipe',
      take: (fd, bytes) => {
        if (runner.take !== undefined) return runner.take(fd, bytes);
        if (fd === 2) { runner.said = (runner.said + bytes.toString('utf8')).slice(-500); return undefined; }
        head = Buffer.concat([head, bytes]);
        if (head.length >= READY_FRAME && head.length >= READY_FRAME + head.readUInt32LE(16)) ready(head[20] === READY);
        return undefined;
      },
      ended: (error, code, name) => {
        if (runner.child?.pid !== undefined) helpers.delete(runner.child.pid);
        if (spare[runtime] === promised) spare[runtime] = undefined;
        runner.gone = { error, code, name };
        ready(false);
        if (runner.ended !== undefined) runner.ended(code, name);
      },
    });
    if (runner.child.pid !== undefined) helpers.add(runner.child.pid);
    runner.child.stdin?.on('error', () => {});
  });
  return runner;
};
let promised;

const isSpacious = () => memoryUsed() < memoryLimit / 2;

// Sees to it that one waits, where there is room for it.
const prepare = (runtime) => {
  if (spare[runtime] !== undefined || !has[runtime] || !isSpacious()) return;
  prepareNow(runtime);
};
const prepareNow = (runtime) => {
  const making = makeRunner(runtime);
  spare[runtime] = making;
  making.then((runner) => runner.ready.then((is) => {
    if (!is && spare[runtime] === making) spare[runtime] = undefined;
  }), () => { if (spare[runtime] === making) spare[runtime] = undefined; });
  return making;
};

// A process that is ready: the waiting one, or a new one.
const takeRunner = async (runtime) => {
  for (let tries = 0; ; tries += 1) {
    const making = spare[runtime] ?? prepareNow(runtime);
    const runner = await making;
    const is = await runner.ready;
    if (spare[runtime] === making) spare[runtime] = undefined;
    if (is && runner.gone === undefined) return runner;
    if (tries === 1) {
      const { error, code, name } = runner.gone ?? {};
      if (error !== undefined) throw error;
      throw new Refusal('unavailable', `no ${runtime} gets ready in the session (${name ?? `exit code ${code}`}): ${runner.said}`);
    }
  }
};

const run = (operation, payload) => {
  const { runtime, leftMs } = JSON.parse(payload);
  const until = performance.now() + leftMs;
  const job = { operation, cancelled: false };
  let runner, before, timer, timedOut = false, early = [], kills = 0;
  const end = () => { if (runner !== undefined && runner.gone === undefined) signal(runner.child.pid, 'SIGKILL'); };
  job.data = (bytes) => { if (runner !== undefined) runner.child.stdin.write(bytes); else early.push(bytes); };
  // It has reported: what it left running goes on, as after a command.
  job.end = end;
  job.cancel = () => {
    job.cancelled = true;
    if (before !== undefined) killStrangers(before);
  };
  const all = async () => {
    if (!has[runtime]) throw new Refusal('policy_denied', `the image of this session has no ${runtime === 'node' ? 'Node.js (`node`)' : 'Python (`python3`)'}`);
    const taken = await takeRunner(runtime);
    if (job.cancelled) {
      signal(taken.child.pid, 'SIGKILL');
      return finish(operation, {});
    }
    const known = processOf(taken.child.pid);
    helpers.delete(taken.child.pid);
    before = remember();
    before.known.delete(`${taken.child.pid} ${known?.begun}`);
    before.sessions.delete(taken.child.pid);
    runner = taken;
    kills = oomKills();
    const refused = pidsRefused();
    tell(STARTED, operation, { oomKills: kills, pidsRefused: refused });
    runner.take = (fd, bytes) => pour(fd === 1 ? OUT : ERR, operation, bytes);
    const over = (code, name) => {
      clearTimeout(timer);
      runner.take = () => {};
      finish(operation, { code, signal: name, timedOut, oomKills: oomKills() - kills });
    };
    runner.ended = over;
    if (runner.gone !== undefined) return over(runner.gone.code, runner.gone.name);
    timer = setTimeout(() => {
      timedOut = true;
      killStrangers(before);
    }, Math.max(1, until - performance.now()));
    for (const bytes of early) runner.child.stdin.write(bytes);
    early = [];
    setTimeout(() => prepare(runtime), AFTER_TAKE);
    return undefined;
  };
  all().catch((error) => fail(operation, error)).finally(rest);
  return job;
};
