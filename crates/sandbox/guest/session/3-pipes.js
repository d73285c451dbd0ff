
// --- Pipes: Node.js makes sockets for its children, which cannot be opened by name (`/dev/stderr`) ---

const BATCH = 16;
const findProgram = (name) => {
  for (const folder of (process.env.PATH ?? '').split(':')) {
    try {
      const path = `${folder}/${name}`;
      fs.accessSync(path, fs.constants.X_OK);
      if (fs.statSync(path).isFile()) return path;
    } catch { /* not here */ }
  }
  return undefined;
};
const SHELL = findProgram('sh'), MKFIFO = findProgram('mkfifo');
const has = { node: true, python: findProgram('python3') !== undefined, shell: SHELL !== undefined };

// Named pipes that have lost their names again: each is opened once and waits to be used.
const waiting = [];
let making;

const makePipes = () => new Promise((done) => {
  const names = Array.from({ length: BATCH }, () => `/tmp/.${crypto.randomUUID()}`);
  const child = spawn(MKFIFO, ['-m', '600', ...names], { stdio: 'ignore', cwd: '/' });
  helpers.add(child.pid);
  const ended = () => {
    helpers.delete(child.pid);
    for (const name of names) {
      try {
        const fd = fs.openSync(name, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
        if (fs.fstatSync(fd).isFIFO()) waiting.push(fd);
        else fs.closeSync(fd);
        fs.unlinkSync(name);
      } catch { /* /tmp is full: there are fewer */ }
    }
    making = undefined;
    done();
  };
  child.on('error', ended);
  child.on('exit', ended);
});
const refill = () => {
  if (MKFIFO !== undefined && making === undefined && waiting.length < BATCH / 2) making = makePipes();
  return making;
};

// The two ends of a pipe; without `mkfifo` the writing end is for Node.js to make.
const newPipe = () => {
  const fd = waiting.pop();
  if (fd === undefined) return { write: 'pipe' };
  try {
    return {
      read: fs.openSync(`/proc/self/fd/${fd}`, O_RDONLY | O_NONBLOCK),
      write: fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY),
    };
  } finally {
    fs.closeSync(fd);
  }
};
// A pipe that a child reads from.
const newInput = () => {
  const fd = waiting.pop();
  if (fd === undefined) return undefined;
  try {
    return { read: fs.openSync(`/proc/self/fd/${fd}`, O_RDONLY), write: fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY) };
  } finally {
    fs.closeSync(fd);
  }
};
const twoPipes = async () => {
  // No command sees the names of pipes that are being made.
  if (making !== undefined || waiting.length < 2) await refill();
  return [newPipe(), newPipe()];
};

// Streams of processes that outlived their operation: read and thrown away, so that nobody waits for
// a full pipe. Beyond this many the oldest is closed, and whoever writes to it gets SIGPIPE.
const MAX_ORPHANED = 64;
const orphaned = new Set();
const orphan = (stream) => {
  if (stream.destroyed || stream.readableEnded) return;
  stream.removeAllListeners('data');
  stream.resume();
  stream.unref();
  orphaned.add(stream);
  stream.on('close', () => orphaned.delete(stream));
  if (orphaned.size > MAX_ORPHANED) orphaned.values().next().value.destroy();
};

// What is in the pipe when its process has ended: no more than a pipe can hold.
const PIPE_HOLDS = 1 << 20;
const drain = (stream, fd, take) => {
  const bytes = Buffer.allocUnsafe(PIECE);
  for (let left = fd === undefined ? 0 : PIPE_HOLDS; left > 0;) {
    let read = 0;
    try { read = fs.readSync(fd, bytes, 0, PIECE, null); } catch { /* it is empty for now */ }
    if (read === 0) break;
    left -= read;
    take(Buffer.from(bytes.subarray(0, read)));
  }
  orphan(stream);
};

// A child in a session of its own, with `take(1 or 2, bytes)` for what it writes. `ended` comes once,
// after all that it wrote before its end.
const start = (program, args, pipes, { env, stdin, argv0, more = [], take, ended }) => {
  const stdio = [stdin, pipes[0].write, pipes[1].write, ...more];
  const closeEnds = (side) => {
    for (const pipe of pipes) {
      if (typeof pipe[side] === 'number') fs.closeSync(pipe[side]);
    }
  };
  let child;
  try {
    child = spawn(program, args, { cwd: WORKSPACE, env, stdio, argv0, detached: true });
  } catch (error) {
    closeEnds('read');
    closeEnds('write');
    throw error;
  }
  closeEnds('write');
  if (child.pid === undefined) {
    closeEnds('read');
    child.on('error', (error) => ended(error));
    return child;
  }
  offer(child.pid);
  const streams = pipes.map((pipe, at) => {
    const stream = pipe.read === undefined ? child.stdio[at + 1]
      : new net.Socket({ fd: pipe.read, readable: true, writable: false });
    stream.on('data', (bytes) => take(at + 1, bytes));
    stream.on('error', () => {});
    return stream;
  });
  child.on('error', () => {});
  child.on('exit', (code, name) => {
    const rest = () => {
      streams.forEach((stream, at) => drain(stream, stream.destroyed ? undefined : pipes[at].read, (bytes) => take(at + 1, bytes)));
      ended(undefined, code, name);
    };
    // A socket of Node.js cannot be read past it: what it holds comes in the next turns.
    if (pipes.some((pipe) => pipe.read === undefined)) setTimeout(rest, 2);
    else rest();
  });
  return child;
};
