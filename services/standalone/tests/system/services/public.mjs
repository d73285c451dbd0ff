// Looks at the nginx site from outside and prints what it saw, as one JSON object.
//   node public.mjs HTTPS_PORT HTTP_PORT
import http2 from 'node:http2';
import https from 'node:https';
import http from 'node:http';

const [, , httpsPort, httpPort] = process.argv;
const name = 'mcp.example.com';
const seen = {};

const headersOf = (method, tool) => ({
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': method,
  ...(tool ? { 'mcp-name': tool } : {}),
});
const bodyOf = (method, params = {}, meta = {}) =>
  JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method,
    params: {
      ...params,
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientCapabilities': {},
        ...meta,
      },
    },
  });

const agent = new https.Agent({ keepAlive: true, maxSockets: 50 });
function ask(path, { method = 'GET', headers = {}, body, from = '127.0.0.1', plain = false, pieces } = {}) {
  return new Promise((done, failed) => {
    const request = (plain ? http : https).request(
      {
        host: '127.0.0.1',
        port: plain ? httpPort : httpsPort,
        servername: name,
        rejectUnauthorized: false,
        localAddress: from,
        agent: from === '127.0.0.1' && !plain ? agent : undefined,
        path,
        method,
        headers: { host: name, ...headers },
      },
      (answer) => {
        const parts = [];
        answer.on('data', (part) => {
          parts.push(part);
          pieces?.push([Date.now(), part.toString()]);
        });
        answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts).toString() }));
        answer.on('error', failed);
      },
    );
    request.on('error', failed);
    request.end(body);
  });
}
const list = (more = {}) => ask('/mcp', { method: 'POST', headers: { ...headersOf('tools/list'), ...more.headers }, body: bodyOf('tools/list'), ...more.how });

// HTTP/2
await new Promise((done, failed) => {
  const session = http2.connect(`https://127.0.0.1:${httpsPort}`, { servername: name, rejectUnauthorized: false });
  session.on('error', failed);
  session.on('connect', () => {
    seen.alpn = session.alpnProtocol;
    const stream = session.request({ ':method': 'POST', ':path': '/mcp', ':authority': name, ...headersOf('tools/list') });
    let text = '';
    stream.on('response', (headers) => (seen.h2 = { status: headers[':status'], hsts: headers['strict-transport-security'] }));
    stream.on('data', (part) => (text += part));
    stream.on('end', () => {
      seen.h2.tools = JSON.parse(text).result.tools.length;
      session.close(done);
    });
    stream.end(bodyOf('tools/list'));
  });
});

// Plain HTTP goes to TLS, and to nothing else.
const moved = await ask('/mcp?x=1', { plain: true });
seen.moved = [moved.status, moved.headers.location];

// HSTS and no version of nginx, also where it answers itself.
const nowhere = await ask('/nowhere');
const wrong = await ask('/mcp');
seen.nowhere = [nowhere.status, nowhere.headers['strict-transport-security'], nowhere.headers.server];
seen.wrong = [wrong.status, wrong.headers['strict-transport-security']];

// Probes and metrics are for the operators' networks.
seen.private = {};
for (const path of ['/health', '/livez', '/readyz', '/metrics']) {
  const inside = await ask(path);
  const outside = await ask(path, { from: '127.0.0.2' });
  seen.private[path] = [inside.status, outside.status];
}
seen.metadata = (await ask('/.well-known/oauth-protected-resource')).status;

// Events come when they are sent.
const pieces = [];
const call = { name: 'tells.tool', arguments: { args: {} } };
const begun = Date.now();
const told = await ask('/mcp', {
  method: 'POST',
  headers: headersOf('tools/call', 'tells.tool'),
  body: bodyOf('tools/call', call, { progressToken: 't' }),
  pieces,
});
const first = pieces.find(([, text]) => text.includes('notifications/progress'));
seen.stream = {
  status: told.status,
  type: told.headers['content-type'],
  first: first ? first[0] - begun : null,
  last: pieces.at(-1)[0] - begun,
  ends: told.body.includes('"told"'),
};

// What the client says of itself is not believed.
const lied = await list({ headers: { 'x-forwarded-for': '9.9.9.9', forwarded: 'for=9.9.9.9', 'x-real-ip': '9.9.9.9' }, how: { from: '127.0.0.4' } });
seen.lied = lied.status;
const forged = { name: 'dynamic.tool.get', arguments: { name: 'tells.tool' } };
seen.forged = (await ask('/mcp', {
  method: 'POST',
  from: '127.0.0.4',
  headers: { ...headersOf('tools/call', 'dynamic.tool.get'), 'x-forwarded-for': '9.9.9.9', forwarded: 'for=9.9.9.9' },
  body: bodyOf('tools/call', forged),
})).status;
seen.called = (await ask('/mcp', {
  method: 'POST',
  from: '127.0.0.4',
  headers: { ...headersOf('tools/call', 'tells.tool'), 'x-forwarded-for': '9.9.9.9', forwarded: 'for=9.9.9.9' },
  body: bodyOf('tools/call', call),
})).status;

// A body that is too large is not read.
const large = await ask('/mcp', { method: 'POST', headers: headersOf('tools/list'), body: 'x'.repeat(1_100_000) }).catch((error) => ({ status: error.code }));
seen.large = large.status;

// Connections to the gateway are kept: see the caller of this.
for (let n = 0; n < 60; n += 1) {
  const answer = await list();
  if (answer.status !== 200) seen.unkept = answer.status;
  await new Promise((done) => setTimeout(done, 20));
}

// More than the rate and its burst.
const statuses = await Promise.all(
  Array.from({ length: 240 }, () => ask('/mcp', { from: '127.0.0.3' }).then((answer) => answer.status, (error) => error.code)),
);
seen.rate = { refused: statuses.filter((status) => status === 429).length, taken: statuses.filter((status) => status === 405).length };
const other = await list();
seen.others = other.status;

agent.destroy();
console.log(JSON.stringify(seen));
