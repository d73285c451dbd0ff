// Looks for a sandbox that runs at the same time.
const fs = require('fs');
const net = require('net');
const connect = (options) => new Promise((done) => {
  const socket = net.connect(options);
  socket.on('connect', () => { socket.destroy(); done('connected'); }).on('error', (error) => done(error.code));
  setTimeout(() => { socket.destroy(); done('no answer'); }, 1000);
});
const port = await connect({ host: '127.0.0.1', port: 45678 });
const name = await connect({ path: '\0dynamic-mcp-neighbour' });
const files = ['/tmp', '/dev/shm', '/workspace'].filter((dir) => fs.existsSync(`${dir}/neighbour`));
const processes = fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid));
const say = (name, tried, held, found) => ({ name, tried, held, found: `${found}` });
return [
  say('neighbour-port', 'reach a port of a sandbox that runs at the same time', port !== 'connected', port),
  say('neighbour-socket', 'reach its abstract socket', name !== 'connected', name),
  say('neighbour-files', 'see its files', files.length === 0, files.join(' ')),
  say('neighbour-processes', 'see its processes', processes.length <= 4, `${processes.length} processes, all its own`),
];
