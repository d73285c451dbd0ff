// What is recorded: groups of ordered steps, each group on a server of its own.
// `compare` and `ours` tell the test how our answer relates to the recorded one; README.md defines them.

const call = (name, args) => ({
  method: 'tools/call',
  params: args === undefined ? { name } : { name, arguments: args },
});
const step = (name, request, compare = 'equal', ours) => ({
  case: name,
  request,
  compare,
  ...(ours ? { ours } : {}),
});
const refused = (name, request, code, field) =>
  step(name, request, 'refusal', { code, ...(field ? { field } : {}) });
const differs = (name, request, why, ours = {}) => step(name, request, 'differs', { why, ...ours });
const repeat = (text, times) => ({ $repeat: text, $times: times });
const tool = (name, code, more = {}) => ({ name, description: 'A tool for the golden results.', code, ...more });
const create = (record) => call('dynamic.tool.create', { tool: record });
const made = (name, code, more) => step(`create ${name}`, create(tool(name, code, more)));

const unicode = 'héllo 👩‍👩‍👧 漢字 שלום مرحبا é \u2028 \u0001 "quoted" \\ back';

const lifecycle = {
  group: 'lifecycle',
  profile: 'mvp',
  steps: [
    step('tools/list of an empty mvp server', { method: 'tools/list', params: {} }, 'tools'),
    step('system.health', call('system.health', {})),
    step('list of an empty registry', call('dynamic.tool.list', {})),
    step('create, only what is required', create(tool('golden.one', 'return { sum: args.a + args.b };'))),
    step(
      'create with every field',
      create(
        tool('golden.full', 'return 1;', {
          title: 'Every field',
          image: 'node:lts-slim',
          timeoutMs: 5000,
          dependencies: [{ name: '@scope/pkg', version: '1.2.3' }],
          enabled: false,
        }),
      ),
    ),
    refused('create a name that exists', create(tool('golden.one', 'return 2;')), 'already_exists'),
    step('tools/list with one tool', { method: 'tools/list', params: {} }, 'tools'),
    step('get', call('dynamic.tool.get', { name: 'golden.one' })),
    refused('get what does not exist', call('dynamic.tool.get', { name: 'golden.none' }), 'not_found'),
    step('call', call('golden.one', { args: { a: 2, b: 3 } })),
    step('update code and description', call('dynamic.tool.update', {
      name: 'golden.one',
      patch: { description: 'Changed.', title: 'One', code: 'return { product: args.a * args.b };' },
    })),
    step('call after update', call('golden.one', { args: { a: 2, b: 3 } })),
    step('update with the right expectedRevision', call('dynamic.tool.update', {
      name: 'golden.one', patch: { timeoutMs: 2000 }, expectedRevision: 2,
    })),
    refused('update with an old expectedRevision', call('dynamic.tool.update', {
      name: 'golden.one', patch: { timeoutMs: 3000 }, expectedRevision: 1,
    }), 'revision_conflict'),
    refused('update what does not exist', call('dynamic.tool.update', {
      name: 'golden.none', patch: { timeoutMs: 3000 },
    }), 'not_found'),
    step('update with an empty patch', call('dynamic.tool.update', { name: 'golden.one', patch: {} }), 'equal'),
    step('disable', call('dynamic.tool.enable', { name: 'golden.one', enabled: false })),
    step('call a disabled tool', call('golden.one', { args: {} }), 'unknown-tool'),
    step('tools/list without the disabled tool', { method: 'tools/list', params: {} }, 'tools'),
    step('list shows the disabled tool', call('dynamic.tool.list', {})),
    step('enable', call('dynamic.tool.enable', { name: 'golden.one', enabled: true, expectedRevision: 5 })),
    refused('enable with an old expectedRevision', call('dynamic.tool.enable', {
      name: 'golden.one', enabled: true, expectedRevision: 1,
    }), 'revision_conflict'),
    refused('enable what does not exist', call('dynamic.tool.enable', { name: 'golden.none', enabled: true }), 'not_found'),
    refused('delete with an old expectedRevision', call('dynamic.tool.delete', {
      name: 'golden.one', expectedRevision: 1,
    }), 'revision_conflict'),
    step('delete', call('dynamic.tool.delete', { name: 'golden.one', expectedRevision: 6 }), 'equal'),
    refused('delete what does not exist', call('dynamic.tool.delete', { name: 'golden.one' }), 'not_found'),
    step('call a deleted tool', call('golden.one', { args: {} }), 'unknown-tool'),
    step('adminToken is ignored when none is configured', call('dynamic.tool.list', { adminToken: 'anything' })),
  ],
};

const listing = {
  group: 'listing',
  profile: 'mvp',
  steps: [
    made('b.second', 'return 2;', { title: 'Second', timeoutMs: 1000 }),
    made('a.first', 'return "ü";', { enabled: false }),
    made('c.third', 'return 3;'),
    step('list without code', call('dynamic.tool.list', {})),
    step('list with code', call('dynamic.tool.list', { includeCode: true })),
    step('get counts bytes, not characters', call('dynamic.tool.get', { name: 'a.first' })),
    step('tools/list shows what is enabled', { method: 'tools/list', params: {} }, 'tools'),
  ],
};

const invalid = (name, record, field) => refused(name, create(record), 'invalid_argument', field);

const validation = {
  group: 'validation',
  profile: 'mvp',
  steps: [
    invalid('name too short', tool('ab', 'return 1;'), 'name'),
    invalid('name starts with a digit', tool('1abc', 'return 1;'), 'name'),
    invalid('name with a space', tool('a b c', 'return 1;'), 'name'),
    invalid('name of 65 characters', tool('a'.repeat(65), 'return 1;'), 'name'),
    step('name of 64 characters', create(tool('a'.repeat(64), 'return 1;'))),
    refused('name with the reserved prefix', create(tool('dynamic.tool.mine', 'return 1;')), 'policy_denied', 'name'),
    refused('name of a built-in', create(tool('run_js_ephemeral', 'return 1;')), 'policy_denied', 'name'),
    invalid('title empty', tool('bad.title', 'return 1;', { title: '' }), 'title'),
    invalid('title of 121 characters', tool('bad.title', 'return 1;', { title: 't'.repeat(121) }), 'title'),
    invalid('description empty', tool('bad.description', 'return 1;', { description: '' }), 'description'),
    invalid('description of 4001 characters', tool('bad.description', 'return 1;', { description: repeat('d', 4001) }), 'description'),
    invalid('description missing', { name: 'bad.description', code: 'return 1;' }, 'description'),
    invalid('code missing', { name: 'bad.code', description: 'x' }, 'code'),
    invalid('code empty', tool('bad.code', ''), 'code'),
    invalid('code a number', tool('bad.code', 7), 'code'),
    invalid('timeoutMs 999', tool('bad.timeout', 'return 1;', { timeoutMs: 999 }), 'timeoutMs'),
    invalid('timeoutMs 120001', tool('bad.timeout', 'return 1;', { timeoutMs: 120001 }), 'timeoutMs'),
    invalid('timeoutMs 1000.5', tool('bad.timeout', 'return 1;', { timeoutMs: 1000.5 }), 'timeoutMs'),
    step('timeoutMs 1000 and 120000 are inside', create(tool('edge.timeout', 'return 1;', { timeoutMs: 120000 }))),
    invalid('image empty', tool('bad.image', 'return 1;', { image: '' }), 'image'),
    invalid('image of 201 characters', tool('bad.image', 'return 1;', { image: 'i'.repeat(201) }), 'image'),
    invalid('dependency with a bad name', tool('bad.dependency', 'return 1;', {
      dependencies: [{ name: 'Not A Name', version: '1.0.0' }],
    }), 'dependencies'),
    invalid('dependency without a version', tool('bad.dependency', 'return 1;', {
      dependencies: [{ name: 'left-pad' }],
    }), 'dependencies'),
    invalid('65 dependencies', tool('bad.dependency', 'return 1;', {
      dependencies: Array.from({ length: 65 }, (_, index) => ({ name: `pkg${index}`, version: '1.0.0' })),
    }), 'dependencies'),
    invalid('enabled a string', tool('bad.enabled', 'return 1;', { enabled: 'yes' }), 'enabled'),
    refused('tool missing', call('dynamic.tool.create', {}), 'invalid_argument', 'tool'),
    refused('arguments missing', call('dynamic.tool.create'), 'invalid_argument'),
    refused('get with a bad name', call('dynamic.tool.get', { name: 'x' }), 'invalid_argument', 'name'),
    refused('expectedRevision 0', call('dynamic.tool.update', {
      name: 'edge.timeout', patch: {}, expectedRevision: 0,
    }), 'invalid_argument', 'expectedRevision'),
    refused('expectedRevision a string', call('dynamic.tool.delete', {
      name: 'edge.timeout', expectedRevision: '1',
    }), 'invalid_argument', 'expectedRevision'),
    refused('patch missing', call('dynamic.tool.update', { name: 'edge.timeout' }), 'invalid_argument', 'patch'),
    refused('enable without enabled', call('dynamic.tool.enable', { name: 'edge.timeout' }), 'invalid_argument', 'enabled'),
    differs('unknown field in tool', create(tool('edge.unknown', 'return 1;', { colour: 'red' })),
      'The Node server drops unknown fields silently; ours refuses them and names the field.',
      { code: 'invalid_argument', field: 'colour' }),
    differs('name of a built-in that the Node server forgot', create(tool('system.health', 'return 1;')),
      'The Node server stores the record, answers an error, and from then on every new session fails; ours refuses before anything is stored.',
      { code: 'policy_denied', field: 'name' }),
  ],
};

const codeLimit = {
  group: 'code_limit',
  profile: 'mvp',
  env: { MCP_HTTP_MAX_REQUEST_BYTES: '102400' },
  steps: [
    step('code of 90000 characters', create(tool('big.code', repeat('/', 90000)))),
    step('its size in list', call('dynamic.tool.list', {})),
  ],
};

const bodies = [
  ['object', 'return { a: 1, b: [true, null, "x"], c: { d: 1.5 } };'],
  ['string', 'return "plain text";'],
  ['empty string', 'return "";'],
  ['integer', 'return 42;'],
  ['float', 'return 0.1 + 0.2;'],
  ['negative zero and exponent', 'return [-0, 1e21, 1e-7, 9007199254740991];'],
  ['true', 'return true;'],
  ['null', 'return null;'],
  ['undefined', 'return undefined;'],
  ['nothing', 'const unused = 1;'],
  ['array', 'return [3, 1, 2];'],
  ['empty array', 'return [];'],
  ['awaited promise', 'return await Promise.resolve({ late: true });'],
  ['a promise', 'return Promise.resolve("later");'],
  ['unicode', `return ${JSON.stringify(unicode)};`],
  ['undefined member', 'return { kept: 1, dropped: undefined, inArray: [undefined] };'],
  ['date', 'return { at: new Date(0) };'],
  ['toJSON', 'return { toJSON() { return "from toJSON"; } };'],
  ['NaN and Infinity', 'return [NaN, Infinity, -Infinity];'],
  ['map and set', 'return { m: new Map([[1, 2]]), s: new Set([1]) };'],
  ['multi-line string', 'return "line one\\nline two\\ttabbed";'],
];

const lostError =
  'The runner of the Node server exits with 1, so its engine reports the command line and loses the error; ours is the shape it was meant to be: {ok: false, error, durationMs} and our code.';

const results = {
  group: 'results',
  profile: 'mvp',
  steps: [
    made('golden.args', 'return args;'),
    step('arguments come back', call('golden.args', { args: { text: unicode, n: 1, deep: { list: [1, { x: null }] } } })),
    step('args is {} when not given', call('golden.args', {})),
    step('arguments absent', call('golden.args')),
    refused('args an array', call('golden.args', { args: [1] }), 'invalid_argument', 'args'),
    refused('args a string', call('golden.args', { args: 'x' }), 'invalid_argument', 'args'),
    ...bodies.flatMap(([kind, code], index) => {
      const name = `golden.kind${index}`;
      return [made(name, code), step(`result: ${kind}`, call(name, { args: {} }), kind.startsWith('negative zero') ? 'structured' : 'equal')];
    }),
    made('golden.throw', 'throw new Error("it broke");'),
    differs('throw an Error', call('golden.throw', { args: {} }), lostError, { code: 'tool_failed', error: 'it broke' }),
    made('golden.throwtext', 'throw "just text";'),
    differs('throw a string', call('golden.throwtext', { args: {} }), lostError, { code: 'tool_failed', error: 'just text' }),
    made('golden.reject', 'await Promise.reject(new TypeError("rejected"));'),
    differs('reject', call('golden.reject', { args: {} }), lostError, { code: 'tool_failed', error: 'rejected' }),
    made('golden.console', 'console.log("printed", { a: 1 }); console.error("to stderr"); return "done";'),
    differs('console output and a result', call('golden.console', { args: {} }),
      'The Node server loses the result when stderr was written to; ours returns the result and what was printed in `logs`.',
      { result: 'done', logs: ['printed', 'to stderr'] }),
    made('golden.logonly', 'console.log("printed"); return { ok: "yes" };'),
    step('console.log and a result', call('golden.logonly', { args: {} })),
    made('golden.syntax', 'return (;'),
    differs('code that does not parse', call('golden.syntax', { args: {} }),
      'The Node server puts its command line into the text; ours says where the syntax error is.', { code: 'tool_failed' }),
    made('golden.loop', 'for (;;) {}', { timeoutMs: 1000 }),
    differs('endless loop', call('golden.loop', { args: {} }),
      'The Node server puts its command line into the text; ours says timeout and the limit.', { code: 'timeout' }),
    made('golden.exit', 'process.exit(0);'),
    differs('process.exit(0)', call('golden.exit', { args: {} }),
      'Counts as success in the Node server; ours is a failure (the isolate engine has no process at all).', { code: 'tool_failed' }),
    made('golden.content', 'return { content: [{ type: "text", text: "a block" }], isError: false };'),
    differs('a result with content blocks', call('golden.content', { args: {} }),
      'Ours passes MCP content on as it is.', { content: [{ type: 'text', text: 'a block' }] }),
    made('golden.circular', 'const a = { name: "loop" }; a.self = a; return a;'),
    differs('circular', call('golden.circular', { args: {} }),
      'JSON cannot hold it: the Node server writes [Circular]; the contract has only what JSON can hold as a result.', { code: 'tool_failed' }),
    made('golden.bigint', 'return { big: 12345678901234567890n };'),
    differs('bigint', call('golden.bigint', { args: {} }),
      'JSON cannot hold it: the Node server writes a string; the contract has only what JSON can hold as a result.', { code: 'tool_failed' }),
    made('golden.long', 'return "x".repeat(args.length);'),
    step('a result of 150000 characters', call('golden.long', { args: { length: 150000 } }), 'structured'),
    differs('a result over the output bound', call('golden.long', { args: { length: 250000 } }),
      'The Node server cuts the frame and calls it a success without a result; ours is a failure.',
      { code: 'output_too_large' }),
  ],
};

const ephemeral = (args) => call('run_js_ephemeral', args);
const runJs = {
  group: 'run_js_ephemeral',
  profile: 'mvp',
  steps: [
    step('success', ephemeral({ code: 'return { ok: 1 };' })),
    step('args', ephemeral({ code: 'return args.a + args.b;', args: { a: 'x', b: 'ÿ漢' } })),
    step('args is {} when not given', ephemeral({ code: 'return Object.keys(args).length;' })),
    step('undefined', ephemeral({ code: '' + 'const x = 1;' })),
    differs('failure', ephemeral({ code: 'throw new Error("ephemeral failed");' }), lostError, {
      code: 'tool_failed', error: 'ephemeral failed',
    }),
    step('image and timeout are taken', ephemeral({ code: 'return 7;', image: 'node:lts-slim', timeoutMs: 1000 })),
    differs('timeout', ephemeral({ code: 'for (;;) {}', timeoutMs: 1000 }),
      'The Node server puts its command line into the text; ours says timeout and the limit.', { code: 'timeout' }),
    refused('dependencies without Docker', ephemeral({
      code: 'return 1;', dependencies: [{ name: 'left-pad', version: '1.3.0' }],
    }), 'policy_denied', 'dependencies'),
    refused('code missing', ephemeral({}), 'invalid_argument', 'code'),
    refused('code empty', ephemeral({ code: '' }), 'invalid_argument', 'code'),
    refused('timeoutMs 999', ephemeral({ code: 'return 1;', timeoutMs: 999 }), 'invalid_argument', 'timeoutMs'),
    refused('timeoutMs 120001', ephemeral({ code: 'return 1;', timeoutMs: 120001 }), 'invalid_argument', 'timeoutMs'),
    refused('args an array', ephemeral({ code: 'return 1;', args: [] }), 'invalid_argument', 'args'),
    step('it is not stored', call('dynamic.tool.list', {})),
  ],
};

const enterprise = {
  group: 'enterprise',
  profile: 'enterprise',
  env: { MCP_AUDIT_ENABLED: 'false' },
  steps: [
    step('tools/list', { method: 'tools/list', params: {} }, 'tools'),
    step('dev.echo', call('dev.echo', { message: 'hello' })),
    step('dev.echo in upper case', call('dev.echo', { message: 'straße ümlaut', uppercase: true })),
    step('dev.echo counts UTF-16 units', call('dev.echo', { message: unicode })),
    refused('dev.echo of nothing', call('dev.echo', { message: '' }), 'invalid_argument', 'message'),
    refused('dev.echo without a message', call('dev.echo', {}), 'invalid_argument', 'message'),
    step('time.now', call('time.now', {})),
    step('time.now in a zone', call('time.now', { timeZone: 'Asia/Shanghai' })),
    refused('time.now in no such zone', call('time.now', { timeZone: 'Mars/Olympus' }), 'invalid_argument', 'timeZone'),
    step('system.guard_metrics before any guarded call', call('system.guard_metrics', {})),
    step('run one guarded call', call('run_js_ephemeral', { code: 'return 1;' })),
    step('system.guard_metrics', call('system.guard_metrics', {})),
    differs('run one that fails', call('run_js_ephemeral', { code: 'throw new Error("x");' }), lostError, {
      code: 'tool_failed', error: 'x',
    }),
    differs('system.guard_metrics after a failure', call('system.guard_metrics', {}),
      'The Node server does not count a result with isError as failed; ours does.',
      { scope: { scope: 'run_js_ephemeral', total: 2, allowed: 2, failed: 1 } }),
    differs('system.runtime_config', call('system.runtime_config', {}),
      'Ours is the effective configuration of a server with other keys; the recorded sections (dynamic, auth, security, sandbox, audit, experimental) stay.',
      { sections: ['dynamic', 'auth', 'security', 'sandbox', 'audit', 'experimental'] }),
    step('resources/list', { method: 'resources/list', params: {} }, 'names'),
    step('resources/templates/list', { method: 'resources/templates/list', params: {} }),
    step('read service/meta', { method: 'resources/read', params: { uri: 'dynamic://service/meta' } }, 'resource'),
    differs('read metrics/guard', { method: 'resources/read', params: { uri: 'dynamic://metrics/guard' } },
      'As system.guard_metrics after a failure.', { scope: { scope: 'run_js_ephemeral', total: 2, allowed: 2, failed: 1 } }),
    differs('read service/runtime-config', { method: 'resources/read', params: { uri: 'dynamic://service/runtime-config' } },
      'As system.runtime_config.', { sections: ['dynamic', 'auth', 'security', 'sandbox', 'audit', 'experimental'] }),
    step('read what does not exist', { method: 'resources/read', params: { uri: 'dynamic://no/such' } }, 'rpc-error', {
      rpcCode: [-32602, -32002],
    }),
    step('prompts/list', { method: 'prompts/list', params: {} }, 'names'),
    step('prompts/get', { method: 'prompts/get', params: { name: 'tool-call-checklist', arguments: { toolName: 'dev.echo' } } }),
    step('prompts/get without its argument', { method: 'prompts/get', params: { name: 'tool-call-checklist', arguments: {} } }, 'rpc-error', { rpcCode: [-32602] }),
    step('prompts/get of no such prompt', { method: 'prompts/get', params: { name: 'none' } }, 'rpc-error', { rpcCode: [-32602] }),
    step('unknown tool', call('no.such.tool', {}), 'unknown-tool'),
    step('unknown method', { method: 'no/such', params: {} }, 'rpc-error', { rpcCode: [-32601] }),
    step('ping', { method: 'ping' }),
    step('logging/setLevel', { method: 'logging/setLevel', params: { level: 'info' } }),
  ],
};

const secret = 'golden-admin-token';
const guarded = [
  ['create', { tool: tool('token.one', 'return 1;') }],
  ['list', {}],
  ['get', { name: 'token.one' }],
  ['update', { name: 'token.one', patch: { title: 'T' } }],
  ['enable', { name: 'token.one', enabled: true }],
  ['delete', { name: 'token.one' }],
];
const admin = {
  group: 'admin_token',
  profile: 'mvp',
  env: { MCP_ADMIN_TOKEN: secret, MCP_REQUIRE_ADMIN_TOKEN: 'true' },
  steps: [
    ...guarded.flatMap(([what, args]) => [
      refused(`${what} without the token`, call(`dynamic.tool.${what}`, args), 'permission_denied'),
      refused(`${what} with a wrong token`, call(`dynamic.tool.${what}`, { ...args, adminToken: `${secret}x` }), 'permission_denied'),
    ]),
    ...guarded.map(([what, args]) =>
      step(`${what} with the token`, call(`dynamic.tool.${what}`, { ...args, adminToken: secret }))),
    step('system.health needs none', call('system.health', {})),
    step('run_js_ephemeral needs none', call('run_js_ephemeral', { code: 'return 1;' })),
  ],
};

const seeded = (name) => ({
  name,
  description: 'Stored before the start.',
  image: 'node:lts-slim',
  timeoutMs: 30000,
  dependencies: [],
  code: 'return { seeded: true };',
  enabled: true,
  createdAt: '2026-01-02T03:04:05.678Z',
  updatedAt: '2026-01-02T03:04:05.678Z',
  revision: 7,
});
const readOnly = {
  group: 'read_only',
  profile: 'mvp',
  env: { MCP_DYNAMIC_READ_ONLY: 'true' },
  seed: { version: 1, tools: [seeded('seed.one')] },
  steps: [
    refused('create', create(tool('seed.two', 'return 1;')), 'policy_denied'),
    refused('update', call('dynamic.tool.update', { name: 'seed.one', patch: { title: 'x' } }), 'policy_denied'),
    refused('delete', call('dynamic.tool.delete', { name: 'seed.one' }), 'policy_denied'),
    refused('enable', call('dynamic.tool.enable', { name: 'seed.one', enabled: false }), 'policy_denied'),
    step('get keeps revision and times', call('dynamic.tool.get', { name: 'seed.one' })),
    step('list', call('dynamic.tool.list', {})),
    step('call', call('seed.one', { args: {} })),
  ],
};

const maxTools = {
  group: 'max_tools',
  profile: 'mvp',
  env: { MCP_DYNAMIC_MAX_TOOLS: '2' },
  steps: [
    made('max.one', 'return 1;'),
    made('max.two', 'return 2;', { enabled: false }),
    refused('one too many', create(tool('max.three', 'return 3;')), 'limit_exceeded'),
    refused('a name that exists, at the limit', create(tool('max.one', 'return 1;')), 'already_exists'),
    step('delete makes room', call('dynamic.tool.delete', { name: 'max.two' })),
    made('max.three', 'return 3;'),
  ],
};

const rate = {
  group: 'guard_rate',
  profile: 'enterprise',
  env: { MCP_TOOL_MAX_CALLS_PER_WINDOW: '2', MCP_TOOL_RATE_WINDOW_MS: '60000', MCP_AUDIT_ENABLED: 'false' },
  steps: [
    step('first', call('run_js_ephemeral', { code: 'return 1;' })),
    step('second', call('run_js_ephemeral', { code: 'return 2;' })),
    refused('third', call('run_js_ephemeral', { code: 'return 3;' }), 'rate_limited'),
    step('another scope is free', create(tool('rate.one', 'return 1;'))),
    step('a tool has its own scope', call('rate.one', { args: {} })),
    step('again', call('rate.one', { args: {} })),
    refused('and its own limit', call('rate.one', { args: {} }), 'rate_limited'),
    step('unguarded tools go on', call('system.health', {})),
    step('system.guard_metrics', call('system.guard_metrics', {})),
  ],
};

const concurrency = {
  group: 'guard_concurrency',
  profile: 'enterprise',
  env: { MCP_TOOL_MAX_CONCURRENCY: '1', MCP_AUDIT_ENABLED: 'false' },
  steps: [
    {
      ...step('the call that holds the only place', call('run_js_ephemeral', {
        code: 'await new Promise((done) => setTimeout(done, 1500)); return "held";',
      })),
      background: 500,
    },
    { ...refused('a second one meanwhile', call('run_js_ephemeral', { code: 'return 2;' }), 'overloaded'), join: true },
    step('after it', call('run_js_ephemeral', { code: 'return 3;' })),
    step('system.guard_metrics', call('system.guard_metrics', {})),
  ],
};

const rpcHeaders = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const http = (name, request, compare = 'equal', ours) => ({ case: name, http: request, compare, ...(ours ? { ours } : {}) });
const endpoints = {
  group: 'http',
  profile: 'mvp',
  session: false,
  steps: [
    http('livez', { method: 'GET', path: '/livez' }),
    http('readyz', { method: 'GET', path: '/readyz' }),
    http('livez takes over x-request-id', { method: 'GET', path: '/livez', headers: { 'x-request-id': 'golden-1' } }),
    http('metrics', { method: 'GET', path: '/metrics' }, 'metrics'),
    http('body that is no JSON', { method: 'POST', path: '/mcp', headers: rpcHeaders, body: '{"jsonrpc":' }, 'differs', {
      why: 'Same status and code; our message and data may say more.', status: 400, rpcCode: [-32700],
    }),
    http('body over the limit', {
      method: 'POST', path: '/mcp', headers: rpcHeaders, body: repeat('x', 102401),
    }, 'differs', {
      why: 'Our default limit is 1,048,576: `body` is one byte over it.', body: repeat('x', 1048577), status: 413,
    }),
    http('initialize', {
      method: 'POST', path: '/mcp', headers: { ...rpcHeaders, 'x-request-id': 'golden-1' },
      body: JSON.stringify({
        jsonrpc: '2.0', id: 1, method: 'initialize',
        params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'golden', version: '1' } },
      }),
    }, 'differs', {
      why: 'serverInfo.name and capabilities.tools are kept; version, instructions and encoding are ours.',
      status: 200,
      message: {
        jsonrpc: '2.0', id: 1,
        result: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'dynamic-mcp' } },
      },
    }),
  ],
};

export const groups = [
  lifecycle, listing, validation, codeLimit, results, runJs, enterprise, admin, readOnly, maxTools, rate, concurrency, endpoints,
];
