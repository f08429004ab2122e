"""
What a preflight found, as it is kept in Git: pure functions of values.

`pilot preflight` runs its checks where they can be run, and pushes what it found to `refs/rollout/preflight/<stack>`.
The pass that decides reads it there, so that it needs neither a browser nor a person.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta

from controller.model import CheckResult, Declared, Readiness

FILE = "preflight.json"
_AHEAD = timedelta(minutes=5)  # by which clocks may differ


def ref(stack: str) -> str:
    return f"refs/rollout/preflight/{stack}"


def drill_ref(stack: str) -> str:
    """Where the last drill of the kill switch in *stack* is kept, in the same form."""
    return f"refs/rollout/drill/{stack}"


def release(declared: Declared) -> str:
    """Twelve hex digits of what a preflight is about: images, flags and exposure. Percent, intake and firms are not."""
    service, rollout = declared.service, declared.rollout
    about = [service.image, service.candidate_image, rollout.exposure, sorted(rollout.flags.items())]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]


def render(found: Readiness) -> bytes:
    """*found* as the file of a commit."""
    items = [[item.title, item.ok, item.words, round(item.seconds, 1)] for item in found.items]
    told = {"release": found.release, "at": found.at.isoformat(), "by": found.by, "items": items}
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()


def parse(data: bytes | None) -> Readiness | None:
    """What *data* tells; None where it tells of none: whoever may push may have written anything."""
    try:
        told = json.loads(data or b"")
        at = datetime.fromisoformat(told["at"])
        items = tuple(
            CheckResult(str(title), ok is True, str(words), float(s)) for title, ok, words, s in told["items"]
        )
        found = Readiness(str(told["release"]), at, str(told["by"]), items)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None
    return found if at.tzinfo is not None and items else None


def age(found: Readiness, now: datetime) -> timedelta | None:
    """How old it is; None where it is from the future by more than clocks differ."""
    old = now - found.at
    return max(old, timedelta(0)) if old >= -_AHEAD else None
