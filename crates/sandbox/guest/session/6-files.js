
// --- Files: nothing is opened by a path, only by a name in a directory that is open already ---

const MAX_LINKS = 40, MAX_DEPTH = 64;
const inside = (folder, name) => `/proc/self/fd/${folder}/${name}`;
const openFolder = (path) => fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

// Walks down from the workspace. Links are read and walked like the rest, so that none leads out;
// one that a command puts there meanwhile is refused by the kernel. `use(folder, name, stat)` gets
// the last directory, the name in it and what that is; no name for the workspace itself.
const walk = (parts, create, use) => {
  const folders = [openFolder(WORKSPACE)];
  const todo = [...parts].reverse();
  let links = 0;
  try {
    while (todo.length > 0) {
      const name = todo.pop();
      const folder = folders[folders.length - 1];
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (folders.length === 1) throw new Refusal('invalid_argument', 'a link in the path leads out of /workspace');
        fs.closeSync(folders.pop());
        continue;
      }
      let stat;
      try {
        stat = fs.lstatSync(inside(folder, name));
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
      }
      if (stat?.isSymbolicLink()) {
        links += 1;
        const target = fs.readlinkSync(inside(folder, name));
        if (links > MAX_LINKS) throw new Refusal('invalid_argument', 'the path has too many links');
        if (target.startsWith('/')) {
          if (target !== WORKSPACE && !target.startsWith(`${WORKSPACE}/`)) {
            throw new Refusal('invalid_argument', 'a link in the path leads out of /workspace');
          }
          while (folders.length > 1) fs.closeSync(folders.pop());
          todo.push(...target.slice(WORKSPACE.length).split('/').reverse());
        } else {
          todo.push(...target.split('/').reverse());
        }
        continue;
      }
      if (todo.length === 0) return use(folder, name, stat);
      if (stat === undefined && create) {
        try { fs.mkdirSync(inside(folder, name)); } catch (error) { if (error.code !== 'EEXIST') throw error; }
      }
      if (folders.length > MAX_DEPTH) throw new Refusal('invalid_argument', `the path is more than ${MAX_DEPTH} directories deep`);
      folders.push(openFolder(inside(folder, name)));
    }
    return use(folders[folders.length - 1], undefined, undefined);
  } finally {
    for (const folder of folders) fs.closeSync(folder);
  }
};

const whatIs = (stat) => stat.isDirectory() ? 'a directory' : stat.isFIFO() ? 'a pipe'
  : stat.isSocket() ? 'a socket' : 'a device';
const onlyFiles = (stat) => {
  if (!stat.isFile()) throw new Refusal('invalid_argument', `it is ${whatIs(stat)}, and only files can be read and written`);
};
const tooLarge = (bytes, most) => new Refusal('limit_exceeded', `the file has ${bytes} bytes; ${most} are allowed`);

const readFile = (operation, payload) => {
  const { parts, most } = JSON.parse(payload);
  walk(parts, false, (folder, name, stat) => {
    if (name === undefined) throw new Refusal('invalid_argument', 'it is a directory, and only files can be read and written');
    if (stat === undefined) throw new Refusal('not_found', 'there is no such file');
    onlyFiles(stat);
    const fd = fs.openSync(inside(folder, name), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
    try {
      // What was looked at and what was opened may be two things.
      const opened = fs.fstatSync(fd);
      onlyFiles(opened);
      if (opened.size > most) throw tooLarge(opened.size, most);
      const bytes = Buffer.allocUnsafe(PIECE);
      for (let sum = 0; ;) {
        const read = fs.readSync(fd, bytes, 0, PIECE, null);
        if (read === 0) break;
        sum += read;
        // It grows while it is read.
        if (sum > most) throw tooLarge(`more than ${most}`, most);
        send(OUT, operation, bytes.subarray(0, read));
      }
    } finally {
      fs.closeSync(fd);
    }
  });
  finish(operation, {});
};

const listFiles = (operation, payload) => {
  const { parts, most } = JSON.parse(payload);
  walk(parts, false, (folder, name, stat) => {
    if (name !== undefined && stat === undefined) throw new Refusal('not_found', 'there is no such directory');
    if (name !== undefined && !stat.isDirectory()) throw new Refusal('invalid_argument', 'it is not a directory');
    const fd = name === undefined ? openFolder(inside(folder, '.')) : openFolder(inside(folder, name));
    const entries = [];
    let truncated = false;
    const listing = fs.opendirSync(inside(fd, '.'), { bufferSize: 256 });
    try {
      for (let entry; (entry = listing.readSync()) !== null;) {
        if (entries.length === most) { truncated = true; break; }
        const kind = entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : entry.isSymbolicLink() ? 'link' : 'other';
        let size = 0;
        try { if (kind === 'file') size = fs.lstatSync(inside(fd, entry.name)).size; } catch { /* it is gone, or its name is no text */ }
        entries.push([entry.name, kind, size]);
      }
    } finally {
      listing.closeSync();
      fs.closeSync(fd);
    }
    pour(OUT, operation, Buffer.from(JSON.stringify({ entries, truncated })));
  });
  finish(operation, {});
};

// The whole file or nothing: what comes is written beside it and takes its place at the end.
const writeFile = (operation, payload) => {
  const { parts, size } = JSON.parse(payload);
  const pieces = [];
  let held = 0;
  const put = () => walk(parts, true, (folder, name, stat) => {
    if (name === undefined) throw new Refusal('invalid_argument', 'it is a directory, and only files can be read and written');
    if (stat !== undefined) onlyFiles(stat);
    const beside = inside(folder, `.${crypto.randomUUID()}`);
    const fd = fs.openSync(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
    try {
      try {
        for (const bytes of pieces) for (let at = 0; at < bytes.length;) at += fs.writeSync(fd, bytes, at);
        if (stat !== undefined) fs.fchmodSync(fd, stat.mode & 0o777);
      } finally {
        fs.closeSync(fd);
      }
      fs.renameSync(beside, inside(folder, name));
    } catch (error) {
      fs.unlinkSync(beside);
      throw error;
    }
  });
  return {
    operation,
    data(bytes) { held += bytes.length; if (held <= size) pieces.push(Buffer.from(bytes)); },
    end() {
      try {
        if (held !== size) throw new Refusal('internal', 'a part of the file is missing');
        put();
        finish(operation, {});
      } catch (error) {
        fail(operation, error);
      }
    },
    cancel() { finish(operation, {}); },
  };
};
