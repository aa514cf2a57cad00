"""Fixtures that several test files share: one thread, a browser, weights and the demo clip, fetched when missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from features.assets import Assets

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("ours", deadline=None)  # no test fails on a clock
settings.load_profile("ours")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads and wait for each other on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless."""
    from tests.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def assets() -> Assets:
    return Assets()


@pytest.fixture(scope="session")
def face_folder(assets: Assets) -> Path:
    return assets.folder("face-landmarker")


@pytest.fixture(scope="session")
def whisper_tiny(assets: Assets) -> Path:
    return assets.folder("whisper-tiny.en")


@pytest.fixture(scope="session")
def whisper_base(assets: Assets) -> Path:
    return assets.folder("whisper-base")


@pytest.fixture(scope="session")
def text_folder(assets: Assets) -> Path:
    return assets.folder("gte-small")


@pytest.fixture(scope="session")
def minilm_folder(assets: Assets) -> Path:
    return assets.folder("all-minilm")


@pytest.fixture(scope="session")
def demo_clip(assets: Assets) -> Path:
    """The clip itself, not its folder."""
    return assets.folder("demo-clip") / "jwpIntro.mp4"
