"""Prediction lines as rows of a table: one column per number, for CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, Final, TextIO

from dashboard.lines import KEYS
from features.messages import MODALITIES

NESTED: Final = ("present", "contribution")
COLUMNS: Final = (
    *(key for key in KEYS if key not in (*NESTED, "lag_ms")),
    *(f"{key}_{name}" for key in NESTED for name in MODALITIES),
    "lag_ms_model",
)


def flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction line with ``COLUMNS`` instead of what is nested in it."""
    row = {key: line[key] for key in KEYS if key in line}
    for key in NESTED:
        row |= {f"{key}_{name}": line[key][name] for name in MODALITIES}
    row["lag_ms_model"] = line["lag_ms"].get("model")
    return row


def writer(out: TextIO) -> csv.DictWriter[str]:
    """Writes rows of :func:`flat`; the header is written already."""
    rows = csv.DictWriter(out, list(COLUMNS), extrasaction="ignore")
    rows.writeheader()
    return rows
