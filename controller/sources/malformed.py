"""Says in words what is wrong with a record, by reading its line again."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from controller.sources.records import RFC3339, Names

_SHOWN = 60  # characters of a line or a value


def describe(parts: Sequence[tuple[str, int]], wanted: Sequence[int], names: Names) -> Iterator[str]:
    """
    Describe the records at the indexes *wanted* (ascending) of *parts*, read one after the other.

    A part is a file and the number of its bytes before the first record, for a file that has grown.
    """
    index, left = 0, list(wanted)
    for path, skipped in parts:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not left:
                    return
                skipped -= len(line)
                if skipped >= 0 or not line.strip():
                    continue
                if index == left[0]:
                    yield f"{path}, line {number}: {explain(line, names)}"
                    left.pop(0)
                index += 1


def explain(line: bytes, names: Names) -> str:
    """What is wrong with a record that is no usable event."""
    try:
        record = json.loads(line)
    except ValueError:
        return f"not JSON: {_short(line.decode(errors='replace').strip())}"
    if not isinstance(record, dict):
        return f"not a JSON object: {_short(line.decode().strip())}"
    for own in ("id", "type", "ts"):
        if record.get(names.field(own)) in (None, ""):
            return f"no {names.field(own)}"
    ts = str(record[names.field("ts")])
    try:
        time = datetime.fromisoformat(ts.upper())
    except ValueError:
        time = None
    if time is not None and time.tzinfo is None:
        return f"{names.field('ts')} {_short(ts)!r} has no zone; write UTC times, with a Z"
    if time is None or not re.fullmatch(RFC3339, ts):
        return f"{names.field('ts')} {_short(ts)!r} is no RFC 3339 time"
    arm = json.dumps(record.get(names.field("arm")), ensure_ascii=False)
    return f"{names.field('arm')} is {_short(arm)}, neither pilot nor control"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
