"""Pictures of the page in every state: ``python -m tests.page_pictures FOLDER [STATE ...]``.

Each state in light and dark, at 1280, 3840 and 390 pixels, over the real server with scripted workers
behind it (`tests/workers/scripted.py`), so that every state comes when it is wanted.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser import PageServer, chromium, eventually, open_page, wait_state
from tests.kept_pages import below, closed, compare, keep, opened, reviewing, steady
from tests.test_page import start_demo, start_file

SIZES = ((1280, 800), (3840, 2160), (390, 844))
SCHEMES = ("light", "dark")
SETTLED_MS = 700  # the texts of the live part change five times a second


class Studio:
    """One server, and a browser page of each size; the first one drives."""

    def __init__(self, browser: Browser, server: PageServer, folder: Path, out: Path) -> None:
        self.server = server
        self.folder = folder
        self.out = out
        self.pages = []
        for width, height in SIZES:
            context = browser.new_context(viewport={"width": width, "height": height})
            self.pages.append(open_page(context, server.url))

    @property
    def page(self) -> Page:
        return self.pages[0]

    def everywhere(self, act: Callable[[Page], object]) -> None:
        for page in self.pages:
            act(page)

    def shoot(
        self,
        state: str,
        before: Callable[[Page], object] | None = None,
        settled_ms: float = SETTLED_MS,
    ) -> None:
        """One picture of each size and scheme; ``before`` brings a passing state about again."""
        for page in self.pages:
            width = page.viewport_size["width"] if page.viewport_size else 0
            for scheme in SCHEMES:
                self.dress(page, scheme)
                if before is not None:
                    before(page)
                page.wait_for_timeout(settled_ms)
                path = self.out / f"{state}-{width}-{scheme}.png"
                page.screenshot(path=path)
                sys.stdout.write(f"{path}\n")
                sys.stdout.flush()

    @staticmethod
    def dress(page: Page, scheme: str) -> None:
        """Light or dark, down to the canvases, which look at the colours five times a second."""
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        script = """dark => {
          const live = window.tonality?.live;
          return !live?.root.isConnected || live.palette.dark === dark;
        }"""
        page.wait_for_function(script, arg=scheme == "dark")

    def press(self, key: str, until: str) -> None:
        """A key on every page, until it has done what it does, in JavaScript about ``live``."""
        for page in self.pages:
            page.keyboard.press(key)
            page.wait_for_function(
                f"() => {{ const {{ live }} = window.tonality; return {until}; }}"
            )

    def home(self) -> None:
        """Back to the live page."""
        for page in self.pages:
            page.goto(self.server.url)
            page.wait_for_function("() => window.tonality?.counters.links > 0")

    def source(self, name: str) -> None:
        """Begin a session on a scripted source of this name."""
        path = self.folder / f"{name}.mp4"
        path.touch()
        start_file(self.page, path)

    def stop(self) -> None:
        self.page.get_by_test_id("stSidebar").get_by_role("button", name="Stop").click()
        self.everywhere(lambda page: wait_state(page, "stopped"))

    def lasted(self, seconds: float) -> None:
        """Until the session that runs now has come so far on every page, in media time.

        Not so many windows: on a busy machine a page that cannot follow a hundredfold speed has holes.
        """
        eventually(lambda: self.server.workers() != [])
        session = self.server.workers()[0]["session"]
        script = """([session, seconds]) => {
          const { state, strip } = window.tonality.live;
          return state?.name === "running" && strip?.session === session && strip.newest >= seconds;
        }"""
        self.everywhere(lambda page: page.wait_for_function(script, arg=[session, seconds]))

    def close(self) -> None:
        for page in self.pages:
            page.context.close()


def none(studio: Studio) -> None:
    studio.shoot("none")


def running(studio: Studio) -> None:
    start_demo(studio.page)
    studio.lasted(32)
    studio.shoot("running")


def minute(studio: Studio) -> None:
    for page in studio.pages:
        page.evaluate("() => window.tonality.live.zoom(600)")
    studio.shoot("running-10-minutes")
    for page in studio.pages:
        page.evaluate("() => window.tonality.live.zoom(30)")


def marked(studio: Studio) -> None:
    page = studio.page
    page.keyboard.press("m")
    page.wait_for_timeout(2000)
    page.keyboard.press("n")
    page.get_by_label("Note", exact=True).fill("talks about the second part")
    page.keyboard.press("Enter")
    page.wait_for_timeout(1500)
    limits = "{below: 0.5, above: 1.2, for_s: 1, sound: false}"
    studio.everywhere(lambda one: one.evaluate(f"() => window.tonality.live.alerts.set({limits})"))
    studio.shoot("marks-and-alert")
    off = "{below: null, above: null, for_s: 3, sound: false}"
    studio.everywhere(lambda one: one.evaluate(f"() => window.tonality.live.alerts.set({off})"))


def dialogs(studio: Studio) -> None:
    for name, key in (("keys", "?"), ("note", "n"), ("alerts", "a")):
        studio.press(key, "live.dialogs.open")
        studio.shoot(f"dialog-{name}")
        studio.press("Escape", "!live.dialogs.open")


def projector(studio: Studio) -> None:
    studio.press("p", "live.projected")
    studio.shoot("projector")
    studio.press("Escape", "!live.projected")


def overlay(studio: Studio) -> None:
    """Over a picture from dark to bright, as it is transparent; its letters have their own theme."""

    def visit(page: Page) -> None:
        page.goto(f"{studio.server.url}/overlay?scale={max(1, page.viewport_size['width'] / 960)}")  # type: ignore[index]
        page.wait_for_function("() => window.overlay?.root.dataset.state === 'fresh'")
        picture = "linear-gradient(90deg, #223344, #cc9988, #f2f0ee)"
        page.evaluate(f"() => {{ document.documentElement.style.background = '{picture}'; }}")

    studio.everywhere(visit)
    studio.shoot("overlay")
    studio.home()


def paused(studio: Studio) -> None:
    studio.page.keyboard.press(" ")
    studio.everywhere(lambda page: wait_state(page, "paused"))
    studio.shoot("paused")
    studio.page.keyboard.press(" ")
    studio.everywhere(lambda page: wait_state(page, "running"))


def restarting(studio: Studio) -> None:
    said = "() => window.tonality.live.part('banner').textContent.includes('restarted: ')"

    def fall() -> None:
        eventually(lambda: studio.server.workers()[0]["state"] == "running")
        os.kill(studio.server.workers()[0]["pid"], signal.SIGKILL)

    def again(page: Page) -> None:
        if not page.evaluate(said):
            fall()
            page.wait_for_function(said)

    studio.shoot("restarting", again, settled_ms=0)
    eventually(lambda: studio.server.workers()[0]["state"] == "running")


def health(studio: Studio) -> None:
    def visit(page: Page) -> None:
        page.goto(f"{studio.server.url}/workers")
        expect(page.get_by_test_id("verdict")).not_to_be_empty()

    studio.everywhere(visit)
    studio.page.wait_for_timeout(3000)
    studio.shoot("health")
    studio.home()


def about(studio: Studio) -> None:
    def visit(page: Page) -> None:
        page.goto(f"{studio.server.url}/about")
        expect(page.get_by_role("tab", name="Limits")).to_be_visible()

    studio.everywhere(visit)
    studio.shoot("about")
    studio.everywhere(lambda page: page.get_by_role("tab", name="Model card").click())
    studio.shoot("about-model-card")
    studio.home()


def stopped(studio: Studio) -> None:
    studio.stop()
    studio.shoot("stopped")


def missing(studio: Studio) -> None:
    for name in ("faceless", "voiceless", "wordless", "nothing"):
        studio.source(name)
        studio.lasted(9)
        studio.shoot(f"missing-{name}")
        studio.stop()


def ended(studio: Studio) -> None:
    studio.source("short")
    studio.everywhere(lambda page: wait_state(page, "ended"))
    studio.shoot("ended")


def failed(studio: Studio) -> None:
    studio.source("broken")
    studio.everywhere(lambda page: wait_state(page, "failed"))
    studio.shoot("failed")


def two(studio: Studio) -> None:
    start_demo(studio.page)
    add_participant(studio.page, "Bo", studio.folder / "faceless.mp4")
    script = "() => window.tonality.live.panels.length === 2 && window.tonality.live.panels[1].strip?.points.length > 16"
    studio.everywhere(lambda page: page.wait_for_function(script))
    studio.shoot("two-participants")
    studio.press("p", "live.projected")
    studio.shoot("two-participants-projector")
    studio.press("Escape", "!live.projected")
    studio.stop()


def add_participant(page: Page, name: str, path: Path) -> None:
    path.touch()
    page.get_by_text("Add a participant").click()
    page.get_by_label("Name").fill(name)
    page.keyboard.press("Enter")
    kind, field = page.get_by_text("Video or sound file"), page.get_by_label("or its path on this")

    def chosen() -> bool:
        if not field.is_visible():  # a run of the script that the name began may lose the choice
            kind.click()
        return field.is_visible()

    eventually(chosen)
    field.fill(str(path))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add", exact=True).click()


def sessions_empty(studio: Studio) -> None:
    studio.everywhere(lambda page: page.goto(f"{studio.server.url}/sessions"))
    studio.everywhere(lambda page: expect(page.get_by_text("Nothing is kept yet")).to_be_visible())
    studio.shoot("sessions-empty")
    studio.home()


def sessions(studio: Studio) -> None:
    for name, seconds in (("fast", 600), ("calm", 18)):
        keep(studio.page)
        studio.source(name)
        studio.lasted(seconds)
        studio.page.keyboard.press("m")
        studio.page.wait_for_function("() => window.tonality.live.strip.marks.length > 0")
        studio.stop()
    studio.everywhere(lambda page: page.goto(f"{studio.server.url}/sessions"))
    studio.everywhere(lambda page: reviewing(page, 1))
    studio.shoot("sessions-list", lambda page: opened(page, "combobox", "Session (2 kept)"))
    studio.everywhere(closed)
    studio.shoot("sessions-review", steady)
    studio.shoot("sessions-review-below", below)
    studio.shoot("sessions-delete", lambda page: opened(page, "button", "Delete"))
    studio.everywhere(closed)
    studio.everywhere(compare)
    studio.everywhere(lambda page: reviewing(page, 2))
    studio.shoot("sessions-compare", steady)
    studio.shoot("sessions-compare-below", below)
    studio.home()


def offline(studio: Studio) -> None:
    studio.server.close()
    studio.everywhere(lambda page: wait_state(page, "offline"))
    studio.shoot("offline")


def starting(studio: Studio) -> None:
    studio.everywhere(lambda page: wait_state(page, "starting"))
    studio.shoot("starting")


def no_network(studio: Studio) -> None:
    (studio.folder / "gate").write_text("refuse")
    studio.everywhere(lambda page: wait_state(page, "failed"))
    studio.shoot("no-network")


WHILE_RUNNING = (
    "running", "minute", "marked", "dialogs", "projector", "overlay", "paused", "restarting", "health",
)  # fmt: skip
# In the order in which one state leads to the next; a chosen one brings those it needs.
CALM = [
    (none, ()),
    (sessions_empty, ()),
    (running, (*WHILE_RUNNING, "stopped")),
    (minute, ()),
    (marked, ()),
    (dialogs, ()),
    (projector, ()),
    (overlay, ()),
    (paused, ()),
    (restarting, ()),
    (health, ()),
    (stopped, WHILE_RUNNING),
    (about, ()),
    (missing, ()),
    (ended, ()),
    (failed, ()),
    (two, ()),
    (sessions, ()),
    (offline, ()),
]  # fmt: skip
GATED = [(starting, ("no_network",)), (no_network, ())]


@contextmanager
def studio(browser: Browser, out: Path, **environment: str) -> Iterator[Studio]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as undo:
        folder = Path(name)
        gate = {key: value.replace("FOLDER", name) for key, value in environment.items()}
        server = PageServer(folder, **gate, TONALITY_DATA=f"{name}/data")
        undo.callback(server.close)
        made = Studio(browser, server, folder, out)
        undo.callback(made.close)
        yield made


def main(out: Path, wanted: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    runs: list[tuple[list[tuple[Callable[[Studio], None], tuple[str, ...]]], dict[str, str]]]
    # the pause before a restart is long enough to be looked at
    runs = [
        (CALM, {"TONALITY_TEST_RESTART_S": "20"}),
        (GATED, {"TONALITY_DEMO": "1", "TONALITY_TEST_GATE": "FOLDER/gate"}),
    ]
    with chromium() as browser:
        for steps, environment in runs:
            chosen = [
                step
                for step, needed_by in steps
                if not wanted or {step.__name__, *needed_by} & set(wanted)
            ]
            if not chosen:
                continue
            with studio(browser, out, **environment) as made:
                for step in chosen:
                    step(made)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tests.page_pictures FOLDER [STATE ...]")
    main(Path(sys.argv[1]), sys.argv[2:])
