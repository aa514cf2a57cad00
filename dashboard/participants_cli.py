"""``tonality participants``: what is kept of people between recordings, and its deletion."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dashboard.output import complain
from features.errors import ParticipantError
from features.participants import Participant, Participants
from features.spec import FACE, LIVE, VOICE

app = typer.Typer(
    no_args_is_help=True,
    help="""What is kept of participants between recordings: list, forget.

    'tonality score --participant NAME' keeps means and variances of somebody's face and voice, never
    pictures, sound or words, in $TONALITY_DATA or your data folder, for your eyes alone.""",
)


def told(participant: Participant) -> str:
    """What is known of a participant, in a few words."""
    seconds = participant.seconds()
    known = [f"{name} {seconds[name]:.0f} s" for name in (FACE, VOICE) if seconds.get(name)]
    count = len(participant.recordings)
    told = f"{', '.join(known) or 'nothing yet'} from {count} recording{'s' * (count != 1)}"
    return told + (f", rest from {participant.rest_from}" if participant.rest else "")


def tell(name: str) -> None:
    """Say on standard error what is known of a participant; raises what loading raises."""
    complain(f"participant {name}: known before: {told(Participants().load(name))}")


@app.command("list")
def list_participants() -> None:
    """Show everybody of whom anything is kept, how much, and where."""
    kept = Participants()
    console = Console()
    names = kept.names()
    if names:
        table = Table("name", "known", "last scored", title="Participants")
        for name in names:
            table.add_row(name, *_cells(kept, name))
        console.print(table)
    else:
        console.print("Nothing is kept of anybody.")
    console.print(f"in {kept.folder}", soft_wrap=True, highlight=False)


def _cells(kept: Participants, name: str) -> tuple[str, str]:
    try:
        found = kept.peek(name)
    except ParticipantError as error:
        return str(error), ""
    last = max((recording.scored for recording in found.recordings), default="")
    if found.spec != LIVE.hash:
        return "kept with the features of another version, of no use to this one", last
    return told(found), last


@app.command()
def forget(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Names as 'tonality participants list' shows them."),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody.")] = False,
) -> None:
    """Delete all that is kept of participants."""
    kept = Participants()
    wanted = kept.names() if everybody else names or []
    if not wanted and not everybody:
        raise typer.BadParameter("name somebody, or say --all")
    for unknown in sorted(set(wanted) - set(kept.names())):
        raise ParticipantError(f"nothing is kept of '{unknown}' in {kept.folder}")
    for name in wanted:
        kept.forget(name)
        typer.echo(f"forgotten: {name}")
