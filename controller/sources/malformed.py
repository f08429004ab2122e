"""Says in words what is wrong with a record, by reading its line again."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from controller.model import Arm, Query
from controller.sources.csv_head import Head, is_csv, open_csv
from controller.sources.records import NAIVE, RFC3339, UNIX, WHOLE, Names

DESCRIBED = 5  # malformed records of a load, or of an answer, that are described in words
_SHOWN = 60  # characters of a line or a value


def describe(parts: Sequence[tuple[str, int]], wanted: Sequence[int], names: Names) -> Iterator[str]:
    """
    Describe the records at the indexes *wanted* (ascending) of *parts*, read one after the other.

    A part is a file and the number of its bytes before the first record, for a file that has grown.
    """
    index, left = 0, list(wanted)
    for path, skipped in parts:
        if is_csv(path):
            for number, row in _rows(path) if left else ():
                if left and index == left[0]:
                    yield f"{path}, line {number}: {_trouble(row, names)}"
                    left.pop(0)
                index += 1
            continue
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


def _rows(path: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The records of a CSV file, each with the number of its last line."""
    head = Head.of(path)
    with open_csv(path) as file:
        rows = csv.reader(file, delimiter=head.delimiter)
        next(rows)
        for row in rows:
            if row:
                yield rows.line_num, dict(zip(head.names, row, strict=False))


def malformed_notes(found: Sequence[str | None]) -> list[str]:
    """The first few of the malformed records *found* in words, and how many more there are."""
    notes = [note for note in found if note][:DESCRIBED]
    return notes if len(notes) == len(found) else [*notes, f"{len(found) - len(notes)} more malformed records"]


def unfit_note(query: Query, names: Names, count: int) -> str:
    unit = names.field("user" if query.within is not None else query.unit)
    return f"{query.name}: {count} without {unit}, not counted"


def explain(line: bytes, names: Names) -> str:
    """What is wrong with a record that is no usable event."""
    try:
        record = json.loads(line)
    except ValueError:
        return f"not JSON: {_short(line.decode(errors='replace').strip())}"
    if not isinstance(record, dict):
        return f"not a JSON object: {_short(line.decode().strip())}"
    return _trouble(record, names)


def _trouble(record: Mapping[str, Any], names: Names) -> str:
    record = dict(record) | {names.field(own): text for own, text in names.constants.items()}
    for own in ("id", "type", "ts"):
        if record.get(names.field(own)) in (None, "") and names.field(own) != WHOLE:
            return f"no {names.field(own)}"
    wrong = _wrong_time(str(record[names.field("ts")]), names.times)
    if wrong is not None:
        return f"{names.field('ts')} {wrong}"
    arm = json.dumps(record.get(names.field("arm")), ensure_ascii=False)
    return f"{names.field('arm')} is {_short(arm)}, neither {' nor '.join(map(names.arm, Arm))}"


def _wrong_time(ts: str, times: str) -> str | None:
    if times == "unix":
        known = re.fullmatch(UNIX, ts)
        return None if known else f"{_short(ts)!r} is no number of seconds or milliseconds since 1970"
    try:
        zone = datetime.fromisoformat(ts.upper()).tzinfo
    except ValueError:
        return f"{_short(ts)!r} is no {'RFC 3339 ' if times == 'rfc3339' else ''}time"
    if zone is None and times == "rfc3339":
        return f"{_short(ts)!r} has no zone; write UTC times, with a Z"
    if not re.fullmatch(f"{RFC3339}|{NAIVE}" if times == "utc" else RFC3339, ts):
        return f"{_short(ts)!r} is no {'RFC 3339 ' if times == 'rfc3339' else ''}time"
    return None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
