"""Microphones through sounddevice, which is imported only here and only when it is needed."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from capture.choosing import named
from capture.live import HINT
from capture.source import SAMPLE_RATE_HZ
from features.errors import SourceError
from features.threads import OwnedThread

logger = logging.getLogger(__name__)

BLOCKS_PER_S = 20
GIVE_UP_S = 3.0  # what is left of a stream ends within a tenth of it
FIXES = {
    "linux": "install it (Debian, Ubuntu: `apt install libportaudio2`; Fedora: `dnf install portaudio`)",
    "darwin": "install it (`brew install portaudio`)",
}
LOCK = threading.RLock()  # the library's calls are not for several threads at once
REINSTALL = "reinstall it (`pip install --force-reinstall sounddevice`)"

OnBlock = Callable[[np.ndarray], None]
"""Takes ``(n, channels) float32`` in a thread that must not wait."""


@dataclass(frozen=True, slots=True)
class Microphone:
    """An input as PortAudio names it; ``rate_hz`` is the one it runs at by default."""

    index: int
    name: str
    channels: int
    rate_hz: int
    default: bool = False


def import_sounddevice() -> Any:
    """The module, or a :class:`SourceError` that says how to install PortAudio."""
    try:
        import sounddevice
    except OSError as error:
        fix = FIXES.get(sys.platform, REINSTALL)
        raise SourceError(f"microphones need the PortAudio library: {fix}") from error
    return sounddevice


class _Open:
    """How many streams of ours are open in this process; guarded by ``LOCK``."""

    streams = 0


def _look_again(sounddevice: Any) -> None:
    """PortAudio lists devices only when it begins; what is plugged in later needs a new beginning.

    Not while a stream is open, because that would end it.
    """
    if _Open.streams:
        return
    if sounddevice._initialized:
        sounddevice._terminate()
    sounddevice._initialize()


def microphones() -> list[Microphone]:
    """All inputs there are now; while one is open, those there were when it was opened.

    Raises :class:`SourceError` where PortAudio is missing.
    """
    sounddevice = import_sounddevice()
    try:
        with LOCK:
            _look_again(sounddevice)
            devices = sounddevice.query_devices()
            default = sounddevice.default.device[0]
    except sounddevice.PortAudioError as error:
        raise SourceError(f"microphones cannot be listed: {error}") from error
    return [
        Microphone(
            index=int(device["index"]),
            name=str(device["name"]),
            channels=int(device["max_input_channels"]),
            rate_hz=round(device["default_samplerate"]),
            default=device["index"] == default,
        )
        for device in devices
        if device["max_input_channels"] > 0
    ]


def find(device: str) -> Microphone:
    """The input of this index or name (whole, else a part of it; empty: the default one)."""
    inputs = microphones()
    if not inputs:
        raise SourceError(f"there is no microphone ({HINT})")
    if not device:
        return next((m for m in inputs if m.default), inputs[0])
    return named(inputs, device, lambda m: (str(m.index), m.name), "microphone", "its number")


class Stream:
    """A running input stream."""

    def __init__(self, stream: Any, rate_hz: int) -> None:
        """Begin to listen; raises ``PortAudioError`` with the device given back."""
        self.rate_hz = rate_hz
        self._stream: Any = stream
        try:
            stream.start()
        except BaseException:
            stream.close(ignore_errors=True)
            raise
        _Open.streams += 1

    def close(self) -> None:
        """Stop and give the device back; safe to call twice.

        A stream whose sound server has died may never be given back: ALSA's way to PulseAudio then
        waits for ever for a lock of its own. Such a one is left behind.
        """
        with LOCK:
            stream, self._stream = self._stream, None
            if stream is None:
                return
            ending = OwnedThread("sound stream's end", lambda stop: _end(stream)).start()
            if ending.join(GIVE_UP_S):
                ending.check()
                _Open.streams -= 1
            else:
                _leave_behind()


def _end(stream: Any) -> None:
    stream.close(ignore_errors=True)


def _leave_behind() -> None:
    """PortAudio still counts the stream as open, and would wait for it at its own end."""
    atexit.unregister(import_sounddevice()._exit_handler)
    logger.warning("a sound stream does not end within %.0f s and is left behind", GIVE_UP_S)


def open_microphone(device: str, on_block: OnBlock) -> Stream:
    """Start listening to a device by name or index; raises :class:`SourceError`.

    The device's own rate comes first, because sound servers convert by worse filters than ours;
    16 kHz where it is refused.
    """
    import_sounddevice()
    with LOCK:
        return open_input(find(device), on_block)


def open_input(microphone: Microphone, on_block: OnBlock) -> Stream:
    """The same for an input that was listed; hold ``LOCK`` from the listing on."""
    sounddevice = import_sounddevice()
    reason = ""
    for rate_hz, channels in _formats(microphone):
        try:
            stream = sounddevice.InputStream(
                device=microphone.index,
                samplerate=rate_hz,
                channels=channels,
                dtype="float32",
                blocksize=rate_hz // BLOCKS_PER_S,
                callback=lambda data, _frames, _time, _status: on_block(data.copy()),
            )
            return Stream(stream, rate_hz)
        except (sounddevice.PortAudioError, ValueError) as error:
            reason = str(error).splitlines()[0]
    raise SourceError(f"microphone '{microphone.name}' cannot be opened: {reason} ({HINT})")


def _formats(microphone: Microphone) -> list[tuple[int, int]]:
    own = microphone.rate_hz
    formats = [(own, 1), (own, 2), (own, microphone.channels), (SAMPLE_RATE_HZ, 1)]
    usable = [f for f in formats if f[1] <= microphone.channels]
    return list(dict.fromkeys(usable))
