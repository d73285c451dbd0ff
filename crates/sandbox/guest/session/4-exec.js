
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

const runCommand = async (job, text, timeoutMs, most) => {
  const pipes = await twoPipes();
  if (job.cancelled) {
    for (const { read, write } of pipes) for (const fd of [read, write]) if (typeof fd === 'number') fs.closeSync(fd);
    return 0;
  }
  const before = remember();
  job.before ??= before;
  const kills = oomKills();
  const out = new Kept(most), err = new Kept(most);
  const begun = performance.now();
  let timedOut = false;
  const [code, name] = await new Promise((done, failed) => {
    let timer;
    start(SHELL, ['-c', '--', text], pipes, {
      env: environment,
      stdin: 'ignore',
      argv0: 'sh',
      take: (fd, bytes) => (fd === 1 ? out : err).add(bytes),
      ended: (error, ...how) => {
        clearTimeout(timer);
        if (error === undefined) done(how);
        else failed(error);
      },
    });
    timer = setTimeout(() => {
      timedOut = true;
      // With everything that it started; its own end follows.
      killStrangers(before);
    }, timeoutMs);
  });
  if (job.cancelled) return 0;
  const [ofOut, ofErr] = shares(out, err, most);
  pour(OUT, job.operation, out.first(ofOut));
  pour(ERR, job.operation, err.first(ofErr));
  tell(COMMAND, job.operation, {
    code, signal: name, timedOut, micros: Math.round((performance.now() - begun) * 1000),
    out: out.total, err: err.total, oomKills: oomKills() - kills,
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
      left -= await runCommand(job, commands[at], time, Math.floor(left / (commands.length - at)));
    }
    finish(operation, {});
  };
  all().catch((error) => fail(operation, error)).finally(refill);
  return job;
};
