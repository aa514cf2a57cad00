"""A real server in a process of its own and a real headless Chromium, for tests of the page."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from features.threads import OwnedThread

ROOT = Path(__file__).resolve().parents[1]
SCRIPTED = ROOT / "tests" / "workers" / "scripted_app.py"
APP = ROOT / "dashboard" / "app.py"
DEADLINE_MS = 90_000  # a bound for busy machines; nothing waits longer than it has to
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class PageServer:
    """``streamlit run`` over an app, on a free port, with the folder's settings of the dashboard."""

    def __init__(
        self, folder: Path, app: Path = SCRIPTED, port: int = 0, **environment: str
    ) -> None:
        settings = folder / ".streamlit"
        if not settings.exists():
            shutil.copytree(ROOT / "dashboard" / ".streamlit", settings)
        self.output: list[str] = []
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(app), "--server.port", str(port)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = OwnedThread("server output", self._read).start()
        if not self._ready.wait(120) or not self.output_address():
            self.close()
            raise AssertionError("the server did not start: " + "".join(self.output))
        self.url = self.output_address()

    def _read(self, stop: threading.Event) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if "http://" in line:
                self._ready.set()
        self._ready.set()

    def output_address(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", "".join(self.output))
        return found[0] if found else ""

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=DEADLINE_MS / 1000) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as answer:
            return dict(json.load(answer))

    def workers(self, role: str = "capture") -> list[dict[str, Any]]:
        return [worker for worker in self.health()["workers"] if worker["role"] == role]

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    assert path, "Chromium is missing; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def open_page(context: BrowserContext, url: str, wait_ms: int = DEADLINE_MS) -> Page:
    """A page with the live part on it; ``page.outside`` lists what it asked of other hosts."""
    page = context.new_page()
    page.set_default_timeout(wait_ms)
    outside: list[str] = []
    errors: list[str] = []
    own = (url, url.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else outside.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.outside, page.errors = outside, errors  # type: ignore[attr-defined]
    page.goto(url)
    page.wait_for_function("() => window.tonality && window.tonality.counters.links > 0")
    return page


def counters(page: Page) -> dict[str, int]:
    return dict(page.evaluate("() => ({...window.tonality.counters})"))


def runs_at_rest(page: Page) -> int:
    """Runs of the script so far, once two seconds brought no other: a click's may come late."""
    before, runs = -1, counters(page)["runs"]
    while runs != before:
        page.wait_for_timeout(2000)
        before, runs = runs, counters(page)["runs"]
    return runs


def wait_state(page: Page, state: str) -> None:
    page.wait_for_function("s => window.tonality.live.root.dataset.state === s", arg=state)


def wait_counter(page: Page, name: str, least: int) -> None:
    page.wait_for_function("([n, c]) => window.tonality.counters[n] >= c", arg=[name, least])


def eventually(true: Callable[[], bool], seconds: float = 90.0) -> None:
    pause = threading.Event()
    for _ in range(round(seconds / 0.05)):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("not within the deadline")
