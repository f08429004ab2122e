"""
Whether a stack's percent may become what is about to be deployed.

What a move starts from is read from Git, which is the state: the stack file before the commit that brought the percent.
Pulumi's state is not asked, for a stack that is built anew after a disaster must come up at the percent that Git says;
nor is AWS, for a preview would then need more permissions, and two people would get two answers for one commit. What is
merged and not applied yet is therefore not seen here; the controller holds then, and `pilot drift` says it.

The move is judged by `rollout.yaml` and the other stacks' files as they were with that commit, so that a later change
of the ladder does not refuse a stage that was reached by the old one. 0 % is always allowed.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from controller import stackfile
from controller.errors import ConfigError
from controller.policy import Policy, load

POLICY_FILE = "rollout.yaml"
_PARAMETER = re.compile(r"/pilot/[^/]+/[^/]+/percent")


@dataclass(frozen=True, slots=True)
class Move:
    """
    One change of a stack's percent, from *before* (None: a new stack) to *to*.

    `ladder` is None where the policy cannot be read. `ahead` is the stack that goes first, with its percent before the
    move; None where it has no stack file.
    """

    stack: str
    before: int | None
    to: int
    ladder: tuple[int, ...] | None
    ahead: tuple[str, int | None] | None = None


def refusal(move: Move) -> str | None:
    """Why *move* is refused, and what to do instead; None where it is allowed."""
    file, before, to, ladder = f"Pulumi.{move.stack}.yaml", move.before, move.to, move.ladder
    lowered = before is not None and to < before
    if to == 0 or (lowered and ladder is None):
        return None
    if ladder is None:
        return f"{POLICY_FILE} cannot be read, so that no stage may be raised; see pilot policy check"
    if to not in ladder:
        stages = ", ".join(map(str, ladder))
        return f"{file}: percent {to} is no stage of {POLICY_FILE}; set pilot:rollout.percent to one of {stages}"
    if lowered or to == before:
        return None
    if before is None:
        return f"{file} begins at {to} %; commit a new stack at percent: 0, and raise it stage by stage"
    following = next(stage for stage in ladder if stage > before)
    if to > following:
        skipped = ", ".join(str(stage) for stage in ladder if before < stage < to)
        return f"{file}: percent goes from {before} to {to} and skips {skipped}; set it to {following} first"
    return _behind(file, move)


def _behind(file: str, move: Move) -> str | None:
    if move.ahead is None:
        return None
    stack, percent = move.ahead
    other = f"Pulumi.{stack}.yaml"
    if percent is None:
        return f"{file}: {stack} goes first ({POLICY_FILE}), and there is no {other}; add it, or remove `after`"
    if percent < move.to:
        return f"{file}: percent {move.to} is above the {percent} that {stack} has; raise {other} first"
    return None


def refusals(root: Path, stack: str, kind: str, props: Mapping[str, Any]) -> Iterator[str]:
    """The refusal of a resource that carries the percent, if there is one; *root* is the repository's checkout."""
    try:
        percent = carried(kind, props)
        sentence = None if percent is None else _judged(root, stack, percent)
    except ConfigError as error:
        sentence = str(error)
    if sentence:
        yield sentence


@functools.cache
def _judged(root: Path, stack: str, percent: int) -> str | None:
    return None if percent == 0 else refusal(read(root, stack, percent))


def carried(kind: str, props: Mapping[str, Any]) -> int | None:
    """
    The percent that a resource carries; None where it carries none.

    With exposure `flag` the container is told, with `traffic` the listener's second target group has it as its weight;
    the parameter has it with both.

    Raises:
        ConfigError: it is no whole percent.
    """
    text: Any = None
    if kind == "aws:ssm/parameter:Parameter" and _PARAMETER.fullmatch(str(props.get("name"))):
        text = props["value"]
    elif kind == "aws:ecs/taskDefinition:TaskDefinition":
        text = _told(props["containerDefinitions"])
    elif kind in ("aws:lb/listener:Listener", "aws:lb/listenerRule:ListenerRule"):
        text = _weight(props.get("defaultActions") or props.get("actions") or [])
    if text is None:
        return None
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value != int(value) or not 0 <= value <= 100:
        raise ConfigError(f"the percent of users is {text}; it should be a whole number from 0 to 100")
    return int(value)


def _told(definitions: str) -> str | None:
    try:
        containers = json.loads(definitions)
    except ValueError:  # the provider's to refuse
        return None
    for container in containers:
        told = {one["name"]: one.get("value", "") for one in container.get("environment") or []}
        if "PILOT_ROLLOUT_PCT" in told and "PILOT_VARIANT" not in told:
            try:
                return str(Decimal(told["PILOT_ROLLOUT_PCT"]) * 100)
            except InvalidOperation:
                return str(told["PILOT_ROLLOUT_PCT"])
    return None


def _weight(actions: Any) -> Any:
    for action in actions:
        groups = (action.get("forward") or {}).get("targetGroups") or []
        if len(groups) == 2:
            return groups[1].get("weight")
    return None


# ---------------------------------------------------------------- Git


def read(root: Path, stack: str, to: int) -> Move:
    """
    The move of *stack* to the percent *to*, in the checkout at *root*.

    Raises:
        ConfigError: there is no history to read.
    """
    file = f"Pulumi.{stack}.yaml"
    if _git(root, "rev-parse", "--is-shallow-repository") == b"true\n":
        raise ConfigError(
            f"{file}: its history is cut off here; fetch all of it (git fetch --unshallow, or fetch-depth: 0)"
        )
    commits = _git(root, "log", "--first-parent", "--format=%H", "--", file).decode().split()
    since, before = None, None  # the commit that brought the percent; None is the working tree
    for commit in commits:
        before = _percent(root, commit, file)
        if before is not None and before != to:
            break
        since, before = commit, None
    policy = _policy(_file(root, since, POLICY_FILE))
    ahead = policy.after(stack) if policy else None
    base = "HEAD" if since is None else f"{since}^"
    return Move(
        stack=stack,
        before=before,
        to=to,
        ladder=tuple(stage.percent for stage in policy.for_stack(stack).stages) if policy else None,
        ahead=(ahead, _percent(root, base, f"Pulumi.{ahead}.yaml")) if ahead else None,
    )


def _percent(root: Path, commit: str, file: str) -> int | None:
    try:
        return stackfile.read(_git(root, "show", f"{commit}:{file}"), name=file).rollout.percent
    except ConfigError:  # gone, or broken and mended since
        return None


def _policy(data: bytes | None) -> Policy | None:
    try:
        return load(data or b"")
    except ConfigError:
        return None


def _file(root: Path, commit: str | None, name: str) -> bytes | None:
    try:
        return (root / name).read_bytes() if commit is None else _git(root, "show", f"{commit}:{name}")
    except (OSError, ConfigError):
        return None


def _git(root: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except OSError as error:
        raise ConfigError(f"git does not run ({error}); the policy pack reads where a move starts from it") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise ConfigError(f"git {arguments[0]}: {said}; run in a checkout of the repository") from error
