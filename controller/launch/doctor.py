"""Look at everything that the controller needs, change nothing, and say what to do where it is not there."""

from __future__ import annotations

import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import urllib3

from controller import observe, stackfile
from controller.errors import ConfigError, PilotError, TransientError
from controller.model import Declared, Finding, Health, Unreadable, Window
from controller.policy import Policy
from controller.policy.operations import CommandCheck
from controller.ports import Forge

FINE, NOTE, LATER, WRONG = Health.FINE, Health.NOTE, Health.LATER, Health.WRONG
STATUS = "rollout/evidence"
_GIT = (2, 29)  # of `--no-write-fetch-head` and `--object-format`
_LOOKED_BACK = timedelta(days=1)  # into the events
_SKEW_S = (30.0, 120.0)  # from which a clock is worth a note, and from which it makes evidence wrong


@dataclass(frozen=True, slots=True)
class Means:
    """
    What the doctor looks with.

    `may_push` raises where this account may not push. `channels` says what keeps channels from being told, `aws` what
    stands in the way of a kill of what is declared, and `skews` by how many seconds this clock is ahead of others, by
    their name. `pulumi` finds the command.
    """

    reader: observe.Reader
    forge: Forge
    forge_kind: str
    warning: str | None
    may_push: Callable[[], None]
    aws: Callable[[Declared], Iterator[Finding]]
    skews: Callable[[Declared, Policy], Mapping[str, float]]
    pulumi: Callable[[], Path]
    channels: Callable[[Policy], Sequence[str]]


def examine(means: Means, *, now: datetime) -> Iterator[Finding]:
    """Each finding as it comes; nothing that fails keeps the rest from being looked at."""
    yield from versions(means.pulumi)
    try:
        sight = observe.look(means.reader.repository)
    except PilotError as error:
        yield trouble("repository", error)
        return
    yield Finding("repository", FINE, f"{means.reader.repository.base} at {sight.tip[:8]}")
    yield from _guarded("push", lambda: _push(means))
    if sight.trouble:
        yield Finding("policy", WRONG, sight.trouble, "mend rollout.yaml; until then only reverts are proposed")
    else:
        yield Finding("policy", FINE, f"{len(sight.policy.stages)} stages, {len(sight.policy.kpis)} KPIs")
    yield from _guarded("forge", lambda: _forge(means))
    yield from _launch_day(sight.policy, means.channels(sight.policy))
    for stack in sight.stacks:
        yield from _guarded(f"{stack}: file", lambda stack=stack: _stack(means, sight, stack, now))  # type: ignore[misc]


def trouble(about: str, error: PilotError) -> Finding:
    return Finding(about, LATER if isinstance(error, TransientError) else WRONG, str(error))


def exit_code(findings: list[Finding]) -> int:
    """0 all well, 2 a person must act, 75 something did not answer."""
    found = {finding.health for finding in findings}
    return 2 if WRONG in found else 75 if LATER in found else 0


def _guarded(about: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except PilotError as error:
        yield trouble(about, error)


# ---------------------------------------------------------------- this machine


def versions(pulumi: Callable[[], Path]) -> Iterator[Finding]:
    """The programs that are called."""
    yield Finding("python", FINE, platform.python_version())
    git = _version("git", "--version")
    if git is None or git < _GIT:
        found = "none on PATH" if git is None else ".".join(map(str, git))
        yield Finding("git", WRONG, found, f"install git {_GIT[0]}.{_GIT[1]} or newer")
    else:
        yield Finding("git", FINE, ".".join(map(str, git)))
    try:
        command = pulumi()
    except ConfigError as error:
        yield Finding("pulumi", NOTE, str(error), "needed only where stacks are applied, and by drift and preview")
    else:
        version = _version(str(command), "version")
        yield Finding("pulumi", FINE, ".".join(map(str, version)) if version else f"{command} does not say")


def skew(url: str, now: Callable[[], datetime]) -> float | None:
    """By how many seconds this clock is ahead of the server at *url*; None where it does not say what time it is."""
    with suppress(urllib3.exceptions.HTTPError, KeyError, OSError, TypeError, ValueError):
        answer = urllib3.request("HEAD", url, timeout=10.0, retries=False, redirect=False)
        date = parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
        return (now() - date).total_seconds()
    return None


def _version(*command: str) -> tuple[int, ...] | None:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        if found := re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", done.stdout):
            return tuple(int(part) for part in found.groups() if part)
    return None


# ---------------------------------------------------------------- the forge


def _push(means: Means) -> Iterator[Finding]:
    means.may_push()
    yield Finding("push", FINE, "branches can be pushed")


def _forge(means: Means) -> Iterator[Finding]:
    if means.warning:
        yield Finding("forge", NOTE, means.warning)
    prs = means.forge.pull_requests("rollout/")
    ours = [pr for pr in prs if pr.by_us]
    proven = "; opening and judging them is proven by those there are" if any(pr.check for pr in ours) else ""
    unproven = "" if proven else "; whether it may open and judge them shows with the first one"
    yield Finding("forge", FINE, f"{means.forge_kind}: {len(ours)} pull requests of ours{proven or unproven}")
    base, rules = means.reader.repository.base, means.forge.rules()
    if rules.protected is None and rules.required is None:
        yield Finding("branch rules", NOTE, f"{means.forge_kind} has none that could be read")
        return
    if rules.protected is False:
        yield Finding("branch rules", WRONG, f"{base} is not protected: anyone who may push can skip the pull request",
                      f"protect {base} in the forge's settings, docs/forges.md")  # fmt: skip
    if STATUS not in (rules.required or ()):
        found = ", ".join(rules.required or ()) or "none"
        said = (
            f"{base} does not require {STATUS} (required: {found}): yesterday's approval could merge today's bad news"
        )
        yield Finding("branch rules", WRONG, said, f"require the status {STATUS}, docs/forges.md")
    elif rules.protected:
        yield Finding("branch rules", FINE, f"{base} is protected and requires {STATUS}")


# ---------------------------------------------------------------- launch day


def _launch_day(policy: Policy, unheard: Sequence[str]) -> Iterator[Finding]:
    day = policy.operations
    empty = [role for role in ("support", "technical", "qa") if not getattr(day.people, role).strip()]
    if empty:
        yield Finding("people", NOTE, f"nobody is named for {', '.join(empty)}", "fill in operations.people")
    for sentence in unheard:
        yield Finding("channels", NOTE, sentence, "see docs/guide.md, channels")
    for check in day.checks.values():
        program = _program(check.command) if isinstance(check, CommandCheck) else None
        if program is not None and shutil.which(program) is None:
            yield Finding(f"check {check.title}", NOTE, f"there is no {program} here", f"install {program}")


def _program(command: str) -> str | None:
    """The program that a shell command begins with; None where that takes a shell to tell."""
    with suppress(ValueError):
        first = (shlex.split(command) or [""])[0]
        return first if re.fullmatch(r"[\w./-]+", first) else None
    return None


# ---------------------------------------------------------------- a stack


def _stack(means: Means, sight: observe.Sight, stack: str, now: datetime) -> Iterator[Finding]:
    policy, name = sight.policy.for_stack(stack), observe.stack_file(stack)
    data = means.reader.repository.read(sight.tip, name)
    assert data is not None  # it is what made it a stack
    declared = stackfile.read(data, name=name)
    yield from _flags(stack, policy, declared)
    live = means.reader.live.read(declared.service, declared.rollout.exposure, declared.region)
    if isinstance(live, Unreadable):
        yield Finding(f"{stack}: live state", WRONG, live.reason)
    else:
        yield Finding(f"{stack}: live state", FINE, f"{live.percent} % live, deployment {live.deployment}")
    for finding in means.aws(declared):
        yield Finding(f"{stack}: {finding.about}", finding.health, finding.words, finding.todo)
    yield from _guarded(f"{stack}: events", lambda: _events(means, stack, policy, now))
    yield from _clocks(stack, means.skews(declared, policy))


def _flags(stack: str, policy: Policy, declared: Declared) -> Iterator[Finding]:
    for flag, value in declared.rollout.flags.items():
        allowed = policy.flags.get(flag)
        if allowed is None or value not in allowed:
            known = ", ".join(allowed) if allowed else "not in flags of rollout.yaml"
            yield Finding(f"{stack}: flag {flag}", WRONG, f"{value} is declared ({known})",
                          f"set one of these in {observe.stack_file(stack)}, or add it to the policy")  # fmt: skip


def _events(means: Means, stack: str, policy: Policy, now: datetime) -> Iterator[Finding]:
    about = f"{stack}: events"
    start = now - _LOOKED_BACK
    found = means.reader.source(stack, policy).read((), Window(start, start, now))
    if found.malformed:
        said = f" ({found.notes[0]})" if found.notes else ""
        yield Finding(about, WRONG, f"{found.malformed} records are malformed{said}", "mend what writes them, or map "
                      "their names under source.fields and source.types")  # fmt: skip
    if found.last is None:
        yield Finding(about, NOTE, "the source answers, without an event of the last day")
    else:
        yield Finding(about, FINE, f"the newest is from {found.last:%Y-%m-%d %H:%M} UTC")


def _clocks(stack: str, skews: Mapping[str, float]) -> Iterator[Finding]:
    note, wrong = _SKEW_S
    for whom, seconds in skews.items():
        side = "ahead of" if seconds > 0 else "behind"
        health = WRONG if abs(seconds) > wrong else NOTE if abs(seconds) > note else FINE
        todo = "set this machine's clock by a time server" if health is not FINE else ""
        words = f"{abs(seconds):.0f} s {side} {whom}" if health is not FINE else f"as {whom} has it"
        yield Finding(f"{stack}: clock", health, words, todo)
