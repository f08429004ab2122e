"""
Whether the runbook's conditions hold: a pure function of policy, counts and window.

The rules:

1. A trigger is a person's order and taken literally, except that a rate must be more than noise.
2. FIRED needs only what was seen: no gap and no silence takes it back.
3. QUIET needs data that could have shown the contrary: missing, stale or incomplete is UNKNOWN.
4. Each reason is the arithmetic that decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller import eprocess, two_arms
from controller.eprocess import EXACT, GRID, Cell, count_text, e_text, span_text
from controller.model import Bucket, Query, Recorded, Series, TriggerResult, TriggerStatus, Window
from controller.policy import Kpi, Policy, Trigger
from controller.policy.schema import AgainstControl, AnyEvent, CountPerTime, FirstUnits, KpiLevel, Sustained
from controller.policy.values import Margin, number

RESOLUTION = 60  # seconds of a bucket where a condition must hold through a length of time
MORE = (1.5, 3.0, 8.0)  # ratios to the allowed count per time of the bets that there are more
PARTS = (10, 5, 2)  # into which that time may be cut, each of which must be above the level


def queries(policy: Policy) -> tuple[Query, ...]:
    """What a source must count for `assess` besides the KPIs, each by the name `trigger:<name>`."""
    asked = (_query(policy, f"trigger:{name}", t) for name, t in policy.triggers.items())
    return tuple(query for query in asked if query)


def assess(policy: Policy, *, recorded: Recorded, window: Window) -> Mapping[str, TriggerResult]:
    """
    Whether each trigger of *policy* fired, by what was *recorded*.

    A rate (sustained, or below control) that keeps its level at all times ever fires its trigger
    with probability false_revert at most; the other kinds are literal.

    Raises:
        ValueError: a count is impossible, see `eprocess.closed`.
    """
    found = {}
    for name, trigger in policy.triggers.items():
        match trigger:
            case AgainstControl() | KpiLevel(for_=None):
                key = trigger.kpi
            case _:
                key = f"trigger:{name}"
        data = _Data(key, recorded.series.get(key, Series()), policy, recorded, window)
        found[name] = _assess(trigger, data)
    return found


def _query(policy: Policy, key: str, trigger: Trigger) -> Query | None:
    match trigger:
        case Sustained():
            return trigger.rate.query(key, resolution=RESOLUTION, control=False)
        case FirstUnits():
            return trigger.rate.query(key, first=trigger.in_first, control=False)
        case AnyEvent() | CountPerTime():
            return trigger.query(key)
        case KpiLevel(for_=timedelta()):
            kpi, level = policy.kpis[trigger.kpi], trigger.level.value
            if kpi.quantile:
                return kpi.quantile.query(key, level, level, resolution=RESOLUTION, control=False)
            return kpi.query(key, resolution=RESOLUTION, control=False)
    return None


def _assess(trigger: Trigger, data: _Data) -> TriggerResult:
    match trigger:
        case Sustained():
            return _sustained(data, trigger.above, trigger.for_, f"above {number(trigger.above, '%')}")
        case FirstUnits():
            return _first(data, trigger)
        case AnyEvent():
            return _any(data, trigger)
        case CountPerTime():
            return _count(data, trigger)
        case AgainstControl():
            return _against_control(data, trigger, data.policy.kpis[trigger.kpi])
    kpi, level = data.policy.kpis[trigger.kpi], trigger.level
    text = f"{'above' if trigger.above else 'below'} {number(level.value, level.unit)}"
    if trigger.for_ is None:
        return _level(data, trigger, kpi, text)
    if kpi.quantile:
        share = (100 - kpi.quantile.p) / 100
        return _sustained(data, share, trigger.for_, f"p{kpi.quantile.p} {text}")
    return _sustained(data, level.value if trigger.above else 1 - level.value, trigger.for_, text)


@dataclass(frozen=True, slots=True)
class _Data:
    """What one trigger reads."""

    key: str
    series: Series
    policy: Policy
    recorded: Recorded
    window: Window

    @property
    def until(self) -> float:
        """Up to when everything has arrived, in seconds since the epoch."""
        return (self.window.now - self.policy.source.lag).timestamp()

    @property
    def start(self) -> float:
        return self.window.rates.timestamp()

    @property
    def fires_at(self) -> float:
        return 1 / self.policy.risk.false_revert

    def closed(self, arm: tuple[Bucket, ...]) -> list[Bucket]:
        return eprocess.closed(self.key, arm, after=self.start, until=self.until)

    def quiet(self, reason: str, *, since: datetime) -> TriggerResult:
        """QUIET for *reason*, unless events may be missing *since* then."""
        for begin, end in self.recorded.gaps:
            if begin < self.window.now and end > since:
                gap = f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
                return _unknown(f"events may be missing from {gap}; {reason}")
        return TriggerResult(TriggerStatus.QUIET, reason)

    def silent(self, pilot: list[Bucket], *, allowed: timedelta = timedelta.max) -> str | None:
        """Why *pilot* is too old to say anything, at its own rate or for the policy."""
        if not pilot:
            return "no data of the pilot"
        now, lag = self.window.now.timestamp(), self.policy.source.lag.total_seconds()
        silence = now - self.series.pilot[-1].end
        elapsed = max(self.until - pilot[0].end + RESOLUTION, eprocess.GRID)
        per_second = sum([bucket[1] for bucket in pilot]) / elapsed
        absent = eprocess.absent(silence, lag=lag, per_second=per_second)
        if absent > eprocess.SILENCE:
            return f"silent for {span_text(silence)}, {absent:.0f} units were expected"
        if silence > allowed.total_seconds():
            return f"silent for {span_text(silence)} > {span_text(allowed.total_seconds())}"
        return None


def _fired(reason: str) -> TriggerResult:
    return TriggerResult(TriggerStatus.FIRED, reason)


def _unknown(reason: str) -> TriggerResult:
    return TriggerResult(TriggerStatus.UNKNOWN, reason)


def _sustained(data: _Data, level: float, length: timedelta, text: str) -> TriggerResult:
    """
    Whether the rate of bad units was above *level* for all of *length*, and by more than noise.

    All k equal parts of that time must be above it, k being the largest of PARTS with k <= units x
    level / 2 (two bad units a part at the level) and parts no shorter than a bucket, or 1: traffic
    that cannot show parts is judged by the whole. And the e-value with restarts against "at most
    the level" must reach 1 / false_revert.
    """
    pilot, seconds = data.closed(data.series.pilot), max(int(length.total_seconds()), RESOLUTION)
    begin = int(data.until) // RESOLUTION * RESOLUTION - seconds
    recent = [bucket for bucket in pilot if begin < bucket.end <= begin + seconds]
    n, bad = sum(b.n for b in recent), sum(b.bad for b in recent)
    allowed = [k for k in PARTS if k <= n * level / 2 + EXACT and k * RESOLUTION <= seconds]
    parts: list[list[float]] = [[0, 0] for _ in range(allowed[0] if allowed else 1)]
    for bucket in recent:
        part = parts[(bucket.end - RESOLUTION - begin) * len(parts) // seconds]
        part[0], part[1] = part[0] + bucket.n, part[1] + bucket.bad
    above = sum(b > level * m + EXACT for m, b in parts)
    null = eprocess.clamped(level)
    e = eprocess.e_restarted(eprocess.cells(pilot, start=data.start), eprocess.ladder(null))
    proven, span = e >= data.fires_at - EXACT, span_text(seconds)
    figures = (
        f"{count_text(bad)} of {n} bad in the last {span}, {text} in {above} of {len(parts)} parts, "
        f"e-value {e_text(e)} {'>=' if proven else '<'} {data.fires_at:g}"
    )
    if proven and above == len(parts):
        return _fired(figures)
    if silent := data.silent(pilot):
        return _unknown(silent)
    if not n:
        return _unknown(f"no units in the last {span}")
    return data.quiet(figures, since=datetime.fromtimestamp(begin, UTC))


def _first(data: _Data, trigger: FirstUnits) -> TriggerResult:
    """Literal: fired as soon as the first N must end above the level, whatever the rest do."""
    first = data.series.first[: trigger.in_first]
    bad, limit = sum(first), trigger.above * trigger.in_first
    certain = bad > limit + EXACT
    figures = (
        f"{bad} of the first {len(first)} bad {'>' if certain else '<='} "
        f"{number(trigger.above, '%')} of {trigger.in_first}"
    )
    if certain:
        return _fired(figures)
    return data.quiet(figures, since=data.window.start) if first else _unknown("no units yet")


def _any(data: _Data, trigger: AnyEvent) -> TriggerResult:
    """
    Fired by one matching event, in either arm, up to now.

    Where the event alone is the condition, its absence is the good news, given that others arrive.
    """
    both, event = (*data.series.pilot, *data.series.control), trigger.any["event"][0]
    seen = eprocess.closed(data.key, both, after=data.window.start.timestamp(), until=math.inf)
    hits = [bucket for bucket in seen if bucket.bad]
    if hits:
        by = datetime.fromtimestamp(min(bucket.end for bucket in hits), UTC)
        ids = ", ".join(data.series.examples[:3])
        count = f"{sum(bucket.bad for bucket in hits)} matching {event}"
        return _fired(f"{count}, first by {by:%Y-%m-%d %H:%M} UTC" + (f" ({ids})" if ids else ""))
    newest = data.recorded.last
    if not seen and (len(trigger.any) > 1 or newest is None):
        return _unknown(f"no {event} yet")
    count = f"none of {sum(bucket.n for bucket in seen)} {event} matches"
    return data.quiet(count, since=data.window.start)


def _count(data: _Data, trigger: CountPerTime) -> TriggerResult:
    """
    Whether events come credibly more often than that.

    Time counts while the source is heard, up to its newest event of any type.
    """
    pilot, newest, event = data.closed(data.series.pilot), data.recorded.last, trigger.count["event"][0]
    if newest is None:
        return _unknown("no events yet")
    heard, per = min(data.until, newest.timestamp()), trigger.per.total_seconds()
    hits = {cell.at: cell.bad for cell in eprocess.cells(pilot, start=data.start)}
    passed = max(int((heard - data.start) // GRID), *hits, 0)
    every = [Cell(at, 1, hits.get(at, 0)) for at in range(1, passed + 1)]
    null = trigger.above * GRID / per
    e = eprocess.e_restarted(every, eprocess.counting(null, [null * factor for factor in MORE]))
    fired = e >= data.fires_at - EXACT
    figures = (
        f"{count_text(sum(hits.values()))} {event} in {span_text(passed * GRID)}, "
        f"{trigger.above:g} in {span_text(per)} allowed, "
        f"e-value {e_text(e)} {'>=' if fired else '<'} {data.fires_at:g}"
    )
    if fired:
        return _fired(figures)
    if data.until - heard > per:
        return _unknown(f"silent for {span_text(data.until - heard)}; {figures}")
    return data.quiet(figures, since=data.window.rates)


def _line(kpi: Kpi, margin: Margin) -> two_arms.Line:
    if margin.points:
        return two_arms.points(margin.value)
    return two_arms.rise(margin.value) if kpi.bad_when_high else two_arms.dip(margin.value)


def _against_control(data: _Data, trigger: AgainstControl, kpi: Kpi) -> TriggerResult:
    """Whether the rate is credibly worse than the control's of the same time, by more than the margin."""
    pilot, control = data.closed(data.series.pilot), data.closed(data.series.control)
    if not control:
        return _unknown("no control")
    arms = [eprocess.cells(arm, start=data.start) for arm in (pilot, control)]
    e = two_arms.e_two_arms(two_arms.strata(*arms), line=_line(kpi, trigger.margin))
    fired = e >= data.fires_at - EXACT
    sums = [(sum(c.bad if kpi.bad_when_high else c.n - c.bad for c in arm), sum(c.n for c in arm)) for arm in arms]
    rates = (f"{number(of / n, '%') if n else 'none'} of {n}" for of, n in sums)
    more = "more" if kpi.bad_when_high else "less"
    figures = (
        f"{' against '.join(rates)} in control, {trigger.margin} {more} allowed, "
        f"e-value {e_text(e)} {'>=' if fired else '<'} {data.fires_at:g}"
    )
    if fired:
        return _fired(figures)
    if silent := data.silent(pilot, allowed=kpi.stale):
        return _unknown(silent)
    return data.quiet(figures, since=data.window.start)


def _level(data: _Data, trigger: KpiLevel, kpi: Kpi, text: str) -> TriggerResult:
    """Whether the estimate since the stage began, of `min_units` or more, is beyond the level."""
    pilot, stage = data.closed(data.series.pilot), data.window.stage
    since = [bucket for bucket in pilot if bucket.end > stage.timestamp()]
    n, bad = sum(b.n for b in since), sum(b.bad for b in since)
    if not n:
        return _unknown("no data since the stage began")
    value = data.series.estimate if kpi.quantile else (bad if kpi.bad_when_high else n - bad) / n
    if value is None or not math.isfinite(value):
        return _unknown("the source gives no estimate")
    level = trigger.level.value
    beyond = value > level + EXACT if trigger.above else value < level - EXACT
    figures = f"{number(value, trigger.level.unit)} of {n}, {'' if beyond else 'not '}{text}"
    if n >= kpi.min_units and beyond:
        return _fired(figures)
    if silent := data.silent(pilot, allowed=kpi.stale):
        return _unknown(silent)
    small = f"; {n} < {kpi.min_units}" if n < kpi.min_units else ""
    return data.quiet(figures + small, since=stage)
