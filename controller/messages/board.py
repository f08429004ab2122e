"""
The board that a person watches after a launch: each line of the runbook with its state in a word. Pure.

The word carries the meaning and colour only repeats it, so that it reads the same on paper, in a pipe and by anyone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from rich.text import Text

from controller.decide import Facts
from controller.eprocess import count_text
from controller.model import Decision, KpiEvidence, KpiStatus, Live, TriggerStatus, Verdict
from controller.policy import Kpi
from controller.policy.operations import Watched
from controller.policy.values import length, number

WIDTH, HEIGHT = 80, 24


class State(StrEnum):
    """How a line stands, best first."""

    OK = "ok"
    NOTHING = "--"  # no event yet
    UNKNOWN = "??"  # its data are missing or stale
    LOOK = "LOOK"
    ACT = "ACT!"


_STYLE = {State.OK: "green", State.UNKNOWN: "cyan", State.LOOK: "bold yellow", State.ACT: "bold white on red"}
_KPI = {
    KpiStatus.BREACH: State.ACT,
    KpiStatus.HOLD: State.LOOK,
    KpiStatus.MISSING: State.NOTHING,
    KpiStatus.STALE: State.UNKNOWN,
    KpiStatus.INCOMPLETE: State.UNKNOWN,
}
_HEADLINE = {
    State.OK: "ALL WELL",
    State.NOTHING: "ALL WELL",
    State.UNKNOWN: "ALL WELL, AS FAR AS ONE CAN SEE",
    State.LOOK: "LOOK",
    State.ACT: "ACT NOW",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """Units and bad ones among them since the stage began, of the pilot arm and of the control arm."""

    n: int
    bad: float
    control_n: int = 0
    control_bad: float = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `shown` is its figure, `more` what to compare it with, `todo` what to do where it is not well."""

    title: str
    state: State
    shown: str
    more: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """Everything on the screen. `trouble` is why it could not be brought up to date."""

    stack: str
    at: datetime
    state: State
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    todo: tuple[str, ...]
    foot: tuple[str, ...]
    trouble: str = ""


def board(
    facts: Facts, decision: Decision, counted: Mapping[str, Counted], pull_request: int | None, trouble: str = ""
) -> Board:
    """What *facts* and *decision* come to; *counted* holds the watched rates by name."""
    rows = tuple(_rows(facts, counted))
    state = max((row.state for row in rows), key=list(State).index, default=State.OK)
    if decision.verdict is Verdict.REVERT:
        state = State.ACT
    elif (not isinstance(facts.live, Live) or facts.live.stop is not None) and state is not State.ACT:
        state = State.LOOK
    todo = [*_revert(facts, decision, pull_request)]
    worst_first = sorted(rows, key=lambda row: -list(State).index(row.state))
    todo += [f"{row.title}: {row.todo}" for row in worst_first if row.todo and row.state in (State.LOOK, State.ACT)]
    return Board(
        facts.stack, facts.now, state, tuple(_head(facts, pull_request)), rows, tuple(todo),
        tuple(_foot(facts, decision)), trouble,
    )  # fmt: skip


def _head(facts: Facts, pull_request: int | None) -> Iterator[str]:
    live, day = facts.live, facts.policy.operations
    if not isinstance(live, Live):
        yield f"live state unknown: {live.reason}"
        return
    nobody = ": nobody is in" if not live.percent else ""
    yield f"{live.percent} % live since {_clock(live.since)}, for {length(facts.now - live.since)}{nobody}"
    if live.stop is not None:
        yield f"STOPPED by {live.stop.by} at {_clock(live.stop.at)}: {live.stop.reason}"
    opened = f"#{pull_request} is open" if pull_request else "no open pull request"
    yield f"deployment {live.deployment}; intake {live.intake or facts.declared.rollout.intake}; {opened}"
    stage = facts.policy.stage(live.percent)
    if live.percent and stage is not None:
        until = live.since + stage.watch if stage.watch else None
        closely = f"watch closely until {_clock(until)}; " if until and facts.now < until else ""
        after = facts.policy.next_stage(live.percent)
        check = f"{after.percent} % not before {_clock(live.since + stage.bake)}; " if after else ""
        yield f"{closely}{check}watch ends {_clock(live.since + day.first_watch)}"


def _foot(facts: Facts, decision: Decision) -> Iterator[str]:
    yield f"next check {_clock(decision.next_check)}: {decision.verdict}, {decision.reasons[0]}"
    yield f'in an emergency: pilot kill --stack {facts.stack} --reason "..."'


def _revert(facts: Facts, decision: Decision, pull_request: int | None) -> Iterator[str]:
    if decision.verdict is not Verdict.REVERT:
        return
    merge = f"merge #{pull_request}" if pull_request else "merge the revert that the next pass opens"
    if facts.live.stop is not None:  # it is done in AWS, and Git follows
        yield f"{merge}, then pulumi up --stack {decision.stack}"
    else:
        yield f'roll back: pilot rollback --stack {decision.stack} --reason "..."; then {merge}'


# ---------------------------------------------------------------- rows


def _rows(facts: Facts, counted: Mapping[str, Counted]) -> Iterator[Row]:
    for name, rule in facts.policy.operations.watch.items():
        yield _rate(rule, counted.get(name))
    for name, result in facts.triggers.items():
        trigger = facts.policy.triggers[name]
        fired = result.status is TriggerStatus.FIRED
        if trigger.then != "rollback" and not fired:
            continue  # what they look at is a KPI's line already
        states = {TriggerStatus.FIRED: State.ACT if trigger.then == "rollback" else State.LOOK}
        states |= {TriggerStatus.QUIET: State.OK, TriggerStatus.UNKNOWN: State.UNKNOWN}
        todo = trigger.advice if fired else ""  # what to do about a rollback is said above all else
        yield Row(f"Rule: {name.replace('_', ' ')}", states[result.status], result.reason, "", todo)
    for name, kpi in facts.evidence.kpis.items():
        yield _kpi(facts.policy.kpis[name], kpi)


def _rate(rule: Watched, found: Counted | None) -> Row:
    if found is None:
        return Row(rule.title, State.UNKNOWN, "not counted", "")
    if not found.n:
        return Row(rule.title, State.NOTHING, "no event yet", _limit(rule))
    share = found.bad / found.n
    state = State.ACT if share > rule.above else State.LOOK if found.bad else State.OK
    control = f", control {number(found.control_bad / found.control_n, '%')}" if found.control_n else ""
    return Row(
        rule.title,
        state,
        f"{count_text(found.bad)} of {found.n}, {number(share, '%')}",
        _limit(rule) + control,
        rule.advice,
    )


def _limit(rule: Watched) -> str:
    return f"act above {number(rule.above, '%')}" if rule.above else "act on any"


def _kpi(rule: Kpi, kpi: KpiEvidence) -> Row:
    unit = rule.target.unit
    bounds = f"target {rule.target}" + (f", warning {rule.warning}" if rule.warning else "")
    if kpi.estimate is None:
        return Row(rule.title, _KPI.get(kpi.status, State.NOTHING), str(kpi.status), bounds)
    good = kpi.estimate <= kpi.target if rule.target.upper else kpi.estimate >= kpi.target
    state = _KPI.get(kpi.status, State.OK if good else State.LOOK)
    return Row(rule.title, state, f"{number(kpi.estimate, unit)} of {kpi.n}", bounds, rule.advice or "look into it")


# ---------------------------------------------------------------- as people and programs read it


def screen(shown: Board, *, width: int = WIDTH, height: int = HEIGHT) -> list[Text]:
    """The lines for a terminal of *width* x *height*; what does not fit is what to do about the lesser lines."""
    headline = Text(f"{shown.stack}  ", style="bold")
    headline.append(f" {_HEADLINE[shown.state]} ", style=_STYLE.get(shown.state, ""))
    headline.append(f"  {shown.at:%Y-%m-%d %H:%M:%S} UTC", style="default")
    trouble = [Text(_flat(f"NOT UP TO DATE: {shown.trouble}"), style="bold yellow")] if shown.trouble else []
    top = [headline, *trouble, *(Text(_flat(line)) for line in shown.head), Text("")]
    middle = [_line(row) for row in shown.rows]
    bottom = [Text(_flat(line)) for line in shown.foot]
    room = max(0, height - len(top) - len(middle) - len(bottom))
    todo = [Text(_flat(f"-> {line}"), style="bold") for line in shown.todo[:room]]
    lines = [*top, *middle, *todo, *bottom][:height]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _line(row: Row) -> Text:
    line = Text(f"{row.state:<4}", style=_STYLE.get(row.state, ""))
    return line.append(_flat(f" {row.title:<24.24} {row.shown:<18} {row.more}").rstrip(), style="default")


def as_json(shown: Board) -> dict[str, Any]:
    """The board as one JSON object."""
    told = asdict(shown)
    return {**told, "at": shown.at.isoformat(), "state": str(shown.state)}


def _clock(at: datetime) -> str:
    return f"{at:%H:%M} UTC"


def _flat(text: str) -> str:
    """*text* without what would move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
