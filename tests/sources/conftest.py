"""Event records as a product writes them, and one window to count them in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.model import Query, Recorded, Window
from controller.sources.jsonlines import JsonLines

T0 = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def window() -> Window:
    """From midnight, the stage from 00:10, now 01:00."""
    return Window(T0, T0 + timedelta(minutes=10), T0 + timedelta(hours=1))


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """Makes an event of the pilot arm, `minute` minutes after midnight, whose id tells type and minute."""

    def make(type_: str, minute: float, **more: Any) -> dict[str, Any]:
        time = (T0 + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
        return {"id": f"{type_}-{minute}", "ts": time, "type": type_, "arm": "pilot"} | more

    return make


@pytest.fixture
def answer(tmp_path: Path, window: Window) -> Callable[..., Recorded]:
    """Answers queries over lines: events, or text as it is."""

    def read(lines: list[dict[str, Any] | str], *queries: Query, **names: Any) -> Recorded:
        path = tmp_path / "events.jsonl"
        path.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in lines))
        return JsonLines([str(path)], **names).read(queries, window)

    return read
