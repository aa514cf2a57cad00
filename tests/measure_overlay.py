"""Measures the overlay at 1920x1080: ``python -m tests.measure_overlay [SECONDS]``.

Prints the time between two ``requestAnimationFrame`` calls, how often and how long the overlay draws,
and the processor time of the browser's renderer with the overlay and with an empty page; and how long it takes
to burn the overlay into a picture of 1280x720 for the virtual camera.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import Page

from capture.config import CaptureConfig
from dashboard.burning import Burner
from dashboard.shown import Scores
from tests.browser import PageServer, chromium
from tests.workers.scripted import Script

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


def burning(pictures: int = 200) -> dict[str, float]:
    """Milliseconds to burn the same panel again, and to set one anew."""
    script, scores, burner = Script(CaptureConfig()), Scores(), Burner()
    for seq in range(60):
        scores.add(script.prediction(seq, 1))
        scores.add(script.transcript((seq + 8) * 0.5))
    image = np.zeros((720, 1280, 3), np.uint8)
    took: dict[str, list[float]] = {"again": [], "anew": []}
    for n in range(pictures):
        shown = scores.at(12.0 + n // 10 * 0.5)
        if shown is None:
            break
        began = time.perf_counter()
        burner.burn(image, shown)
        took["anew" if n % 10 == 0 else "again"].append(1e3 * (time.perf_counter() - began))
    return {name: round(float(np.median(times)), 1) for name, times in took.items()}


def renderer_s() -> float:
    """Processor seconds of all renderers that this process has started."""
    family = psutil.Process().children(recursive=True)
    renderers = [one for one in family if "--type=renderer" in one.cmdline()]
    return sum(sum(one.cpu_times()[:2]) for one in renderers)


def main(seconds: float) -> None:
    sys.stdout.write(f"burning, ms: {json.dumps(burning())}\n")
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
