"""
How a launch goes: what users meet and what people do in each scenario, and how it must end.

Times count from the launch, the first merge in prod. What is not named here is the same in all of them: an engineer
merges a proposal whose check passes and runs `pulumi up`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from controller.rehearsal.users import HEALTHY, App, Behaviour


class Person(StrEnum):
    """What the engineer does other than merge and apply."""

    DILIGENT = "merges and applies"
    REVERTS = "reverts the advance to 20 %"
    CLOSES = "closes the proposal of 20 %"
    FORGETS = "never runs pulumi up for 20 %"


@dataclass(frozen=True, slots=True)
class End:
    """How prod must stand at the end, or does: with the merged pull requests of prod by title."""

    declared: int
    live: int | None
    merged: tuple[str, ...]
    says: str = ""  # the last decision's first reason, or a part of it
    flags: tuple[tuple[str, str], ...] = (("micPrompt", "primer"),)

    def unlike(self, found: End) -> tuple[str, ...]:
        """What is not as it must be, a sentence each."""
        compared = (
            ("declared percent", self.declared, found.declared),
            ("live percent", self.live, found.live),
            ("merged pull requests", self.merged, found.merged),
            ("flags", dict(self.flags), dict(found.flags)),
        )
        wrong = [f"{what}: expected {want}, found {have}" for what, want, have in compared if want != have]
        if self.says not in found.says:
            wrong.append(f"last reason: expected {self.says!r} in {found.says!r}")
        return tuple(wrong)


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One story: `days` from the launch to its end; the fault, if any, sets in at `after`.

    With `staging` it begins the day before, with the rollout in staging; else staging is through with it.
    """

    name: str
    about: str
    days: float
    end: End
    after: timedelta = timedelta.max
    fault: Behaviour = HEALTHY
    silent: bool = False
    legal: bool = False
    person: Person = Person.DILIGENT
    staging: bool = False

    def behaviour(self, launch: datetime) -> _Behaviour:
        return _Behaviour(self, launch)


@dataclass(frozen=True, slots=True)
class _Behaviour:
    """What the pilot's users meet at an instant. The native prompt is not touched by what breaks the primer."""

    scenario: Scenario
    launch: datetime

    def __call__(self, at: datetime, app: App) -> Behaviour:
        if self.scenario.after == timedelta.max or at < self.launch + self.scenario.after:
            return HEALTHY
        if app.flags.get("micPrompt") == "native":
            return replace(self.scenario.fault, granted=HEALTHY.granted)
        return self.scenario.fault


def _moves(*percents: int) -> tuple[str, ...]:
    return tuple(f"rollout(prod): {a}% -> {b}%" + (" (revert)" if b < a else "") for a, b in pairwise(percents))


SCENARIOS = (
    Scenario(
        "healthy",
        "nothing goes wrong",
        days=14,
        staging=True,
        end=End(100, 100, _moves(0, 10, 20, 50, 100), says="the rollout is complete"),
    ),
    Scenario(
        "api-errors",
        "15 % of the pilot's API calls fail from the second day's noon on",
        days=3,
        after=timedelta(hours=26),
        fault=replace(HEALTHY, server_error=0.15),
        end=End(0, 0, _moves(0, 10, 20, 0), says="preflight: rolled back"),
    ),
    Scenario(
        "late-drop",
        "the mic grant falls from 92 % to 70 % in week 2, with the primer",
        days=10,
        after=timedelta(days=8),
        fault=replace(HEALTHY, granted=0.70),
        end=End(
            50,
            50,
            (*_moves(0, 10, 20, 50), "rollout(prod): flags.micPrompt primer -> native"),
            says="baking",
            flags=(("micPrompt", "native"),),
        ),
    ),
    Scenario(
        "no-data",
        "the source falls silent one day after the launch",
        days=6,
        after=timedelta(days=1),
        silent=True,
        end=End(20, 20, _moves(0, 10, 20), says="silent for"),
    ),
    Scenario(
        "human-revert",
        "a person reverts the advance to 20 % after four hours, with git revert",
        days=2,
        after=timedelta(hours=4),
        person=Person.REVERTS,
        end=End(10, 10, _moves(0, 10, 20), says="reverted 20 % to 10 %"),
    ),
    Scenario(
        "veto",
        "a person closes the pull request that proposes 20 %",
        days=2,
        person=Person.CLOSES,
        end=End(10, 10, _moves(0, 10), says="closed #"),
    ),
    Scenario(
        "not-applied",
        "the advance to 20 % is merged, and nobody runs pulumi up",
        days=3,
        person=Person.FORGETS,
        end=End(20, 10, _moves(0, 10, 20), says="percent declared 20 %, live 10 %"),
    ),
    Scenario(
        "legal-defect",
        "a reviewer reports a critical defect in a chronology on day 2",
        days=3,
        after=timedelta(days=1, hours=5),
        legal=True,
        end=End(0, 0, _moves(0, 10, 20, 0), says="preflight: rolled back"),
    ),
)

# What people do on the days of the runbooks, with the transcript that ticks their lines: played when named.
RUNBOOKS = (
    Scenario(
        "launch-day",
        "the day before, the launch and the first night; the pilot activates more users than the app did",
        days=0.75,
        after=timedelta(0),
        fault=replace(HEALTHY, activated=0.62),
        staging=True,
        end=End(20, 20, _moves(0, 10, 20)),
    ),
    Scenario(
        "incident",
        "a critical legal defect five hours after the launch, the rollback, the report, and what mends it made ready",
        days=1.3,
        after=timedelta(hours=5),
        legal=True,
        end=End(0, 0, _moves(0, 10, 20, 0), says="cool-down"),
    ),
)
