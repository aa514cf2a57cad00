// The overlay for compositors: one participant, drawn only when something has changed, and gone as
// soon as nothing new is known.

import { Feed, feedAddress } from "./feed.js";
import { Palette, signed, wording } from "./palette.js";
import { Store } from "./store.js";

const STALE_MS = 3000; // windows come twice a second
const CHANGE_S = 4; // the arrow compares now with so long ago
const CHANGE_FULL = 1.5; // a change at which it points straight up or down
const CHANGE_LEAST = 0.25;
const WORDS_S = 10;
const MOST_WORDS = 14;
const OWN = "me";
const CORNERS = ["bottom-left", "bottom-right", "top-left", "top-right"];
const SAMPLES = 1200;

// What the address asks for; whatever it leaves out or gets wrong is as by default.
export function wishes(query) {
  const given = new URLSearchParams(query);
  const on = (name) => !["0", "false", "no", "off"].includes((given.get(name) ?? "1").toLowerCase());
  const number = (name, usual, least, most) => {
    const value = Number.parseFloat(given.get(name));
    return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : usual;
  };
  return {
    participant: given.get("participant") || OWN,
    session: given.get("session") || null,
    score: on("score"),
    arrow: on("arrow"),
    wording: on("wording"),
    curve: on("curve"),
    words: on("words"),
    panel: on("panel"),
    span: number("span", 30, 5, 300),
    scale: number("scale", 1, 0.25, 6),
    theme: given.get("theme") === "light" ? "light" : "dark",
    corner: CORNERS.includes(given.get("corner")) ? given.get("corner") : CORNERS[0],
  };
}

// Change of the score over the last seconds; null where it cannot be told.
export function change(points) {
  const last = points[points.length - 1];
  if (!last || last.sentiment === null) return null;
  for (let i = points.length - 2; i >= 0; i -= 1) {
    const before = points[i];
    if (before.end_s > last.end_s - CHANGE_S) continue;
    if (before.end_s < last.end_s - CHANGE_S - 2 || before.sentiment === null) return null;
    return last.sentiment - before.sentiment;
  }
  return null;
}

export class Overlay {
  constructor(root, wanted) {
    this.root = root;
    this.wanted = wanted;
    this.part = (name) => root.querySelector(`[data-testid="${name}"]`);
    document.documentElement.classList.add(wanted.theme, wanted.corner);
    document.documentElement.classList.toggle("bare", !wanted.panel);
    root.style.setProperty("--scale", wanted.scale);
    for (const name of ["score", "wording", "curve", "words"]) this.part(name).hidden = !wanted[name];
    this.palette = new Palette(root);
    this.store = new Store();
    this.strip = null;
    this.newest = -1; // media time that was known when `arrivedAt` was set
    this.arrivedAt = -Infinity;
    this.counters = { draws: 0, messages: 0, links: 0 };
    this.drawTimes = [];
    this.feed = new Feed(`${feedAddress()}?pictures=0`, {
      onMessage: (message) => this.take(message),
      onPreview: () => {},
      onLink: (linked) => linked && (this.counters.links += 1),
    });
  }

  take(message) {
    this.counters.messages += 1;
    this.store.take(message);
    const ages = message.type === "snapshot" ? new Map(message.strips.map((one) => [`${one.session}\n${one.participant}`, one.age_s])) : null;
    this.pick(ages);
    if (message.type === "beat") return;
    this.wake();
  }

  // The strip of the one participant that is asked for, in the newest session unless one is named.
  pick(ages) {
    const { participant, session } = this.wanted;
    const mine = [...this.store.strips.values()].filter((strip) => strip.participant === participant && (session === null || strip.session === session) && strip.points.length);
    const kept = mine.includes(this.strip) && this.fresh; // no change as long as there is news of it
    const newest = mine.length ? mine.reduce((best, one) => (one.touched >= best.touched ? one : best)) : null;
    const strip = kept ? this.strip : newest;
    if (strip !== this.strip) {
      this.strip = strip;
      this.newest = -1;
    }
    if (!strip || strip.newest <= this.newest) return;
    this.newest = strip.newest;
    const age = ages?.get(`${strip.session}\n${strip.participant}`);
    this.arrivedAt = performance.now() - (age ?? 0) * 1000;
  }

  get fresh() {
    const { strip } = this;
    if (!strip || performance.now() - this.arrivedAt > STALE_MS) return false;
    const worker = this.store.workers.find((one) => one.role === "capture" && one.session === strip.session && one.participant === strip.participant);
    return !worker || (worker.state === "running" && !worker.paused);
  }

  // One drawing per frame at most, and one look when what is shown will have become old.
  wake() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.wake(), Math.max(50, STALE_MS + 20 - (performance.now() - this.arrivedAt)));
    if (!this.strip) clearTimeout(this.timer);
  }

  draw() {
    const begun = performance.now();
    const { fresh, root } = this;
    if (!fresh) {
      // What was last known fades out as it was; nothing of it is changed into something new.
      if (root.dataset.state === "fresh") this.fade();
      return;
    }
    clearTimeout(this.fading);
    root.dataset.state = "fresh";
    this.theme();
    const key = `${this.strip.session} ${this.strip.version} ${this.palette.key} ${root.clientWidth} ${window.devicePixelRatio}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.numbers();
    if (this.wanted.curve) this.curve();
    if (this.wanted.words) this.words();
    this.counters.draws += 1;
    this.drawTimes[this.counters.draws % SAMPLES] = performance.now() - begun;
  }

  fade() {
    clearTimeout(this.timer);
    this.root.dataset.state = "stale";
    const fade = Number.parseFloat(getComputedStyle(this.root).transitionDuration) || 0;
    this.fading = setTimeout(() => {
      this.root.dataset.state = "gone";
      this.drawn = null;
      this.part("score").textContent = "";
      this.part("wording").textContent = "";
      this.part("words").replaceChildren();
    }, fade * 1000 + 100);
  }

  // The colours of the scale may be set as variables too.
  theme() {
    const style = getComputedStyle(this.root);
    const own = ["negative", "neutral", "positive"].map((name) => style.getPropertyValue(`--tonality-${name}`).trim());
    if (!this.palette.read() && own.join() === this.own) return;
    this.own = own.join();
    const scale = { ...this.palette.scale };
    ["negative", "neutral", "positive"].forEach((name, i) => own[i] && (scale[name] = channels(own[i]) ?? scale[name]));
    this.palette.scale = scale;
    this.palette.cache.clear();
    this.palette.key += this.own;
  }

  numbers() {
    const { points } = this.strip;
    const last = points[points.length - 1];
    const colour = last.sentiment === null ? this.palette.faint : this.palette.score(last.sentiment);
    const score = this.part("score");
    score.textContent = signed(last.sentiment);
    score.setAttribute("aria-label", last.sentiment === null ? "no score" : `score ${last.sentiment.toFixed(1)}, ${wording(last.sentiment)}`);
    score.style.color = colour;
    this.part("wording").textContent = last.sentiment === null ? "" : wording(last.sentiment);
    const moved = change(points);
    const arrow = this.part("arrow");
    arrow.toggleAttribute("hidden", !this.wanted.arrow || moved === null);
    if (moved === null) return;
    const turn = Math.abs(moved) < CHANGE_LEAST ? 0 : -90 * Math.max(-1, Math.min(1, moved / CHANGE_FULL));
    arrow.style.transform = `rotate(${turn.toFixed(0)}deg)`;
    arrow.style.color = colour;
    arrow.setAttribute("aria-label", turn === 0 ? "steady" : moved > 0 ? "rising" : "falling");
  }

  curve() {
    const canvas = this.part("curve");
    const ratio = (window.devicePixelRatio || 1) * this.wanted.scale;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const { points, newest } = this.strip;
    const x = (time) => width - 6 - ((newest - time) / this.wanted.span) * (width - 6);
    const y = (score) => 4 + ((3 - score) / 6) * (height - 8);
    c.strokeStyle = this.palette.line;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, y(0));
    c.lineTo(width, y(0));
    c.stroke();
    for (const run of runs(points, newest - this.wanted.span)) {
      c.fillStyle = this.palette.band;
      c.beginPath();
      for (const point of run) c.lineTo(x(point.end_s), y(point.high));
      for (const point of [...run].reverse()) c.lineTo(x(point.end_s), y(point.low));
      c.fill();
      c.lineWidth = 3;
      c.lineJoin = c.lineCap = "round";
      run.forEach((point, i) => {
        if (i === 0) return;
        c.strokeStyle = this.palette.score(point.sentiment);
        c.beginPath();
        c.moveTo(x(run[i - 1].end_s), y(run[i - 1].sentiment));
        c.lineTo(x(point.end_s), y(point.sentiment));
        c.stroke();
      });
    }
    const last = points[points.length - 1];
    if (last.sentiment === null) return;
    c.fillStyle = this.palette.score(last.sentiment);
    c.beginPath();
    c.arc(x(last.end_s), y(last.sentiment), 4.5, 0, 7);
    c.fill();
  }

  words() {
    const { strip } = this;
    const recent = [...strip.words.slice(-MOST_WORDS), ...strip.tentative].filter((word) => word.end > strip.newest - WORDS_S).slice(-MOST_WORDS);
    const line = document.createElement("span");
    for (const word of recent) {
      const span = document.createElement("span");
      span.textContent = `${word.text} `;
      span.style.color = this.palette.score(strip.scoreOf((word.start + word.end) / 2));
      if (word.tentative) span.className = "tentative";
      line.append(span);
    }
    this.part("words").replaceChildren(line);
  }

  quantile(q) {
    const sorted = Float32Array.from(this.drawTimes.filter((value) => value !== undefined)).sort();
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : 0;
  }
}

// Stretches of neighbouring windows that have a score.
function* runs(points, from) {
  let run = [];
  for (const point of points) {
    const goes = run.length && point.seq === run[run.length - 1].seq + 1;
    if (point.sentiment === null || !goes) {
      if (run.length) yield run;
      run = [];
    }
    if (point.sentiment !== null && point.end_s >= from) run.push(point);
  }
  if (run.length) yield run;
}

function channels(colour) {
  const c = document.createElement("canvas").getContext("2d");
  c.fillStyle = colour;
  return c.fillStyle.startsWith("#") ? [1, 3, 5].map((i) => Number.parseInt(c.fillStyle.slice(i, i + 2), 16)) : null;
}

window.overlay = new Overlay(document.getElementById("overlay"), wishes(location.search));
