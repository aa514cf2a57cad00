// What the page knows, bounded: ten minutes of points and words for each participant.

export const KEPT_S = 600;
const MAX_POINTS = 2400;
const MAX_WORDS = 4000;
const MAX_MARKS = 200;
const MAX_STRIPS = 16;
const MODALITIES = ["text", "voice", "face"];

// Points, words and marks of one participant, as a curve asks for them.
export class Track {
  constructor(session, participant) {
    Object.assign(this, { session, participant });
    this.points = []; // in the order of seq
    this.words = []; // stable ones, in the order of time
    this.tentative = [];
    this.marks = []; // {at_s, text}, in the order of time
    this.version = 0; // of words and their colours, for the layout
    this.newest = 0;
  }

  get last() {
    return this.points.length ? this.points[this.points.length - 1] : null;
  }

  // Index of the first point that ends at or after a media time.
  indexAt(time) {
    let low = 0;
    let high = this.points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.points[middle].end_s < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Score of the window in whose middle a moment lies, or of the nearest that still holds it.
  scoreOf(time) {
    const first = this.points.length ? this.points[0] : null;
    if (!first) return null;
    const half = (first.end_s - first.start_s) / 2;
    for (let i = Math.min(this.indexAt(time + half), this.points.length - 1); i >= 0; i -= 1) {
      const point = this.points[i];
      if (point.end_s <= time) return null;
      if (point.sentiment !== null && point.start_s <= time) return point.sentiment;
    }
    return null;
  }
}

// The last ten minutes of somebody who is captured now.
export class Strip extends Track {
  constructor(session, participant) {
    super(session, participant);
    this.touched = 0;
    this.picture = null;
    this.waits = false; // its worker was started again, and has not given a window since
    this.renewed = -Infinity; // when the newest window came, on the page's clock
  }

  // What the worker took for said will never be settled.
  wait() {
    Object.assign(this, { waits: true, tentative: [] });
    this.version += 1;
  }

  addPoint(point) {
    const list = this.points;
    let i = list.length;
    while (i > 0 && list[i - 1].seq >= point.seq) i -= 1;
    if (i < list.length && list[i].seq === point.seq) {
      if (list[i].revision >= point.revision) return false;
      list[i] = point; // a later revision replaces the earlier one
    } else {
      list.splice(i, 0, point);
    }
    if (point.end_s > this.newest) Object.assign(this, { waits: false, renewed: performance.now() });
    this.newest = Math.max(this.newest, point.end_s);
    let stale = 0;
    while (stale < list.length && (list[stale].end_s < this.newest - KEPT_S || list.length - stale > MAX_POINTS)) stale += 1;
    if (stale) list.splice(0, stale);
    this.version += 1;
    return true;
  }

  addWords({ stable, tentative }) {
    for (const [text, start, end, probability] of stable) {
      const list = this.words;
      let i = list.length;
      while (i > 0 && list[i - 1].start > start) i -= 1;
      if (i > 0 && list[i - 1].start === start && list[i - 1].text === text) continue;
      list.splice(i, 0, { text, start, end, probability });
    }
    const newest = this.words.length ? this.words[this.words.length - 1].end : 0;
    let stale = 0;
    while (stale < this.words.length && (this.words[stale].end < newest - KEPT_S || this.words.length - stale > MAX_WORDS)) stale += 1;
    if (stale) this.words.splice(0, stale);
    this.tentative = tentative.map(([text, start, end, probability]) => ({ text, start, end, probability, tentative: true }));
    this.version += 1;
  }

  addMark(mark) {
    this.marks = [...this.marks, mark].sort((a, b) => a.at_s - b.at_s).slice(-MAX_MARKS);
    this.version += 1;
  }
}

export class Store {
  constructor() {
    this.strips = new Map();
    this.statuses = new Map();
    this.workers = [];
    this.dropped = 0;
    this.messages = 0;
  }

  strip(session, participant) {
    const key = `${session}\n${participant}`;
    let strip = this.strips.get(key);
    if (!strip) {
      strip = new Strip(session, participant);
      this.strips.set(key, strip);
      while (this.strips.size > MAX_STRIPS) this.strips.delete(this.strips.keys().next().value);
    }
    strip.touched = performance.now();
    return strip;
  }

  take(message) {
    this.messages += 1;
    if (message.type === "snapshot") this.begin(message);
    else if (message.type === "prediction") this.strip(message.session, message.participant).addPoint(message);
    else if (message.type === "words") this.strip(message.session, message.participant).addWords(message);
    else if (message.type === "mark") this.strip(message.session, message.participant).addMark(message);
    else if (message.type === "status") this.addStatus(message);
    else if (message.type === "workers") this.setWorkers(message.workers);
    else if (message.type === "forget") this.forget(message.session);
    else if (message.type === "beat") this.dropped = message.dropped;
  }

  begin(snapshot) {
    const pictures = new Map([...this.strips].map(([key, strip]) => [key, strip.picture]));
    this.strips.clear();
    this.statuses.clear();
    for (const { session, participant, predictions, words, marks, waits, age_s } of snapshot.strips) {
      const strip = this.strip(session, participant);
      for (const point of predictions) strip.addPoint(point);
      strip.addWords(words);
      for (const mark of marks ?? []) strip.addMark(mark);
      strip.picture = pictures.get(`${session}\n${participant}`) ?? null;
      strip.waits = waits ?? false;
      strip.renewed -= (age_s ?? 0) * 1000;
    }
    for (const status of snapshot.statuses) this.addStatus(status);
    this.setWorkers(snapshot.workers);
  }

  // A worker that died may be back before anybody has read of it: when it was noticed is kept. So is
  // when its state last changed, as far as the page has seen it change.
  setWorkers(workers) {
    const before = new Map(this.workers.map((worker) => [worker.name, worker]));
    const now = performance.now();
    this.workers = workers.map((worker) => {
      const known = before.get(worker.name);
      const died = worker.state === "restarting" || (known && worker.restarts > known.restarts);
      const changed = known && worker.state !== known.state;
      return { ...worker, died: died ? now : known?.died ?? -Infinity, since: changed ? now : known?.since ?? -Infinity };
    });
  }

  addStatus(status) {
    if (status.restarted) this.known(status.session, status.participant)?.wait();
    status.at = performance.now();
    const key = `${status.session}\n${status.worker}`;
    this.statuses.delete(key);
    this.statuses.set(key, status);
    while (this.statuses.size > 32) this.statuses.delete(this.statuses.keys().next().value);
  }

  forget(session) {
    for (const [key, strip] of this.strips) if (strip.session === session) this.strips.delete(key);
    for (const [key, status] of this.statuses) if (status.session === session) this.statuses.delete(key);
  }

  // What is known of a participant, without beginning anything; null where nothing is.
  known(session, participant) {
    return this.strips.get(`${session}\n${participant}`) ?? null;
  }

  // Whether the server has spoken of a session; of none there is nothing to say.
  knows(session) {
    return !session || [...this.workers, ...this.strips.values()].some((one) => one.session === session);
  }

  capture(session, participant) {
    for (const status of this.statuses.values()) if (status.role === "capture" && status.session === session && status.participant === participant) return status;
    return null;
  }
}

export { MODALITIES };
