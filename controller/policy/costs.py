"""What the rules of a policy cost in false alarms, computed exactly; printed by `pilot policy check`."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, floor

from controller.policy.schema import AnyEvent, FirstUnits, Policy, RevertTo, Sustained
from controller.policy.values import number


def costs(policy: Policy) -> Iterator[str]:
    """A sentence for the risk budget and for each trigger that lowers the percent."""
    risk = policy.risk
    yield (
        f"evidence: at most {number(risk.false_revert, '%')} of healthy rollouts are reverted by it, however "
        f"often one looks; at most {number(risk.false_advance, '%')} of stages advance past a KPI at its warning"
    )
    if policy.merges_by_itself:
        yield (
            f"merges by itself: {' and '.join(policy.merges_by_itself)}; nobody looks before the stack file changes, "
            "a false alarm included; pulumi up is still yours"
        )
    for name, trigger in policy.triggers.items():
        if trigger.then != "rollback" and not isinstance(trigger.then, RevertTo):
            continue
        if isinstance(trigger, FirstUnits):
            yield from (f"{name}: {sentence}" for sentence in _first(trigger))
        elif isinstance(trigger, Sustained):
            most, level = number(risk.false_revert, "%"), number(trigger.above, "%")
            yield f"{name}: at most {most} a rollout at a true rate of {level}"
        elif isinstance(trigger, AnyEvent):
            yield f"{name}: one event is enough; no statistics, every false report is a false alarm"


def failures(trigger: FirstUnits) -> int:
    """How many bad ones among the first N make the rate's excess certain."""
    return floor(trigger.above * trigger.in_first + 1e-9) + 1


def alarm(trigger_units: int, bad: int, rate: float) -> float:
    """P(at least *bad* of *trigger_units* are bad) at a true *rate*: the binomial tail."""
    return 1 - sum(comb(trigger_units, k) * rate**k * (1 - rate) ** (trigger_units - k) for k in range(bad))


def _first(trigger: FirstUnits) -> Iterator[str]:
    n, need = trigger.in_first, failures(trigger)
    healthy = [trigger.above / 5, trigger.above * 2 / 5]
    each = " and ".join(f"{alarm(n, need, rate):.1%} at a true {number(rate, '%')}" for rate in healthy)
    yield f"fires at failure {need} of the first {n}, literally; false alarms {each}"
    softer = next((k for k in range(need + 1, n + 1) if alarm(n, k, trigger.above) <= 0.02), None)
    if softer is not None:
        level = number((softer - 1) / n, "%").replace(" ", "")
        yield (
            f"softer: above: {level} fires at failure {softer} of the first {n}; "
            f"{alarm(n, softer, trigger.above):.1%} at a true {number(trigger.above, '%')}"
        )
