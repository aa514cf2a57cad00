// A fixed number of the newest values, for measuring.

const SAMPLES = 3600; // a minute of frames

export class Ring {
  constructor(size = SAMPLES) {
    this.values = new Float32Array(size);
    this.count = 0;
  }

  add(value) {
    this.values[this.count % this.values.length] = value;
    this.count += 1;
  }

  clear() {
    this.count = 0;
  }

  quantile(q) {
    const sorted = this.values.slice(0, Math.min(this.count, this.values.length)).sort();
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : 0;
  }
}
