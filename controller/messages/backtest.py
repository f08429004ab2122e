"""What a person reads of a backtest: what was assumed, what changed when, and each KPI over time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from controller.decide import Facts
from controller.model import Decision, KpiEvidence, KpiStatus, TriggerStatus, Verdict
from controller.policy import Policy
from controller.policy.values import length, number

WIDTH = 60  # columns of a chart
_BARS = "▁▂▃▄▅▆▇█"
_TOLD = (KpiStatus.BREACH, KpiStatus.HOLD, KpiStatus.STALE)
Passes = Sequence[tuple[Facts, Decision]]


def assumed(start: datetime, percent: int, every: timedelta, *, fixed: bool) -> str:
    """What the reader must know to take the timeline for what it is."""
    since = f"{percent} % is live since {start:%Y-%m-%d %H:%M} UTC"
    looks = f"A pass every {length(every)}."
    if fixed:
        return f"Assumed: {since} and stays so, whatever is proposed. {looks}"
    return (
        f"Assumed: {since}; an advance is merged and live in the pass that proposes it. The arms keep the shares that "
        f"they had when they were recorded, so their proportion is not judged. It ends at the first revert or flip: "
        f"what users would have met from then on was not recorded. {looks}"
    )


def timeline(passes: Passes) -> Iterator[tuple[datetime, str]]:
    """What is new at each pass: a verdict, a deciding reason, a KPI's bad news or a trigger, once each in a stage."""
    known: set[tuple[object, ...]] = set()
    for facts, decision in passes:
        stage, told = decision.from_percent, set[str]()
        for key, sentence in _news(decision):
            if (stage, *key) not in known and sentence not in told:
                yield facts.now, sentence
            known.add((stage, *key))
            told.add(sentence)


def _news(decision: Decision) -> Iterator[tuple[tuple[object, ...], str]]:
    move = ""
    if decision.verdict in (Verdict.ADVANCE, Verdict.REVERT):
        move = f" {decision.from_percent} % -> {decision.to_percent} %"
    kpis, reason = decision.evidence.kpis, decision.reasons[0]
    subject = reason.split(":")[0]
    kind = (subject, kpis[subject].status) if subject in kpis else (re.sub(r"\d+", "#", subject),)
    yield (decision.verdict, decision.to_percent, *kind), f"{decision.verdict}{move}: {reason}"
    for name, kpi in kpis.items():
        if kpi.status in _TOLD and not reason.startswith(kpi.reason):
            yield (name, kpi.status), f"  {kpi.status}: {kpi.reason}"
    for name, result in decision.triggers.items():
        if result.status is TriggerStatus.FIRED and not reason.startswith(f"{name} fired"):
            yield (name, "fired"), f"  {name} fired: {result.reason}"


def chart(policy: Policy, passes: Passes) -> Iterator[str]:
    """
    Each KPI over time: its estimate, and the e-values against it and for it, on a scale of logarithms.

    A full bar of `against` is the KPI's whole part of the revert budget used up; one of `for`, the proof of health.
    """
    times = [facts.now for facts, _ in passes]
    parts = _parts(len(passes))
    total = sum(kpi.weight for kpi in policy.kpis.values())
    begin, end = f"{times[0]:%Y-%m-%d %H:%M}", f"{times[-1]:%Y-%m-%d %H:%M} UTC"
    yield f"{'':12}{begin}{end:>{max(len(parts) - len(begin), len(end) + 2)}}"
    yield f"{'stage':12}{_stages([passes[part[-1]][1].from_percent for part in parts])}"
    for name, kpi in policy.kpis.items():
        seen = [decision.evidence.kpis[name] for _, decision in passes]
        bounds = f"target {kpi.target}" + (f", warning {kpi.warning}" if kpi.warning else "")
        yield f"{name}: {bounds}"
        yield from _estimate(seen, parts, kpi.target.unit)
        share, limit = kpi.weight / total, 1 / policy.risk.false_revert
        against = [share * item.e_revert for item in seen]
        yield _evidence("against", against, parts, limit) if share else f"{'  against':12}weight 0: it never reverts"
        yield _evidence("for", [item.e_advance for item in seen], parts, 1 / policy.risk.false_advance)


def _parts(count: int) -> list[range]:
    """So many passes in up to WIDTH columns, none empty."""
    columns = min(WIDTH, count)
    edges = [count * n // columns for n in range(columns + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def _stages(percents: Sequence[int]) -> str:
    """The percent where each begins, and a line for as long as it lasts."""
    text, at = "", None
    for column, percent in enumerate(percents):
        if percent != at and len(text) <= column:
            text += f"{'|' if text else ''}{percent}%"
            at = percent
        text += "─" if len(text) <= column else ""
    return text


def _estimate(seen: Sequence[KpiEvidence], parts: Sequence[range], unit: str) -> Iterator[str]:
    values = [next((seen[n].estimate for n in reversed(part) if seen[n].n), None) for part in parts]
    known = [value for value in values if value is not None]
    if not known:
        yield f"{'  estimate':12}none"
        return
    low, high = min(known), max(known)

    def level(value: float) -> float:
        return (value - low) / (high - low) if high > low else 0.5

    ends = f"{number(low, unit)} to {number(high, unit)}, last {number(known[-1], unit)}"
    yield f"{'  estimate':12}{_bars(values, level)}  {ends}"


def _evidence(title: str, values: Sequence[float], parts: Sequence[range], limit: float) -> str:
    most = [max(values[n] for n in part) for part in parts]
    bars = _bars(most, lambda e: math.log(max(e, 1)) / math.log(limit))
    return f"{'  ' + title:12}{bars}  most {max(most):.3g} of {limit:.3g}"


def _bars(values: Sequence[float | None], level: Callable[[float], float]) -> str:
    """A column each: the full bar is kept for a level of 1 or more."""
    found = ""
    for value in values:
        if value is None:
            found += " "
        else:
            share = level(value)
            found += _BARS[-1] if share >= 1 else _BARS[max(0, int(share * (len(_BARS) - 1)))]
    return found
