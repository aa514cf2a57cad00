// Kept sessions: one or two over their whole length, to zoom, pan, and jump to a word's moment.

import { Palette } from "./palette.js";
import { ReviewTrack } from "./review_track.js";

export class Review {
  constructor(root) {
    this.root = root;
    this.palette = new Palette(root);
    this.tracks = [];
    this.wanted = "";
    this.abort = new AbortController();
    this.listen(this.abort.signal);
    this.frame = requestAnimationFrame(() => this.tick());
    window.tonalityReview = this;
  }

  part(name) {
    return this.root.querySelector(`[data-testid="${name}"]`);
  }

  listen(signal) {
    for (const button of this.root.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => this.each((track) => track.zoom(button.dataset.span === "all" ? track.length : Number(button.dataset.span))), { signal });
    }
    for (const button of this.root.querySelectorAll("[data-move]")) {
      button.addEventListener("click", () => this.each((track) => track.pan(Number(button.dataset.move) * track.span * 0.5)), { signal });
    }
    this.root.querySelector(".find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(this.part("find").value.trim());
    }, { signal });
  }

  each(act) {
    for (const track of this.tracks) act(track);
  }

  // The sessions that are to be shown.
  async update(data) {
    const sessions = data?.sessions ?? [];
    const wanted = sessions.join("\n");
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.say("Reading …");
    try {
      const read = await Promise.all(sessions.map(kept));
      if (wanted === this.wanted && !this.abort.signal.aborted) this.show(read);
    } catch (error) {
      if (wanted === this.wanted) this.say(`This session cannot be shown: ${error.message}`);
    }
  }

  say(text) {
    this.part("note").textContent = text;
  }

  show(sessions) {
    this.each((track) => track.close());
    const parent = this.part("tracks");
    parent.className = sessions.length > 1 ? "two" : "";
    this.tracks = sessions.map((session) => new ReviewTrack(parent, session, this.palette, (from, act) => this.follow(from, act)));
    this.root.querySelector(".bar").hidden = !sessions.length;
    this.root.querySelector(".together").hidden = sessions.length < 2;
    const empty = sessions.every((session) => !session.participants.some((one) => one.points.length));
    this.say(empty ? "Nothing was scored in this session yet: the first score comes some seconds after the start." : "");
    this.found = 0;
  }

  // What one curve does, the other does too, if wanted.
  follow(from, act) {
    if (this.part("together").checked) for (const track of this.tracks) if (track !== from) act(track);
  }

  // The next place where a word is said, in any of the sessions shown.
  find(text) {
    if (!text) return;
    const places = this.tracks.flatMap((track) => track.places(text).map((index) => [track, index]));
    if (text !== this.sought) this.found = 0;
    this.sought = text;
    if (!places.length) {
      this.part("found").textContent = "not said";
      return;
    }
    const [track, index] = places[this.found % places.length];
    this.part("found").textContent = `${(this.found % places.length) + 1} of ${places.length}`;
    this.found += 1;
    track.jump(index);
  }

  tick() {
    this.frame = requestAnimationFrame(() => this.tick());
    this.palette.read();
    this.each((track) => track.draw());
    for (const button of this.root.querySelectorAll("[data-span]")) {
      const spanned = (track) => Math.abs(track.span - (button.dataset.span === "all" ? track.length : Number(button.dataset.span))) < 1;
      const pressed = String(this.tracks.length > 0 && this.tracks.every(spanned));
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    }
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.abort.abort();
    this.each((track) => track.close());
  }
}

async function kept(session) {
  const answer = await fetch(new URL(`kept/${encodeURIComponent(session)}`, document.baseURI));
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail ?? answer.statusText);
  return told;
}
