"""What may be wrong between the parts of a policy, each part being right by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from controller.policy.schema import AgainstControl, KpiLevel, Policy, RevertTo, SetFlag, Stage

_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
Finding = tuple[tuple[str | int, ...], str]


def contradictions(policy: Policy) -> Iterator[Finding]:
    """What is wrong between the parts of a policy that is right part by part: where it stands, and a sentence."""
    yield from _ladder(("stages",), policy.stages)
    if not any(kpi.weight for kpi in policy.kpis.values()):
        yield ("kpis",), "every weight is 0: no evidence could ever revert; give one KPI a weight"
    if not any(kpi.required for kpi in policy.kpis.values()):
        yield ("kpis",), "none is required: a stage could be left without evidence; require one"
    if all(any(freeze.covers(_MONDAY + timedelta(minutes=m)) for freeze in policy.freeze) for m in range(10080)):
        yield (
            ("freeze",),
            "covers the whole week: no advance could ever be proposed; to stop, set hold in the stack file",
        )
    for name, override in policy.stacks.items():
        if override.stages is not None:
            yield from _ladder(("stacks", name, "stages"), override.stages)
        others = [key for key in policy.stacks if key != name]
        if override.after is not None and override.after not in others:
            yield (
                ("stacks", name, "after"),
                f"found {override.after}; known stacks: {', '.join(others) or 'none'}",
            )
        seen = [name]
        while (ahead := policy.after(seen[-1])) is not None and ahead in policy.stacks:
            if ahead in seen:
                yield (
                    ("stacks", name, "after"),
                    f"runs in a circle: {' after '.join([*seen, ahead])}",
                )
                break
            seen.append(ahead)
    day = policy.operations
    for *where, names in (("preflight", "checks", day.preflight.checks), ("rollback", "health", day.rollback.health),
                          ("rollback", "workflow", day.rollback.workflow)):  # fmt: skip
        for index, name in enumerate(names):
            if name not in day.checks:
                known = ", ".join(day.checks) or "none"
                yield ("operations", *where, index), f"found {name}; known checks: {known}"
    for name in day.preflight.scan:
        if name not in policy.kpis:
            yield ("operations", "preflight", "scan", name), f"no such KPI; known KPIs: {', '.join(policy.kpis)}"
    for name, trigger in policy.triggers.items():
        for key, sentence in _trigger(policy, trigger):
            yield ("triggers", name, key), sentence


def _ladder(where: tuple[str | int, ...], stages: tuple[Stage, ...]) -> Iterator[Finding]:
    percents = [stage.percent for stage in stages]
    if percents[:1] != [0] or percents[-1:] != [100]:
        yield where, f"stages run from 0 to 100, found {percents}"
    for index, (low, high) in enumerate(pairwise(percents)):
        if high <= low:
            yield (*where, index + 1, "percent"), f"stages must rise, found {high} after {low}"


def _trigger(policy: Policy, trigger: Any) -> Iterator[tuple[str, str]]:
    kpi = policy.kpis.get(trigger.kpi) if isinstance(trigger, KpiLevel | AgainstControl) else None
    if isinstance(trigger, KpiLevel | AgainstControl) and kpi is None:
        yield "kpi", f"found {trigger.kpi}; known KPIs: {', '.join(policy.kpis)}"
    if isinstance(trigger, KpiLevel) and kpi:
        key = "above" if trigger.above else "below"
        if trigger.level.unit != kpi.target.unit:
            yield (
                key,
                f"found {trigger.level.unit or 'no unit'}; {trigger.kpi} is measured in {kpi.target.unit}",
            )
        elif (trigger.above is not None) != kpi.target.upper:
            yield (
                key,
                f"would fire where {trigger.kpi} is good (target {kpi.target}); use the other of above and below",
            )
    if isinstance(trigger, AgainstControl) and kpi and (trigger.above_control is not None) != kpi.target.upper:
        key, side = ("below_control", "lower") if trigger.below_control else ("above_control", "higher")
        yield key, f"found {trigger.kpi}, which is better when {side}; use the other of below_control and above_control"
    if isinstance(trigger.then, SetFlag):
        flag = trigger.then.set.removeprefix("flags.")
        if flag not in policy.flags:
            yield "then", f"found flag {flag}; known flags: {', '.join(policy.flags) or 'none'}"
        elif trigger.then.to not in policy.flags[flag]:
            yield (
                "then",
                f"found {flag} to {trigger.then.to}; allowed: {', '.join(policy.flags[flag])}",
            )
    if isinstance(trigger.then, RevertTo):
        ladders = {"": policy.stages} | {
            f" of stack {stack}": override.stages
            for stack, override in policy.stacks.items()
            if override.stages is not None
        }
        for of, stages in ladders.items():
            percents = [stage.percent for stage in stages]
            if trigger.then.revert_to not in percents:
                yield (
                    "then",
                    f"found revert_to {trigger.then.revert_to}; the stages{of} are {percents}",
                )
