"""Kept sessions as the page draws them and as files: one timeline from clocks that began anew."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from dashboard.kept import Kept, KeptSessions
from dashboard.lines import KEYS
from dashboard.rows import flat, writer
from features.messages import MODALITIES

FORMS = {"jsonl": "application/x-ndjson", "csv": "text/csv"}


def review(store: KeptSessions, session: str) -> dict[str, Any]:
    """A session for the browser: per participant columns of points, words and marks.

    Times are seconds since the session's first moment. A point is ``[end, score, low, high,
    present, alone of text, voice, face]``; ``present`` has a bit for each of text (1), voice (2),
    face (4). A word is ``[text, start, end]``.
    """
    kept = store.find(session)
    lines = list(store.lines(session))
    zeros = {
        (line["participant"], line["clock"]): line["zero"]
        for line in lines
        if line["type"] == "zero"
    }
    first = min(zeros.values(), default=kept.head.begun)
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        one = found.setdefault(line["participant"], {"points": [], "words": [], "marks": []})
        shift_s = zeros.get((line["participant"], line["clock"]), first) - first
        _place(one, line, shift_s)
    return {
        **headline(kept),
        "participants": [{"name": name, **_sorted(one)} for name, one in found.items()],
    }


def _place(one: dict[str, Any], line: dict[str, Any], shift_s: float) -> None:
    if line["type"] == "prediction":
        present = sum(1 << i for i, name in enumerate(MODALITIES) if line["present"][name])
        alone = [line["alone"][name] for name in MODALITIES]
        point = [line["end_s"] + shift_s, line["sentiment"], line["low"], line["high"]]
        one["points"].append([*point, present, *alone])
    elif line["type"] == "words":
        one["words"] += [
            [text, start + shift_s, end + shift_s] for text, start, end, _ in line["stable"]
        ]
    elif line["type"] == "mark":
        one["marks"].append({"at_s": line["at_s"] + shift_s, "text": line["text"]})


def _sorted(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "points": sorted(one["points"], key=lambda point: point[0]),
        "words": sorted(one["words"], key=lambda word: word[1]),
        "marks": sorted(one["marks"], key=lambda mark: mark["at_s"]),
    }


def headline(kept: Kept) -> dict[str, Any]:
    """What a list says of a session."""
    head = kept.head
    return {
        "session": head.session,
        "purpose": head.purpose,
        "begun": head.begun,
        "last": kept.last,
        "until": kept.until,
        "size": kept.size,
    }


def exported(store: KeptSessions, session: str, form: str) -> bytes:
    """The predictions in the formats of ``tonality score``: ``jsonl`` or ``csv``, in order."""
    out = io.StringIO()
    lines = _predictions(store.lines(session))
    if form == "csv":
        writer(out).writerows(flat(line) for line in lines)
    else:
        out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return out.getvalue().encode()


def _predictions(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [line for line in lines if line["type"] == "prediction"]
    found.sort(key=lambda line: (line["participant"], line["clock"], line["seq"]))
    return [{key: line.get(key) for key in KEYS} for line in found]
