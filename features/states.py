"""Means of the recogniser's encoder states over cells of a quarter second of media time."""

from __future__ import annotations

import math

import numpy as np

from features.samples import StateChunk
from features.utterance import SpeechTrack

CELLS_PER_S = 4
STATE_S = 0.02  # one encoder state every 20 ms
CONTEXT_S = 1.2  # what the encoder must have heard after a cell for the last time
_SLACK = 1e-6  # media times are sums of floats; a cell that ends where the sound ends is complete


class StatePooler:
    """Gives a cell in every pass that covers it, if it holds speech, until it is settled.

    The encoder looks both ways, so that a state with nothing behind it but padding says less of a voice
    than the same one a second later. A cell is settled once a pass heard ``CONTEXT_S`` after it, or
    nothing of its utterance is still to come. Speech must fill at least half of a cell. Values are raw
    encoder outputs (after its last layer norm); normalising is the network's business.
    """

    def __init__(self) -> None:
        self._next = 0

    @property
    def settled_s(self) -> float:
        """Cells that begin before this time do not change any more."""
        return self._next / CELLS_PER_S

    def add(
        self, states: np.ndarray, start_s: float, end_s: float, speech: SpeechTrack
    ) -> StateChunk | None:
        """Pool ``states (T, D) float32`` of a window of sound ``[start_s, end_s)``.

        State ``i`` stands for ``start_s + 0.02 i`` and the 20 ms that follow; a cell takes those
        whose middle lies in it. States beyond ``end_s`` (padding) are not looked at.
        """
        first = max(self._next, math.ceil(start_s * CELLS_PER_S - _SLACK))
        last = math.floor(end_s * CELLS_PER_S + _SLACK)
        self.settle(end_s - CONTEXT_S)
        cells = [k for k in range(first, last) if _has_speech(k, speech)]
        if not cells:
            return None
        values = np.stack([_mean(states, k, start_s) for k in cells])
        return StateChunk(tuple(cells), values.astype(np.float16))

    def settle(self, time_s: float) -> None:
        """Give none of the cells that end before ``time_s`` again."""
        self._next = max(self._next, math.floor(time_s * CELLS_PER_S + _SLACK))


def _has_speech(cell: int, speech: SpeechTrack) -> bool:
    start_s, end_s = cell / CELLS_PER_S, (cell + 1) / CELLS_PER_S
    return speech.speech_s(start_s, end_s) >= 0.5 / CELLS_PER_S


def _mean(states: np.ndarray, cell: int, start_s: float) -> np.ndarray:
    low = _first_state(cell / CELLS_PER_S - start_s)
    high = _first_state((cell + 1) / CELLS_PER_S - start_s)
    mean: np.ndarray = states[low:high].mean(axis=0)
    return mean


def _first_state(offset_s: float) -> int:
    """The first state whose middle lies at or after an offset into the window."""
    return max(0, math.ceil(offset_s / STATE_S - 0.5 - _SLACK))


def merge(chunks: list[StateChunk]) -> StateChunk | None:
    """Several chunks as one; of a cell that several hold, the last one's."""
    if not chunks:
        return None
    newest = {
        cell: values
        for chunk in chunks
        for cell, values in zip(chunk.cells, chunk.values, strict=True)
    }
    return StateChunk(tuple(newest), np.stack(list(newest.values())))
