// What an executor may ask the Docker daemon for. Everything that is not listed is refused, and of what is
// listed only that which makes, uses or removes sandboxes: whoever takes an executor over gets no more than
// sandboxes from this daemon. The shape of a sandbox is in crates/sandbox/src/docker/profile.rs.

const CONTAINER = /^dynamic-mcp-sandbox-[0-9a-f]{32}$/;
const VOLUME = /^dynamic-mcp-[a-z0-9-]+$/;
const USER = '65532:65532';
const PLAIN = [
  /^(GET|HEAD) \/_ping$/,
  /^GET \/(version|info)$/,
  /^GET \/images\/[^?]+\/json$/,
  /^GET \/volumes$/,
];

const OF_SANDBOX = [
  'POST /start', 'POST /attach', 'POST /wait', 'GET /json', 'GET /stats', 'GET /archive', 'DELETE ',
];

// Folders of the machine that sandboxes may read: `name=/path`, as the executor has them.
const DATA = (process.env.MCP_SANDBOX_DATA_MOUNTS || '').split(',')
  .map((entry) => entry.trim().split('='))
  .filter((pair) => pair.length === 2 && pair[1].startsWith('/'))
  .map((pair) => pair[1]);

function empty(value) {
  return value === undefined || value === null || value === false || value === '' || value === 0 ||
    (typeof value === 'object' && Object.keys(value).length === 0);
}

function is(wanted) {
  return (value) => value === wanted;
}

function any() {
  return true;
}

function positive(value) {
  return typeof value === 'number' && value > 0;
}

function security(options) {
  return Array.isArray(options) && options.length === 2 && options.includes('no-new-privileges:true') &&
    options.some((option) => option.startsWith('seccomp={'));
}

function mount(it) {
  if (it.Type === 'tmpfs') return it.ReadOnly === true;
  if (it.Type === 'volume') {
    const options = it.VolumeOptions || {};
    return VOLUME.test(it.Source) && empty(options.DriverConfig);
  }
  const options = it.BindOptions || {};
  return it.Type === 'bind' && it.ReadOnly === true && DATA.includes(it.Source) && options.NonRecursive === true;
}

// Fields that need not be empty, and what they may be.
const OUTER = {
  Hostname: any, User: is(USER), AttachStdin: any, AttachStdout: any, AttachStderr: any, OpenStdin: any,
  StdinOnce: any, Tty: any, Env: any, Entrypoint: any, Cmd: any, Image: (image) => /^sha256:[0-9a-f]{64}$/.test(image),
  WorkingDir: any, NetworkDisabled: any, Healthcheck: any, Labels: any, StopSignal: any, StopTimeout: any,
  HostConfig: any,
};
const HOST = {
  CapDrop: (list) => Array.isArray(list) && list.length === 1 && list[0] === 'ALL',
  SecurityOpt: security,
  ReadonlyRootfs: is(true),
  NetworkMode: (mode) => mode === 'none' || mode === 'bridge',
  IpcMode: is('private'),
  CgroupnsMode: is('private'),
  LogConfig: (config) => config.Type === 'none',
  RestartPolicy: (policy) => policy.Name === 'no' || policy.Name === '',
  Mounts: (mounts) => mounts.every(mount),
  Memory: positive, MemorySwap: positive, PidsLimit: positive, CpuQuota: positive,
  MemoryReservation: any, CpuPeriod: any, CpuShares: any, OomScoreAdj: (score) => score > 0,
  Ulimits: any, ShmSize: any, Tmpfs: any, Init: any, Runtime: any, CgroupParent: any, Dns: any, DnsSearch: any,
};
// Not to be left out: without them the daemon's defaults would hold.
const NEEDED = ['CapDrop', 'SecurityOpt', 'ReadonlyRootfs', 'NetworkMode', 'IpcMode', 'Memory', 'MemorySwap', 'PidsLimit'];

function wrong(fields, object) {
  return Object.keys(object).find((name) => {
    const allowed = fields[name];
    return !empty(object[name]) && !(allowed && allowed(object[name]));
  });
}

function container(r) {
  if (!CONTAINER.test(r.args.name)) return 'name';
  const body = JSON.parse(r.requestText);
  const host = body.HostConfig || {};
  if (body.User !== USER) return 'User';
  if (!body.Labels || body.Labels['dynamic-mcp.sandbox'] !== '1') return 'Labels';
  const field = wrong(OUTER, body);
  if (field) return field;
  const inner = NEEDED.find((name) => empty(host[name])) || wrong(HOST, host);
  return inner && `HostConfig.${inner}`;
}

// A volume with options of its driver can be any folder of the machine.
function volume(r) {
  const body = JSON.parse(r.requestText);
  if (!VOLUME.test(body.Name)) return 'Name';
  return wrong({ Name: any, Labels: any, Driver: is('local') }, body);
}

// Only that the kernel killed for memory in a sandbox of one executor: nothing of other containers, of other
// things that happen to it, or of earlier. As it was sent: no second `filters` can say something else.
function killed(r) {
  if (!/^filters=[^&;]+$/.test(r.variables.args || '')) return false;
  const filters = JSON.parse(r.args.filters);
  const only = (name, value) => Array.isArray(filters[name]) && filters[name].length === 1 && filters[name][0] === value;
  const labels = filters.label;
  return Object.keys(filters).length === 3 && only('type', 'container') && only('event', 'oom') &&
    Array.isArray(labels) && labels.length === 2 && labels[0] === 'dynamic-mcp.sandbox=1' &&
    typeof labels[1] === 'string' && /^dynamic-mcp\.owner=./.test(labels[1]);
}

function refuse(r, why) {
  r.error(`refused: ${r.method} ${r.uri}: ${why}`);
  r.headersOut['Content-Type'] = 'application/json';
  r.return(403, JSON.stringify({ message: `the filter of the Docker socket refuses this: ${why}` }));
}

function pass(r) {
  r.internalRedirect('@daemon');
}

// Only what carries the name and the label of a sandbox is one.
async function ofSandbox(r, id) {
  const reply = await r.subrequest('/-/inspect', { args: `id=${id}`, method: 'GET' });
  if (reply.status === 404) return pass(r);
  if (reply.status !== 200) return refuse(r, `the daemon answers ${reply.status} for this container`);
  const found = JSON.parse(reply.responseText);
  const labels = found.Config.Labels || {};
  if (!CONTAINER.test(found.Name.slice(1)) || labels['dynamic-mcp.sandbox'] !== '1') {
    return refuse(r, 'the container is no sandbox');
  }
  pass(r);
}

async function decide(r) {
  try {
    // As it was sent: what nginx has made of `%2f` and `..` is not what the daemon would see.
    const path = r.variables.request_uri.split('?')[0].replace(/^\/v1\.[0-9]+\//, '/');
    if (!/^\/[A-Za-z0-9_./:@-]*$/.test(path) || path.includes('..') || path.includes('//')) {
      return refuse(r, 'the path');
    }
    const asked = `${r.method} ${path}`;
    if (PLAIN.some((plain) => plain.test(asked))) return pass(r);
    if (asked === 'GET /containers/json') {
      const filters = JSON.parse(r.args.filters || '{}');
      const labels = Array.isArray(filters.label) ? filters.label : Object.keys(filters.label || {});
      return labels.includes('dynamic-mcp.sandbox=1') ? pass(r) : refuse(r, 'only sandboxes are listed');
    }
    if (asked === 'GET /events') {
      return killed(r) ? pass(r) : refuse(r, 'only memory that ran out in sandboxes of one executor is told');
    }
    if (asked === 'POST /containers/create') {
      const field = container(r);
      return field ? refuse(r, `${field} is not as a sandbox has it`) : pass(r);
    }
    if (asked === 'POST /volumes/create') {
      const field = volume(r);
      return field ? refuse(r, `${field} is not as a volume of packages has it`) : pass(r);
    }
    if (asked === 'POST /images/create') {
      return r.args.fromSrc === undefined && r.args.fromImage ? pass(r) : refuse(r, 'only pulls');
    }
    let found = /^(?:GET|DELETE) \/volumes\/([^\/]+)$/.exec(asked);
    if (found) return VOLUME.test(found[1]) ? pass(r) : refuse(r, 'the volume is none of packages');
    found = /^(POST|GET|DELETE) \/containers\/([0-9a-f]{64}|dynamic-mcp-sandbox-[0-9a-f]{32})(\/[a-z]+)?$/.exec(asked);
    if (found && OF_SANDBOX.includes(`${found[1]} ${found[3] || ''}`)) return await ofSandbox(r, found[2]);
    refuse(r, 'an executor does not ask for that');
  } catch (error) {
    refuse(r, 'it cannot be read');
  }
}

export default { decide };
