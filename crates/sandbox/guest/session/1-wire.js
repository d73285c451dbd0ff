// The agent of a session for Node.js: what the engine gives to `node -e` in a container that stays.
// It starts what the session is asked to run, owns those processes and their streams, and tells what
// became of them. session/agent.py is the same for images without node: one protocol, two programs.
//
// It runs as the same user as what it starts, so it has no right that a command has not, and nothing
// that a command could gain by it. A command that ends it ends its own session.
(() => {
'use strict';

const fs = require('fs');
const net = require('net');
const crypto = require('crypto');
const { spawn } = require('child_process');
const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK, O_NOFOLLOW, O_DIRECTORY, O_CREAT, O_EXCL, O_NOCTTY } =
  fs.constants;

// Arguments: what is set, then the programs that run code, one after the other.
const options = JSON.parse(process.argv[1]);
const programs = { node: process.argv.slice(2, 2 + options.node), python: process.argv.slice(2 + options.node) };
const WORKSPACE = options.workspace;

// --- To the agent: u32 length | u8 kind | u32 operation | payload (the length counts all but itself) ---

const OPEN = 1, EXEC = 2, RUN = 3, WRITE = 4, READ = 5, LIST = 6, UNPACK = 7, DATA = 8, CANCEL = 9, END = 10;
const LARGEST_FRAME = 16 << 20;

// --- From the agent: 16 nonce | u32 length | u8 10 | u8 kind | u32 operation | payload ---

const READY = 1, SESSION = 10;
const DONE = 1, OUT = 2, ERR = 3, COMMAND = 4, STARTED = 5;
const PIECE = 65536;

let nonce = Buffer.alloc(16);
const pause = new Int32Array(new SharedArrayBuffer(4));
const sleep = (millis) => { Atomics.wait(pause, 0, 0, millis); };

const writeAll = (bytes) => {
  for (let done = 0; done < bytes.length;) {
    try {
      done += fs.writeSync(1, bytes, done, bytes.length - done);
    } catch (error) {
      // Any other failure: nobody reads any more.
      if (error.code === 'EAGAIN') sleep(1);
      else process.reallyExit(70);
    }
  }
};

// What is said within is written at once: each write is a way through the daemon of its own.
let gathered;
const together = (say) => {
  gathered = [];
  try {
    say();
  } finally {
    const all = gathered;
    gathered = undefined;
    if (all.length > 0) writeAll(all.length === 1 ? all[0] : Buffer.concat(all));
  }
};

const send = (kind, operation, payload) => {
  const bytes = Buffer.allocUnsafe(26 + payload.length);
  nonce.copy(bytes, 0);
  bytes.writeUInt32LE(5 + payload.length, 16);
  bytes[20] = SESSION;
  bytes[21] = kind;
  bytes.writeUInt32LE(operation, 22);
  payload.copy(bytes, 26);
  if (gathered !== undefined) gathered.push(bytes);
  else writeAll(bytes);
};

const tell = (kind, operation, value) => send(kind, operation, Buffer.from(JSON.stringify(value)));

const pour = (kind, operation, bytes) => {
  for (let at = 0; at < bytes.length; at += PIECE) send(kind, operation, bytes.subarray(at, at + PIECE));
};

// A refusal that the caller is told, with a code of the contract.
class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// What the kernel said, as a refusal.
const refusal = (error) => {
  if (error instanceof Refusal) return error;
  switch (error && error.code) {
    case 'ENOENT': return new Refusal('not_found', 'there is no such file or directory');
    case 'ENOSPC': case 'EDQUOT': return new Refusal('limit_exceeded', 'the workspace is full');
    case 'EFBIG': return new Refusal('limit_exceeded', 'the file is too large');
    case 'EMFILE': case 'ENFILE': return new Refusal('limit_exceeded', 'too many files are open in the session');
    case 'EAGAIN': case 'ENOMEM':
      return new Refusal('limit_exceeded', 'the session has as many processes as it may, or no memory is left');
    case 'ENOTDIR': return new Refusal('invalid_argument', 'a part of the path is not a directory');
    case 'EISDIR': return new Refusal('invalid_argument', 'it is a directory');
    case 'ELOOP': return new Refusal('invalid_argument', 'a part of the path is a link that changed');
    case 'ENAMETOOLONG': return new Refusal('invalid_argument', 'a name is too long');
    case 'EACCES': case 'EPERM': return new Refusal('invalid_argument', 'the session may not do that there');
    default: return new Refusal('internal', `the session's agent failed: ${error && (error.code || error.message)}`);
  }
};

// --- The operation that runs now: there is one at a time ---

let current;

const finish = (operation, answer) => {
  if (current === undefined || current.operation !== operation) return;
  current = undefined;
  tell(DONE, operation, answer);
};

const fail = (operation, error) => {
  const { code, message } = refusal(error);
  finish(operation, { error: { code, message } });
};
