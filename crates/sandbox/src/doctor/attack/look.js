// What code in a container can see and touch. Says of each thing whether it held.
const fs = require('fs');
const os = require('os');
const dgram = require('dgram');
const net = require('net');
const { spawnSync } = require('child_process');
const said = [];
const say = (name, tried, held, found = '') => said.push({ name, tried, held, found: `${found}`.slice(0, 300) });
const attempt = (work) => { try { return { value: work() }; } catch (error) { return { error: error.code ?? `${error}` }; } };

// --- Who it is ---
const status = Object.fromEntries(fs.readFileSync('/proc/self/status', 'utf8').split('\n').map((line) => line.split(/:\s+/)));
say('user', 'be root', !/^0$/.test(`${process.getuid()}`) && process.getgid() !== 0, `user ${process.getuid()}, group ${process.getgid()}`);
say('capabilities', 'hold a capability', /^0+$/.test(status.CapEff) && /^0+$/.test(status.CapBnd) && /^0+$/.test(status.CapPrm), `effective ${status.CapEff}, bounding ${status.CapBnd}`);
say('no-new-privileges', 'gain rights by a program', status.NoNewPrivs === '1', `NoNewPrivs ${status.NoNewPrivs}`);
say('seccomp', 'run without a list of system calls', status.Seccomp === '2', `Seccomp ${status.Seccomp}`);
const become = attempt(() => process.setuid(0));
say('become-root', 'setuid(0)', become.error !== undefined && process.getuid() !== 0, become.error);
const programs = [];
const walk = (dir, depth) => {
  for (const entry of attempt(() => fs.readdirSync(dir, { withFileTypes: true })).value ?? []) {
    const path = `${dir}/${entry.name}`;
    if (entry.isDirectory() && depth > 0) walk(path, depth - 1);
    else if (entry.isFile() && (attempt(() => fs.statSync(path).mode).value & 0o6000)) programs.push(path);
  }
};
for (const dir of ['/bin', '/sbin', '/usr/bin', '/usr/sbin', '/usr/lib', '/usr/local/bin']) walk(dir, 2);
const su = programs.find((path) => path.endsWith('/su'));
const ran = su && spawnSync(su, ['-c', 'id -u'], { input: '', timeout: 2000, encoding: 'utf8' });
say('setuid-programs', 'run the setuid programs of the image', !(ran && ran.stdout.trim() === '0'), programs.length ? `${programs.length} there, none gave rights` : 'the image has none');

// --- Files ---
const write = (path) => attempt(() => fs.closeSync(fs.openSync(path, 'r+'))).error ?? 'opened';
const create = (path) => attempt(() => { fs.mkdirSync(path); fs.rmdirSync(path); }).error ?? 'made';
say('root-file-system', 'make something in /, /etc, /usr, /var', ['/x', '/etc/x', '/usr/x', '/var/x'].every((path) => create(path) !== 'made'), create('/x'));
const hostFiles = ['/etc/passwd', '/etc/shadow', '/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe',  '/sys/kernel/uevent_helper', '/sys/power/state', '/dev/mem', '/dev/kmem', '/dev/kmsg', '/dev/port'];
for (const path of hostFiles) { const found = write(path); say(`write ${path}`, 'open it for writing', found !== 'opened', found); }
const read = (path) => {
  const got = attempt(() => { const file = fs.openSync(path, 'r'); try { return fs.readSync(file, Buffer.alloc(64), 0, 64, null); } finally { fs.closeSync(file); } });
  return got.error ?? (got.value === 0 ? 'empty' : `${got.value} bytes`);
};
for (const path of ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/sched_debug', '/proc/latency_stats', '/sys/firmware/dmi/tables/DMI', '/dev/mem']) {
  const found = read(path);
  say(`read ${path}`, 'read the kernel through it', !/bytes/.test(found), found);
}
const spare = attempt(() => fs.writeFileSync('/proc/self/oom_score_adj', '-1000'));
say('oom-score', 'have the kernel end others first when memory is short', spare.error !== undefined, spare.error);
const sockets = ['/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock', '/run/podman/podman.sock', '/run/crio/crio.sock', '/run/systemd/private', '/var/run/secrets/kubernetes.io/serviceaccount/token'];
const there = sockets.filter((path) => fs.existsSync(path));
say('daemon-sockets', 'find the sockets of Docker, containerd, Podman, CRI-O, systemd, a Kubernetes token', there.length === 0, there.join(', '));
const places = fs.readFileSync('/proc/self/mounts', 'utf8').trim().split('\n').map((line) => line.split(' ')[1]);
const writable = places.filter((path) => create(`${path}/x`) === 'made').sort();
const own = ['/dev/mqueue', '/dev/shm', '/tmp', '/workspace'];
say('writable-places', 'make something in every mount', writable.every((path) => own.includes(path)), writable.join(' '));
const devices = fs.readdirSync('/dev').filter((name) => { const it = attempt(() => fs.lstatSync(`/dev/${name}`)).value; return it?.isBlockDevice() || (it?.isCharacterDevice() && !['console', 'full', 'null', 'ptmx', 'random', 'tty', 'urandom', 'zero'].includes(name)); });
say('devices', 'find a disk or another device', devices.length === 0, devices.join(' '));
say('cgroup', 'make a cgroup, write a release agent', ['/sys/fs/cgroup/x', '/sys/fs/cgroup/memory/x', '/sys/fs/cgroup/pids/x'].every((path) => create(path) !== 'made') && write('/sys/fs/cgroup/release_agent') !== 'opened' && write('/sys/fs/cgroup/cgroup.procs') !== 'opened', create('/sys/fs/cgroup/x'));
say('escape-by-root', 'leave by /proc/1/root and /proc/1/cwd', !attempt(() => fs.readdirSync('/proc/1/root/../var/lib/docker')).value, attempt(() => fs.readdirSync('/proc/1/root')).error ?? 'its own root only');

// --- Environment and processes ---
const ours = new Set(args.environment);
const strange = (names) => names.filter((name) => name && !ours.has(name));
say('environment', 'read variables of the executor or the host', strange(Object.keys(process.env)).length === 0, strange(Object.keys(process.env)).join(', '));
const first = attempt(() => fs.readFileSync('/proc/1/environ', 'utf8').split('\0').map((entry) => entry.split('=')[0]));
say('environment-of-1', 'read /proc/1/environ', strange(first.value ?? []).length === 0, first.error ?? strange(first.value).join(', '));
const processes = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
say('processes', 'see processes of others', processes.length <= 4, `${processes.length} processes`);
say('signals', 'signal a process outside', [2, 300, 1000, 4000].every((pid) => processes.includes(`${pid}`) || attempt(() => process.kill(pid, 0)).error === 'ESRCH'), 'none is known here');

// --- Network ---
say('interfaces', 'find an interface that leads out', Object.keys(os.networkInterfaces()).every((name) => name === 'lo'), Object.keys(os.networkInterfaces()).join(' '));
const connect = (options) => new Promise((done) => {
  const socket = net.connect(options);
  const end = (word) => { socket.destroy(); done(word); };
  socket.on('connect', () => end('connected')).on('error', (error) => end(error.code ?? 'refused'));
  setTimeout(() => end('no answer'), 1000);
});
const targets = [
  ...args.hosts.map((host) => [`network ${host}`, 'reach a port that is open on the executor\'s machine', { host, port: args.port }]),
  ['network 127.0.0.1', 'reach a port of the executor on its loopback', { host: '127.0.0.1', port: args.port }],
  ['network metadata', 'reach the metadata service 169.254.169.254', { host: '169.254.169.254', port: 80 }],
  ['network gateway', 'reach the bridge 172.17.0.1', { host: '172.17.0.1', port: args.port }],
  ['network outside', 'reach a public address by TCP', { host: '1.1.1.1', port: 443 }],
  ['network outside by IPv6', 'reach a public address by TCP', { host: '2606:4700:4700::1111', port: 443 }],
  ['abstract-socket', 'reach an abstract socket of the executor\'s machine', { path: `\0${args.abstract}` }],
];
const found = await Promise.all(targets.map(([, , options]) => connect(options)));
targets.forEach(([name, tried], at) => say(name, tried, found[at] !== 'connected', found[at]));
const resolved = await Promise.race([require('dns').promises.lookup('example.com').then(() => 'an answer', (error) => error.code), new Promise((done) => setTimeout(done, 2000, 'no answer'))]);
say('name-resolution', 'ask a name server', resolved !== 'an answer', resolved);
const datagram = await new Promise((done) => {
  const socket = dgram.createSocket('udp4');
  socket.on('error', (error) => done(error.code));
  socket.send('x', 53, '1.1.1.1', (error) => { done(error ? error.code : 'sent'); socket.close(); });
});
say('datagrams', 'send UDP to a public address', datagram !== 'sent', datagram);
return said;
