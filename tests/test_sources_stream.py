"""Streams by their address, from a real server on this machine: paced, named, broken, secret."""

from __future__ import annotations

import functools
import http.server
import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from capture.addresses import is_address, shown
from capture.config import CaptureConfig
from capture.source import End, Picture, Sound
from capture.sources import open_source
from capture.stream import StreamSource
from features.clock import SystemClock
from features.errors import SourceError
from tests.sources_media import read_all, tone, write_media

LENGTH_S = 1.2


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("www")
    times_s = [i / 25 for i in range(round(LENGTH_S * 25))]
    write_media(folder / "talk.mkv", times_s, sound=tone(LENGTH_S, 48_000))
    (folder / "words.mkv").write_text("no media at all")
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_pictures_and_sound_come_at_their_own_pace(address: str) -> None:
    source = open_source(CaptureConfig(source=f"{address}/talk.mkv?key=secret"))
    assert isinstance(source, StreamSource)
    begun_ns = SystemClock().now_ns()
    with source:
        items = read_all(source)
    passed_s = (SystemClock().now_ns() - begun_ns) / 1e9
    pictures = [item for item in items if isinstance(item, Picture)]
    sound = [item for item in items if isinstance(item, Sound)]
    assert source.has_picture and source.has_sound and source.live
    assert isinstance(items[-1], End)
    assert 12 <= len(pictures) <= 19  # on the 15 Hz grid
    assert all(a.time_s < b.time_s for a, b in itertools.pairwise(pictures))
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(sound))
    heard = np.concatenate([chunk.samples for chunk in sound])
    assert np.abs(heard[len(heard) // 2 :]).max() > 0.3
    assert passed_s > LENGTH_S - 0.3  # not as fast as it can be fetched
    assert source.name.endswith("/talk.mkv")


def test_what_is_not_wanted_is_left_out(address: str) -> None:
    with StreamSource(f"{address}/talk.mkv", picture=False) as source:
        items = read_all(source)
    assert not any(isinstance(item, Picture) for item in items)
    assert any(isinstance(item, Sound) for item in items)


@pytest.mark.parametrize("path", ["words.mkv", "nothing.mkv"])
def test_what_cannot_be_opened_is_said_in_one_line(address: str, path: str) -> None:
    secret = address.replace("//", "//user:pass@")
    with pytest.raises(SourceError) as caught:
        StreamSource(f"{secret}/{path}").open()
    assert str(caught.value).startswith(f"{address}/{path}: cannot be opened (")
    assert "pass" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_addresses_are_told_from_files_and_shown_without_secrets() -> None:
    assert is_address("rtsp://user:pass@camera.local:554/live")
    assert not any(is_address(one) for one in ("talk.mp4", "file:///etc/passwd", "http://", "demo"))
    assert shown("rtsp://user:pass@camera.local:554/live?key=1") == "rtsp://camera.local:554/live"
    assert shown("http://[::1]:80/a") == "http://[::1]:80/a"
