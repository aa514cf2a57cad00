"""Measures the overlay at 1920x1080: ``python -m tests.measure_overlay [SECONDS]``.

Prints the time between two ``requestAnimationFrame`` calls, how often and how long the overlay draws,
and the processor time of the browser's renderer with the overlay and with an empty page.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page

from tests.browser import PageServer, chromium

FRAMES = """
window.times = []; let before = 0;
const tick = (now) => { if (before) times.push(now - before); before = now; requestAnimationFrame(tick); };
requestAnimationFrame(tick);
"""
QUANTILE = """
q => { const sorted = [...times].sort((a, b) => a - b);
       return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]; }
"""


def measure(page: Page, url: str, seconds: float) -> dict[str, Any]:
    page.goto(url)
    has_overlay = url.endswith("overlay")
    if has_overlay:
        page.wait_for_function("() => window.overlay.counters.draws > 4")
        page.evaluate("() => { window.overlay.drawTimes.length = 0; }")
    draws = page.evaluate("() => window.overlay?.counters.draws ?? 0")
    page.evaluate("() => { window.times.length = 0; }")
    busy = renderer_s()
    page.wait_for_timeout(seconds * 1000)
    numbers = {
        "frame_ms": [round(page.evaluate(QUANTILE, q), 2) for q in (0.5, 0.95)],
        "renderer_percent_of_a_core": round(100 * (renderer_s() - busy) / seconds, 1),
    }
    if has_overlay:
        drawn = page.evaluate("() => window.overlay.counters.draws") - draws
        numbers["draw_ms"] = [
            round(page.evaluate("q => window.overlay.quantile(q)", q), 2) for q in (0.5, 0.95)
        ]
        numbers["draws_per_s"] = round(drawn / seconds, 1)
    return numbers


def renderer_s() -> float:
    """Processor seconds of all renderers that this process has started."""
    family = psutil.Process().children(recursive=True)
    renderers = [one for one in family if "--type=renderer" in one.cmdline()]
    return sum(sum(one.cpu_times()[:2]) for one in renderers)


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        server = PageServer(Path(name), TONALITY_DEMO="1")
        try:
            context = browser.new_context(viewport={"width": 1920, "height": 1080})
            page = context.new_page()
            page.add_init_script(FRAMES)
            for what, url in (("empty page", "about:blank"), ("overlay", f"{server.url}/overlay")):
                sys.stdout.write(f"{what}: {json.dumps(measure(page, url, seconds))}\n")
                sys.stdout.flush()
        finally:
            server.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
