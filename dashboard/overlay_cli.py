"""``tonality overlay``: the overlay for compositors, or burnt into a virtual camera's picture."""

from __future__ import annotations

import contextlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from capture.addresses import safe
from dashboard import models_cli
from dashboard.options import Device, Recogniser
from dashboard.output import complain
from dashboard.readiness import models_for
from features.clock import NS_PER_S, SystemClock
from features.errors import SourceError, TonalityError, WorkerError
from features.threads import OwnedThread

if TYPE_CHECKING:
    from capture.config import CaptureConfig
    from dashboard.camera import Format, Mixer, Overlay, Sink
    from dashboard.runtime import Runtime
    from dashboard.shown import Scores

PAGE: Final = "http://127.0.0.1:8501"
FILMED: Final = "webcam"  # unless another source is named
LOOK_S: Final = 0.25
ASK_S: Final = 2.0
HOW_TO: Final = """\
The overlay is a page:  {page}/overlay
It {stands}.

In OBS:  Sources > + > Browser, this address, width 1920, height 1080; nothing else has to be set.
For a call:  Start Virtual Camera in OBS, and choose 'OBS Virtual Camera' in Zoom, Meet or Teams.
Without OBS:  tonality overlay --camera

In the address, after '?' and joined by '&':
  score=0  arrow=0  wording=0  curve=0  words=0  panel=0      leave a part out
  corner=top-right  scale=1.5  theme=light  span=60           where, how large, how light, how long
  participant=NAME  session=NAME                              somebody else than 'me': only if they agree
Colours are CSS variables (--tonality-panel, --tonality-positive ...); docs/calls.md has all of it.
"""


def overlay(
    camera: Annotated[
        bool, typer.Option("--camera", help="Burn it into the picture of a virtual camera.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            help="What to film: 'webcam', 'webcam:1', 'demo', a video file or the address of a stream; "
            "with --camera or --save.",
            show_default=FILMED,
        ),
    ] = None,
    width: Annotated[int, typer.Option(min=160, max=1920, help="Of the virtual camera.")] = 1280,
    height: Annotated[int, typer.Option(min=120, max=1080, help="Of the virtual camera.")] = 720,
    fps: Annotated[float, typer.Option(min=1, max=60, help="Of the virtual camera.")] = 30.0,
    delay: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=2.0,
            help="Hold pictures back by so many seconds, so that the score of that very moment is "
            "known (0.4 is enough); delay the sound by as much.",
        ),
    ] = 0.0,
    show: Annotated[str, typer.Option(help="Parts, comma-separated.")] = "score,curve,words",
    corner: Annotated[
        str, typer.Option(help="bottom-left, bottom-right, top-left or top-right.")
    ] = "bottom-left",
    scale: Annotated[float, typer.Option(min=0.25, max=4.0, help="Size of the overlay.")] = 1.0,
    virtual: Annotated[
        str | None, typer.Option(help="Which virtual camera, where there are several.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Instead of a virtual camera: write the last picture to this PNG file."),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.0, help="Stop so many seconds after the first picture.")
    ] = None,
    recogniser: Recogniser = "base",
    device: Device = "auto",
) -> None:
    """Show the score over your own picture in calls and recordings.

    Without --camera: says how to bring the overlay's page into OBS. With it: films by itself, and gives
    the picture with the overlay to every program that takes a camera. Only your own score is shown.

    Examples:  tonality overlay    tonality overlay --camera    tonality overlay --camera --show score
    """  # fmt: skip
    if not camera and save is None:
        if source is not None:
            raise typer.BadParameter(
                "it is filmed only with --camera or --save", param_hint="--source"
            )
        typer.echo(HOW_TO.format(page=PAGE, stands=_stands()), nl=False)
        return
    from capture.config import CaptureConfig
    from dashboard.burning import CORNERS, PARTS, Burner
    from dashboard.camera import Format, Mixer
    from dashboard.shown import Scores

    parts = tuple(part.strip() for part in show.split(",") if part.strip())
    if unknown := set(parts) - set(PARTS):
        raise typer.BadParameter(f"'{unknown.pop()}' is none of {', '.join(PARTS)}")
    if corner not in CORNERS:
        raise typer.BadParameter(f"'{corner}' is none of {', '.join(CORNERS)}")
    format, scores = Format(width, height, fps), Scores()
    mixer = Mixer(format, Burner(parts, corner, scale), scores, delay)
    config = CaptureConfig(
        source=source or FILMED, width=width, height=height, fps=fps, recogniser=recogniser,
        purpose="seeing my own score in a call",
    )  # fmt: skip
    _refuse_unseen(config)
    with _sink(format, virtual, save) as sink:  # first: what is missing is said at once
        models_cli.bring(models_for(config))
        with models_cli.termination_as_interrupt(), contextlib.suppress(KeyboardInterrupt):
            _film(config, mixer, scores, sink, format, device, duration)


def _stands() -> str:
    try:
        with urllib.request.urlopen(f"{PAGE}/health", timeout=ASK_S):
            return "is there now"
    except urllib.error.HTTPError:
        return "is there, but something is not well: look at the page, or at /health"
    except OSError:
        return "needs the page running: streamlit run dashboard/app.py"


def _refuse_unseen(config: CaptureConfig) -> None:
    """Raise :class:`SourceError` for what names nothing and for what gives only sound."""
    from capture.file import FileSource
    from capture.sources import MICROPHONE, is_heard, open_source

    source = open_source(config)
    unseen = is_heard(config.source) or MICROPHONE.fullmatch(config.source) is not None
    if type(source) is FileSource:  # not the demo, which may have to be fetched first
        with source:
            unseen = not source.has_picture
    if unseen:
        raise SourceError(f"{safe(config.source)}: has no picture to put the score over")


class _Picture:
    """Takes the place of a virtual camera: the last picture goes to a file."""

    def __init__(self, path: Path) -> None:
        self.device = str(path)
        self._path = path
        self._last: object = None

    def send(self, frame: object) -> None:
        self._last = frame

    def close(self) -> None:
        from PIL import Image

        if self._last is None:
            raise TonalityError(f"{self._path} was not written: no picture came")
        try:
            Image.fromarray(self._last).save(self._path)  # type: ignore[arg-type]
        except (OSError, ValueError) as error:
            raise TonalityError(f"{self._path} cannot be written: {error}") from error


@contextlib.contextmanager
def _sink(format: Format, virtual: str | None, save: Path | None) -> Iterator[Sink]:
    from dashboard.camera import open_virtual_camera

    sink: Sink = _Picture(save) if save is not None else open_virtual_camera(format, virtual)
    try:
        yield sink
    except BaseException:
        if save is None:
            sink.close()
        raise
    sink.close()


def _where(sink: Sink) -> str:
    """Where the picture is to be found."""
    if isinstance(sink, _Picture):
        return f"the last picture is written to {sink.device} at the end"
    return f"choose the camera '{sink.device}' in the call"


def _film(
    config: CaptureConfig,
    mixer: Mixer,
    scores: Scores,
    sink: Sink,
    format: Format,
    device: str,
    duration_s: float | None,
) -> None:
    from msgspec.structs import replace

    from capture.frames import FrameReader
    from dashboard.camera import Overlay
    from dashboard.runtime import Runtime
    from dashboard.watching import named, wait_for_inference

    runtime, frames = Runtime(device=device), FrameReader()
    try:
        address = runtime.start()
        wait_for_inference(runtime)
        session = runtime.start_session(replace(config, frames=frames.path))
        overlay = Overlay(
            address, session, config.participant, frames, mixer, scores, sink, format.fps
        )
        thread = OwnedThread("overlay", overlay.run).start()
        complain(f"{_where(sink)}; only your own score is in it; Ctrl-C ends it")
        try:
            _until_over(runtime, session, thread, overlay, duration_s)
        finally:
            thread.close()
            if lost := {name: count for name, count in overlay.counts.items() if count}:
                complain(f"lost on the way: {named(lost)}")
    finally:
        runtime.close()
        frames.close()


def _until_over(
    runtime: Runtime,
    session: str,
    thread: OwnedThread,
    overlay: Overlay,
    duration_s: float | None,
) -> None:
    """Return when the source is over, or ``duration_s`` after the first picture."""
    clock, pause = SystemClock(), threading.Event()
    began_ns = 0
    while duration_s is None or not began_ns or clock.now_ns() - began_ns < duration_s * NS_PER_S:
        pause.wait(LOOK_S)
        began_ns = began_ns or (clock.now_ns() if overlay.taken else 0)
        thread.check()
        for state in runtime.states():
            concerns = state.role == "inference" or state.session == session
            if concerns and state.state == "failed":
                raise WorkerError(f"{state.name}: {state.detail}")
            if state.session == session and state.over:
                return
