// The live part of the page: feed in, picture out, in requestAnimationFrame, without script reruns.

import { Curve, Playhead } from "./curve.js";
import { Face } from "./face.js";
import { Feed } from "./feed.js";
import { Palette, signed, wording } from "./palette.js";
import { conditions } from "./states.js";
import { MODALITIES, Store } from "./store.js";

const NAMES = { text: "Words", voice: "Voice", face: "Face" };
const SPANS = [30, 60, 600]; // seconds that the curve shows; the key z takes the next
const TEXT_EVERY_MS = 200; // numbers and lamps change no faster than people read
const SPOKEN_EVERY_MS = 6000;
const CAPTION_WORDS = 16;
const SAMPLES = 1200; // frame times kept for measuring

class Ring {
  constructor() {
    this.values = new Float32Array(SAMPLES);
    this.count = 0;
  }

  add(value) {
    this.values[this.count % SAMPLES] = value;
    this.count += 1;
  }

  quantile(q) {
    const sorted = this.values.slice(0, Math.min(this.count, SAMPLES)).sort();
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : 0;
  }
}

export class Live {
  constructor(root, host) {
    this.root = root;
    this.host = host; // what goes back to the page's script: command(name), state(name)
    this.data = {};
    this.part = (name) => root.querySelector(`[data-testid="${name}"]`);
    this.palette = new Palette(root);
    this.store = new Store();
    this.curve = new Curve(this.part("curve"), this.palette);
    this.face = new Face(this.part("preview"));
    this.playhead = new Playhead();
    this.linked = false;
    this.chosen = null;
    this.counters = { frames: 0, drawn: 0, messages: 0, previews: 0, points: 0, words: 0, links: 0, runs: 0 };
    this.frameTimes = new Ring();
    this.drawTimes = new Ring();
    window.tonality = this.debug();
    this.listen();
    this.feed = new Feed(feedAddress(), {
      onMessage: (message) => this.take(message),
      onPreview: (preview) => this.preview(preview),
      onLink: (linked) => this.link(linked),
    });
    this.textAt = this.spokenAt = 0;
    this.before = performance.now();
    this.frame = requestAnimationFrame((now) => this.tick(now));
  }

  debug() {
    const { counters, frameTimes, drawTimes } = this;
    return { counters, live: this, quantiles: () => ({ frame: [frameTimes.quantile(0.5), frameTimes.quantile(0.95)], draw: [drawTimes.quantile(0.5), drawTimes.quantile(0.95)] }) };
  }

  listen() {
    this.abort = new AbortController();
    const { signal } = this.abort;
    for (const button of this.root.querySelectorAll("[data-span]")) button.addEventListener("click", () => this.zoom(Number(button.dataset.span)), { signal });
    this.part("strips").addEventListener("change", (event) => (this.chosen = event.target.value), { signal });
    document.addEventListener("keydown", (event) => this.key(event), { signal });
  }

  key(event) {
    const typing = event.composedPath().some((node) => node.matches?.("input, textarea, select, button, [role=combobox], [role=option], [contenteditable=true], summary, a"));
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === " ") {
      event.preventDefault();
      if (["running", "paused", "starting"].includes(this.state?.name)) this.host.command(this.state.name === "paused" ? "resume" : "pause");
    } else if (event.key === "z") this.zoom(SPANS[(SPANS.indexOf(this.curve.span) + 1) % SPANS.length]);
  }

  zoom(span) {
    this.curve.show(span);
    for (const button of this.root.querySelectorAll("[data-span]")) button.setAttribute("aria-pressed", String(Number(button.dataset.span) === span));
  }

  // Called at each run of the page's script: what the script knows.
  update(data) {
    this.data = data ?? {};
    this.counters.runs = this.data.runs ?? 0;
  }

  link(linked) {
    this.linked = linked;
    if (linked) this.counters.links += 1;
    this.textAt = 0;
  }

  take(message) {
    const strip = this.strip;
    const newest = strip?.newest ?? 0;
    this.store.take(message);
    this.counters.messages += 1;
    if (message.type === "snapshot" || message.restarted) this.playhead = new Playhead();
    if (message.type === "prediction" && this.strip && this.strip === strip && strip.newest > newest) this.playhead.arrived(performance.now() / 1000, strip.newest);
  }

  preview(preview) {
    this.counters.previews += 1;
    const strip = this.store.strip(preview.session, preview.participant);
    strip.picture = preview;
    if (strip === this.strip) this.face.show(preview);
  }

  // The strip that is shown: the chosen one, else that of the session the page speaks of, else the newest.
  pick() {
    const strips = [...this.store.strips.values()];
    const key = (strip) => `${strip.session} · ${strip.participant}`;
    const wanted = strips.find((strip) => key(strip) === this.chosen) ?? strips.find((strip) => strip.session === this.data.session);
    const strip = wanted ?? (this.data.session ? null : strips.reduce((best, one) => (!best || one.touched > best.touched ? one : best), null));
    if (strip !== this.strip) {
      this.strip = strip;
      this.playhead = new Playhead();
      if (strip?.points.length) this.playhead.arrived(performance.now() / 1000, strip.newest);
      this.face.clear();
      if (strip?.picture) this.face.show(strip.picture);
    }
    const select = this.part("strips");
    const names = strips.map(key);
    if (select.dataset.names !== names.join("\n")) {
      select.dataset.names = names.join("\n");
      select.replaceChildren(...names.map((name) => new Option(name)));
      select.hidden = names.length < 2;
    }
    if (strip && !select.hidden) select.value = key(strip);
  }

  tick(now) {
    this.frame = requestAnimationFrame((next) => this.tick(next));
    const elapsed = now - this.before;
    this.before = now;
    this.frameTimes.add(elapsed);
    this.counters.frames += 1;
    if (now - this.textAt >= TEXT_EVERY_MS) {
      this.textAt = now;
      this.pick();
      this.palette.read();
      this.texts(now);
    }
    this.curve.resize();
    const strip = this.strip ?? EMPTY;
    const head = strip === EMPTY ? this.curve.span : this.playhead.at(now / 1000, strip.newest, Math.min(1, elapsed / 1000));
    const begun = performance.now();
    if (this.curve.draw(strip, head, `${this.palette.key}${this.state?.name}`)) {
      this.counters.drawn += 1;
      this.drawTimes.add(performance.now() - begun);
    }
  }

  texts(now) {
    const strip = this.strip;
    this.counters.points = strip?.points.length ?? 0;
    this.counters.words = strip?.words.length ?? 0;
    const session = strip?.session ?? this.data.session;
    this.state = conditions(this.store, session, strip, this.linked, this.data, now);
    this.root.dataset.state = this.state.name;
    this.root.classList.toggle("dark", this.palette.dark);
    this.say("banner", this.state.banner);
    this.part("banner").hidden = !this.state.banner;
    this.part("banner").classList.toggle("bad", this.state.bad);
    this.say("hint", this.state.hint);
    this.part("hint").classList.toggle("shown", Boolean(this.state.hint));
    this.numbers(strip);
    this.lamps();
    this.caption(strip);
    this.health(strip, session);
    if (now - this.spokenAt > SPOKEN_EVERY_MS) this.summary(now, strip);
    this.host.state(this.state.name, session ?? null, this.data);
  }

  say(part, text) {
    const element = this.part(part);
    if (element.textContent !== text) element.textContent = text ?? "";
  }

  numbers(strip) {
    const last = strip?.last ?? null;
    const score = last?.sentiment ?? null;
    const current = this.state.fresh;
    this.say("score", current ? signed(score) : "–");
    this.part("score").style.color = current && score !== null ? this.palette.score(score) : this.palette.faint;
    this.say("wording", current && last ? wording(score) : "");
    this.say("interval", current && last ? (score === null ? "nothing seen, heard or said" : `between ${signed(last.low)} and ${signed(last.high)}`) : "");
    const picture = strip?.picture;
    this.say("quality", picture && this.state.fresh ? (picture.quality === "ok" ? strongest(picture) : picture.quality) : "");
  }

  lamps() {
    const list = this.part("lamps");
    if (!list.children.length) {
      for (const name of MODALITIES) {
        const item = document.createElement("li");
        item.dataset.testid = `lamp-${name}`;
        item.innerHTML = "<i></i><b></b><small></small>";
        list.append(item);
      }
    }
    for (const name of MODALITIES) {
      const item = list.querySelector(`[data-testid="lamp-${name}"]`);
      const { state, why } = this.state.lamps[name];
      if (item.dataset.state === state && item.dataset.why === why) continue;
      Object.assign(item.dataset, { state, why });
      item.querySelector("b").innerHTML = `${NAMES[name]} <em>${state}</em>`;
      item.querySelector("small").textContent = why;
    }
  }

  caption(strip) {
    const words = strip ? [...strip.words.slice(-CAPTION_WORDS), ...strip.tentative].slice(-CAPTION_WORDS) : [];
    const recent = words.filter((word) => word.end > strip.newest - 15);
    const key = recent.map((word) => `${word.text}${word.tentative ? "?" : ""}${this.palette.score(word.score)}`).join(" ");
    if (key === this.captioned) return;
    this.captioned = key;
    const line = document.createElement("div");
    for (const word of recent) {
      const span = document.createElement("span");
      span.textContent = `${word.text} `;
      span.style.color = this.palette.score(word.score ?? null);
      if (word.tentative) span.className = "tentative";
      line.append(span);
    }
    this.part("words").replaceChildren(line);
  }

  health(strip, session) {
    const lag = strip?.last?.lag_ms ?? {};
    this.say("lag", this.state.fresh && lag.total !== undefined ? `${(lag.total / 1000).toFixed(2)} s` : "–");
    this.part("lag").title = Object.entries(lag).map(([stage, ms]) => `${stage} ${Math.round(ms)} ms`).join(", ");
    const drops = dropped(this.store, session);
    this.say("dropped", String(drops.total));
    this.part("dropped").title = drops.named || "nothing";
    this.say("workers", this.state.workers);
  }

  summary(now, strip) {
    const last = strip?.last;
    if (!last || !this.state.fresh) return;
    const missing = MODALITIES.filter((name) => this.state.lamps[name].state !== "present").map((name) => NAMES[name].toLowerCase());
    const score = last.sentiment === null ? "Nothing seen, heard or said" : `Sentiment ${wording(last.sentiment)}, ${last.sentiment.toFixed(1)}`;
    this.say("summary", `${score}. ${missing.length ? `Missing: ${missing.join(", ")}.` : "All three present."}`);
    this.spokenAt = now;
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.abort.abort();
    this.feed.close();
  }
}

const EMPTY = { points: [], words: [], tentative: [], version: 0, newest: 0, last: null, session: "", indexAt: () => 0, scoreOf: () => null };

function feedAddress() {
  const address = new URL("feed", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

function strongest(picture) {
  const [name, value] = Object.entries(picture.expressions)[0] ?? [];
  if (!name || value < 0.25) return "";
  return name.replace(/(Left|Right)$/, "").replace(/([A-Z])/g, " $1").toLowerCase();
}

// Everything that was left out on the way, by name.
function dropped(store, session) {
  const named = { "this page": store.dropped };
  for (const status of store.statuses.values()) {
    if (status.role === "capture" && status.session !== session) continue;
    for (const [name, count] of Object.entries(status.losses)) named[`${status.worker}: ${name}`] = count;
  }
  const entries = Object.entries(named).filter(([, count]) => count);
  return { total: entries.reduce((sum, [, count]) => sum + count, 0), named: entries.map(([name, count]) => `${name} ${count}`).join(", ") };
}
