// The live part of the page: feed in, picture out, in requestAnimationFrame, without script reruns.

import { Alerts } from "./alerts.js";
import { Dialogs } from "./dialogs.js";
import { Feed, feedAddress, quiet } from "./feed.js";
import { NAMES, Panel } from "./panel.js";
import { Palette, wording } from "./palette.js";
import { Ring } from "./rings.js";
import { dropped } from "./states.js";
import { MODALITIES, Store } from "./store.js";

const SPANS = [30, 60, 600]; // seconds that the curve shows; the key z takes the next
const TEXT_EVERY_MS = 200; // numbers and lamps change no faster than people read
const SLEPT_MS = 1000; // a page that drew nothing for so long has messages waiting, too
const SPOKEN_EVERY_MS = 6000;
const TOAST_MS = 4000;
// What takes letters for itself, and what takes the space bar: whoever has just pressed Start is on a button.
const TYPING = "input:not([type=radio]):not([type=checkbox]), textarea, select, dialog, [role=combobox], [role=option], [contenteditable=true]";
const PRESSED = "input, button, summary, a";
const MOST_PANELS = 8;
const CALM_S = [0, 1, 3]; // how much lag smoothing may add; the key s takes the next
const EVERYBODY = "side by side";
const PROJECTED = [760, 475]; // pixels of layout, wide and high, that fill the screen in large type

export class Live {
  constructor(root, host) {
    this.root = root;
    this.host = host; // what goes back to the page's script: command(order), state(name)
    this.data = {};
    this.outdated = false; // what the script says is of a server that is gone
    this.palette = new Palette(root);
    this.store = new Store();
    this.alerts = new Alerts();
    this.span = SPANS[0];
    this.calm_s = 0;
    this.panels = [];
    this.fit(1);
    this.linked = false;
    this.chosen = EVERYBODY;
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
    const quantiles = () => ({ frame: [frameTimes.quantile(0.5), frameTimes.quantile(0.95)], draw: [drawTimes.quantile(0.5), drawTimes.quantile(0.95)] });
    return { counters, live: this, quantiles };
  }

  part(name) {
    return this.root.querySelector(`[data-testid="${name}"]`);
  }

  // The panel that keys and figures are about: the only one, or the first.
  get panel() {
    return this.panels[0];
  }

  get curve() {
    return this.panel.curve;
  }

  get strip() {
    return this.panel.strip;
  }

  // What the script says, unless it speaks of a session that the server of now never had: after a
  // restart of the server the script runs again only once it is told of another state.
  get said() {
    return this.outdated ? {} : this.data;
  }

  get state() {
    return this.panel.state;
  }

  listen() {
    this.abort = new AbortController();
    const { signal } = this.abort;
    for (const button of this.root.querySelectorAll("[data-span]")) button.addEventListener("click", () => this.zoom(Number(button.dataset.span)), { signal });
    for (const button of this.root.querySelectorAll("[data-do]")) button.addEventListener("click", () => this[button.dataset.do](), { signal });
    this.part("smoothing").addEventListener("change", (event) => this.calm(Number(event.target.value)), { signal });
    this.part("strips").addEventListener("change", (event) => (this.chosen = event.target.value), { signal });
    this.dialogs = new Dialogs(this.root, {
      note: (text, at) => text && this.tell(text, at),
      limits: (settings) => this.alerts.set(settings),
    });
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    window.addEventListener("resize", () => this.enlarge(), { signal });
  }

  key(event) {
    const within = (selector) => event.composedPath().some((node) => node.matches?.(selector));
    const typing = within(TYPING) || (event.key === " " && within(PRESSED));
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
    if (event.key === "Escape" && this.projected && !this.dialogs.open) this.projector();
    const act = { " ": "pause", z: "next", m: "mark", n: "note", a: "limits", v: "turn", s: "calmer", b: "rest", p: "projector", "?": "keys" }[event.key];
    if (!act || typing || !plain) return;
    event.preventDefault();
    if (act === "next") this.zoom(SPANS[(SPANS.indexOf(this.span) + 1) % SPANS.length]);
    else this[act]();
  }

  pause() {
    if (["running", "paused", "starting"].includes(this.state?.name)) this.host.command({ do: this.state.name === "paused" ? "resume" : "pause" });
  }

  zoom(span) {
    this.span = span;
    for (const panel of this.panels) panel.curve.show(span);
    for (const button of this.root.querySelectorAll("[data-span]")) button.setAttribute("aria-pressed", String(Number(button.dataset.span) === span));
  }

  calm(lag_s) {
    this.calm_s = lag_s;
    this.part("smoothing").value = String(lag_s);
    for (const panel of this.panels) panel.calm_s = lag_s;
  }

  calmer() {
    this.calm(CALM_S[(CALM_S.indexOf(this.calm_s) + 1) % CALM_S.length]);
  }

  // The next seconds are how somebody looks and speaks when nothing is the matter.
  rest() {
    if (!this.strip) return void this.toast("There is nobody whose resting face and voice could be taken yet.");
    this.order({ do: "rest", session: this.strip.session, participant: this.panels.length > 1 ? "" : this.strip.participant });
  }

  // Where each participant who is shown is now, on their own clocks.
  moments() {
    return Object.fromEntries(this.panels.filter((panel) => panel.strip).map((panel) => [panel.participant, panel.now]));
  }

  mark() {
    this.tell("", this.moments());
  }

  note() {
    const at = this.moments();
    if (Object.keys(at).length) this.dialogs.note(at);
    else this.toast("There is nothing to write a note on yet.");
  }

  tell(text, at) {
    if (!Object.keys(at).length) return void this.toast("There is nothing to mark yet.");
    this.order({ do: "mark", session: this.strip.session, text, at }, text ? "Note set on the curve." : "Marked.");
  }

  // Asks the server for something, without a run of the page's script; says when it refuses.
  async order(wanted, done = "") {
    try {
      const answer = await fetch(new URL("orders", document.baseURI), { method: "POST", body: JSON.stringify(wanted) });
      this.toast(answer.ok ? done : (await answer.json()).detail);
    } catch (error) {
      console.debug("an order was not taken", error);
      this.toast("The server does not answer.");
    }
  }

  toast(text) {
    this.part("toast").textContent = text;
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => (this.part("toast").textContent = ""), TOAST_MS);
  }

  keys() {
    this.dialogs.keys();
  }

  limits() {
    this.dialogs.limits(this.alerts.settings);
  }

  // Everybody, then each one alone.
  turn() {
    const options = [...this.part("strips").options].map((option) => option.value);
    if (options.length > 1) this.chosen = options[(options.indexOf(this.chosen) + 1) % options.length];
  }

  projector() {
    this.projected = !this.projected;
    this.root.classList.toggle("projector", this.projected);
    this.raise();
    const button = this.root.querySelector('[data-do="projector"]');
    button.setAttribute("aria-pressed", String(this.projected));
    button.textContent = this.projected ? "Leave (Esc)" : "Large";
    this.enlarge();
  }

  // Above everything else of the page, as dialogs are.
  raise() {
    if (this.projected) {
      this.root.popover = "manual";
      this.root.showPopover();
    } else {
      this.root.hidePopover();
      this.root.removeAttribute("popover");
    }
  }

  enlarge() {
    const zoom = this.projected ? Math.max(1, Math.min(window.innerWidth / PROJECTED[0], window.innerHeight / PROJECTED[1])) : null;
    if (zoom) this.root.style.setProperty("--zoom", zoom.toFixed(3));
    else this.root.style.removeProperty("--zoom");
  }

  // Called at each run of the page's script: what the script knows.
  update(data) {
    this.data = data ?? {};
    this.outdated = false;
    this.counters.runs = this.data.runs ?? 0;
  }

  link(linked) {
    this.linked = linked;
    if (linked) this.counters.links += 1;
    this.textAt = 0;
  }

  take(message) {
    const panel = message.participant === undefined ? null : this.panels.find((one) => one.strip && one.session === message.session && one.participant === message.participant);
    const newest = panel?.strip.newest ?? 0;
    this.store.take(message);
    this.counters.messages += 1;
    if (message.type === "snapshot") this.outdated = true;
    if (this.outdated && this.store.knows(this.data.session)) this.outdated = false;
    if (message.type === "snapshot") for (const each of this.panels) each.restart();
    if (message.type === "prediction" && panel && panel.strip.newest > newest) panel.arrived();
  }

  preview(preview) {
    this.counters.previews += 1;
    const strip = this.store.strip(preview.session, preview.participant);
    strip.picture = preview;
    this.panels.find((panel) => panel.strip === strip)?.face.show(preview);
  }

  // Everybody who is captured in the session that the page speaks of, or in the newest one.
  everybody() {
    const strips = [...this.store.strips.values()];
    const newest = strips.reduce((best, one) => (!best || one.touched > best.touched ? one : best), null);
    const session = this.said.session ?? newest?.session ?? null;
    const captured = this.store.workers.filter((worker) => worker.role === "capture" && worker.session === session);
    const names = new Set([...captured, ...strips.filter((strip) => strip.session === session)].map((one) => one.participant));
    return { session, names: [...names].slice(0, MOST_PANELS) };
  }

  pick() {
    const { session, names } = this.everybody();
    this.choices(names);
    const shown = names.includes(this.chosen) ? [this.chosen] : names;
    this.fit(Math.max(1, shown.length));
    this.panels.forEach((panel, i) => panel.bind(session, shown[i] ?? null, this.store.known(session, shown[i]), names.length < 2));
  }

  choices(names) {
    const select = this.part("strips");
    if (select.dataset.names !== names.join("\n")) {
      select.dataset.names = names.join("\n");
      select.replaceChildren(...[EVERYBODY, ...names].map((name) => new Option(name)));
      select.hidden = names.length < 2;
    }
    if (!names.includes(this.chosen)) this.chosen = EVERYBODY;
    select.value = this.chosen;
  }

  // As many panels as there are people to show.
  fit(count) {
    while (this.panels.length > count) this.panels.pop().close();
    while (this.panels.length < count) {
      const panel = new Panel(this.palette);
      panel.mount(this.part("panels"), this.span);
      panel.calm_s = this.calm_s;
      this.panels.push(panel);
    }
    this.part("panels").dataset.count = String(count);
    this.root.style.setProperty("--rows", String(Math.ceil(count / 2)));
  }

  tick(now) {
    this.frame = requestAnimationFrame((next) => this.tick(next));
    const elapsed = now - this.before;
    this.before = now;
    this.frameTimes.add(elapsed);
    this.counters.frames += 1;
    // What came meanwhile is taken in before anything is called old; once, as each frame may be so late.
    this.slept = elapsed > SLEPT_MS && !this.slept;
    if (this.slept) this.textAt = now;
    if (now - this.textAt >= TEXT_EVERY_MS) {
      this.textAt = now;
      this.pick();
      this.palette.read();
      this.texts(now);
      if (!this.linked) quiet();
    }
    const begun = performance.now();
    const drawn = this.panels.filter((panel) => panel.draw(now, elapsed)).length;
    if (drawn) {
      this.counters.drawn += 1;
      this.drawTimes.add(performance.now() - begun);
    }
  }

  texts(now) {
    this.counters.points = this.strip?.points.length ?? 0;
    this.counters.words = this.strip?.words.length ?? 0;
    for (const panel of this.panels) panel.texts(this.store, this.linked, this.said, now, this.alerts);
    this.root.dataset.state = this.state.name;
    this.root.classList.toggle("dark", this.palette.dark);
    this.banner();
    const button = this.root.querySelector('[data-do="limits"]');
    button.classList.toggle("on", this.alerts.on);
    this.health();
    if (now - this.spokenAt > SPOKEN_EVERY_MS) this.summary(now);
    this.host.state(this.state.name, this.panel.session ?? null, this.data);
  }

  // What matters most of all panels.
  banner() {
    const told = this.panels.filter((panel) => panel.state.banner);
    const panel = told.find((one) => one.state.bad) ?? told[0];
    const same = told.every((one) => one.state.banner === panel.state.banner);
    const text = panel ? `${same ? "" : `${panel.participant}: `}${panel.state.banner}` : "";
    this.say("banner", text);
    this.part("banner").hidden = !text;
    this.part("banner").classList.toggle("bad", Boolean(panel?.state.bad));
  }

  say(part, text) {
    const element = this.part(part);
    if (element.textContent !== text) element.textContent = text ?? "";
  }

  health() {
    const lag = this.strip?.last?.lag_ms ?? {};
    const calm_ms = this.panel.view?.last?.smooth_ms ?? 0;
    this.say("lag", this.state.fresh && lag.total !== undefined ? `${((lag.total + calm_ms) / 1000).toFixed(2)} s` : "–");
    this.part("lag").title = Object.entries(calm_ms ? { ...lag, smoothing: calm_ms } : lag).map(([stage, ms]) => `${stage} ${Math.round(ms)} ms`).join(", ");
    const drops = dropped(this.store, this.panel.session);
    this.say("dropped", String(drops.total));
    this.part("dropped").title = drops.named || "nothing";
    this.say("workers", this.state.workers);
  }

  // For screen readers, in whole sentences and not too often.
  summary(now) {
    const sentences = this.panels.filter((panel) => panel.state.fresh && panel.strip?.last).map((panel) => spoken(panel, this.panels.length > 1));
    this.say("summary", sentences.join(" ")); // what is not current any more does not stay either
    if (sentences.length) this.spokenAt = now;
  }

  close() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.toasting);
    this.abort.abort();
    this.feed.close();
    this.alerts.close();
    for (const panel of this.panels) panel.close();
  }
}

function spoken(panel, named) {
  const { last } = panel.strip;
  const missing = MODALITIES.filter((name) => panel.state.lamps[name].state !== "present").map((name) => NAMES[name].toLowerCase());
  const score = last.sentiment === null ? "Nothing seen, heard or said" : `Sentiment ${wording(last.sentiment)}, ${last.sentiment.toFixed(1)}`;
  return `${named ? `${panel.participant}: ` : ""}${score}. ${missing.length ? `Missing: ${missing.join(", ")}.` : "All three present."}`;
}
