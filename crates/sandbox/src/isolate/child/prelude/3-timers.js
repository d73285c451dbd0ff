
// Timers and microtasks. What a callback throws is nobody's to catch and ends the call.
const callbacks = new Map();
let lastTimer = 0;

const guarded = (callback, args) => {
  try {
    apply(callback, undefined, args);
  } catch (error) {
    host.uncaught(error);
  }
};

const needFunction = (callback) => {
  if (typeof callback !== 'function') throw new TypeError('the callback is not a function');
};

// Outside of 1 to 2^31-1 milliseconds is 1, as in Node.
const delay = (millis) => {
  const number = Number(millis);
  return number >= 1 && number <= 2147483647 ? number : 1;
};

function startTimer(callback, millis, args, repeat) {
  needFunction(callback);
  lastTimer += 1;
  callbacks.set(lastTimer, { callback, args, repeat: repeat ? millis : null });
  host.timerStart(lastTimer, millis);
  return lastTimer;
}

function stopTimer(id) {
  if (callbacks.delete(id)) host.timerStop(id);
}

function fire(id) {
  const timer = callbacks.get(id);
  if (timer === undefined) return;
  if (timer.repeat === null) callbacks.delete(id);
  else host.timerStart(id, timer.repeat);
  guarded(timer.callback, timer.args);
}

define('setTimeout', function setTimeout(callback, millis, ...args) {
  return startTimer(callback, delay(millis), args, false);
});
define('setInterval', function setInterval(callback, millis, ...args) {
  return startTimer(callback, delay(millis), args, true);
});
define('setImmediate', function setImmediate(callback, ...args) {
  return startTimer(callback, 0, args, false);
});
define('clearTimeout', function clearTimeout(id) { stopTimer(id); });
define('clearInterval', function clearInterval(id) { stopTimer(id); });
define('clearImmediate', function clearImmediate(id) { stopTimer(id); });

const enqueue = global.queueMicrotask;
define('queueMicrotask', function queueMicrotask(callback) {
  needFunction(callback);
  enqueue(() => guarded(callback, []));
});
