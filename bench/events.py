"""Writes N events of a healthy 15-day rollout as JSON lines, always the same: `python bench/events.py N FILE`."""

import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 15
USERS = 50_000
PACKETS = 7_000
WEIGHTS = {
    "api_call": 50,
    "ttv": 15,
    "mic_prompt": 10,
    "exposure": 5,
    "login": 5,
    "upload": 5,
    "run": 4,
    "citation_check": 3,
    "activation": 2,
    "legal_review": 1,
}


def attributes(type_: str, draw: random.Random) -> dict[str, Any]:
    """What an event of this type carries; rates are a little better than their targets."""
    match type_:
        case "api_call":
            return {"status": 500 if draw.random() < 0.005 else 200, "path": "/api/v1/packets/list"}
        case "ttv":
            return {"seconds": round(draw.lognormvariate(0.3, 0.6), 3)}
        case "mic_prompt":
            return {"outcome": "granted" if draw.random() < 0.9 else "denied"}
        case "login" | "upload":
            return {"outcome": "failed" if draw.random() < 0.01 else "ok"}
        case "run":
            return {"outcome": "ok", "packet": f"packet-{draw.randrange(PACKETS)}"}
        case "citation_check":
            return {"outcome": "ok", "packet": f"packet-{draw.randrange(PACKETS)}"}
        case "legal_review":
            return {"severity": "none", "packet": f"packet-{draw.randrange(PACKETS)}"}
    return {}


def events(count: int) -> Iterator[dict[str, Any]]:
    """*count* events in order of time, a tenth of the users in the pilot."""
    draw = random.Random(count)
    types, weights = list(WEIGHTS), list(WEIGHTS.values())
    for n in range(count):
        user, type_ = draw.randrange(USERS), draw.choices(types, weights)[0]
        time = START + timedelta(days=DAYS) * n / count
        yield {
            "id": f"{n:08x}-{draw.getrandbits(48):012x}",
            "ts": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "type": type_,
            "user": f"user-{user:05d}",
            "arm": "pilot" if user % 10 == 0 else "control",
        } | attributes(type_, draw)


def write_events(path: Path, count: int) -> None:
    """Write *count* events to *path*, one JSON object a line."""
    with path.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(event) + "\n" for event in events(count))


if __name__ == "__main__":
    write_events(Path(sys.argv[2]), int(sys.argv[1]))
