"""
What no method can beat, and how near ours comes.

- Wald 1945: a test that reverts a release at its target with probability alpha at most, whenever one looks, needs on
  average at least ln(1/alpha) / KL(rate || target) units to revert a bad one.
- Lorden 1971: after a change, with alpha over T possible starts, about ln(T/alpha) / KL. CUSUM attains it (Moustakides
  1986), so the oracle here is a CUSUM that knows the bad rate and is calibrated to revert alpha of the releases that
  stay at the target.
- The false-revert probability of ours is too small to count. It is found by a change of measure (Siegmund 1976):
  streams are drawn that turn bad, in one KPI, at a time and to a rate drawn with the weights of the bets. Each revert
  counts with the likelihood ratio of no change to these, which is 1 over the e-value and the unspent mass (but for a
  millionth, where a KPI has no units in the last cell). So no weight exceeds alpha, and there is an interval that holds
  however they are distributed (Maurer, Pontil 2009, arXiv:0907.3740).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bench.decisions import ours
from bench.decisions.ours import E, Pilot
from bench.decisions.streams import ALPHA, CELLS, DROP, SCENARIOS, TARGET, Counts, draw, first
from controller import eprocess

BATCH = 100  # streams at a time: 14 days of six KPIs take 2 MB each
Figures = dict[str, float | None]


def kl(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two rates, in nats a unit."""
    return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a)


def wald(rate: float, target: float = TARGET) -> float:
    return math.log(1 / ALPHA) / kl(rate, target)


def mean(values: Counts | E) -> tuple[float, float]:
    """With its standard error."""
    return float(np.mean(values)), float(np.std(values) / math.sqrt(max(len(values), 1)))


# ---------------------------------------------------------------- a bad release, a look after every unit


class Kpi(NamedTuple):
    title: str
    text: str
    target: float
    rates: tuple[float, ...]


DESIGN = (
    Kpi("15 %, warning 20 %", ours.rate("kpi", 0.15, 0.20), 0.15, (0.22, 0.25, 0.30, 0.40, 0.60, 1.0)),
    Kpi("2 %, warning 5 %", ours.rate("kpi", 0.02, 0.05), 0.02, (0.06, 0.08, 0.10, 0.20, 0.50)),
    Kpi("60 %, warning 65 %", ours.rate("kpi", 0.60, 0.65), 0.60, (0.68, 0.70, 0.75, 0.85)),
    Kpi("10 % (p90), no warning", ours.quantile("kpi", 90), 0.10, (0.13, 0.15, 0.20, 0.30, 0.60)),
    Kpi("50 % (p50), no warning", ours.quantile("kpi", 50), 0.50, (0.55, 0.60, 0.70, 0.90)),
)


def to_revert(kpi: Kpi, rate: float, runs: int, random: np.random.Generator) -> Figures:
    """
    Mean units until ours reverts, over Wald's limit; the same of the likelihood-ratio test that knows the rate.

    One unit a cell and a look after each, so that what is measured is the method, not the traffic.
    """
    cells = min(CELLS, math.ceil(40 * wald(rate, kpi.target)))
    one = np.ones((runs, 1, cells), dtype=int)
    bad = random.binomial(one, rate)
    units, error = mean(1 + Pilot([kpi.text]).reverts(one, bad))
    good = math.log((1 - rate) / (1 - kpi.target)) if rate < 1 else -math.inf
    steps = np.where(bad[:, 0] > 0, math.log(rate / kpi.target), good)
    oracle, _ = mean(1 + first(steps.cumsum(axis=1) >= math.log(1 / ALPHA) - 1e-9))
    limit = wald(rate, kpi.target)
    return {
        "rate": rate,
        "wald": limit,
        "mean": units,
        "ratio": units / limit,
        "se": error / limit,
        "oracle": oracle / limit,
    }


# ---------------------------------------------------------------- a late drop


def cusum(n: Counts, bad: Counts, rate: float) -> E:
    """ln of M <- max(L M, L) of *rate* against the target, after every cell."""
    per_bad, per_good = math.log(rate / TARGET), math.log((1 - rate) / (1 - TARGET))
    path = np.empty(n.shape)
    value = np.zeros(len(n))
    for at, (units, bads) in enumerate(zip(n.T, bad.T, strict=True)):
        value = np.maximum(value, 0) + per_bad * bads + per_good * (units - bads)
        path[:, at] = value
    return path


def oracle_level(per_hour: float, runs: int, random: np.random.Generator, cells: int = CELLS) -> float:
    """The level that the CUSUM of a release at its target passes in 14 days with probability ALPHA."""
    peaks = []
    for begin in range(0, runs, BATCH):
        streams = draw(SCENARIOS["target"], per_hour, min(BATCH, runs - begin), random, cells)
        peaks.append(cusum(streams.n, streams.bad, SCENARIOS["late"].rate).max(axis=1))
    return float(np.quantile(np.concatenate(peaks), 1 - ALPHA, method="higher"))


def late_drop(per_hour: float, runs: int, calibration: int, random: np.random.Generator) -> Figures:
    """Units after the drop until ours reverts, and until the oracle does, on the same streams."""
    drop = SCENARIOS["late"]
    level = oracle_level(per_hour, calibration, random)
    streams = draw(drop, per_hour, runs, random)
    seen = streams.n.cumsum(axis=1)

    def units(peeks: Counts) -> tuple[float, float]:
        after = (peeks >= DROP) & (peeks < CELLS)
        return mean((seen[np.arange(runs), np.minimum(peeks, CELLS - 1)] - seen[:, DROP - 1])[after])

    path = cusum(streams.n, streams.bad, drop.rate)
    mine, error = units(Pilot().reverts(streams.n[:, None], streams.bad[:, None]))
    oracle, oracle_error = units(first(path > level))
    proven, _ = units(first(path >= math.log(CELLS / ALPHA)))
    return {
        "mean": mine, "se": error, "oracle": oracle, "oracle_se": oracle_error, "ratio": mine / oracle,
        "oracle_level": level, "proven_cusum": proven, "lorden": math.log(CELLS / ALPHA) / kl(drop.rate, TARGET),
    }  # fmt: skip


# ---------------------------------------------------------------- a release exactly at its targets

SIX = (
    ours.rate("grant", 0.15, 0.20), ours.rate("activation", 0.60, 0.65), ours.rate("errors", 0.02, 0.05),
    ours.rate("uploads", 0.05, 0.10), ours.quantile("p50", 50), ours.quantile("p90", 90),
)  # fmt: skip


def chance(
    kpis: tuple[str, ...], per_hour: float, samples: int, random: np.random.Generator, cells: int = CELLS
) -> Figures:
    """The probability that a release exactly at all targets is reverted, with its 95 % interval."""
    pilot = Pilot(kpis)
    sizes = [min(BATCH, samples - begin) for begin in range(0, samples, BATCH)]
    weights = np.concatenate([_weights(pilot, per_hour, size, random, cells) for size in sizes])
    average, error = mean(weights)
    log, most = math.log(2 / 0.025), 1 / pilot.level
    around = math.sqrt(2 * log) * error + 7 * most * log / (3 * (samples - 1))
    return {"probability": average, "se": error, "low": max(0.0, average - around), "high": average + around}


def _weights(pilot: Pilot, per_hour: float, runs: int, random: np.random.Generator, cells: int) -> E:
    """Likelihood ratios of no change to a change, of the streams with one that were reverted; 0 for the others."""
    kpis, mass = len(pilot.names), np.diff([eprocess.spent(at) for at in range(cells + 1)])
    changed = random.choice(kpis, runs, p=pilot.weights)
    start = random.choice(cells + 1, runs, p=np.append(mass, 1 - mass.sum()))  # the last is never
    n = random.poisson(per_hour * eprocess.GRID / 3600, (runs, kpis, cells))
    truth = np.broadcast_to(pilot.targets[:, None], n.shape).copy()
    for run, (k, at) in enumerate(zip(changed, start, strict=True)):
        shares, per_bad, _ = zip(*pilot.against[k], strict=True)
        truth[run, k, at:] *= math.exp(random.choice(per_bad, p=shares))
    bad = random.binomial(n, truth)
    found = [pilot.revert(*run) for run in zip(n, bad, strict=True)]
    return np.array([1 / (e + 1 - eprocess.spent(at + 1)) if at < cells else 0.0 for at, e in found])
