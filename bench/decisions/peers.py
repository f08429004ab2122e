"""
Models of what others decide by, with the defaults that they publish. None of their code is here or runs here.

Every method is a statistic of the counts so far and a level at which it reverts, so that it can also be calibrated:
given the level at which it reverts a release exactly at its target as seldom as it is asked to. That takes knowing the
truth and the traffic, which nobody does at a launch; it is shown so that no method loses by its settings alone.

Where a default depends on the length of an interval, an interval here is our cell of five minutes, and a rate threshold
is the warning, as a runbook has it. Where that is a choice, it is the one that makes the peer better:

- an interval without units does not count (Flagger would count it as failed);
- GrowthBook looks every five minutes (its default is six hours);
- Kayenta and GrowthBook get a control as large as the pilot, exactly at the target.

Read, and modelled from:

- Argo Rollouts, v1.10.0-rc1 + commits to 9f8d111, docs/features/analysis.md ("Background Analysis": 5m, failureLimit 3,
  four pauses of 10m; "ConsecutiveSuccessLimit and FailureLimit": defaults 0 and 0, example 4) and analysis/analysis.go
  (fails when more measurements failed than failureLimit, over the whole run).
- Flagger 1.44.0, docs/gitbook/usage/deployment-strategies.md (threshold 10, maxWeight 50, stepWeight 2: 25 checks; a
  failed check halts the advance and counts) and pkg/apis/flagger/v1beta1/canary.go (threshold 1 where none is given).
- Kayenta at a69573b, NetflixACAJudge.scala (tolerance 0.25, confidence 0.98, neither can be set) and
  MannWhitneyClassifier.scala; spinnaker.io/docs/guides/user/canary/best-practices (three runs of an hour, at least 50
  points a metric). One point a minute makes 60 points a run; here the points are our cells.
- GrowthBook 5.0.1, packages/back-end/src/services/safeRolloutSnapshots.ts (sequential, one-sided, absolute),
  packages/shared/src/constants.ts (0.05, N* 5000), packages/stats/gbstats/frequentist/tests.py and models/tests.py (no
  result while an arm has no variance, so none at a failure rate of 100 %), docs/features/safe-rollouts.mdx (ship what
  is inconclusive). The interval is that of Waudby-Smith et al. (arXiv:2103.06476), eq. 134.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, betaln  # type: ignore[import-untyped]

from bench.decisions.streams import ALPHA, BETA, TARGET, WARNING, Peeks, Streams, first

Path = NDArray[np.float64]
PAUSES = 8  # measurements of Argo's example: 40 minutes, one every five
CHECKS = 25  # of Flagger's example
POINTS, JUDGEMENTS = 60, 3  # of one run of Kayenta, and its runs
TUNING = 5000  # GrowthBook's N*
Z99, Z95 = 2.3263478740408408, 1.6448536269514722


@dataclass(frozen=True)
class Method:
    """`statistic` at every cell, at `level` it reverts; `advance` says when it would let the release go on."""

    title: str
    promise: str  # what it promises of false reverts
    statistic: Callable[[Streams], Path]
    level: float
    advance: Callable[[Streams], Peeks]
    slow: bool = False  # a statistic that takes long, for fewer runs


def total(counts: NDArray[np.int64]) -> Path:
    return counts.cumsum(axis=1).astype(float)


# ---------------------------------------------------------------- thresholds per interval: Argo Rollouts, Flagger


def failed(streams: Streams) -> NDArray[np.bool_]:
    return streams.bad > WARNING * streams.n


def good(streams: Streams) -> NDArray[np.bool_]:
    return (streams.n > 0) & ~failed(streams)


def failures(streams: Streams) -> Path:
    return total(failed(streams))


def after_measurements(streams: Streams) -> Peeks:
    return first((streams.n > 0).cumsum(axis=1) >= PAUSES)


def consecutive(streams: Streams, length: int = 4) -> Peeks:
    """The end of the first *length* good measurements in a row; an interval without units is none."""
    run = np.zeros(len(streams.n), dtype=int)
    found = np.full(len(run), streams.n.shape[1])
    for at, (is_good, is_bad) in enumerate(zip(good(streams).T, failed(streams).T, strict=True)):
        run = np.where(is_bad, 0, run + is_good)
        found = np.where((run >= length) & (found > at), at, found)
        if (found <= at).all():
            break
    return found


def after_checks(streams: Streams) -> Peeks:
    return first(good(streams).cumsum(axis=1) >= CHECKS)


# ---------------------------------------------------------------- Mann-Whitney: Kayenta


def judged(streams: Streams) -> Path:
    """
    At the end of each run of an analysis, z of the shift by the tolerance; one analysis follows the other.

    A metric is High where the lower end of the 98 % interval of the shift exceeds a quarter of its estimate, which is
    where the test of a shift by that quarter is beyond z of 99 %. The estimate is the median difference.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        pilot, control = streams.bad / streams.n, streams.control_bad / streams.n
    path = np.full(pilot.shape, -math.inf)
    length = POINTS * JUDGEMENTS
    for begin in range(0, pilot.shape[1], length):
        for end in range(begin + POINTS, min(begin + length, pilot.shape[1]) + 1, POINTS):
            for run in range(len(pilot)):
                x, y = (arm[run, begin:end][streams.n[run, begin:end] > 0] for arm in (pilot, control))
                if len(x):
                    path[run, end - 1] = mann_whitney(x, y)
    return path


def mann_whitney(x: Path, y: Path, tolerance: float = 0.25) -> float:
    """z of "x is shifted up from y by more than *tolerance* of the estimated shift", with ties and continuity."""
    differences = np.subtract.outer(x, y).ravel()
    shift = tolerance * abs(float(np.median(differences)))
    m, n = len(x), len(y)
    u = np.count_nonzero(differences > shift + 1e-12) + np.count_nonzero(abs(differences - shift) <= 1e-12) / 2
    ties = np.unique(np.round(np.concatenate([x - shift, y]), 12), return_counts=True)[1].astype(float)
    variance = m * n / 12 * (m + n + 1 - (ties**3 - ties).sum() / ((m + n) * (m + n - 1)))
    away = u - m * n / 2
    return (away - math.copysign(0.5, away)) / math.sqrt(variance) if away and variance > 0 else 0.0


def after_analysis(streams: Streams) -> Peeks:
    return np.full(len(streams.n), POINTS * JUDGEMENTS - 1)


# ---------------------------------------------------------------- asymptotic confidence sequence: GrowthBook


def sequential(streams: Streams) -> Path:
    """
    -ln of the alpha at which the one-sided interval of the difference would exclude zero.

    Its half-width sqrt(2 s2 (n r2 + 1) / (n r)^2 ln(1 + sqrt(n r2 + 1) / (2 alpha))), n of both arms, solved for alpha.
    """
    n = total(streams.n)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        p, q = total(streams.bad) / n, total(streams.control_bad) / n
        variance = (p * (1 - p) + q * (1 - q)) / n
        log = -2 * math.log(2 * ALPHA_OF_GROWTHBOOK)
        rho2 = (log + math.log(log + 1)) / TUNING
        both = 2 * n
        spread = both * rho2 + 1
        x = (p - q) ** 2 * both * rho2 / (2 * variance * spread)
        path = np.where(x > 700, x, np.log(np.expm1(np.minimum(x, 700)))) + math.log(2) - np.log(spread) / 2
    known = (p > q) & (p < 1) & (q > 0)
    return np.where(known, path, -math.inf)


ALPHA_OF_GROWTHBOOK = 0.05


# ---------------------------------------------------------------- textbook tests


def z_score(streams: Streams, null: float = TARGET) -> Path:
    """One sample against *null*, from the first look at which the normal approximation is usual (n p >= 5)."""
    n = total(streams.n)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (total(streams.bad) - null * n) / np.sqrt(n * null * (1 - null))
    return np.where(n * null >= 5, z, 0.0)


def log_ratio(streams: Streams) -> Path:
    """Of the warning to the target: Wald's SPRT of the two (1945), at the levels 1 / alpha and 1 / beta."""
    bad = total(streams.bad)
    per_bad, per_good = math.log(WARNING / TARGET), math.log((1 - WARNING) / (1 - TARGET))
    return bad * per_bad + (total(streams.n) - bad) * per_good


def mixture(streams: Streams, null: float = TARGET, *, better: bool = False) -> Path:
    """
    ln of the e-value of a uniform mixture over the rates worse (or *better*) than *null*, or a little more below 2.

    Robbins 1970; Howard et al. 2021 (arXiv:1810.08240). A mixture over one side only is valid for the whole null. It is
    at most 1 while the rate so far is on the other side, and the beta function is slow where nothing can come of it.
    """
    bad, n = total(streams.bad), total(streams.n)
    rest, side = n - bad, (bad < null * n) if better else (bad > null * n)
    path = betaln(1 + bad, 1 + rest) - bad * math.log(null) - rest * math.log(1 - null)
    path = np.where(side, path - math.log(null if better else 1 - null), 0.0)
    near = path >= 2
    path[near] += np.log((betainc if better else betaincc)(1 + bad[near], 1 + rest[near], null))
    return path


METHODS = {
    "argo-0": Method(
        "Argo Rollouts, failureLimit 0 (default)", "none", failures, 1, after_measurements
    ),
    "argo-3": Method("Argo Rollouts, failureLimit 3 (docs)", "none", failures, 4, after_measurements),
    "argo-4-in-a-row": Method(
        "Argo Rollouts, failureLimit 3, consecutiveSuccessLimit 4 (docs)", "none", failures, 4, consecutive
    ),
    "flagger-1": Method("Flagger, threshold 1 (default)", "none", failures, 1, after_checks),
    "flagger-10": Method("Flagger, threshold 10 (docs)", "none", failures, 10, after_checks),
    "kayenta": Method("Kayenta, Mann-Whitney judge", "1 % a judgement", judged, Z99, after_analysis, slow=True),
    "growthbook": Method(
        "GrowthBook, sequential test", "5 %, asymptotic", sequential, -math.log(ALPHA_OF_GROWTHBOOK),
        lambda streams: np.full(len(streams.n), streams.n.shape[1] - 1),
    ),
    "z-test": Method(
        "z-test at every look", "1 % a look", z_score, Z99, lambda streams: first(z_score(streams, WARNING) <= -Z95)
    ),
    "sprt": Method(
        "SPRT, target against warning", "1 %", log_ratio, -math.log(ALPHA),
        lambda streams: first(log_ratio(streams) <= math.log(BETA)),
    ),
    "mixture": Method(
        "beta-binomial mixture", "1 %", mixture, -math.log(ALPHA),
        lambda streams: first(mixture(streams, WARNING, better=True) >= -math.log(BETA)),
    ),
}  # fmt: skip
