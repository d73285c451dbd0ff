// npm's way out: an HTTP proxy on the loopback whose connections are channels of the stream.
const MAX_REQUEST_HEAD = 64 << 10;
const channels = new Map();
let lastChannel = 0;

const answer = (client, status, text) => {
  const body = `${text}\n`;
  client.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  );
};

const open = (client, head, rest) => {
  const lines = head.split('\r\n');
  const [method, target] = lines[0].split(' ');
  const id = ++lastChannel;
  if (method === 'CONNECT') {
    channels.set(id, { client, first: rest, tunnel: true });
    send('O', id, target);
    return;
  }
  let url;
  try {
    url = new URL(target);
  } catch {
    url = null;
  }
  if (!url || url.protocol !== 'http:') {
    answer(client, '400 Bad Request', 'not a request to a proxy');
    return;
  }
  // One request for each connection: the next one may go elsewhere.
  const kept = lines.slice(1).filter((line) => !/^(proxy-[^:]*|connection|keep-alive):/i.test(line));
  const request = [`${method} ${url.pathname}${url.search} HTTP/1.1`, ...kept, 'Connection: close', '', ''];
  const first = Buffer.concat([Buffer.from(request.join('\r\n'), 'latin1'), rest]);
  channels.set(id, { client, first, tunnel: false });
  send('O', id, `${url.hostname}:${url.port || 80}`);
};

const accept = (client) => {
  let head = EMPTY;
  client.on('error', () => {});
  const read = (chunk) => {
    head = head.length ? Buffer.concat([head, chunk]) : chunk;
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) {
      if (head.length > MAX_REQUEST_HEAD) client.destroy();
      return;
    }
    client.removeListener('data', read);
    client.pause();
    open(client, head.subarray(0, end).toString('latin1'), head.subarray(end + 4));
  };
  client.on('data', read);
};

/** The port of the proxy. */
const serveProxy = () =>
  new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true }, accept);
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });

const opened = (id, channel) => {
  const { client, first, tunnel } = channel;
  if (tunnel) client.write('HTTP/1.1 200 Connection established\r\n\r\n');
  if (first.length) send('D', id, first);
  channel.first = EMPTY;
  client.on('data', (chunk) => send('D', id, chunk));
  client.on('end', () => send('E', id));
  client.on('close', () => {
    if (channels.delete(id)) send('R', id);
  });
  client.resume();
};

const onChannel = (type, id, body) => {
  const channel = channels.get(id);
  if (!channel) return;
  const { client } = channel;
  switch (type) {
    case 'O':
      opened(id, channel);
      break;
    case 'X':
      channels.delete(id);
      answer(client, '403 Forbidden', body.toString());
      client.destroySoon();
      break;
    case 'D': {
      const credit = Buffer.allocUnsafe(4);
      credit.writeUInt32BE(body.length, 0);
      client.write(body, () => {
        if (channels.has(id)) send('W', id, credit);
      });
      break;
    }
    case 'E':
      client.end();
      break;
    case 'R':
      channels.delete(id);
      client.destroy();
      break;
  }
};
