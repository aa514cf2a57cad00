"""The overlay in a real headless Chromium over the real server: what a compositor would show."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import DEADLINE_MS, PageServer, eventually

FRESH = "() => document.querySelector('#overlay').dataset.state === 'fresh'"
SIZE = (640, 360)
IDLE = """
() => new Promise((done) => {
  const { strip, counters } = window.overlay;
  const begin = [counters.draws, strip.version];
  let turns = 0;
  const turn = () => {
    window.overlay.wake();
    if ((turns += 1) < 30) requestAnimationFrame(turn);
    else done([counters.draws - begin[0], strip.version - begin[1]]);
  };
  turn();
})
"""
expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    settings = {"TONALITY_DEMO": "1", "TONALITY_TEST_SILENT_S": "120"}
    server = PageServer(tmp_path_factory.mktemp("overlay"), **settings)
    yield server
    server.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]})
    page = context.new_page()
    page.set_default_timeout(DEADLINE_MS)
    errors: list[str] = []
    outside: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if "127.0.0.1" in r.url else outside.append(r.url))
    yield page
    context.close()
    assert [error for error in errors if "ERR_CONNECTION_REFUSED" not in error] == []
    assert outside == []


def show(page: Page, server: PageServer, query: str = "") -> None:
    page.goto(f"{server.url}/overlay{query}")
    page.wait_for_function(FRESH)


def pixels(page: Page) -> np.ndarray:
    """``(height, width, 4) uint8``: what a compositor gets, alpha and all."""
    shot = page.screenshot(omit_background=True, animations="disabled")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGBA"))


def box(page: Page) -> dict[str, float]:
    found = page.locator("#overlay").bounding_box()
    assert found is not None
    return dict(found)


def test_it_is_transparent_but_for_its_corner(page: Page, server: PageServer) -> None:
    show(page, server)
    page.wait_for_function("() => Number(getComputedStyle(window.overlay.root).opacity) === 1")
    panel = box(page)
    left, top = int(panel["x"]) - 1, int(panel["y"]) - 1
    right, bottom = left + int(panel["width"]) + 3, top + int(panel["height"]) + 3

    def coloured() -> bool:
        """Score, curve and words in the colours of the scale; not while nothing is known."""
        shot = pixels(page)
        inside = shot[top:bottom, left:right]
        assert (inside[..., 3] > 100).mean() > 0.9
        shot = shot.copy()
        shot[top:bottom, left:right] = 0
        assert (shot[..., 3] == 0).all()
        spread = inside[..., :3].max(-1).astype(int) - inside[..., :3].min(-1)
        return bool(((spread > 40) & (inside[..., 3] > 200)).sum() > 200)

    eventually(coloured)
    assert panel["x"] < SIZE[0] / 2 and panel["y"] > SIZE[1] / 3  # bottom left


def test_score_arrow_curve_and_words_are_those_of_the_person_here(
    page: Page, server: PageServer
) -> None:
    show(page, server)
    latest = "() => window.overlay.strip.points.at(-1).sentiment"
    shown = "() => document.querySelector('[data-testid=score]').textContent"
    page.wait_for_function(
        f"() => ({shown})() === (s => (Math.abs(s).toFixed(1) === '0.0' ? '' : s < 0 ? '−' : '+')"
        f" + Math.abs(s).toFixed(1))(({latest})())"
    )
    expect(page.get_by_test_id("words")).to_contain_text("must say")
    expect(page.get_by_test_id("arrow")).to_be_visible()
    assert page.evaluate("() => window.overlay.strip.participant") == "me"


@pytest.mark.parametrize(
    ("query", "gone", "left"),
    [
        ("?score=0&arrow=0&wording=0", ["score", "arrow", "wording"], ["curve", "words"]),
        ("?curve=0&words=off", ["curve", "words"], ["score", "arrow", "wording"]),
    ],
)
def test_each_part_can_be_switched_off(
    page: Page, server: PageServer, query: str, gone: list[str], left: list[str]
) -> None:
    show(page, server, query)
    page.wait_for_function("() => window.overlay.strip.points.length > 12")  # the arrow needs 4 s
    for name in left:
        expect(page.get_by_test_id(name)).to_be_visible()
    for name in gone:
        expect(page.get_by_test_id(name)).to_be_hidden()


def test_size_corner_panel_and_theme_are_chosen_in_the_address(
    page: Page, server: PageServer
) -> None:
    show(page, server, "?words=0")
    usual = box(page)
    show(page, server, "?words=0&scale=1.5&corner=top-right&panel=0&theme=light")
    larger = box(page)
    assert larger["x"] + larger["width"] > SIZE[0] - 60 and larger["y"] < 60 < usual["y"]
    assert larger["height"] > usual["height"] * 1.1
    shot = pixels(page)
    assert (shot[..., 3] == 0).mean() > 0.85  # no panel behind the letters
    show(page, server, "?scale=nonsense&corner=middle&theme=%22%3E%3Cscript%3E")
    assert page.evaluate("() => [window.overlay.wanted.scale, window.overlay.wanted.corner]") == [
        1,
        "bottom-left",
    ]


def test_css_variables_change_its_looks(page: Page, server: PageServer) -> None:
    show(page, server)
    page.add_style_tag(
        content=":root { --tonality-panel: rgb(1, 250, 3); --tonality-positive: #ff00ff;"
        " --tonality-negative: #ff00ff; --tonality-neutral: #ff00ff; }"
    )
    purple = "() => window.overlay.palette.score(-2) === window.overlay.palette.score(2)"
    page.wait_for_function(purple)

    def recoloured() -> bool:
        shot = pixels(page).reshape(-1, 4).astype(int)
        panel = (np.abs(shot - [1, 250, 3, 255]).max(axis=1) < 3).sum()
        return bool(
            panel > 5000 and (np.abs(shot - [255, 0, 255, 255]).max(axis=1) < 30).sum() > 50
        )

    eventually(recoloured)


def test_others_are_shown_only_when_they_are_asked_for(page: Page, server: PageServer) -> None:
    page.goto(f"{server.url}/overlay?participant=other")
    page.wait_for_function("() => window.overlay.counters.messages > 6")
    assert page.evaluate("() => window.overlay.root.dataset.state") == "waiting"
    assert pixels(page)[..., 3].max() == 0


def test_it_draws_on_change_alone_and_no_pictures_come(page: Page, server: PageServer) -> None:
    page.add_init_script(
        "const Own = WebSocket; window.binary = 0;"
        "window.WebSocket = class extends Own { constructor(...a) { super(...a);"
        " this.addEventListener('message', e => { if (typeof e.data !== 'string') binary += 1; }); } };"
    )
    show(page, server)
    draws = page.evaluate("() => window.overlay.counters.draws")
    page.wait_for_function("n => window.overlay.counters.draws > n", arg=draws)
    drawn, changed = page.evaluate(IDLE)  # looked at thirty times, though little has come meanwhile
    assert drawn <= changed + 1
    assert page.evaluate("() => window.binary") == 0


def test_stale_data_fades_out_and_comes_back(page: Page, server: PageServer) -> None:
    show(page, server)
    (worker,) = server.workers()
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        page.wait_for_function("() => window.overlay.root.dataset.state === 'gone'")
        assert pixels(page)[..., 3].max() == 0
        assert page.get_by_test_id("score").text_content() == ""
        page.reload()  # a page that comes now sees old predictions, and must not show them
        page.wait_for_function("() => window.overlay.counters.messages > 0")
        assert page.evaluate("() => window.overlay.store.strips.size") == 1
        page.wait_for_function("() => window.overlay.counters.messages > 2")
        assert page.evaluate("() => window.overlay.root.dataset.state") == "waiting"
    finally:
        os.kill(worker["pid"], signal.SIGCONT)
    page.wait_for_function(FRESH)


def test_it_finds_the_server_again(page: Page, server: PageServer) -> None:
    show(page, server)
    before = page.evaluate("() => window.overlay.counters.links")
    page.evaluate("() => window.overlay.feed.socket.close()")
    page.wait_for_function("n => window.overlay.counters.links > n", arg=before)
    page.wait_for_function(FRESH)
    eventually(lambda: server.health()["hub"]["browsers"] >= 1)
