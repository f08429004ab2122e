"""
The streams on which all methods are compared: units and bad ones of a pilot and of a control of its size.

One KPI, "at most 15 % bad, warning above 20 %". The control is at the target at all times, so "worse than the target"
and "worse than the control" are the same question. Units come as a Poisson process, counted in cells of five minutes,
and every method looks after every cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.eprocess import GRID

TARGET, WARNING = 0.15, 0.20
ALPHA, BETA = 0.01, 0.05  # false revert and false advance that a method may promise
CELLS = 14 * 86400 // GRID  # 14 days of peeks
DROP = 1000  # peeks before a late drop
TRAFFIC = {"50/h": 50.0, "5k/h": 5_000.0, "100k/h": 100_000.0}  # units of the pilot

Counts = NDArray[np.int64]
Peeks = NDArray[np.int64]  # one for each run: the first cell, from 0, at which something is decided, or CELLS for never


class Scenario(NamedTuple):
    """What is true: the pilot's bad rate, from cell `since` on; before it the rate is `before`."""

    title: str
    rate: float
    since: int = 0
    before: float = 0.10


SCENARIOS = {
    "healthy": Scenario("well below the target, 10 %", 0.10),
    "target": Scenario("exactly at the target, 15 %", 0.15),
    "between": Scenario("between target and warning, 17.5 %", 0.175),
    "warning": Scenario("exactly at the warning, 20 %", 0.20),
    "mild": Scenario("mildly bad, 22 %", 0.22),
    "bad": Scenario("bad, 25 %", 0.25),
    "failure": Scenario("total failure, 100 %", 1.0),
    "late": Scenario("late drop, 10 % to 25 % after 1000 peeks", 0.25, DROP),
}


@dataclass(frozen=True)
class Streams:
    """Arrays of runs x cells."""

    n: Counts
    bad: Counts
    control_bad: Counts  # of as many units

    def head(self, runs: int) -> Streams:
        return Streams(self.n[:runs], self.bad[:runs], self.control_bad[:runs])


def draw(scenario: Scenario, per_hour: float, runs: int, random: np.random.Generator, cells: int = CELLS) -> Streams:
    """*runs* independent streams of *cells* cells."""
    n = random.poisson(per_hour * GRID / 3600, (runs, cells))
    rate = np.where(np.arange(cells) < scenario.since, scenario.before, scenario.rate)
    return Streams(n, random.binomial(n, rate), random.binomial(n, TARGET))


def first(hits: NDArray[np.bool_]) -> Peeks:
    """The first cell of each run at which it is so."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
