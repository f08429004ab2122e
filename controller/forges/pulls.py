"""
The document of a pull request of the local forge, as JSON. Pure but for reading one commit's file.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from controller.errors import ConfigError
from controller.forges.objects import Objects
from controller.ports import CheckState, PrState, PullRequest

FILE_NAME = "pr.json"
NUMBER = re.compile(r"[1-9][0-9]{0,8}")

_TEXTS = ("title", "body", "branch", "head", "base", "author")


def leading_number(name: str) -> int:
    """
    Find the number that the ref *name* takes, be it ours or not: `7/x` blocks 7 as much as `7`
    does.
    """
    match = NUMBER.match(name)
    return int(match.group()) if match else 0


def encode(pull: PullRequest) -> bytes:
    """Write *pull* without its number, which is in the name of the ref."""
    document = {
        **{name: getattr(pull, name) for name in _TEXTS},
        "state": pull.state.value,
        "created": pull.created.isoformat(),
        "closed_by": pull.closed_by,
        "closed_at": pull.closed_at.isoformat() if pull.closed_at else None,
        "merged_as": pull.merged_as,
        "check": {"state": pull.check[0].value, "description": pull.check[1]} if pull.check else None,
        "comments": list(pull.comments),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def read(number: int, objects: Objects, oid: str) -> PullRequest | None:
    """
    Read pull request *number* from commit *oid*; anything that this module did not write is None.
    """
    try:
        data = objects.file(oid, FILE_NAME)
        return _decode(number, json.loads(data)) if data is not None else None
    except (ConfigError, LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _decode(number: int, document: dict[str, Any]) -> PullRequest:
    check = document["check"]
    return PullRequest(
        number=number,
        title=_text(document["title"]),
        body=_text(document["body"]),
        branch=_text(document["branch"]),
        head=_text(document["head"]),
        base=_text(document["base"]),
        author=_text(document["author"]),
        state=PrState(document["state"]),
        created=_time(document["created"]),
        closed_by=_text(document["closed_by"]) if document["closed_by"] is not None else None,
        closed_at=_time(document["closed_at"]) if document["closed_at"] is not None else None,
        merged_as=_text(document["merged_as"]) if document["merged_as"] is not None else None,
        check=(CheckState(check["state"]), _text(check["description"])) if check else None,
        comments=tuple(_text(comment) for comment in document["comments"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # JSON can name half a surrogate pair, which nothing can write back
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(value)
    return time.astimezone(UTC)
