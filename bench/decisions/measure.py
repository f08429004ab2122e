"""Every method on the same streams, the limits, and the false-revert probability of a whole policy. All by seed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench.decisions import limits
from bench.decisions.limits import Figures, mean
from bench.decisions.ours import ONE, Pilot
from bench.decisions.peers import METHODS
from bench.decisions.streams import ALPHA, SCENARIOS, TARGET, TRAFFIC, Peeks, Scenario, Streams, draw, first

SEED = 5


class Size(NamedTuple):
    """How much is simulated; runs are streams of 14 days."""

    runs: int
    slow_runs: int  # of methods that take long
    samples: int  # of the change of measure
    calibration: int  # runs of the oracle


FULL = Size(1000, 100, 1000, 10_000)
QUICK = Size(20, 4, 20, 200)
CALIBRATED = ("bad", "late")  # scenarios in which the peers are shown with the levels that `calibrated` finds
Row = dict[str, Any]
Levels = Mapping[str, float]


def generator(*name: object) -> np.random.Generator:
    """The random numbers of one part of the run, whatever runs before or beside it."""
    return np.random.default_rng([SEED, zlib.crc32(" ".join(map(str, name)).encode())])


def run(size: Size = FULL, workers: int | None = None) -> dict[str, Any]:
    """All figures. A peer's calibrated levels are found on one set of streams at the target and used on others."""
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        levels = dict(zip(TRAFFIC, pool.map(partial(calibrated, size), TRAFFIC), strict=True))
        jobs = {
            (traffic, scenario): pool.submit(table, size, traffic, scenario, levels[traffic])
            for scenario in SCENARIOS
            for traffic in TRAFFIC
        }
        design = {
            kpi.title: [pool.submit(bad, size, k, rate) for rate in kpi.rates] for k, kpi in enumerate(limits.DESIGN)
        }
        late = {traffic: pool.submit(late_drop, size, traffic) for traffic in TRAFFIC}
        chance = {
            (title, traffic): pool.submit(false_revert, size, title, traffic)
            for title in POLICIES
            for traffic in TRAFFIC
        }
        return rounded(
            {
                "seed": SEED,
                **size._asdict(),
                "false revert": {f"{title}, {traffic}": job.result() for (title, traffic), job in chance.items()},
                "to revert": {title: [job.result() for job in rates] for title, rates in design.items()},
                "late drop": {traffic: job.result() for traffic, job in late.items()},
                "methods": {
                    f"{traffic}, {scenario}, {method}": row
                    for (traffic, scenario), job in jobs.items()
                    for method, row in job.result().items()
                },
            }
        )


def rounded(found: Any) -> Any:
    """The same, numbers with six digits."""
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found


# ---------------------------------------------------------------- methods on streams


def calibrated(size: Size, traffic: str) -> Levels:
    """For each peer the level beyond which it reverts ALPHA of the releases at the target in 14 days."""
    streams = draw(SCENARIOS["target"], TRAFFIC[traffic], size.runs, generator("calibration", traffic))
    found = {}
    for name, method in METHODS.items():
        peaks = method.statistic(streams.head(size.slow_runs) if method.slow else streams).max(axis=1)
        found[name] = float(np.quantile(peaks, 1 - ALPHA, method="higher"))
    return found


def table(size: Size, traffic: str, name: str, levels: Levels) -> dict[str, Row]:
    """What every method does with the streams of one scenario."""
    scenario = SCENARIOS[name]
    streams = draw(scenario, TRAFFIC[traffic], size.runs, generator(traffic, name))
    n, bad = streams.n[:, None], streams.bad[:, None]
    pilot = Pilot(ONE)
    found = {"pilot": row(streams, scenario, pilot.reverts(n, bad), pilot.advances(n, bad))}
    for key, method in METHODS.items():
        seen = streams.head(size.slow_runs) if method.slow else streams
        path = method.statistic(seen)
        found[key] = row(seen, scenario, first(path >= method.level), method.advance(seen))
        if name in CALIBRATED:
            found[key]["calibrated"] = row(seen, scenario, first(path > levels[key]))
    return found


def row(streams: Streams, scenario: Scenario, reverts: Peeks, advances: Peeks | None = None) -> Row:
    """
    Shares of the runs, and units of the pilot from the change until the revert.

    `before`: reverted before the change; these do not count for the units. `excess`: bad units beyond the target until
    the revert or, without one, in 14 days.
    """
    cells = streams.n.shape[1]
    reverted = reverts < cells
    seen = streams.n.cumsum(axis=1)
    rows = np.arange(len(seen))
    already = seen[:, scenario.since - 1] if scenario.since else 0
    units = seen[rows, np.minimum(reverts, cells - 1)] - already
    late = reverts >= scenario.since
    done = reverted & late
    found: Row = shares(reverted=reverted)
    if scenario.since:
        found |= shares(before=~late)
    if advances is not None:
        found |= shares(
            reverted_first=reverted & (reverts <= advances), advanced=(advances < cells) & (advances < reverts)
        )
    if done.any():
        found["mean"], found["mean_se"] = mean(units[done])
        found["median"] = float(np.median(units[done]))
    if scenario.rate > TARGET and late.any():
        found["excess"], found["excess_se"] = mean((scenario.rate - TARGET) * units[late])
    return found


def shares(**found: Any) -> Row:
    return {
        name: value for key, hits in found.items() for name, value in zip((key, f"{key}_se"), mean(hits), strict=True)
    }


# ---------------------------------------------------------------- limits


def bad(size: Size, k: int, rate: float) -> Figures:
    return limits.to_revert(limits.DESIGN[k], rate, size.runs, generator("design", k, rate))


def late_drop(size: Size, traffic: str) -> Figures:
    return limits.late_drop(TRAFFIC[traffic], size.runs, size.calibration, generator("late", traffic))


POLICIES = {"one KPI": ONE, "six KPIs": limits.SIX}


def false_revert(size: Size, title: str, traffic: str) -> Figures:
    return limits.chance(POLICIES[title], TRAFFIC[traffic], size.samples, generator("chance", title, traffic))
