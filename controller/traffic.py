"""
How long a decision takes at a given traffic: arithmetic on the units that the proof of each KPI needs.

A KPI's traffic is how many of its units all users together bring in a day. What its truth is nobody knows before, so
some are supposed (`truth`), each a step of 2 in the odds of a bad unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from controller import eprocess, evidence
from controller.eprocess import GRID, odds_times
from controller.errors import ConfigError
from controller.model import Bucket, Recorded, Series, Window
from controller.policy import Kpi, Policy, Stage
from controller.policy.values import length, number, per_day
from controller.sources.jsonlines import JsonLines

DAY = 86400
STEP = 2.0  # between two supposed truths, in the odds of a bad unit
SILENT = 0.05  # share of the time for which a KPI may be stale by chance
Truth = Literal["healthy", "target", "warning", "harm"]
_BEGIN, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def given(policy: Policy, options: Sequence[str] = (), paths: Sequence[str] = ()) -> dict[str, float]:
    """
    Units a day of each KPI of which that is known: by the policy, by recorded events, by *options*, the last of which
    counts: `mic_grant=50/d`, or `50/d` for every KPI.

    Raises:
        ConfigError: an option is no rate or names no KPI, or an event file cannot be read.
    """
    found = {name: kpi.traffic for name, kpi in policy.kpis.items() if kpi.traffic}
    found |= recorded(policy, paths) if paths else {}
    for option in sorted(options, key=lambda text: "=" in text):
        name, _, text = option.rpartition("=")
        if name and name not in policy.kpis:
            raise ConfigError(f"--traffic {option}: no KPI {name}; there are: {', '.join(policy.kpis)}")
        try:
            found |= dict.fromkeys([name] if name else policy.kpis, per_day(text))
        except ValueError as error:
            raise ConfigError(f"--traffic {option}: {error}") from None
    return found


def recorded(policy: Policy, paths: Sequence[str]) -> dict[str, float]:
    """The mean over the recording, of both arms."""
    source = JsonLines(paths, **policy.source.mapping)
    found = source.read([kpi.query(name) for name, kpi in policy.kpis.items()], Window(_BEGIN, _BEGIN, _END))
    counts = {name: [*series.pilot, *series.control] for name, series in found.series.items()}
    ends = [bucket.end for buckets in counts.values() for bucket in buckets]
    days = (max(ends) - min(ends) + GRID) / DAY if ends else 1.0
    return {name: sum(b.n for b in buckets) / days for name, buckets in counts.items() if buckets}


def truth(kpi: Kpi, which: Truth) -> tuple[float, float]:
    """
    The rates of units that are bad, and that are beyond the warning, if *which* is true of a KPI.

    Healthy is half the odds of a bad unit at the target; harm is twice those at the warning. Of a quantile's units,
    those beyond the warning have half the odds of those beyond the target.
    """
    target, warning = evidence.rate_bounds(kpi)
    if kpi.quantile:
        factor = {"healthy": 1 / STEP, "target": 1.0, "warning": STEP, "harm": STEP * STEP}[which]
        bad = odds_times(target, factor)
        return bad, odds_times(bad, 1 / STEP)
    rate = {
        "healthy": odds_times(target, 1 / STEP),
        "target": target,
        "warning": warning,
        "harm": odds_times(warning, STEP),
    }[which]
    return rate, rate


def units(policy: Policy, name: str, stage: Stage, which: Truth) -> int | None:
    """How many units leaving *stage* upwards takes for a KPI of that truth; None where none suffice."""
    kpi, (bad, worse) = policy.kpis[name], truth(policy.kpis[name], which)
    now = _BEGIN + timedelta(seconds=GRID) + policy.source.lag
    one = Bucket(GRID, 1, bad, worse)  # the mean of a unit: what counts is a sum of them
    found = evidence.assess(
        policy,
        percent=stage.percent,
        stage=stage,
        recorded=Recorded({name: Series((one,))}),
        window=Window(_BEGIN, _BEGIN, now),
    ).kpis[name]
    if found.needed is None:
        return None
    return math.ceil(max(1 + found.needed, kpi.min_units / (1 - bad)))


def needs(policy: Policy, traffic: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each required KPI on the units that it takes, and a warning for each stage too short for them."""
    for name, kpi in policy.kpis.items():
        if not kpi.required:
            continue
        yield _units(policy, name, kpi)
        for stage in policy.stages:
            if 0 < stage.percent < 100 and name in traffic:
                yield from _warnings(policy, name, stage, traffic[name])
    unknown = [name for name, kpi in policy.kpis.items() if kpi.required and name not in traffic]
    if unknown:
        yield f"traffic of {', '.join(unknown)} is not known: give --traffic 50/d, --events, or traffic: in the policy"


def _units(policy: Policy, name: str, kpi: Kpi) -> str:
    proofs = dict.fromkeys(stage.proof for stage in policy.stages if 0 < stage.percent < 100)
    texts = []
    for proof in proofs:
        stage = next(stage for stage in policy.stages if stage.proof == proof and 0 < stage.percent < 100)
        healthy, target = (units(policy, name, stage, which) for which in ("healthy", "target"))
        texts.append(f"{_count(healthy)} by {proof} ({_count(target)} if just at its target)")
    bad = number(truth(kpi, "healthy")[0], "%")
    return f"{name}: to leave a stage takes {' or '.join(texts)} units, of which {bad} are bad"


def _count(found: int | None) -> str:
    return "any number of" if found is None else str(found)


def _warnings(policy: Policy, name: str, stage: Stage, a_day: float) -> Iterator[str]:
    kpi, here, needed = policy.kpis[name], a_day * stage.percent / 100, units(policy, name, stage, "healthy")
    if needed is None:
        yield f"warning: {name}: the {stage.percent} % stage can never be left by {stage.proof}"
        return
    takes = timedelta(days=needed / here) + ((kpi.rate and kpi.rate.within) or timedelta(0))
    silent = math.exp(-eprocess.absent(kpi.stale.total_seconds(), lag=0.0, per_second=here / DAY))
    troubles = []
    if takes > stage.bake:
        troubles.append(f"needs {length(takes)}; its bake time is {length(stage.bake)}")
    if silent > SILENT:
        troubles.append(f"is silent for longer than {length(kpi.stale)} in {silent:.0%} of the time, and then stale")
    if troubles:
        yield f"warning: {name}: at {a_day:g}/d the {stage.percent} % stage {', and '.join(troubles)}"
