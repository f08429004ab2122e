"""Events as they were recorded, for lists that people read: the first outputs, what an incident affected."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import duckdb

from controller.model import Event
from controller.sources.records import Names


def events(
    files: Sequence[str], names: Names, types: Collection[str], start: datetime, end: datetime
) -> Sequence[Event]:
    """The events of *types* in *files* from *start* to *end*, oldest first, each id once. Globs must come escaped."""
    theirs = {names.type(ours): ours for ours in types}
    con = duckdb.connect()
    try:
        rows = con.execute(
            "SELECT json FROM read_ndjson_objects($files, ignore_errors = true)"
            " WHERE json_extract_string(json, $path) IN (SELECT unnest($types))",
            {"files": list(files), "path": f'$."{names.field("type")}"', "types": list(theirs)},
        ).fetchall()
    finally:
        con.close()
    found: dict[str, Event] = {}
    for (text,) in rows:
        event = _event(json.loads(text), names, theirs)
        if event is not None and start <= event.ts <= end:
            found.setdefault(event.id, event)
    return sorted(found.values(), key=lambda event: (event.ts, event.id))


def _event(record: dict[str, Any], names: Names, theirs: dict[str, str]) -> Event | None:
    """*record* under our names; None where it has no id or no time."""
    ours = {name: ours for ours, name in names.fields.items()}
    values = {ours.get(name, name): value for name, value in record.items()}
    try:
        ts = datetime.fromisoformat(values.pop("ts"))
    except (KeyError, TypeError, ValueError):
        return None
    id_, kind, arm = str(values.pop("id", "")), str(values.pop("type", "")), str(values.pop("arm", ""))
    if not id_ or ts.tzinfo is None:
        return None
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return Event(id_, ts, theirs[kind], arm, texts)
