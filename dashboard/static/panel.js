// One participant: picture, score, words, lamps and curve, kept up to date without the page's script.

import { Curve, Playhead } from "./curve.js";
import { Face } from "./face.js";
import { expressionsOf, poseOf } from "./expressions.js";
import { signed, wording } from "./palette.js";
import { conditions } from "./states.js";
import { smooth } from "./smoothing.js";
import { MODALITIES } from "./store.js";

export const NAMES = { text: "Words", voice: "Voice", face: "Face" };
const CAPTION_WORDS = 16;
const CAPTION_S = 15; // older words leave the caption
const MARKUP = `
  <h2 class="who" data-testid="who" hidden></h2>
  <div class="top">
    <figure class="preview">
      <canvas data-testid="preview" width="320" height="240" role="img" aria-label="Camera picture with face landmarks and head pose"></canvas>
      <figcaption>
        <span data-testid="quality"></span>
        <ul data-testid="expressions" aria-label="Strongest expressions"></ul>
        <span data-testid="pose"></span>
      </figcaption>
    </figure>
    <div class="now">
      <div class="figure">
        <span class="score" data-testid="score">–</span>
        <span class="meaning"><b data-testid="wording"></b><small data-testid="interval"></small><small class="parts" data-testid="parts"></small></span>
      </div>
      <p class="caption" data-testid="words" aria-hidden="true"></p>
    </div>
    <ul class="lamps" data-testid="lamps" aria-label="What is seen and heard"></ul>
  </div>
  <p class="alert" data-testid="resting" role="status" hidden></p>
  <p class="alert" data-testid="alert" role="status" hidden></p>
  <div class="chart">
    <canvas data-testid="curve" role="img" aria-label="Curve of sentiment over time, from minus three, very negative, to plus three, very positive"></canvas>
    <p class="hint" data-testid="hint"></p>
  </div>`;

export const EMPTY = { points: [], words: [], tentative: [], marks: [], version: 0, newest: 0, last: null, session: "", participant: "", indexAt: () => 0, scoreOf: () => null };

export class Panel {
  constructor(palette) {
    this.element = document.createElement("section");
    this.element.className = "panel";
    this.element.innerHTML = MARKUP;
    this.palette = palette;
    this.playhead = new Playhead();
    this.strip = null;
    this.participant = null;
    this.session = null;
    this.calm_s = 0; // how much lag smoothing may add
  }

  // Only when it stands in the page does it have a size to draw in.
  mount(parent, span) {
    parent.append(this.element);
    this.curve = new Curve(this.part("curve"), this.palette);
    this.curve.show(span);
    this.face = new Face(this.part("preview"));
    this.lampItems();
  }

  part(name) {
    return this.element.querySelector(`[data-testid="${name}"]`);
  }

  say(part, text) {
    const element = this.part(part);
    if (element.textContent !== text) element.textContent = text ?? "";
  }

  // Whose panel it is, and what is known of them (null: nothing yet).
  bind(session, participant, strip, alone) {
    Object.assign(this, { session, participant });
    if (strip !== this.strip) {
      this.strip = strip;
      this.restart();
      this.face.clear();
      if (strip?.picture) this.face.show(strip.picture);
    }
    this.part("who").hidden = alone;
    this.say("who", alone ? "" : participant);
    this.element.setAttribute("aria-label", participant ?? "Nobody yet");
  }

  restart() {
    this.playhead = new Playhead();
    if (this.strip?.points.length) this.arrived();
  }

  arrived() {
    this.playhead.arrived(performance.now() / 1000, this.strip.newest);
  }

  // What is drawn: the strip, or the strip smoothed, computed again when anything has changed.
  get view() {
    const { strip } = this;
    if (!strip || !this.calm_s) return strip;
    const key = `${strip.version}|${this.calm_s}`;
    if (this.smoothed?.strip !== strip) this.smoothed = { strip, view: Object.create(strip) };
    if (this.smoothed.key !== key) {
      this.smoothed.key = key;
      const calm = smooth(strip.points, this.calm_s);
      this.smoothed.view.points = strip.points.map((point, i) => (calm[i] ? { ...point, ...calm[i], lag_ms: point.lag_ms, smooth_ms: calm[i].lag_ms } : point));
    }
    return this.smoothed.view;
  }

  // Media time of this moment, as far as it is known.
  get now() {
    return this.strip ? Math.max(0, this.playhead.shown ?? this.strip.newest) : null;
  }

  // True when something was drawn.
  draw(now, elapsed) {
    this.curve.resize();
    const strip = this.view ?? EMPTY;
    const head = strip === EMPTY ? this.curve.span : this.playhead.at(now / 1000, strip.newest, Math.min(1, elapsed / 1000));
    return this.curve.draw(strip, head, `${this.palette.key}${this.state?.name}${this.calm_s}`);
  }

  // Numbers, lamps and words; called no more often than people read.
  texts(store, linked, data, now, alerts) {
    this.state = conditions(store, this.session, this.participant, this.strip, linked, data, now);
    this.say("hint", this.state.hint);
    this.part("hint").classList.toggle("shown", Boolean(this.state.hint));
    this.numbers();
    this.lamps();
    this.caption();
    this.curve.limits = alerts.settings;
    this.warning(alerts, now);
    this.resting(store);
  }

  numbers() {
    const last = this.view?.last ?? null;
    const score = last?.sentiment ?? null;
    const current = this.state.fresh;
    this.say("score", current ? signed(score) : "–");
    this.part("score").style.color = current && score !== null ? this.palette.score(score) : this.palette.faint;
    this.say("wording", current && last ? wording(score) : "");
    this.say("interval", current && last ? (score === null ? "nothing seen, heard or said" : `between ${signed(last.low)} and ${signed(last.high)}`) : "");
    this.say("parts", current && score !== null ? partsOf(last) : "");
    const picture = this.state.watched ? this.strip?.picture : null; // which needs no score
    this.say("quality", picture && picture.quality !== "ok" ? picture.quality : "");
    this.expressions(picture?.quality === "ok" ? picture : null);
  }

  expressions(picture) {
    const shown = picture ? expressionsOf(picture) : [];
    const key = shown.map(([name, value]) => `${name}${value.toFixed(1)}`).join();
    this.say("pose", picture ? poseOf(picture) : "");
    if (key === this.expressed) return;
    this.expressed = key;
    this.part("expressions").replaceChildren(
      ...shown.map(([name, value]) => {
        const item = document.createElement("li");
        item.textContent = name;
        item.style.setProperty("--share", value.toFixed(2));
        return item;
      })
    );
  }

  lampItems() {
    for (const name of MODALITIES) {
      const item = document.createElement("li");
      item.dataset.testid = `lamp-${name}`;
      item.innerHTML = `<i></i><b>${NAMES[name]} <em></em></b><small></small>`;
      this.part("lamps").append(item);
    }
  }

  lamps() {
    for (const name of MODALITIES) {
      const item = this.part(`lamp-${name}`);
      const { state, why } = this.state.lamps[name];
      if (item.dataset.state === state && item.dataset.why === why) continue;
      Object.assign(item.dataset, { state, why });
      item.querySelector("em").textContent = state;
      item.querySelector("small").textContent = why;
    }
  }

  caption() {
    const { strip } = this;
    const words = strip ? [...strip.words.slice(-CAPTION_WORDS), ...strip.tentative].slice(-CAPTION_WORDS) : [];
    const recent = words.filter((word) => word.end > strip.newest - CAPTION_S);
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

  warning(alerts, now) {
    const crossed = this.state.fresh ? alerts.judge(this.view) : null;
    const part = this.part("alert");
    part.hidden = !crossed;
    this.say("alert", crossed ? `${crossed.side === "below" ? "Below" : "Above"} ${signed(crossed.limit)} for ${crossed.shown_s} s or more` : "");
    alerts.heed(this.session, this.participant, crossed?.side ?? null, now);
  }

  // How long somebody still has to look and speak as when nothing is the matter.
  resting(store) {
    const left = store.capture(this.session, this.participant)?.gauges?.["rest s left"] ?? 0;
    this.part("resting").hidden = left <= 0;
    this.say("resting", left > 0 ? `Taking the resting face and voice, ${Math.ceil(left)} s left: look and speak as when nothing is the matter.` : "");
  }

  close() {
    this.curve.close();
    this.element.remove();
  }
}

// What the score is made of, in figures that add up as they are shown.
export function partsOf({ sentiment, contribution, present, rest }) {
  const two = (value) => Math.round(value * 100) / 100;
  const there = MODALITIES.filter((name) => present[name]);
  const parts = there.map((name) => [NAMES[name].toLowerCase(), two(contribution[name] ?? 0)]);
  const whole = two(sentiment);
  parts.push(["in common", two(whole - parts.reduce((sum, [, value]) => sum + value, 0))]);
  const rested = rest === null || rest === undefined ? "" : ` (rest ${signed(two(rest), 2)})`;
  return `${parts.map(([name, value]) => `${name} ${signed(value, 2)}`).join(", ")} = ${signed(whole, 2)}${rested}`;
}
