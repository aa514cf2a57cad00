// The small windows over the live part: a note, the limits for alerts, the list of keys.

export const KEYS = [
  ["Space", "pause and go on"],
  ["m", "mark this moment"],
  ["n", "write a note on this moment"],
  ["a", "set limits for alerts"],
  ["z", "show 30 s, 1 min, 10 min"],
  ["s", "smooth the curve: not, by 1 s, by 3 s"],
  ["b", "take 10 s of the resting face and voice to compare with"],
  ["v", "one participant, the next, side by side"],
  ["p", "large type for a projector; Esc leaves it"],
  ["?", "this list"],
  ["Tab, Enter", "reach and press everything else: source, start, stop, pages"],
];

export class Dialogs {
  // `root` holds the dialogs; `say` gets what was entered: note(text, at), limits(settings).
  constructor(root, { note, limits }) {
    this.root = root;
    this.part("keys").querySelector("dl").replaceChildren(...KEYS.flatMap(([key, does]) => [text("dt", key), text("dd", does)]));
    for (const dialog of root.querySelectorAll("dialog")) {
      dialog.addEventListener("close", () => this.closed(dialog, { note, limits }));
      dialog.querySelector("[data-cancel]")?.addEventListener("click", () => dialog.close(""));
    }
  }

  part(name) {
    return this.root.querySelector(`[data-testid="dialog-${name}"]`);
  }

  get open() {
    return Boolean(this.root.querySelector("dialog[open]"));
  }

  keys() {
    this.part("keys").showModal();
  }

  note(at) {
    this.at = at;
    const dialog = this.part("note");
    dialog.querySelector("input").value = "";
    dialog.showModal();
  }

  limits({ below, above, for_s, sound }) {
    const dialog = this.part("alerts");
    const fields = dialog.querySelector("form").elements;
    fields.below.value = below ?? "";
    fields.above.value = above ?? "";
    fields.for_s.value = for_s;
    fields.sound.checked = sound;
    dialog.showModal();
  }

  closed(dialog, { note, limits }) {
    if (dialog.returnValue !== "save") return;
    dialog.returnValue = "";
    const fields = dialog.querySelector("form").elements;
    if (dialog === this.part("note")) note(fields.text.value.trim(), this.at);
    else limits({ below: number(fields.below), above: number(fields.above), for_s: number(fields.for_s) ?? 3, sound: fields.sound.checked });
  }
}

function number(field) {
  return field.value === "" || Number.isNaN(field.valueAsNumber) ? null : field.valueAsNumber;
}

function text(kind, words) {
  const element = document.createElement(kind);
  element.textContent = words;
  return element;
}
