// The task that needs no network, and which task it is.
const platform = () => {
  const report = process.report?.getReport?.();
  const libc = report?.header?.glibcVersionRuntime ? 'glibc' : 'other';
  return `node-${process.platform}-${process.arch}-${libc}-abi${process.versions.modules}`;
};

const readMarker = (place) => {
  try {
    const handle = fs.openSync(`${place}/${MARKER}`, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    const text = Buffer.alloc(64 << 10);
    const length = fs.readSync(handle, text, 0, text.length, 0);
    fs.closeSync(handle);
    return text.toString('utf8', 0, length);
  } catch {
    return null;
  }
};

const lookTask = async (task) => {
  const markers = task.places.map(readMarker);
  const found = { platform: platform(), markers, registry: null, problem: null };
  try {
    found.registry = (await npm({}, ['config', 'get', 'registry'], '/', null)).trim();
  } catch (error) {
    found.problem = error.message;
  }
  return found;
};

const TASKS = { resolve: resolveTask, install: installTask, look: lookTask };

const run = async (task) => {
  // Whatever happens to the executor, this ends.
  setTimeout(() => process.exit(5), task.max_age_ms).unref();
  try {
    return await TASKS[task.task](task);
  } catch (error) {
    if (error instanceof Excess) return { excess: error.message };
    if (error instanceof NpmError) return { failed: error.text };
    const full = error.code === 'ENOSPC' ? 'the disk of the Docker daemon is full' : null;
    return { failed: full ?? error.message ?? String(error) };
  }
};

let begun = false;
listen((type, channel, body) => {
  if (channel !== 0) onChannel(type, channel, body);
  else if (type === 'T' && !begun) {
    begun = true;
    run(JSON.parse(body.toString())).then((result) => finish({ ...result, manager_ms: managerTook }));
  }
});
