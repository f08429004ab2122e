"""Texts that a forge takes only up to a length."""

from __future__ import annotations

import re

_CUT = "\n\n…\n\n"


def line(text: str, limit: int) -> str:
    """*text* as one line of at most *limit* characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def body(text: str, limit: int) -> str:
    """
    *text* of at most *limit* characters, without losing its end from the last HTML comment on.

    The comment is what the controller reads back. What is cut is cut between lines, and what was open there is closed,
    so that the rest is shown as it was meant.
    """
    if len(text) <= limit:
        return text
    start = text.rfind("<!--")
    head, tail = (text[:start], text[start:]) if start >= 0 else (text, "")
    closing = "\n```" + "\n</details>" * head.count("<details")
    kept = head[: max(limit - len(tail) - len(_CUT) - len(closing), 0)]
    kept = kept[: kept.rfind("\n") + 1].rstrip("\n")
    fences = len(re.findall(r"^ {0,3}```", kept, re.MULTILINE))
    kept += "\n```" * (fences % 2) + "\n</details>" * (kept.count("<details") - kept.count("</details"))
    return (kept + _CUT + tail)[:limit] if len(tail) < limit else text[:limit]
