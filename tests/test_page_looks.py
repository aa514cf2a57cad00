"""Whether the page can be read and used: contrast, colour blindness, width, distance, keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import PageServer, open_page, wait_counter, wait_state

READABLE = 4.5  # contrast that WCAG 2.2 asks of text (AA)
APART = 12.0  # colours are told apart easily from a difference (CIE76) of a few units on
FARTHEST = 75  # of the screen's width to the smallest letter in large type: 2 cm on 1.5 m, for 3 m
# Machado, Oliveira and Fernandes (2009): what somebody without one kind of cone sees, linear RGB.
BLIND = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    server = PageServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


def linear(colour: list[float]) -> np.ndarray:
    """sRGB of 0..255 as light."""
    part = np.array(colour[:3]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def contrast(one: list[float], other: list[float]) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear(colour)) + 0.05 for colour in (one, other))
    return high / low


def lab(colour: list[float], seen: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of an sRGB colour as ``seen`` makes it."""
    light = np.clip(seen @ linear(colour), 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(to_xyz @ light / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# Colours as they are painted on the page's background: of scores, said or tentative, of faint text.
PAINTED = """
async () => {
  const { TENTATIVE } = await import("/assets/palette.js");
  const { palette } = window.tonality.live;
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  const painted = (...colours) => {
    for (const colour of colours) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const ground = palette.background;
  const scores = [-3, -2, -1, 0, 1, 2, 3];
  const button = [...document.querySelectorAll("button")].find((one) => one.textContent === "Start");
  const caption = document.querySelector("[data-testid=stCaptionContainer]");
  const side = getComputedStyle(document.querySelector("[data-testid=stSidebar]")).backgroundColor;
  const text = getComputedStyle(caption).color.match(/[0-9.]+/g).slice(0, 3);
  return {
    ground: painted(ground),
    said: scores.map((score) => painted(ground, palette.score(score))),
    tentative: scores.map((score) => painted(ground, palette.score(score, TENTATIVE))),
    faint: [painted(ground, palette.faint)],
    button: [getComputedStyle(button).color, getComputedStyle(button).backgroundColor].map((one) => painted(one)),
    caption: [painted(side, `rgba(${text},${getComputedStyle(caption).opacity})`), painted(side)],
  };
}
"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_text_stands_out_in_the_theme_of_the_system(
    browser: Browser, server: PageServer, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = open_page(context, server.url)
    page.wait_for_function("d => window.tonality.live.palette.dark === d", arg=scheme == "dark")
    choose_purpose(page)
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    colours = page.evaluate(PAINTED)
    context.close()
    for name in ("said", "tentative", "faint"):
        least = min(contrast(colour, colours["ground"]) for colour in colours[name])
        assert least >= READABLE, (name, least)
    for name in ("button", "caption"):
        assert contrast(*colours[name]) >= READABLE, name
    for kind, seen in BLIND.items():
        negative, _, slightly, neutral, positively, _, positive = (
            lab(colour, seen) for colour in colours["said"]
        )
        pairs = ((negative, neutral), (neutral, positive), (slightly, positively))
        least = min(float(np.linalg.norm(one - other)) for one, other in pairs)
        assert least >= APART, (kind, least)


@pytest.mark.parametrize("width", [390, 3840])
def test_nothing_is_wider_than_the_screen(browser: Browser, server: PageServer, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844})
    page = open_page(context, server.url)
    wait_counter(page, "drawn", 1)
    over = "() => [...document.querySelectorAll('.stMain, .stMain *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.className)"
    assert page.evaluate(over) == []
    context.close()


SMALLEST = """
() => {
  const { live } = window.tonality;
  const { curve } = live.panel;
  const seen = [...live.root.querySelectorAll("*")].filter((one) => {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    return own && one.checkVisibility() && !one.closest(".spoken, dialog");
  });
  const sizes = seen.map((one) => Number.parseFloat(getComputedStyle(one).fontSize));
  const { font } = curve;
  curve.font = (size, ...how) => sizes.push(size) && font.call(curve, size, ...how);
  curve.drawn = null;
  live.panel.draw(performance.now(), 0);
  delete curve.font;
  return live.root.currentCSSZoom * Math.min(...sizes);
}
"""


def choose_purpose(page: Page) -> None:
    page.get_by_role("combobox", name="Purpose").click()
    page.get_by_role("option", name="Trying it out on myself").click()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus has this name."""
    script = """name => {
      let one = document.activeElement;
      while (one?.shadowRoot?.activeElement) one = one.shadowRoot.activeElement;
      return [one?.getAttribute("aria-label"), one?.textContent.trim()].includes(name);
    }"""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(script, name):
            return
    raise AssertionError(f"'{name}' cannot be reached")


def test_a_session_by_keyboard_alone_also_in_large_type(
    browser: Browser, server: PageServer
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = open_page(context, server.url)
    tab_to(page, "Purpose")
    page.keyboard.type("trying")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    tab_to(page, "Start")
    page.keyboard.press("Enter")
    wait_state(page, "running")
    wait_counter(page, "points", 2)
    page.keyboard.press("p")
    page.wait_for_function("() => window.tonality.live.projected")
    wait_counter(page, "points", 4)
    assert page.evaluate(SMALLEST) >= 1280 / FARTHEST
    high = page.evaluate(
        "() => window.tonality.live.root.scrollHeight * window.tonality.live.root.currentCSSZoom"
    )
    assert high <= 720 + 2  # all of it is seen at once
    page.keyboard.press("Escape")
    page.wait_for_function("() => !window.tonality.live.projected")
    tab_to(page, "Stop")
    page.keyboard.press("Enter")
    wait_state(page, "stopped")
    assert page.errors == []  # type: ignore[attr-defined]
    context.close()
