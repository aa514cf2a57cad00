"""Camera and microphone of a real headless Chromium, through the page, to words on it; one visit.

The tests follow one another: each takes up the page where the one before left it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Locator, Page, expect

from tests.browser import APP, PageServer, chromium, eventually, open_page
from tests.browser_devices import device_files, device_flags
from tests.test_page import choose_purpose

WAIT_MS = 120_000
SPOKEN = re.compile("lecturer|university|creator", re.I)

pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, demo_clip: Path) -> Iterator[PageServer]:
    server = PageServer(tmp_path_factory.mktemp("server"), APP, TONALITY_ICE_SERVERS="")
    yield server
    server.close()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, demo_clip: Path) -> Iterator[BrowserContext]:
    files = device_files(demo_clip, tmp_path_factory.mktemp("devices"))
    with chromium(*device_flags(*files)) as browser:
        yield browser.new_context(viewport={"width": 1280, "height": 860})


@pytest.fixture(scope="module")
def page(context: BrowserContext, server: PageServer) -> Page:
    page = open_page(context, server.url, WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    return page


def devices(page: Page) -> FrameLocator:
    """The component that holds camera and microphone."""
    return page.frame_locator("iframe[title*='webrtc_streamer']")


def press(page: Page, name: str) -> None:
    button(page, name).click()


def expect_lamp(page: Page, name: str, state: str) -> None:
    expect(page.get_by_test_id(f"lamp-{name}")).to_have_attribute("data-state", state)


def button(page: Page, name: str) -> Locator:
    return devices(page).get_by_role("button", name=name, exact=True)


def connect(page: Page) -> None:
    """Once more where the browser was asked before the last choice had reached it."""
    for _ in range(2):
        press(page, "Connect")
        if stays_connected(page):
            return
    raise AssertionError(page.get_by_test_id("stSidebar").inner_text())


def stays_connected(page: Page) -> bool:
    """Whether it is connected for half a second, or was let go as long, and says why.

    Words and button are looked at together: the words alone may be those of the connection before.
    """
    connected = let_go = 0
    for _ in range(WAIT_MS // 500):
        page.wait_for_timeout(500)
        connected = connected + 1 if shows(page, "This browser is connected", "Disconnect") else 0
        let_go = let_go + 1 if shows(page, "opened more than is to be used", "Connect") else 0
        if connected == 2 or let_go == 2:
            return connected == 2
    raise AssertionError(page.get_by_test_id("stSidebar").inner_text())


def shows(page: Page, words: str, name: str) -> bool:
    return page.get_by_text(words).is_visible() and button(page, name).is_visible()


def test_before_the_browser_has_said_yes_nothing_can_start(page: Page) -> None:
    page.get_by_text("Browser camera").click()
    choose_purpose(page)
    expect(page.get_by_text("allow camera and microphone in the browser's prompt")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()


def test_for_words_alone_the_camera_is_not_even_asked_for(page: Page) -> None:
    for use in ("Face", "Voice"):
        page.get_by_role("button", name=use, exact=True).click()
    connect(page)
    expect(devices(page).get_by_role("button", name="Mute microphone")).to_be_visible()
    expect(devices(page).get_by_role("button", name=re.compile("camera", re.I))).to_have_count(0)
    # A camera that is wanted after all has to be allowed; what was open is closed.
    for use in ("Face", "Voice"):
        page.get_by_role("button", name=use, exact=True).click()
    expect(devices(page).get_by_role("button", name="Connect", exact=True)).to_be_visible()


def test_words_voice_and_face_of_the_browser_reach_the_page(page: Page, server: PageServer) -> None:
    connect(page)
    assert server.workers() == []  # nobody reads it yet
    page.get_by_role("button", name="Start", exact=True).click()
    for lamp in ("face", "voice", "text"):
        expect_lamp(page, lamp, "present")
    expect(page.get_by_test_id("words")).to_contain_text(SPOKEN)
    expect(page.get_by_test_id("score")).to_contain_text(re.compile(r"\d\.\d"))
    assert page.outside == []  # type: ignore[attr-defined]


def test_a_camera_switched_off_is_missing_and_comes_back(page: Page) -> None:
    press(page, "Turn camera off")
    expect_lamp(page, "face", "missing")
    expect(page.get_by_test_id("lamp-face")).to_contain_text("browser:")
    expect_lamp(page, "voice", "present")
    press(page, "Turn camera on")
    expect_lamp(page, "face", "present")


def test_a_muted_microphone_is_missing_and_comes_back(page: Page) -> None:
    press(page, "Mute microphone")
    for lamp in ("voice", "text"):
        expect_lamp(page, lamp, "missing")
    expect_lamp(page, "face", "present")
    press(page, "Unmute microphone")
    for lamp in ("voice", "text"):
        expect_lamp(page, lamp, "present")


def test_a_look_at_another_page_does_not_end_it(page: Page, server: PageServer) -> None:
    page.get_by_role("link", name="Health").click()
    expect(devices(page).get_by_role("button", name="Disconnect", exact=True)).to_be_visible()
    page.get_by_role("link", name="Live").click()
    points = "() => window.tonality.counters.points"
    before = page.evaluate(points)
    page.wait_for_function(f"before => ({points})() > before + 2", arg=before)
    assert [worker["state"] for worker in server.workers()] == ["running"]


def test_leaving_the_page_ends_the_session_and_says_so(page: Page, server: PageServer) -> None:
    assert page.errors == []  # type: ignore[attr-defined]
    page.close()
    eventually(lambda: server.workers()[0]["state"] == "ended", seconds=WAIT_MS / 1000)
    (worker,) = server.workers()
    assert worker["detail"] == "the browser left the page"
    assert worker["restarts"] == 0
    assert not list(Path("/tmp").glob(f"tonality-uploads-{server.process.pid}-*/b-*"))
