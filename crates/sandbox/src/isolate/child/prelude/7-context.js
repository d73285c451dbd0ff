
// ctx, and the hooks for Rust.
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

const finite = (name, value) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new TypeError(`ctx.progress: ${name} must be a finite number`);
  }
  return value;
};

function makeContext(info) {
  const { tool, revision, requestId, deadline, clientCapabilities } = info;
  const controller = new AbortController();
  callSignal = controller.signal;
  abortCall = () => controller.abort(new DOMException('The call was cancelled', 'AbortError'));
  return Object.freeze({
    tool: Object.freeze({ name: tool, revision: revision ?? null }),
    requestId,
    deadline,
    clientCapabilities,
    signal: callSignal,
    log(level, data) {
      if (!LEVELS.includes(level)) {
        throw new TypeError(`ctx.log: the level must be one of ${LEVELS.join(', ')}`);
      }
      const json = stringify(data);
      if (json === undefined) throw new TypeError('ctx.log: the data must be JSON');
      host.log(level, json);
      return resolved();
    },
    progress(progress, total, message) {
      host.progress(
        finite('progress', progress),
        total === undefined || total === null ? null : finite('total', total),
        message === undefined || message === null ? null : text(message),
      );
      return resolved();
    },
  });
}

let abortCall = () => {};

return { makeContext, fire, abort: () => abortCall() };
})
