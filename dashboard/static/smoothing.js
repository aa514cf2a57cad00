// A calmer curve for a stated price: smoothing whose strength is the lag that it adds.
// The same as dashboard/smoothing.py, which says how and why.

export const MAX_LAG_S = 5.0;
const MIN_WIDTH = 0.2;
const NAMES = ["sentiment", "low", "high", "shared"];
const MODALITIES = ["text", "voice", "face"];

// points: prediction lines of one participant in the order of seq; lag_s: 0 (off) to MAX_LAG_S.
// Gives as many entries, null where a point has no score:
// {sentiment, low, high, shared, contribution: {text, voice, face}, lag_ms}.
export function smooth(points, lag_s) {
  const out = [];
  let mean = null;
  let last = null;
  for (const point of points) {
    if (point.sentiment === null) {
      out.push(null);
      last = null;
      continue;
    }
    if (last === null || point.seq !== last.seq + 1) {
      mean = { weight: 0, age_s: 0, values: null };
      last = point;
    }
    take(mean, point, Math.max(0, point.end_s - last.end_s), lag_s);
    out.push(smoothed(mean));
    last = point;
  }
  return out;
}

function take(mean, point, passed_s, lag_s) {
  const values = [
    ...NAMES.map((name) => point[name] ?? 0),
    ...MODALITIES.map((name) => (point.contribution ?? {})[name] ?? 0),
  ];
  const weight = Math.max(MIN_WIDTH, point.high - point.low) ** -2;
  const older_s = mean.age_s + passed_s;
  let kept = mean.weight;
  if (kept && older_s > lag_s) kept = Math.min(kept, (weight * lag_s) / (older_s - lag_s));
  const share = weight / (kept + weight);
  const before = mean.values ?? values;
  mean.values = values.map((b, i) => {
    const a = before[i];
    return Math.min(Math.max(b - (1 - share) * (b - a), Math.min(a, b)), Math.max(a, b));
  });
  mean.age_s = kept ? (1 - share) * older_s : 0;
  mean.weight = kept + weight;
}

function smoothed(mean) {
  const [sentiment, low, high, shared, text, voice, face] = mean.values;
  return { sentiment, low, high, shared, contribution: { text, voice, face }, lag_ms: 1000 * mean.age_s };
}
