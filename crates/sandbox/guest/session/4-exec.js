
// --- Commands of the shell, one after another ---

let environment = process.env;

// The beginning of what a stream brings, and how much it was.
class Kept {
  constructor(most) {
    this.most = most;
    this.bytes = Buffer.alloc(0);
    this.length = 0;
    this.total = 0;
  }

  add(more) {
    this.total += more.length;
    const take = Math.min(more.length, this.most - this.length);
    if (take <= 0) return;
    if (this.length + take > this.bytes.length) {
      const bytes = Buffer.allocUnsafe(Math.min(this.most, Math.max(4096, 2 * (this.length + take))));
      this.bytes.copy(bytes, 0, 0, this.length);
      this.bytes = bytes;
    }
    more.copy(this.bytes, this.length, 0, take);
    this.length += take;
  }

  first(most) {
    return this.bytes.subarray(0, Math.min(this.length, most));
  }
}

// How much of each is sent when both together may be so much: the smaller one is whole.
const shares = (out, err, most) => {
  if (out.length + err.length <= most) return [out.length, err.length];
  const half = most >> 1;
  if (err.length <= half) return [most - err.length, err.length];
  if (out.length <= half) return [out.length, most - out.length];
  return [most - half, half];
};

// A shell that waits for the next command, for it takes longer to make a process of Node.js's size than
// most commands take. It reads the text, up to the end, and becomes the shell that would have been started:
// with that number, that environment and those streams. Its `read` is made for text in lines; for other
// bytes, and for much text, a new shell is started. So it is where the session has a path of its own
// or variables that a shell obeys.
const WAITS = '__text=; while IFS= read -r __line; do __text="$__text$__line\n"; done <&3; exec sh -c -- "$__text$__line" 3<&-';
const PLAIN = /^[\t\n\x20-\x7e]{0,4000}$/;
const OBEYED = /^(PATH|IFS|ENV|SHELLOPTS|POSIXLY_CORRECT|BASH.*|__.*)$/;
const WAIT_AFTER = 25;
let ready, mayWait = false;

const makeReady = () => {
  // Making one would hold up what runs.
  if (!mayWait || ready !== undefined || current !== undefined || waiting.length < 3 || making !== undefined) return;
  const shell = { take: () => {}, ended: () => {}, isGone: false };
  let input;
  try {
    input = newInput();
    shell.child = start(SHELL, ['-c', '--', WAITS], [newPipe(), newPipe()], {
      env: environment,
      stdin: 'ignore',
      argv0: 'sh',
      more: [input.read],
      take: (fd, bytes) => shell.take(fd, bytes),
      ended: (...how) => {
        shell.isGone = true;
        helpers.delete(shell.child?.pid);
        if (ready === shell) drop();
        shell.ended(...how);
      },
    });
  } catch { /* no process can be made now: the command that wants one is told */ }
  if (input === undefined) return;
  fs.closeSync(input.read);
  if (shell.child?.pid === undefined) {
    fs.closeSync(input.write);
    return;
  }
  helpers.add(shell.child.pid);
  shell.input = input.write;
  ready = shell;
};
const drop = () => {
  const { input } = ready;
  ready = undefined;
  fs.closeSync(input);
};
const soonReady = () => { if (mayWait) setTimeout(makeReady, WAIT_AFTER); };

// After what has taken time: pipes for the next ones, and a shell.
const rest = () => {
  const pipes = refill();
  if (pipes === undefined) soonReady();
  else pipes.then(soonReady);
};

// The one that waits, when it still does and may have this text. It is none of those who were there before.
const takeReady = (text, before) => {
  const shell = ready;
  if (shell === undefined || !PLAIN.test(text)) return undefined;
  const { pid } = shell.child;
  const found = processOf(pid);
  if (found === undefined || !'SRD'.includes(found.state)) {
    signal(pid, 'SIGKILL');
    return undefined;
  }
  ready = undefined;
  helpers.delete(pid);
  before.known.delete(`${pid} ${found.begun}`);
  before.sessions.delete(pid);
  return shell;
};

// Has a shell run the text. `ended` comes once, as for any child.
const startShell = async (job, text, handlers) => {
  if (making !== undefined) await making;
  if (ready !== undefined && !job.cancelled) {
    const before = remember();
    const shell = takeReady(text, before);
    if (shell !== undefined) {
      job.before ??= before;
      Object.assign(shell, handlers);
      try {
        fs.writeSync(shell.input, text);
      } catch { /* it has just ended, as will be told */ }
      fs.closeSync(shell.input);
      return before;
    }
  }
  const pipes = await twoPipes();
  if (job.cancelled) {
    for (const { read, write } of pipes) for (const fd of [read, write]) if (typeof fd === 'number') fs.closeSync(fd);
    return undefined;
  }
  const before = remember();
  job.before ??= before;
  start(SHELL, ['-c', '--', text], pipes, { env: environment, stdin: 'ignore', argv0: 'sh', ...handlers });
  return before;
};

const runCommand = async (job, text, timeoutMs, most, isLast) => {
  const kills = oomKills();
  const out = new Kept(most), err = new Kept(most);
  const begun = performance.now();
  let timedOut = false;
  const how = await new Promise((done, failed) => {
    let timer;
    startShell(job, text, {
      take: (fd, bytes) => (fd === 1 ? out : err).add(bytes),
      ended: (error, ...as) => {
        clearTimeout(timer);
        if (error === undefined) done(as);
        else failed(error);
      },
    }).then((before) => {
      if (before === undefined) return done(undefined);
      timer = setTimeout(() => {
        timedOut = true;
        // With everything that it started; its own end follows.
        killStrangers(before);
      }, timeoutMs);
      return undefined;
    }, failed);
  });
  if (job.cancelled || how === undefined) return 0;
  const [code, name] = how;
  const [ofOut, ofErr] = shares(out, err, most);
  together(() => {
    pour(OUT, job.operation, out.first(ofOut));
    pour(ERR, job.operation, err.first(ofErr));
    tell(COMMAND, job.operation, {
      code, signal: name, timedOut, micros: Math.round((performance.now() - begun) * 1000),
      out: out.total, err: err.total, oomKills: oomKills() - kills,
    });
    if (isLast) finish(job.operation, {});
  });
  return ofOut + ofErr;
};

const execute = (operation, payload) => {
  const { commands, timeoutMs, leftMs, most } = JSON.parse(payload);
  const until = performance.now() + leftMs;
  const job = { operation, cancelled: false, before: undefined };
  job.cancel = () => {
    job.cancelled = true;
    if (job.before !== undefined) killStrangers(job.before);
  };
  const all = async () => {
    if (!has.shell) throw new Refusal('policy_denied', 'the image of this session has no shell (`sh`)');
    let left = most;
    for (let at = 0; at < commands.length && !job.cancelled; at += 1) {
      const time = Math.min(timeoutMs, until - performance.now());
      if (time <= 0) break;
      left -= await runCommand(job, commands[at], time, Math.floor(left / (commands.length - at)), at === commands.length - 1);
    }
    finish(operation, {});
  };
  all().catch((error) => fail(operation, error)).finally(rest);
  return job;
};
