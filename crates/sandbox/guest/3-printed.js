// --- Printed text ---

// One line, cut where it is too long.
const print = (level, text) => {
  const head = text.length > MAX_LINE ? slice(text, 0, MAX_LINE) : text;
  let bytes = bytesOf(head);
  let cut = bytes.length;
  const most = bytesLeft < MAX_LINE ? bytesLeft : MAX_LINE;
  if (cut > most) {
    cut = most;
    while (cut > 0 && (bytes[cut] & 0xc0) === 0x80) cut -= 1;
  }
  if (cut < bytes.length || head.length < text.length) truncated = true;
  if ((cut > 0 || text.length === 0) && admit(cut)) {
    if (cut < bytes.length) bytes = view(bytes, 0, cut);
    send(PRINT, bytes, level);
  }
};

// What is written to process.stdout and process.stderr is cut into lines; the console's lines are
// whole. What was written without an end belongs to the line that comes next.
const unfinished = { __proto__: null, [INFO]: '', [ERROR]: '' };
const write = (fd, text) => {
  const level = fd === 2 ? ERROR : INFO;
  let rest = unfinished[level] + text;
  for (let at; (at = indexOf(rest, '\n')) >= 0; rest = slice(rest, at + 1)) {
    print(level, slice(rest, 0, at));
    if (messagesLeft === 0) { rest = ''; break; }
  }
  if (rest.length > 2 * MAX_LINE) {
    truncated = true;
    rest = slice(rest, 0, 2 * MAX_LINE);
  }
  unfinished[level] = rest;
};
const flush = () => {
  for (let level = INFO; level <= ERROR; level += ERROR - INFO) {
    const rest = unfinished[level];
    unfinished[level] = '';
    if (rest !== '') print(level, rest);
  }
};

let consoleLevel = INFO;
const consoleStream = {
  write(text) {
    const stream = consoleLevel > 2 ? ERROR : INFO;
    const rest = unfinished[stream];
    unfinished[stream] = '';
    print(consoleLevel, rest + slice(text, 0, -1));
    return true;
  },
  on() { return this; },
  once() { return this; },
  listenerCount() { return 0; },
  removeListener() { return this; },
};
const inner = new Console({ stdout: consoleStream, stderr: consoleStream, colorMode: false });
const consoleLevels = { debug: 0, trace: 0, warn: 3, error: ERROR, assert: ERROR };
for (const name of Object.keys(inner)) {
  const method = inner[name];
  if (typeof method !== 'function') continue;
  const level = consoleLevels[name] ?? INFO;
  console[name] = function (...args) {
    const before = consoleLevel;
    consoleLevel = level;
    try {
      return apply(method, inner, args);
    } finally {
      consoleLevel = before;
    }
  };
}

const replaceStream = (name, fd) => {
  let stream;
  const make = () => {
    if (fd === 0) return new Readable({ read() { this.push(null); } });
    const made = new Writable({
      decodeStrings: false,
      write(chunk, encoding, done) {
        write(fd, typeof chunk === 'string' ? chunk : utf8(chunk));
        done();
      },
    });
    return made;
  };
  const get = () => {
    if (stream === undefined) {
      stream = make();
      stream.fd = fd;
    }
    return stream;
  };
  Object.defineProperty(process, name, { get, configurable: true, enumerable: true });
};
replaceStream('stdin', 0);
replaceStream('stdout', 1);
replaceStream('stderr', 2);

