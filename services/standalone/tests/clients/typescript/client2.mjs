// The scenario through `@modelcontextprotocol/client` 2.x, in either era.

import {
  Client,
  ClientCredentialsProvider,
  StreamableHTTPClientTransport,
  discoverOAuthProtectedResourceMetadata,
  extractWWWAuthenticateParams,
} from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { finish, parse } from './command-line.mjs';
import { refused } from './discovery.mjs';
import { scenario } from './scenario.mjs';

const options = parse(process.argv.slice(2), ['2026-07-28', 'legacy']);
const modern = options.era !== 'legacy';
const logs = [];
let changes = 0;

function unconnected() {
  const client = new Client(
    { name: 'scenario-client2', version: '1.0.0' },
    {
      versionNegotiation: { mode: modern ? { pin: options.era } : 'legacy' },
      listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => { changes += 1; } } },
    },
  );
  client.setNotificationHandler('notifications/message', (message) => {
    logs.push(message.params);
  });
  return client;
}

const overHttp = (more) => new StreamableHTTPClientTransport(new URL(options.url), { requestInit: { headers: options.headers }, ...more });

function transport() {
  if (options.token) return overHttp({ authProvider: { token: async () => options.token } });
  if (options.login) return overHttp({ authProvider: new ClientCredentialsProvider(options.login) });
  if (options.url) return overHttp({});
  return new StdioClientTransport({ command: options.stdio[0], args: options.stdio.slice(1), env: { ...process.env } });
}

await finish(async (check) => {
  if (options.token) {
    await refused(check, options, {
      connect: (fetch) => unconnected().connect(overHttp({ fetch })),
      statusOf: (error) => error.status,
      challenge: extractWWWAuthenticateParams,
      metadata: discoverOAuthProtectedResourceMetadata,
    });
  }
  const client = unconnected();
  await client.connect(transport());
  const capabilities = client.getServerCapabilities();
  if (!modern && capabilities.logging) await client.setLoggingLevel('debug');

  await scenario({
    check,
    options,
    stepsUp: true,
    expectedVersion: modern ? options.era : '2025-11-25',
    version: client.getNegotiatedProtocolVersion(),
    serverName: client.getServerVersion()?.name,
    capabilities,
    logs,
    changes: () => changes,
    tools: async () => (await client.listTools()).tools,
    call: (name, args, onprogress) =>
      client.callTool(
        {
          name,
          arguments: args,
          ...(modern ? { _meta: { 'io.modelcontextprotocol/logLevel': 'debug' } } : {}),
        },
        { onprogress },
      ),
    resources: async () => (await client.listResources()).resources,
    read: async (uri) => (await client.readResource({ uri })).contents,
    prompts: async () => (await client.listPrompts()).prompts,
    prompt: async (name, args) => (await client.getPrompt({ name, arguments: args })).messages,
  });
  await client.close();
});
