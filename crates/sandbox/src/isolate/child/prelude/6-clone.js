
// structuredClone.
const errorTypes = new Map([
  Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError,
].map((type) => [type.name, type]));

const uncloneable = (value) =>
  new DOMException(`${inspect(value, [], 1)} could not be cloned`, 'DataCloneError');

function cloneBuffer(buffer, seen) {
  if (!seen.has(buffer)) seen.set(buffer, buffer.slice(0));
  return seen.get(buffer);
}

function cloneError(value, seen) {
  const copy = new (errorTypes.get(value.name) ?? Error)(value.message);
  seen.set(value, copy);
  Object.defineProperty(copy, 'stack', { value: value.stack, writable: true, configurable: true });
  if ('cause' in value) copy.cause = clone(value.cause, seen);
  return copy;
}

function cloneObject(value, seen) {
  if (value instanceof Date) return new Date(value.getTime());
  if (value instanceof RegExp) return new RegExp(value.source, value.flags);
  if (value instanceof Boolean || value instanceof Number || value instanceof String) {
    return Object(value.valueOf());
  }
  if (value instanceof ArrayBuffer) return cloneBuffer(value, seen);
  if (value instanceof DataView) {
    return new DataView(cloneBuffer(value.buffer, seen), value.byteOffset, value.byteLength);
  }
  if (ArrayBuffer.isView(value)) {
    const type = integerArrays.find((it) => value instanceof it)
      ?? (value instanceof Float32Array ? Float32Array : Float64Array);
    return new type(cloneBuffer(value.buffer, seen), value.byteOffset, value.length);
  }
  if (value instanceof Error) return cloneError(value, seen);
  if (value instanceof Map) {
    const copy = new Map();
    seen.set(value, copy);
    for (const [name, item] of [...value]) copy.set(clone(name, seen), clone(item, seen));
    return copy;
  }
  if (value instanceof Set) {
    const copy = new Set();
    seen.set(value, copy);
    for (const item of [...value]) copy.add(clone(item, seen));
    return copy;
  }
  if (value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef
    || value instanceof Promise) {
    throw uncloneable(value);
  }
  const copy = Array.isArray(value) ? new Array(value.length) : {};
  seen.set(value, copy);
  for (const name of Object.keys(value)) {
    Object.defineProperty(copy, name, {
      value: clone(value[name], seen), writable: true, enumerable: true, configurable: true,
    });
  }
  return copy;
}

function clone(value, seen) {
  if (typeof value === 'symbol' || typeof value === 'function') throw uncloneable(value);
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const copy = cloneObject(value, seen);
  seen.set(value, copy);
  return copy;
}

define('structuredClone', function structuredClone(value, options) {
  const seen = new Map();
  const copy = clone(value, seen);
  // What is transferred is gone here, as the standard says; the copy is made all the same.
  for (const buffer of options?.transfer ?? []) buffer.transfer();
  return copy;
});
