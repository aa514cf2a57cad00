// Expressions and head pose in words, for the preview.

const LEAST = 0.25; // weaker ones are noise of the landmarks
const MOST = 3;
const TURNED_DEG = 8;
const WORDS = {
  mouthSmile: "smile", mouthFrown: "frown", browInnerUp: "inner brows up", browDown: "brows down", browOuterUp: "brows up",
  jawOpen: "jaw open", eyeBlink: "eyes closed", eyeSquint: "eyes narrowed", eyeWide: "eyes wide", mouthPucker: "lips pursed",
  mouthPress: "lips pressed", mouthFunnel: "lips rounded", mouthShrugLower: "chin raised", mouthShrugUpper: "upper lip raised",
  eyeLookDown: "looks down", eyeLookUp: "looks up", mouthStretch: "mouth stretched", mouthLowerDown: "lower lip down",
  mouthUpperUp: "upper lip up", cheekSquint: "cheeks raised", noseSneer: "nose wrinkled", mouthRollLower: "lower lip rolled in",
};

// The strongest expressions as [name, strength in 0..1], left and right as one.
export function expressionsOf(picture) {
  const found = new Map();
  for (const [name, value] of Object.entries(picture.expressions)) {
    if (value < LEAST) continue;
    const stem = name.replace(/(Left|Right)$/, "");
    const said = WORDS[stem] ?? stem.replace(/([A-Z])/g, " $1").toLowerCase();
    found.set(said, Math.max(found.get(said) ?? 0, value));
  }
  return [...found].slice(0, MOST);
}

// Where the head points, as seen in the picture; empty when straight ahead. Degrees in steps of five.
export function poseOf(picture) {
  const [pitch, yaw, roll] = picture.pose_deg ?? [];
  if (pitch === undefined) return "";
  const said = [
    [yaw, "right", "left"],
    [pitch, "down", "up"],
    [roll, "tilted left", "tilted right"],
  ]
    .filter(([angle]) => Math.abs(angle) >= TURNED_DEG)
    .map(([angle, more, less]) => `${angle > 0 ? more : less} ${Math.round(Math.abs(angle) / 5) * 5}°`);
  return said.length ? `head ${said.join(", ")}` : "";
}

// The head's axes in the picture: right, up, forward, each [x, y] with y downwards.
export function axes([pitch, yaw, roll]) {
  const [p, y, r] = [pitch, yaw, roll].map((angle) => (angle * Math.PI) / 180);
  const turned = ([a, b, c]) => {
    const [x1, y1] = [a * Math.cos(r) - b * Math.sin(r), a * Math.sin(r) + b * Math.cos(r)];
    const [y2, z2] = [y1 * Math.cos(p) - c * Math.sin(p), y1 * Math.sin(p) + c * Math.cos(p)];
    return [x1 * Math.cos(y) + z2 * Math.sin(y), -y2];
  };
  return [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(turned);
}
