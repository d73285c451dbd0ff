// The guest agent for Node.js: what the engine gives to `node -e`, so that any image with node
// works. It says that it is ready, reads one call from its input, runs it in this very process and
// reports the end. docs/docker-engine.md tells what the code finds here.
//
// Nothing below trusts a global once the code of a tool has run: what is needed later is taken
// before. A tool that patches globals harms itself only; its frames are judged by the engine.
(() => {
'use strict';

const fs = require('fs');
const vm = require('vm');
const net = require('net');
const util = require('util');
const events = require('events');
const { Console } = require('console');
const { Writable, Readable } = require('stream');
const { createRequire, builtinModules } = require('module');
const { webcrypto } = require('crypto');

const options = JSON.parse(process.argv[1]);

// --- What the agent keeps for itself ---

const { apply } = Reflect;
const uncurry = (method) => (self, ...args) => apply(method, self, args);
const { stringify, parse } = JSON;
const { freeze } = Object;
const { isFinite } = Number;
const { round, max, min } = Math;
const { now } = Date;
const indexOf = uncurry(String.prototype.indexOf);
const slice = uncurry(String.prototype.slice);
const trim = uncurry(String.prototype.trim);
const push = uncurry(Array.prototype.push);
const PromiseOf = Promise;
const resolved = () => new PromiseOf((resolve) => resolve());
const TypeErrorOf = TypeError;
const DOMExceptionOf = DOMException;
const AbortControllerOf = AbortController;
const abort = uncurry(AbortController.prototype.abort);
const later = setImmediate;
const startTimer = setTimeout;
const stopTimer = clearTimeout;
const monotonic = performance.now.bind(performance);
const unref = uncurry(Object.getPrototypeOf(setTimeout(() => {}, 0)).unref);
const { writeSync, readSync, openSync, fstatSync, statSync } = fs;
const { getEventListeners } = events;
const { Script, constants: { USE_MAIN_CONTEXT_DEFAULT_LOADER: loader } = {} } = vm;
const runHere = uncurry(Script.prototype.runInThisContext);
const runThere = uncurry(Script.prototype.runInContext);
const BufferOf = Buffer;
const { from: bufferFrom, allocUnsafe, concat } = Buffer;
const view = uncurry(Buffer.prototype.subarray);
const copy = uncurry(Buffer.prototype.copy);
const utf8 = uncurry(Buffer.prototype.utf8Slice);
const writeU32 = uncurry(Buffer.prototype.writeUInt32LE);
const readU32 = uncurry(Buffer.prototype.readUInt32LE);
const exit = process.reallyExit.bind(process);
const pause = new Int32Array(new SharedArrayBuffer(4));
const { wait } = Atomics;
const bytesOf = (text) => apply(bufferFrom, BufferOf, [text, 'utf8']);
// Without lone surrogates, which most readers of JSON refuse.
const wellFormed = (text) => utf8(bytesOf(text));

