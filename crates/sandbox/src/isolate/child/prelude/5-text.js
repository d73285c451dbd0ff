
// TextEncoder, TextDecoder, URL, URLSearchParams. Bytes reach Rust as base64: one native step
// each way.
const toBase64 = uncurry(Uint8Array.prototype.toBase64);

define('TextEncoder', class TextEncoder {
  get encoding() { return 'utf-8'; }
  encode(input = '') { return host.encode(text(input)); }
  encodeInto(input, target) {
    let read = 0;
    let written = 0;
    for (const character of text(input)) {
      const bytes = host.encode(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      read += character.length;
      written += bytes.length;
    }
    return { read, written };
  }
});

const bytesOf = (input) => {
  if (input === undefined) return new Uint8Array(0);
  if (input instanceof ArrayBuffer || input instanceof SharedArrayBuffer) return new Uint8Array(input);
  if (ArrayBuffer.isView(input)) {
    return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  }
  throw new TypeError('the input is neither an ArrayBuffer nor a view of one');
};

// How many bytes at the end begin a character that goes on in the next piece.
const unfinished = (bytes) => {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
};

define('TextDecoder', class TextDecoder {
  #fatal; #ignoreBOM; #rest = new Uint8Array(0); #begun = false;
  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*(unicode-1-1-utf-8|unicode11utf8|utf-?8|x-unicode20utf8)\s*$/i.test(label)) {
      throw new RangeError(`the isolate engine decodes UTF-8 only, not '${label}'`);
    }
    this.#fatal = Boolean(fatal);
    this.#ignoreBOM = Boolean(ignoreBOM);
  }
  get encoding() { return 'utf-8'; }
  get fatal() { return this.#fatal; }
  get ignoreBOM() { return this.#ignoreBOM; }
  decode(input, { stream = false } = {}) {
    let bytes = bytesOf(input);
    if (this.#rest.length > 0) {
      const joined = new Uint8Array(this.#rest.length + bytes.length);
      joined.set(this.#rest);
      joined.set(bytes, this.#rest.length);
      bytes = joined;
    }
    const keep = stream ? unfinished(bytes) : 0;
    this.#rest = bytes.slice(bytes.length - keep);
    let decoded = host.decode(toBase64(bytes.subarray(0, bytes.length - keep)), this.#fatal);
    if (decoded === null || decoded === undefined) {
      this.#rest = new Uint8Array(0);
      this.#begun = false;
      throw new TypeError('the bytes are not valid UTF-8');
    }
    if (!this.#begun && !this.#ignoreBOM && decoded.charCodeAt(0) === 0xfeff) decoded = slice(decoded, 1);
    this.#begun = stream && (this.#begun || decoded !== '');
    return decoded;
  }
});

const listOf = Symbol('list');
const changed = Symbol('changed');

class URLSearchParams {
  #list = [];
  [changed] = null;
  constructor(init = '') {
    if (typeof init === 'object' && init !== null) {
      const pairs = typeof init[Symbol.iterator] === 'function' ? [...init] : Object.entries(init);
      for (const pair of pairs) {
        const [name, value, ...more] = pair;
        if (value === undefined || more.length > 0) throw new TypeError('each pair has a name and a value');
        this.#list.push([text(name), text(value)]);
      }
    } else {
      const string = text(init);
      this[listOf](string[0] === '?' ? slice(string, 1) : string);
    }
  }
  [listOf](string) {
    const flat = host.formParse(string);
    this.#list = [];
    for (let at = 0; at < flat.length; at += 2) this.#list.push([flat[at], flat[at + 1]]);
  }
  #touch() { this[changed]?.(this.toString()); }
  get size() { return this.#list.length; }
  append(name, value) { this.#list.push([text(name), text(value)]); this.#touch(); }
  delete(name, value) {
    this.#list = this.#list.filter((pair) =>
      pair[0] !== text(name) || (value !== undefined && pair[1] !== text(value)));
    this.#touch();
  }
  get(name) { return this.#list.find((pair) => pair[0] === text(name))?.[1] ?? null; }
  getAll(name) { return this.#list.filter((pair) => pair[0] === text(name)).map((pair) => pair[1]); }
  has(name, value) {
    return this.#list.some((pair) =>
      pair[0] === text(name) && (value === undefined || pair[1] === text(value)));
  }
  set(name, value) {
    const at = this.#list.findIndex((pair) => pair[0] === text(name));
    if (at < 0) this.#list.push([text(name), text(value)]);
    else {
      this.#list[at][1] = text(value);
      this.#list = this.#list.filter((pair, index) => index <= at || pair[0] !== text(name));
    }
    this.#touch();
  }
  sort() {
    this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    this.#touch();
  }
  forEach(callback, self) { for (const [name, value] of this) apply(callback, self, [value, name, this]); }
  *entries() { for (const [name, value] of this.#list) yield [name, value]; }
  *keys() { for (const [name] of this.#list) yield name; }
  *values() { for (const [, value] of this.#list) yield value; }
  [Symbol.iterator]() { return this.entries(); }
  toString() { return host.formWrite(this.#list.flat()); }
}
define('URLSearchParams', URLSearchParams);

const PARTS = [
  'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search',
  'hash',
];

class URL {
  #href; #parts = null; #params = null;
  constructor(input, base) {
    this.#href = URL.#parse(input, base);
    if (this.#href === null) throw new TypeError(`Invalid URL: ${text(input)}`);
  }
  static #parse(input, base) {
    return host.urlParse(text(input), base === undefined ? null : text(base)) ?? null;
  }
  static canParse(input, base) { return URL.#parse(input, base) !== null; }
  static parse(input, base) { return URL.canParse(input, base) ? new URL(input, base) : null; }
  static part(url, index) { return (url.#parts ??= host.urlParts(url.#href))[index]; }
  static change(url, part, value) {
    url.#move(host.urlChange(url.#href, part, text(value)));
  }
  #move(href) {
    this.#href = href;
    this.#parts = null;
    if (this.#params !== null) this.#params[listOf](slice(this.search, 1));
  }
  get href() { return this.#href; }
  set href(value) {
    const href = URL.#parse(value);
    if (href === null) throw new TypeError(`Invalid URL: ${text(value)}`);
    this.#move(href);
  }
  get searchParams() {
    if (this.#params === null) {
      this.#params = new URLSearchParams(this.search);
      this.#params[changed] = (query) => {
        this.#href = host.urlChange(this.#href, 'search', query);
        this.#parts = null;
      };
    }
    return this.#params;
  }
  toString() { return this.#href; }
  toJSON() { return this.#href; }
}
const { part: partOf, change: changePart } = URL;
delete URL.part;
delete URL.change;
PARTS.forEach((name, index) => Object.defineProperty(URL.prototype, name, {
  get() { return partOf(this, index); },
  set: name === 'origin' ? undefined : function (value) { changePart(this, name, value); },
  enumerable: true,
  configurable: true,
}));
define('URL', URL);
