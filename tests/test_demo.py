"""The demo as a new user meets it: the real app, the real footage, every worker, a real browser.

``TONALITY_SCREENSHOT=docs/page.png pytest tests/test_demo.py`` renews the picture of the README.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.browser import (
    APP,
    PageServer,
    chromium,
    counters,
    eventually,
    open_page,
    wait_counter,
    wait_state,
)

START_MS = 120_000  # models load from a cold disk on a busy machine


@pytest.fixture(scope="module")
def server(demo_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    server = PageServer(tmp_path_factory.mktemp("demo"), APP, TONALITY_DEMO="1")
    yield server
    server.close()


@pytest.fixture(scope="module")
def page(server: PageServer) -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        page = open_page(context, server.url)
        page.set_default_timeout(START_MS)
        yield page


def test_the_demo_shows_a_moving_curve_words_and_landmarks(page: Page, tmp_path: Path) -> None:
    expect.set_options(timeout=START_MS)
    wait_state(page, "running")
    for lamp in ("text", "voice", "face"):
        expect(page.get_by_test_id(f"lamp-{lamp}")).to_have_attribute("data-state", "present")
    expect(page.get_by_test_id("words")).to_contain_text(
        re.compile("lecturer|university|creator", re.I)
    )
    expect(page.get_by_test_id("score")).to_contain_text(re.compile(r"\d\.\d"))
    expect(page.get_by_test_id("lag")).to_contain_text(re.compile(r"\d"))
    wait_counter(page, "points", 24)
    before = counters(page)
    wait_counter(page, "points", before["points"] + 4)
    wait_counter(page, "previews", before["previews"] + 5)
    after = counters(page)
    assert after["drawn"] > before["drawn"]
    assert after["runs"] == before["runs"]  # the curve moves without the script
    assert page.outside == []  # type: ignore[attr-defined]
    assert page.errors == []  # type: ignore[attr-defined]
    shot = tmp_path / "page.png"
    page.screenshot(path=shot)
    assert shot.stat().st_size > 30_000
    if "TONALITY_SCREENSHOT" in os.environ:
        shutil.copy(shot, os.environ["TONALITY_SCREENSHOT"])


def test_a_killed_inference_worker_comes_back(page: Page, server: PageServer) -> None:
    first = server.workers("inference")[0]["pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: server.workers("inference")[0]["restarts"] == 1)
    eventually(lambda: server.workers("inference")[0]["state"] == "running", seconds=60)
    points = counters(page)["points"]
    wait_counter(page, "points", points + 4)


def test_killing_the_server_leaves_no_process_behind(page: Page, server: PageServer) -> None:
    family = server.family()
    assert len(family) >= 2
    server.process.kill()
    server.process.wait(10)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
