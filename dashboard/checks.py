"""What Tonality needs of a machine, looked at one thing at a time.

Each check tells one thing: what it is, how it is, what was seen, and how to mend it. ``FAIL`` means that
the demo would not run, ``WARN`` that something beyond the demo would not.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from rich.filesize import decimal

from features.assets import Assets, State, offline

OLDEST_PYTHON = (3, 11)
NATIVE_MODULES = ("av", "cv2", "ctranslate2", "onnx", "opensmile", "torch", "zmq")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PAGE_PORT = 8501
ONLY_FOR_TESTS = frozenset({"whisper-tiny.en"})
CHECKPOINT = Path("checkpoints") / "live"


class Health(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; ``mend`` is empty where nothing needs mending."""

    name: str
    state: Health
    detail: str
    mend: str = ""


def python() -> Iterator[Check]:
    """The interpreter is new enough."""
    told = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= OLDEST_PYTHON:
        yield Check("python", Health.OK, told)
    else:
        yield Check("python", Health.FAIL, told, "install Python 3.11 or newer, then 'make setup'")


def packages() -> Iterator[Check]:
    """Each dependency is installed in a version that the project takes."""
    try:
        declared = metadata.requires("tonality") or []
    except metadata.PackageNotFoundError:
        yield Check("tonality", Health.FAIL, "not installed", "run 'make setup'")
        return
    for requirement in map(Requirement, declared):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement)


def package(requirement: Requirement) -> Check:
    """One dependency against what is installed."""
    name = f"package {requirement.name}"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(name, Health.FAIL, "not installed", f"pip install '{requirement}'")
    if requirement.specifier.contains(version, prereleases=True):
        return Check(name, Health.OK, version)
    wanted = f"{version}, but {requirement.specifier} is needed"
    return Check(name, Health.FAIL, wanted, f"pip install '{requirement}'")


def native_code() -> Iterator[Check]:
    """Compiled parts load; a missing system library shows here, with its name."""
    for module in NATIVE_MODULES:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            mend = "run '.ci/system' as root, or install the library that is named"
            yield Check(f"loads {module}", Health.FAIL, one_line(error), mend)
        else:
            yield Check(f"loads {module}", Health.OK, "yes")
    yield _mediapipe_library()


def _mediapipe_library() -> Check:
    name = "loads mediapipe"
    spec = importlib.util.find_spec("mediapipe")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    libraries = list(folder.glob("tasks/c/libmediapipe.*")) if folder is not None else []
    if not libraries:
        return Check(name, Health.FAIL, "its library is not installed", "run 'make setup'")
    try:
        ctypes.CDLL(str(libraries[0]))  # the package itself loads it only with the first face
    except OSError as error:
        mend = "Debian: apt-get install libgles2 libegl1"
        return Check(name, Health.FAIL, one_line(error), mend)
    return Check(name, Health.OK, "yes")


def models() -> Iterator[Check]:
    """Weights and the demo clip are here; quick, by what was verified before."""
    assets = Assets()
    for asset in assets.manifest.assets:
        states = [state for state in assets.states() if state.asset == asset.name]
        told = ", ".join(sorted({state.state.value for state in states}))
        name = f"model {asset.name}"
        mend = f"tonality models fetch {asset.name}"
        if all(state.state is State.VERIFIED for state in states):
            yield Check(name, Health.OK, told)
        elif asset.optional and all(state.state is State.MISSING for state in states):
            yield Check(name, Health.OK, "optional: fetched when it is first used")
        elif all(state.state is not State.MISSING for state in states):
            yield Check(name, Health.OK, f"{told}: hashed at the next start")
        elif not offline():
            yield Check(name, Health.WARN, f"{told}: fetched at the next start", mend)
        else:
            worst = Health.WARN if asset.name in ONLY_FOR_TESTS else Health.FAIL
            yield Check(name, worst, f"{told}, and TONALITY_OFFLINE forbids fetching", mend)


def disk() -> Iterator[Check]:
    """The cache has room for what is still missing, with its packages while they are unpacked."""
    assets = Assets()
    optional = {asset.name for asset in assets.manifest.assets if asset.optional}
    needed_here = [s for s in assets.states() if s.asset not in optional]
    missing = sum(s.file.size for s in needed_here if s.state is State.MISSING)
    place = assets.root
    try:
        while not place.exists():
            place = place.parent
        free, needed = shutil.disk_usage(place).free, 3 * missing
    except PermissionError as error:
        mend = "set TONALITY_CACHE to a folder of your own"
        yield Check("disk", Health.FAIL, one_line(error), mend)
        return
    told = f"{decimal(free)} free at {place}, {decimal(needed)} needed"
    if free >= needed:
        yield Check("disk", Health.OK, told)
    else:
        mend = "free some space, or set TONALITY_CACHE to another folder"
        yield Check("disk", Health.FAIL, told, mend)


def checkpoint() -> Iterator[Check]:
    """The live checkpoint loads and fits this version's features."""
    import model
    from features.errors import TonalityError
    from features.spec import LIVE
    from model.checkpoint import Checkpoint

    folder = Path(model.__file__).parent / CHECKPOINT
    try:
        loaded = Checkpoint.load(folder)
    except TonalityError as error:
        mend = "get the folder back: 'git checkout -- model/checkpoints'"
        yield Check("checkpoint", Health.FAIL, one_line(error), mend)
        return
    told = f"{folder.name}, made {loaded.created or 'at an unknown time'}, spec {loaded.spec.hash}"
    if loaded.spec.hash != LIVE.hash:
        mend = "train a checkpoint on this version's features"
        yield Check("checkpoint", Health.FAIL, f"{told}, but live is {LIVE.hash}", mend)
    elif not loaded.trained:
        yield Check(
            "checkpoint", Health.WARN, f"{told}, not trained: scores mean nothing", "train it"
        )
    else:
        yield Check("checkpoint", Health.OK, told)


def compute() -> Iterator[Check]:
    """What the networks and the recogniser would run on. A CPU is enough."""
    import ctranslate2
    import torch

    if torch.cuda.is_available():
        device = f"CUDA: {torch.cuda.get_device_name()}"
    else:
        device = "MPS" if torch.backends.mps.is_available() else "CPU"
    yield Check("networks run on", Health.OK, f"{device} (torch {torch.__version__})")
    graphics = ctranslate2.get_cuda_device_count()
    told = f"{graphics} CUDA devices" if graphics else f"CPU, {torch.get_num_threads()} threads"
    yield Check("recogniser runs on", Health.OK, f"{told} (ctranslate2 {ctranslate2.__version__})")


def ports() -> Iterator[Check]:
    """Loopback can be bound; the page's usual port is free."""
    for port, needed in ((0, True), (PAGE_PORT, False)):
        name = "loopback" if needed else f"port {port}"
        with socket.socket() as probe:
            if platform.system() != "Windows":  # what was closed a moment ago is not in the way
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                taken = not needed and error.errno == errno.EADDRINUSE
                mend = "end what uses it, or take the next free port" if taken else "allow loopback"
                state = Health.FAIL if needed else Health.WARN
                yield Check(name, state, error.strerror or str(error), mend)
            else:
                yield Check(name, Health.OK, "can be bound on 127.0.0.1")


def portaudio() -> Iterator[Check]:
    """The library behind microphones loads; the demo needs none."""
    try:
        import sounddevice
    except OSError as error:
        mends = {"Linux": "apt-get install libportaudio2", "Darwin": "brew install portaudio"}
        mend = mends.get(platform.system(), "reinstall the package sounddevice")
        yield Check("microphone library", Health.WARN, one_line(error), mend)
    else:
        version = sounddevice.get_portaudio_version()[1].split(",")[0]
        yield Check("microphone library", Health.OK, version)


def devices() -> Iterator[Check]:
    """Cameras and microphones, and whether this user may open them; the demo needs none."""
    from capture.devices import list_devices

    found = list_devices()
    cameras = [f"{camera.index}: {camera.name}" for camera in found.cameras]
    yield _devices("cameras", cameras, "plug one in, and add this user to the group 'video'")
    names = [f"{microphone.index}: {microphone.name}" for microphone in found.microphones]
    yield _devices("microphones", names, "plug one in, and start the sound server")
    for camera in found.cameras:
        node = Path(f"/dev/video{camera.index}")
        if node.exists() and not os.access(node, os.R_OK | os.W_OK):
            mend = "add this user to the group 'video' and log in again"
            yield Check(f"camera {camera.index}", Health.WARN, f"{node} is not readable", mend)
    for problem in found.problems:
        yield Check("devices", Health.WARN, problem)


def browser() -> Iterator[Check]:
    """A Chromium for the tests of the page; people may use any browser."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if found:
        yield Check("browser of the tests", Health.OK, found[0])
    else:
        mend = "apt-get install chromium (only the page's tests need it)"
        yield Check("browser of the tests", Health.WARN, "no Chromium on PATH", mend)


def licences() -> Iterator[Check]:
    """What the installed parts allow."""
    told = "opensmile: research and private use only, not for products (audEERING licence)"
    yield Check("licences", Health.OK, told)


ALL: tuple[Callable[[], Iterator[Check]], ...] = (
    *(python, packages, native_code, models, disk, checkpoint, compute, ports),
    *(portaudio, devices, browser, licences),
)


def _devices(name: str, found: list[str], mend: str) -> Check:
    if found:
        return Check(name, Health.OK, ", ".join(found))
    return Check(name, Health.WARN, "none found; the demo and files work without", mend)


def one_line(error: BaseException) -> str:
    """What went wrong, for a check's ``detail``."""
    return " ".join(str(error).split()) or type(error).__name__
