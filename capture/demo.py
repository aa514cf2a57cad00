"""The demo source: real footage of a speaking person, fetched and verified like a model."""

from __future__ import annotations

from pathlib import Path

from capture.file import FileSource
from features.clock import Clock

ASSET = "demo-clip"
FILE = "jwpIntro.mp4"


class DemoSource(FileSource):
    """The demo clip, looped when paced; the clip is looked up (and fetched) when it is opened."""

    def __init__(
        self,
        *,
        picture: bool = True,
        sound: bool = True,
        paced: bool = True,
        loop: bool = True,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            Path(FILE),
            name="demo",
            picture=picture,
            sound=sound,
            paced=paced,
            loop=loop,
            clock=clock,
        )

    def open(self) -> None:
        """Find the clip and look into it; raises ``AssetError`` or ``SourceError``."""
        from features.assets import Assets

        self.path = Assets().folder(ASSET) / FILE
        super().open()
