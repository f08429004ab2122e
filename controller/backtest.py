"""
What would have been decided at each pass on recorded events: the rule that runs in production, pass by pass.

By default the ladder is climbed: the first stage is live since the pilot's first user came, and each advance is merged
and live in the pass that proposes it. It ends at the first revert or flip, since what users would have met from then on
was not recorded. The recorded arms keep the shares that they had, so their proportion says nothing of such a stage and
is not judged. With a *fixed* percent nothing moves, and everything is judged to the end.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller import decide as rule
from controller import evidence, observe, offline, stackfile, triggers
from controller.eprocess import GRID
from controller.errors import ConfigError
from controller.messages import backtest as screen
from controller.messages import data
from controller.model import Decision, Declared, Exposure, Query, Recorded, Rollout, Service, Verdict, Window
from controller.policy import Policy, load
from controller.ports import Counts
from controller.sources.jsonlines import JsonLines

PASSES = 500  # where nobody says how often: a pass costs more the longer the recording, and each is judged afresh
EVERY = tuple(timedelta(minutes=m) for m in (5, 10, 15, 30, 60, 120, 240, 480, 1440))
_END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: what it knew, and what it decided."""

    facts: rule.Facts
    decision: Decision


@dataclass(frozen=True, slots=True)
class Backtest:
    """All passes, oldest first, each *every* so long since the stage began at `start`; `notes` are of all records."""

    policy: Policy
    start: datetime
    every: timedelta
    fixed: int | None
    passes: tuple[Pass, ...]
    notes: tuple[str, ...]


def run(
    folder: Path,
    *,
    paths: Sequence[str],
    policy_file: Path,
    stack: str | None = None,
    since: datetime | None = None,
    fixed: int | None = None,
    every: timedelta | None = None,
) -> Backtest:
    """
    Judge the events of *paths*, as from *since* (default: the pilot arm's first user) to their end.

    With *stack* its overrides and what its file in *folder* declares hold; without it, the policy as it is.

    Raises:
        ConfigError: the policy, the stack file or an event file cannot be read, or there is nothing to judge.
    """
    data = offline.read(policy_file)
    policy, declared = load(data, name=str(policy_file)), Declared(Service("", "", ""), Rollout(0, Exposure.FLAG))
    if stack is not None:
        file = observe.stack_file(stack)
        policy, declared = policy.for_stack(stack), stackfile.read(offline.read(folder / file), name=file)
    source = JsonLines(paths, **policy.source.mapping)
    queries = (*evidence.queries(policy), *triggers.queries(policy))
    origin = since or offline.BEGINNING
    whole = source.read(queries, Window(origin, origin, _END))
    start, end = since or offline.first_exposure(whole, _END), whole.last
    if end is None or start >= end:
        raise ConfigError(
            f"{', '.join(paths)}: {_nothing(whole)}; see source.fields, types and arms of the policy, and --since"
        )
    instants, every = _instants(start, end + policy.source.lag, every)
    replay = source.replay(queries, start=origin, passes=instants)
    judge = _Judge(stack or "backtest", policy, hashlib.sha256(data).hexdigest(), moves=fixed is None)
    first = next(stage.percent for stage in policy.stages if stage.percent)
    passes = judge.passes(replay, queries, instants, start, _at(declared, first if fixed is None else fixed))
    return Backtest(policy, start, every, fixed, tuple(passes), whole.notes)


def show(found: Backtest, say: Callable[[str], None], *, as_json: bool) -> None:
    """Say a backtest line by line: each pass as a JSON object, or what a person reads."""
    if as_json:
        for item in found.passes:
            say(json.dumps({"at": item.facts.now.isoformat()} | data.decision_json(item.decision)))
        return
    passes = [(item.facts, item.decision) for item in found.passes]
    percent = found.passes[0].decision.from_percent
    say(screen.assumed(found.start, percent, found.every, fixed=found.fixed is not None))
    for note in found.notes:
        say(f"  {note}")
    for at, sentence in screen.timeline(passes):
        say(f"{at:%Y-%m-%d %H:%M}  {sentence}")
    last = found.passes[-1]
    say(f"{last.facts.now:%Y-%m-%d %H:%M}  the end, at {last.decision.from_percent} %: {last.decision.verdict}, "
        f"{last.decision.reasons[0]}")  # fmt: skip
    for line in screen.chart(found.policy, passes):
        say(line)


@dataclass(frozen=True, slots=True)
class _Judge:
    """What stays the same from pass to pass; where it *moves*, the ladder is climbed."""

    stack: str
    policy: Policy
    policy_sha256: str
    moves: bool

    def passes(
        self,
        source: Counts,
        queries: Sequence[Query],
        instants: Sequence[datetime],
        start: datetime,
        declared: Declared,
    ) -> Iterator[Pass]:
        stage = start
        for now in instants:
            window = Window(start, stage, now)
            recorded = source.read(queries, window)
            facts = offline.judged(
                self.stack, self.policy, declared, window, recorded, policy_sha256=self.policy_sha256
            )
            if self.moves:
                facts = replace(facts, evidence=replace(facts.evidence, proportion=None))
            decision = rule.decide(facts)
            yield Pass(facts, decision)
            if self.moves and decision.verdict in (Verdict.REVERT, Verdict.FLIP):
                return
            if self.moves and decision.verdict is Verdict.ADVANCE:
                declared, stage = _at(declared, decision.to_percent), now


def _at(declared: Declared, percent: int) -> Declared:
    return replace(declared, rollout=replace(declared.rollout, percent=percent))


def _instants(start: datetime, end: datetime, every: timedelta | None) -> tuple[list[datetime], timedelta]:
    """The passes after *start*, on the grid of evidence, the last one not before all has been heard by *end*."""
    last = datetime.fromtimestamp(math.ceil(end.timestamp() / GRID) * GRID + GRID, UTC)
    step = every or next((step for step in EVERY if (last - start) / step <= PASSES), EVERY[-1])
    first = datetime.fromtimestamp((start.timestamp() // GRID + 1) * GRID, UTC)
    count = math.ceil((last - first) / step)
    return [first + step * n for n in range(count + 1)], step


def _nothing(recorded: Recorded) -> str:
    if recorded.last is None:
        return "no usable events" + "".join(f"; {note}" for note in recorded.notes[:1])
    return "no exposure of the pilot arm before the last event"
