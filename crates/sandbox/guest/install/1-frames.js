'use strict';
// The installer for Node.js: runs npm in a container that has no network but this stream. Every frame
// has a type (one byte), a channel and a length (four bytes each, big endian). Channel 0 is the task;
// the others are connections that npm opens, and the executor decides where they lead.
const fs = require('fs');
const net = require('net');
const path = require('path');
const { spawn } = require('child_process');

const HEAD = 9;
const MAX_FRAME = 16 << 20;
const EMPTY = Buffer.alloc(0);

const send = (type, channel, payload = EMPTY) => {
  const body = Buffer.isBuffer(payload)
    ? payload
    : Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload));
  const head = Buffer.allocUnsafe(HEAD);
  head.writeUInt8(type.charCodeAt(0), 0);
  head.writeUInt32BE(channel, 1);
  head.writeUInt32BE(body.length, 5);
  process.stdout.write(head);
  if (body.length) process.stdout.write(body);
};

/** The last frame: what came of the task. */
const finish = (result) => {
  send('F', 0, result);
  process.stdin.destroy();
  process.exit(0);
};

const listen = (handle) => {
  let parts = [];
  let have = 0;
  let need = HEAD;
  let head = null;
  process.stdin.on('data', (chunk) => {
    parts.push(chunk);
    have += chunk.length;
    if (have < need) return;
    let all = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    for (;;) {
      if (!head) {
        if (all.length < HEAD) break;
        head = [String.fromCharCode(all[0]), all.readUInt32BE(1), all.readUInt32BE(5)];
        if (head[2] > MAX_FRAME) process.exit(3);
        all = all.subarray(HEAD);
      }
      if (all.length < head[2]) break;
      const [type, channel, length] = head;
      head = null;
      const body = all.subarray(0, length);
      all = all.subarray(length);
      handle(type, channel, body);
    }
    parts = all.length ? [all] : [];
    have = all.length;
    need = head ? head[2] : HEAD;
  });
  // The executor is gone, or wants no more: so does everything here.
  process.stdin.on('end', () => process.exit(4));
  process.stdin.on('error', () => process.exit(4));
};
