
// --- The beginning, and what comes in ---

const TMP_CA = '/tmp/.extra-ca.pem';

// Where packages are: mounted, and put into the workspace later.
const PACKAGES = [`${WORKSPACE}/node_modules/.bin`, '/node_modules/.bin', `${WORKSPACE}/.site-packages/bin`, '/site-packages/bin'];
const MODULES = `${WORKSPACE}/.site-packages:/site-packages`;

const open = (operation, payload) => {
  const told = JSON.parse(payload);
  nonce = Buffer.from(told.nonce, 'hex');
  environment = { ...process.env };
  environment.PATH = [environment.PATH, ...PACKAGES].join(':');
  environment.PYTHONPATH = MODULES;
  given = Object.keys(told.env);
  if (told.ca !== undefined && told.ca !== null) {
    fs.writeFileSync(TMP_CA, told.ca);
    given.push(...options.caVariables);
    for (const name of options.caVariables) environment[name] = TMP_CA;
  }
  Object.assign(environment, told.env);
  mayWait = has.shell && MKFIFO !== undefined && !Object.keys(told.env).some((name) => OBEYED.test(name));
  memoryLimit = told.memoryBytes;
  clearTimeout(deadMan);
  lifeEnds = performance.now() + told.leftMs;
  deadMan = setTimeout(() => process.reallyExit(0), told.leftMs);
  finish(operation, has);
  setTimeout(() => prepare('node'), AFTER_TAKE);
  soonReady();
};

// What is answered at once needs nothing more; what takes time can be told more and cancelled.
const operations = {
  [OPEN]: open, [EXEC]: execute, [RUN]: run, [WRITE]: writeFile, [READ]: readFile, [LIST]: listFiles, [UNPACK]: unpack,
};

const received = (kind, operation, payload) => {
  if (kind === DATA || kind === CANCEL || kind === END) {
    // It may have ended while this was on its way.
    if (current === undefined || current.operation !== operation) return;
    if (kind === DATA) current.data(payload);
    else if (kind === END) current.end();
    else current.cancel();
    return;
  }
  const begin = operations[kind];
  // Not the engine.
  if (begin === undefined || current !== undefined) process.reallyExit(71);
  const nothing = () => {};
  current = { operation, data: nothing, end: nothing, cancel: nothing };
  try {
    const job = begin(operation, payload);
    if (job !== undefined && current !== undefined && current.operation === operation) {
      current = { data: nothing, end: nothing, ...job, cancel: job.cancel };
    }
  } catch (error) {
    fail(operation, error);
  }
};

let chunks = [], held = 0;
const receive = (chunk) => {
  chunks.push(chunk);
  held += chunk.length;
  while (held >= 9) {
    let all = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
    chunks = [all];
    const length = all.readUInt32LE(0);
    if (length < 5 || length > LARGEST_FRAME) process.reallyExit(71);
    if (held < 4 + length) return;
    const payload = all.subarray(9, 4 + length);
    const rest = all.subarray(4 + length);
    chunks = rest.length > 0 ? [rest] : [];
    held = rest.length;
    received(all[4], all.readUInt32LE(5), payload);
  }
};

let deadMan = setTimeout(() => process.reallyExit(0), options.maxAgeMs);

// What runs for the first time is slow; and the pipes are there when the first command comes.
const practise = async () => {
  if (!has.shell) return;
  await refill();
  const pipes = await twoPipes();
  await new Promise((done, failed) => {
    start(SHELL, ['-c', '--', ':'], pipes, {
      env: environment, stdin: 'ignore', argv0: 'sh', take: () => {}, ended: (error) => error === undefined ? done() : failed(error),
    });
  });
  strangers(remember());
  await refill();
};

// Somebody who tidies up with `pkill node` means other processes.
for (const name of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGPIPE']) {
  process.on(name, () => {});
}
process.title = 'session-agent';
practise().then(() => {
  const input = new net.Socket({ fd: 0, readable: true, writable: false });
  input.on('data', receive);
  // The engine is gone: so is the reason to be.
  input.on('end', () => process.reallyExit(0));
  input.on('error', () => process.reallyExit(0));
  const head = Buffer.alloc(21);
  head[20] = READY;
  writeAll(head);
}, () => process.reallyExit(73));
})();
