"use strict";

const LINES_KEPT = 1000;
const LETTERS_SHOWN = 20000;
const BYTES_SHOWN = 256;
const ENTRIES_REMEMBERED = 100;

const element = id => document.getElementById(id);
const [path, subprotocols, connectButton, status, log] =
  ["path", "subprotocols", "connect", "status", "log"].map(element);
const [text, sendButton, chooseButton, files] = ["text", "send", "choose", "files"].map(element);

let socket = null;

// What is shown.

function show(kind, who, body) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const [line, what, name, content] = ["div", "span", "span", "span"].map(tag => document.createElement(tag));
  line.className = kind;
  what.className = "what";
  name.className = "who";
  name.textContent = who;
  what.append(new Date().toTimeString().slice(0, 8) + " ", name);
  content.className = "body";
  content.textContent = body;
  line.append(what, content);
  log.append(line);
  while (log.childElementCount > LINES_KEPT) log.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function shortened(string) {
  const left = string.length - LETTERS_SHOWN;
  return left > 0 ? string.slice(0, LETTERS_SHOWN) + ` … and ${left} more characters` : string;
}

function describeBytes(buffer) {
  const bytes = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, BYTES_SHOWN));
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join(" ");
  const count = buffer.byteLength;
  return `${count} ${count === 1 ? "byte" : "bytes"}` + (count ? `: ${hex}${count > BYTES_SHOWN ? " …" : ""}` : "");
}

function showState(kind, words) {
  status.className = kind;
  status.textContent = words;
  connectButton.textContent = socket === null ? "Connect" : "Disconnect";
  sendButton.disabled = chooseButton.disabled = kind !== "open";
}

// The connection.

function urlOf(asked) {
  const url = new URL(asked || "/", location.href);
  if (url.host !== location.host) throw new Error("this page may connect to its own server only: give a path");
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}

function connect() {
  let opened;
  try {
    opened = new WebSocket(urlOf(path.value.trim()), subprotocols.value.split(/[\s,]+/).filter(name => name));
  } catch (error) {
    showState("failed", `Not connected: ${error.message}`);
    return;
  }
  socket = opened;
  let hasOpened = false;
  opened.binaryType = "arraybuffer";
  opened.onopen = () => {
    hasOpened = true;
    const spoken = opened.protocol ? `, subprotocol ${opened.protocol}` : "";
    showState("open", `Connected to ${opened.url}${spoken}.`);
    show("note", "open", opened.url + spoken);
    text.focus();
  };
  opened.onmessage = ({ data }) => {
    if (typeof data === "string") show("received", "received", shortened(data));
    else show("received", "received, binary", describeBytes(data));
  };
  opened.onclose = event => {
    if (socket === opened) socket = null;
    const how = `code ${event.code}${event.reason ? `, "${event.reason}"` : ""}${event.wasClean ? "" : ", not clean"}`;
    show(hasOpened ? "note" : "failed", "closed", how);
    if (hasOpened) showState("", `Closed: ${how}.`);
    else showState("failed", `Not connected: the server has refused, or can't be reached (${how}).`);
  };
  showState("", `Connecting to ${opened.url} …`);
}

element("connection").addEventListener("submit", event => {
  event.preventDefault();
  if (socket === null) connect();
  else socket.close(1000);
});

// What is sent.

const entries = [];
let recalled = 0;
let draft = "";

function remember(entry) {
  if (entries[entries.length - 1] !== entry) entries.push(entry);
  if (entries.length > ENTRIES_REMEMBERED) entries.shift();
  recalled = entries.length;
}

function recall(step) {
  const wanted = recalled + step;
  if (wanted < 0 || wanted > entries.length) return;
  if (recalled === entries.length) draft = text.value;
  recalled = wanted;
  text.value = wanted === entries.length ? draft : entries[wanted];
  text.setSelectionRange(text.value.length, text.value.length);
  fit();
}

function fit() {
  text.rows = Math.min(text.value.split("\n").length, 8);
}

function isOpen() {
  return socket !== null && socket.readyState === WebSocket.OPEN;
}

element("message").addEventListener("submit", event => {
  event.preventDefault();
  if (!isOpen()) return;
  socket.send(text.value);
  show("sent", "sent", shortened(text.value));
  if (text.value) remember(text.value);
  text.value = draft = "";
  fit();
  text.focus();
});

text.addEventListener("input", fit);
text.addEventListener("keydown", event => {
  const isPlain = !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey && !event.isComposing;
  if (!isPlain) return;
  const before = text.value.slice(0, text.selectionStart);
  const after = text.value.slice(text.selectionEnd);
  if (event.key === "Enter") {
    event.preventDefault();
    element("message").requestSubmit(sendButton);
  } else if (event.key === "ArrowUp" && !before.includes("\n")) {
    event.preventDefault();
    recall(-1);
  } else if (event.key === "ArrowDown" && !after.includes("\n")) {
    event.preventDefault();
    recall(+1);
  }
});

chooseButton.addEventListener("click", () => files.click());
files.addEventListener("change", async () => {
  const chosen = [...files.files];
  files.value = "";
  for (const file of chosen) {
    try {
      const content = await file.arrayBuffer();
      if (!isOpen()) throw new Error("the connection is closed");
      socket.send(content);
      show("sent", "sent, file", `${file.name}, ${describeBytes(content)}`);
    } catch (error) {
      show("failed", "not sent", `${file.name}: ${error.message}`);
    }
  }
});

element("clear").addEventListener("click", () => log.replaceChildren());

path.value = location.pathname;
showState("", "Not connected.");
