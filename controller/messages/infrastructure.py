"""What a preview would change, as a comment of a pull request, and what drifted, for people and programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.drift import Cause, Change, Drift, shown
from controller.messages.markdown import escape
from controller.messages.pull_request import BODY_LIMIT

_SIGN = {"create": "+", "update": "~", "replace": "±", "delete": "-"}


def drift_lines(drift: Drift) -> Iterator[str]:
    """What differs in a stack, and what to do about it."""
    if drift.clean:
        yield f"{drift.stack}: declared, applied and live agree"
        return
    for one in drift.differences:
        yield f"{drift.stack}: {one.cause}: {one.sentence}"
    causes = {one.cause for one in drift.differences}
    up = f"pulumi up --stack {drift.stack}"
    if drift.up:
        yield f"{drift.stack}: {up} would apply what is declared: {_counts(drift.up)}"
    elif Cause.DRIFT in causes:
        yield f"{drift.stack}: {up} would change nothing, for it compares with what was applied"
    if Cause.DRIFT in causes:
        yield f"{drift.stack}: {up} --refresh would set back what is live; to keep that instead, declare it in Git"


def drift_json(drift: Drift) -> dict[str, Any]:
    """The same as one JSON object."""
    return {
        "stack": drift.stack,
        "clean": drift.clean,
        "differences": [
            {
                "cause": str(one.cause),
                "resource": one.resource,
                "what": one.what,
                "applied": one.applied,
                "found": one.found,
                "since": one.since.isoformat() if one.since else None,
                "sentence": one.sentence,
            }
            for one in drift.differences
        ],
        "up": [{"op": change.op, "type": change.type, "name": change.name} for change in drift.up],
    }


def preview_comment(previews: Mapping[str, Sequence[Change] | str]) -> str:
    """
    The comment for *previews*, stack to what would change, or to why the preview was refused.

    Its first line names the stacks, so that the comment is found again by it. Every value comes from files of the pull
    request and is escaped. It fits what a forge takes; what does not is left out, and said.
    """
    stacks = ", ".join(re.sub(r"[^\w.-]", "", stack) for stack in previews)
    parts = [f"<!-- pilot preview: {stacks} -->", "### pulumi preview"]
    for stack, preview in previews.items():
        if isinstance(preview, str):
            lines = "\n".join(f"> {escape(line)}" for line in preview.splitlines() if line.strip())
            parts.append(f"**{escape(stack)}**: refused\n\n{lines or '> it said nothing; see the log'}")
        elif not preview:
            parts.append(f"**{escape(stack)}**: no changes")
        else:
            parts.append(f"**{escape(stack)}**: {_counts(preview)}\n\n" + "\n".join(_lines(preview)))
    text = "\n\n".join(parts) + "\n"
    if len(text) <= BODY_LIMIT:
        return text
    return text[:BODY_LIMIT].rsplit("\n", 1)[0] + "\n\n(the rest is too long for a comment; see the log)\n"


def _counts(preview: Sequence[Change]) -> str:
    found = {op: sum(change.op == op for change in preview) for op in _SIGN}
    return ", ".join(f"{count} to {op}" for op, count in found.items() if count)


def _lines(preview: Sequence[Change]) -> Iterator[str]:
    for change in preview:
        yield f"- `{_SIGN[change.op]}` {change.op} **{escape(change.name)}** ({escape(change.type)})"
        if change.op in ("update", "replace"):
            for path, before, after in change.values():
                yield f"  - {escape(path)}: {escape(shown(before))} → **{escape(shown(after))}**"
