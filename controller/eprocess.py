"""
E-processes: how strongly counts of bad units speak against a bound on their rate. Pure arithmetic.

The rules (derivations, guarantees and what they cost are in docs/method.md):

1. Units are good or bad, counted in cells of five minutes. A bet on the rate q against a null rate
   q0 turns s bad and f good units into the factor L = (q/q0)^s ((1-q)/(1-q0))^f, whose mean is at
   most 1 wherever the null holds. That is so for means per unit in [0, 1] too, s being their sum.
2. Products of L, averaged over bets and over starts with weights that sum to at most 1, stay below
   1/alpha for ever with probability 1 - alpha while the null holds (Ville 1939), however often one
   looks and whenever one stops.
3. Whatever only lowers an e-value (a cap) keeps that promise.
4. An empty cell changes nothing. Impossible counts are refused, never read as good.

Sources: Wald 1945; Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon 2021
(arXiv:1810.08240); Shin, Ramdas, Rinaldo 2024 (arXiv:2203.03532) for restarts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import le
from typing import NamedTuple

from controller.model import Bucket

GRID = 300  # seconds between two starts
DAY = 86400 // GRID  # cells of a day
FIRST = 2 / 3  # share of the restart mass that the first cell has
HALF = 7 * DAY  # cells in which half of the rest is spent
LADDER = (2.0, 8.0)  # odds ratios of the bolder bets to the first
NEAR = 1.3  # odds ratio of the first bet where the null is all that is given
SILENCE = 7.0  # absent units that are stale: by chance with probability exp(-7) < 0.001
EXACT = 1e-9  # slack of comparisons with a bound: 10 of 100 is 10 %, whatever 1 - 0.9 is in floats
CAP = 690.0  # exp of it is finite, and a cap only lowers an e-value
_LEAST = 1e-6  # no null rate is closer to 0 or 1


class Cell(NamedTuple):
    """Units of one cell of the grid, the first cell of the window being 1."""

    at: int
    n: int
    bad: float


class Bet(NamedTuple):
    """One alternative: its weight, and the log of its factor for a bad and for a good unit."""

    weight: float
    bad: float
    good: float


# ---------------------------------------------------------------- counts


def closed(name: str, buckets: Iterable[Bucket], *, after: float, until: float) -> list[Bucket]:
    """
    The buckets that end in (*after*, *until*], seconds since the epoch, without empty ones.

    Raises:
        ValueError: a count is negative or not finite, or more units are bad than there are.
    """
    found = tuple(buckets)
    if found:
        _, ns, bads, worses = zip(*found, strict=True)
        possible = all(map(le, worses, bads)) and all(map(le, bads, ns)) and min(worses) >= 0 and max(ns) < math.inf
        if not possible:
            wrong = next(b for b in found if not 0 <= b.worse <= b.bad <= b.n < math.inf)
            raise ValueError(f"{name}: found {wrong}; a source counts 0 <= worse <= bad <= n")
    return [bucket for bucket in found if bucket[1] and after < bucket[0] <= until]


def cells(buckets: Iterable[Bucket], *, start: float, worse: bool = False, width: int = 1) -> list[Cell]:
    """
    The buckets, in order of time, on the grid that begins before *start*, finer ones merged.

    With *width*, that many cells are one, named by its last.

    Raises:
        ValueError: they are not in order of time.
    """
    origin, size, counted = math.floor(start / GRID) * GRID, width * GRID, 3 if worse else 2
    found: list[Cell] = []
    at, n = -(1 << 62), 0  # before any
    bad: float = 0
    for bucket in buckets:
        cell = -((origin - bucket[0]) // size) * width
        if cell == at:
            n, bad = n + bucket[1], bad + bucket[counted]
            continue
        if cell < at:
            raise ValueError(f"{bucket} comes after later ones; a source gives buckets in order of time")
        found.append(Cell(at, n, bad))
        at, n, bad = cell, bucket[1], bucket[counted]
    found.append(Cell(at, n, bad))
    return found[1:]


def days_ended(start: float, *, until: float) -> float:
    """The end of the last whole day by *until*, of the days that `cells` counts from *start*."""
    origin, day = math.floor(start / GRID) * GRID, DAY * GRID
    return origin + max(0.0, (until - origin) // day) * day


def absent(silence: float, *, lag: float, per_second: float) -> float:
    """Units that *silence* seconds should have brought, those of the source's lag apart."""
    return max(0.0, silence - lag) * per_second


# ---------------------------------------------------------------- bets


def clamped(rate: float) -> float:
    """*rate* as a null against which every bet is finite."""
    return min(max(rate, _LEAST), 1 - _LEAST)


def odds_times(rate: float, factor: float) -> float:
    """The rate whose odds are *factor* times those of *rate*."""
    odds = rate / (1 - rate) * factor
    return odds / (1 + odds)


def bets(null: float, alternatives: Sequence[float], weights: Sequence[float] = ()) -> list[Bet]:
    """Bets on *alternatives* against *null*, of equal weight unless *weights* are given."""
    return [
        Bet(weight, math.log(q / null), math.log((1 - q) / (1 - null)))
        for q, weight in zip(alternatives, weights or [1 / len(alternatives)] * len(alternatives), strict=True)
    ]


def ladder(null: float, first: float | None = None, *, better: bool = False) -> list[Bet]:
    """
    Half of the weight on a bet that the rate is *first*, the rest on odds LADDER times as far out.

    Without *first*, it is NEAR times the odds of *null*. With *better*, bets are on lower rates.
    """

    def beyond(rate: float, factor: float) -> float:
        return clamped(odds_times(rate, 1 / factor if better else factor))

    rate = beyond(null, NEAR) if first is None else first
    rungs = [beyond(rate, factor) for factor in LADDER]
    return bets(null, [rate, *rungs], [1 / 2] + [1 / (2 * len(rungs))] * len(rungs))


def even(null: float, at: float) -> float:
    """
    The rate above *at* on which a bet against *null* breaks even at *at*: KL(at || null) = KL(at || q).

    At every rate below *at* the bet then loses in the long run, above it wins. *at* > *null*.
    """
    low, high = at, 1 - _LEAST
    for _ in range(60):
        q = (low + high) / 2
        wins = at * math.log(q / null) + (1 - at) * math.log((1 - q) / (1 - null)) > 0
        low, high = (q, high) if wins else (low, q)
    return high


def counting(null: float, alternatives: Sequence[float]) -> list[Bet]:
    """
    Bets against at most *null* events a cell, for `Cell(at, n=cells, bad=events)`, of equal weight.

    The Poisson factor (q/null)^c exp(-(q - null) cells); its mean is at most 1 for rates up to *null*.
    """
    share = 1 / len(alternatives)
    return [Bet(share, math.log(q / null) - (q - null), null - q) for q in alternatives]


# ---------------------------------------------------------------- one stream


def e_now(stream: Iterable[Bet], n: float, bad: float) -> float:
    """The e-value of one start: sum of w_k L_k, which is 1 without units; *n* may be a fraction."""
    good = n - bad
    return sum(w * math.exp(min(s * bad + f * good, CAP)) for w, s, f in stream)


def spent(at: int) -> float:
    """
    Share of the restart mass that the starts up to cell *at* have; over all cells it sums to 1.

    FIRST is the first cell's, half of the rest the next week's, and what is left falls as 1/t^2, so
    that a rollout of any length is watched.
    """
    return 1 - (1 - FIRST) * HALF / (HALF + at - 1) if at >= 1 else 0.0


def e_path(found: Iterable[Cell], stream: Sequence[Bet]) -> Iterator[float]:
    """
    The e-value with restarts after each cell: the sum over starts of their mass times the e-value since then.

    By the recursion M <- L (M + mass) of an e-SR with summable mass, one state a bet. More bad
    units never lower a value.
    """
    exp, states, before, e = math.exp, [0.0] * len(stream), 0.0, 0.0
    top = exp(CAP)
    for at, n, bad in found:
        if n:
            reached = spent(at)
            mass, before = reached - before, reached
            good, e = n - bad, 0.0
            for position, (weight, per_bad, per_good) in enumerate(stream):
                exponent = per_bad * bad + per_good * good
                state = exp(exponent if exponent < CAP else CAP) * (states[position] + mass)
                states[position] = state = state if state < top else top
                e += weight * state
        yield e


def e_restarted(found: Iterable[Cell], stream: Sequence[Bet]) -> float:
    """The last value of `e_path`; 0 without cells."""
    e = 0.0
    for e in e_path(found, stream):  # noqa: B007
        pass
    return e


def e_cusum(found: Iterable[Cell], stream: Sequence[Bet]) -> float:
    """
    The e-CUSUM M <- max(L M, 1), averaged over bets: each counts since its own best start.

    Its start is chosen afterwards, so it is a level for holding, not an e-value.
    """
    best = [0.0] * len(stream)
    for _, n, bad in found:
        for position, (_, per_bad, per_good) in enumerate(stream):
            best[position] = max(best[position] + per_bad * bad + per_good * (n - bad), 0.0)
    return sum(bet.weight * math.exp(min(x, CAP)) for bet, x in zip(stream, best, strict=True))


def units_needed(stream: Sequence[Bet], n: int, bad: float, *, level: float) -> int | None:
    """How many more units of the same rate bring `e_now` to *level*; None beyond ten million."""
    low, high = -1, 10**7
    if not n or e_now(stream, n + high, bad * (1 + high / n)) < level:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = e_now(stream, n + middle, bad * (1 + middle / n)) >= level
        low, high = (low, middle) if enough else (middle, high)
    return high


def interval(n: int, bad: float, *, alpha: float = 0.05) -> tuple[float, float]:
    """
    Bounds of the rate that hold at all times at once with probability 1 - *alpha*.

    The rates p that the uniform mixture B(1+s, 1+f) / (p^s (1-p)^f) < 1/alpha does not reject
    (Robbins 1970; Howard et al. 2021, beta-binomial), by bisection on either side of s/n.
    """
    if not n:
        return 0.0, 1.0
    good = n - bad
    mixed = math.lgamma(1 + bad) + math.lgamma(1 + good) - math.lgamma(2 + n)

    def edge(inside: float, outside: float) -> float:
        for _ in range(50):
            p = (inside + outside) / 2
            fit = (bad * math.log(p) if bad else 0.0) + (good * math.log(1 - p) if good else 0.0)
            rejected = mixed - fit >= math.log(1 / alpha)
            inside, outside = (inside, p) if rejected else (p, outside)
        return outside

    return (edge(bad / n, 0.0) if bad else 0.0), (edge(bad / n, 1.0) if good else 1.0)


# ---------------------------------------------------------------- in words


def e_text(e: float) -> str:
    """An e-value in a sentence, rounded down: it never reads as a level that it has not reached."""
    if e >= 1e6:
        return f"{e:.0e}"
    return str(int(e)) if e >= 10 else f"{math.floor(e * 10) / 10:g}"


def count_text(count: float) -> str:
    """A number of units, or a sum of their means, in a sentence: `12`, `12.3`."""
    return str(int(count)) if count == int(count) else f"{count:.1f}"


def span_text(seconds: float) -> str:
    """A length of time in its largest fitting unit: `45 s`, `10 min`, `3 h`, `2 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{seconds:.0f} s"
