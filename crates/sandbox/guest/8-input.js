// --- The input: one call, then perhaps that it is cancelled ---

const input = new net.Socket({ fd: 0, readable: true, writable: false });
let chunks = [], held = 0, wanted = 5, working = false;

const received = (kind, payload) => {
  if (kind === TO_CANCEL && working) return cancel();
  if (kind === TO_LOAD && !working && !loading && world === undefined) return loadAhead(payload);
  // Anything else than one call: not the engine.
  if (kind !== TO_JOB || working || loading) return exit(71);
  return work(payload);
};

const take = () => {
  while (held >= wanted) {
    const all = chunks.length === 1 ? chunks[0] : concat(chunks);
    chunks = [all];
    const length = readU32(all, 0);
    if (length < 1 || length > LARGEST_FRAME) return exit(71);
    wanted = 4 + length;
    if (held < wanted) return undefined;
    const payload = view(all, 5, wanted);
    const rest = view(all, wanted);
    chunks = rest.length > 0 ? [rest] : [];
    held = rest.length;
    wanted = 5;
    received(all[4], payload);
  }
  return undefined;
};
const receive = (chunk) => {
  push(chunks, chunk);
  held += chunk.length;
  take();
};
input.on('data', receive);
// The engine is gone: so is the reason to be.
input.on('end', () => exit(0));
input.on('error', () => exit(0));

// The end that comes whatever happens. There is one timer, which looks whether it is time; it is set anew
// for an earlier end only, so that calls that follow each other set none.
let endsAt = Infinity, wakesAt = Infinity, deadMan;
const endIn = (millis) => {
  endsAt = monotonic() + millis;
  if (wakesAt <= endsAt) return;
  if (deadMan !== undefined) stopTimer(deadMan);
  wakesAt = endsAt;
  deadMan = startTimer(isItTime, millis);
  unref(deadMan);
};
const isItTime = () => {
  const left = endsAt - monotonic();
  if (left <= 0) return exit(0);
  wakesAt = Infinity;
  return endIn(left);
};
endIn(options.maxAgeMs);

const work = (payload) => {
  const headLength = readU32(payload, 0);
  const head = parse(utf8(payload, 4, 4 + headLength));
  const argsLength = readU32(payload, 4 + headLength);
  const codeAt = 8 + headLength + argsLength;
  const args = utf8(payload, 8 + headLength, codeAt);
  const code = utf8(payload, codeAt);
  nonce = apply(bufferFrom, BufferOf, [head.nonce, 'hex']);
  bytesLeft = head.maxOutputBytes;
  messagesLeft = MAX_MESSAGES;
  leastLevel = head.logLevel === null ? Infinity : levelOf[head.logLevel];
  wantsProgress = head.wantsProgress;
  lastProgress = -Infinity;
  working = true;
  // A container that has said that it is ready for one more call of its tool needs no word for it.
  if (world === undefined) send(STARTED, allocUnsafe(0));
  input.unref();
  endIn(head.leftMs + options.marginMs);
  cpuBefore = cpuMicros();
  if (head.shared) {
    world ??= makeWorld();
    killsBefore = kills();
    refusedBefore = pidsRefused();
  }
  drive(head, args, code);
};

// --- Ends that are none of the code's own returning ---

const on = (name, handler) => process.on(name, handler);
on('uncaughtException', (error) => { if (working && !ended) failWith(error); else exit(72); });
on('unhandledRejection', (reason) => { if (working && !ended) failWith(reason); else exit(72); });
on('beforeExit', () => {
  if (ended) return;
  let waits = false;
  try { waits = waitsForSignal(); } catch { /* then it does not */ }
  if (waits) { input.ref(); return; }
  fail('the promise that the code returned can never settle: nothing that it waits for is left');
});
on('exit', (code) => {
  if (working) fail(`the code ended its own process (exit code ${typeof code === 'number' ? code : 0}) before it returned`);
});

// --- The globals as the code finds them, then one call for practice, then the real one ---

for (const name of ['require', 'module', 'exports', '__filename', '__dirname', ...builtinModules]) {
  if (name !== 'console' && name !== 'process') delete globalThis[name];
}
const define = (name, value) =>
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
define('crypto', webcrypto);
// Node's own does not keep its process alive: code that waits for nothing else would have come to
// its end before the time is up.
const { timeout: signalAfter } = AbortSignal;
Object.defineProperty(AbortSignal, 'timeout', {
  value: { timeout(delay) {
    const signal = apply(signalAfter, this, [delay]);
    const handle = startTimer(() => {}, delay);
    if (world !== undefined) tracked.set(handle, stopTimer);
    return signal;
  } }.timeout,
  writable: true, configurable: true, enumerable: true,
});
define('require', required);
process.argv = ['node'];
process.execArgv = [];
delete process._eval;
for (const name of Object.keys(process.env)) {
  if (!options.env.includes(name)) delete process.env[name];
}

// What runs for the first time is slow, so that each sandbox runs a few calls of its own before the
// one that it is there for.
const PRACTICE = [
  'console.log("%s", 1, {a: [2]}); await import("os"); throw new Error("x")',
  'console.log(1); ctx.log("info", {a: 1}); ctx.progress(1, 2, "x"); return {a: [1, "é", null]}',
  'return 1',
  'await null; return args',
];
const practise = async () => {
  const u32 = (number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(number);
    return bytes;
  };
  for (const code of PRACTICE) {
    const head = bytesOf(stringify({
      nonce: '00'.repeat(16), tool: 'x', revision: 1, requestId: 'x', leftMs: 60000,
      maxOutputBytes: 65536, logLevel: 'debug', wantsProgress: true, clientCapabilities: {},
    }));
    const args = bytesOf('{"a":1}');
    const payload = [u32(head.length), head, u32(args.length), args, bytesOf(code)];
    const length = payload.reduce((sum, part) => sum + part.length, 1);
    const done = new PromiseOf((resolve) => { practised = resolve; });
    receive(concat([u32(length), Buffer.from([TO_JOB]), ...payload]));
    await done;
    // What comes after a call is none of the next one's, and Node warns of the loader once.
    await new PromiseOf((resolve) => { later(resolve); });
    working = false;
    ended = false;
    truncated = false;
  }
  input.ref();
  endIn(options.maxAgeMs);
  // Node puts it back once a script that was given by argument is through.
  delete globalThis.module;
  nonce = Buffer.alloc(16);
  silent = false;
  send(READY, allocUnsafe(0));
};
practise().catch(() => exit(73));
})();
