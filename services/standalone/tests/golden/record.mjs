// Records what the Node server 0.4.1 answers, once, as the golden results beside this file.
// Usage: node record.mjs <path of the Node server's built dist/index.js> [output folder]
// README.md says how the server was obtained, what a group and a step are, and how a test compares.
// It needs nothing but Node's own modules; it starts one server per group, so groups share no state.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { groups } from './record-cases.mjs';

const program = process.argv[2];
if (!program) throw new Error('usage: node record.mjs <dist/index.js> [output folder]');
const out = resolve(process.argv[3] ?? dirname(fileURLToPath(import.meta.url)));

let nextId = 1;
/** What 0.4.1 says its version is: a constant that its releases never changed. */
const reportedVersion = '0.1.0';
/** Times that a case itself names: they stay as they are. */
const fixedTimes = new Set(['1970-01-01T00:00:00.000Z', '2026-01-02T03:04:05.678Z']);

for (const group of groups) {
  const recorded = await record(group);
  writeFileSync(join(out, `${group.group}.json`), `${JSON.stringify(recorded, null, 2)}\n`);
  process.stdout.write(`${group.group}: ${recorded.steps.length} cases\n`);
}

/** Runs one group against a fresh server and returns what goes into its file. */
async function record(group) {
  const home = mkdtempSync(join(tmpdir(), 'golden-'));
  const store = join(home, 'tools.json');
  if (group.seed) writeFileSync(store, JSON.stringify(group.seed));
  const port = await freePort();
  const server = spawn(process.execPath, [resolve(program)], {
    cwd: home,
    env: {
      PATH: process.env.PATH,
      MCP_TRANSPORT: 'http',
      MCP_EXECUTION_ENGINE: 'node',
      MCP_PORT: String(port),
      MCP_DYNAMIC_STORE: store,
      MCP_PROFILE: group.profile,
      ...group.env,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const base = `http://127.0.0.1:${port}`;
  try {
    await untilAlive(`${base}/livez`);
    const session = group.session === false ? undefined : await initialize(base);
    const steps = [];
    let pending;
    for (const step of group.steps) {
      const run = () => (step.http ? plain(base, step.http) : call(base, session, step.request));
      if (step.background) {
        pending = { step, answer: run() };
        await new Promise((done) => setTimeout(done, step.background));
        continue;
      }
      steps.push(entry(step, await run()));
      if (step.join) {
        steps.push(entry(pending.step, await pending.answer));
        pending = undefined;
      }
    }
    const { steps: _, ...head } = group;
    return { ...head, steps };
  } finally {
    server.kill('SIGTERM');
    await new Promise((done) => server.once('exit', done));
    rmSync(home, { recursive: true, force: true });
  }
}

function entry(step, response) {
  const { response: _, join: __, ...rest } = step;
  return { ...rest, response: scrub(response, step.request?.params?.name) };
}

async function initialize(base) {
  const answer = await post(base, undefined, {
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'golden-recorder', version: '1' },
    },
  });
  const session = answer.headers.get('mcp-session-id');
  await post(base, session, { jsonrpc: '2.0', method: 'notifications/initialized' });
  return session;
}

/** One JSON-RPC request in the session; the answer without `jsonrpc` and `id`. */
async function call(base, session, request) {
  const id = nextId++;
  const answer = await post(base, session, { jsonrpc: '2.0', id, ...expand(request) });
  const text = await answer.text();
  const messages = (answer.headers.get('content-type') ?? '').startsWith('text/event-stream')
    ? text.split('\n').filter((line) => line.startsWith('data: ')).map((line) => JSON.parse(line.slice(6)))
    : [JSON.parse(text)];
  const final = messages.find((message) => message.id === id) ?? messages.at(-1);
  const { jsonrpc: _, id: __, ...rest } = final;
  return rest;
}

async function plain(base, http) {
  const answer = await fetch(base + http.path, {
    method: http.method,
    headers: http.headers,
    body: http.body === undefined ? undefined : expand(http.body),
  });
  const text = await answer.text();
  const type = answer.headers.get('content-type') ?? '';
  const headers = {};
  for (const name of ['content-type', 'x-request-id', 'x-content-type-options', 'x-frame-options', 'referrer-policy']) {
    if (answer.headers.has(name)) headers[name] = answer.headers.get(name);
  }
  if (http.headers?.['x-request-id'] === undefined && headers['x-request-id']) {
    headers['x-request-id'] = '<request-id>';
  }
  return { status: answer.status, headers, body: type.includes('json') ? JSON.parse(text) : text };
}

function post(base, session, message) {
  return fetch(`${base}/mcp`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      ...(session ? { 'mcp-session-id': session } : {}),
    },
    body: JSON.stringify(message),
  });
}

/** `{"$repeat": "x", "$times": 3}` stands for "xxx" wherever a request holds it. */
function expand(value) {
  if (Array.isArray(value)) return value.map(expand);
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$repeat === 'string') return value.$repeat.repeat(value.$times);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, expand(inner)]));
}

/** Values that differ from run to run become named placeholders; long runs of one character are folded. */
function scrub(value, tool, key) {
  if (Array.isArray(value)) return value.map((inner) => scrub(inner, tool));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, scrub(inner, tool, name)]));
  }
  if (typeof value === 'number') {
    if (key === 'durationMs') return '<duration-ms>';
    if (key === 'unixSeconds') return '<unix-seconds>';
    if (key === 'uptimeSeconds') return '<uptime-seconds>';
    return value;
  }
  if (typeof value !== 'string') return value;
  if (key === 'version' && value === reportedVersion) return '<version>';
  if (key === 'requestId') return value === 'golden-1' ? value : '<request-id>';
  const run = /^([^<])\1{999,}$/su.exec(value);
  if (run) return { $repeat: run[1], $times: [...value].length };
  // Folded first: the patterns below would take quadratic time on a run of 150,000 characters.
  return value
    .replace(/(.)\1{999,}/gsu, (all, one) => `<repeat ${one} ${[...all].length}>`)
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, (time) => (fixedTimes.has(time) ? time : '<timestamp>'))
    .replace(/Duration: \d+ms/g, 'Duration: <duration-ms>ms')
    .replace(/"durationMs":\s*\d+/g, '"durationMs":"<duration-ms>"')
    .replace(/"unixSeconds":\s*\d+/g, '"unixSeconds":"<unix-seconds>"')
    .replace(/"uptimeSeconds":\s*\d+/g, '"uptimeSeconds":"<uptime-seconds>"')
    .replace(/"version":(\s*)"0\.1\.0"/g, '"version":$1"<version>"')
    .replace(/^(dynamic_mcp_process_uptime_seconds) \d+$/gm, '$1 <uptime-seconds>')
    .replace(/\S*dynamic-mcp-node-sandbox-\w+/g, '<workspace>')
    .replace(/Command failed: \S+ --max-old-space-size/g, 'Command failed: <node> --max-old-space-size');
}

async function untilAlive(url) {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    try {
      if ((await fetch(url)).ok) return;
    } catch {
      // Not listening yet: the next attempt tells.
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`no answer from ${url} within 10 s`);
}

function freePort() {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}
