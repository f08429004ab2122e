"""
Our decisions on simulated counts, by the controller's own functions.

A revert is where the weighted mean of `eprocess.e_path` over the KPIs reaches 1 / false_revert, which is what
`evidence.assess` finds after that cell; an advance is where `assess` says that every KPI passes. `assess` takes a
millisecond, so it is asked only where `e_now` and the estimate allow an advance. `tests/bench/test_decisions.py`
compares both with `assess` at every peek.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from operator import mul

import numpy as np
from numpy.typing import NDArray

from bench.decisions.streams import ALPHA, BETA, TARGET, WARNING, Counts, Peeks
from controller import eprocess, evidence
from controller.eprocess import GRID, Cell
from controller.model import Bucket, Evidence, KpiStatus, Recorded, Series, Window
from controller.policy import Policy, load

START = datetime(2026, 3, 1, tzinfo=UTC)
BELOW = 1 - 1e-9  # of a level: what rounding may take
E = NDArray[np.float64]


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
        self.weights = list(self.policy.revert_shares.values())
        self.against = [evidence.bets(kpi)[0] for kpi in self.policy.kpis.values()]
        self.targets = np.array([evidence.rate_bounds(kpi)[0] for kpi in self.policy.kpis.values()])

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

    def e_values(self, n: Counts, bad: Counts) -> Iterator[float]:
        """The combined evidence against one run after each cell; counts are KPIs x cells."""
        paths = [
            eprocess.e_path(map(Cell, range(1, len(units) + 1), units, bads), stream)
            for units, bads, stream in zip(n.tolist(), bad.tolist(), self.against, strict=True)
        ]
        for found in zip(*paths, strict=True):
            yield sum(map(mul, self.weights, found))

    def reverts(self, n: Counts, bad: Counts) -> Peeks:
        """The first cell of each run after which the combined evidence reverts it; the number of cells for never."""
        return np.array([self.revert(*run)[0] for run in zip(n, bad, strict=True)])

    def revert(self, n: Counts, bad: Counts) -> tuple[int, float]:
        """That cell of one run, and the e-value there."""
        reached = ((at, e) for at, e in enumerate(self.e_values(n, bad)) if e >= self.level)
        return next(reached, (n.shape[1], 0.0))

    def advances(self, n: Counts, bad: Counts) -> Peeks:
        """The first cell of each run after which every KPI passes its proof."""
        cells = n.shape[2]
        possible = np.ones((len(n), cells), dtype=bool)
        units, bads = n.cumsum(axis=2), bad.cumsum(axis=2)
        for k, name in enumerate(self.names):
            kpi = self.policy.kpis[name]
            e = np.zeros(possible.shape)
            for weight, per_bad, per_good in evidence.bets(kpi)[2]:
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
