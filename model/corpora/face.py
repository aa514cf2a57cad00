"""Face corpora: pictures, action units and speaking faces as the 65 values of the live extractor.

Pictures are web faces that hold still, action units are of actors who speak; see each reader for
what its labels mean on the scale of -3 to +3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from features.appearance import Appearance
from features.errors import CorpusError
from features.spec import APPEARANCE, BLENDSHAPES, FACE, LIVE
from model.corpora.features_cache import load_arrays, save_arrays
from model.corpora.pictures import (
    Pictures,
    build_pictures,
    fer2013,
    load_block,
    pictures_folder,
)
from model.corpora.voice import VoiceClip

WIDTH: Final = LIVE.stream(FACE).width
UNITS_FILE: Final = "ravdess/ravdess_openface_au_mean.npz"
FER_VALENCE: Final = {
    "happy": 2.0, "surprise": 0.2, "neutral": 0.0,
    "sad": -1.6, "fear": -1.8, "angry": -2.0, "disgust": -2.0,
}  # fmt: skip
VIDEO_HZ: Final = 15.0

UNIT_SHAPES: Final[dict[str, tuple[str, ...]]] = {
    "AU01_r": ("browInnerUp",),
    "AU02_r": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04_r": ("browDownLeft", "browDownRight"),
    "AU05_r": ("eyeWideLeft", "eyeWideRight"),
    "AU07_r": ("eyeSquintLeft", "eyeSquintRight"),
    "AU10_r": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12_r": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14_r": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15_r": ("mouthFrownLeft", "mouthFrownRight"),
    "AU17_r": ("mouthShrugLower",),
    "AU20_r": ("mouthStretchLeft", "mouthStretchRight"),
    "AU25_r": ("jawOpen",),
    "AU45_r": ("eyeBlinkLeft", "eyeBlinkRight"),
}
AS_IN_FER: Final = {
    "happy": "happy", "calm": "neutral", "neutral": "neutral", "surprised": "surprise",
    "sad": "sad", "fearful": "fear", "disgust": "disgust", "angry": "angry",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FaceTable:
    """Faces in rows: ``values (n, 65) float32``, ``label (n,) float32`` in -3..3, ``split``,
    ``emotion`` and ``speaker`` ``(n,) str`` (speaker empty where unknown)."""

    values: np.ndarray
    label: np.ndarray
    split: np.ndarray
    emotion: np.ndarray
    speaker: np.ndarray

    def rows(self, chosen: np.ndarray) -> FaceTable:
        """Rows by mask or index."""
        return FaceTable(*(getattr(self, name)[chosen] for name in self.__slots__))


def face_folder(cache: Path) -> Path:
    """``CACHE/face-KEY``."""
    return cache / f"face-{LIVE.key(FACE)}"


def build_fer(
    pictures: Pictures,
    landmarker: Path,
    cache: Path,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Extract the blocks that are not in the cache; ``landmarker`` is the folder of the weights.

    A block ``fer2013/BLOCK.npz`` holds ``index (m,)`` into the corpus and ``values (m, 65)`` of those
    pictures in which a face was found.
    """
    build_pictures(pictures, landmarker, cache, advance)
    appearance = Appearance()
    for path in sorted(pictures_folder(cache).glob("*.npz")):
        target = face_folder(cache) / "fer2013" / path.name
        if not target.is_file():
            faces = load_block(path)
            values = np.concatenate([faces.shapes, appearance.read(faces.inner)], 1)
            save_arrays(target, {"index": faces.index, "values": values})


def load_fer(data: Path, cache: Path) -> FaceTable:
    """All blocks built so far; every prefix of them is a fair sample.

    Happy 2, surprise .2, neutral 0, sad -1.6, fear -1.8, angry -2, disgust -2.
    """
    paths = sorted((face_folder(cache) / "fer2013").glob("*.npz"))
    if not paths:
        raise CorpusError(f"{face_folder(cache)}: not built; run 'python -m model.corpora build'")
    blocks = [load_arrays(path) for path in paths]
    index = np.concatenate([block["index"] for block in blocks])
    pictures = fer2013(data)
    emotion = pictures.emotion[index]
    label = np.array([FER_VALENCE[name] for name in emotion.tolist()], np.float32)
    values = np.concatenate([block["values"] for block in blocks])
    nobody = np.full(len(index), "", "<U3")
    return FaceTable(values, label, pictures.split[index], emotion, nobody)


def speaking_faces(
    data: Path, clips: Sequence[VoiceClip], reference: FaceTable, seed: int = 0
) -> FaceTable:
    """RAVDESS action units as faces of the live extractor, one row per clip of ``clips``.

    OpenFace's clip means and MediaPipe's blendshapes have other scales: each action unit's rank
    among the clips becomes that rank's value of the matching blendshape among ``reference`` faces
    that are mixed from the same emotions. What has no action unit (gaze, pose, ...) is that of a
    random neutral reference face; how the actor looks is not known (NaN). Labels, splits and speakers
    are those of the clips.
    """
    path = data / UNITS_FILE
    if not path.is_file():
        raise CorpusError(f"{path}: no such file; --data names the folder of the corpora")
    kept = load_arrays(path)
    place = {name: row for row, name in enumerate(kept["id"].tolist())}
    units = kept["au35"][[place[clip.id] for clip in clips]]
    names = kept["au_names"].tolist()
    chance = np.random.default_rng(seed)
    mixed = _mixed(reference, [AS_IN_FER[clip.emotion] for clip in clips], chance)
    neutral = reference.values[reference.emotion == "neutral"]
    values = neutral[chance.integers(len(neutral), size=len(clips))].copy()
    values[:, -len(APPEARANCE) :] = np.nan
    for unit, shapes in UNIT_SHAPES.items():
        column = units[:, names.index(unit)]
        rank = (np.argsort(np.argsort(column, kind="stable")) + 0.5) / len(column)
        for shape in shapes:
            target = BLENDSHAPES.index(shape)
            values[:, target] = np.quantile(mixed[:, target], rank)
    return FaceTable(
        values,
        np.array([clip.label for clip in clips], np.float32),
        np.array([clip.split for clip in clips]),
        np.array([clip.emotion for clip in clips]),
        np.array([clip.speaker for clip in clips]),
    )


def _mixed(reference: FaceTable, emotions: list[str], chance: np.random.Generator) -> np.ndarray:
    """Reference faces drawn so that each emotion is as frequent as in ``emotions``."""
    drawn = []
    for emotion in sorted(set(emotions)):
        faces = reference.values[reference.emotion == emotion]
        if len(faces):
            drawn.append(faces[chance.integers(len(faces), size=8 * emotions.count(emotion))])
    return np.concatenate(drawn)


def build_video(path: Path, landmarker: Path, cache: Path) -> None:
    """The followed face of a video on a grid of 15 Hz, as live: ``video/NAME.npz``.

    ``time_s (n,) float64`` and ``values (n, 65) float32`` of the pictures with a face.
    """
    from features.face import FaceExtractor

    target = face_folder(cache) / "video" / f"{path.stem}.npz"
    if target.is_file():
        return
    extractor = FaceExtractor(landmarker)
    try:
        samples = [extractor.push(image, time_s) for time_s, image in _frames(path)]
    finally:
        extractor.close()
    seen = [(sample.time_s, sample.values) for sample in samples if sample.values is not None]
    values = np.array([v for _, v in seen], np.float32).reshape(-1, WIDTH)
    save_arrays(target, {"time_s": np.array([t for t, _ in seen]), "values": values})


def load_videos(cache: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``(time_s (n,), values (n, 65))`` of every video built, by its file's name without suffix."""
    paths = sorted((face_folder(cache) / "video").glob("*.npz"))
    kept = {path.stem: load_arrays(path) for path in paths}
    return {name: (arrays["time_s"], arrays["values"]) for name, arrays in kept.items()}


def _frames(path: Path) -> list[tuple[float, np.ndarray]]:
    """The first picture of each fifteenth of a second."""
    chosen: dict[int, tuple[float, np.ndarray]] = {}
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                time_s = float(frame.time or 0.0)
                step = int(time_s * VIDEO_HZ + 1e-6)
                if step not in chosen:
                    chosen[step] = (time_s, frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, IndexError, OSError) as error:
        raise CorpusError(f"{path}: cannot be read as video: {error}") from error
    return [chosen[step] for step in sorted(chosen)]
