"""
How what is declared, what was applied and what runs differ. Pure.

*Declared* is the stack file, *applied* is Pulumi's state, *live* is AWS. What is declared and not applied is pending;
what is live otherwise than applied is drift. What ECS and autoscaling own (how many tasks there are) is neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.model import Declared, Deployment, Exposure, Live, Unreadable

_SERVICE = "aws:ecs/service:Service"
_TASK = "aws:ecs/taskDefinition:TaskDefinition"
_OWNED = {_SERVICE: ("desiredCount", "runningCount", "pendingCount")}
_LONGEST = 80  # characters of a value that are shown
_ENVELOPE = "4dabf18193072939515e22adb298388d"  # the key that marks a secret in Pulumi's values
HIDDEN = "a secret"


class Cause(StrEnum):
    PENDING = "pending"  # declared, not applied
    DRIFT = "drift"  # live otherwise than applied
    DEPLOYMENT = "deployment"  # a deployment is in progress, or failed


@dataclass(frozen=True, slots=True)
class Change:
    """
    What happened, or would, to one resource.

    `op` is Pulumi's word: create, update, replace, delete. `before` and `after` are its inputs, `keys` those that the
    provider says differ: the engine hides secrets, the old as the new.
    """

    op: str
    type: str
    name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    keys: tuple[str, ...] = ()

    def values(self) -> Iterator[tuple[str, Any, Any]]:
        """The paths of its inputs that differ, with both values; a secret is HIDDEN on both sides."""
        yield from nested(self.before, self.after)
        for key in self.keys:
            if _is_secret(self.before.get(key)) and self.before.get(key) == self.after.get(key):
                yield key, HIDDEN, HIDDEN


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs; `since` is None where nobody knows."""

    cause: Cause
    resource: str
    what: str
    applied: Any
    found: Any
    since: datetime | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Drift:
    """All that differs in one stack, and what `pulumi up` would do about it."""

    stack: str
    differences: tuple[Difference, ...]
    up: tuple[Change, ...]

    @property
    def clean(self) -> bool:
        return not self.differences

    @property
    def settling(self) -> bool:
        """Whether all that differs is a deployment in progress, which ends by itself."""
        ends = (Cause.DEPLOYMENT, str(Deployment.IN_PROGRESS))
        return not self.clean and all((one.cause, one.found) == ends for one in self.differences)


def compare(
    stack: str, declared: Declared, live: Live | Unreadable, *, planned: Sequence[Change], changed: Sequence[Change]
) -> Drift:
    """
    What differs in *stack*.

    *planned* is what `pulumi up` would change: declared against applied. *changed* is what a refresh finds: applied
    against live.
    """
    differences = [
        *(one for change in planned for one in _pending(change)),
        *(one for change in changed for one in _drifted(change, live, declared.rollout.exposure)),
        *_deployment(declared, live),
    ]
    return Drift(stack, tuple(differences), tuple(planned))


def _pending(change: Change) -> Iterator[Difference]:
    resource = f"{change.type} {change.name}"
    values = list(change.values()) if change.op in ("update", "replace") else []
    for path, before, after in values:
        sentence = f"{change.name}.{path} was applied as {shown(before)}, and is declared as {shown(after)}"
        yield Difference(Cause.PENDING, resource, path, before, after, None, sentence)
    if not values:
        sentence = f"{change.name} ({change.type}) is not applied: pulumi up would {change.op} it"
        yield Difference(Cause.PENDING, resource, change.op, None, None, None, sentence)


def _drifted(change: Change, live: Live | Unreadable, exposure: Exposure) -> Iterator[Difference]:
    resource = f"{change.type} {change.name}"
    if change.op == "delete":
        sentence = f"{change.name} ({change.type}) is gone; pulumi up --refresh makes it again"
        yield Difference(Cause.DRIFT, resource, "deleted", None, None, None, sentence)
        return
    for path, applied, found in change.values():
        if path.split(".")[0] in _OWNED.get(change.type, ()):
            continue
        since = _since(change.type, live, exposure)
        sentence = f"{change.name}.{path} was applied as {shown(applied)}, and is {shown(found)}"
        if found is HIDDEN:
            sentence = f"{change.name}.{path}, a secret, is not what was applied"
        if change.type == _SERVICE and path == "taskDefinition":
            sentence = _other_revision(change.name, str(applied), str(found), live)
        dated = f", since {since:%Y-%m-%d %H:%M} UTC" if since else ""
        yield Difference(Cause.DRIFT, resource, path, applied, found, since, sentence + dated)


def _other_revision(name: str, applied: str, found: str, live: Live | Unreadable) -> str:
    """ECS says why only while it goes back; afterwards the deployment that it went back by is one as any other."""
    what = f"{name} runs {_revision(found)}, applied was {_revision(applied)}"
    if isinstance(live, Live) and "rolling back" in live.detail:
        return f"{what}; ECS is taking the deployment back ({live.detail})"
    (family, was), (other, now) = applied.rsplit(":", 1), found.rsplit(":", 1)
    if family == other and was.isdigit() and now.isdigit() and int(now) < int(was):
        return f"{what}; the deployment was taken back, by the circuit breaker, an alarm or a person"
    return what


def _since(kind: str, live: Live | Unreadable, exposure: Exposure) -> datetime | None:
    """ECS dates its deployments, and Systems Manager a parameter; nothing else says when it was changed."""
    if isinstance(live, Unreadable):
        return None
    if kind == _SERVICE:
        return live.since
    return live.applied if kind == "aws:ssm/parameter:Parameter" and exposure is Exposure.TRAFFIC else None


def _deployment(declared: Declared, live: Live | Unreadable) -> Iterator[Difference]:
    resource = f"{_SERVICE} {declared.service.name}"
    if isinstance(live, Unreadable):
        yield Difference(Cause.DRIFT, resource, "live", None, None, None, f"live state unknown: {live.reason}")
    elif live.deployment is not Deployment.COMPLETED:
        sentence = f"deployment {live.deployment}: {live.detail}"
        yield Difference(Cause.DEPLOYMENT, resource, "deployment", None, str(live.deployment), None, sentence)


# ---------------------------------------------------------------- values


def nested(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The paths at which two values differ, with what is there; JSON in a text counts as what it says."""
    if before == after:
        return
    one, other = _opened(before), _opened(after)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            yield from nested(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(_named(one), _named(other), strict=True)):
            yield from nested(left[1], right[1], f"{path}[{left[0] if left[0] == right[0] else index}]")
    elif one != other:
        yield path, before, after


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _named(items: list[Any]) -> list[tuple[Any, Any]]:
    """Each item with what it is called: by its `name` where it has one, as a container or a variable does."""
    return [(item.get("name", i) if isinstance(item, Mapping) else i, item) for i, item in enumerate(items)]


def shown(value: Any) -> str:
    """*value* in few words."""
    if _is_secret(value):
        return HIDDEN
    text = value if isinstance(value, str) else "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _is_secret(value: Any) -> bool:
    return value == "[secret]" or (isinstance(value, Mapping) and _ENVELOPE in value)


def _revision(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]
