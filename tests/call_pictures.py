"""Makes the pictures of docs/calls.md: ``python -m tests.call_pictures [FOLDER]`` (docs by default).

``overlay.png``: the overlay's page as a compositor lays it over a picture, whole and in parts;
``camera.png``: what the virtual camera gives. The conversation is the scripted one, with no person in it.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from capture.config import CaptureConfig
from dashboard.burning import Burner
from dashboard.camera import Format, fitted
from dashboard.shown import Scores
from tests.browser import ROOT, PageServer, chromium
from tests.workers.scripted import Script

SIZE = (960, 540)
AFTER_POINTS = 20
LOOKS = ("", "?words=0&curve=0&corner=top-left", "?panel=0&score=0&corner=top-right&wording=0")


def ground() -> Image.Image:
    """A stand-in for a camera's picture: a wall, a window's light, a head and shoulders."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float32)
    light = 92 + 70 * np.exp(-(((x - 720) / 330) ** 2 + ((y - 120) / 260) ** 2))
    wall = np.stack([light * 1.02, light, light * 0.92], axis=-1)
    wall[((x - 480) / 300) ** 2 + ((y - 590) / 210) ** 2 < 1] = (58, 70, 92)
    wall[((x - 480) / 95) ** 2 + ((y - 255) / 125) ** 2 < 1] = (176, 138, 116)
    return Image.fromarray(wall.clip(0, 255).astype(np.uint8))


def overlay(path: Path) -> None:
    """Three looks of the page over one picture each, side by side."""
    shots = []
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        server = PageServer(Path(name), TONALITY_DEMO="1")
        try:
            for look in LOOKS:
                page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
                page.goto(f"{server.url}/overlay{look}")
                page.wait_for_function(
                    f"() => window.overlay.strip?.points.length > {AFTER_POINTS}"
                )
                page.wait_for_function(
                    "() => Number(getComputedStyle(window.overlay.root).opacity) === 1"
                )
                shot = Image.open(io.BytesIO(page.screenshot(omit_background=True)))
                shots.append(Image.alpha_composite(ground().convert("RGBA"), shot.convert("RGBA")))
                page.close()
        finally:
            server.close()
    whole = Image.new("RGB", (SIZE[0] * len(shots) + 16 * (len(shots) - 1), SIZE[1]), "white")
    for n, shot in enumerate(shots):
        whole.paste(shot.convert("RGB"), (n * (SIZE[0] + 16), 0))
    whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS).save(
        path, optimize=True
    )


def camera(path: Path) -> None:
    """A picture with the overlay burnt in, as the virtual camera gives it."""
    script, scores = Script(CaptureConfig()), Scores()
    for seq in range(60):
        scores.add(script.prediction(seq, 1))
        scores.add(script.transcript((seq + 8) * 0.5))
    image = fitted(np.asarray(ground()), Format(640, 360))
    shown = scores.at(15.0)
    assert shown is not None
    Burner().burn(image, shown)
    Image.fromarray(image).save(path, optimize=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    camera(folder / "camera.png")
    overlay(folder / "overlay.png")
