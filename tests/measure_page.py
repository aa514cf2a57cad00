"""Measures the page: ``python -m tests.measure_page [MINUTES] [--demo | --scripted | --paint [LOADS]]``.

``--demo`` is the whole of it: the real server with every worker on the looped demo clip, and a real
headless Chromium. ``--scripted`` (the default) has made-up messages behind the real server: calm, then a
hundred times as fast on the longest curve. Prints JSON after a minute and at the end: frame times between
two ``requestAnimationFrame`` calls and how long drawing takes (ms, p50 and p95 of the last minute), runs
of the page's script per minute, and memory of the page (heap after a collection, and the renderer's
process), of the server and of its workers.

``--paint`` loads the page again and again from a server that has served it before, with nothing running:
from the navigation's beginning to the first contentful paint, to the button Start, and until the live
part hears the server (ms, p50 and p95), for a browser that never was here and for one that comes back.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from tests.browser import APP, PageServer, chromium, open_page, wait_counter, wait_state
from tests.test_page import start_file

LOADING_MS = 180_000  # models load from a cold disk on a busy machine
MIB = 2**20
SCREEN: ViewportSize = {"width": 1280, "height": 800}


class Measure:
    """One open page over one server."""

    def __init__(self, browser: Browser, page: Page, server: PageServer) -> None:
        self._browser = browser
        self._page = page
        self._server = server
        self.begun = time.monotonic()
        self._runs = self._counter("runs")

    def _counter(self, name: str) -> int:
        return int(self._page.evaluate("name => window.tonality.counters[name]", name))

    def look(self) -> dict[str, Any]:
        session = self._page.context.new_cdp_session(self._page)
        session.send("HeapProfiler.collectGarbage")
        minutes = (time.monotonic() - self.begun) / 60
        quantiles = self._page.evaluate("() => window.tonality.quantiles()")
        newest_s = self._page.evaluate("() => window.tonality.live.strip?.newest ?? 0")
        heap = self._page.evaluate("() => performance.memory.usedJSHeapSize")
        nodes = self._page.evaluate("() => window.tonality.live.root.querySelectorAll('*').length")
        return {
            "minutes": round(minutes, 1),
            "media_s": round(newest_s),
            "frame_ms_p50_p95": rounded(quantiles["frame"]),
            "draw_ms_p50_p95": rounded(quantiles["draw"]),
            "script_runs_per_minute": round((self._counter("runs") - self._runs) / minutes, 2),
            "links": self._counter("links"),
            "page_heap_mib": round(heap / MIB, 1),
            "page_renderer_mib": self._renderer_mib(),
            "page_nodes": nodes,
            "server_mib": resident(self._server.process.pid),
            "workers_mib": {
                worker["role"]: resident(worker["pid"])
                for worker in self._server.health()["workers"]
                if worker["pid"]
            },
            "machine_load": [round(one, 1) for one in os.getloadavg()],
        }

    def _renderer_mib(self) -> int:
        told = self._browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
        pids = [one["id"] for one in told["processInfo"] if one["type"] == "renderer"]
        return sum(resident(pid) for pid in pids)


def resident(pid: int) -> int:
    return round(psutil.Process(pid).memory_info().rss / MIB)


def rounded(values: list[float]) -> list[float]:
    return [round(value, 1) for value in values]


def watch(measure: Measure, page: Page, what: str, minutes: float) -> None:
    for until, name in ((min(1.0, minutes), "minute 1"), (minutes, f"minute {minutes:g}")):
        left_s = until * 60 - (time.monotonic() - measure.begun)
        page.wait_for_timeout(max(0.0, left_s) * 1000)
        show(f"{what}, {name}", measure.look())


def demo(browser: Browser, folder: Path, minutes: float) -> None:
    server = PageServer(folder, APP, TONALITY_DEMO="1")
    try:
        page = opened(browser, server)
        page.set_default_timeout(LOADING_MS)
        wait_state(page, "running")
        wait_counter(page, "points", 8)
        watch(Measure(browser, page, server), page, "demo", minutes)
    finally:
        server.close()


def scripted(browser: Browser, folder: Path, minutes: float) -> None:
    server = PageServer(folder)
    try:
        page = opened(browser, server)
        for what, span in (("calm", "30 s"), ("fast", "10 min")):
            path = folder / f"{what}.mp4"
            path.touch()
            start_file(page, path)
            wait_state(page, "running")
            page.get_by_role("button", name=span).click()
            wait_counter(page, "points", 40 if what == "calm" else 1000)
            watch(Measure(browser, page, server), page, what, minutes)
            page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").click()
            wait_state(page, "stopped")
    finally:
        server.close()


LANDMARKS = {
    "first_paint": "performance.getEntriesByName('first-contentful-paint')[0]?.startTime",
    "start_button": "[...document.querySelectorAll('button')].some((one) => one.textContent === 'Start') && performance.now()",
    "live_part": "window.tonality?.counters.links > 0 && performance.now()",
}


def paint(browser: Browser, folder: Path, loads: int) -> None:
    server = PageServer(folder)
    try:
        first = opened(browser, server)  # pays for the server's imports
        returning = first.context
        first.close()
        new, again = [], []
        for _ in range(loads):
            context = browser.new_context(viewport=SCREEN)
            new.append(load(context, server.url))
            context.close()
            again.append(load(returning, server.url))
        for who, found in (("a new browser", new), ("one that comes back", again)):
            figures = {
                f"{name}_ms_p50_p95": [
                    round(float(np.percentile([one[name] for one in found], q))) for q in (50, 95)
                ]
                for name in LANDMARKS
            }
            load_now = [round(one, 1) for one in os.getloadavg()]
            show(f"{who}, {loads} loads", {**figures, "machine_load": load_now})
    finally:
        server.close()


def load(context: BrowserContext, url: str) -> dict[str, float]:
    """Milliseconds from the navigation's beginning to each landmark of one load."""
    page = context.new_page()
    page.add_init_script(
        "window.landmarks = {}; const look = () => {"
        + "".join(f"window.landmarks.{name} ||= {seen};" for name, seen in LANDMARKS.items())
        + "requestAnimationFrame(look); }; look();"
    )
    page.goto(url)
    page.wait_for_function(
        "count => Object.values(window.landmarks).filter(Boolean).length === count",
        arg=len(LANDMARKS),
    )
    found = dict(page.evaluate("() => window.landmarks"))
    page.close()
    return found


def opened(browser: Browser, server: PageServer) -> Page:
    return open_page(browser.new_context(viewport=SCREEN), server.url)


def show(title: str, numbers: dict[str, Any]) -> None:
    sys.stdout.write(f"{title}: {json.dumps(numbers)}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.measure_page", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=2.0)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--demo", action="store_true", help="real workers on the looped demo clip")
    kind.add_argument("--scripted", action="store_true", help="made-up messages, calm and fast")
    kind.add_argument("--paint", type=int, nargs="?", const=20, metavar="LOADS", help="first paint")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        if given.paint:
            paint(browser, Path(name), given.paint)
        else:
            (demo if given.demo else scripted)(browser, Path(name), given.minutes)


if __name__ == "__main__":
    main()
