// The moving picture: score with its interval, the words under it, a lane for each modality. One
// canvas, drawn only when something has moved by half a pixel or changed.

import { signed, TENTATIVE, wording } from "./palette.js";
import { mark, phrases, wrap } from "./phrases.js";

const LEFT = 62;
const RIGHT = 104;
const NARROW = 560; // pixels; a narrower picture has smaller margins
const TOP = 10;
const AXIS = 22;
const EDGE = 10; // pixels between the newest moment and the right border
const WORD_TICKS = 10; // a strip with a tick for every word at its true time, above the phrases
const WORD_LINES = 103; // pixels for the lines of phrases
const SETTLED_S = 30; // windows older than this are not revised any more
const BLOCK_LEAST = 76; // pixels that a phrase is wide at least
const BLOCK_FULL = 100; // pixels at which a phrase without a pause ends; the newest one's width
const BLOCK_GAP = 9;
const LANE = 38;
const LOW = 380; // pixels; a picture lower than this has ticks instead of words, and slimmer lanes
const LOW_LANE = 25;
const LANE_FULL = 2; // the score at which a lane's bar is as high as it gets
const DENSE_S = 120; // spans longer than this show ticks instead of words
const LANES = [
  ["text", "Words"],
  ["voice", "Voice"],
  ["face", "Face"],
];
const STEPS = [1, 5, 10, 30, 60, 300, 600, 1800]; // seconds between labels of time
const LATEST_AHEAD_S = 1.2; // how far time runs on past the newest window before it stands still

// Media time of the right edge: runs evenly, guided by when new windows arrive.
export class Playhead {
  constructor() {
    this.offset = null; // page seconds minus media seconds, of the quickest recent arrivals
    this.shown = null;
  }

  arrived(now, end) {
    const offset = now - end;
    if (this.offset === null || Math.abs(offset - this.offset) > 5) this.offset = offset;
    else this.offset += (offset - this.offset) * (offset < this.offset ? 0.5 : 0.03);
  }

  at(now, newest, elapsed) {
    if (this.offset === null) return newest;
    const target = Math.min(now - this.offset, newest + LATEST_AHEAD_S);
    if (this.shown === null || Math.abs(target - this.shown) > 3) this.shown = target;
    else {
      const drift = target - this.shown;
      const pace = target >= newest + LATEST_AHEAD_S ? 0 : elapsed;
      this.shown += pace + (drift - pace) * Math.min(1, elapsed * 3);
    }
    return this.shown;
  }
}

export class Curve {
  constructor(canvas, palette, still = false) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.palette = palette;
    this.span = 30;
    this.widths = new Map(); // of texts, in pixels
    this.blocks = new Map(); // phrases as they are laid out, oldest first
    this.shown = []; // the phrases themselves
    this.hover = null;
    this.limits = null; // of alerts: {below, above}
    this.still = still; // a session that is over: nothing is newest, and there is no gutter
    this.resize();
    this.abort = new AbortController();
    const { signal } = this.abort;
    canvas.addEventListener("pointermove", (event) => (this.hover = event.offsetX), { signal });
    canvas.addEventListener("pointerleave", () => (this.hover = null), { signal });
  }

  resize() {
    const ratio = (window.devicePixelRatio || 1) * (this.canvas.currentCSSZoom ?? 1);
    const { clientWidth, clientHeight } = this.canvas;
    if (clientWidth === this.width && clientHeight === this.height && ratio === this.ratio) return false;
    Object.assign(this, { width: clientWidth, height: clientHeight, ratio });
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.narrow = clientWidth < NARROW;
    this.left = this.narrow ? 50 : LEFT;
    this.right = this.still ? 16 : this.narrow ? 48 : RIGHT;
    this.plot = Math.max(80, clientWidth - this.left - this.right);
    this.divide();
    return true;
  }

  close() {
    this.abort.abort();
  }

  // How much time is shown, in seconds; long spans have no lines of words, and a higher curve.
  show(span) {
    this.span = span;
    this.divide();
  }

  divide() {
    this.lane = this.height < LOW ? LOW_LANE : LANE;
    const words = WORD_TICKS + (this.lined ? WORD_LINES : 0);
    this.scoreBottom = this.height - AXIS - LANES.length * this.lane - words - 14;
    this.gradient = null;
  }

  get dense() {
    return this.span > DENSE_S;
  }

  // Whether there is room for words in lines.
  get lined() {
    return !this.dense && this.height >= LOW;
  }

  // Draws when needed; true when it did. `key` names everything else that the picture depends on.
  draw(strip, head, key) {
    const pixel = Math.round(((head * this.plot) / this.span) * this.ratio * 2);
    const whole = `${key}|${pixel}|${strip.version}|${this.span}|${this.hover}|${this.width}x${this.height}|${this.limits?.below}|${this.limits?.above}`;
    if (whole === this.drawn) return false;
    this.drawn = whole;
    const c = this.context;
    c.clearRect(0, 0, this.width, this.height);
    this.from = head - this.span;
    this.frame();
    const first = Math.max(0, strip.indexAt(this.from) - 1);
    this.clipped(this.left, this.plot, () => {
      this.band(strip.points, first);
      this.beyond();
      this.line(strip.points, first);
      this.lanes(strip.points, first);
      this.ticks(head);
    });
    this.clipped(this.left, this.plot + this.right, () => {
      this.words(strip); // the newest phrase runs over the border
      this.marks(strip.marks, head);
    });
    if (strip.points.length && !this.still) this.gutter(strip);
    if (this.hover !== null) this.tip(strip);
    return true;
  }

  clipped(left, width, paint) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(left, 0, width, this.height);
    this.context.clip();
    paint();
    this.context.restore();
  }

  x(time) {
    return this.left + ((time - this.from) / this.span) * (this.plot - EDGE);
  }

  y(score) {
    return TOP + ((3 - score) / 6) * (this.scoreBottom - TOP);
  }

  laneTop(i) {
    return this.height - AXIS - (LANES.length - i) * this.lane;
  }

  font(size, weight = 400, style = "") {
    this.context.font = `${style} ${weight} ${size}px ${this.palette.font}`;
  }

  frame() {
    const c = this.context;
    const p = this.palette;
    c.textBaseline = "middle";
    for (let score = -3; score <= 3; score += 1) {
      const y = Math.round(this.y(score)) + 0.5;
      c.strokeStyle = p.line;
      c.lineWidth = score === 0 ? 2 : 1;
      c.beginPath();
      c.moveTo(this.left, y);
      c.lineTo(this.left + this.plot, y);
      c.stroke();
      c.textAlign = "right";
      this.font(score % 3 === 0 ? 15 : 12, score % 3 === 0 ? 600 : 400);
      c.fillStyle = score % 3 === 0 ? p.score(score) : p.faint;
      c.fillText(signed(score, 0), this.left - 10, y);
    }
    LANES.forEach(([, label], i) => {
      const y = this.laneTop(i) + this.lane / 2;
      c.strokeStyle = p.line;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(this.left, y);
      c.lineTo(this.left + this.plot, y);
      c.stroke();
      this.font(14, 600);
      c.fillStyle = p.text;
      c.fillText(label, this.left - 10, y);
    });
  }

  // Runs of points without a gap: known scores of consecutive windows.
  *runs(points, first) {
    let run = [];
    for (let i = first; i < points.length; i += 1) {
      const point = points[i];
      const follows = run.length === 0 || point.seq === run[run.length - 1].seq + 1;
      if (point.sentiment === null || !follows) {
        if (run.length) yield run;
        run = [];
      }
      if (point.sentiment !== null) run.push(point);
    }
    if (run.length) yield run;
  }

  band(points, first) {
    const c = this.context;
    c.fillStyle = this.palette.band;
    c.strokeStyle = this.palette.bandEdge;
    c.lineWidth = 1;
    for (const run of this.runs(points, first)) {
      c.beginPath();
      if (run.length === 1) {
        const half = Math.max(1, (0.2 * this.plot) / this.span);
        c.rect(this.x(run[0].end_s) - half, this.y(run[0].high), 2 * half, this.y(run[0].low) - this.y(run[0].high));
      } else {
        for (const point of run) c.lineTo(this.x(point.end_s), this.y(point.high));
        for (let i = run.length - 1; i >= 0; i -= 1) c.lineTo(this.x(run[i].end_s), this.y(run[i].low));
        c.closePath();
      }
      c.fill();
      if (!this.dense) c.stroke();
    }
  }

  line(points, first) {
    const c = this.context;
    if (!this.gradient || this.gradientKey !== this.palette.key) {
      this.gradient = c.createLinearGradient(0, this.y(3), 0, this.y(-3));
      for (let i = 0; i <= 12; i += 1) this.gradient.addColorStop(i / 12, this.palette.score(3 - i / 2));
      this.gradientKey = this.palette.key;
    }
    c.strokeStyle = this.gradient;
    c.lineWidth = this.dense ? 2 : 3.5;
    c.lineJoin = "round";
    c.lineCap = "round";
    let last = null;
    for (const run of this.runs(points, first)) {
      // The end may still be revised when its words become known: it is drawn lighter.
      let settled = run.length - 1;
      while (settled > 0 && !run[settled].final) settled -= 1;
      this.stroke(run.slice(0, settled + 1), 1);
      this.stroke(run.slice(settled), 0.55);
      last = run[run.length - 1];
    }
    if (!this.still && last && last === points[points.length - 1]) {
      c.fillStyle = this.palette.score(last.sentiment);
      c.beginPath();
      c.arc(this.x(last.end_s), this.y(last.sentiment), 6, 0, 7);
      c.fill();
    }
  }

  // Where the user wants to be told: a dashed line, and a light shade beyond it.
  beyond() {
    const c = this.context;
    for (const [limit, edge] of [[this.limits?.below ?? null, -3], [this.limits?.above ?? null, 3]]) {
      if (limit === null) continue;
      const y = Math.round(this.y(limit)) + 0.5;
      c.fillStyle = this.palette.absent;
      c.fillRect(this.left, Math.min(y, this.y(edge)), this.plot, Math.abs(this.y(edge) - y));
      c.strokeStyle = this.palette.score(Math.sign(edge) * 3);
      c.lineWidth = 1.5;
      c.setLineDash([6, 5]);
      c.beginPath();
      c.moveTo(this.left, y);
      c.lineTo(this.left + this.plot, y);
      c.stroke();
      c.setLineDash([]);
    }
  }

  // What people marked: a line through everything, with the note at its top.
  marks(marks, head) {
    const c = this.context;
    this.font(12.5, 600);
    c.textAlign = "left";
    for (const [i, { at_s, text }] of marks.entries()) {
      if (at_s < this.from || at_s > head) continue;
      const x = Math.round(this.x(at_s)) + 0.5;
      c.strokeStyle = this.palette.mark;
      c.lineWidth = 1.5;
      c.setLineDash([2, 3]);
      c.beginPath();
      c.moveTo(x, TOP);
      c.lineTo(x, this.height - AXIS);
      c.stroke();
      c.setLineDash([]);
      c.fillStyle = this.palette.mark;
      c.beginPath();
      c.moveTo(x, TOP - 8);
      c.lineTo(x + 9, TOP - 3);
      c.lineTo(x, TOP + 2);
      c.fill();
      if (!text || this.dense) continue;
      const until = marks[i + 1] ? this.x(marks[i + 1].at_s) : Infinity;
      const room = Math.min(until, this.left + this.plot + this.right) - x - 16;
      c.fillText(cut(c, text, Math.max(0, room)), x + 12, TOP + 1);
    }
  }

  stroke(run, alpha) {
    const c = this.context;
    c.globalAlpha = alpha;
    c.beginPath();
    c.moveTo(this.x(run[0].end_s), this.y(run[0].sentiment));
    for (const point of run) c.lineTo(this.x(point.end_s), this.y(point.sentiment));
    c.stroke();
    c.globalAlpha = 1;
  }

  // A second with fewer pixels has less room for as many words: smaller letters, more lines.
  letters() {
    const scale = this.plot / this.span;
    if (scale > 45) return { size: 17, row: 22, rows: 4, space: 5 };
    return scale > 16 ? { size: 14, row: 17, rows: 6, space: 4.5 } : { size: 12, row: 14.5, rows: 7, space: 4 };
  }

  measure(text, word, size) {
    const key = `${size}${word.tentative ? "?" : ""}${text}`;
    let width = this.widths.get(key);
    if (width === undefined) {
      if (this.widths.size > 3000) this.widths.clear();
      this.wordFont(size, word.tentative);
      width = this.context.measureText(text).width;
      this.widths.set(key, width);
    }
    return width;
  }

  wordFont(size, tentative) {
    this.font(size, tentative ? 400 : 500, tentative ? "italic" : "");
  }

  // Where every word stands: anew only when words, their colours or the scale have changed.
  place(strip) {
    const scale = (this.plot - EDGE) / this.span;
    const all = [...strip.words, ...strip.tentative];
    mark(all, BLOCK_LEAST / scale, BLOCK_FULL / scale);
    const until = this.still ? all.findIndex((word) => word.start > this.from + this.span + 10) : -1;
    const shown = phrases(until < 0 ? all : all.slice(0, until), this.from);
    const before = this.blocks;
    this.blocks = new Map();
    shown.forEach((words, i) => {
      for (const word of words) {
        if (word.score === undefined || word.end > strip.newest - SETTLED_S) word.score = strip.scoreOf((word.start + word.end) / 2);
      }
      if (!this.lined) return;
      const spoken = (words[words.length - 1].end - words[0].start) * scale;
      const newest = Math.max(Math.min(BLOCK_FULL, this.right + EDGE), spoken); // over the border, if need be
      const room = i + 1 < shown.length ? (shown[i + 1][0].start - words[0].start) * scale - BLOCK_GAP : newest;
      const key = `${words[0].start} ${room} ${this.span} ${words.map((word) => `${word.text}${word.tentative ? "?" : ""}`).join(" ")}`;
      const known = before.get(key);
      if (known) known.forEach((one, j) => (one.word = words[j]));
      this.blocks.set(key, known ?? this.block(words, Math.min(room, Math.max(BLOCK_FULL, spoken)), room));
    });
    this.shown = shown;
  }

  // As narrow as it is spoken, so that its lines stay; wider where that saves words.
  block(words, width, room) {
    const { size, rows, space } = this.letters();
    const measure = (text, word) => this.measure(text, word, size);
    const narrow = wrap(words, width, rows, measure, space);
    return (narrow.whole || room <= width ? narrow : wrap(words, room, rows, measure, space)).placed;
  }

  words(strip) {
    const key = `${strip.version}|${this.plot}|${this.span}|${this.lined}|${this.palette.font}|${this.still ? Math.floor(this.from / 5) : ""}`;
    if (key !== this.placed || strip !== this.placedStrip) {
      this.place(strip);
      this.placed = key;
      this.placedStrip = strip;
    }
    const c = this.context;
    const top = this.scoreBottom + 10;
    for (const phrase of this.shown) {
      for (const word of phrase) {
        c.fillStyle = this.wordColour(word);
        c.fillRect(this.x((word.start + word.end) / 2) - 1, top, this.dense ? 1 : 2, WORD_TICKS - 4);
      }
    }
    if (this.lined) this.lines(top + WORD_TICKS);
  }

  lines(top) {
    const c = this.context;
    const { size, row } = this.letters();
    c.textAlign = "left";
    for (const tentative of [false, true]) {
      this.wordFont(size, tentative);
      for (const block of this.blocks.values()) {
        const left = this.x(block[0].word.start);
        for (const one of block) {
          if (Boolean(one.word.tentative) !== tentative) continue;
          c.fillStyle = this.wordColour(one.word);
          c.fillText(one.text, left + one.x, top + (one.row + 0.5) * row);
        }
      }
    }
  }

  wordColour(word) {
    return this.palette.score(word.score, word.tentative ? TENTATIVE : 1);
  }

  lanes(points, first) {
    const c = this.context;
    LANES.forEach(([name], lane) => {
      const middle = this.laneTop(lane) + this.lane / 2;
      const half = this.lane / 2 - 3;
      for (let i = first; i < points.length; i += 1) {
        const point = points[i];
        const before = i > 0 && points[i - 1].seq === point.seq - 1 ? points[i - 1].end_s : point.end_s - 0.5;
        const left = this.x(before);
        const width = Math.max(1, this.x(point.end_s) - left - (this.dense ? 0 : 1));
        if (!point.present[name]) {
          if (!point.final) continue; // its words may still come
          c.fillStyle = this.palette.absent;
          c.fillRect(left, middle - half, this.x(point.end_s) - left, 2 * half);
          continue;
        }
        const says = point.alone[name] ?? point.contribution[name] ?? 0;
        const height = Math.max(1.5, (Math.min(LANE_FULL, Math.abs(says)) / LANE_FULL) * half);
        c.fillStyle = this.palette.score(says);
        c.fillRect(left, says >= 0 ? middle - height : middle, width, height);
      }
    });
  }

  ticks(head) {
    const c = this.context;
    const step = STEPS.find((one) => (one * this.plot) / this.span > 58) ?? STEPS[STEPS.length - 1];
    this.font(12);
    c.textAlign = "center";
    c.fillStyle = this.palette.faint;
    for (let time = Math.ceil(Math.max(0, this.from) / step) * step; time <= head; time += step) {
      const minutes = Math.floor(time / 60);
      const x = this.x(time);
      if (x < this.left + 14 || x > this.left + this.plot - 14) continue; // would be cut
      c.fillText(`${minutes}:${String(Math.round(time % 60)).padStart(2, "0")}`, x, this.height - AXIS / 2 + 2);
    }
  }

  // What each modality says now, and how much it moves the fused score.
  gutter(strip) {
    const c = this.context;
    c.textAlign = "left";
    LANES.forEach(([name], i) => {
      const last = latest(strip.points, name);
      const y = this.laneTop(i) + this.lane / 2;
      const x = this.left + this.plot + (this.narrow ? 6 : 12);
      if (!last) {
        this.font(13);
        c.fillStyle = this.palette.faint;
        c.fillText(this.narrow ? "–" : "missing", x, y);
        return;
      }
      const says = last.alone[name] ?? null;
      this.font(17, 650);
      c.fillStyle = this.palette.score(says);
      c.fillText(signed(says), x, y);
      if (this.narrow) return;
      this.font(11.5);
      c.fillStyle = this.palette.faint;
      c.fillText(`adds ${signed(last.contribution[name])}`, x + 42, y + 1);
    });
  }

  tip(strip) {
    const c = this.context;
    if (this.hover < this.left || this.hover > this.left + this.plot) return;
    const time = this.from + ((this.hover - this.left) / (this.plot - EDGE)) * this.span;
    const i = Math.min(strip.indexAt(time), strip.points.length - 1);
    const point = strip.points[i];
    if (!point || Math.abs(point.end_s - time) > 1) return;
    const x = Math.round(this.x(point.end_s)) + 0.5;
    c.strokeStyle = this.palette.faint;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x, TOP);
    c.lineTo(x, this.height - AXIS);
    c.stroke();
    const text =
      point.sentiment === null
        ? "nothing seen, heard or said"
        : `${signed(point.sentiment, 2)} ${wording(point.sentiment)}, between ${signed(point.low)} and ${signed(point.high)}`;
    this.font(13, 600);
    const width = c.measureText(text).width + 16;
    const left = Math.min(Math.max(this.left, x - width / 2), this.left + this.plot - width);
    c.fillStyle = this.palette.background;
    c.fillRect(left, TOP, width, 24);
    c.strokeRect(left, TOP + 0.5, width, 24);
    c.fillStyle = this.palette.text;
    c.textAlign = "left";
    c.fillText(text, left + 8, TOP + 13);
  }
}

// As much of a text as there is room for, in pixels.
export function cut(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let letters = [...text];
  while (letters.length && context.measureText(`${letters.join("")}…`).width > room) letters = letters.slice(0, -1);
  return letters.length ? `${letters.join("")}…` : "";
}

// The newest window that holds a modality, as long as every newer one may still get it.
function latest(points, name) {
  for (let i = points.length - 1; i >= 0; i -= 1) {
    if (points[i].present[name]) return points[i];
    if (points[i].final) return null;
  }
  return null;
}
