"""What a user does on the page Sessions, for tests and pictures of it."""

from __future__ import annotations

from typing import Literal

from playwright.sync_api import Page


def keep(page: Page) -> None:
    """Choose that the next session is kept."""
    page.get_by_role("combobox", name="Keep").click()
    page.get_by_role("option", name="for an hour").click()


def reviewing(page: Page, count: int) -> list[str]:
    """The sessions whose curves are shown, once there are so many."""
    script = """count => {
      const tracks = window.tonalityReview?.tracks ?? [];
      return tracks.length === count && tracks.every((one) => one.track.points.length > 10);
    }"""
    page.wait_for_function(script, arg=count)
    shown = "() => window.tonalityReview.tracks.map((one) => one.session.session)"
    return list(page.evaluate(shown))


def compare(page: Page) -> None:
    """Choose the other one of two kept sessions."""
    opened(page, "combobox", "Compare with")
    page.get_by_role("option").click()


def opened(page: Page, role: Literal["button", "combobox"], name: str) -> None:
    """Open a list, or the question before something is deleted, unless it is open."""
    steady(page)
    one = page.get_by_role(role, name=name, exact=True)
    if one.get_attribute("aria-expanded") != "true":
        one.click()


def steady(page: Page) -> None:
    """The page's beginning in view and at rest: a list that opens while it scrolls is closed again."""
    _scrolled(page, 0)


def closed(page: Page) -> None:
    """Close what is open; a list that can be empty is emptied by this key when it is closed."""
    page.keyboard.press("Escape")


def below(page: Page) -> None:
    """The end of a page that is longer than the screen."""
    _scrolled(page, 1_000_000)


def _scrolled(page: Page, to: int) -> None:
    page.evaluate(
        """to => new Promise((done) => {
          document.querySelector("[data-testid=stMain]").scrollTo(0, to);
          requestAnimationFrame(() => requestAnimationFrame(done));
        })""",
        to,
    )
