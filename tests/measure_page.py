"""Measures the page: ``python -m tests.measure_page [MINUTES]``, on the demo and on a quick feed.

Prints frame times between two ``requestAnimationFrame`` calls, how long drawing takes, runs of the
page's script, and the memory of page and server at the beginning and at the end.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page

from tests.browser import PageServer, chromium, open_page, wait_counter, wait_state
from tests.test_page import start_file


def look(page: Page, server: PageServer) -> dict[str, Any]:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = page.evaluate("() => performance.memory.usedJSHeapSize")
    numbers = page.evaluate("() => ({...window.tonality.counters, ...window.tonality.quantiles()})")
    newest_s = page.evaluate("() => window.tonality.live.strip?.newest ?? 0")
    return {
        "media_s": round(newest_s),
        "heap_mib": round(heap / 2**20, 1),
        "server_mib": round(psutil.Process(server.process.pid).memory_info().rss / 2**20),
        "dom_nodes": page.evaluate("() => window.tonality.live.root.querySelectorAll('*').length"),
        **numbers,
    }


def main(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        server = PageServer(folder)
        try:
            page = open_page(
                browser.new_context(viewport={"width": 1280, "height": 800}), server.url
            )
            for what, span in (("calm", "30 s"), ("fast", "10 min")):
                path = folder / f"{what}.mp4"
                path.touch()
                start_file(page, path)
                wait_state(page, "running")
                page.get_by_role("button", name=span).click()
                wait_counter(page, "points", 40 if what == "calm" else 1000)
                show(f"{what}, begin", look(page, server))
                page.wait_for_timeout(minutes * 60_000)
                show(f"{what}, after {minutes:g} min", look(page, server))
                page.get_by_role("button", name="Stop").click()
                wait_state(page, "stopped")
        finally:
            server.close()


def show(title: str, numbers: dict[str, Any]) -> None:
    sys.stdout.write(f"{title}: {json.dumps(numbers)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
