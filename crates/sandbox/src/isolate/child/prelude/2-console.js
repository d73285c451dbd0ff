
// console: lines for the call's log, in the manner of Node.
const DEPTH = 4;
const ITEMS = 100;

const key = (name) =>
  typeof name === 'symbol' ? `[${String(name)}]`
    : /^[A-Za-z_$][\w$]*$/.test(name) ? name : stringify(name);

const quoted = (string) => `'${string.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n')}'`;

function inspectFunction(value) {
  const kind = /^class\b/.test(Function.prototype.toString.call(value)) ? 'class' : 'Function';
  return `[${kind}${value.name ? `: ${value.name}` : ' (anonymous)'}]`;
}

function inspectError(value) {
  const head = `${value.name}: ${value.message}`;
  const stack = typeof value.stack === 'string' ? value.stack.trimEnd() : '';
  return stack === '' ? head : `${head}\n${stack}`;
}

function inspectList(items, length, seen, depth) {
  const shown = [];
  let count = 0;
  for (const item of items) {
    if (count++ === ITEMS) break;
    shown.push(inspect(item, seen, depth));
  }
  if (length > ITEMS) shown.push(`... ${length - ITEMS} more items`);
  return shown;
}

function inspectObject(value, seen, depth) {
  const list = (items, length) => inspectList(items, length, seen, depth + 1);
  const wrap = (open, parts, close) =>
    parts.length === 0 ? open + close : `${open} ${parts.join(', ')} ${close}`;
  if (Array.isArray(value)) return wrap('[', list(value, value.length), ']');
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return `${value.constructor.name}(${value.length}) ${wrap('[', list(value, value.length), ']')}`;
  }
  if (value instanceof Map) {
    const pairs = [];
    for (const [name, item] of value) {
      if (pairs.length === ITEMS) { pairs.push(`... ${value.size - ITEMS} more items`); break; }
      pairs.push(`${inspect(name, seen, depth + 1)} => ${inspect(item, seen, depth + 1)}`);
    }
    return `Map(${value.size}) ${wrap('{', pairs, '}')}`;
  }
  if (value instanceof Set) return `Set(${value.size}) ${wrap('{', list(value, value.size), '}')}`;
  if (value instanceof Promise) return 'Promise {}';
  const proto = Object.getPrototypeOf(value);
  const name = proto === null ? '[Object: null prototype]' : proto.constructor?.name ?? 'Object';
  const names = Reflect.ownKeys(value)
    .filter((own) => Object.getOwnPropertyDescriptor(value, own)?.enumerable);
  const parts = names.slice(0, ITEMS).map((own) => {
    const { get, set, value: item } = Object.getOwnPropertyDescriptor(value, own);
    if (get || set) return `${key(own)}: [${get ? (set ? 'Getter/Setter' : 'Getter') : 'Setter'}]`;
    return `${key(own)}: ${inspect(item, seen, depth + 1)}`;
  });
  if (names.length > ITEMS) parts.push(`... ${names.length - ITEMS} more items`);
  return (name === 'Object' ? '' : `${name} `) + wrap('{', parts, '}');
}

function inspect(value, seen = [], depth = 0) {
  switch (typeof value) {
    case 'string': return depth === 0 ? value : quoted(value);
    case 'bigint': return `${value}n`;
    case 'symbol': return String(value);
    case 'function': return inspectFunction(value);
    case 'object': break;
    default: return Object.is(value, -0) ? '-0' : `${value}`;
  }
  if (value === null) return 'null';
  if (seen.includes(value)) return '[Circular]';
  if (value instanceof Error) return inspectError(value);
  if (value instanceof Date) return isNaN(value) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (depth > DEPTH) return Array.isArray(value) ? '[Array]' : '[Object]';
  seen.push(value);
  try {
    return inspectObject(value, seen, depth);
  } catch {
    return '[Object]';
  } finally {
    seen.pop();
  }
}

function format(args) {
  if (typeof args[0] !== 'string' || args.length === 1) {
    return args.map((arg) => inspect(arg)).join(' ');
  }
  let used = 1;
  const head = args[0].replace(/%[sdifjoOc%]/g, (mark) => {
    if (mark === '%%') return '%';
    if (used >= args.length) return mark;
    const arg = args[used++];
    switch (mark) {
      case '%s': return typeof arg === 'string' ? arg : inspect(arg, [], 1);
      case '%d': return typeof arg === 'bigint' ? `${arg}n` : `${Number(arg)}`;
      case '%i': return `${parseInt(arg, 10)}`;
      case '%f': return `${parseFloat(arg)}`;
      case '%j': try { return stringify(arg); } catch { return '[Circular]'; }
      case '%c': return '';
      default: return inspect(arg, [], 1);
    }
  });
  return [head, ...args.slice(used).map((arg) => inspect(arg))].join(' ');
}

let indent = '';
const counts = new Map();
const clocks = new Map();

const print = (level, args) => {
  const line = format(args);
  host.print(level, text(indent === '' ? line : line.replace(/^/gm, indent)));
};
const printer = (level) => (...args) => print(level, args);
const elapsed = (label) => `${label}: ${(host.now() - clocks.get(label)).toFixed(3)}ms`;

define('console', {
  log: printer('info'),
  info: printer('info'),
  debug: printer('debug'),
  warn: printer('warning'),
  error: printer('error'),
  dir(value) { print('info', [inspect(value, [], 1)]); },
  table: printer('info'),
  trace(...args) {
    const stack = new Error().stack.split('\n').filter((line) => line.includes('tool.js'));
    print('debug', [[`Trace: ${format(args)}`, ...stack].join('\n')]);
  },
  assert(condition, ...args) {
    if (!condition) print('error', ['Assertion failed' + (args.length ? ':' : ''), ...args]);
  },
  count(label = 'default') {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    print('info', [`${label}: ${counts.get(label)}`]);
  },
  countReset(label = 'default') { counts.delete(label); },
  time(label = 'default') { clocks.set(label, host.now()); },
  timeLog(label = 'default', ...args) { if (clocks.has(label)) print('info', [elapsed(label), ...args]); },
  timeEnd(label = 'default') {
    if (clocks.has(label)) print('info', [elapsed(label)]);
    clocks.delete(label);
  },
  group(...args) {
    if (args.length) print('info', args);
    if (indent.length < 32) indent += '  ';
  },
  groupCollapsed(...args) { this.group(...args); },
  groupEnd() { indent = slice(indent, 2); },
});
