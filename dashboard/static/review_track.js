// One kept session: its whole curve small, the part in view large, and its words.

import { Curve } from "./curve.js";
import { mark, phrases } from "./phrases.js";
import { Track } from "./store.js";

const LEAST_S = 5; // shortest span in view
const FIRST_S = 120; // in view at first
const WINDOW_S = 4;
const BEFORE = 0.4; // where in view the moment of a word is put
const MODALITIES = ["text", "voice", "face"];
const MARKUP = `
  <header><h2></h2><span class="small"></span><select aria-label="Participant" hidden></select></header>
  <canvas class="detail" tabindex="0" role="img"></canvas>
  <canvas class="whole" aria-hidden="true"></canvas>
  <div class="words" role="group" aria-label="What was said; a press on a time or a word shows its moment"></div>`;

export class ReviewTrack {
  // `follow(this, act)` lets the other session do the same.
  constructor(parent, session, palette, follow) {
    this.session = session;
    this.palette = palette;
    this.follow = follow;
    this.element = document.createElement("section");
    this.element.className = "track";
    this.element.innerHTML = MARKUP;
    parent.append(this.element);
    const find = (selector) => this.element.querySelector(selector);
    find("h2").textContent = new Date(session.begun * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
    find(".small").textContent = session.purpose;
    this.detail = find(".detail");
    this.whole = find(".whole");
    this.list = find(".words");
    this.curve = new Curve(this.detail, palette, true);
    this.people(find("select"));
    this.abort = new AbortController();
    this.listen(this.abort.signal);
    this.choose(0);
  }

  people(select) {
    const names = this.session.participants.map((one) => one.name);
    select.replaceChildren(...names.map((name, i) => new Option(name, String(i))));
    select.hidden = names.length < 2;
    select.addEventListener("change", () => this.choose(Number(select.value)));
  }

  choose(number) {
    this.track = trackOf(this.session, this.session.participants[number]);
    this.length = Math.max(LEAST_S, this.track.newest);
    this.span = Math.min(FIRST_S, this.length);
    this.head = this.span;
    this.detail.setAttribute("aria-label", `Curve of ${this.track.participant || "the session"}, ${Math.round(this.length / 60)} minutes; arrows move it, plus and minus zoom`);
    this.transcript();
  }

  listen(signal) {
    this.detail.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.both((track) => track.zoom(track.span * Math.exp(Math.sign(event.deltaY) * 0.25), event.offsetX));
    }, { signal, passive: false });
    this.detail.addEventListener("pointerdown", (event) => this.drag(event), { signal });
    this.detail.addEventListener("keydown", (event) => this.key(event), { signal });
    const seek = (event) => event.buttons & 1 && this.both((track) => track.centre((event.offsetX / this.whole.clientWidth) * this.length));
    this.whole.addEventListener("pointerdown", seek, { signal });
    this.whole.addEventListener("pointermove", seek, { signal });
    this.list.addEventListener("click", (event) => {
      const index = event.target.closest("[data-at]")?.dataset.at;
      if (index !== undefined) this.show(Number(index));
    }, { signal });
  }

  both(act) {
    act(this);
    this.follow(this, act);
  }

  drag(start) {
    this.detail.setPointerCapture(start.pointerId);
    let before = start.offsetX;
    const moved = (event) => {
      const by = ((before - event.offsetX) / this.curve.plot) * this.span;
      before = event.offsetX;
      this.both((track) => track.pan(by));
    };
    this.detail.addEventListener("pointermove", moved);
    this.detail.addEventListener("pointerup", () => this.detail.removeEventListener("pointermove", moved), { once: true });
  }

  key(event) {
    const act = {
      ArrowLeft: (track) => track.pan(-track.span / 8),
      ArrowRight: (track) => track.pan(track.span / 8),
      "+": (track) => track.zoom(track.span / 1.5),
      "-": (track) => track.zoom(track.span * 1.5),
      Home: (track) => track.centre(0),
      End: (track) => track.centre(track.length),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.both(act);
  }

  // Shows `span` seconds, with what lies at pixel `x` (or in the middle) staying there.
  zoom(span, x = null) {
    const share = x === null ? 0.5 : Math.min(1, Math.max(0, (x - this.curve.left) / this.curve.plot));
    const at = this.head - this.span * (1 - share);
    this.span = Math.min(this.length, Math.max(LEAST_S, span));
    this.head = this.within(at + this.span * (1 - share));
  }

  pan(by) {
    this.head = this.within(this.head + by);
  }

  centre(time) {
    this.head = this.within(time + this.span / 2);
  }

  // The moment of a word or mark, with room before and after it.
  show(time) {
    if (this.span > FIRST_S) this.span = Math.min(this.length, 30);
    this.head = this.within(time + this.span * (1 - BEFORE));
    this.pointed = time;
  }

  within(head) {
    return Math.min(this.length, Math.max(this.span, head));
  }

  places(text) {
    const sought = text.toLowerCase();
    return this.track.words.flatMap((word, i) => (word.text.toLowerCase().includes(sought) ? [i] : []));
  }

  // To a word by its number, also in the list.
  jump(index) {
    const word = this.track.words[index];
    this.show(word.start);
    for (const found of this.list.querySelectorAll(".found")) found.classList.remove("found");
    const element = this.list.querySelector(`[data-word="${index}"]`);
    element?.classList.add("found");
    element?.scrollIntoView({ block: "nearest" });
  }

  transcript() {
    const { words } = this.track;
    mark(words, 1.5, 8);
    const rows = phrases(words, -Infinity).map((phrase) => ({ at: phrase[0].start, words: phrase }));
    const notes = this.track.marks.map(({ at_s, text }) => ({ at: at_s, note: text || "marked" }));
    let index = 0;
    this.list.replaceChildren(
      ...[...rows, ...notes].sort((a, b) => a.at - b.at).map(({ at, words: said, note }) => {
        const line = document.createElement("p");
        const time = document.createElement("button");
        Object.assign(time, { type: "button", textContent: clock(at) });
        time.dataset.at = String(at);
        const text = document.createElement("div");
        if (note !== undefined) {
          line.className = "mark";
          text.textContent = `⚑ ${note}`;
        }
        for (const word of said ?? []) {
          const span = document.createElement("span");
          span.textContent = word.text;
          span.dataset.at = String(word.start);
          span.dataset.word = String(index);
          index += 1;
          text.append(span, " ");
        }
        line.append(time, text);
        return line;
      })
    );
    for (const word of words) word.scale = undefined; // the curve breaks its lines elsewhere
    this.colour();
  }

  // Each word in the colour of its moment; again when the theme has changed.
  colour() {
    this.coloured = this.palette.key;
    for (const span of this.list.querySelectorAll("[data-word]")) {
      const { start, end } = this.track.words[Number(span.dataset.word)];
      span.style.color = this.palette.score(this.track.scoreOf((start + end) / 2));
    }
  }

  draw() {
    if (this.coloured !== this.palette.key) this.colour();
    this.curve.resize();
    if (this.curve.span !== this.span) this.curve.show(this.span);
    this.curve.draw(this.track, this.head, this.palette.key);
    this.overview();
  }

  // The whole session small, and what of it is in view.
  overview() {
    const ratio = (window.devicePixelRatio || 1) * (this.whole.currentCSSZoom ?? 1);
    const { clientWidth: width, clientHeight: height } = this.whole;
    const key = `${width}|${ratio}|${this.head}|${this.span}|${this.palette.key}|${this.track.participant}`;
    if (key === this.drawn || !width) return;
    this.drawn = key;
    Object.assign(this.whole, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const c = this.whole.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const x = (time) => (time / this.length) * width;
    const y = (score) => 4 + ((3 - score) / 6) * (height - 8);
    c.fillStyle = this.palette.band;
    c.fillRect(x(this.head - this.span), 0, Math.max(3, x(this.span)), height);
    const wide = Math.max(1, (width / this.length) * 0.5);
    for (const { end_s, sentiment } of this.track.points) {
      if (sentiment === null) continue;
      c.fillStyle = this.palette.score(sentiment);
      c.fillRect(x(end_s) - wide, Math.min(y(0), y(sentiment)), wide, Math.max(1.5, Math.abs(y(0) - y(sentiment))));
    }
    c.fillStyle = this.palette.mark;
    for (const { at_s } of this.track.marks) c.fillRect(x(at_s), 0, 1.5, height);
  }

  close() {
    this.abort.abort();
    this.curve.close();
    this.element.remove();
  }
}

// Columns as the server gives them, as a curve asks for them.
function trackOf(session, told) {
  const track = new Track(session.session, told?.name ?? "");
  if (!told) return track;
  let seq = 0;
  let before = null;
  track.points = told.points.map(([end_s, sentiment, low, high, bits, ...alone]) => {
    if (before !== null && end_s - before > 0.75) seq += 1; // a break: nothing is drawn across it
    before = end_s;
    seq += 1;
    const present = Object.fromEntries(MODALITIES.map((name, i) => [name, Boolean(bits & (1 << i))]));
    const says = Object.fromEntries(MODALITIES.map((name, i) => [name, alone[i]]));
    return { seq, end_s, start_s: end_s - WINDOW_S, sentiment, low, high, present, alone: says, contribution: {}, final: true };
  });
  track.words = told.words.map(([text, start, end]) => ({ text, start, end }));
  track.marks = told.marks;
  track.newest = Math.max(0, before ?? 0, ...track.words.slice(-1).map((word) => word.end), ...track.marks.slice(-1).map((one) => one.at_s));
  return track;
}

function clock(time) {
  const whole = Math.max(0, Math.round(time));
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}
