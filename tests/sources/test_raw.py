"""Events as they were recorded: which of them, in which order, under which names."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller import evidence, triggers
from controller.launch.affected import affected
from controller.model import Window
from controller.sources.jsonlines import JsonLines
from tests.facts import POLICY

AT = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)


def line(minute: int, id_: str, kind: str = "output", **more: Any) -> str:
    at = (AT + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
    return json.dumps({"id": id_, "ts": at, "type": kind, "arm": "pilot", **more})


def test_the_events_of_a_type_come_once_in_order_of_time(tmp_path: Path) -> None:
    """From plain and zipped files, also where a name is a pattern; what is no event is passed over."""
    lines = [line(2, "b", packet="p2", pages=3), line(2, "b", packet="p2", pages=3), "no json", '{"type": "output"}']
    (tmp_path / "[1].jsonl").write_text("\n".join(lines) + "\n")
    more = [line(1, "a", packet="p1"), line(3, "c", "run"), line(90, "late")]
    (tmp_path / "2.jsonl.gz").write_bytes(gzip.compress("\n".join(more).encode()))
    source = JsonLines([str(tmp_path / "*")])

    found = source.events(("output",), AT, AT + timedelta(hours=1))

    assert [(event.id, event.ts, event.type, event.arm) for event in found] == [
        ("a", AT + timedelta(minutes=1), "output", "pilot"),
        ("b", AT + timedelta(minutes=2), "output", "pilot"),
    ]
    assert found[1].attributes == {"packet": "p2", "pages": "3"}
    assert JsonLines([str(tmp_path / "none")]).events(("output",), AT, AT) == []


def test_a_products_own_names_become_ours(tmp_path: Path) -> None:
    """As everywhere that events are read."""
    record = {"uuid": "a", "when": AT.isoformat(), "kind": "export_done", "arm": "pilot", "case": "p1"}
    (tmp_path / "e.jsonl").write_text(json.dumps(record) + "\n")
    fields = {"id": "uuid", "ts": "when", "type": "kind", "packet": "case"}
    source = JsonLines([str(tmp_path / "e.jsonl")], fields=fields, types={"output": "export_done"})

    (event,) = source.events(("output",), AT, AT)

    assert (event.id, event.type, event.attributes) == ("a", "output", {"packet": "p1"})


def test_as_many_events_are_affected_as_the_counts_say(tmp_path: Path) -> None:
    """What a person reads of an incident and what the controller counts are two ways to the same."""
    statuses = [200, "503", 500, None, "", 404, "5xx", 599, 50, 5000, True, 503.5]
    lines = [line(n, f"e{n}", "api_call", **({} if s is None else {"status": s})) for n, s in enumerate(statuses)]
    (tmp_path / "e.jsonl").write_text("\n".join(lines) + "\n")
    source, end = JsonLines([str(tmp_path / "e.jsonl")]), AT + timedelta(hours=1)
    asked = (*evidence.queries(POLICY), *triggers.queries(POLICY))
    query = next(one for one in asked if one.name == "trigger:api_errors")
    series = source.read(asked, Window(AT, AT, end)).series[query.name]

    found = affected([query], source.events((query.event,), AT, end))

    assert len(found) == sum(bucket.bad for bucket in series.pilot) == 7
