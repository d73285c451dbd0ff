// What a client does with dynamic-mcp, step by step, once for both SDKs (../README.md lists the steps).
// `peer` hides which SDK it is; every `check` that does not hold ends the run.

const ARGUMENTS = {
  type: 'object',
  properties: { a: { type: 'number' }, b: { type: 'number', minimum: 0 } },
  required: ['a', 'b'],
  additionalProperties: false,
};
const UNICODE = [
  'emoji 👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭',
  'CJK 漢字かな交じり文 한국어 𠮷野家',
  'RTL שלום עולם مرحبا بالعالم \u202eoverride\u202c',
  'combining e\u0301 n\u0303 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢',
  'separators \u2028 \u2029 \u00a0 \ufeff control \u0001 \u001f \u007f',
  'quotes " \' ` ${x} \\ \\n \r\n\t </script> <!--',
].join('\n');
const CODE_LIMIT = 200_000;
const NODE_CODE = `const os = require('node:os');
return { platform: os.platform(), version: process.version, text: Buffer.from(args.text, 'base64').toString() };`;

/** Runs every step; throws on the first that does not hold. */
export async function scenario(peer) {
  const { check, options } = peer;
  const names = Object.fromEntries(
    ['sum', 'chatty', 'typed', 'blocks', 'failing', 'echo', 'big'].map((name) => [name, `client.${process.pid}.${name}`]),
  );
  if (options.login && peer.stepsUp) await moreScopes(peer);
  await connected(peer);
  await made(peer, names);
  await called(peer, names);
  await changed(peer, names);
  await unicode(peer, names);
  await big(peer, names);
  await ephemeral(peer);
  if (options.engine !== undefined) await engine(peer);
  if (options.profile === 'enterprise') {
    await enterprise(peer);
    if (options.engine !== undefined) await sessions(peer);
  } else check(!(await peer.tools()).some((tool) => tool.name === 'dev.echo'), 'mvp has no dev.echo');
  await removed(peer, names);
}

async function connected(peer) {
  const { check, options } = peer;
  check(peer.version === peer.expectedVersion, `protocol ${peer.expectedVersion} is agreed on`, peer.version);
  check(peer.serverName === 'dynamic-mcp', 'the server says who it is', peer.serverName);
  const tools = await peer.tools();
  const listed = tools.map((tool) => tool.name);
  for (const name of ['system.health', 'run_js_ephemeral', ...['create', 'update', 'delete', 'enable', 'list', 'get'].map((verb) => `dynamic.tool.${verb}`)]) {
    check(listed.includes(name), `${name} is listed`, listed);
  }
  check(tools.every((tool) => tool.description && tool.inputSchema?.type === 'object'), 'every tool has a description and an object schema');
  if (options.additions) {
    for (const tool of tools.filter((tool) => tool.name.startsWith('dynamic.tool.'))) {
      check(tool.title && tool.outputSchema && tool.annotations, `${tool.name} has title, outputSchema and annotations`, tool);
    }
  }
  const again = (await peer.tools()).map((tool) => tool.name);
  check(JSON.stringify(again) === JSON.stringify(listed), 'the order is the same twice', { listed, again });
  const health = await peer.call('system.health', {});
  check(health.structuredContent?.status === 'ok', 'system.health is ok', health);
}

/** A login begins with the scope to call tools; the SDK asks for more when a refusal names it, and keeps what it had. */
async function moreScopes(peer) {
  const { check } = peer;
  const listed = (await peer.tools()).map((tool) => tool.name);
  check(listed.includes('run_js_ephemeral') && !listed.includes('dynamic.tool.create'), 'a first token is for calls alone', listed);
  const found = await manage(peer, 'list', {});
  check(!found.isError, 'the SDK gets the scope to read tools', found);
  const gone = await manage(peer, 'delete', { name: `client.${process.pid}.none` });
  check(codeOf(gone) === 'not_found', 'and the scope to write them', gone);
  const again = await manage(peer, 'list', {});
  check(!again.isError, 'without losing the one before', again);
}

async function made(peer, names) {
  const { check, options } = peer;
  const before = peer.changes();
  const created = await manage(peer, 'create', {
    tool: {
      name: names.sum,
      title: 'Sum',
      description: 'Adds two numbers.',
      code: 'return { sum: args.a + args.b };',
      ...(options.additions ? { inputSchema: ARGUMENTS } : {}),
    },
  });
  const record = created.structuredContent?.tool;
  check(record?.name === names.sum && record.revision === 1 && record.enabled === true, 'create answers the record', created);
  check(record.codeSizeBytes === 32 && record.code === undefined, 'with the size of the code, not the code', record);
  const listed = (await peer.tools()).find((tool) => tool.name === names.sum);
  check(listed?.description === 'Adds two numbers.', 'the very next list has the tool', listed);
  if (options.additions) {
    check(sameJson(listed.inputSchema, ARGUMENTS), 'with its inputSchema as it was given', listed.inputSchema);
  }
  if (peer.capabilities?.tools?.listChanged) {
    await until(() => peer.changes() > before, 5_000);
    check(peer.changes() > before, 'a declared tools/list_changed arrives');
  }
  const twice = await manage(peer, 'create', { tool: { name: names.sum, description: 'Again.', code: 'return 1;' } });
  check(twice.isError === true, 'a second create of the name is refused', twice);
  if (options.additions) check(codeOf(twice) === 'already_exists', 'with already_exists', twice);
}

async function called(peer, names) {
  const { check, options } = peer;
  const result = await peer.call(names.sum, input(options, { a: 2, b: 3 }));
  check(!result.isError && result.structuredContent?.ok === true, 'a call succeeds', result);
  check(sameJson(result.structuredContent.result, { sum: 5 }), 'with the result', result.structuredContent);
  check(Number.isInteger(result.structuredContent.durationMs), 'and its duration', result.structuredContent);
  check(textOf(result).includes(names.sum) && textOf(result).includes('"sum": 5'), 'the text says it too', textOf(result));
  if (!options.additions) return;

  const negative = await peer.call(names.sum, { a: 2, b: -1 });
  check(negative.isError === true && codeOf(negative) === 'invalid_argument', 'an argument against the schema is refused', negative);
  const said = JSON.stringify(negative.structuredContent) + textOf(negative);
  check(said.includes('/b') && said.includes('minimum'), 'naming the path and the rule', negative);
  const missing = await peer.call(names.sum, { a: 2 });
  check(missing.isError === true && JSON.stringify(missing).includes('required'), 'so is a missing one', missing);

  await manage(peer, 'create', {
    tool: {
      name: names.chatty,
      description: 'Says what it does.',
      code: `await ctx.log('info', { step: 'begin' });
for (let i = 1; i <= 3; i += 1) {
  await ctx.progress(i, 3, 'step ' + i);
  await new Promise((done) => setTimeout(done, 60));
}
await ctx.log('warning', 'nearly done');
return ctx.tool.name + ' revision ' + ctx.tool.revision;`,
    },
  });
  const steps = [];
  const chatty = await peer.call(names.chatty, { args: {} }, (step) => steps.push(step));
  check(chatty.structuredContent?.result === `${names.chatty} revision 1`, 'ctx.tool names tool and revision', chatty);
  check(steps.length >= 3, 'at least three progress notifications arrive', steps);
  check(steps.every((step, index) => index === 0 || step.progress > steps[index - 1].progress), 'they rise', steps);
  check(steps.at(-1).progress === 3 && steps.at(-1).total === 3 && steps[0].message === 'step 1', 'with total and message', steps);
  check(peer.logs.some((log) => log.level === 'info' && log.data?.step === 'begin'), 'ctx.log arrives with its level and data', peer.logs);
  check(peer.logs.some((log) => log.level === 'warning'), 'and the second one', peer.logs);

  await manage(peer, 'create', {
    tool: {
      name: names.typed,
      description: 'Has an output schema.',
      code: 'return { n: args.n === undefined ? 7 : args.n };',
      inputSchema: { type: 'object', properties: { n: {} } },
      outputSchema: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] },
    },
  });
  await peer.tools(); // From the list the SDK learns the output schema that it checks results against.
  const typed = await peer.call(names.typed, {});
  check(sameJson(typed.structuredContent, { n: 7 }), 'with outputSchema the result is structuredContent', typed);
  // The SDK 1.x checks structuredContent of failures too: an error must conform, or come without.
  const wrong = await peer.call(names.typed, { n: 'seven' });
  check(wrong.isError === true, 'a result against outputSchema is an error', wrong);

  await manage(peer, 'create', {
    tool: {
      name: names.blocks,
      description: 'Answers content blocks.',
      code: `return { content: [
  { type: 'text', text: 'first' },
  { type: 'image', data: 'iVBORw0KGgo=', mimeType: 'image/png' },
  { type: 'resource_link', uri: 'https://example.com/x', name: 'x' },
] };`,
    },
  });
  const blocks = await peer.call(names.blocks, { args: {} });
  check(sameJson(blocks.content.map((block) => block.type), ['text', 'image', 'resource_link']), 'content blocks pass as they are', blocks);
  check(blocks.content[1].data === 'iVBORw0KGgo=', 'with their data', blocks.content[1]);

  await manage(peer, 'create', {
    tool: { name: names.failing, description: 'Fails.', code: 'console.log("before"); throw new Error("it broke");' },
  });
  const failed = await peer.call(names.failing, { args: {} });
  check(failed.isError === true && failed.structuredContent?.ok === false, 'a throw is a failed call', failed);
  check(failed.structuredContent.error.includes('it broke') && codeOf(failed) === 'tool_failed', 'with message and code', failed);
  check(JSON.stringify(failed.structuredContent.logs).includes('before'), 'and what was printed', failed);
}

async function changed(peer, names) {
  const { check, options } = peer;
  const code = 'return { product: args.a * args.b };';
  const updated = await manage(peer, 'update', { name: names.sum, patch: { code }, expectedRevision: 1 });
  check(updated.structuredContent?.tool?.revision === 2, 'update makes revision 2', updated);
  const result = await peer.call(names.sum, input(options, { a: 2, b: 3 }));
  check(sameJson(result.structuredContent?.result, { product: 6 }), 'the very next call runs the new code', result);
  const stale = await manage(peer, 'update', { name: names.sum, patch: { code }, expectedRevision: 1 });
  check(stale.isError === true, 'an old expectedRevision is refused', stale);
  if (options.additions) check(codeOf(stale) === 'revision_conflict', 'with revision_conflict', stale);

  const got = await manage(peer, 'get', { name: names.sum });
  check(got.structuredContent?.tool?.code === code && got.structuredContent.tool.revision === 2, 'get answers the code', got);
  const all = await manage(peer, 'list', {});
  const entry = all.structuredContent?.tools?.find((tool) => tool.name === names.sum);
  check(entry?.revision === 2 && entry.code === undefined, 'list answers the record without code', all);

  await manage(peer, 'enable', { name: names.sum, enabled: false });
  check(!(await has(peer, names.sum)), 'a disabled tool is out of the very next list');
  await refusedAsUnknown(peer, names.sum, 'a disabled tool cannot be called');
  const enabled = await manage(peer, 'enable', { name: names.sum, enabled: true });
  check(enabled.structuredContent?.tool?.revision === 4, 'enable answers the record', enabled);
  check(await has(peer, names.sum), 'an enabled tool is back');
  const back = await peer.call(names.sum, input(options, { a: 4, b: 5 }));
  check(sameJson(back.structuredContent?.result, { product: 20 }), 'and can be called', back);
}

async function unicode(peer, names) {
  const { check } = peer;
  const code = `return { given: args.text, own: ${JSON.stringify(UNICODE)}, length: args.text.length };`;
  await manage(peer, 'create', { tool: { name: names.echo, title: UNICODE.slice(0, 20), description: UNICODE, code } });
  const listed = (await peer.tools()).find((tool) => tool.name === names.echo);
  check(listed?.description === UNICODE, 'a description of all scripts comes back unchanged', listed);
  const got = await manage(peer, 'get', { name: names.echo });
  check(got.structuredContent?.tool?.code === code, 'so does code', got.structuredContent);
  const result = await peer.call(names.echo, { args: { text: UNICODE } });
  check(result.structuredContent?.result?.given === UNICODE, 'so do arguments and results', result.structuredContent);
  check(result.structuredContent.result.own === UNICODE, 'and literals in the code', result.structuredContent);
  check(result.structuredContent.result.length === UNICODE.length, 'with the length that JavaScript gives them', result.structuredContent);
}

async function big(peer, names) {
  const { check, options } = peer;
  const limit = options.additions ? CODE_LIMIT : 90_000; // The Node server takes bodies of 102,400 bytes.
  const end = '*/ return args.text.length;';
  const code = `/*${'x'.repeat(limit - 2 - end.length)}${end}`;
  const created = await manage(peer, 'create', { tool: { name: names.big, description: 'Is big.', code } });
  check(created.structuredContent?.tool?.codeSizeBytes === limit, `code of ${limit} characters is stored`, created);
  const text = 'y'.repeat(limit / 2);
  const result = await peer.call(names.big, { args: { text } });
  check(result.structuredContent?.result === text.length, 'and runs', result);
  if (!options.additions) return;
  const over = await manage(peer, 'update', { name: names.big, patch: { code: `${code} ` } });
  check(over.isError === true && codeOf(over) === 'invalid_argument', 'one character more is refused', over);
  check(textOf(over).includes('code') && /200[,.]?000/.test(textOf(over)), 'naming field and limit', textOf(over));
}

async function ephemeral(peer) {
  const { check, options } = peer;
  const good = await peer.call('run_js_ephemeral', { code: 'return args.list.map((n) => n * 2);', args: { list: [1, 2, 3] } });
  check(sameJson(good.structuredContent?.result, [2, 4, 6]), 'run_js_ephemeral runs code with arguments', good);
  const bad = await peer.call('run_js_ephemeral', { code: 'throw new Error("no such luck");' });
  check(bad.isError === true, 'and reports a failure', bad);
  if (!options.additions) return;
  check(bad.structuredContent?.ok === false && bad.structuredContent.error.includes('no such luck'), 'with the message', bad);
  const slow = await peer.call('run_js_ephemeral', { code: 'for (;;) {}', timeoutMs: 1000 });
  check(slow.isError === true && codeOf(slow) === 'timeout', 'an endless loop ends as timeout', slow);
}

/** Which engine ran a call, by what it says and by what only one of the two has. */
async function engine(peer) {
  const { check, options } = peer;
  const says = (result) => check(result._meta?.['dynamic-mcp/engine'] === options.engine, `${options.engine} has run it`, result);
  const globals = await peer.call('run_js_ephemeral', { code: 'return [typeof require, typeof process, typeof Buffer];' });
  says(globals);
  const kinds = options.engine === 'docker' ? ['function', 'object', 'function'] : ['undefined', 'undefined', 'undefined'];
  check(sameJson(globals.structuredContent?.result, kinds), 'Node is there exactly with Docker', globals);
  says(await peer.call('run_js_ephemeral', { code: 'throw new Error("on purpose");' }));

  const name = `client.${process.pid}.node`;
  await manage(peer, 'create', { tool: { name, description: 'Needs Node.', code: NODE_CODE, engine: 'docker' } });
  const result = await peer.call(name, { args: { text: 'c3RyYcOfZQ==' } });
  if (options.engine === 'docker') {
    says(result);
    const got = result.structuredContent?.result;
    check(got?.platform === 'linux', 'require gives a module of Node', result);
    check(/^v\d+\.\d+\.\d+$/.test(got.version), 'process says the version of Node', result);
    check(got.text === 'straße', 'Buffer decodes', result);
  } else check(result.isError === true && codeOf(result) === 'policy_denied', 'a tool for Docker is refused', result);
  const gone = await manage(peer, 'delete', { name });
  check(!gone.isError, 'it is deleted', gone);
}

async function enterprise(peer) {
  const { check } = peer;
  const echo = await peer.call('dev.echo', { message: 'straße', uppercase: true });
  check(sameJson(echo.structuredContent, { message: 'STRASSE', length: 7 }), 'dev.echo', echo);
  const now = await peer.call('time.now', { timeZone: 'Asia/Shanghai' });
  check(Math.abs(now.structuredContent?.unixSeconds - Date.now() / 1000) < 10 && now.structuredContent.timeZone === 'Asia/Shanghai', 'time.now', now);
  const nowhere = await peer.call('time.now', { timeZone: 'Mars/Olympus' });
  check(nowhere.isError === true, 'time.now refuses an unknown zone', nowhere);
  const guard = await peer.call('system.guard_metrics', {});
  check(guard.structuredContent?.scopes?.some((scope) => scope.scope === 'run_js_ephemeral' && scope.allowed >= 2), 'system.guard_metrics counts', guard);
  const config = await peer.call('system.runtime_config', {});
  check(config.structuredContent?.sandbox && config.structuredContent.dynamic, 'system.runtime_config', config);

  const resources = (await peer.resources()).map((resource) => resource.uri);
  for (const uri of ['dynamic://service/meta', 'dynamic://service/runtime-config', 'dynamic://metrics/guard']) {
    check(resources.includes(uri), `${uri} is listed`, resources);
    const contents = await peer.read(uri);
    check(contents.length === 1 && contents[0].uri === uri && typeof JSON.parse(contents[0].text) === 'object', `${uri} can be read`, contents);
  }
  await fails(peer, () => peer.read('dynamic://no/such'), [-32602, -32002], 'a resource that is not there is an error');
  const prompts = (await peer.prompts()).map((prompt) => prompt.name);
  check(prompts.includes('tool-call-checklist'), 'the prompt is listed', prompts);
  const messages = await peer.prompt('tool-call-checklist', { toolName: 'dev.echo' });
  check(messages[0]?.content?.text?.includes('dev.echo'), 'the prompt names the tool', messages);
}

/** A sandbox session from its first to its last moment; without containers there is none. */
async function sessions(peer) {
  const { check, options } = peer;
  const made = await peer.call('sandbox.initialize', { env: { GREETING: 'grüezi' } });
  if (options.engine !== 'docker') {
    check(made.isError === true && codeOf(made) === 'policy_denied', 'sessions need containers, and say so', made);
    return;
  }
  const { sessionId } = made.structuredContent;
  const listed = await peer.call('sandbox.session.list', {});
  check(listed.structuredContent?.sessions?.some((session) => session.sessionId === sessionId), 'the session is listed', listed);
  const ran = await peer.call('sandbox.exec', { sessionId, commands: ['echo $GREETING; echo no >&2; exit 3', 'pwd'] });
  const [first, second] = ran.structuredContent.results;
  check(sameJson([first.exitCode, first.stdout, first.stderr], [3, 'grüezi\n', 'no\n']), 'a command has its code and streams', ran);
  check(second.stdout === '/workspace\n', 'the next one runs all the same', ran);
  const written = await peer.call('sandbox.files.write', { sessionId, path: 'data/in.txt', content: 'one\ntwo\n' });
  check(!written.isError, 'a file is written', written);

  const seen = peer.logs.length;
  const steps = [];
  const code = `const lines = require('node:fs').readFileSync('data/in.txt', 'utf8').trim().split('\\n');
for (const [at, line] of lines.entries()) {
  await ctx.log('info', { line });
  await ctx.progress(at + 1, lines.length, line);
  await new Promise((done) => setTimeout(done, 60));
}
require('node:fs').writeFileSync('data/out.txt', String(lines.length));
return lines;`;
  const result = await peer.call('sandbox.run_js', { sessionId, code }, (step) => steps.push(step));
  check(sameJson(result.structuredContent?.result, ['one', 'two']), 'sandbox.run_js sees the file', result);
  const shown = steps.map((step) => [step.progress, step.total, step.message]);
  check(sameJson(shown, [[1, 2, 'one'], [2, 2, 'two']]), 'its progress arrives while it runs', steps);
  const logs = peer.logs.slice(seen);
  const lines = logs.filter((log) => log.level === 'info' && log.data?.line).map((log) => log.data.line);
  check(sameJson(lines, ['one', 'two']), 'so do its logs', logs);
  const read = await peer.call('sandbox.files.read', { sessionId, path: 'data/out.txt' });
  check(read.structuredContent?.content === '2', 'its file stays', read);
  const stopped = await peer.call('sandbox.stop', { sessionId });
  check(stopped.structuredContent?.stopped === true, 'the session is stopped', stopped);
  const gone = await peer.call('sandbox.exec', { sessionId, commands: ['true'] });
  check(gone.isError === true && codeOf(gone) === 'not_found', 'and is not found any more', gone);
}

async function removed(peer, names) {
  const { check, options } = peer;
  const present = options.additions ? Object.values(names) : [names.sum, names.echo, names.big];
  for (const name of present) {
    const gone = await manage(peer, 'delete', { name });
    check(!gone.isError && textOf(gone).includes(name), `${name} is deleted`, gone);
    if (options.additions) check(sameJson(gone.structuredContent, { name, deleted: true }), 'delete answers name and deleted', gone);
    check(!(await has(peer, name)), 'a deleted tool is out of the very next list');
  }
  await refusedAsUnknown(peer, names.sum, 'a deleted tool cannot be called');
  const got = await manage(peer, 'get', { name: names.sum });
  check(got.isError === true && (!options.additions || codeOf(got) === 'not_found'), 'get answers not_found', got);
}

const manage = (peer, verb, args) => peer.call(`dynamic.tool.${verb}`, args);
const has = async (peer, name) => (await peer.tools()).some((tool) => tool.name === name);
const codeOf = (result) => result.structuredContent?.code;
const textOf = (result) => result.content.filter((block) => block.type === 'text').map((block) => block.text).join('\n');
const input = (options, args) => (options.additions ? args : { args });

/** Calling a tool that is not there: error -32602; the Node server answers `isError` instead. */
async function refusedAsUnknown(peer, name, what) {
  if (!peer.options.additions) {
    peer.check((await peer.call(name, { args: {} })).isError === true, what);
    return;
  }
  await fails(peer, () => peer.call(name, {}), [-32602], what);
}

async function fails(peer, work, codes, what) {
  let error;
  try {
    await work();
  } catch (thrown) {
    error = thrown;
  }
  peer.check(error !== undefined && codes.includes(error.code), what, error && { code: error.code, message: error.message });
}

async function until(holds, limitMs) {
  const end = Date.now() + limitMs;
  while (!holds() && Date.now() < end) await new Promise((done) => setTimeout(done, 20));
}

/** Equal as JSON values: the order of members does not count. */
function sameJson(left, right) {
  const sorted = (value) =>
    Array.isArray(value)
      ? value.map(sorted)
      : value !== null && typeof value === 'object'
        ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
        : value;
  return JSON.stringify(sorted(left)) === JSON.stringify(sorted(right));
}
