#!/usr/bin/env node
// A room with a memory: sends each message to all others, and the last 20 to each new client. node, on lines of JSON.
//
//     $ printf '{"type":"%s","id":"%s","data":"hello","seq":%s}\n' message a 1 open b 2 | ./room.js | grep send
//     {"type":"send","to":"*","except":"a","data":"hello","seq":1}
//     {"type":"send","to":"b","data":"hello","seq":2}
//
// Serve it: fws-pipe "to_json | ./room.js | from_json"
//
// Text stays text, binary data binary. The memory is lost when the chain starts again.

const last = [];
const write = (frame) => console.log(JSON.stringify(frame));

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  console.log(line);
  const { type, id, data, seq, replay } = JSON.parse(line);
  if (type === "message") {
    write({ type: "send", to: "*", except: id, data, seq });
    if (last.push(data) > 20) last.shift();
  } else if (type === "open" && !replay) {
    for (const old of last) write({ type: "send", to: id, data: old, seq });
  }
});
