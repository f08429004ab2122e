"""What the rules of a policy cost in false alarms, computed exactly; printed by `pilot policy check`."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, floor

from controller.policy.schema import (
    AgainstControl,
    AnyEvent,
    CountPerTime,
    FirstUnits,
    KpiLevel,
    Policy,
    RevertTo,
    Sustained,
    Trigger,
)
from controller.policy.values import length, number


def costs(policy: Policy) -> Iterator[str]:
    """A sentence for the risk budget and for each trigger that lowers the percent."""
    risk = policy.risk
    yield (
        f"evidence: at most {number(risk.false_revert, '%')} of healthy rollouts are reverted by it, however "
        f"often one looks; at most {number(risk.false_advance, '%')} of stages advance past a KPI at its warning"
    )
    yield from _ledger(policy)
    if policy.merges_by_itself:
        yield (
            f"merges by itself: {' and '.join(policy.merges_by_itself)}; nobody looks before the stack file changes, "
            "a false alarm included; pulumi up is still yours"
        )
    for name, trigger in policy.triggers.items():
        if not _lowers(trigger):
            continue
        if isinstance(trigger, FirstUnits):
            yield from (f"{name}: {sentence}" for sentence in _first(trigger))
        elif isinstance(trigger, Sustained):
            most, level = number(risk.false_revert, "%"), number(trigger.above, "%")
            yield f"{name}: at most {most} a rollout at a true rate of {level}"
        elif isinstance(trigger, CountPerTime):
            most, per = number(risk.false_revert, "%"), length(trigger.per)
            yield f"{name}: at most {most} a rollout at a true {trigger.above:g} in {per}"
        elif isinstance(trigger, AnyEvent):
            yield f"{name}: one event is enough; no statistics, every false report is a false alarm"


def _ledger(policy: Policy) -> Iterator[str]:
    """Who may spend how much of the budget for false reverts: entries whose sum is the whole, and what is beside it."""
    budget = policy.risk.false_revert
    entries = [f"{name} {number(budget * share, '%')}" for name, share in policy.revert_shares.items() if share]
    yield f"evidence, the budget of {number(budget, '%')}: {', '.join(entries)}"
    beside = [name for name, trigger in policy.triggers.items() if _by_evidence(trigger) and _lowers(trigger)]
    if beside:
        total = min(1.0, budget * (1 + len(beside)))
        each = f"{', '.join(beside)}: {number(budget, '%')} each at a rate that stays at its level"
        yield f"triggers that ask for evidence, beside the budget: {each}; with it {number(total, '%')} at most"


def _by_evidence(trigger: Trigger) -> bool:
    """Whether it fires by an e-value, and so with `false_revert` at most, rather than literally."""
    return isinstance(trigger, Sustained | CountPerTime | AgainstControl) or (
        isinstance(trigger, KpiLevel) and trigger.for_ is not None
    )


def _lowers(trigger: Trigger) -> bool:
    return trigger.then == "rollback" or isinstance(trigger.then, RevertTo)


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
