// The moving picture: score with its interval, the words under it, a lane for each modality. One
// canvas, drawn only when something has moved by half a pixel or changed.

import { signed, wording } from "./palette.js";

const LEFT = 62;
const RIGHT = 104;
const TOP = 10;
const AXIS = 22;
const WORD_ROWS = 5;
const WORD_ROW = 19;
const WORD_SHIFT = 34; // pixels that a word may stand later than it was said, to find room
const EDGE = 10; // pixels between the newest moment and the right border
const WORD_TICKS = 10; // a strip with a tick for every word, also for those that found no room
const WORDS = WORD_ROWS * WORD_ROW + WORD_TICKS;
const LANE = 38;
const LANE_FULL = 2; // the score at which a lane's bar is as high as it gets
const DENSE_S = 120; // spans longer than this show ticks instead of words
const LANES = [
  ["text", "Words"],
  ["voice", "Voice"],
  ["face", "Face"],
];
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
  constructor(canvas, palette) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.palette = palette;
    this.span = 30;
    this.widths = new Map();
    this.hover = null;
    this.resize();
    canvas.addEventListener("pointermove", (event) => (this.hover = event.offsetX));
    canvas.addEventListener("pointerleave", () => (this.hover = null));
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    if (clientWidth === this.width && clientHeight === this.height && ratio === this.ratio) return false;
    Object.assign(this, { width: clientWidth, height: clientHeight, ratio });
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.plot = Math.max(80, clientWidth - LEFT - RIGHT);
    this.scoreBottom = clientHeight - AXIS - LANES.length * LANE - WORDS - 14;
    this.gradient = null;
    return true;
  }

  // Draws when needed; true when it did. `key` names everything else that the picture depends on.
  draw(strip, head, key) {
    const pixel = Math.round(((head * this.plot) / this.span) * this.ratio * 2);
    const whole = `${key}|${pixel}|${strip.version}|${this.span}|${this.hover}|${this.width}x${this.height}`;
    if (whole === this.drawn) return false;
    this.drawn = whole;
    const c = this.context;
    c.clearRect(0, 0, this.width, this.height);
    this.from = head - this.span;
    this.frame();
    c.save();
    c.beginPath();
    c.rect(LEFT, 0, this.plot, this.height);
    c.clip();
    const first = Math.max(0, strip.indexAt(this.from) - 1);
    this.band(strip.points, first);
    this.line(strip.points, first);
    this.words(strip);
    this.lanes(strip.points, first);
    this.ticks(head);
    c.restore();
    if (strip.points.length) this.gutter(strip);
    if (this.hover !== null) this.tip(strip);
    return true;
  }

  x(time) {
    return LEFT + ((time - this.from) / this.span) * (this.plot - EDGE);
  }

  y(score) {
    return TOP + ((3 - score) / 6) * (this.scoreBottom - TOP);
  }

  laneTop(i) {
    return this.height - AXIS - (LANES.length - i) * LANE;
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
      c.moveTo(LEFT, y);
      c.lineTo(LEFT + this.plot, y);
      c.stroke();
      c.textAlign = "right";
      this.font(score % 3 === 0 ? 15 : 12, score % 3 === 0 ? 600 : 400);
      c.fillStyle = score % 3 === 0 ? p.score(score) : p.faint;
      c.fillText(signed(score, 0), LEFT - 10, y);
    }
    LANES.forEach(([, label], i) => {
      const y = this.laneTop(i) + LANE / 2;
      c.strokeStyle = p.line;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(LEFT, y);
      c.lineTo(LEFT + this.plot, y);
      c.stroke();
      this.font(14, 600);
      c.fillStyle = p.text;
      c.fillText(label, LEFT - 10, y);
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
    for (const run of this.runs(points, first)) {
      c.beginPath();
      if (run.length === 1) {
        const half = Math.max(1, (0.2 * this.plot) / this.span);
        c.rect(this.x(run[0].end_s) - half, this.y(run[0].high), 2 * half, this.y(run[0].low) - this.y(run[0].high));
      } else {
        for (const point of run) c.lineTo(this.x(point.end_s), this.y(point.high));
        for (let i = run.length - 1; i >= 0; i -= 1) c.lineTo(this.x(run[i].end_s), this.y(run[i].low));
      }
      c.fill();
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
    c.lineWidth = this.span > DENSE_S ? 2 : 3.5;
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
    if (last && last === points[points.length - 1]) {
      c.fillStyle = this.palette.score(last.sentiment);
      c.beginPath();
      c.arc(this.x(last.end_s), this.y(last.sentiment), 6, 0, 7);
      c.fill();
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

  measure(text) {
    let width = this.widths.get(text);
    if (width === undefined) {
      if (this.widths.size > 3000) this.widths.clear();
      width = this.context.measureText(text).width;
      this.widths.set(text, width);
    }
    return width;
  }

  // Stable words keep their row once placed, so that nothing jumps while it scrolls.
  place(strip) {
    const scale = (this.plot - EDGE) / this.span;
    const rows = new Array(WORD_ROWS).fill(-Infinity);
    this.font(15, 500);
    for (const word of [...strip.words, ...strip.tentative]) {
      const width = this.measure(word.text);
      const left = ((word.start + word.end) / 2) * scale - width / 2;
      if (word.scale !== scale) {
        word.scale = scale;
        const shifts = rows.map((right) => Math.max(0, right + 7 - left));
        word.shift = Math.min(...shifts);
        word.row = word.shift <= WORD_SHIFT ? shifts.indexOf(word.shift) : -1;
      }
      if (word.row >= 0) rows[word.row] = Math.max(rows[word.row], left + word.shift + width);
    }
    for (let i = strip.words.length - 1; i >= 0; i -= 1) {
      const word = strip.words[i];
      if (word.end < this.from) break;
      word.score = strip.scoreOf((word.start + word.end) / 2);
    }
    for (const word of strip.tentative) word.score = strip.scoreOf((word.start + word.end) / 2);
  }

  words(strip) {
    const c = this.context;
    const key = `${strip.version}|${this.plot}|${this.span}|${strip.session}`;
    if (key !== this.placed) {
      this.place(strip);
      this.placed = key;
    }
    c.textAlign = "center";
    const top = this.scoreBottom + 12;
    const draw = (word) => {
      const x = this.x((word.start + word.end) / 2);
      c.fillStyle = this.palette.score(word.score, word.tentative ? 0.55 : 1);
      const dense = this.span > DENSE_S;
      c.fillRect(x - 1, dense ? top : top + WORD_ROWS * WORD_ROW + 2, 2, dense ? WORDS - 8 : WORD_TICKS - 4);
      if (!dense && word.row >= 0) c.fillText(word.text, x + word.shift, top + word.row * WORD_ROW + WORD_ROW / 2);
    };
    this.font(15, 500);
    for (let i = strip.words.length - 1; i >= 0; i -= 1) {
      if (strip.words[i].end < this.from - 2) break;
      draw(strip.words[i]);
    }
    this.font(15, 400, "italic");
    for (const word of strip.tentative) draw(word);
  }

  lanes(points, first) {
    const c = this.context;
    LANES.forEach(([name], lane) => {
      const middle = this.laneTop(lane) + LANE / 2;
      const half = LANE / 2 - 3;
      for (let i = first; i < points.length; i += 1) {
        const point = points[i];
        const before = i > 0 && points[i - 1].seq === point.seq - 1 ? points[i - 1].end_s : point.end_s - 0.5;
        const left = this.x(before);
        const width = Math.max(1, this.x(point.end_s) - left - (this.span > DENSE_S ? 0 : 1));
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
    const step = this.span > DENSE_S ? 60 : this.span > 30 ? 10 : 5;
    this.font(12);
    c.textAlign = "center";
    c.fillStyle = this.palette.faint;
    for (let time = Math.ceil(Math.max(0, this.from) / step) * step; time <= head; time += step) {
      const minutes = Math.floor(time / 60);
      const x = this.x(time);
      if (x < LEFT + 14 || x > LEFT + this.plot - 14) continue; // would be cut
      c.fillText(`${minutes}:${String(Math.round(time % 60)).padStart(2, "0")}`, x, this.height - AXIS / 2 + 2);
    }
  }

  // What each modality says now, and how much it moves the fused score.
  gutter(strip) {
    const c = this.context;
    c.textAlign = "left";
    LANES.forEach(([name], i) => {
      const last = latest(strip.points, name);
      const y = this.laneTop(i) + LANE / 2;
      const x = LEFT + this.plot + 12;
      if (!last) {
        this.font(13);
        c.fillStyle = this.palette.faint;
        c.fillText("missing", x, y);
        return;
      }
      const says = last.alone[name] ?? null;
      this.font(17, 650);
      c.fillStyle = this.palette.score(says);
      c.fillText(signed(says), x, y);
      this.font(11.5);
      c.fillStyle = this.palette.faint;
      c.fillText(`adds ${signed(last.contribution[name])}`, x + 42, y + 1);
    });
  }

  tip(strip) {
    const c = this.context;
    if (this.hover < LEFT || this.hover > LEFT + this.plot) return;
    const time = this.from + ((this.hover - LEFT) / (this.plot - EDGE)) * this.span;
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
    const left = Math.min(Math.max(LEFT, x - width / 2), LEFT + this.plot - width);
    c.fillStyle = this.palette.background;
    c.fillRect(left, TOP, width, 24);
    c.strokeRect(left, TOP + 0.5, width, 24);
    c.fillStyle = this.palette.text;
    c.textAlign = "left";
    c.fillText(text, left + 8, TOP + 13);
  }
}

// The newest window that holds a modality, as long as every newer one may still get it.
function latest(points, name) {
  for (let i = points.length - 1; i >= 0; i -= 1) {
    if (points[i].present[name]) return points[i];
    if (points[i].final) return null;
  }
  return null;
}
