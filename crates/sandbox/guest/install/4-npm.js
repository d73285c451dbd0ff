// npm, told everything by a file of its own, so that nothing else has a say.
const PLACE = '/var/tmp';
const PRIVATE = '/workspace/install';
const TAIL = 6 << 10;
let managerTook = 0;

/** Runs npm; what it printed last is kept. */
const npm = async (task, args, cwd, proxyPort) => {
  fs.mkdirSync(PRIVATE, { recursive: true, mode: 0o700 });
  const env = {
    PATH: process.env.PATH,
    HOME: PRIVATE,
    TMPDIR: `${PLACE}/tmp`,
    LANG: 'C.UTF-8',
    NODE_OPTIONS: '--max-old-space-size=768',
  };
  if (task.extra_ca) {
    env.NODE_EXTRA_CA_CERTS = `${PRIVATE}/extra-ca.pem`;
    fs.writeFileSync(env.NODE_EXTRA_CA_CERTS, task.extra_ca);
  }
  const settings = {
    'ignore-scripts': true,
    'allow-git': 'none',
    audit: false,
    fund: false,
    'update-notifier': false,
    progress: false,
    color: false,
    loglevel: 'error',
    'logs-max': 0,
    'fetch-retries': 2,
    'fetch-retry-mintimeout': 300,
    'fetch-retry-maxtimeout': 3000,
    'fetch-timeout': 60000,
    git: '/nonexistent/git',
    cache: `${PLACE}/cache`,
    'package-lock': true,
    'lockfile-version': 3,
    'omit-lockfile-registry-resolved': false,
    'replace-registry-host': 'always',
    'legacy-peer-deps': false,
    'engine-strict': false,
    'bin-links': true,
    omit: 'dev',
  };
  if (task.registry) settings.registry = task.registry;
  if (proxyPort) {
    settings.proxy = `http://127.0.0.1:${proxyPort}/`;
    settings['https-proxy'] = settings.proxy;
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
  if (task.auth) lines.push(`${task.auth.scope}:${task.auth.key}=${task.auth.value}`);
  fs.writeFileSync(`${PRIVATE}/npmrc`, `${lines.join('\n')}\n`, { mode: 0o600 });
  const flags = [`--userconfig=${PRIVATE}/npmrc`, `--globalconfig=${PRIVATE}/no-npmrc`];
  const begun = Date.now();
  const child = spawn('npm', [...args, ...flags], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const limits = task.limits;
  const watched = limits ? watch(PLACE, limits, child) : null;
  const kept = { out: '', err: '' };
  const keep = (name) => (chunk) => {
    kept[name] = (kept[name] + chunk).slice(-TAIL);
  };
  child.stdout.setEncoding('utf8').on('data', keep('out'));
  child.stderr.setEncoding('utf8').on('data', keep('err'));
  const status = await new Promise((resolve, reject) => {
    child.on('error', (error) =>
      reject(error.code === 'ENOENT' ? new Error('the image has no npm') : error),
    );
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  managerTook += Date.now() - begun;
  watched?.stop();
  if (watched?.excess) throw new Excess(watched.excess);
  if (status !== 0) throw new NpmError(status, `${kept.err}\n${kept.out}`);
  return kept.out;
};

class NpmError extends Error {
  constructor(status, text) {
    super(`npm ended with ${status}`);
    this.text = text;
  }
}

const clearPlace = () => {
  for (const name of fs.readdirSync(PLACE)) {
    fs.rmSync(path.join(PLACE, name), { recursive: true, force: true });
  }
  fs.mkdirSync(`${PLACE}/tmp`);
};

const project = (manifest) => {
  clearPlace();
  const folder = `${PLACE}/project`;
  fs.mkdirSync(folder);
  fs.writeFileSync(`${folder}/package.json`, JSON.stringify(manifest));
  return folder;
};

const MANIFEST = { name: 'tool', version: '1.0.0', private: true };

const resolveTask = async (task) => {
  const port = await serveProxy();
  const folder = project({ ...MANIFEST, dependencies: task.dependencies });
  await npm(task, ['install', '--package-lock-only'], folder, port);
  const lock = fs.readFileSync(`${folder}/package-lock.json`, 'utf8');
  return { lock };
};

const installTask = async (task) => {
  const port = await serveProxy();
  const root = task.lock.packages[''];
  const folder = project({ ...MANIFEST, dependencies: root.dependencies });
  fs.writeFileSync(`${folder}/package-lock.json`, JSON.stringify(task.lock));
  await npm(task, ['ci'], folder, port);
  const installed = `${folder}/node_modules`;
  if (fs.existsSync(installed)) {
    for (const name of fs.readdirSync(installed)) {
      // The places of our own are gone in a moment; a package of such a name comes after.
      fs.renameSync(path.join(installed, name), path.join(PLACE, `new-${name}`));
    }
  }
  for (const name of ['cache', 'tmp', 'project']) {
    fs.rmSync(path.join(PLACE, name), { recursive: true, force: true });
  }
  // `new-x` makes way before the package that is called so itself takes its name.
  const names = fs.readdirSync(PLACE).sort((a, b) => a.length - b.length);
  for (const name of names) {
    fs.renameSync(path.join(PLACE, name), path.join(PLACE, name.replace(/^new-/, '')));
  }
  const seen = inspect(PLACE, task.limits);
  if (seen.native_count && !task.allow_native) return { native_refused: seen.native };
  // Last of all: what has no marker is no set of packages.
  const marker = JSON.stringify({ version: 1, digest: task.digest, platform: task.platform, ...seen });
  const handle = fs.openSync(`${PLACE}/${MARKER}.new`, 'wx', 0o444);
  fs.writeSync(handle, marker);
  fs.fsyncSync(handle);
  fs.closeSync(handle);
  fs.renameSync(`${PLACE}/${MARKER}.new`, `${PLACE}/${MARKER}`);
  return { marker };
};
