// Colours: a diverging scale from orange (negative) over grey to blue (positive), which people with
// any common colour blindness tell apart, and the theme's own colours for everything else.

const SCALES = {
  light: { negative: [163, 68, 0], neutral: [92, 96, 104], positive: [20, 92, 168] },
  dark: { negative: [255, 160, 84], neutral: [160, 166, 176], positive: [108, 180, 255] },
};

export const TENTATIVE = 0.88; // how much of its colour a word has that may still change: lighter, and still to be read

const mix = (a, b, t) => a.map((v, i) => Math.round(v + (b[i] - v) * t));

export class Palette {
  constructor(element) {
    this.element = element;
    this.read();
  }

  // Reads the theme; true when it has changed since the last time.
  read() {
    const style = getComputedStyle(this.element);
    const background = style.getPropertyValue("--st-background-color").trim() || "#ffffff";
    const text = style.getPropertyValue("--st-text-color").trim() || "#1f2430";
    const key = background + text;
    if (key === this.key) return false;
    this.key = key;
    this.background = background;
    this.text = text;
    this.font = style.getPropertyValue("--st-font").trim() || "system-ui, sans-serif";
    this.dark = luminance(background) < 0.5;
    this.scale = this.dark ? SCALES.dark : SCALES.light;
    this.line = this.dark ? "rgba(255,255,255,.13)" : "rgba(20,24,32,.12)";
    this.faint = this.dark ? "rgba(255,255,255,.62)" : "rgba(20,24,32,.66)";
    this.absent = this.dark ? "rgba(255,255,255,.05)" : "rgba(20,24,32,.05)";
    this.band = this.dark ? "rgba(160,176,200,.26)" : "rgba(70,90,120,.2)";
    this.bandEdge = this.dark ? "rgba(160,176,200,.55)" : "rgba(70,90,120,.5)";
    this.mark = this.dark ? "rgba(255,255,255,.82)" : "rgba(20,24,32,.8)";
    this.cache = new Map();
    return true;
  }

  // Colour of a score in -3..3; null is the neutral grey. Steps of 0.1, so the cache stays small.
  score(value, alpha = 1) {
    const step = value === null || value === undefined ? 0 : Math.round(value * 10);
    const key = step * 100 + Math.round(alpha * 99);
    let colour = this.cache.get(key);
    if (!colour) {
      const strength = Math.min(1, Math.abs(step) / 18);
      const end = step < 0 ? this.scale.negative : this.scale.positive;
      colour = `rgba(${mix(this.scale.neutral, end, strength).join(",")},${alpha})`;
      this.cache.set(key, colour);
    }
    return colour;
  }
}

function luminance(colour) {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = colour;
  const [r, g, b] = probe.fillStyle.match(/[0-9a-f]{2}/gi)?.map((v) => parseInt(v, 16)) ?? [255, 255, 255];
  return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
}

// What a score means in words, for people and for screen readers.
export function wording(score) {
  if (score === null || score === undefined) return "no evidence";
  const strength = Math.abs(score);
  if (strength < 0.35) return "neutral";
  const side = score > 0 ? "positive" : "negative";
  if (strength < 1) return `slightly ${side}`;
  return strength < 2 ? side : `very ${side}`;
}

export function signed(value, digits = 1) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return (0).toFixed(digits);
  return (value < 0 ? "−" : "+") + text;
}
