// The scenario through `@modelcontextprotocol/sdk` 1.x, which knows the handshake only.

import { discoverOAuthProtectedResourceMetadata, extractWWWAuthenticateParams } from '@modelcontextprotocol/sdk/client/auth.js';
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  LATEST_PROTOCOL_VERSION,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

import { finish, parse } from './command-line.mjs';
import { refused } from './discovery.mjs';
import { scenario } from './scenario.mjs';

const options = parse(process.argv.slice(2), ['legacy']);

const logs = [];
let changes = 0;

function unconnected() {
  const client = new Client({ name: 'scenario-sdk1', version: '1.0.0' });
  client.setNotificationHandler(LoggingMessageNotificationSchema, (message) => {
    logs.push(message.params);
  });
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    changes += 1;
  });
  return client;
}

const overHttp = (headers, more) => new StreamableHTTPClientTransport(new URL(options.url), { requestInit: { headers }, ...more });

function transportOf() {
  if (options.token) return overHttp({ ...options.headers, Authorization: `Bearer ${options.token}` });
  if (options.login) {
    // This provider asks for what it is given and not for what the server names.
    const scope = 'mcp:invoke mcp:tools:read mcp:tools:write';
    return overHttp(options.headers, { authProvider: new ClientCredentialsProvider({ ...options.login, scope }) });
  }
  if (options.url) return overHttp(options.headers);
  return new StdioClientTransport({ command: options.stdio[0], args: options.stdio.slice(1), env: { ...process.env } });
}

await finish(async (check) => {
  if (options.token) {
    await refused(check, options, {
      connect: (fetch) => unconnected().connect(overHttp(options.headers, { fetch })),
      statusOf: (error) => error.code,
      challenge: extractWWWAuthenticateParams,
      metadata: discoverOAuthProtectedResourceMetadata,
    });
  }
  let version;
  const client = unconnected();
  const transport = transportOf();
  // The SDK tells only its transport which version was agreed on.
  const inherited = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (agreed) => {
    version = agreed;
    inherited?.(agreed);
  };
  await client.connect(transport);
  const capabilities = client.getServerCapabilities();
  if (capabilities.logging) await client.setLoggingLevel('debug');

  await scenario({
    check,
    options,
    stepsUp: false,
    expectedVersion: LATEST_PROTOCOL_VERSION,
    version,
    serverName: client.getServerVersion()?.name,
    capabilities,
    logs,
    changes: () => changes,
    tools: async () => {
      const tools = [];
      let cursor;
      do {
        const page = await client.listTools({ cursor });
        tools.push(...page.tools);
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      return tools;
    },
    call: (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { onprogress }),
    resources: async () => (await client.listResources()).resources,
    read: async (uri) => (await client.readResource({ uri })).contents,
    prompts: async () => (await client.listPrompts()).prompts,
    prompt: async (name, args) => (await client.getPrompt({ name, arguments: args })).messages,
  });
  await client.close();
});
