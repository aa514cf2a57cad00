"""Options that several commands take, with their help."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Option(
        help="'demo', 'webcam' (camera and microphone), 'webcam:1', 'microphone', "
        "'microphone:NAME', 'webcam:0+microphone:NAME', 'speakers' or 'speakers:NAME' (what this "
        "machine plays: the other side of a call, who must know and agree), the path of a media "
        "file, or the address of a stream (rtsp://..., https://...)."
    ),
]
Device = Annotated[str, typer.Option(help="Where the network runs: auto, cuda, mps or cpu.")]
Recogniser = Annotated[
    str,
    typer.Option(
        help="Speech recogniser: 'base', or 'tiny.en' for weak machines, which knows English alone."
    ),
]
Width = Annotated[int, typer.Option(min=16, help="Wished width of the camera's picture.")]
Height = Annotated[int, typer.Option(min=16, help="Wished height of the camera's picture.")]
Fps = Annotated[float, typer.Option(min=1, max=240, help="Wished pictures per second.")]
Picture = Annotated[bool, typer.Option("--picture/--no-picture", help="Use the picture.")]
Sound = Annotated[bool, typer.Option("--sound/--no-sound", help="Use the sound.")]
Words = Annotated[bool, typer.Option("--words/--no-words", help="Recognise words in the sound.")]
TextOnly = Annotated[
    bool,
    typer.Option(
        "--text-only",
        help="Read nothing but words: no face, no voice. Words alone are not biometric.",
    ),
]
Language = Annotated[
    str, typer.Option(help="Spoken language, a code such as en or de; '' to detect it.")
]
Participant = Annotated[
    str | None,
    typer.Option(
        help="Whose face and voice this is. What is known of their usual face and voice is kept for "
        "the next recording ('tonality participants list' shows it)."
    ),
]
RestSeconds = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=600.0,
        help="Take the first seconds as the resting face and voice, against which the rest is read.",
    ),
]
