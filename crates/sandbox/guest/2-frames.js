// --- Frames: nonce, length of the payload, kind, payload ---

const READY = 1, STARTED = 2, LOG = 3, PROGRESS = 4, PRINT = 5, VALUE = 6, FAILURE = 7, SPENT = 8;
const TO_JOB = 1, TO_CANCEL = 2, TO_LOAD = 4;
const HEAD = 21;
const LARGEST_FRAME = 64 << 20;
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const LEVEL_NAMES = LEVELS.join(', ');
const INFO = 1, ERROR = 4;
const levelOf = { __proto__: null };
LEVELS.forEach((name, at) => { levelOf[name] = at; });

const MAX_LINE = 16384;
const MAX_MESSAGES = 10000;
const MAX_MESSAGE = 8192;
const STACK_LINES = 10;

let nonce = Buffer.alloc(16);
// While the agent practises nothing of what it says is written.
let silent = true;
let practised = () => {};
let ended = false;
let truncated = false;
let bytesLeft = 0, messagesLeft = 0, leastLevel = Infinity, wantsProgress = false;
let lastProgress = -Infinity;

const writeAll = (bytes) => {
  if (silent) return writeSync(1, bytes, 0, 0);
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(1, bytes, done, bytes.length - done);
    } catch (error) {
      // The code can make the pipe non-blocking. Any other failure: nobody reads any more.
      if (error.code === 'EAGAIN') wait(pause, 0, 0, 1);
      else exit(70);
    }
  }
  return undefined;
};

const frame = (kind, payload, level) => {
  const extra = level === undefined ? 0 : 1;
  const bytes = allocUnsafe(HEAD + extra + payload.length);
  copy(nonce, bytes, 0);
  writeU32(bytes, payload.length + extra, 16);
  bytes[20] = kind;
  if (extra) bytes[HEAD] = level;
  copy(payload, bytes, HEAD + extra);
  return bytes;
};

const send = (kind, payload, level) => writeAll(frame(kind, payload, level));

const admit = (bytes) => {
  if (ended || bytes > bytesLeft || messagesLeft === 0) {
    truncated = true;
    return false;
  }
  bytesLeft -= bytes;
  messagesLeft -= 1;
  return true;
};

