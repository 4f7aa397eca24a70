// The live pipeline: asks the server for its figures once a second, and draws them. All text goes in as text.
"use strict";

const PERIOD_MS = 1000;
const MOST_LINES = 500; // of the log, and of frames
const byId = (id) => document.getElementById(id);
let before = null;

function element(name, text = "", properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(text);
  return made;
}

function shownCount(count) {
  return count === null || count === undefined ? "–" : Math.round(count).toLocaleString("en");
}

function shownBytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB"];
  let power = 0;
  while (bytes >= 1024 && power < units.length - 1) { bytes /= 1024; power += 1; }
  return `${power && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[power]}`;
}

function shownTime(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

// What a counter of a stage has grown by in a second; null while that isn't known.
function rate(stage, value) {
  const old = before && before.stages.find((other) => other.name === stage.name && other.pid === stage.pid);
  if (!old || value(stage) === null || value(old) === null) return null;
  return Math.max(value(stage) - value(old), 0) / Math.max(now.time - before.time, 0.001);
}
let now = null;

const processor = (stage) => (stage.user_s === null ? null : stage.user_s + stage.system_s);

function fill(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function drawnStage(stage) {
  const box = element("div", element("strong", stage.name), { className: stage.brake ? "stage brake" : "stage" });
  if (stage.brake) box.append(element("span", "the brake: others wait for it", { className: "badge" }));
  const list = element("dl");
  const cpu = rate(stage, processor);
  const written = rate(stage, (one) => one.written);
  fill(list, [
    ["state", stage.state],
    ...(stage.events === null ? [] : [["events/s", shownCount(rate(stage, (one) => one.events))]]),
    ["bytes/s out", written === null ? "–" : shownBytes(written)],
    ["processor", cpu === null ? "–" : `${Math.round(cpu * 100)} %`],
    ["memory", shownBytes(stage.memory)],
    ["restarts", shownCount(stage.restarts)],
  ]);
  box.append(list);
  return box;
}

function drawnPipe(from, to, waiting, capacity) {
  const share = waiting === null ? 0 : waiting / (capacity || 1048576);
  const percent = `${Math.round(share * 100)} % full`;
  const gauge = element("meter", percent, { min: 0, max: 1, high: 0.8, value: Math.min(share, 1) });
  gauge.setAttribute("aria-label", `pipe from ${from} to ${to}`);
  const pipe = element("div", gauge, { className: "pipe" });
  pipe.append(waiting === null ? "→ –" : `→ ${percent}`);
  return pipe;
}

function chainsOf(stages) {
  const chains = [];
  for (const stage of stages) {
    if (stage.name.endsWith("front") || !chains.length) chains.push([]);
    chains[chains.length - 1].push(stage);
  }
  return chains;
}

function drawChain(stages) {
  const list = element("ol", "", { className: "chain" });
  stages.forEach((stage, index) => {
    const item = element("li");
    if (index && stage.unread !== null) item.append(drawnPipe(stages[index - 1].name, stage.name, stage.unread, stage.capacity));
    item.append(drawnStage(stage));
    if (stage.name.endsWith("sink") && stage.output !== null) {
      item.append(drawnPipe(stage.name, stages[0].name, stage.output, stage.output_capacity));
    }
    list.append(item);
  });
  return list;
}

function drawClients(shown) {
  byId("client-count").textContent = shown.clients > shown.connected.length
    ? `${shownCount(shown.clients)} clients, the first ${shown.connected.length} of them:` : `${shownCount(shown.clients)} connected`;
  byId("kick-head").hidden = !shown.may_act;
  const focused = document.activeElement && document.activeElement.dataset.client;
  byId("clients").replaceChildren(...shown.connected.map((client) => {
    const row = element("tr");
    const cells = [client.id, client.remote.join(":"), client.path, client.groups.join(", "),
      shownTime(shown.time - client.since), shownBytes(client.outbox)];
    row.append(...cells.map((text) => element("td", text)));
    if (shown.may_act) {
      const button = element("button", "Close", { onclick: () => act(`close?client=${encodeURIComponent(client.id)}`) });
      button.setAttribute("aria-label", `Close client ${client.id}`);
      button.dataset.client = client.id;
      row.append(element("td", button));
    }
    return row;
  }));
  if (focused) document.querySelector(`[data-client="${CSS.escape(focused)}"]`)?.focus();
}

function drawFigures(shown) {
  const passed = before ? Math.max(shown.time - before.time, 0.001) : null;
  const perSecond = (name) => (passed ? shownCount((shown[name] - before[name]) / passed) : "–");
  const figures = [
    ["clients", shownCount(shown.clients)],
    ["handshakes under way", shownCount(shown.handshakes)],
    ["events/s", perSecond("events")],
    ["actions/s", perSecond("actions")],
    ["way round the chain, mean", shown.chain_s === null ? "–" : `${(shown.chain_s * 1000).toFixed(1)} ms`],
    ["journal", shownBytes(shown.journal_bytes)],
    ["outboxes", shownBytes(shown.outbox_bytes)],
    ["kept for clients", shownBytes(shown.held_bytes)],
    ["Redis", shown.redis === null ? "none" : shown.redis ? "heard" : "not heard"],
    ["running for", shownTime(shown.time - shown.started)],
    ["version", shown.version],
  ];
  byId("figures").replaceChildren(...figures.map(([name, value]) => {
    const pair = element("div", element("dt", name));
    pair.append(element("dd", value));
    return pair;
  }));
}

function tellState(text, isGood) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = isGood ? "good" : "bad";
}

function draw(shown) {
  now = shown;
  byId("name").textContent = shown.name;
  document.title = `fws-pipe ${shown.name}`;
  tellState(shown.problems.length ? shown.problems.join("; ") : "ready", !shown.problems.length);
  byId("chains").replaceChildren(...chainsOf(shown.stages).map(drawChain));
  drawFigures(shown);
  drawClients(shown);
  for (const id of ["actions", "tap", "log-section"]) byId(id).hidden = !shown.may_act;
  drawJoints(shown.joints);
  before = shown;
}

// Leaves the list as it is while nothing has changed, so that it can be used.
function drawJoints(joints) {
  const list = byId("tap-stage");
  if (joints.join("\n") === [...list.options].map((option) => option.value).join("\n")) return;
  const chosen = list.value;
  list.replaceChildren(...joints.map((joint) => element("option", joint, { value: joint })));
  if (joints.includes(chosen)) list.value = chosen;
}

// Follows the end, unless somebody has scrolled up to read.
function addLines(box, lines) {
  const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
  box.append(...lines);
  while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

let logOf = null; // the start of the server whose log is shown
let lastLine = 0;

async function followLog(shown) {
  if (logOf !== shown.started) {
    byId("log").replaceChildren();
    [logOf, lastLine] = [shown.started, 0];
  }
  const answer = await fetch(`log?after=${lastLine}`);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  const { last, lines } = await answer.json();
  addLines(byId("log"), lines.map((line) => element("div", line)));
  lastLine = last;
}

let tap = null; // what closes the open tap

function tellTap(text) {
  byId("tap-state").textContent = text;
  byId("tap-open").disabled = tap !== null;
  byId("tap-close").disabled = tap === null;
}

function drawnFrame(line) {
  const told = JSON.parse(line);
  if (told.frame) return element("div", line.slice('{"frame":'.length, -1));
  if (told.large) return element("div", `${JSON.stringify(told.large)}: too large to be shown, ${shownBytes(told.bytes)}`, { className: "note" });
  return element("div", told.ended ? `The tap has ended: ${told.ended}.` : `${shownCount(told.skipped)} more in this second`, { className: "note" });
}

async function readFrames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (lines.length) addLines(byId("frames"), lines.map(drawnFrame));
  }
}

async function openTap() {
  const wanted = { stage: byId("tap-stage").value, type: byId("tap-type").value.trim(), client: byId("tap-client").value.trim() };
  const opened = new AbortController();
  tap = opened;
  byId("frames").replaceChildren();
  tellTap(`tapping behind ${wanted.stage}`);
  byId("tap-close").focus();
  let end = "the tap has ended";
  try {
    const answer = await fetch(`tap?${new URLSearchParams(wanted)}`, { method: "POST", signal: opened.signal });
    if (answer.ok) await readFrames(answer.body);
    else end = (await answer.text()).trim();
  } catch (error) {
    end = opened.signal.aborted ? "the tap is closed" : `the tap was cut off: ${error.message}`;
  }
  const hadFocus = document.activeElement === byId("tap-close");
  tap = null;
  tellTap(end);
  if (hadFocus) byId("tap-open").focus();
}

async function act(path) {
  const answer = await fetch(path, { method: "POST" });
  byId("outcome").textContent = (await answer.text()).trim();
}

async function look() {
  if (byId("paused").checked || document.hidden) return;
  try {
    const answer = await fetch("pipeline");
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const shown = await answer.json();
    draw(shown);
    if (shown.may_act) await followLog(shown);
  } catch (error) {
    tellState(`no answer: ${error.message}`, false);
  }
}

byId("tap-form").onsubmit = (event) => {
  event.preventDefault();
  if (tap === null) openTap();
};
byId("tap-close").onclick = () => tap?.abort();
byId("reload").onclick = () => act("reload");
byId("drain").onclick = () => { if (confirm("End the server in order?")) act("drain"); };
(async () => {
  for (;;) {
    await look();
    await new Promise((resolve) => { setTimeout(resolve, PERIOD_MS); });
  }
})();
