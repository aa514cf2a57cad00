// Words as people read them: in phrases, each a small block of lines from left to right.

const PAUSE_S = 0.35; // a longer silence ends a phrase, as does the end of a sentence
const LONGEST_S = 3; // of a phrase without a pause, where there is room for blocks as narrow as this

// Marks the words that open a phrase. A mark stays as long as the scale does, whatever is forgotten
// before the word, so that nothing jumps while it scrolls. `least` and `full` are the seconds that a
// block needs at least, and those at which it is full.
export function mark(words, least, full) {
  const scale = `${least} ${full}`;
  let opened = -Infinity;
  let before = null;
  for (const word of words) {
    if (word.scale !== scale) {
      const since = word.start - opened;
      word.opens = since >= Math.max(full, LONGEST_S) || (since >= least && pauses(before, word));
      word.scale = scale;
    }
    if (word.opens) opened = word.start;
    before = word;
  }
}

function pauses(before, word) {
  return before !== null && (word.start - before.end > PAUSE_S || /[.?!]$/.test(before.text));
}

// The phrases, oldest first, from the one on that is spoken at `from`; each a list of marked words.
export function phrases(words, from) {
  const found = [];
  let phrase = [];
  for (let i = words.length - 1; i >= 0; i -= 1) {
    phrase.push(words[i]);
    if (!words[i].opens && i > 0) continue;
    found.push(phrase.reverse());
    phrase = [];
    if (words[i].start < from) break;
  }
  return found.reverse();
}

// Lines no wider than `width`: where each word stands, and whether all found room in `rows` lines.
// `measure(text, word)` gives pixels.
export function wrap(words, width, rows, measure, space) {
  const placed = [];
  let x = 0;
  let row = 0;
  for (const word of words) {
    const text = shortened(word.text, word, width, measure);
    const wide = measure(text, word);
    if (x > 0 && x + wide > width) {
      row += 1;
      x = 0;
    }
    if (row === rows) {
      const fits = ({ text, x, word }) => x === 0 || x + measure(`${text}…`, word) <= width;
      while (!fits(placed[placed.length - 1])) placed.pop();
      const last = placed[placed.length - 1];
      last.text = shortened(`${last.text}…`, last.word, width, measure);
      return { placed, whole: false };
    }
    placed.push({ word, text, x, row });
    x += wide + space;
  }
  return { placed, whole: true };
}

function shortened(text, word, width, measure) {
  if (measure(text, word) <= width) return text;
  let letters = [...text.replace(/…$/, "")];
  while (letters.length > 1 && measure(`${letters.join("")}…`, word) > width) letters = letters.slice(0, -1);
  return `${letters.join("")}…`;
}
