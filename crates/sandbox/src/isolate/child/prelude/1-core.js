// The globals that a tool's code finds besides ECMAScript. The files of this folder are one
// function: it gets what Rust offers (`host`) and returns the hooks that Rust calls.
(function (host) {
'use strict';

const global = globalThis;
const { apply } = Reflect;
const uncurry = (method) => (self, ...args) => apply(method, self, args);
const wellFormed = uncurry(String.prototype.toWellFormed);
const slice = uncurry(String.prototype.slice);
const { stringify } = JSON;
const PromiseOf = Promise;
const resolved = () => new PromiseOf((resolve) => resolve());

// Text for Rust: a string without lone surrogates.
const text = (value) => wellFormed(`${value}`);

const define = (name, value) =>
  Object.defineProperty(global, name, { value, writable: true, configurable: true });

// Random numbers come from the kernel: the runtime seeds its own by the clock, which two sandboxes
// that start together could share.
Object.defineProperty(Math, 'random', {
  value: function random() { return host.randomFloat(); },
  writable: true,
  configurable: true,
});

define('performance', Object.freeze({
  now() { return host.now(); },
  get timeOrigin() { return Date.now() - host.now(); },
  toJSON() { return { timeOrigin: this.timeOrigin }; },
}));

const integerArrays = [
  Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array,
  BigInt64Array, BigUint64Array,
];

class Crypto {
  getRandomValues(array) {
    if (!integerArrays.some((type) => array instanceof type)) {
      throw new DOMException('the argument is not an integer typed array', 'TypeMismatchError');
    }
    if (array.byteLength > 65536) {
      throw new DOMException('at most 65536 bytes at once', 'QuotaExceededError');
    }
    const bytes = host.randomBytes(array.byteLength);
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(bytes);
    return array;
  }
  randomUUID() { return host.uuid(); }
}
define('crypto', Object.freeze(new Crypto()));
