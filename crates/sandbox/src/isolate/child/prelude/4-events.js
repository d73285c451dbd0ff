
// EventTarget, Event, AbortController, AbortSignal.
class Event {
  #type; #cancelable; #prevented = false; #stopped = false;
  target = null;
  currentTarget = null;
  constructor(type, { cancelable = false } = {}) {
    this.#type = `${type}`;
    this.#cancelable = Boolean(cancelable);
    this.timeStamp = host.now();
  }
  get type() { return this.#type; }
  get cancelable() { return this.#cancelable; }
  get defaultPrevented() { return this.#prevented; }
  preventDefault() { if (this.#cancelable) this.#prevented = true; }
  stopPropagation() {}
  stopImmediatePropagation() { this.#stopped = true; }
  static stopped(event) { return event.#stopped; }
}
const isStopped = Event.stopped;
delete Event.stopped;

class EventTarget {
  #listeners = new Map();
  addEventListener(type, listener, options) {
    if (listener === null || listener === undefined) return;
    const once = typeof options === 'object' && options !== null && Boolean(options.once);
    const signal = typeof options === 'object' && options !== null ? options.signal : undefined;
    if (signal?.aborted) return;
    const list = this.#listeners.get(type) ?? [];
    if (list.some((entry) => entry.listener === listener)) return;
    this.#listeners.set(type, [...list, { listener, once }]);
    signal?.addEventListener('abort', () => this.removeEventListener(type, listener), { once: true });
    listenersChanged(this);
  }
  removeEventListener(type, listener) {
    const list = this.#listeners.get(type);
    if (list === undefined) return;
    this.#listeners.set(type, list.filter((entry) => entry.listener !== listener));
    listenersChanged(this);
  }
  dispatchEvent(event) {
    event.target = this;
    event.currentTarget = this;
    const handler = this[`on${event.type}`];
    if (typeof handler === 'function') guarded((it) => apply(handler, this, [it]), [event]);
    for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
      if (isStopped(event)) break;
      if (once) this.removeEventListener(event.type, listener);
      guarded((it) => typeof listener === 'function'
        ? apply(listener, this, [it]) : listener.handleEvent(it), [event]);
    }
    return !event.defaultPrevented;
  }
  static count(target, type) { return target.#listeners.get(type)?.length ?? 0; }
}
const countListeners = EventTarget.count;
delete EventTarget.count;

// The call goes on while its code waits for ctx.signal, although no timer runs.
let callSignal = null;
let hasHandler = false;
const listenersChanged = (target) => {
  if (target === callSignal) host.listens(hasHandler || countListeners(target, 'abort') > 0);
};

const makeSignal = Symbol('make');

class AbortSignal extends EventTarget {
  #aborted = false; #reason = undefined; #handler = null;
  constructor(token) {
    if (token !== makeSignal) throw new TypeError('Illegal constructor');
    super();
  }
  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }
  get onabort() { return this.#handler; }
  set onabort(handler) {
    this.#handler = typeof handler === 'function' ? handler : null;
    if (this === callSignal) {
      hasHandler = this.#handler !== null;
      listenersChanged(this);
    }
  }
  throwIfAborted() { if (this.#aborted) throw this.#reason; }
  static abort(reason) {
    const signal = new AbortSignal(makeSignal);
    abortSignal(signal, reason);
    return signal;
  }
  static timeout(millis) {
    const signal = new AbortSignal(makeSignal);
    const expire = () =>
      abortSignal(signal, new DOMException('The operation timed out', 'TimeoutError'));
    startTimer(expire, delay(millis), [], false);
    return signal;
  }
  static any(signals) {
    const joined = new AbortSignal(makeSignal);
    const sources = [...signals];
    const first = sources.find((signal) => signal.aborted);
    if (first) {
      abortSignal(joined, first.reason);
      return joined;
    }
    for (const source of sources) {
      source.addEventListener('abort', () => abortSignal(joined, source.reason), { once: true });
    }
    return joined;
  }
  static signal(signal, reason) {
    if (signal.#aborted) return;
    signal.#aborted = true;
    signal.#reason = reason === undefined
      ? new DOMException('This operation was aborted', 'AbortError') : reason;
    signal.dispatchEvent(new Event('abort'));
  }
}
const abortSignal = AbortSignal.signal;
delete AbortSignal.signal;

class AbortController {
  #signal = new AbortSignal(makeSignal);
  get signal() { return this.#signal; }
  abort(reason) { abortSignal(this.#signal, reason); }
}

define('Event', Event);
define('EventTarget', EventTarget);
define('AbortSignal', AbortSignal);
define('AbortController', AbortController);
