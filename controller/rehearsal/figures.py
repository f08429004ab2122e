"""
What a policy does with a traffic, by simulation: how often it errs, and how long and how many users it takes.

Counts are drawn straight into the rule that runs in production. Units arrive as a Poisson process at an even rate, a
part of them in the pilot as large as its percent; each is bad with the same probability, whatever the others are. An
advance is merged and live at once, and a rollout ends at 100 %, at a revert, or after HORIZON. A look is taken every
five minutes at first, then after each tenth of the time since the launch, and where a bake time ends. Triggers are
not simulated, except those on a KPI's own estimate: `policy check` says what the literal ones cost.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controller import decide as rule
from controller import offline, traffic
from controller.eprocess import EXACT, GRID
from controller.evidence import rate_bounds
from controller.model import Bucket, Decision, Declared, Exposure, Recorded, Rollout, Series, Service, Verdict, Window
from controller.policy import Policy
from controller.policy.schema import KpiLevel, RevertTo
from controller.traffic import DAY, Truth

LAUNCH = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)  # a Tuesday
_LAUNCH = int(LAUNCH.timestamp())
HORIZON = timedelta(days=60)
PACE = 0.1  # of the time since the launch, between two looks


@dataclass(frozen=True, slots=True)
class World:
    """
    What is true in a simulated rollout: each KPI healthy but those named in *truths*, or with the rate in *rates*.

    A KPI without traffic is left out of the policy: nothing is known of it.
    """

    policy: Policy
    traffic: Mapping[str, float]
    truths: Mapping[str, Truth] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    def rate(self, name: str) -> tuple[float, float]:
        if name in self.rates:
            return self.rates[name], self.rates[name]
        return traffic.truth(self.policy.kpis[name], self.truths.get(name, "healthy"))


@dataclass(frozen=True, slots=True)
class End:
    """How one rollout ended: its verdict (a hold is one that the horizon cut), when, and the units of each KPI."""

    verdict: Verdict
    days: float
    left: tuple[int, ...]  # the percents that it advanced from
    units: Mapping[str, int]


def simulate(world: World, seed: str) -> End:
    """One rollout."""
    return _Run(world, random.Random(seed)).play()


class _Run:
    def __init__(self, world: World, draw: random.Random) -> None:
        self.world, self.policy, self.draw = world, world.policy, draw
        self.percent = next(stage.percent for stage in self.policy.stages if stage.percent)
        self.stage = 0.0  # seconds since the launch, as all times here
        self.shares = [(0.0, self.percent / 100)]
        self.heard = 0.0
        self.arms = {name: list[Bucket]() for name in self.policy.kpis}
        self.since = dict.fromkeys(self.policy.kpis, (0, 0))  # units and bad ones since the stage began
        self.targets = {name: rate_bounds(kpi)[0] for name, kpi in self.policy.kpis.items()}
        self.rates = {name: world.rate(name) for name in self.policy.kpis}
        self.literal = any(
            isinstance(trigger, KpiLevel)
            and trigger.for_ is None
            and (trigger.then == "rollback" or isinstance(trigger.then, RevertTo))
            for trigger in self.policy.triggers.values()
        )

    def play(self) -> End:
        left: list[int] = []
        for now in self._looks():
            self._arrive(now)
            if not (self.literal or self._may_revert() or self._may_advance(now)):
                continue
            decision = self._decide(now)
            if decision.verdict is Verdict.ADVANCE:
                left.append(self.percent)
                self.percent, self.stage = decision.to_percent, now
                self.shares.append((now, self.percent / 100))
                self.since = dict.fromkeys(self.since, (0, 0))
            if decision.verdict is Verdict.REVERT or self.percent == 100:
                return self._end(decision.verdict, now, left)
        return self._end(Verdict.HOLD, HORIZON.total_seconds(), left)

    def _end(self, verdict: Verdict, now: float, left: Sequence[int]) -> End:
        units = {name: sum(bucket.n for bucket in arm) for name, arm in self.arms.items()}
        return End(verdict, now / DAY, tuple(left), units)

    def _looks(self) -> Iterator[float]:
        now = 0.0
        while now < HORIZON.total_seconds():
            then = now + max(GRID, math.ceil(now * PACE / GRID) * GRID)
            baked = self.stage + rule.current_stage(self.policy, self.percent).bake.total_seconds()
            now = baked if now < baked < then else then
            yield now

    # ------------------------------------------------------------ users

    def _arrive(self, now: float) -> None:
        """Draw the units that have been heard of since the last look."""
        upto = (now - self.policy.source.lag.total_seconds()) // GRID * GRID
        if upto <= self.heard:
            return
        exposed: dict[float, float] = {}
        for name, kpi in self.policy.kpis.items():
            within = kpi.rate.within.total_seconds() if kpi.rate and kpi.rate.within else 0.0
            if within not in exposed:
                exposed[within] = self._exposed(self.heard - within, upto - within)
            mean = self.world.traffic[name] / DAY * exposed[within]
            bad, worse = self.rates[name]
            beyond, rest = poisson(self.draw, mean * worse), poisson(self.draw, mean * (bad - worse))
            n = beyond + rest + poisson(self.draw, mean * (1 - bad))
            if n:  # the last of them came when the greatest of n even times is
                last = self.heard + (upto - self.heard) * self.draw.random() ** (1 / n)
                end = _LAUNCH + math.ceil(last / GRID) * GRID
                self.arms[name].append(Bucket(end, n, beyond + rest, beyond))
                if end > _LAUNCH + self.stage:
                    self.since[name] = (self.since[name][0] + n, self.since[name][1] + beyond + rest)
        self.heard = upto

    def _exposed(self, start: float, end: float) -> float:
        """Seconds of the whole traffic that the pilot's share from *start* to *end* makes."""
        ends = [*(at for at, _ in self.shares[1:]), math.inf]
        return sum(
            share * max(0.0, min(end, until) - max(start, at))
            for (at, share), until in zip(self.shares, ends, strict=True)
        )

    # ------------------------------------------------------------ the rule

    def _may_revert(self) -> bool:
        """
        Whether the combined evidence may reach the limit.

        A KPI's e-value is a mean over starts and bets, weighted by no more than 1 in all, of likelihood ratios, none of
        which is above that of the rate seen since the start.
        """
        total, bound = sum(kpi.weight for kpi in self.policy.kpis.values()), 0.0
        for name, kpi in self.policy.kpis.items():
            if kpi.weight:
                bound += kpi.weight / total * math.exp(min(self._most(name), 700.0))
        return bound >= 1 / self.policy.risk.false_revert

    def _most(self, name: str) -> float:
        """The greatest excess over the target since any start, in nats."""
        target, most, n, worse = self.targets[name], 0.0, 0, 0.0
        for bucket in reversed(self.arms[name]):
            n, worse = n + bucket.n, worse + bucket.worse
            above = worse - target * n  # of which the square bounds the excess, and is sooner computed
            if above > 0 and above * above > most * n * target * (1 - target):
                most = max(most, _excess(n, worse, target))
        return most

    def _may_advance(self, now: float) -> bool:
        """Whether the bake time is over, and each required KPI is at its target with the units that it needs."""
        if now < self.stage + rule.current_stage(self.policy, self.percent).bake.total_seconds():
            return False
        for name, kpi in self.policy.kpis.items():
            n, bad = self.since[name]
            if kpi.required and (n - bad < kpi.min_units or bad > self.targets[name] * n + EXACT):
                return False
        return True

    def _decide(self, now: float) -> Decision:
        at = LAUNCH + timedelta(seconds=now)
        window = Window(LAUNCH, LAUNCH + timedelta(seconds=self.stage), at)
        recorded = Recorded({name: Series(tuple(arm)) for name, arm in self.arms.items()}, last=at)
        declared = Declared(Service("", "", ""), Rollout(self.percent, Exposure.FLAG))
        return rule.decide(offline.judged("", self.policy, declared, window, recorded, policy_sha256=""))


def _excess(n: int, bad: float, rate: float) -> float:
    """n KL(bad/n || *rate*), the greatest of the log-likelihood ratios where *bad* is more than that."""
    good = n - bad
    return bad * math.log(bad / n / rate) + (good * math.log(good / n / (1 - rate)) if good else 0.0)


def known(policy: Policy, rates: Mapping[str, float]) -> Policy:
    """The policy without the KPIs of which no traffic is known, and the triggers on them."""
    kpis = {name: kpi for name, kpi in policy.kpis.items() if rates.get(name)}
    triggers = {
        name: trigger for name, trigger in policy.triggers.items() if getattr(trigger, "kpi", None) in (None, *kpis)
    }
    return policy.model_copy(update={"kpis": kpis, "triggers": triggers})


def poisson(draw: random.Random, mean: float) -> int:
    """
    A Poisson number: by waiting times where the mean is small, else by transformed rejection (Hormann 1993, PTRS).
    """
    if mean <= 0:
        return 0
    if mean < 10:
        count, product, limit = -1, 1.0, math.exp(-mean)
        while product > limit or count < 0:
            count, product = count + 1, product * draw.random()
        return count
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse, accept = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = draw.random() - 0.5, 1.0 - draw.random()
        near = 0.5 - abs(u)
        count = math.floor((2 * a / near + b) * u + mean + 0.43) if near else -1
        if near >= 0.07 and v <= accept:
            return count
        if count < 0 or (near < 0.013 and v > near):
            continue
        chance = count * math.log(mean) - mean - math.lgamma(count + 1)
        if math.log(v * inverse / (a / (near * near) + b)) <= chance:
            return count
