"""
The preflight: everything that must be true before the first user enters, looked at once and kept in Git.

What a person, a browser or an AWS credential is needed for is looked at here, where it can be; the pass that decides
reads the result (`controller.readiness`) and holds at 0 until one has passed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller import decide, observe, readiness
from controller.aws.breakglass import BreakGlass
from controller.errors import ConfigError, PilotError, TransientError
from controller.model import CheckResult, Decision, Declared, Deployment, Live, Readiness
from controller.policy import Policy
from controller.policy.operations import CommandCheck, HttpCheck, PersonCheck
from controller.policy.values import length, number
from controller.ports import CiState, Forge, RefUpdate

Check = CommandCheck | HttpCheck | PersonCheck
_BOX = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+\[([ xX])\]\s+(\S.*?)\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Means:
    """
    What a preflight looks with.

    `way_back` names the revision that a rollback would go back to; None where there is none. `perform` runs one check
    of the policy. `channels` says what keeps channels from being told.
    """

    reader: observe.Reader
    forge: Forge
    way_back: Callable[[Declared], str | None]
    perform: Callable[[Check], CheckResult]
    channels: Callable[[Policy], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Made:
    """A preflight, and what the controller decides with it."""

    found: Readiness
    decision: Decision


def make(
    means: Means,
    *,
    stack: str,
    now: datetime,
    by: str,
    keep: bool = True,
    told: Callable[[CheckResult], None] = lambda _: None,
) -> Made:
    """
    Look at everything, with each result *told* as it comes, and with *keep* push the whole to Git.

    Raises:
        ConfigError: the policy asks for no preflight of *stack*, or the repository cannot be read or written.
        TransientError: the repository did not answer.
    """
    sight = observe.look(means.reader.repository)
    if stack not in sight.policy.operations.preflight.stacks:
        named = ", ".join(sight.policy.operations.preflight.stacks) or "none"
        raise ConfigError(f"rollout.yaml asks for no preflight of {stack} (operations.preflight.stacks: {named})")
    seen: dict[str, decide.Facts] = {}
    for name in sight.stacks[: sight.stacks.index(stack) + 1]:
        seen[name] = observe.observe(means.reader, sight, name, now=now, seen=seen)
    looking = _Looking(means, sight.tip, seen[stack], seen.get(sight.policy.after(stack) or ""), now)
    items = []
    for item in looking.items():
        told(item)
        items.append(item)
    found = Readiness(readiness.release(seen[stack].declared), now, by, tuple(items))
    if keep:
        save(means.reader, readiness.ref(stack), found, f"preflight({stack}): {_verdict(found)}")
    return Made(found, decide.decide(replace(seen[stack], readiness=found)))


def way_back(glass: BreakGlass) -> str | None:
    """
    What a rollback would go back to after the launch: the newest revision of which a deployment completed.

    Raises:
        ConfigError, TransientError: AWS did not tell.
    """
    newest = next(glass.completed(), None)
    return newest.name if newest else None


def save(reader: observe.Reader, ref: str, found: Readiness, message: str) -> None:
    """
    Push *found* to *ref*, in place of what was there.

    Raises:
        ConfigError, TransientError: it could not be pushed.
    """
    repository = reader.repository
    for _ in range(_TRIES):
        tip = repository.sync()
        commit = repository.commit(tip, {readiness.FILE: readiness.render(found)}, message)
        if repository.push([RefUpdate(ref, repository.refs(ref).get(ref), commit)]):
            return
    raise TransientError(f"{ref} was written by others {_TRIES} times; run again")


def _verdict(found: Readiness) -> str:
    return f"{len(found.failed)} of {len(found.items)} checks failed" if found.failed else "passed"


def open_lines(text: str) -> tuple[int, list[tuple[int, str]]]:
    """How many task boxes a Markdown *text* has outside of code, and the lines, by number, of those that are open."""
    boxes, open_, fence = 0, [], ""
    for number_, line in enumerate(text.splitlines(), 1):
        if mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
        elif not fence and (box := _BOX.match(line)):
            boxes += 1
            if box[1] == " ":
                open_.append((number_, box[2]))
    return boxes, open_


@dataclass(frozen=True, slots=True)
class _Looking:
    """One look: at `facts`, the stack's, and at those of the stack `ahead`, where one goes first."""

    means: Means
    tip: str
    facts: decide.Facts
    ahead: decide.Facts | None
    now: datetime

    def items(self) -> Iterator[CheckResult]:
        """Each result, the slow ones last."""
        day = self.facts.policy.operations
        yield _timed("People named", self._people)
        if day.channels:
            yield _timed("Channels", self._channels)
        yield from self._checklist()
        if day.preflight.ci:
            yield _timed("CI of the commit", self._ci)
        yield from self._ahead()
        if day.preflight.drill is not None:
            yield _timed("Kill switch tried", self._drill)
        yield _timed("Way back", self._way_back)
        if day.dashboard:
            yield self.means.perform(HttpCheck(title="Dashboard", url=day.dashboard))
        for name in day.preflight.checks:
            yield self.means.perform(day.checks[name])

    def _people(self) -> tuple[bool, str]:
        people = self.facts.policy.operations.people
        empty = [role for role in ("support", "technical", "qa") if not getattr(people, role).strip()]
        if empty:
            return False, f"nobody is named for {', '.join(empty)}; fill in operations.people in rollout.yaml"
        return True, f"support {people.support}, technical {people.technical}, QA {people.qa}"

    def _channels(self) -> tuple[bool, str]:
        problems = self.means.channels(self.facts.policy)
        return not problems, "; ".join(problems) or f"{', '.join(self.facts.policy.operations.channels)} can be told"

    def _way_back(self) -> tuple[bool, str]:
        """After the launch, what serves now is the previous task definition."""
        name = self.means.way_back(self.facts.declared)
        if name is None:
            return False, "no deployment has completed yet; a rollback would have none to go back to"
        return True, f"{name}, once the next is live"

    def _checklist(self) -> Iterator[CheckResult]:
        path = self.facts.policy.operations.preflight.checklist
        if path is None:
            return
        data = self.means.reader.repository.read(self.tip, path)
        if data is None:
            yield CheckResult("Checklist", False, f"{path} is not in the repository at {self.tip[:8]}; commit it", 0.0)
            return
        boxes, open_ = open_lines(data.decode(errors="replace"))
        for line, text in open_:
            yield CheckResult(text, False, f"open in {path}:{line}; tick it, and commit", 0.0)
        if not boxes:
            yield CheckResult("Checklist", False, f"{path} has no task box (- [ ] …)", 0.0)
        elif not open_:
            yield CheckResult("Checklist", True, f"{path}: all {boxes} lines are ticked", 0.0)

    def _ci(self) -> tuple[bool, str]:
        found = self.means.forge.ci(self.tip, without=self.facts.policy.operations.preflight.ci_without)
        hint = "; without a CI, take ci: true out of operations.preflight" if found.state is CiState.UNKNOWN else ""
        return found.state is CiState.GREEN, f"{self.tip[:8]}: {found.words}{hint}"

    def _ahead(self) -> Iterator[CheckResult]:
        """What the stack that goes first shows."""
        asked, ahead = self.facts.policy.operations.preflight, self.ahead
        if ahead is None:
            for name in asked.scan:
                yield CheckResult(name, False, f"no stack goes before {self.facts.stack} (stacks: after)", 0.0)
            return
        yield _timed(f"{ahead.stack}: deployment", lambda: _deployed(ahead))
        yield _timed(f"{ahead.stack}: flags work", lambda: _flags(ahead))
        for name, what in asked.scan.items():
            title = f"{ahead.stack}: {ahead.policy.kpis[name].title}"
            yield _timed(title, lambda name=name, what=what: _scanned(ahead, name, what))  # type: ignore[misc]

    def _drill(self) -> tuple[bool, str]:
        valid = self.facts.policy.operations.preflight.drill
        stack = self.ahead.stack if self.ahead else self.facts.stack
        found = observe.ready(self.means.reader.repository, readiness.drill_ref(stack))
        run = f"run pilot preflight --stack {self.facts.stack} --drill"
        if found is None or valid is None:
            return False, f"never tried in {stack}; {run}"
        made = f"in {stack} at {found.at:%Y-%m-%d %H:%M} UTC by {found.by}"
        if found.failed:
            return False, f"{made}: {found.failed[0].title}: {found.failed[0].words}"
        age = readiness.age(found, self.now)
        if age is None or age > valid:
            return False, f"{made}, more than {length(valid)} ago; {run}"
        return True, f"{made}: {found.items[-1].words}"


def _deployed(facts: decide.Facts) -> tuple[bool, str]:
    live, want = facts.live, facts.declared
    if not isinstance(live, Live):
        return False, f"live state unknown: {live.reason}"
    if live.deployment is not Deployment.COMPLETED:
        return False, f"{live.deployment}: {live.detail}"
    if (live.image, live.percent) != (want.service.image, want.rollout.percent):
        return False, f"another image or percent is live than declared; run pulumi up --stack {facts.stack}"
    return True, f"{live.percent} % live since {live.since:%Y-%m-%d %H:%M} UTC"


def _flags(facts: decide.Facts) -> tuple[bool, str]:
    """What the app is told, by its environment or its parameter, against what is declared."""
    if not isinstance(facts.live, Live):
        return False, f"live state unknown: {facts.live.reason}"
    told, declared = facts.live.flags, facts.declared.rollout.flags
    wrong = [
        f"{flag} {want}, found {told.get(flag, 'none')}" for flag, want in declared.items() if told.get(flag) != want
    ]
    if wrong:
        return False, f"set {'; '.join(wrong)}: run pulumi up --stack {facts.stack}"
    return True, ", ".join(f"{flag} {value}" for flag, value in declared.items()) + " read back from the app's settings"


def _scanned(facts: decide.Facts, name: str, what: str) -> tuple[bool, str]:
    if facts.source_trouble:
        return False, facts.source_trouble
    kpi, rule = facts.evidence.kpis[name], facts.policy.kpis[name]
    if not kpi.n or kpi.estimate is None:
        return False, "no samples since the stage began"
    good = kpi.estimate <= kpi.target if rule.target.upper else kpi.estimate >= kpi.target
    shown = f"{number(kpi.estimate, rule.target.unit)} of {kpi.n} samples"
    return (what == "samples" or good), f"{shown}, target {rule.target}" if what == "target" else shown


def _timed(title: str, look: Callable[[], tuple[bool, str]]) -> CheckResult:
    start = time.monotonic()
    try:
        ok, words = look()
    except PilotError as error:
        ok, words = False, str(error)
    return CheckResult(title, ok, words, time.monotonic() - start)
