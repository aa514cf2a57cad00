// Limits that the user sets, and whether a curve has been beyond one of them for long enough.

const KEY = "tonality alerts";
const OFF = { below: null, above: null, for_s: 3, sound: false };
const SHOWN_STEP_S = 5; // the text is read out each time that it changes
// Whoever was within the limits for less is not rung for again: a revision can split a stretch beyond them.
const AGAIN_S = 3;
const MOST = 16; // participants that are remembered
const TONE_HZ = [523, 440];

export class Alerts {
  constructor() {
    this.settings = { ...OFF, ...stored() };
    this.beyond = new Map(); // the side on which each was last, and since when not any more (null: still)
  }

  set(settings) {
    this.settings = { ...OFF, ...settings };
    this.beyond.clear();
    try {
      localStorage.setItem(KEY, JSON.stringify(this.settings));
    } catch (error) {
      console.debug("limits cannot be kept in this browser", error);
    }
  }

  get on() {
    return this.settings.below !== null || this.settings.above !== null;
  }

  // The limit that the newest scores have been beyond, and for how long; null where none is.
  judge(strip) {
    const { below, above, for_s } = this.settings;
    const beyond = (score) => (score === null ? null : below !== null && score < below ? "below" : above !== null && score > above ? "above" : null);
    const points = strip?.points ?? [];
    const last = points[points.length - 1];
    const side = last ? beyond(last.sentiment) : null;
    if (!side) return null;
    let first = points.length - 1;
    while (first > 0 && points[first - 1].seq === points[first].seq - 1 && beyond(points[first - 1].sentiment) === side) first -= 1;
    const lasted = last.end_s - points[first].end_s;
    if (lasted < for_s) return null;
    const shown_s = lasted < SHOWN_STEP_S ? for_s : Math.floor(lasted / SHOWN_STEP_S) * SHOWN_STEP_S;
    return { side, limit: this.settings[side], shown_s: Math.max(for_s, shown_s) };
  }

  // Rings where somebody goes beyond a limit (`side` is that of `judge`), not while they stay there.
  // Not by the window with which it began: that one is forgotten after ten minutes, or revised.
  heed(session, participant, side, now) {
    const key = `${session}\n${participant}`;
    const before = this.beyond.get(key);
    if (!side) return void (before && (before.left ??= now));
    this.beyond.delete(key); // the one heard of longest ago goes first
    this.beyond.set(key, { side, left: null });
    while (this.beyond.size > MOST) this.beyond.delete(this.beyond.keys().next().value);
    // Back within the limits it takes `for_s` until a further stretch is told of.
    const stays = before?.side === side && (before.left === null || now - before.left <= (this.settings.for_s + AGAIN_S) * 1000);
    if (!stays) this.ring();
  }

  // Two soft tones, where the user has asked for them.
  ring() {
    if (!this.settings.sound) return;
    this.audio ??= new AudioContext();
    TONE_HZ.forEach((frequency, i) => {
      const at = this.audio.currentTime + i * 0.22;
      const tone = new OscillatorNode(this.audio, { frequency });
      const loudness = new GainNode(this.audio, { gain: 0 });
      loudness.gain.setTargetAtTime(0.08, at, 0.02);
      loudness.gain.setTargetAtTime(0, at + 0.15, 0.08);
      tone.connect(loudness).connect(this.audio.destination);
      tone.start(at);
      tone.stop(at + 0.8);
    });
  }

  close() {
    this.audio?.close();
  }
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}");
  } catch (error) {
    console.debug("kept limits cannot be read", error);
    return {};
  }
}
