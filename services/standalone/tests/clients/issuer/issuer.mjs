// A real issuer for the tests: oidc-provider, a certified OpenID provider, with the client
// credentials grant and JWT access tokens. It prints {"issuer": URL} when it listens on a free port
// of 127.0.0.1 and ends with its standard input.
//
// Who asks decides what the token is: client ids are `NAME`, `NAME.ALGORITHM` or `NAME.FLAW`, the
// secret is `secret`. `acme-*` and `globex-*` are of the tenants `acme` and `globex`. `sdk` is for
// what SDKs do by themselves: its secret goes into the Authorization header, as they send it, and its
// tokens are for the audience `dynamic-mcp`, whatever resource is asked for.
//
// `acme-ROLE` and `globex-ROLE` (viewer, operator, developer, admin, stranger) have that role in the
// claim `roles`; the product knows all of them but the last.
//
// Besides the provider's own routes:
//   POST /test/rotate    a new set of keys; the old ones are gone
//   GET  /test/fetches   how often the keys were asked for
//   POST /other/token    the same keys in the name of another issuer

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const SCOPE = 'mcp:invoke mcp:tools:read mcp:tools:write mcp:sandbox mcp:admin team:blue';
const FLAWS = {
  expired: (payload) => { payload.exp = Math.floor(Date.now() / 1000) - 60; },
  endless: (payload) => { delete payload.exp; },
  nobody: (payload) => { delete payload.sub; },
  textual: (payload) => { payload.exp = String(payload.exp); },
  early: (payload) => { payload.nbf = Math.floor(Date.now() / 1000) + 600; },
  late: (payload) => { payload.exp = Math.floor(Date.now() / 1000) - 600; },
  slow: (payload) => { payload.exp = Math.floor(Date.now() / 1000) - 25; },
  fast: (payload) => { payload.nbf = payload.iat = Math.floor(Date.now() / 1000) + 29; },
  key: (payload) => { payload.sub = 'key:0a1b2c3d'; },
};
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];

let generation = 0;
function makeKeys() {
  generation += 1;
  const jwk = (pair, use) => ({
    ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', kid: `${use}-${generation}`,
  });
  return { keys: [
    jwk(generateKeyPairSync('rsa', { modulusLength: 2048 }), 'rsa'),
    jwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'p256'),
    jwk(generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'p384'),
    jwk(generateKeyPairSync('ed25519'), 'ed25519'),
  ] };
}

const names = ['alice', 'bob', 'carol', 'acme-bob', 'globex-carol'];
const kinds = ['', ...ALGORITHMS, ...Object.keys(FLAWS)];
const ROLES = ['viewer', 'operator', 'developer', 'admin', 'stranger'];
const client = (id, method) => ({
  client_id: id,
  client_secret: 'secret',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: method,
});
const clients = names.flatMap((name) => kinds.map((kind) => client(kind ? `${name}.${kind}` : name, 'client_secret_post')));
clients.push(client('sdk', 'client_secret_basic'));
for (const tenant of ['acme', 'globex']) {
  for (const role of ROLES) clients.push(client(`${tenant}-${role}`, 'client_secret_post'));
}
const kindOf = (clientId) => clientId.split('.')[1];

function provider(issuer, jwks) {
  return new Provider(issuer, {
    clients,
    jwks,
    scopes: SCOPE.split(' '),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource, client) => {
          const kind = kindOf(client.clientId);
          return {
            scope: SCOPE,
            audience: client.clientId === 'sdk' ? 'dynamic-mcp' : resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: 3600,
            jwt: { sign: { alg: ALGORITHMS.includes(kind) ? kind : 'RS256' } },
          };
        },
      },
    },
    formats: {
      customizers: {
        jwt: (_context, token, jwt) => {
          FLAWS[kindOf(token.clientId)]?.(jwt.payload);
          const tenant = token.clientId.split('-')[0];
          if (['acme', 'globex'].includes(tenant)) jwt.payload.tenant = tenant;
          const role = token.clientId.split('-')[1];
          if (ROLES.includes(role)) jwt.payload.roles = ['of-somebody-else', role];
        },
      },
    },
  });
}

let fetches = 0;
let handlers;
const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  const json = (value) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
  if (path === '/test/rotate') {
    rotate();
    json({ generation });
  } else if (path === '/test/fetches') {
    json({ fetches });
  } else if (path.startsWith('/other/')) {
    request.url = request.url.slice('/other'.length);
    handlers.other(request, response);
  } else {
    if (path === '/jwks') fetches += 1;
    handlers.own(request, response);
  }
});

let issuer;
function rotate() {
  const jwks = makeKeys();
  handlers = {
    own: provider(issuer, jwks).callback(),
    other: provider(`${issuer}/other`, jwks).callback(),
  };
}

server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  rotate();
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume().on('end', () => process.exit(0));
