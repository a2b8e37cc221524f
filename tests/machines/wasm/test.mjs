// A host for the module: replays the machines' transcripts, restarting it in between from what it had saved; then restarts it a hundred times amid increments, snapshots and requests
// that come in fragments. Prints one line. node test.mjs MODULE TRANSCRIPT TRANSCRIPT

import { readFileSync } from "node:fs";
import { randomBytes, randomInt } from "node:crypto";

const [, , path, ...transcripts] = process.argv;
const module = new WebAssembly.Module(readFileSync(path));

class Osprey {
  constructor(saved) {
    this.exports = new WebAssembly.Instance(module, {}).exports;
    const error = this.call("start", Buffer.concat([randomBytes(40), saved]));
    if (error.length > 0) throw new Error(`it does not start: ${error}`);
  }

  // Memory may have grown in any call, and moved.
  call(name, input) {
    const at = this.exports.input(input.length);
    new Uint8Array(this.exports.memory.buffer, at, input.length).set(input);
    return this.output(this.exports[name](input.length, BigInt(Date.now())));
  }

  output(length) {
    return Buffer.from(new Uint8Array(this.exports.memory.buffer, this.exports.output(), length));
  }

  serve(text) {
    const replies = this.call("serve", Buffer.from(text));
    this.saved = this.output(this.exports.save());
    return replies.toString();
  }
}

function matches(expected, line) {
  const [begin, end] = expected.split("...");
  return end === undefined ? expected === line : line.startsWith(begin) && line.endsWith(end);
}

function replay(osprey, name) {
  let requests = "", replies = "", lines = 0;
  for (const line of readFileSync(name, "utf8").split("\n")) {
    // What a board says at its start.
    if (line.startsWith("< # ")) continue;
    if (line.startsWith("> ")) {
      requests += line.slice(2) + "\r\n";
    } else if (line.startsWith("< ")) {
      replies += osprey.serve(requests);
      requests = "";
      const end = replies.indexOf("\r\n");
      const reply = replies.slice(0, end);
      if (end < 0 || !matches(line.slice(2), reply)) throw new Error(`${name}: expected ${line.slice(2)}, not ${JSON.stringify(replies)}`);
      replies = replies.slice(end + 2);
      lines += 1;
    }
  }
  if (replies !== "") throw new Error(`${name}: nobody expects ${JSON.stringify(replies)}`);
  return lines;
}

let osprey = new Osprey(Buffer.alloc(0));
let lines = 0;
for (const transcript of transcripts) {
  lines += replay(osprey, transcript);
  osprey = new Osprey(osprey.saved);
}
if (lines === 0) throw new Error("the transcripts are empty");

const restarts = 100;
let count = 0, largest = 0;
for (let restart = 0; restart < restarts; restart += 1) {
  for (let times = randomInt(1, 50); times > 0; times -= 1) {
    const value = "v".repeat(randomInt(0, 4000));
    const requests = `INCR count\r\nSET key-${randomInt(20)} ${value.length}\r\n${value}\r\n`;
    const cut = randomInt(requests.length);
    const replies = osprey.serve(requests.slice(0, cut)) + osprey.serve(requests.slice(cut));
    count += 1;
    if (!replies.startsWith(`${count}\r\nOK `)) throw new Error(`increment ${count} is answered with ${JSON.stringify(replies)}`);
  }
  largest = Math.max(largest, osprey.saved.length);
  // What comes after the last save is lost with the instance.
  const saved = osprey.saved;
  osprey.call("serve", Buffer.from("INCR count\r\n"));
  osprey = new Osprey(saved);
  const found = osprey.serve("INCR count 0\r\n");
  if (found !== `${count}\r\n`) throw new Error(`after restart ${restart}: ${found}, not ${count}`);
}
if (largest > 4 << 20) throw new Error(`the log grew to ${largest} bytes`);
for (const at of [1, 30, osprey.saved.length - 1]) {
  let refused = false;
  try {
    new Osprey(osprey.saved.subarray(0, at));
  } catch (error) {
    refused = /damaged/.test(error);
  }
  if (!refused) throw new Error(`half of what was saved, ${at} bytes, is taken`);
}
const memory = osprey.exports.memory.buffer.byteLength;
console.log(`${lines} lines of transcripts, ${restarts} restarts amid ${count} increments, none acknowledged was lost; at most ${largest} bytes were saved, ${memory} bytes of memory`);
