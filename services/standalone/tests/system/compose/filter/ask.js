// Runs beside an executor: node -e ask.js ID NAME IMAGE OTHER. ID and NAME: a sandbox; OTHER: a container
// that is none.
const http = require('http');

const [id, name, image, other] = process.argv.slice(1);
const ask = (method, path, body) => new Promise((resolve, reject) => {
  const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  const request = http.request({ host: 'docker-filter', port: 2375, method, path, headers, timeout: 10000 }, (answer) => {
    let whole = '';
    answer.on('data', (piece) => { whole += piece; });
    answer.on('end', () => resolve({ status: answer.statusCode, text: whole }));
  });
  request.on('timeout', () => request.destroy(new Error(`no answer: ${method} ${path}`)));
  request.on('error', reject);
  request.end(text);
});

const fresh = () => `dynamic-mcp-sandbox-${require('crypto').randomBytes(16).toString('hex')}`;
const good = () => ({
  Image: image, User: '65532:65532', Entrypoint: ['node'], Labels: { 'dynamic-mcp.sandbox': '1' },
  HostConfig: {
    Privileged: false, CapAdd: [], CapDrop: ['ALL'], Binds: [], Mounts: [], Devices: [],
    SecurityOpt: ['no-new-privileges:true', 'seccomp={"defaultAction":"SCMP_ACT_ERRNO"}'],
    ReadonlyRootfs: true, NetworkMode: 'none', IpcMode: 'private', Memory: 64 << 20, MemorySwap: 64 << 20, PidsLimit: 16,
  },
});
const create = (change, as = fresh()) => {
  const body = good();
  change(body);
  return ask('POST', `/v1.41/containers/create?name=${as}`, body);
};
const host = (field, value) => create((body) => { body.HostConfig[field] = value; });
const mounts = (it) => host('Mounts', [it]);
// The stream of events has no end: its head is the answer.
const events = (filters, more = '') => new Promise((resolve, reject) => {
  const path = `/v1.41/events?filters=${encodeURIComponent(JSON.stringify(filters))}${more}`;
  const request = http.request({ host: 'docker-filter', port: 2375, path, timeout: 10000 }, (answer) => {
    resolve({ status: answer.statusCode });
    request.destroy();
  });
  request.on('timeout', () => request.destroy(new Error(`no answer: ${path}`)));
  request.on('error', reject);
  request.end();
});
const OURS = ['dynamic-mcp.sandbox=1', 'dynamic-mcp.owner=an executor'];
const kills = (change) => ({ type: ['container'], event: ['oom'], label: OURS, ...change });
const labels = encodeURIComponent(JSON.stringify({ label: ['dynamic-mcp.sandbox=1'] }));

(async () => {
  const allowed = {};
  const refused = {};
  const made = await create(() => {});
  allowed['create a sandbox'] = made.status;
  const mine = JSON.parse(made.text).Id;
  allowed['inspect it'] = (await ask('GET', `/v1.41/containers/${mine}/json`)).status;
  allowed['remove it'] = (await ask('DELETE', `/v1.41/containers/${mine}?force=true`)).status;
  allowed['inspect by name'] = (await ask('GET', `/v1.41/containers/${name}/json`)).status;
  allowed['stats'] = (await ask('GET', `/v1.41/containers/${id}/stats?stream=false&one-shot=true`)).status;
  allowed['list sandboxes'] = (await ask('GET', `/v1.41/containers/json?all=true&filters=${labels}`)).status;
  allowed['kills for memory in sandboxes of one executor'] = (await events(kills())).status;
  for (const path of ['/_ping', '/version', '/info', '/volumes', `/images/${image}/json`]) {
    allowed[path] = (await ask('GET', `/v1.41${path}`)).status;
  }

  const no = async (what, answer) => { refused[what] = (await answer).status; };
  await no('privileged', host('Privileged', true));
  await no('a bind', host('Binds', ['/:/host']));
  await no('a bind as mount', mounts({ Type: 'bind', Source: '/', Target: '/host', ReadOnly: true }));
  await no('the socket', mounts({ Type: 'bind', Source: '/var/run/docker.sock', Target: '/s' }));
  await no('a volume of others', mounts({ Type: 'volume', Source: 'dmi_pgdata', Target: '/data' }));
  await no('a driver of a volume', mounts({
    Type: 'volume', Source: 'dynamic-mcp-deps-1', Target: '/data',
    VolumeOptions: { DriverConfig: { Name: 'local', Options: { type: 'none', o: 'bind', device: '/' } } },
  }));
  await no('the network of the machine', host('NetworkMode', 'host'));
  await no('the network of another', host('NetworkMode', `container:${other}`));
  await no('processes of the machine', host('PidMode', 'host'));
  await no('memory of the machine', host('IpcMode', 'host'));
  await no('names of the machine', host('UTSMode', 'host'));
  await no('users of the machine', host('UsernsMode', 'host'));
  await no('a capability', host('CapAdd', ['SYS_ADMIN']));
  await no('capabilities kept', host('CapDrop', []));
  await no('a device', host('Devices', [{ PathOnHost: '/dev/sda', PathInContainer: '/dev/sda', CgroupPermissions: 'rwm' }]));
  await no('no seccomp', host('SecurityOpt', ['no-new-privileges:true', 'seccomp=unconfined']));
  await no('new privileges', host('SecurityOpt', ['seccomp={}']));
  await no('a root to write to', host('ReadonlyRootfs', false));
  await no('no limit of memory', host('Memory', 0));
  await no('volumes of another', host('VolumesFrom', [other]));
  await no('a port', host('PortBindings', { '80/tcp': [{ HostPort: '80' }] }));
  await no('a restart', host('RestartPolicy', { Name: 'always' }));
  await no('a field that is not known', host('Surprise', 1));
  await no('root', create((body) => { body.User = '0:0'; }));
  await no('no label', create((body) => { body.Labels = {}; }));
  await no('an image by name', create((body) => { body.Image = 'alpine'; }));
  await no('another name', create(() => {}, 'innocent'));
  await no('no JSON', ask('POST', `/containers/create?name=${fresh()}`, '{'));
  for (const [method, path] of [
    ['GET', `/containers/${other}/json`], ['GET', `/containers/${other}/archive?path=/secrets`],
    ['POST', `/containers/${other}/attach?stream=1`], ['DELETE', `/containers/${other}?force=true`],
    ['POST', `/containers/${id}/exec`], ['PUT', `/containers/${id}/archive?path=/`], ['POST', `/containers/${id}/update`],
    ['GET', '/containers/json?all=true'], ['POST', '/images/create?fromSrc=http://x/'], ['DELETE', `/images/${image}`],
    ['POST', '/build'], ['GET', '/secrets'], ['POST', '/plugins/pull'], ['GET', '/events'], ['POST', '/volumes/prune'],
    ['GET', '/volumes/dmi_pgdata'], ['DELETE', '/volumes/dmi_pgdata'], ['POST', '/networks/create'], ['POST', '/swarm/init'],
    ['GET', `/containers/${id}/../${other}/json`], ['GET', `/containers/${id}%2f..%2f${other}/json`],
  ]) {
    await no(`${method} ${path.replace(id, 'ID').replace(other, 'OTHER')}`, ask(method, path));
  }
  await no('kills in all sandboxes', events(kills({ label: OURS.slice(0, 1) })));
  await no('kills in containers of others', events(kills({ label: [OURS[1]] })));
  await no('kills in containers with other labels', events(kills({ label: ['a=b', 'c=d'] })));
  await no('kills of nobody', events(kills({ label: [OURS[0], 'dynamic-mcp.owner='] })));
  await no('labels in another shape', events(kills({ label: { [OURS[0]]: true, [OURS[1]]: true } })));
  await no('all events of sandboxes', events({ type: ['container'], label: OURS }));
  await no('other events of sandboxes', events(kills({ event: ['oom', 'die'] })));
  await no('events of volumes', events(kills({ type: ['volume'] })));
  await no('events of volumes too', events(kills({ type: ['container', 'volume'] })));
  await no('a filter of another name', events(kills({ image: ['node'] })));
  await no('earlier events', events(kills(), '&since=1'));
  const empty = encodeURIComponent('{}');
  await no('a second filter', events(kills(), `&filters=${empty}`));
  await no('a second filter behind a semicolon', events(kills(), `;filters=${empty}`));
  await no('a filter whose name is spelled', events(kills(), `&%66ilters=${empty}`));
  await no('a filter that is no JSON', ask('GET', '/events?filters=%7B'));
  await no('a volume that is a folder', ask('POST', '/volumes/create', {
    Name: 'dynamic-mcp-deps-1', Driver: 'local', DriverOpts: { type: 'none', o: 'bind', device: '/' },
  }));
  await no('a volume of another name', ask('POST', '/volumes/create', { Name: 'x', Driver: 'local' }));
  console.log(JSON.stringify({ allowed, refused }));
})();
