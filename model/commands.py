"""What the command lines of the modules share."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from features.errors import TonalityError


def run(app: typer.Typer) -> None:
    """Run a command line and leave the process; our errors are one line on stderr, exit code 2."""
    try:
        app()
    except TonalityError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(2)
