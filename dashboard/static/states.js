// Which state the page is in, in plain words, and what to do next.

import { MODALITIES } from "./store.js";

const SILENT_MS = 3500; // a worker beats once a second
// A window comes every 0.5 s: late on a slow machine, but as often. Words only revise older ones.
const OLD_MS = 3000;
const TOLD_MS = 6000; // a worker that died is told of for at least so long, however soon it is back
const AGAIN = ["starting", "running", "paused"]; // what it may be then

export function conditions(store, session, participant, strip, linked, data, now) {
  const capture = captured(store, session, participant);
  const trouble = store.workers.filter((worker) => worker.role !== "capture" || (worker.session === session && worker.participant === participant));
  const silent = capture?.state === "running" && now - capture.at > SILENT_MS;
  const name = stateName(capture, strip, linked, data);
  const watched = name === "running" && !silent && strip?.last != null && !strip.waits;
  return {
    name,
    watched, // what is seen and heard is of now
    fresh: watched && now - strip.renewed <= OLD_MS, // and so is the score
    ...banner(name, capture, silent, strip, trouble, linked, now),
    hint: hint(name, strip, capture, store.workers),
    lamps: lamps(name, capture, silent, strip),
    workers: workersLine(store.workers),
  };
}

// The session's capture worker: what the supervisor knows of it, and its own last heartbeat.
function captured(store, session, participant) {
  const worker = store.workers.find((one) => one.role === "capture" && one.session === session && one.participant === participant);
  if (!worker) return null;
  const status = store.capture(session, participant);
  return { ...worker, at: status?.at ?? Infinity, lamps: status?.lamps, detail: worker.detail || status?.detail || "" };
}

function stateName(capture, strip, linked, data) {
  if (!linked) return "offline";
  if (!capture) {
    if (["starting", "running"].includes(data.state)) return "starting"; // the feed has not said it yet
    return strip ? "stopped" : "none";
  }
  if (capture.paused && ["starting", "restarting"].includes(capture.state)) return "paused"; // it died while paused
  if (capture.state === "running" && (!strip?.last || strip.waits)) return "starting";
  return capture.state;
}

function banner(name, capture, silent, strip, trouble, linked, now) {
  if (!linked) return { banner: "The server does not answer. If it was ended, start it again: the page comes back by itself.", bad: true };
  const server = trouble.find((worker) => worker.role === "server");
  if (server) return { banner: `A part of the server has ended: ${server.detail}`, bad: true };
  const network = trouble.find((worker) => worker.role === "inference" && worker.state === "failed");
  if (network) return { banner: `The inference worker does not run: ${network.detail} — mend it, then start the server again.`, bad: true };
  if (name === "failed") return { banner: `${capture.detail} — mend it, then press Start.`, bad: true };
  const died = trouble.find((worker) => worker.state === "restarting" || (AGAIN.includes(worker.state) && now - worker.died < TOLD_MS));
  if (died) return { banner: fall(died), bad: false };
  const failed = trouble.find((worker) => worker.state === "failed");
  if (failed) return { banner: `The ${people(failed)} does not run: ${failed.detail}`, bad: true };
  if (name === "ended") return { banner: `The source is over. Start it again, or choose another one ${where()}.`, bad: false };
  if (name === "stopped") return { banner: "Stopped. The curve stays until the next start.", bad: false };
  const inference = trouble.find((worker) => worker.role === "inference");
  if (inference?.state === "fetching") return { banner: `Once only: ${inference.detail}.`, bad: false };
  if (silent && name === "running") return { banner: `Nothing heard from the capture worker for more than ${seconds(now - capture.at)} s.`, bad: false };
  const missed = name === "running" ? now - Math.max(strip.renewed, capture.since) : 0; // none was due during a pause
  if (missed > OLD_MS) return { banner: `No new score for ${seconds(missed)} s.`, bad: false };
  if (name === "running" && inference?.detail.includes("untrained")) return { banner: "The network is untrained: the scores below mean nothing yet.", bad: false };
  return { banner: "", bad: false };
}

function fall(worker) {
  const back = worker.state === "running";
  const why = worker.failure ? `: ${worker.failure}` : "";
  return `The ${people(worker)} stopped and ${back ? "was" : "is being"} restarted${why}. The curve goes on${back ? "" : " when it is back"}.`;
}

function hint(name, strip, capture, workers) {
  if (name === "none") return `Nothing is running.\nChoose a source ${where()}, say what it is for, and press Start.`;
  if (name === "starting") {
    const network = workers.find((worker) => worker.role === "inference" && worker.state === "starting");
    const doing = capture?.state === "starting" ? capture.detail : network ? "loading the network" : "waiting for the first window";
    return `Starting${strip?.waits ? " again" : ""}: ${doing || "the workers load their models"} …\n${strip?.waits ? "The curve goes on" : "The first score comes"} a few seconds after the first picture.`;
  }
  if (name === "paused") return "Paused: nothing is seen or heard.\nPress Resume or the space bar to go on.";
  const empty = !strip?.points?.length;
  if (name === "ended" && empty) return `The source is over, and gave no window to score.\nChoose another one ${where()} and press Start.`;
  if (name === "failed" && empty) return "Nothing is running.\nDo what the message above says.";
  if (name === "stopped" && empty) return `Stopped.\nChoose a source ${where()} and press Start.`;
  return "";
}

// Where the choices are: narrow screens keep them folded away.
function where() {
  return window.innerWidth < 768 ? "behind » at the top left" : "on the left";
}

function lamps(name, capture, silent, strip) {
  const last = strip?.last;
  const all = {};
  for (const modality of MODALITIES) {
    const told = capture?.lamps?.[modality];
    if (name === "offline") all[modality] = { state: "stale", why: "the server does not answer" };
    else if (name === "starting" && !told) all[modality] = { state: "waiting", why: "" };
    else if (!["running", "paused", "starting"].includes(name)) all[modality] = { state: "off", why: "" };
    else if (name === "paused") all[modality] = { state: "off", why: "paused" };
    else if (silent) all[modality] = { state: "stale", why: "the capture worker is silent" };
    else if (told) all[modality] = { state: told.state, why: told.why };
    else all[modality] = { state: last?.present?.[modality] ? "present" : "missing", why: "" };
  }
  return all;
}

function people(worker) {
  return worker.role === "server" ? "server" : `${worker.role} worker`;
}

// In steps, because the banner is read out each time that it changes.
function seconds(ms) {
  return Math.max(3, Math.floor(ms / 5000) * 5);
}

function workersLine(workers) {
  if (!workers.length) return "";
  const restarts = workers.reduce((sum, worker) => sum + (worker.restarts ?? 0), 0);
  const odd = workers.filter((worker) => !["running", "ended", "stopped"].includes(worker.state)).map((worker) => `${people(worker)} ${worker.state}`);
  const inference = workers.find((worker) => worker.role === "inference" && worker.state === "running");
  const running = workers.filter((worker) => worker.state === "running").length;
  return `${odd.length ? odd.join(", ") : `${running} worker${running === 1 ? "" : "s"} running`}${inference?.detail && inference.detail !== "running" ? ` · ${inference.detail}` : ""}${restarts ? ` · ${restarts} restart${restarts > 1 ? "s" : ""}` : ""}`;
}

// Everything that was left out on the way, by name.
export function dropped(store, session) {
  const named = { "this page": store.dropped };
  for (const status of store.statuses.values()) {
    if (status.role === "capture" && status.session !== session) continue;
    for (const [name, count] of Object.entries(status.losses)) named[`${status.worker}: ${name}`] = count;
  }
  const entries = Object.entries(named).filter(([, count]) => count);
  return { total: entries.reduce((sum, [, count]) => sum + count, 0), named: entries.map(([name, count]) => `${name} ${count}`).join(", ") };
}
