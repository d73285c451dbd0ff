// What lies in the volume.
const MARKER = '.dynamic-mcp-installed';
const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);
const BLOCK = 512;

/** Calls `visit(relative path, stat)` for everything below `root`; ends early when it says `false`. */
const walk = (root, visit) => {
  const open = [''];
  while (open.length) {
    const at = open.pop();
    let names;
    try {
      names = fs.readdirSync(path.join(root, at));
    } catch (error) {
      // npm works there.
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') continue;
      throw error;
    }
    for (const name of names) {
      const relative = at ? `${at}/${name}` : name;
      let stat;
      try {
        stat = fs.lstatSync(path.join(root, relative));
      } catch (error) {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') continue;
        throw error;
      }
      if (visit(relative, stat) === false) return;
      if (stat.isDirectory()) open.push(relative);
    }
  }
};

/** What is too much: a word, or nothing. */
const excess = (root, limits) => {
  let bytes = 0;
  let files = 0;
  let found = null;
  walk(root, (_, stat) => {
    bytes += stat.blocks * BLOCK;
    files += 1;
    if (bytes > limits.max_bytes) found = 'bytes';
    if (files > limits.max_files) found = 'files';
    return found === null;
  });
  return found;
};

/** Looks again and again while `child` runs, and ends it when there is too much. */
const watch = (root, limits, child) => {
  const state = { excess: null, timer: null };
  const look = () => {
    const begun = Date.now();
    try {
      state.excess = excess(root, limits);
    } catch (error) {
      state.excess = `error: ${error.message}`;
    }
    if (state.excess) {
      child.kill('SIGKILL');
      return;
    }
    state.timer = setTimeout(look, Math.max(200, 4 * (Date.now() - begun)));
  };
  state.timer = setTimeout(look, 200);
  state.stop = () => clearTimeout(state.timer);
  return state;
};

const isElf = (file) => {
  const handle = fs.openSync(file, 'r');
  try {
    const head = Buffer.alloc(4);
    return fs.readSync(handle, head, 0, 4, 0) === 4 && head.equals(ELF);
  } finally {
    fs.closeSync(handle);
  }
};

/** Checks the tree that calls will see, and counts it. */
const inspect = (root, limits) => {
  const seen = { files: 0, bytes: 0, native: [], native_count: 0 };
  const native = (relative) => {
    seen.native_count += 1;
    if (seen.native.length < 20) seen.native.push(relative);
  };
  walk(root, (relative, stat) => {
    seen.files += 1;
    seen.bytes += stat.blocks * BLOCK;
    if (seen.files > limits.max_files) throw new Excess('files');
    if (seen.bytes > limits.max_bytes) throw new Excess('bytes');
    const file = path.join(root, relative);
    if (stat.isSymbolicLink()) {
      const target = fs.readlinkSync(file);
      const away = path.relative(root, path.resolve(path.dirname(file), target));
      if (path.isAbsolute(target) || away === '..' || away.startsWith('../')) {
        throw new Error(`the package has a link that leads away: ${relative}`);
      }
      return;
    }
    if (stat.isDirectory()) return;
    if (!stat.isFile()) throw new Error(`the package has something that is no file: ${relative}`);
    if (stat.mode & 0o6000) fs.chmodSync(file, stat.mode & 0o777);
    const named = /\.(node|so|dylib|dll|exe)$|\.so\./.test(relative);
    if (named || (stat.mode & 0o111 && stat.size >= 4 && isElf(file))) native(relative);
  });
  return seen;
};

class Excess extends Error {}
