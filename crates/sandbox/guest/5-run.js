// --- ctx ---

const finite = (name, value) => {
  if (typeof value !== 'number' || !isFinite(value)) {
    throw new TypeErrorOf(`ctx.progress: ${name} must be a finite number`);
  }
  return value;
};

// Made once the code asks for it: most does not.
let controller, isCancelled = false;
const cancelled = () => abort(controller, new DOMExceptionOf('The call was cancelled', 'AbortError'));
const cancel = () => {
  isCancelled = true;
  if (controller !== undefined) cancelled();
};
const signalOfCall = () => {
  if (controller === undefined) {
    controller = new AbortControllerOf();
    if (isCancelled) cancelled();
  }
  return controller.signal;
};

const makeContext = (head) => freeze({
  tool: freeze({ name: head.tool, revision: head.revision }),
  requestId: head.requestId,
  deadline: now() + head.leftMs,
  clientCapabilities: head.clientCapabilities,
  get signal() { return signalOfCall(); },
  log(level, data) {
    const at = typeof level === 'string' ? levelOf[level] : undefined;
    if (at === undefined) throw new TypeErrorOf(`ctx.log: the level must be one of ${LEVEL_NAMES}`);
    const json = stringify(data);
    if (json === undefined) throw new TypeErrorOf('ctx.log: the data must be JSON');
    if (at >= leastLevel) {
      const bytes = bytesOf(json);
      if (admit(bytes.length)) send(LOG, bytes, at);
    }
    return resolved();
  },
  progress(progress, total, message) {
    finite('progress', progress);
    const of = total === undefined || total === null ? null : finite('total', total);
    const word = message === undefined || message === null ? null : stringify(wellFormed(`${message}`));
    // MCP wants it to grow; a report that does not is not one.
    if (wantsProgress && progress > lastProgress) {
      lastProgress = progress;
      const bytes = bytesOf(`{"progress":${progress},"total":${of},"message":${word}}`);
      if (admit(bytes.length)) send(PROGRESS, bytes);
    }
    return resolved();
  },
});

// --- Running the code ---

const OPENING = '(async function run(args, ctx) {';

let known, knownCode;
const scriptOf = (code) => {
  // A shared sandbox runs the same code again and again.
  if (code === knownCode) return known;
  known = new Script(`${OPENING}${code}\n})`, {
    filename: 'tool.js',
    // Columns of the first line are the author's too.
    columnOffset: -OPENING.length,
    importModuleDynamically: loader ?? ((name) => import(name)),
  });
  knownCode = code;
  return known;
};

// V8 tells the place of a syntax error by an arrow above the stack.
const syntaxError = (error) => {
  const stack = property(error, 'stack') ?? '';
  let place = slice(stack, 0, indexOf(stack, '\n'));
  const lines = stack.split('\n', 4);
  if (lines[2] !== undefined && lines[2].includes('^')) {
    let column = lines[2].indexOf('^') + 1;
    if (place === 'tool.js:1' && lines[1].startsWith(OPENING)) column -= OPENING.length;
    place += `:${column}`;
  }
  const message = `${property(error, 'message')}${place.startsWith('tool.js:') ? ` (${place})` : ''}`;
  fail(clip(message), clip(`SyntaxError: ${message}`));
};

const drive = async (head, text, code) => {
  controller = undefined;
  isCancelled = false;
  const context = makeContext(head);
  let args, run;
  try {
    const script = scriptOf(code);
    if (head.shared) {
      const realm = prepared ?? makeRealm();
      prepared = undefined;
      args = runThere(PARSE, realm)(text);
      run = runThere(script, realm);
    } else {
      args = parse(text);
      run = runHere(script);
    }
  } catch (error) {
    return syntaxError(error);
  }
  let value;
  try {
    value = await run(args, context);
  } catch (error) {
    if (head.shared) await new PromiseOf((done) => { later(done); });
    staying = head.shared === true && !ended;
    return failWith(error);
  }
  // What nobody caught in this turn is known after it.
  await new PromiseOf((done) => { later(done); });
  staying = head.shared === true && !ended;
  return finish(value, head.maxOutputBytes);
};

const dependants = (signal) => {
  for (const symbol of Object.getOwnPropertySymbols(signal)) {
    if (symbol.description === 'kDependantSignals') return signal[symbol]?.size > 0;
  }
  return false;
};
const waitsForSignal = () => {
  if (controller === undefined) return false;
  const { signal } = controller;
  return getEventListeners(signal, 'abort').length > 0 || signal.onabort !== null || dependants(signal);
};

