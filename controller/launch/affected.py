"""Which events an incident is about: those that miss what a fired trigger or a KPI in trouble asks. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from controller import evidence, triggers
from controller.decide import Facts
from controller.model import Event, KpiStatus, Query, TriggerStatus


def queries(facts: Facts) -> Sequence[Query]:
    """
    The counts that are in trouble: of triggers that fired and of KPIs at their hold level or beyond.

    Where there is none, those of all triggers: a person saw something that the figures do not show.
    """
    fired = {f"trigger:{name}" for name, result in facts.triggers.items() if result.status is TriggerStatus.FIRED}
    bad = {name for name, kpi in facts.evidence.kpis.items() if kpi.status in (KpiStatus.BREACH, KpiStatus.HOLD)}
    known = [*evidence.queries(facts.policy), *triggers.queries(facts.policy)]
    found = [query for query in known if query.name in fired | bad]
    return found or [query for query in known if query.name.startswith("trigger:")]


def affected(asked: Sequence[Query], events: Iterable[Event]) -> list[Event]:
    """Those of *events* that are bad to one of the queries, as sources count them."""
    return [event for event in events if any(_bad(query, event) for query in asked)]


def _bad(query: Query, event: Event) -> bool:
    if event.type != query.event or not _matches(query.where, event):
        return False
    if query.field is not None:
        bound = query.above_warning if query.above_warning is not None else query.above
        return bound is not None and not _number(event, query.field) <= bound
    if query.bad is not None and (_matches(query.bad, event) or any(not _text(event, name) for name in query.needs)):
        return True
    return query.good is not None and query.within is None and not _matches(query.good, event)


def _matches(conditions: Mapping[str, tuple[str, ...]], event: Event) -> bool:
    return all(_is_one(_text(event, name).lower(), values) for name, values in conditions.items())


def _is_one(text: str, values: tuple[str, ...]) -> bool:
    """Whether *text* is one of *values*, of which `5xx` is also a class of HTTP status."""
    classes = [int(value[0]) for value in values if re.fullmatch("[0-9][xX]{2}", value)]
    try:
        hundreds = float(text) // 100 if classes else -1
    except ValueError:
        hundreds = -1
    return hundreds in classes or text in [value.lower() for value in values]


def _text(event: Event, name: str) -> str:
    return event.attributes.get(name, "")


def _number(event: Event, name: str) -> float:
    """The attribute as a number; infinite where it is none to use, or the event timed out."""
    if _text(event, "timed_out") not in ("", "false", "null"):
        return math.inf
    try:
        value = json.loads(_text(event, name))
    except ValueError:
        return math.inf
    return float(value) if isinstance(value, (int, float)) and 0 <= value < math.inf else math.inf
