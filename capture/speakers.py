"""What this machine plays, as a source: the other side of a call, as far as the system lets us hear.

Linux: the monitor of an output of PulseAudio or PipeWire. Windows: loopback inputs of PortAudio.
macOS: a loopback device such as BlackHole. Elsewhere the same words say what is missing.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from capture.choosing import named
from capture.live import Origin
from capture.microphone import MicrophoneSource
from capture.portaudio import (
    LOCK,
    Microphone,
    OnBlock,
    Stream,
    import_sounddevice,
    microphones,
    open_input,
)
from features.clock import Clock
from features.errors import SourceError

# Inputs that give what is played, by the names that systems and loopback drivers give them.
PLAYED: Final = re.compile(
    r"^monitor of |\[loopback\]|blackhole|soundflower|loopback audio|stereo mix|cable output|vb-cable",
    re.IGNORECASE,
)
PULSE_DEVICE: Final = "pulse"  # ALSA's way to PulseAudio, and to PipeWire in its place
PULSE_VARIABLE: Final = "PULSE_SOURCE"  # which source libpulse takes where none is asked for
CLIENT: Final = "tonality"
MENDS: Final = {
    "linux": "a sound server is needed: PulseAudio, or PipeWire with pipewire-pulse, and ALSA's way "
    "to it (Debian, Ubuntu: `apt install libasound2-plugins`)",
    "darwin": "install a loopback device (`brew install blackhole-2ch`), and make it part of a "
    "multi-output device in Audio MIDI Setup, so that you hear too",
    "win32": "no loopback input is there: enable 'Stereo Mix' among the recording devices, or install "
    "VB-CABLE",
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """An output whose sound can be heard; ``name`` is what ``speakers:NAME`` takes.

    ``index`` is PortAudio's for inputs that it lists itself, ``None`` for monitors of a sound server.
    """

    name: str
    label: str
    rate_hz: int
    channels: int
    default: bool = False
    index: int | None = None


def is_played(microphone: Microphone) -> bool:
    """Whether an input of PortAudio gives what is played, not what is said into a microphone."""
    return PLAYED.search(microphone.name) is not None


def speakers() -> list[Speaker]:
    """All outputs that can be heard, the default one first; empty where there is no way to.

    Raises :class:`SourceError` where PortAudio is missing.
    """
    inputs = microphones()
    listed = [
        Speaker(str(m.index), m.name, m.rate_hz, m.channels, index=m.index)
        for m in inputs
        if is_played(m)
    ]
    if any(m.name == PULSE_DEVICE for m in inputs):
        listed = [*_monitors(), *listed]
    return sorted(listed, key=lambda one: not one.default)


def _monitors() -> list[Speaker]:
    """Monitors of the sound server's outputs; none where there is no server."""
    try:
        import pulsectl
    except (ImportError, OSError):  # its library comes with the sound server
        return []
    try:
        with pulsectl.Pulse(CLIENT) as pulse:
            default = pulse.server_info().default_sink_name
            return [_monitor(sink, sink.name == default) for sink in pulse.sink_list()]
    except pulsectl.PulseError:
        return []


def _monitor(sink: Any, default: bool) -> Speaker:
    rate_hz, channels = int(sink.sample_spec.rate), int(sink.sample_spec.channels)
    return Speaker(sink.monitor_source_name, sink.description, rate_hz, channels, default)


def mend() -> str:
    """What to do on this system so that what is played can be heard."""
    return MENDS.get(sys.platform, "this system offers no way to it")


def find(device: str) -> Speaker:
    """The output of this name (whole, else a part of name or label; empty: the default one)."""
    found = speakers()
    if not found:
        raise SourceError(f"what is played cannot be heard: {mend()}")
    if not device:
        return found[0]
    return named(found, device, lambda one: (one.name, one.label), "output", "its whole name")


def open_speakers(device: str, on_block: OnBlock) -> Stream:
    """Start listening to what an output plays; raises :class:`SourceError`."""
    import_sounddevice()
    with LOCK:
        speaker = find(device)
        if speaker.index is not None:
            as_input = Microphone(speaker.index, speaker.label, speaker.channels, speaker.rate_hz)
            return open_input(as_input, on_block)
        way = next(m for m in microphones() if m.name == PULSE_DEVICE)
        with _taken_by_pulse(speaker.name):
            monitor = replace(way, name=speaker.label, channels=2, rate_hz=speaker.rate_hz)
            return open_input(monitor, on_block)


@contextmanager
def _taken_by_pulse(source: str) -> Iterator[None]:
    """ALSA names no monitors; libpulse, which each stream connects anew, takes the one named here."""
    before = os.environ.get(PULSE_VARIABLE)
    os.environ[PULSE_VARIABLE] = source
    try:
        yield
    finally:
        if before is None:
            del os.environ[PULSE_VARIABLE]
        else:
            os.environ[PULSE_VARIABLE] = before


def speaker_source(
    device: str = "",
    *,
    name: str | None = None,
    clock: Clock | None = None,
    origin: Origin | None = None,
    wake: Callable[[], None] | None = None,
) -> MicrophoneSource:
    """What an output plays, as 16 kHz mono, with the times and losses of a microphone."""
    own = f"speakers:{device}" if device else "speakers"
    return MicrophoneSource(
        device,
        name=own if name is None else name,
        factory=open_speakers,
        clock=clock,
        origin=origin,
        wake=wake,
        what="speakers",
    )
