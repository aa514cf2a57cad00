"""The page's further parts in a real Chromium: marks, alerts, participants, health, sessions, restart."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from dashboard.component import LOADER, STATIC
from dashboard.lines import KEYS
from tests.browser import (
    DEADLINE_MS,
    PageServer,
    counters,
    eventually,
    open_page,
    runs_at_rest,
    wait_counter,
    wait_state,
)
from tests.kept_pages import compare, keep, opened, reviewing
from tests.page_pictures import add_participant
from tests.test_page import choose_purpose, start_demo

expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[PageServer]:
    server = PageServer(tmp_path_factory.mktemp("server"), TONALITY_DATA=str(data))
    yield server
    server.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture(scope="module")
def page(context: BrowserContext, server: PageServer) -> Iterator[Page]:
    """One page for all: each test begins and leaves it on the live page, with nothing running."""
    page = open_page(context, server.url)
    yield page
    assert page.errors == []  # type: ignore[attr-defined]
    assert page.outside == []  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def clean(page: Page, server: PageServer) -> Iterator[None]:
    """Whatever a test left behind does not reach the next one."""
    yield
    if page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").is_visible():
        page.goto(server.url)
        page.wait_for_function("() => window.tonality?.counters.links > 0")
    if page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").is_visible():
        stop(page)


def stop(page: Page) -> None:
    page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()


def visit(page: Page, name: str) -> None:
    page.get_by_test_id("stTopNav").get_by_role("link", name=name).click()


def live(page: Page) -> None:
    visit(page, "Live")
    page.wait_for_function(
        "() => window.tonality.live.root.isConnected && window.tonality.live.linked"
    )


def limits(page: Page, below: str, above: str, for_s: str) -> None:
    page.keyboard.press("a")
    dialog = page.get_by_test_id("dialog-alerts")
    dialog.get_by_label("below").fill(below)
    dialog.get_by_label("or above").fill(above)
    dialog.get_by_label("for at least").fill(for_s)
    dialog.get_by_role("button", name="Keep").click()


def test_keys_marks_notes_alerts_and_large_type(page: Page) -> None:
    start_demo(page)
    wait_counter(page, "points", 6)
    runs = counters(page)["runs"]
    page.keyboard.press("m")
    page.wait_for_function("() => window.tonality.live.strip.marks.length === 1")
    page.keyboard.press("n")
    page.get_by_label("Note", exact=True).fill("laughs at mzn ?")
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.tonality.live.strip.marks.length === 2")
    marks = page.evaluate(
        "() => window.tonality.live.strip.marks.map((one) => [one.at_s, one.text])"
    )
    assert [text for _, text in marks] == ["", "laughs at mzn ?"]
    newest = page.evaluate("() => window.tonality.live.strip.newest")
    assert all(newest - 20 < at_s < newest + 3 for at_s, _ in marks)
    assert counters(page)["runs"] <= runs + 1  # at most the one that follows the start

    limits(page, "", "-3", "1")
    expect(page.get_by_test_id("alert")).to_have_text("Above −3.0 for 1 s or more")
    limits(page, "", "", "1")
    expect(page.get_by_test_id("alert")).to_be_hidden()

    page.keyboard.press("p")
    page.wait_for_function("() => window.tonality.live.root.matches(':popover-open')")
    size = "() => document.querySelector('[data-testid=stSidebar]').getBoundingClientRect().width"
    assert page.evaluate(size) > 0
    score = page.get_by_test_id("score").bounding_box()
    assert score is not None and score["height"] > 100  # readable from afar
    page.keyboard.press("Escape")
    page.wait_for_function("() => !window.tonality.live.root.matches('.projector')")
    page.keyboard.press("?")
    expect(page.get_by_text("mark this moment")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("mark this moment")).to_be_hidden()
    stop(page)


RINGS = "() => { window.rings = 0; window.tonality.live.alerts.ring = () => (window.rings += 1); }"
HISTORY = """
() => {
  const { strip } = window.tonality.live;
  const [first] = strip.points;
  for (let i = 1; i <= 1300; i += 1)
    strip.addPoint({ ...first, seq: first.seq - i, start_s: first.start_s - i / 2, end_s: first.end_s - i / 2 });
}
"""
REVISE = """
back => {
  const { strip } = window.tonality.live;
  strip.addPoint({ ...strip.points.at(-1 - back), revision: 9, sentiment: -3 });
}
"""


def test_an_alert_rings_once_however_long_it_stands(page: Page) -> None:
    start_demo(page)
    wait_counter(page, "points", 4)
    page.evaluate(RINGS)
    page.evaluate(HISTORY)  # ten minutes: each further window lets the oldest go
    oldest = "() => window.tonality.live.strip.points[0].seq"
    limits(page, "", "-3", "1")
    expect(page.get_by_test_id("alert")).to_have_text("Above −3.0 for 600 s or more")
    page.wait_for_function(f"before => ({oldest})() > before + 4", arg=page.evaluate(oldest))
    assert page.evaluate("() => window.rings") == 1

    page.evaluate(REVISE, 5)  # the run is shorter than was thought, and long enough
    page.wait_for_function("() => window.tonality.live.part('alert').textContent.includes(' 1 s')")
    page.evaluate(REVISE, 0)
    page.wait_for_function("() => window.tonality.live.part('alert').hidden")
    expect(page.get_by_test_id("alert")).to_be_visible()
    assert page.evaluate("() => window.rings") == 1
    limits(page, "", "-2.9", "1")  # what is asked for anew is told anew
    page.wait_for_function("() => window.rings === 2")
    limits(page, "", "", "1")
    stop(page)


def test_an_alert_rings_again_for_the_other_side_another_one_and_after_a_while(page: Page) -> None:
    script = """
    async () => {
      const { Alerts } = await import("/assets/alerts.js");
      const alerts = new Alerts();
      alerts.settings = { below: -1, above: 1, for_s: 2, sound: false };
      let rings = 0;
      alerts.ring = () => (rings += 1);
      return [
        ["me", null, 0], ["me", "below", 1], ["me", "below", 900], ["me", null, 901], ["me", "below", 905],
        ["me", "above", 906], ["Bo", "above", 907], ["me", "above", 908], ["me", null, 909], ["me", null, 913],
        ["me", "above", 915],
      ].map(([who, side, at_s]) => (alerts.heed("session", who, side, at_s * 1000), rings));
    }
    """
    assert page.evaluate(script) == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4]


def test_smoothing_says_the_lag_that_it_adds_and_parts_add_up(page: Page) -> None:
    start_demo(page)
    wait_counter(page, "points", 8)
    expect(page.get_by_test_id("lag")).to_have_text("0.28 s")
    page.get_by_label("Smoothing").select_option("smoothed, adds 3 s")
    expect(page.get_by_test_id("lag")).to_have_text(re.compile(r"^[1-3]\.\d\d s$"))
    told = page.evaluate(
        """() => {
          const { view, strip } = window.tonality.live.panel;
          return [view.points.length === strip.points.length, view.last.sentiment !== strip.last.sentiment];
        }"""
    )
    assert told == [True, True]
    text = page.get_by_test_id("parts").inner_text().replace("−", "-")
    parts, whole = text.split(" = ")
    figures = [float(part.split()[-1]) for part in parts.split(", ")]
    assert round(sum(figures), 2) == float(whole.split()[0])
    assert "in common" in parts
    page.get_by_label("Smoothing").select_option("not smoothed")
    stop(page)


def test_two_participants_stand_side_by_side(
    page: Page, server: PageServer, tmp_path: Path
) -> None:
    start_demo(page)
    add_participant(page, "Bo", tmp_path / "faceless.mp4")
    page.wait_for_function("() => window.tonality.live.panels.length === 2")
    both = "() => window.tonality.live.panels.every((panel) => panel.strip?.points.length > 2)"
    page.wait_for_function(both)
    first, second = page.get_by_test_id("curve").all()
    one, other = first.bounding_box(), second.bounding_box()
    assert one is not None and other is not None
    assert one["y"] == other["y"] and one["x"] + one["width"] <= other["x"]
    expect(page.get_by_test_id("who")).to_have_text(["me", "Bo"])
    expect(page.get_by_test_id("lamp-face").nth(1)).to_have_attribute("data-state", "missing")
    expect(page.get_by_test_id("lamp-face").nth(0)).to_have_attribute("data-state", "present")
    page.keyboard.press("m")
    script = "() => window.tonality.live.panels.every((panel) => panel.strip.marks.length === 1)"
    page.wait_for_function(script)
    page.keyboard.press("v")
    page.wait_for_function("() => window.tonality.live.panels.length === 1")
    assert len(server.workers()) == 2
    stop(page)
    eventually(lambda: server.workers() == [])


@pytest.mark.parametrize("lost", ["text", "voice", "face"])
def test_each_missing_modality_is_said(page: Page, tmp_path: Path, lost: str) -> None:
    names = {"text": "wordless", "voice": "voiceless", "face": "faceless"}
    start_source(page, tmp_path / f"{names[lost]}.mp4")
    wait_state(page, "running")
    for lamp in ("text", "voice", "face"):
        state = "missing" if lamp == lost else "present"
        expect(page.get_by_test_id(f"lamp-{lamp}")).to_have_attribute("data-state", state)
    expect(page.get_by_test_id("score")).to_have_text(re.compile(r"\d"))  # the others still say
    stop(page)


def start_source(page: Page, path: Path) -> None:
    path.touch()
    page.get_by_text("Video or sound file").click()
    page.get_by_label("or its path on this machine").fill(str(path))
    page.keyboard.press("Enter")
    choose_purpose(page)
    page.get_by_role("button", name="Start", exact=True).click()


def test_health_moves_without_the_script(page: Page) -> None:
    start_demo(page)
    visit(page, "Health")
    expect(page.get_by_test_id("verdict")).to_have_text("Everything runs.")
    expect(page.get_by_test_id("lags")).to_contain_text("282 ms")
    expect(page.get_by_test_id("losses")).to_contain_text("pictures skipped")
    expect(page.get_by_test_id("cards")).to_contain_text("pictures a second of me")
    expect(page.get_by_test_id("workers-table")).to_contain_text("inference")
    heard = "() => window.tonalityHealth.lags.get('total').ring.count"
    before = page.evaluate(heard)
    page.wait_for_function(f"before => ({heard})() > before + 2", arg=before)
    live(page)
    stop(page)


def test_the_script_runs_no_more_often_than_it_must(page: Page) -> None:
    start_demo(page)
    wait_counter(page, "points", 2)
    stop(page)
    wait_state(page, "stopped")
    runs = runs_at_rest(page)
    visit(page, "Health")
    live(page)
    wait_state(page, "stopped")
    frames = counters(page)["frames"]
    wait_counter(page, "frames", frames + 60)
    assert runs_at_rest(page) == runs + 2  # one for each page


def test_a_session_that_a_new_server_never_had_is_let_go(page: Page) -> None:
    start_demo(page)
    # The script's last word on the start, which would take back what follows.
    page.wait_for_function("() => window.tonality.live.data.state === 'running'")
    page.evaluate(
        "() => window.tonality.live.update({ session: 'of before', state: 'starting', runs: 1 })"
    )
    wait_state(page, "starting")
    links = counters(page)["links"]
    page.evaluate("() => window.tonality.live.feed.socket.close()")
    wait_counter(page, "links", links + 1)
    wait_state(page, "running")
    page.wait_for_function("() => window.tonality.live.data.session !== 'of before'")
    stop(page)


def test_the_end_of_an_overtaken_run_leaves_the_live_part_alone(page: Page) -> None:
    """Two runs at once: Streamlit ends the first one's call after it has made the second one's."""
    values = {"script": "live", "part": "Live"}
    html = (STATIC / "live.html").read_text(encoding="utf-8")
    page.evaluate(
        """async ([code, html]) => {
            const before = window.tonality;
            const { default: show } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
            const parentElement = document.body.appendChild(document.createElement("div"));
            parentElement.innerHTML = html;
            const call = (runs) => show({ parentElement, data: { session: null, state: "none", runs }, setTriggerValue() {}, setStateValue() {} });
            const [first, second] = [call(1), call(2)];
            first();
            while (window.tonality === before) await new Promise(requestAnimationFrame);
            window.overtaken = { parentElement, second, before };
        }""",
        [LOADER % values, html],
    )
    frames = counters(page)["frames"]
    wait_counter(page, "frames", frames + 5)
    assert counters(page)["runs"] == 2
    closed = """async () => {
        const { parentElement, second, before } = window.overtaken;
        parentElement.remove();
        second();
        const { frames } = window.tonality.counters;
        for (let i = 0; i < 5; i += 1) await new Promise(requestAnimationFrame);
        const still = window.tonality.counters.frames === frames;
        window.tonality = before;
        return still;
    }"""
    assert page.evaluate(closed)


def test_news_at_the_moment_of_leaving_does_not_bring_the_page_back(page: Page) -> None:
    page.evaluate(
        """() => {
            const { host } = window.tonality.live;
            document.querySelector('[data-testid="stTopNav"] a[href$="/about"]').click();
            host.state("ended", "another", {});
        }"""
    )
    expect(page.get_by_role("tab", name="Model card")).to_be_visible()
    page.wait_for_timeout(1500)  # as long as a run of the page left would take to come back
    expect(page.get_by_role("tab", name="Model card")).to_be_visible()
    live(page)


def test_what_the_score_is_stands_on_a_page(page: Page) -> None:
    visit(page, "About this score")
    expect(page.get_by_text("It does not know what anybody feels")).to_be_visible()
    page.get_by_role("tab", name="Law and licences").click()
    expect(page.get_by_text("no commercial products")).to_be_visible()
    page.get_by_role("tab", name="Model card").click()
    expect(page.get_by_text("Where it fails")).to_be_visible()
    live(page)


@pytest.fixture(scope="module")
def kept(page: Page) -> None:
    """Two sessions that were chosen to be kept; there was none before."""
    visit(page, "Sessions")
    expect(page.get_by_text("Nothing is kept yet")).to_be_visible()
    live(page)
    for _ in range(2):
        keep(page)
        start_demo(page)
        expect(page.get_by_text("are kept for an hour")).to_be_visible()
        wait_counter(page, "points", 12)
        page.keyboard.press("m")
        page.wait_for_function("() => window.tonality.live.strip.marks.length === 1")
        stop(page)


def test_a_session_is_kept_reviewed_and_exported(page: Page, kept: None) -> None:
    visit(page, "Sessions")
    expect(page.get_by_text("Session (2 kept)")).to_be_visible()
    reviewing(page, 1)
    reviewed(page)
    with page.expect_download() as down:
        page.get_by_role("button", name="Export JSON lines").click()
    lines = [json.loads(line) for line in Path(down.value.path()).read_text().splitlines()]
    assert tuple(lines[0]) == KEYS and len(lines) > 10
    with page.expect_download() as down:
        page.get_by_role("button", name="Export CSV").click()
    assert len(list(csv.DictReader(io.StringIO(Path(down.value.path()).read_text())))) == len(lines)
    live(page)


def test_two_kept_sessions_are_compared_and_one_is_deleted(
    page: Page, kept: None, data: Path
) -> None:
    visit(page, "Sessions")
    reviewing(page, 1)
    folders = {one.name for one in (data / "sessions").iterdir()}
    compare(page)
    both = reviewing(page, 2)
    assert len(folders) == 2 and set(both) == folders
    page.locator(".review canvas.detail").first.focus()
    page.keyboard.press("+")  # what one curve does, the other does too
    page.wait_for_function(
        "() => window.tonalityReview.tracks.every((one) => one.span < one.length)"
    )
    whole = page.locator(".review [data-span=all]")
    expect(whole).to_have_attribute("aria-pressed", "false")
    whole.click()
    expect(whole).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(
        "() => window.tonalityReview.tracks.every((one) => one.span === one.length)"
    )

    opened(page, "button", "Delete")
    page.get_by_role("button", name="Delete this session").click()
    expect(page.get_by_text("Session (1 kept)")).to_be_visible()
    expect(page.get_by_role("combobox", name="Compare with")).to_be_disabled()
    assert reviewing(page, 1) == both[1:]
    assert {one.name for one in (data / "sessions").iterdir()} == set(both[1:])
    live(page)


def reviewed(page: Page) -> None:
    """Zoom, pan, and jump to a word by hand and by key."""
    page.evaluate("() => window.tonalityReview.tracks[0].zoom(5)")
    assert page.evaluate("() => window.tonalityReview.tracks[0].span") == 5
    curve = page.locator(".review canvas.detail")
    curve.focus()
    page.keyboard.press("Home")
    assert page.evaluate("() => window.tonalityReview.tracks[0].head") == 5
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => window.tonalityReview.tracks[0].head") > 5
    page.keyboard.press("-")
    page.keyboard.press("+")
    page.keyboard.press("Home")
    page.get_by_test_id("find").fill("hoped")
    page.keyboard.press("Enter")
    inside = """() => {
      const [track] = window.tonalityReview.tracks;
      const word = track.track.words.find((one) => one.text === "hoped");
      return word.start > track.head - track.span && word.end < track.head;
    }"""
    assert page.evaluate(inside) is True
    expect(page.locator(".review .words span.found")).to_have_text("hoped")
    coloured = """() => {
      const { detail: canvas } = window.tonalityReview.tracks[0];
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 128 && Math.abs(data[i] - data[i + 2]) > 60) count += 1;
      return count;
    }"""
    page.wait_for_function(f"() => ({coloured})() > 300")


def test_two_tabs_that_start_at_once_film_once(
    page: Page, context: BrowserContext, server: PageServer
) -> None:
    second = open_page(context, server.url)
    for tab in (page, second):
        choose_purpose(tab)
        expect(tab.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    press = "() => [...document.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Start').click()"
    page.evaluate(press)
    second.evaluate(press)
    for tab in (page, second):
        wait_state(tab, "running")
        expect(tab.get_by_test_id("stSidebar").get_by_role("button", name="Stop")).to_be_visible()
    assert len(server.workers()) == 1
    assert len(server.family()) == 2  # one capture worker, one inference worker
    second.close()
    stop(page)


def test_the_page_goes_on_when_the_server_comes_back(browser: Browser, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PageServer(tmp_path, port=port, TONALITY_DEMO="1")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = open_page(context, server.url)
        wait_state(page, "running")
        server.close()
        wait_state(page, "offline")
        server = PageServer(tmp_path, port=port, TONALITY_DEMO="1")
        wait_state(page, "running")
        wait_counter(page, "points", 2)
        expect(page.get_by_test_id("banner")).to_be_hidden()
        expect(page.get_by_test_id("stSidebar").get_by_role("button", name="Stop")).to_be_enabled()
        assert page.errors == []  # type: ignore[attr-defined]
    finally:
        context.close()
        server.close()
