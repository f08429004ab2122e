"""
What a pull request of ours says of itself to the next pass: the proposal in its body, its branch and its id.

What is read back is a stranger's text until it has been checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from controller.model import Decision, Intake, Verdict

PATTERN = re.compile(r"<!-- rollout:v1 ([A-Za-z0-9+/=]+) -->")
PREFIX = "rollout/"
NAME = re.compile(r"rollout/[^/]+/(advance|revert|flip)-([0-9]{1,3})-[0-9]{1,3}-[0-9a-f]{8}")
KEY = re.compile(r"(flags|cohort)(\..+)?|exposure|intake|hold")  # beside the percent, what undoing a commit may touch


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    What a pull request of ours says of itself to the next pass; hidden in its body.

    `asked_by` is the person who asked for it by `pilot rollback`; empty where the evidence did. `attempt` counts the
    branches of a revert that other people hold. `text` is a digest of the words that stood before it when we wrote
    them, so that a person's edit is seen; it says nothing of the proposal.
    """

    id: str
    stack: str
    verdict: Verdict
    from_percent: int
    to_percent: int
    changes: Mapping[str, tuple[Any, Any]]
    base: str
    evidence_at: datetime
    closed_reason: str = ""
    asked_by: str = ""
    attempt: int = 0
    text: str = field(default="", compare=False)


def of(decision: Decision, *, file_commit: str, base: str) -> Proposal:
    """
    The proposal that *decision* makes; *file_commit* as in `ident`, *base* the commit that it was made on.

    Two passes on the same state make the same proposal, and a declined one stays declined until the file changes.
    """
    key = ident(decision.stack, decision.verdict, decision.changes, file_commit)
    return Proposal(
        id=key,
        stack=decision.stack,
        verdict=decision.verdict,
        from_percent=decision.from_percent,
        to_percent=decision.to_percent,
        changes=decision.changes,
        base=base,
        evidence_at=decision.window.now,
    )


def ident(
    stack: str, verdict: Verdict, changes: Mapping[str, tuple[Any, Any]], file_commit: str, *, asked: bool = False
) -> str:
    """
    Eight hex digits of the stack, the move and *file_commit*, the last commit that changed the stack file.

    What a person *asked* for has an id of its own, so that who declines the one has not declined the other.
    """
    moves = sorted((path, str(old), str(new)) for path, (old, new) in changes.items())
    key = json.dumps([stack, verdict, moves, file_commit, *(["asked"] if asked else [])])
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def attempted(key: str, attempt: int) -> str:
    """The id of an *attempt* at the proposal with the id *key*; the first, 0, has just that."""
    return hashlib.sha256(f"{key} {attempt}".encode()).hexdigest()[:8] if attempt else key


def again(proposal: Proposal, attempt: int) -> Proposal:
    """The first attempt at *proposal* as another, on a branch of its own."""
    return replace(proposal, id=attempted(proposal.id, attempt), attempt=attempt)


def named(branch: str) -> tuple[Verdict, int] | None:
    """What a branch of our pattern says by its name alone: the verdict, and the percent that it starts from."""
    found = NAME.fullmatch(branch)
    return (Verdict(found[1]), int(found[2])) if found else None


def branch(proposal: Proposal) -> str:
    return f"{prefix(proposal.stack)}{proposal.verdict}-{proposal.from_percent}-{proposal.to_percent}-{proposal.id}"


def prefix(stack: str) -> str:
    """What the branches of a stack's proposals start with."""
    return f"{PREFIX}{stack}/"


def digest(text: str) -> str:
    """Eight hex digits of the words of *text*; forges change white space."""
    return hashlib.sha256(" ".join(text.split()).encode(errors="replace")).hexdigest()[:8]


def render(proposal: Proposal) -> str:
    """The proposal as an HTML comment. Standard base64 has no `-`, so nothing in it can end the comment."""
    fields = {
        **asdict(proposal),
        "evidence_at": proposal.evidence_at.isoformat(),
        "changes": dict(proposal.changes),
    }
    if not proposal.attempt:
        del fields["attempt"]
    data = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return f"<!-- rollout:v1 {base64.b64encode(data).decode()} -->"


def parse(text: str) -> Proposal | None:
    """
    The proposal in a pull request's body; None where there is none, more than one, or one that we would not write.

    What changes is what the verdict says: a revert lowers, or only pauses the intake, and a flip leaves the percent.
    Whose it is, whether its branch holds what it says, and whether the file is where it starts from, is not to be read
    here.
    """
    found = PATTERN.findall(text)
    if len(found) != 1:
        return None
    try:
        fields = json.loads(base64.b64decode(found[0], validate=True))
        proposal = Proposal(
            id=str(fields["id"]),
            stack=str(fields["stack"]),
            verdict=Verdict(fields["verdict"]),
            from_percent=fields["from_percent"],
            to_percent=fields["to_percent"],
            changes={str(path): (old, new) for path, (old, new) in fields["changes"].items()},
            base=str(fields["base"]),
            evidence_at=datetime.fromisoformat(fields["evidence_at"]),
            closed_reason=str(fields["closed_reason"]),
            asked_by=str(fields.get("asked_by", "")),
            attempt=int(fields.get("attempt", 0)),
            text=str(fields.get("text", "")),
        )
    except (ArithmeticError, LookupError, RecursionError, ValueError, TypeError, AttributeError):
        return None
    valid = (
        re.fullmatch(r"[0-9a-f]{8}", proposal.id)
        and all(
            type(percent) is int and 0 <= percent <= 100 for percent in (proposal.from_percent, proposal.to_percent)
        )
        and _says_one_thing(proposal)
        and proposal.evidence_at.tzinfo is not None
    )
    return proposal if valid else None


def _says_one_thing(proposal: Proposal) -> bool:
    """Whether the changes are the verdict's, in keys that may change: a "revert" must not raise, nor a "flip"."""
    start, end, others = proposal.from_percent, proposal.to_percent, dict(proposal.changes)
    percent = others.pop("percent", None)
    if percent is not None and (percent != (start, end) or any(type(value) is not int for value in percent)):
        return False
    if not all(KEY.fullmatch(path) and isinstance(new, str) for path, (_, new) in others.items()):
        return False
    match proposal.verdict:
        case Verdict.REVERT:
            pauses = set(others) == {"intake"} and others["intake"][1] == Intake.PAUSED and end == start
            return pauses if percent is None else end < start
        case Verdict.FLIP:
            flags = bool(others) and all(path.startswith("flags.") for path in others)
            return percent is None and end == start and flags and not proposal.asked_by
        case Verdict.ADVANCE:
            return percent is not None and start < end and not others and not proposal.asked_by
    return False
