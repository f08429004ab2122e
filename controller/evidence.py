"""
What recorded counts say of each KPI: a pure function of policy, counts and window.

The rules (formulas and sources are in `eprocess`):

1. Every KPI is a stream of bad and good units. "p90 <= 5 s" is the rate "at most 10 % above 5 s",
   and its warning "> 8 s" a second stream, "at most 10 % above 8 s".
2. Against the KPI, `e_revert`: the null is the target, over the whole window, with restarts. The
   mildest bet breaks even at the warning, so that what lies between target and warning earns
   nothing in the long run, and holds and asks a person.
3. For the KPI, `e_advance`: the null is the warning, since the stage began, without restarts. To
   pass, the estimate must be at the target too.
4. `e_hold` is an e-CUSUM against the target. Holding is no error and needs no guarantee.
5. Only buckets count that ended before the source's lag. Nothing missing makes anything better:
   e-values stay where they are, and the status says what is missing. A unit of which the outcome
   is unknown is bad (`timed_out`, or not followed `within`).
6. A KPI whose bounds hold for a daily mean is tested by whole days; else its bounds hold at all times.
7. KPIs are combined by the weighted mean of their e-values, which holds under any dependence (Vovk
   & Wang 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller import eprocess
from controller.eprocess import DAY, EXACT, GRID, NEAR, Bet, Cell, e_text, span_text
from controller.model import (
    Bucket,
    Evidence,
    KpiEvidence,
    KpiStatus,
    Proportion,
    Query,
    Recorded,
    Series,
    Window,
)
from controller.policy import Kpi, Policy, Stage
from controller.policy.schema import AgainstControl
from controller.policy.values import number

EXPOSURE = "exposure"
HOLD_LEVEL = 10.0  # of the e-CUSUM
SHARES = (1.05, 1.1, 1.2, 1.4, 2.0)  # odds ratios of the bets that an arm has more or fewer users than planned
TREND = 16  # parts of the stage's time that a trend shows


def queries(policy: Policy) -> tuple[Query, ...]:
    """What a source must count for `assess`: every KPI by its name, and the users of each arm."""
    users = Query(EXPOSURE, "exposure", good={}, unit="user", resolution=GRID)
    compared = {trigger.kpi for trigger in policy.triggers.values() if isinstance(trigger, AgainstControl)}
    return (*(kpi.query(name, control=name in compared) for name, kpi in policy.kpis.items()), users)


def assess(policy: Policy, *, percent: int, stage: Stage, recorded: Recorded, window: Window) -> Evidence:
    """
    Judge every KPI, and the users per arm at the live *percent*, by what was *recorded*.

    While every KPI is at its target at all times, `e_revert` ever reaches 1 / false_revert with
    probability false_revert at most, however often it is looked at.

    Raises:
        ValueError: a count is impossible, see `eprocess.closed`.
    """
    weights = policy.revert_shares
    kpis = {
        name: _kpi(_Reading.of(policy, name, recorded, window), weights[name], policy, stage) for name in policy.kpis
    }
    e_revert = sum(weights[name] * kpi.e_revert for name, kpi in kpis.items())
    return Evidence(kpis, e_revert, _proportion(policy, percent, recorded, window))


def rate_bounds(kpi: Kpi) -> tuple[float, float]:
    """
    The rates of bad units at the target and at the warning (without one, NEAR x the odds).

    For a quantile, the shares of units allowed above the target, and above the warning.
    """
    if kpi.quantile:
        share = (100 - kpi.quantile.p) / 100
        return share, share
    target, *warning = (
        eprocess.clamped(bound.value if kpi.bad_when_high else 1 - bound.value)
        for bound in (kpi.target, kpi.warning)
        if bound
    )
    return target, warning[0] if warning else eprocess.odds_times(target, NEAR)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One KPI of the pilot arm: `whole` over the window, other counts since the stage began."""

    name: str
    kpi: Kpi
    series: Series
    start: float
    stage: float
    whole: Sequence[Bucket]
    n: int
    bad: float
    worse: float
    until: float
    elapsed: float  # seconds of the stage that are complete
    lag: float
    silence: float | None
    gap: tuple[datetime, datetime] | None

    @classmethod
    def of(cls, policy: Policy, name: str, recorded: Recorded, window: Window) -> _Reading:
        start, stage, now = (at.timestamp() for at in (window.rates, window.stage, window.now))
        kpi, lag = policy.kpis[name], policy.source.lag.total_seconds()
        series = recorded.series.get(name, Series())
        whole = eprocess.closed(name, series.pilot, after=start, until=now - lag)
        since = [bucket for bucket in whole if bucket.end > stage]
        n = sum([bucket.n for bucket in since])
        bad, worse = (sum([bucket[key] for bucket in since]) for key in (2, 3))
        elapsed, silence = max(now - lag - stage, GRID), _silence(kpi, series, now)
        gaps = (g for g in recorded.gaps if g[0] < window.now and g[1] > window.stage)
        gap = next(gaps, None)
        return cls(name, kpi, series, start, stage, whole, n, bad, worse, now - lag, elapsed, lag, silence, gap)

    def cells(self, *, worse: bool = False) -> list[Cell]:
        """The window's cells for e-values; for a daily mean the whole days, each as one."""
        if self.kpi.bounds == "always":
            return eprocess.cells(self.whole, start=self.start, worse=worse)
        last = eprocess.days_ended(self.start, until=self.until)
        ended = (bucket for bucket in self.whole if bucket.end <= last)
        return eprocess.cells(ended, start=self.start, worse=worse, width=DAY)

    @property
    def proof(self) -> tuple[int, float]:
        """Units of the stage, and those beyond the warning, that count for advancing."""
        if self.kpi.bounds == "always":
            return self.n, self.worse
        last = eprocess.days_ended(self.stage, until=self.until)
        ended = [bucket for bucket in self.whole if self.stage < bucket.end <= last]
        return sum(bucket.n for bucket in ended), sum(bucket.worse for bucket in ended)

    @property
    def delayed(self) -> bool:
        return self.kpi.rate is not None and self.kpi.rate.within is not None

    @property
    def units(self) -> str:
        shape = self.kpi.rate or self.kpi.quantile
        return "users" if shape is None or self.delayed else f"{shape.unit}s"

    @property
    def estimate(self) -> float | None:
        if self.kpi.quantile:
            value = self.series.estimate
            return value if value is not None and math.isfinite(value) else None
        good = self.n - self.bad
        return (self.bad if self.kpi.bad_when_high else good) / self.n if self.n else None

    @property
    def at_target(self) -> bool:
        return self.n > 0 and self.bad <= rate_bounds(self.kpi)[0] * self.n + EXACT

    @property
    def beyond_warning(self) -> bool:
        warning = rate_bounds(self.kpi)[1]
        return self.kpi.warning is not None and self.worse > warning * self.n + EXACT

    @property
    def trend(self) -> tuple[float | None, ...]:
        """The share of good units in each of up to TREND parts of the stage's complete time."""
        parts = min(TREND, math.ceil(self.elapsed / GRID))
        n, bad = [0] * parts, [0.0] * parts
        for bucket in self.whole:
            if bucket.end > self.stage:
                part = min(parts - 1, int((bucket.end - self.stage - 1) / self.elapsed * parts))
                n[part] += bucket.n
                bad[part] += bucket.bad
        return tuple(1 - b / a if a else None for a, b in zip(n, bad, strict=True)) if any(n) else ()

    @property
    def stale(self) -> str | None:
        """
        Why the silence is too long for chance at the stage's own rate, or for the policy.

        What is heard of a delayed KPI are its good units, the events that followed an exposure.
        """
        if self.silence is None:
            return None
        per_second = (self.n - self.bad if self.delayed else self.n) / self.elapsed
        silent, allowed = f"silent for {span_text(self.silence)}", self.kpi.stale.total_seconds()
        absent = eprocess.absent(self.silence, lag=self.lag, per_second=per_second)
        if absent > eprocess.SILENCE:
            return f"{silent}, {absent:.0f} {self.units} were expected"
        return f"{silent} > {span_text(allowed)}" if self.silence > allowed else None

    @property
    def figures(self) -> str:
        kpi, value = self.kpi, self.estimate
        bounds = f"target {kpi.target}" + (f", warning {kpi.warning}" if kpi.warning else "")
        shown = "none" if value is None else number(value, kpi.target.unit)
        if kpi.quantile:
            above = number(kpi.target.value, kpi.target.unit)
            return f"{shown}, {self.bad} of {self.n} {self.units} above {above} ({bounds})"
        return f"{shown} of {self.n} {self.units} ({bounds})"


def _silence(kpi: Kpi, series: Series, now: float) -> float | None:
    """
    Seconds since the KPI's last event, or since the pilot arm's last unit if that is longer.

    A delayed KPI's event may come `within` after an exposure, so it may be older by that; units that count by their
    means are only known at the end of each `every`.
    """
    every = kpi.rate.every.total_seconds() if kpi.rate and kpi.rate.mean and kpi.rate.every else 0.0
    within = kpi.rate.within.total_seconds() if kpi.rate and kpi.rate.within else 0.0
    ages = [now - bucket.end - every for bucket in series.pilot if bucket.n][-1:]
    if series.last:
        ages.append(now - series.last.timestamp() - within)
    return max(0.0, *ages) if ages else None


def bets(kpi: Kpi) -> tuple[list[Bet], list[Bet], list[Bet]]:
    """
    The bets of e_revert, e_hold and e_advance.

    Without room between target and warning, as for a quantile, whose warning is a stream of its own,
    all begin next to the target.
    """
    target, warning = rate_bounds(kpi)
    if warning <= target + EXACT:
        near = eprocess.ladder(target)
        return near, near, eprocess.ladder(target, better=True)
    against = eprocess.ladder(target, eprocess.even(target, warning) if kpi.warning else warning)
    return against, eprocess.ladder(target, warning), eprocess.ladder(warning, target, better=True)


def _kpi(reading: _Reading, weight: float, policy: Policy, stage: Stage) -> KpiEvidence:
    kpi, n, bad = reading.kpi, reading.n, reading.bad
    against, hold, better = bets(kpi)
    worse = reading.cells(worse=True)
    e_revert = eprocess.e_restarted(worse, against)
    e_hold = eprocess.e_cusum(reading.cells() if kpi.quantile else worse, hold)
    proof_n, proof_worse = reading.proof
    e_advance = eprocess.e_now(better, proof_n, proof_worse)
    needed = max(0, math.ceil(kpi.min_units - (n - bad))) if reading.at_target else None
    if needed is not None and stage.proof == "evidence":
        level = 1 / policy.risk.false_advance
        more = eprocess.units_needed(better, proof_n, proof_worse, level=level)
        needed = None if more is None else max(needed, more)
    low: float | None = None  # bounds in the unit of a quantile do not follow from counts
    high: float | None = None
    if kpi.rate and n:
        low, high = eprocess.interval(n, bad)
        low, high = (low, high) if kpi.bad_when_high else (1 - high, 1 - low)
    status, reason = _status(reading, policy, stage, weight, e_revert, e_hold, e_advance, needed)
    return KpiEvidence(
        status=status, n=n, bad=bad, estimate=reading.estimate, low=low, high=high,
        target=kpi.target.value, warning=kpi.warning.value if kpi.warning else None,
        e_advance=e_advance, e_revert=e_revert, e_hold=e_hold, freshness_s=reading.silence,
        complete=reading.gap is None, reason=f"{reading.name}: {reason}", needed=needed, trend=reading.trend,
    )  # fmt: skip


def _status(
    reading: _Reading, policy: Policy, stage: Stage, weight: float,
    e_revert: float, e_hold: float, e_advance: float, needed: int | None,
) -> tuple[KpiStatus, str]:  # fmt: skip
    """The first status that applies, from worst to best, with its arithmetic."""
    kpi, n, bad, units, figures = reading.kpi, reading.n, reading.bad, reading.units, reading.figures
    revert, advance = 1 / policy.risk.false_revert, 1 / policy.risk.false_advance
    if weight * e_revert >= revert - EXACT:
        product = f"{e_text(e_revert)} x weight {weight:.2g} = {e_text(weight * e_revert)}"
        return KpiStatus.BREACH, f"{figures}, e-value {product} >= {revert:g} against it"
    if not n:
        return KpiStatus.MISSING, f"no {units} since the stage began"
    if reading.stale:
        return KpiStatus.STALE, reading.stale
    if reading.gap:
        begin, end = (f"{at:%Y-%m-%d %H:%M}" for at in reading.gap)
        return KpiStatus.INCOMPLETE, f"events may be missing from {begin} to {end} UTC"
    if n < kpi.min_units:
        return KpiStatus.SMALL, f"{n} {units} < {kpi.min_units}"
    if e_hold >= HOLD_LEVEL:
        return KpiStatus.HOLD, f"{figures}, e-CUSUM {e_text(e_hold)} >= {HOLD_LEVEL:g} against it"
    if reading.beyond_warning:
        return KpiStatus.HOLD, f"{figures}, beyond the warning"
    if not reading.at_target:
        return KpiStatus.OPEN, f"{figures}, not at the target"
    if n - bad < kpi.min_units:  # good ones: one bad unit more must not open the way
        return KpiStatus.SMALL, f"{figures}, {math.floor(n - bad)} good ones < {kpi.min_units}"
    if stage.proof == "estimate":
        return KpiStatus.PASSED, f"{figures}, {math.floor(n - bad)} good ones >= {kpi.min_units}"
    if e_advance >= advance - EXACT:
        return KpiStatus.PASSED, f"{figures}, e-value {e_text(e_advance)} >= {advance:g}"
    more = "" if needed is None else f", about {needed} more {units}"
    return KpiStatus.OPEN, f"{figures}, e-value {e_text(e_advance)} < {advance:g}{more}"


def _proportion(policy: Policy, percent: int, recorded: Recorded, window: Window) -> Proportion | None:
    """
    Users per arm against *percent*, by bets on both sides (sample ratio; Lindon & Malek 2022).

    The bucket in which the stage began mixes two shares, so only whole ones after it count.
    """
    if not 0 < percent < 100:
        return None
    after = window.stage.timestamp() + GRID - 1
    until = (window.now - policy.source.lag).timestamp()
    series = recorded.series.get(EXPOSURE, Series())
    pilot, control = (
        sum(bucket.n for bucket in eprocess.closed(EXPOSURE, arm, after=after, until=until))
        for arm in (series.pilot, series.control)
    )
    if not pilot + control:
        return None
    planned = percent / 100
    sides = [f for share in SHARES for f in (share, 1 / share)]
    stream = eprocess.bets(planned, [eprocess.odds_times(planned, f) for f in sides])
    return Proportion(pilot, control, planned, eprocess.e_now(stream, pilot + control, pilot))
