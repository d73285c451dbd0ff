
// --- Packages: a tar of a folder, taken as a whole or not at all ---

const BLOCK = 512;
const MAX_ENTRIES = 100000, MAX_PATH = 4096, MAX_HEADER = 65536;

const broken = (what) => new Refusal('dependency_install_failed', `the packages cannot be taken over: ${what}`);
const text = (bytes) => {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
};
const number = (bytes) => {
  const word = text(bytes).trim();
  if (!/^[0-7]{0,12}$/.test(word)) throw broken('a number is none');
  return parseInt(word || '0', 8);
};
// The names in a path below the folder that was packed, whose own name comes first.
const namesOf = (path) => {
  if (path.length > MAX_PATH || path.startsWith('/') || path.includes('\0')) throw broken('a path is not allowed');
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..') || names.length > MAX_DEPTH) throw broken('a path is not allowed');
  return names.slice(1);
};
// `12 path=x\n`, one after the other.
const extended = (bytes) => {
  const found = {};
  for (let at = 0; at < bytes.length && bytes[at] !== 0;) {
    const space = bytes.indexOf(32, at);
    const length = +bytes.latin1Slice(at, space);
    const end = at + length;
    if (space < 0 || !(length > 0) || end > bytes.length) throw broken('a header is none');
    const line = bytes.toString('utf8', space + 1, end - 1);
    const equals = line.indexOf('=');
    found[line.slice(0, equals)] = line.slice(equals + 1);
    at = end;
  }
  return found;
};

const unpack = (operation, payload) => {
  const { target, most } = JSON.parse(payload);
  const staging = `${WORKSPACE}/.${crypto.randomUUID()}`;
  const links = [];
  let chunks = [], held = 0, entries = 0, bytes = 0;
  // What comes next: a header, or what is left of a body and where it goes.
  let body, long = {}, over = false, failed;

  const entry = (header) => {
    if (header.every((byte) => byte === 0)) { over = true; return; }
    let sum = 0;
    for (let at = 0; at < BLOCK; at += 1) sum += at >= 148 && at < 156 ? 32 : header[at];
    if (sum !== number(header.subarray(148, 156))) throw broken('a header is damaged');
    const type = String.fromCharCode(header[156] || 48);
    const prefix = header.latin1Slice(257, 262) === 'ustar' && header[262] === 0 ? text(header.subarray(345, 500)) : '';
    let name = text(header.subarray(0, 100));
    if (prefix !== '') name = `${prefix}/${name}`;
    let size = number(header.subarray(124, 136));
    if ('xgLK'.includes(type)) {
      if (size > MAX_HEADER) throw broken('a header is too large');
      body = { type, left: size, pad: -size & (BLOCK - 1), bytes: [] };
      return;
    }
    name = long.path ?? name;
    const linked = long.linkpath ?? text(header.subarray(157, 257));
    if (long.size !== undefined) size = +long.size;
    long = {};
    entries += 1;
    bytes += size;
    if (entries > MAX_ENTRIES) throw broken(`there are more than ${MAX_ENTRIES} files`);
    if (!(size >= 0) || bytes > most) throw broken(`there are more than ${most} bytes`);
    const mode = number(header.subarray(100, 108));
    if (mode & 0o6000) throw broken('a file would run as somebody else');
    const names = namesOf(name);
    if (type === '2') {
      let depth = names.length - 1;
      for (const part of linked.split('/')) {
        if (part === '..') depth -= 1;
        else if (part !== '' && part !== '.') depth += 1;
        if (depth < 0) break;
      }
      if (linked.startsWith('/') || depth < 0 || names.length === 0) throw broken('a link leads out of it');
      links.push([names, linked]);
      if (size !== 0) throw broken('a link has a content');
      return;
    }
    if (type === '5') {
      fs.mkdirSync([staging, ...names].join('/'), { recursive: true });
      return;
    }
    if (type !== '0' || names.length === 0) throw broken('there is more than files, directories and links');
    fs.mkdirSync([staging, ...names.slice(0, -1)].join('/'), { recursive: true });
    const fd = fs.openSync([staging, ...names].join('/'), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode & 0o111 ? 0o755 : 0o644);
    body = { type, left: size, pad: -size & (BLOCK - 1), fd };
    if (size === 0) ended();
  };

  const ended = () => {
    if (body.fd !== undefined) fs.closeSync(body.fd);
    else if (body.type === 'L') long.path = text(Buffer.concat(body.bytes));
    else if (body.type === 'K') long.linkpath = text(Buffer.concat(body.bytes));
    else if (body.type === 'x') Object.assign(long, extended(Buffer.concat(body.bytes)));
    body.fd = undefined;
    if (body.pad === 0) body = undefined;
  };

  const step = (all) => {
    if (body === undefined) {
      if (all.length < BLOCK) return 0;
      entry(all.subarray(0, BLOCK));
      return BLOCK;
    }
    if (body.left > 0) {
      const part = all.subarray(0, body.left);
      if (body.fd === undefined) body.bytes.push(Buffer.from(part));
      else for (let at = 0; at < part.length;) at += fs.writeSync(body.fd, part, at);
      body.left -= part.length;
      if (body.left === 0) ended();
      return part.length;
    }
    const pad = Math.min(body.pad, all.length);
    body.pad -= pad;
    if (body.pad === 0) body = undefined;
    return pad;
  };

  const data = (more) => {
    if (failed !== undefined || over) return;
    chunks.push(Buffer.from(more));
    held += more.length;
    if (held < BLOCK) return;
    try {
      let all = Buffer.concat(chunks);
      for (let used; all.length > 0 && !over && (used = step(all)) > 0;) all = all.subarray(used);
      chunks = [all];
      held = all.length;
    } catch (error) {
      failed = error;
    }
  };

  const tidy = () => {
    if (body?.fd !== undefined) fs.closeSync(body.fd);
    body = undefined;
    fs.rmSync(staging, { recursive: true, force: true });
  };

  // A package replaces the one of its name; `@scope` and `.bin` hold several.
  const merge = (from, to) => {
    for (const name of fs.readdirSync(from)) {
      const there = `${to}/${name}`;
      const old = fs.lstatSync(there, { throwIfNoEntry: false });
      if (old?.isDirectory() && (name.startsWith('@') || name === '.bin')) {
        merge(`${from}/${name}`, there);
        continue;
      }
      if (old !== undefined) fs.rmSync(there, { recursive: true, force: true });
      fs.renameSync(`${from}/${name}`, there);
    }
  };

  const end = () => {
    try {
      if (failed !== undefined) throw failed;
      if (!over) throw broken('the end is missing');
      for (const [names, linked] of links) {
        fs.mkdirSync([staging, ...names.slice(0, -1)].join('/'), { recursive: true });
        fs.symlinkSync(linked, [staging, ...names].join('/'));
      }
      const place = `${WORKSPACE}/${target}`;
      const old = fs.lstatSync(place, { throwIfNoEntry: false });
      if (old === undefined) {
        fs.renameSync(staging, place);
      } else {
        if (!old.isDirectory()) throw broken(`${target} in the workspace is not a directory`);
        merge(staging, place);
      }
      tidy();
      finish(operation, { entries, bytes });
    } catch (error) {
      tidy();
      fail(operation, error.code === 'EEXIST' ? broken('a name comes twice') : error);
    }
  };

  fs.mkdirSync(staging, { mode: 0o700 });
  return { operation, data, end, cancel() { tidy(); finish(operation, {}); } };
};
