"""Which text encoder a run asks for, by name, and how it is tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from features.assets import Assets
from model.text.states import TextStates
from model.text.tunable import Tuning

GTE_SMALL: Final = "gte-small"
MPNET: Final = "mpnet"
ASSETS: Final = {GTE_SMALL: GTE_SMALL, "minilm": "all-minilm", MPNET: "all-mpnet"}


def assets_for(name: str) -> tuple[str, ...]:
    """The assets that an encoder's files are, to be brought before it is loaded; none for the hub's."""
    return (ASSETS[name],) if name in ASSETS else ()


def load_encoder(
    name: str, tune: str = "frozen", device: str = "cpu", assets: Assets | None = None
) -> TextStates:
    """An encoder: ``gte-small``, ``minilm``, ``mpnet``, a name of the hub or a folder.

       ``tune`` is as in ``Tuning``.
    Raises :class:`features.errors.AssetError` for one that is not
       here, and :class:`features.errors.TonalityError` for a way of tuning that does not exist.
    """
    tuning = Tuning.parse(tune)
    if name == GTE_SMALL and tuning.kind == "frozen":
        from model.text.encoder import TextEncoder

        return TextEncoder.load(_folder(name, assets)).to(device)
    from model.text import hub  # transformers takes seconds to load

    if name in ASSETS:
        read = hub.archived if name == MPNET else hub.embedded
        encoder = read(name, _folder(name, assets))
    else:
        encoder = hub.from_hub(name)
    encoder.tune(tuning)
    return encoder.to(device)


def _folder(name: str, assets: Assets | None) -> Path:
    return (assets or Assets()).folder(ASSETS[name])
