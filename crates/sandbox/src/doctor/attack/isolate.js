// What code in a process of the isolate engine can reach.
const said = [];
const say = (name, tried, held, found = '') => said.push({ name, tried, held, found: `${found}`.slice(0, 300) });
for (const name of ['process', 'require', 'module', 'std', 'os', 'Deno', 'Bun', 'fetch', 'XMLHttpRequest', 'WebSocket', 'Worker', 'WebAssembly']) {
  const kind = typeof globalThis[name];
  say(`global ${name}`, 'use it', kind === 'undefined', kind);
}
for (const name of ['fs', 'node:fs', 'child_process', 'std', 'os', '/etc/passwd', 'file:///etc/passwd', './x.so']) {
  let found;
  try { await import(name); found = 'imported'; } catch (error) { found = error.name; }
  say(`import ${name}`, 'load it', found !== 'imported', found);
}
const outer = (() => { try { return Function('return this')(); } catch (error) { return error; } })();
say('constructor', 'find more by Function("return this")', typeof outer?.process === 'undefined' && typeof outer?.std === 'undefined', typeof outer);
const AsyncFunction = (async () => {}).constructor;
const inner = await AsyncFunction('return typeof require + typeof process')().catch((error) => error.name);
say('async-constructor', 'find more by the constructor of async functions', inner === 'undefinedundefined', inner);
let depth = 0;
const dive = () => { depth += 1; dive(); };
let ended;
try { dive(); } catch (error) { ended = error.name; }
say('stack', 'call without end', ended !== undefined, `${ended} at ${depth}`);
try { 'x'.repeat(2 ** 29).repeat(8); ended = 'made'; } catch (error) { ended = error.name; }
say('huge-text', 'make a text of 4 GiB', ended !== 'made', ended);
try { new ArrayBuffer(2 ** 40); ended = 'made'; } catch (error) { ended = error.name; }
say('huge-buffer', 'make a buffer of 1 TiB', ended !== 'made', ended);
return said;
