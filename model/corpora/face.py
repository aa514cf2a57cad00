"""Face corpora: pictures, action units and speaking faces as the 58 values of the live extractor.

Pictures are web faces that hold still, action units are of actors who speak; see each reader for
what its labels mean on the scale of -3 to +3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from features.errors import CorpusError
from features.spec import BLENDSHAPES, FACE, LIVE, POSE
from model.corpora.features_cache import load_arrays, save_arrays
from model.corpora.text import TEST, TRAIN, VALID
from model.corpora.voice import VoiceClip

WIDTH: Final = len(BLENDSHAPES) + len(POSE)
FER_FILE: Final = "fer2013/fer2013_jpeg.npz"
UNITS_FILE: Final = "ravdess/ravdess_openface_au_mean.npz"
FER_VALENCE: Final = {
    "happy": 2.0, "surprise": 0.2, "neutral": 0.0,
    "sad": -1.6, "fear": -1.8, "angry": -2.0, "disgust": -2.0,
}  # fmt: skip
PICTURE_PIXELS: Final = 192
BORDER_PIXELS: Final = 32
MIN_CONFIDENCE: Final = 0.3
BLOCK: Final = 512  # pictures per cache file
VIDEO_HZ: Final = 15.0
VALID_IN: Final = 12  # every twelfth training picture validates

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
    """Faces in rows: ``values (n, 58) float32``, ``label (n,) float32`` in -3..3, ``split``,
    ``emotion`` and ``speaker`` ``(n,) str`` (speaker empty where unknown)."""

    values: np.ndarray
    label: np.ndarray
    split: np.ndarray
    emotion: np.ndarray
    speaker: np.ndarray

    def rows(self, chosen: np.ndarray) -> FaceTable:
        """Rows by mask or index."""
        return FaceTable(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Pictures:
    """FER2013 without duplicates, in an order that is shuffled once and for all."""

    jpeg: np.ndarray
    offset: np.ndarray
    emotion: np.ndarray
    split: np.ndarray
    order: np.ndarray

    def image(self, index: int) -> np.ndarray:
        """One picture, ``(256, 256, 3) uint8``: 48 pixels upscaled to 192, border replicated."""
        coded = self.jpeg[self.offset[index] : self.offset[index + 1]]
        grey = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
        size = (PICTURE_PIXELS, PICTURE_PIXELS)
        large = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
        edge = (BORDER_PIXELS,) * 4
        framed = cv2.copyMakeBorder(large, *edge, cv2.BORDER_REPLICATE)
        colour: np.ndarray = cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB)
        return colour


def fer2013(data: Path) -> Pictures:
    """FER2013 (Goodfellow et al. 2013): PublicTest is test, every twelfth training picture valid.

    Byte-identical pictures are kept once, in the test part first.
    """
    path = data / FER_FILE
    if not path.is_file():
        raise CorpusError(f"{path}: no such file; --data names the folder of the corpora")
    kept = load_arrays(path)
    jpeg, offset, usage = kept["jpeg"], kept["offset"], kept["usage"]
    seen: set[bytes] = set()
    order = []
    for index in np.argsort(-usage, kind="stable").tolist():
        digest = hashlib.sha256(jpeg[offset[index] : offset[index + 1]].tobytes()).digest()
        if digest not in seen:
            seen.add(digest)
            order.append(index)
    shuffled = np.random.default_rng(0).permutation(np.sort(order))
    split = np.where(usage > 0, TEST, TRAIN).astype("<U5")
    training = shuffled[usage[shuffled] == 0]
    split[training[::VALID_IN]] = VALID
    return Pictures(jpeg, offset, kept["emotions"][kept["label"]], split, shuffled)


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

    A block ``fer2013/BLOCK.npz`` holds ``index (m,)`` into the corpus and ``values (m, 58)`` of those
    pictures in which a face was found.
    """
    from features.face import StillFaceExtractor

    extractor = StillFaceExtractor(landmarker, MIN_CONFIDENCE)
    try:
        for number, start in enumerate(range(0, len(pictures.order), BLOCK)):
            block = pictures.order[start : start + BLOCK]
            path = face_folder(cache) / "fer2013" / f"{number:04d}.npz"
            if not path.is_file():
                found = [(i, extractor.sample(pictures.image(i)).values) for i in block.tolist()]
                faces = [(index, values) for index, values in found if values is not None]
                values = np.array([v for _, v in faces], np.float32).reshape(-1, WIDTH)
                index = np.array([i for i, _ in faces], np.int64)
                save_arrays(path, {"index": index, "values": values})
            advance(len(block))
    finally:
        extractor.close()


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
    random neutral reference face. Labels, splits and speakers are those of the clips.
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

    ``time_s (n,) float64`` and ``values (n, 58) float32`` of the pictures with a face.
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
    """``(time_s (n,), values (n, 58))`` of every video built, by its file's name without suffix."""
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
