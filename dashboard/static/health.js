// How everything stands: workers, lags, ages, losses; kept up to date by the feed alone.

import { Feed, feedAddress, quiet } from "./feed.js";
import { Ring } from "./rings.js";
import { MODALITIES, Store } from "./store.js";

const EVERY_MS = 500;
const LAGS_KEPT = 240; // two minutes of windows of one participant
const RATE_OVER_MS = 5000;
const STAGES = [
  ["capture", "until face and voice of the window were complete"],
  ["bus", "until the inference worker took it up"],
  ["model", "in the network"],
  ["total", "from the window's end to its first score"],
];
const NAMES = { text: "words", voice: "voice", face: "face" };

export class Health {
  constructor(root) {
    this.root = root;
    this.store = new Store();
    this.linked = false;
    this.lags = new Map(STAGES.map(([name]) => [name, { ring: new Ring(LAGS_KEPT), now: null }]));
    this.counts = new Map(); // of pictures by worker: [time in ms, how many]
    this.seen = new Map(); // when each modality was last present in a window, by participant
    this.feed = new Feed(feedAddress(), {
      onMessage: (message) => this.take(message),
      onPreview: () => {},
      onLink: (linked) => (this.linked = linked),
    });
    this.timer = setInterval(() => this.show(), EVERY_MS);
    window.tonalityHealth = this;
  }

  update() {}

  part(name) {
    return this.root.querySelector(`[data-testid="${name}"]`);
  }

  take(message) {
    this.store.take(message);
    if (message.type === "prediction") this.prediction(message);
    if (message.type === "status" && message.role === "capture") this.count(message);
    if (message.type === "snapshot") {
      this.hub = message.hub;
      for (const { predictions } of message.strips) for (const one of predictions.slice(-LAGS_KEPT)) this.prediction({ ...one, old: true });
    }
  }

  prediction(point) {
    if (point.revision === 0) {
      for (const [stage, { ring }] of this.lags) if (point.lag_ms[stage] !== undefined) ring.add(point.lag_ms[stage]);
      for (const [stage, lag] of this.lags) lag.now = point.lag_ms[stage] ?? null;
    }
    const key = `${point.session}\n${point.participant}`;
    const seen = this.seen.get(key) ?? {};
    for (const name of MODALITIES) if (point.present[name]) seen[name] = Math.max(seen[name] ?? 0, point.end_s);
    this.seen.delete(key);
    this.seen.set(key, seen);
    while (this.seen.size > 16) this.seen.delete(this.seen.keys().next().value);
  }

  // Pictures a second, from how the worker's count grows.
  count(status) {
    const list = this.counts.get(status.worker) ?? [];
    const now = performance.now();
    const pictures = status.counters.pictures;
    if (pictures === undefined) return;
    if (list.length && pictures < list[list.length - 1][1]) list.length = 0; // began anew
    list.push([now, pictures]);
    while (list.length > 2 && now - list[0][0] > RATE_OVER_MS) list.shift();
    this.counts.set(status.worker, list);
  }

  rate(worker) {
    const list = this.counts.get(worker) ?? [];
    if (list.length < 2) return null;
    const [[from, first], [until, last]] = [list[0], list[list.length - 1]];
    return until > from ? ((last - first) * 1000) / (until - from) : null;
  }

  show() {
    if (!this.linked) quiet();
    const { workers } = this.store;
    this.verdict(workers);
    this.cards(workers);
    this.lagRows();
    this.workerRows(workers);
    this.lossRows();
    this.figureRows();
  }

  verdict(workers) {
    const part = this.part("verdict");
    const failed = workers.filter((worker) => worker.state === "failed");
    const odd = workers.filter((worker) => !["running", "ended", "stopped", "paused", "failed"].includes(worker.state));
    const [text, kind] = !this.linked
      ? ["The server does not answer. Is it still running? The page tries again by itself.", "bad"]
      : failed.length
        ? [failed.map((worker) => `${worker.name} does not run: ${worker.detail}`).join(" "), "bad"]
        : odd.length
          ? [odd.map((worker) => `${worker.name}: ${worker.state}${worker.detail ? `, ${worker.detail}` : ""}`).join("; "), "wait"]
          : workers.some((worker) => worker.role === "capture" && worker.state === "running")
            ? ["Everything runs.", ""]
            : ["Nothing is captured. Start a session on the Live page to see figures here.", "wait"];
    part.className = `verdict ${kind}`;
    if (part.textContent !== text) part.textContent = text;
  }

  cards(workers) {
    const shown = [];
    const lag = this.lags.get("total");
    for (const { worker, session, participant } of this.store.statuses.values()) {
      if (!worker.startsWith("capture")) continue;
      const strip = this.store.known(session, participant);
      const name = `of ${participant}`;
      shown.push([number(this.rate(worker), 1), `pictures a second ${name}`]);
      for (const modality of MODALITIES) shown.push([age(this.seen.get(`${session}\n${participant}`)?.[modality], strip), `age of ${NAMES[modality]} ${name}`]);
    }
    shown.unshift([ms(lag.now), "lag now"]);
    shown.push([String(workers.reduce((sum, worker) => sum + (worker.restarts ?? 0), 0)), "restarts"]);
    shown.push([String(this.lossList().reduce((sum, [, , count]) => sum + count, 0)), "left out"]);
    const inference = workers.find((worker) => worker.role === "inference");
    shown.push([(inference?.detail.match(/^on (\w+)/)?.[1] ?? "–").toUpperCase(), "device of the network"]);
    const part = this.part("cards");
    while (part.children.length > shown.length) part.lastChild.remove();
    while (part.children.length < shown.length) part.append(card());
    shown.forEach(([value, label], i) => write(part.children[i], value, label));
  }

  lagRows() {
    const rows = STAGES.map(([stage, what]) => {
      const { ring, now } = this.lags.get(stage);
      const some = ring.count > 0;
      return { cells: [stage, what, ms(now), some ? ms(ring.quantile(0.5)) : "–", some ? ms(ring.quantile(0.95)) : "–"] };
    });
    fill(this.part("lags"), rows, 2);
  }

  workerRows(workers) {
    const heard = new Map([...this.store.statuses.values()].map((status) => [status.worker, status.at]));
    const rows = workers.map((worker) => ({
      state: worker.state,
      cells: [
        worker.name, worker.paused ? "paused" : worker.state, said(worker), since(heard.get(worker.name), worker.state),
        String(worker.restarts ?? 0), worker.memory_mib ? `${worker.memory_mib} MiB` : "–", worker.pid ?? "–",
      ],
    }));
    fill(this.part("workers-table"), rows, 3, "There is no worker yet.");
  }

  lossList() {
    const found = [];
    for (const { worker, losses } of this.store.statuses.values()) for (const [name, count] of Object.entries(losses)) found.push([worker, name, count]);
    if (this.store.dropped) found.push(["this page", "messages that it could not take in time", this.store.dropped]);
    return found;
  }

  lossRows() {
    fill(this.part("losses"), this.lossList().map((cells) => ({ cells })), 2, "Nothing was left out.");
  }

  figureRows() {
    if (!this.root.querySelector("details").open) return;
    const rows = [];
    for (const { worker, counters, gauges } of this.store.statuses.values()) {
      for (const [name, value] of [...Object.entries(counters), ...Object.entries(gauges)]) rows.push({ cells: [worker, name, String(value)] });
    }
    for (const [name, value] of Object.entries(this.hub ?? {})) rows.push({ cells: ["hub, when this page came", name.replaceAll("_", " "), String(value)] });
    fill(this.part("figures"), rows, 2, "Nothing yet.");
  }

  close() {
    clearInterval(this.timer);
    this.feed.close();
  }
}

function card() {
  const element = document.createElement("div");
  element.append(document.createElement("b"), document.createElement("span"));
  return element;
}

function write(element, value, label) {
  if (element.firstChild.textContent !== value) element.firstChild.textContent = value;
  if (element.lastChild.textContent !== label) element.lastChild.textContent = label;
}

// Rows of a table, changed in place; columns from `numbers` on are figures.
function fill(table, rows, numbers, none = "") {
  const body = table.tBodies[0];
  const shown = rows.length || !none ? rows : [{ cells: [none] }];
  while (body.rows.length > shown.length) body.deleteRow(-1);
  while (body.rows.length < shown.length) body.insertRow();
  shown.forEach(({ cells, state }, i) => {
    const row = body.rows[i];
    while (row.cells.length > cells.length) row.deleteCell(-1);
    while (row.cells.length < cells.length) row.insertCell();
    if (state) row.dataset.state = state;
    cells.forEach((text, j) => {
      const cell = row.cells[j];
      cell.className = rows.length && j >= numbers ? "number" : rows.length ? "" : "none";
      const said = String(text);
      if (cell.dataset.said === said) return;
      cell.dataset.said = said;
      cell.replaceChildren(...(state && j === 1 ? [document.createElement("i")] : []), said);
    });
  });
}

const ms = (value) => (value === null || value === undefined ? "–" : value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`);
const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));

// How long before the newest window's end a modality was last there.
function age(seen_s, strip) {
  if (seen_s === undefined || !strip) return "–";
  return `${Math.max(0, strip.newest - seen_s).toFixed(1)} s`;
}

function said(worker) {
  const again = worker.failure ? `last restarted: ${worker.failure}` : "";
  return [worker.detail, again].filter(Boolean).join("; ") || "–";
}

function since(at, state) {
  if (at === undefined || state === "stopped") return "–";
  return `${((performance.now() - at) / 1000).toFixed(0)} s ago`;
}
