// Starts processes that only wait, made of two instructions so that memory does not end first.
const fs = require('fs');
const { spawn } = require('child_process');
const tried = 'start 2,000 processes that stay';
const code = { x64: [0x48, 0xc7, 0xc0, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf5], arm64: [0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4] }[process.arch];
if (!code) return [{ name: 'fork-bomb', tried, held: null, found: `not on ${process.arch}` }];
const BASE = 0x400000, START = 120;
const elf = Buffer.alloc(START + code.length);
elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
elf.writeUInt16LE(2, 16); elf.writeUInt16LE(process.arch === 'arm64' ? 183 : 62, 18); elf.writeUInt32LE(1, 20);
elf.writeBigUInt64LE(BigInt(BASE + START), 24); elf.writeBigUInt64LE(64n, 32);
elf.writeUInt16LE(64, 52); elf.writeUInt16LE(56, 54); elf.writeUInt16LE(1, 56); elf.writeUInt16LE(64, 58);
elf.writeUInt32LE(1, 64); elf.writeUInt32LE(5, 68);
for (const [at, value] of [[80, BASE], [88, BASE], [96, elf.length], [104, elf.length], [112, 0x1000]]) elf.writeBigUInt64LE(BigInt(value), at);
elf.set(code, START);
fs.writeFileSync('/workspace/wait', elf, { mode: 0o700 });
let refused, started = 0, ended = 0;
for (let at = 0; at < 2000 && refused === undefined; at++) {
  const it = spawn('/workspace/wait', [], { stdio: 'ignore', detached: true });
  it.on('error', (error) => { refused ??= error.code; }).on('exit', () => { ended += 1; });
  if (it.pid) started += 1;
  await new Promise(setImmediate);
}
const held = ended > 0 ? null : refused === undefined ? false : refused === 'EAGAIN' ? true : null;
return [{ name: 'fork-bomb', tried, held, found: `${refused} after ${started}${ended ? `, ${ended} ended` : ''}` }];
