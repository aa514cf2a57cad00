"""Camera and microphone of a headless Chromium, fed from the demo clip."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np

SIZE = (320, 240)
RATE_HZ = 48_000


def device_files(clip: Path, folder: Path) -> tuple[Path, Path]:
    """The clip as Chromium's fake devices want it: raw pictures (y4m) and sound (wav), in a loop."""
    pictures, sound = folder / "camera.y4m", folder / "microphone.wav"
    with av.open(str(clip)) as source, pictures.open("wb") as out:
        rate = source.streams.video[0].average_rate
        width, height = SIZE
        out.write(
            f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg\n".encode()
        )
        for frame in source.decode(video=0):
            planes = frame.reformat(width=width, height=height, format="yuv420p").to_ndarray()
            out.write(b"FRAME\n" + planes.tobytes())
    with av.open(str(clip)) as source, wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        for frame in [*source.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                file.writeframes(piece.to_ndarray().astype(np.int16).tobytes())
    return pictures, sound


def device_flags(pictures: Path, sound: Path) -> list[str]:
    """The prompt is answered with yes; the connection to the server stays on this machine."""
    return [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={pictures}",
        f"--use-file-for-fake-audio-capture={sound}",
        "--allow-loopback-in-peer-connection",
        "--disable-features=WebRtcHideLocalIpsWithMdns",
        "--autoplay-policy=no-user-gesture-required",
    ]
