"""
Our decisions on simulated counts: every revert and advance is one that `controller.evidence.assess` finds.

`assess` takes a millisecond, and a rollout has 4,032 peeks of each of thousands of streams. So a screen says at which
peeks a decision is possible, and only there, from the first on, `assess` is asked. The screen is an upper bound of the
e-value, made of the controller's own bets, and `tests/bench/test_decisions.py` compares the two at every peek: a change
of the method that the screen does not follow fails there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.decisions.streams import ALPHA, BETA, CELLS, TARGET, WARNING, Counts, Peeks
from controller import eprocess, evidence
from controller.eprocess import GRID
from controller.model import Bucket, Evidence, KpiStatus, Recorded, Series, Window
from controller.policy import Policy, load

START = datetime(2026, 3, 1, tzinfo=UTC)
BLOCK = STRETCH = 64  # peeks, and starts, of which the guards are looked at together
BELOW = 1 - 1e-9  # of a level: what rounding may take from the screen
E = NDArray[np.float64]
MASSES = np.diff([eprocess.spent(at) for at in range(CELLS + 1)])


def policy(kpis: Iterable[str]) -> Policy:
    head = f"""
stages: [{{percent: 0}}, {{percent: 20}}, {{percent: 100}}]
risk: {{false_revert: {ALPHA:.0%}, false_advance: {BETA:.0%}}}
source: {{kind: files, paths: [events.jsonl], lag: 1s}}
kpis:
"""
    return load((head + "".join(kpis)).encode())


def rate(name: str, target: float, warning: float | None = None) -> str:
    """A KPI of the policy: at most *target* bad."""
    bound = f', warning: "> {warning:.6%}"' if warning else ""
    event = f"rate: {{event: {name}, bad: {{outcome: failed}}}}"
    return f'  {name}: {{title: {name}, {event}, target: "<= {target:.6%}"{bound}}}\n'


def quantile(name: str, p: int) -> str:
    """A KPI of the policy: percentile *p* within a bound, so that 1 - p may be above it."""
    return f'  {name}: {{title: {name}, quantile: {{event: {name}, field: seconds, p: {p}}}, target: "<= 5 s"}}\n'


ONE = (rate("kpi", TARGET, WARNING),)


class Pilot:
    """Counts are arrays of runs x KPIs x cells."""

    def __init__(self, kpis: Iterable[str] = ONE) -> None:
        self.policy = policy(kpis)
        self.stage = next(stage for stage in self.policy.stages if stage.percent == 20)
        self.names = list(self.policy.kpis)
        self.level = 1 / self.policy.risk.false_revert
        weights = np.array([kpi.weight for kpi in self.policy.kpis.values()])
        self.weights = weights / weights.sum()

    def assess(self, n: Counts, bad: Counts) -> Evidence:
        """What the controller finds after these cells of one run, KPIs x cells."""
        begin, cells = int(START.timestamp()), n.shape[1]
        ends = range(begin + GRID, begin + GRID * (cells + 1), GRID)
        now = START + timedelta(seconds=GRID * cells + 1)
        series = {
            name: Series(
                tuple(Bucket(end, a, b, b) for end, a, b in zip(ends, ns, bads, strict=True) if a),
                estimate=1.0,
                last=now,
            )
            for name, ns, bads in zip(self.names, n.tolist(), bad.tolist(), strict=True)
        }
        window = Window(START, START, now)
        return evidence.assess(self.policy, percent=20, stage=self.stage, recorded=Recorded(series), window=window)

    def reverts(self, n: Counts, bad: Counts) -> Peeks:
        """The first cell of each run after which the combined evidence reverts it; the number of cells for never."""
        return np.array([self.revert(*run) for run in zip(n, bad, self.screen(n, bad), strict=True)])

    def revert(self, n: Counts, bad: Counts, screen: E) -> int:
        """The same of one run, with its screen."""
        possible = np.flatnonzero(self.weights @ screen >= self.level * BELOW)
        for at in self._guarded(n, bad, screen, possible):
            if self.assess(n[:, : at + 1], bad[:, : at + 1]).e_revert >= self.level:
                return at
        return n.shape[1]

    def advances(self, n: Counts, bad: Counts) -> Peeks:
        """The first cell of each run after which every KPI passes its proof."""
        cells = n.shape[2]
        possible = np.ones((len(n), cells), dtype=bool)
        units, bads = n.cumsum(axis=2), bad.cumsum(axis=2)
        for k, name in enumerate(self.names):
            kpi = self.policy.kpis[name]
            e = np.zeros(possible.shape)
            for weight, per_bad, per_good in evidence._bets(kpi)[2]:
                e += weight * np.exp(np.minimum(per_bad * bads[:, k] + per_good * (units - bads)[:, k], 690))
            target = evidence.rate_bounds(kpi)[0]
            possible &= (e >= BELOW / BETA) & (bads[:, k] <= target * units[:, k] + 1e-6)
        found = []
        for run in range(len(n)):
            peeks = (at for at in np.flatnonzero(possible[run]) if self._passed(n[run], bad[run], at))
            found.append(next(peeks, cells))
        return np.array(found)

    def _passed(self, n: Counts, bad: Counts, at: int) -> bool:
        found = self.assess(n[:, : at + 1], bad[:, : at + 1])
        return all(kpi.status is KpiStatus.PASSED for kpi in found.kpis.values())

    # ------------------------------------------------------------ the screen

    @cached_property
    def bets(self) -> E:
        """KPIs x bets x (weight, bad, good), against the target; where a KPI has fewer, one that bets nothing."""
        found = [evidence._bets(kpi)[0] for kpi in self.policy.kpis.values()]
        most = max(map(len, found))
        return np.array([bets + [eprocess.Bet(0, 0, 0)] * (most - len(bets)) for bets in found])

    @cached_property
    def targets(self) -> E:
        """The rates of bad units at the targets."""
        return np.array([evidence.rate_bounds(kpi)[0] for kpi in self.policy.kpis.values()])

    @cached_property
    def beyond(self) -> list[float]:
        return [evidence._bets(kpi)[3] for kpi in self.policy.kpis.values()]

    def products(self, n: Counts, bad: Counts) -> Iterator[E]:
        """After each cell, runs x KPIs x bets: the e-values of single bets with restarts, without guards."""
        _, per_bad, per_good = np.moveaxis(self.bets, 2, 0)
        value = np.zeros((*n.shape[:2], per_bad.shape[1]))
        for at, mass in enumerate(MASSES[: n.shape[2]]):
            units, bads = n[:, :, at, None], bad[:, :, at, None]
            with np.errstate(over="ignore"):
                value = np.minimum((value + mass) * np.exp(per_bad * bads + per_good * (units - bads)), 1e200)
            yield value

    def screen(self, n: Counts, bad: Counts) -> E:
        """Runs x KPIs x cells: an upper bound of each KPI's `e_revert`, without guards."""
        return np.stack([self.summed(value) for value in self.products(n, bad)], axis=2)

    def summed(self, value: E) -> E:
        return (value * self.bets[:, :, 0]).sum(axis=2)

    def _guarded(self, n: Counts, bad: Counts, screen: E, possible: Counts) -> Iterator[int]:
        """Those of the *possible* peeks of one run at which the guarded e-values may reach the level."""
        begin, size = 0, 4  # mostly one of the first is it
        while begin < len(possible):
            peeks = possible[begin : begin + size]
            begin, size = begin + size, min(2 * size, BLOCK)
            total = np.zeros(len(peeks))
            for k, weight in enumerate(self.weights):
                bound = screen[k, peeks]
                small = bound.max() < 1  # cheaper as it is than guarded
                total += weight * (bound if small else np.minimum(bound, self.guarded(n[k], bad[k], peeks, k)))
            yield from (int(at) for at in peeks[total >= self.level * BELOW])

    def guarded(self, n: Counts, bad: Counts, peeks: Counts, k: int) -> E:
        """`eprocess.e_restarted` of one stream at *peeks*, its starts in arrays."""
        beyond, last = self.beyond[k], peeks[-1] + 1
        units, bads = (np.concatenate([[0], counts[:last].cumsum()]) for counts in (n, bad))
        over = bads - beyond * units  # bad units beyond the bound, so far
        # excess <= (over since)^2 / (n beyond (1 - beyond)), as KL is at most chi-squared: first of whole stretches
        # of starts, then of each
        least = eprocess.MARGIN * BELOW * beyond * (1 - beyond)
        ends = np.append(np.arange(STRETCH, last, STRETCH), last)
        lowest = np.minimum.reduceat(over[:last], np.arange(0, last, STRETCH))
        alive = self._far(over[peeks + 1, None] - lowest, units[peeks + 1, None] - units[ends - 1], least).any(axis=0)
        starts = np.concatenate([np.arange(end - STRETCH, end) for end in ends[alive]] or [[]]).astype(int)
        starts = np.unique(starts[starts >= 0])
        n_since = units[peeks + 1, None] - units[starts]
        row, column = np.nonzero(self._far(over[peeks + 1, None] - over[starts], n_since, least))
        past = starts[column] <= peeks[row]
        row, start = row[past], starts[column[past]]
        units_of, bad_of = ((c[peeks[row] + 1] - c[start]).astype(float) for c in (units, bads))
        good_of = units_of - bad_of
        rest = good_of * np.log(np.maximum(good_of, 1e-300) / units_of / (1 - beyond))
        far = bad_of * np.log(bad_of / units_of / beyond) + rest >= eprocess.MARGIN * BELOW
        row, start, bad_of, good_of = row[far], start[far], bad_of[far], good_of[far]
        exponents = self.bets[k, :, 1, None] * bad_of + self.bets[k, :, 2, None] * good_of
        e = self.bets[k, :, 0] @ np.exp(np.minimum(exponents, 690))
        return np.bincount(row, MASSES[start] * e, minlength=len(peeks))

    @staticmethod
    def _far(more: E, units: Counts, least: float) -> NDArray[np.bool_]:
        return (more > 0) & (more * more >= least * units)
