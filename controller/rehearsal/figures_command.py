"""`pilot rehearse --figures`: simulate a policy many times with some traffic, and say how often it errs."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from controller.errors import ConfigError
from controller.model import Verdict
from controller.policy import Policy
from controller.policy.values import Share, length, number
from controller.rehearsal.figures import HORIZON, End, World, known, simulate
from controller.traffic import Truth

SIMULATED = (
    "± is the standard error. Simulated: units arrive evenly at random, each bad with the same probability whatever "
    "the others are; an advance is merged and live at once; healthy is half the odds of a bad unit at the target, harm "
    f"twice those at the warning. A rollout is given up after {length(HORIZON)}. A look is taken after each tenth of "
    "the time so far, later than in production. Not simulated: nights, deployments, people, and triggers but those on "
    "a KPI's estimate; what the literal ones cost, pilot policy check says."
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean and its standard error over so many `runs`."""

    mean: float
    error: float
    runs: int

    @classmethod
    def share(cls, of: Sequence[bool]) -> Figure:
        p = sum(of) / len(of)
        return cls(p, math.sqrt(p * (1 - p) / len(of)), len(of))

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure | None:
        if len(values) < 2:  # no error can be told
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)), len(values))

    @property
    def percent(self) -> str:
        """Where none or all of the runs were so, the error says nothing; the bound is that of 95 % confidence."""
        if self.mean in (0.0, 1.0):
            rest = 1 - 0.05 ** (1 / self.runs)
            bound = f"< {number(rest, '%')}" if self.mean == 0.0 else f"> {number(1 - rest, '%')}"
            return f"{'none' if self.mean == 0.0 else 'all'} of {self.runs} ({bound})"
        return f"{number(self.mean, '%')} ± {number(self.error, '%')}"

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.error:.2g}"


@dataclass(frozen=True, slots=True)
class Harm:
    """What a KPI with this share of bad units costs: how often it is reverted, and after how many days and units."""

    bad: float
    reverted: Figure
    days: Figure | None
    units: Figure | None


@dataclass(frozen=True, slots=True)
class Figures:
    """
    All figures of one policy and traffic.

    `false_advance` are, by KPI at its warning, how often the first stage is left and 100 % reached.
    """

    false_revert: Figure
    healthy_revert: Figure
    healthy_through: Figure
    days: Figure | None
    false_advance: Mapping[str, tuple[Figure, Figure]]
    harms: Mapping[str, Harm]


def run(
    say: Callable[[str], None],
    policy: Policy,
    traffic: Mapping[str, float],
    *,
    runs: int,
    seed: int,
    harms: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """
    Simulate, and say the figures line by line.

    Raises:
        ConfigError: no KPI's traffic is known, or a harm is no rate of a KPI.
    """
    rates = _rates(policy, harms)
    judged = known(policy, traffic)
    if not any(kpi.required for kpi in judged.kpis.values()):
        raise ConfigError(
            "no required KPI's traffic is known: give --traffic 50/d, --events, or traffic: in the policy"
        )
    found = figures(judged, traffic, runs=runs, seed=seed, rates=rates)
    if as_json:
        say(json.dumps({"runs": runs, "seed": seed, "traffic_a_day": dict(traffic)} | asdict(found)))
        return 0
    for line in _lines(judged, traffic, found):
        say(line)
    missing = [name for name in policy.kpis if name not in judged.kpis]
    if missing:
        say(f"Left out, since their traffic is not known: {', '.join(missing)}.")
    say(SIMULATED)
    return 0


def figures(
    policy: Policy, traffic: Mapping[str, float], *, runs: int, seed: int, rates: Mapping[str, float]
) -> Figures:
    """The figures of *policy*, all of whose KPIs have traffic; *rates* are harms by KPI, else those of `truth`."""
    all_at: dict[str, Truth] = dict.fromkeys(policy.kpis, "target")
    worlds = {"healthy": World(policy, traffic), "target": World(policy, traffic, all_at)}
    for name, kpi in policy.kpis.items():
        if kpi.required and (kpi.warning or kpi.quantile):
            worlds[f"warning {name}"] = World(policy, traffic, {name: "warning"})
        if kpi.weight:
            chosen = {name: rates[name]} if name in rates else {}
            worlds[f"harm {name}"] = World(policy, traffic, {name: "harm"}, chosen)
    ends = _simulated(worlds, [f"{seed}/{n}" for n in range(runs)])
    through = [end for end in ends["healthy"] if end.verdict is Verdict.ADVANCE]
    first = next(stage.percent for stage in policy.stages if stage.percent)
    return Figures(
        false_revert=Figure.share([end.verdict is Verdict.REVERT for end in ends["target"]]),
        healthy_revert=Figure.share([end.verdict is Verdict.REVERT for end in ends["healthy"]]),
        healthy_through=Figure.share([end.verdict is Verdict.ADVANCE for end in ends["healthy"]]),
        days=Figure.of([end.days for end in through]),
        false_advance={
            name: (
                Figure.share([first in end.left for end in ends[f"warning {name}"]]),
                Figure.share([end.verdict is Verdict.ADVANCE for end in ends[f"warning {name}"]]),
            )
            for name in policy.kpis
            if f"warning {name}" in ends
        },
        harms={
            name: _harm(worlds[f"harm {name}"].rate(name)[0], name, ends[f"harm {name}"])
            for name in policy.kpis
            if f"harm {name}" in ends
        },
    )


def _simulated(worlds: Mapping[str, World], seeds: Sequence[str]) -> dict[str, list[End]]:
    """The ends of a run of each world and seed, over all cores."""
    jobs = [(world, seed) for world in worlds.values() for seed in seeds]
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        ends = pool.map(_end, jobs, chunksize=max(1, len(seeds) // (2 * cores)))
        return {name: [next(ends) for _ in seeds] for name in worlds}


def _end(job: tuple[World, str]) -> End:
    return simulate(*job)


def _harm(bad: float, name: str, ends: Sequence[End]) -> Harm:
    reverted = [end for end in ends if end.verdict is Verdict.REVERT]
    return Harm(
        bad,
        Figure.share([end.verdict is Verdict.REVERT for end in ends]),
        Figure.of([end.days for end in reverted]),
        Figure.of([end.units[name] for end in reverted]),
    )


def _rates(policy: Policy, harms: Sequence[str]) -> dict[str, float]:
    found = {}
    for harm in harms:
        name, _, text = harm.partition("=")
        if name not in policy.kpis or not policy.kpis[name].weight:
            names = ", ".join(name for name, kpi in policy.kpis.items() if kpi.weight)
            raise ConfigError(f"--harm {harm}: write KPI=SHARE, such as error_rate=10%; KPIs that revert: {names}")
        try:
            found[name] = TypeAdapter[float](Share).validate_python(text)
        except ValidationError as error:
            raise ConfigError(f"--harm {harm}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    return found


# ---------------------------------------------------------------- in words


def _lines(policy: Policy, traffic: Mapping[str, float], found: Figures) -> Iterator[str]:
    yield f"units a day: {', '.join(f'{name} {traffic[name]:g}' for name in policy.kpis)}"
    allowed = number(policy.risk.false_revert, "%")
    yield f"false revert, every KPI just at its target: {found.false_revert.percent} (allowed {allowed})"
    yield f"false revert, every KPI healthy: {found.healthy_revert.percent}"
    bake = sum((stage.bake for stage in policy.stages if stage.percent), start=HORIZON * 0)
    took = f"after {found.days} days" if found.days else "too seldom to say when"
    yield f"a healthy release reaches 100 %: {found.healthy_through.percent}, {took} (bake times alone: {length(bake)})"
    first = next(stage for stage in policy.stages if stage.percent)
    yield f"false advance, one KPI at its warning and the others healthy (allowed by evidence: " \
          f"{number(policy.risk.false_advance, '%')} a stage):"  # fmt: skip
    yield f"  {'KPI':<16}{f'leaves {first.percent} % by {first.proof}':<28}reaches 100 %"
    for name, (leaves, through) in found.false_advance.items():
        yield f"  {name:<16}{leaves.percent:<28}{through.percent}"
    yield "harm from the launch on, the other KPIs healthy:"
    yield f"  {'KPI':<16}{'bad units':<12}{'reverted':<24}{'after days':<18}units in the pilot until then"
    for name, harm in found.harms.items():
        bad = number(harm.bad, "%")
        yield f"  {name:<16}{bad:<12}{harm.reverted.percent:<24}{harm.days or 'none'!s:<18}{harm.units or 'none'}"
    never = [name for name, kpi in policy.kpis.items() if not kpi.weight]
    if never:
        yield f"  never reverted by evidence, their weight is 0: {', '.join(never)}"
