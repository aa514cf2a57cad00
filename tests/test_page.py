"""The page in a real headless Chromium, over the real server, with scripted workers behind it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import (
    DEADLINE_MS,
    ROOT,
    PageServer,
    counters,
    eventually,
    open_page,
    wait_counter,
    wait_state,
)

expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    server = PageServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, server: PageServer) -> Iterator[Page]:
    page = open_page(context, server.url)
    yield page
    assert page.errors == []  # type: ignore[attr-defined]
    state = page.evaluate("() => window.tonality.live.root.dataset.state")
    if state in ("starting", "running", "paused"):
        page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").click()
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()


def choose_purpose(page: Page) -> None:
    page.get_by_role("combobox", name="Purpose").click()
    page.get_by_role("option", name="Trying it out on myself").click()


def start_demo(page: Page) -> None:
    """Until the new session runs: the one before may seem to for a moment after its stop."""
    choose_purpose(page)
    before = page.evaluate("() => window.tonality.live.panel.session")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_function(
        "s => ![s, null].includes(window.tonality.live.panel.session)", arg=before
    )
    wait_state(page, "running")


def start_file(page: Page, path: Path) -> None:
    page.get_by_text("Video or sound file").click()
    page.get_by_label("or its path on this machine").fill(str(path))
    page.keyboard.press("Enter")
    choose_purpose(page)
    page.get_by_role("button", name="Start", exact=True).click()


def painted(page: Page, name: str) -> dict[str, Any]:
    """Sum of a canvas's pixels and how many of them have a colour (not grey)."""
    script = """
    name => {
      const canvas = window.tonality.live.part(name);
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let sum = 0, coloured = 0;
      for (let i = 0; i < data.length; i += 4) {
        sum = (sum * 31 + data[i] + 3 * data[i + 1] + 7 * data[i + 2] + data[i + 3]) % 1000000007;
        const spread = Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]);
        if (spread > 60 && data[i + 3] > 128) coloured += 1;
      }
      return { sum, coloured };
    }
    """
    return dict(page.evaluate(script, name))


def test_with_nothing_running_the_page_says_what_to_do(page: Page) -> None:
    wait_state(page, "none")
    expect(page.get_by_test_id("hint")).to_contain_text("press Start")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    expect(page.get_by_text("Say what it is for, then press Start")).to_be_visible()
    expect(page.get_by_text("Tell everyone who can be seen or heard")).to_be_visible()
    choose_purpose(page)
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    assert page.outside == []  # type: ignore[attr-defined]


def test_the_demo_from_start_to_stop(page: Page, server: PageServer) -> None:
    start_demo(page)
    expect(page.get_by_text("Monitoring is on")).to_be_visible()
    expect(page.get_by_text("Purpose: Trying it out on myself")).to_be_visible()
    wait_counter(page, "points", 8)
    wait_counter(page, "previews", 5)
    expect(page.get_by_test_id("score")).to_contain_text(".")
    expect(page.get_by_test_id("words")).to_contain_text("must say")
    expect(page.get_by_test_id("lag")).to_contain_text("0.28 s")
    # a busy machine lets the page drop pictures besides, which are counted with these
    expect(page.get_by_test_id("dropped")).to_have_attribute(
        "title", re.compile(r"pictures skipped 3\b")
    )
    for lamp in ("text", "voice", "face"):
        expect(page.get_by_test_id(f"lamp-{lamp}")).to_have_attribute("data-state", "present")
    assert painted(page, "curve")["coloured"] > 500
    assert painted(page, "preview")["coloured"] > 500
    runs = counters(page)["runs"]
    before = painted(page, "curve")["sum"], counters(page)
    wait_counter(page, "points", before[1]["points"] + 4)
    assert painted(page, "curve")["sum"] != before[0]
    after = counters(page)
    assert after["runs"] == runs  # the script is at rest
    assert after["drawn"] - before[1]["drawn"] > 10
    page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").click()
    wait_state(page, "stopped")
    expect(page.get_by_test_id("banner")).to_contain_text("Stopped")
    eventually(lambda: server.workers() == [])
    assert page.outside == []  # type: ignore[attr-defined]


def phrases_of(page: Page) -> list[dict[str, Any]]:
    """The phrases under the curve as they are drawn, in pixels."""
    script = """
    () => {
      const { curve } = window.tonality.live;
      return [...curve.blocks.values()].map((block) => ({
        left: curve.x(block[0].word.start),
        right: curve.x(block[0].word.start) + Math.max(...block.map((one) => one.x + curve.measure(one.text, one.word, curve.letters().size))),
        words: block.map((one) => [one.row, one.x, one.word.start, one.text, one.word.text]),
      }));
    }
    """
    return list(page.evaluate(script))


def test_words_under_the_curve_are_read_from_left_to_right_in_phrases(page: Page) -> None:
    start_demo(page)
    wait_counter(page, "points", 12)
    phrases = phrases_of(page)
    assert len(phrases) >= 2
    assert any(word[0] > 0 for phrase in phrases for word in phrase["words"])  # lines are wrapped
    for phrase in phrases:
        times = [start for _, _, start, _, _ in phrase["words"]]
        assert times == sorted(times)
        places = [(row, x) for row, x, _, _, _ in phrase["words"]]
        assert places == sorted(places) and places[0] == (0, 0)
        assert max(row for row, _ in places) < 6
    for one, following in pairwise(phrases):
        assert one["right"] < following["left"]
        assert one["words"][-1][2] < following["words"][0][2]
    spoken = " ".join(text for phrase in phrases for *_, text in phrase["words"])
    assert "this turned out far better than we had hoped" in spoken
    page.get_by_role("button", name="10 min").click()
    page.wait_for_function("() => window.tonality.live.curve.blocks.size === 0")
    assert painted(page, "curve")["coloured"] > 100
    page.get_by_role("button", name="1 min").click()
    page.wait_for_function("() => window.tonality.live.curve.blocks.size > 0")


def test_phrases_end_at_pauses_and_stay_when_what_came_before_is_forgotten(page: Page) -> None:
    script = """
    async () => {
      const { mark, phrases, wrap } = await import("/assets/phrases.js");
      const words = [];
      let time = 0;
      "the first one. is long then a pause comes and goes on for ever without any other end".split(" ").forEach((text, i) => {
        time += i === 7 ? 0.9 : 0.05;
        words.push({ text, start: time, end: (time += 0.4) });
      });
      const told = (list) => phrases(list, -1).map((phrase) => phrase.map((word) => word.text).join(" "));
      mark(words, 1.2, 2);
      const before = told(words);
      const kept = words.slice(5);
      mark(kept, 1.2, 2);
      const measure = (text) => text.length * 7;
      return {
        before,
        after: told(kept),
        late: phrases(words, words[10].start).length,
        fits: wrap(words.slice(0, 3), 60, 2, measure, 4),
        cut: wrap(words, 60, 2, measure, 4),
        dropped: wrap(words, 60, 1, measure, 4),
        wide: wrap([{ text: "internationalisation" }], 60, 2, measure, 4),
      };
    }
    """
    told = page.evaluate(script)
    spoken = ["the first one.", "is long then a", "pause comes and goes on for ever"]
    assert told["before"] == [*spoken, "without any other end"]
    assert told["after"] == ["then a", spoken[2], "without any other end"]
    assert told["late"] == 2

    def lines(wrapped: dict[str, Any]) -> list[tuple[int, int, str]]:
        return [(one["row"], one["x"], one["text"]) for one in wrapped["placed"]]

    assert lines(told["fits"]) == [(0, 0, "the"), (0, 25, "first"), (1, 0, "one.")]
    assert lines(told["cut"]) == [*lines(told["fits"]), (1, 32, "is…")]
    assert lines(told["dropped"]) == [(0, 0, "the…")]
    assert lines(told["wide"]) == [(0, 0, "interna…")]
    assert [told[name]["whole"] for name in ("fits", "cut", "wide")] == [True, False, True]


def test_space_pauses_and_goes_on(page: Page) -> None:
    start_demo(page)
    page.get_by_test_id("live").focus()
    page.keyboard.press(" ")
    wait_state(page, "paused")
    expect(page.get_by_test_id("hint")).to_contain_text("space bar")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_test_id("score")).to_have_text("–")
    page.get_by_test_id("live").focus()
    page.keyboard.press(" ")
    wait_state(page, "running")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_two_tabs_share_one_session(
    page: Page, context: BrowserContext, server: PageServer
) -> None:
    start_demo(page)
    pids = {worker["pid"] for worker in server.health()["workers"]}
    second = open_page(context, server.url)
    wait_state(second, "running")
    wait_counter(second, "points", 4)
    expect(second.get_by_test_id("stSidebar").get_by_role("button", name="Stop")).to_be_visible()
    assert {worker["pid"] for worker in server.health()["workers"]} == pids
    assert len(server.family()) == len(pids) == 2
    second.close()


BANNERS = """
() => {
  window.banners = [];
  const banner = window.tonality.live.part("banner");
  const note = () => window.banners.push(banner.textContent);
  new MutationObserver(note).observe(banner, { childList: true, characterData: true, subtree: true });
}
"""


HOLES = """
() => {
  const { points } = window.tonality.live.strip;
  return points.filter((point, i) => i > 0 && point.seq > points[i - 1].seq + 1).length;
}
"""


def test_a_worker_that_dies_is_said_and_comes_back(page: Page, server: PageServer) -> None:
    start_demo(page)
    wait_counter(page, "points", 3)
    (worker,) = server.workers()
    before = counters(page)["points"]
    page.evaluate(BANNERS)  # it stands for a few seconds, and may be gone when it is looked for
    os.kill(worker["pid"], signal.SIGKILL)
    page.wait_for_function("() => window.banners.some((one) => one.includes('restarted: killed'))")
    eventually(lambda: server.workers()[0]["state"] == "running")
    assert "killed from outside" in server.workers()[0]["failure"]  # also when it is back
    page.wait_for_function("n => window.tonality.live.strip.points.length > n", arg=before)
    wait_state(page, "running")
    expect(page.get_by_test_id("banner")).to_be_hidden()
    assert page.evaluate(HOLES) == 1  # the curve goes on, with a gap
    expect(page.get_by_test_id("workers")).to_contain_text("1 restart")


def test_a_score_that_no_other_follows_is_not_shown_as_current(
    page: Page, context: BrowserContext, server: PageServer, tmp_path: Path
) -> None:
    """As where the inference worker hangs: what is seen and heard goes on, and nothing is scored."""
    page.evaluate("() => window.tonality.live.alerts.set({ above: -3, for_s: 1 })")
    path = tmp_path / "unscored.mp4"
    path.write_bytes(b"")
    start_file(page, path)
    wait_state(page, "running")
    expect(page.get_by_test_id("score")).to_have_text(re.compile(r"\d"))
    expect(page.get_by_test_id("alert")).to_be_visible()
    expect(page.get_by_test_id("banner")).to_have_text("No new score for 5 s.")
    shown = {"score": "–", "wording": "", "interval": "", "parts": "", "lag": "–", "summary": ""}
    for name, text in shown.items():
        expect(page.get_by_test_id(name)).to_have_text(text)
    expect(page.get_by_test_id("alert")).to_be_hidden()
    expect(page.get_by_test_id("lamp-face")).to_have_attribute("data-state", "present")
    expect(page.get_by_test_id("pose")).not_to_be_empty()  # the picture itself is of now
    wait_state(page, "running")

    second = open_page(context, server.url)  # which hears how old the newest score is
    expect(second.get_by_test_id("banner")).to_contain_text("No new score for")
    age = "() => performance.now() - window.tonality.live.strip.renewed"
    assert second.evaluate(age) == pytest.approx(page.evaluate(age), abs=1500)
    second.close()


# From within a frame: the next one may be drawn before what came meanwhile is taken in.
BLOCK = """
() => new Promise((done) => requestAnimationFrame(() => {
  const until = performance.now() + 4500;
  while (performance.now() < until);
  done();
}))
"""
LATE = """
() => {
  const { live } = window.tonality;
  const take = live.take.bind(live);
  live.take = (message) => (message.type === "prediction" ? void setTimeout(take, 1500, message) : take(message));
}
"""


def test_a_busy_page_late_scores_and_a_pause_are_not_taken_for_missing_scores(page: Page) -> None:
    start_demo(page)
    wait_counter(page, "points", 3)
    page.evaluate(BANNERS)
    page.evaluate(BLOCK)
    wait_counter(page, "points", counters(page)["points"] + 4)
    page.evaluate(LATE)
    wait_counter(page, "points", counters(page)["points"] + 8)
    expect(page.get_by_test_id("score")).to_have_text(re.compile(r"\d"))
    page.keyboard.press(" ")
    wait_state(page, "paused")
    page.wait_for_timeout(4000)
    points = counters(page)["points"]
    page.keyboard.press(" ")
    wait_state(page, "running")
    wait_counter(page, "points", points + 4)
    expect(page.get_by_test_id("score")).to_have_text(re.compile(r"\d"))
    assert page.evaluate("() => window.banners.filter(Boolean)") == []


def test_a_source_that_fails_says_why_in_one_line(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"")
    start_file(page, path)
    wait_state(page, "failed")
    expect(page.get_by_test_id("banner")).to_contain_text("no such camera")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()


def test_a_path_that_is_not_there_is_said_before_the_start(page: Page, tmp_path: Path) -> None:
    page.get_by_text("Video or sound file").click()
    page.get_by_label("or its path on this machine").fill(str(tmp_path / "nothing.mp4"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is no file")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()


def test_a_file_that_ends_says_so_and_can_be_started_again(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    path.write_bytes(b"")
    start_file(page, path)
    wait_state(page, "ended")
    expect(page.get_by_test_id("banner")).to_contain_text("source is over")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
    assert counters(page)["points"] == 12


def test_an_uploaded_file_is_played(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    path.write_bytes(b"media")
    page.get_by_text("Video or sound file").click()
    page.locator("input[type=file]").set_input_files(path)
    choose_purpose(page)
    page.get_by_role("button", name="Start", exact=True).click()
    wait_state(page, "running")
    expect(page.get_by_text("Source: short.mp4")).to_be_visible()
    wait_state(page, "ended")


def test_what_is_not_seen_is_said(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "faceless.mp4"
    path.write_bytes(b"")
    start_file(page, path)
    wait_state(page, "running")
    lamp = page.get_by_test_id("lamp-face")
    expect(lamp).to_have_attribute("data-state", "missing")
    expect(lamp).to_contain_text("no face")
    expect(page.get_by_test_id("quality")).to_have_text("no face")


def test_more_than_ten_minutes_stay_within_bounds(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "fast.mp4"
    path.write_bytes(b"")
    start_file(page, path)
    page.wait_for_function("() => (window.tonality.live.strip?.newest ?? 0) > 610")
    page.get_by_role("button", name="10 min").click()
    page.wait_for_function("() => (window.tonality.live.strip?.newest ?? 0) > 660")
    kept = counters(page)
    assert kept["points"] <= 1201
    assert kept["words"] <= 1500
    assert kept["runs"] <= 12


def test_without_evidence_the_page_says_so(page: Page) -> None:
    start_demo(page)
    page.evaluate(
        """
        () => {
          const { live } = window.tonality;
          const last = { ...live.strip.last, seq: 1e6, end_s: live.strip.newest + 0.5, sentiment: null, low: null, high: null };
          live.store.take({ type: "prediction", ...last });
        }
        """
    )
    expect(page.get_by_test_id("wording")).to_have_text("no evidence")
    expect(page.get_by_test_id("interval")).to_have_text("nothing seen, heard or said")
    expect(page.get_by_test_id("score")).to_have_text("–")


def test_without_a_device_there_is_nothing_to_start(page: Page) -> None:
    page.get_by_text("Camera and microphone").click()
    expect(page.get_by_role("button", name="Look again")).to_be_visible()
    expect(page.get_by_role("combobox", name="Microphone")).to_be_visible()
    choose_purpose(page)
    page.get_by_role("combobox", name="Camera").click()
    page.get_by_role("option", name="none").click()
    page.get_by_role("combobox", name="Microphone").click()
    page.get_by_role("option", name="none").click()
    expect(page.get_by_text("Choose a source first")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    assert page.outside == []  # type: ignore[attr-defined]


def test_the_server_process_imports_nothing_heavy() -> None:
    code = (
        "import sys, dashboard.feed, dashboard.choices, dashboard.component, dashboard.runtime;"
        "print(*{'torch', 'mediapipe', 'faster_whisper', 'cv2', 'av'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_a_start_waits_for_the_network_and_says_why_it_cannot_be(
    context: BrowserContext, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = PageServer(tmp_path, TONALITY_DEMO="1", TONALITY_TEST_GATE=str(gate))
    try:
        page = open_page(context, server.url)
        wait_state(page, "starting")
        expect(page.get_by_test_id("hint")).to_contain_text("Starting: loading the network")
        expect(page.get_by_text("About to start")).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).to_be_disabled()
        assert len(server.family()) == 1  # nothing is captured yet
        gate.write_text("refuse")
        wait_state(page, "failed")
        banner = page.get_by_test_id("banner")
        expect(banner).to_contain_text("The inference worker does not run")
        expect(banner).to_contain_text("the checkpoint is broken: train it again")
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
        assert page.errors == []  # type: ignore[attr-defined]
    finally:
        server.close()


WINDOWS = """
() => {
  window.windows = [];
  const note = () => document.querySelectorAll("[role=dialog] [slot=title]").forEach((one) => window.windows.push(one.textContent));
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true });
}
"""


def test_a_server_that_goes_away_is_said_and_leaves_no_process(
    context: BrowserContext, tmp_path: Path
) -> None:
    server = PageServer(tmp_path, TONALITY_DEMO="1")
    page = open_page(context, server.url)
    wait_state(page, "running")
    family = server.family()
    assert len(family) == 2
    health = context.new_page()
    health.goto(f"{server.url}/workers")
    expect(health.get_by_test_id("verdict")).to_have_text("Everything runs.")
    for each in (page, health):
        each.evaluate(WINDOWS)
    server.close()
    wait_state(page, "offline")
    expect(page.get_by_test_id("banner")).to_contain_text("does not answer")
    expect(health.get_by_test_id("verdict")).to_contain_text("does not answer")
    for each in (page, health):
        each.bring_to_front()
        each.wait_for_function("() => window.windows.includes('Connection error')")
        expect(each.get_by_role("dialog")).to_have_count(0)  # ours says more, and is not covered
    health.close()
    assert not any(process.is_running() for process in family)
    assert server.process.returncode is not None
    assert not psutil.pid_exists(server.process.pid)
