// --- What was thrown ---

const clip = (text) => {
  const bytes = bytesOf(text);
  if (bytes.length <= MAX_MESSAGE) return utf8(bytes);
  let cut = MAX_MESSAGE;
  while ((bytes[cut] & 0xc0) === 0x80) cut -= 1;
  return `${utf8(bytes, 0, cut)}...`;
};

const property = (value, name) => {
  try {
    const it = value[name];
    return typeof it === 'string' ? it : undefined;
  } catch {
    return undefined;
  }
};

// Lines of the tool's own code.
const ownLines = (stack) => {
  const lines = [];
  let rest = stack;
  while (rest !== '' && lines.length < STACK_LINES) {
    const end = indexOf(rest, '\n');
    const line = end < 0 ? rest : slice(rest, 0, end);
    rest = end < 0 ? '' : slice(rest, end + 1);
    if (indexOf(line, 'tool.js:') >= 0 && indexOf(line, ' at ') >= 0) push(lines, `    ${trim(line)}`);
  }
  return lines;
};

const joined = (head, lines) => {
  let text = head;
  for (let at = 0; at < lines.length; at += 1) text += `\n${lines[at]}`;
  return text;
};

const describe = (value) => {
  if (value === null) return { message: 'null was thrown' };
  switch (typeof value) {
    case 'object': case 'function': break;
    case 'string': return { message: value === '' ? 'an empty string was thrown' : clip(value) };
    case 'undefined': return { message: 'undefined was thrown' };
    case 'number': case 'boolean': return { message: `${value} was thrown` };
    default: return { message: `a ${typeof value} was thrown` };
  }
  let message = property(value, 'message');
  if (message === undefined) {
    let json;
    try { json = stringify(value); } catch { /* a getter or a toJSON threw again */ }
    return { message: clip(`thrown: ${json ?? 'an object that is no error'}`) };
  }
  const name = property(value, 'name') ?? '';
  const lines = ownLines(property(value, 'stack') ?? '');
  if (name === 'SyntaxError' && lines.length > 0 && indexOf(message, 'tool.js:') < 0) {
    const at = lines[0];
    let place = slice(at, indexOf(at, 'tool.js:'));
    const end = indexOf(place, ')');
    if (end >= 0) place = slice(place, 0, end);
    message = `${message} (${place})`;
  }
  return { message: clip(message), stack: clip(joined(`${name}: ${message}`, lines)) };
};

// --- How much was used: the cgroup's own account where it can be read (version 1, then 2) ---

const open = (...paths) => {
  for (const path of paths) {
    try { return openSync(path, 'r'); } catch { /* the other version */ }
  }
  return -1;
};
const accounts = {
  cpu: open('/sys/fs/cgroup/cpuacct/cpuacct.usage', '/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage', '/sys/fs/cgroup/cpu.stat'),
  peak: open('/sys/fs/cgroup/memory/memory.max_usage_in_bytes', '/sys/fs/cgroup/memory.peak'),
  kills: open('/sys/fs/cgroup/memory/memory.oom_control', '/sys/fs/cgroup/memory.events'),
  pids: open('/sys/fs/cgroup/pids/pids.events', '/sys/fs/cgroup/pids.events'),
  tasks: open('/sys/fs/cgroup/pids/pids.current', '/sys/fs/cgroup/pids.current'),
};
const scratch = Buffer.alloc(1024);
const account = (fd, name) => {
  if (fd < 0) return -1;
  let text;
  try {
    text = utf8(scratch, 0, readSync(fd, scratch, 0, scratch.length, 0));
  } catch {
    return -1;
  }
  if (name !== undefined) {
    const at = indexOf(text, name);
    if (at < 0) return -1;
    text = slice(text, at + name.length);
  }
  const number = +trim(indexOf(text, '\n') < 0 ? text : slice(text, 0, indexOf(text, '\n')));
  return isFinite(number) ? number : -1;
};
const isNanos = account(accounts.cpu, 'usage_usec ') < 0;
const cpuMicros = () => isNanos ? account(accounts.cpu) / 1000 : account(accounts.cpu, 'usage_usec ');
const kills = () => max(0, account(accounts.kills, 'oom_kill '));
const pidsRefused = () => max(0, account(accounts.pids, 'max '));
const resourceUsage = process.resourceUsage.bind(process);
const spent = (failed) => {
  const peak = account(accounts.peak);
  // What the agent itself needed until the call came is not the call's.
  let cpu = cpuMicros() - cpuBefore;
  let bytes = peak;
  if (!(cpu >= 0 && cpuBefore >= 0) || peak < 0) {
    const own = resourceUsage();
    cpu = own.userCPUTime + own.systemCPUTime;
    bytes = own.maxRSS * 1024;
  }
  // What the kernel refused explains a failure and nothing else.
  const killed = failed ? max(0, kills() - killsBefore) : 0;
  const refused = failed ? max(0, pidsRefused() - refusedBefore) : 0;
  return `{"cpu_micros":${round(cpu)},"peak_bytes":${bytes},"truncated":${truncated},` +
    `"oom_kills":${killed},"pids_refused":${refused}}`;
};
let cpuBefore = -1, killsBefore = 0, refusedBefore = 0;
let staying = false;

// --- The end of the call ---

const report = (kind, payload) => {
  if (ended) return undefined;
  flush();
  ended = true;
  const account = frame(SPENT, bytesOf(spent(kind === FAILURE)));
  const last = concat([frame(kind, payload), account]);
  // The next call may come.
  if (staying) return again(last);
  writeAll(last);
  if (silent) return practised();
  // Nothing runs any more. The end of a process takes a while, and the engine will see to it once it
  // has passed the answer on; should it not, there is an end all the same.
  wait(pause, 0, 0, 100);
  return exit(0);
};

const fail = (message, stack, cause = 'Threw') => {
  if (ended) return;
  if (stack !== undefined) print(ERROR, stack);
  report(FAILURE, bytesOf(`{"cause":"${cause}","message":${stringify(wellFormed(message))}}`));
};

const failWith = (value, before = '') => {
  let told;
  try {
    told = describe(value);
  } catch {
    told = { message: 'the code threw what cannot be described' };
  }
  fail(before + told.message, told.stack);
};

const finish = (value, maxBytes) => {
  if (value === undefined) return report(VALUE, allocUnsafe(0));
  let json;
  try {
    json = stringify(value);
  } catch (error) {
    return failWith(error, 'the returned value is not JSON: ');
  }
  if (json === undefined) return fail(`the returned value is not JSON: it is a ${typeof value}`);
  const bytes = bytesOf(json);
  if (bytes.length > maxBytes) {
    return fail(`the result has ${bytes.length} bytes; ${maxBytes} are allowed`, undefined, 'TooLarge');
  }
  return report(VALUE, bytes);
};

