"""
E-processes: how strongly counts of bad units speak against a bound on their rate. Pure arithmetic.

The rules:

1. Units are good or bad, counted in cells of five minutes. A bet on the rate q against a null rate
   q0 turns s bad and f good units into the factor L = (q/q0)^s ((1-q)/(1-q0))^f, whose mean is at
   most 1 wherever the null holds.
2. Products of L, averaged over bets and over starts with weights that sum to at most 1, stay below
   1/alpha for ever with probability 1 - alpha while the null holds (Ville 1939), however often one
   looks and whenever one stops.
3. Whatever only lowers an e-value (a guard, a cap) keeps that promise.
4. An empty cell changes nothing. Impossible counts are refused, never read as good.

Sources: Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon 2021 (arXiv:1810.08240); Shin,
Ramdas, Rinaldo 2024 (arXiv:2203.03532) for restarts; Turner, Ly, Gruenwald 2024 (arXiv:2106.02693)
for two arms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import le
from typing import NamedTuple

from controller.model import Bucket

GRID = 300  # seconds between two starts
HORIZON = 4032  # starts in 14 days, the time that a rollout takes
LADDER = (1.3, 1.7, 2.2, 3.0, 4.5, 7.0, 12.0, 25.0)  # odds ratios of the bets, to a total failure
DIPS = (1.25, 1.6, 2.2, 3.2, 6.0)  # the same for two arms
SHARES = (1.05, 1.1, 1.2, 1.4, 2.0)  # and for a share of users, up and down
MARGIN = 1.0  # nats: see `e_restarted`
SILENCE = 7.0  # absent units that are stale: by chance with probability exp(-7) < 0.001
EXACT = 1e-9  # slack of comparisons with a bound: 10 of 100 is 10 %, whatever 1 - 0.9 is in floats
_CAP = 690.0  # exp of it is finite, and a cap only lowers an e-value
_LEAST = 1e-6  # no null rate is closer to 0 or 1


class Cell(NamedTuple):
    """Units of one cell of the grid, the first cell of the window being 1."""

    at: int
    n: int
    bad: int


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


def cells(buckets: Iterable[Bucket], *, start: float, worse: bool = False) -> list[Cell]:
    """
    The buckets, in order of time, on the grid that begins before *start*, finer ones merged.

    Raises:
        ValueError: they are not in order of time.
    """
    first, counted = math.floor(start / GRID), 3 if worse else 2
    found: list[Cell] = []
    at, n, bad = -(1 << 62), 0, 0  # before any
    for bucket in buckets:
        cell = -(-bucket[0] // GRID) - first
        if cell == at:
            n, bad = n + bucket[1], bad + bucket[counted]
            continue
        if cell < at:
            raise ValueError(f"{bucket} comes after later ones; a source gives buckets in order of time")
        found.append(Cell(at, n, bad))
        at, n, bad = cell, bucket[1], bucket[counted]
    found.append(Cell(at, n, bad))
    return found[1:]


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


def ladder(null: float, *, first: float | None = None, better: bool = False) -> list[Bet]:
    """
    Bets that the rate is worse than *null* (or *better*), on every rung of LADDER, mildest first.

    With *first*, half of the weight is on it, and the rungs start from there.
    """
    base = null if first is None else first
    rungs = [odds_times(base, 1 / factor if better else factor) for factor in LADDER]
    if first is None:
        return bets(null, rungs)
    return bets(null, [first, *rungs], [1 / 2] + [1 / (2 * len(rungs))] * len(rungs))


# ---------------------------------------------------------------- one stream


def e_now(stream: Iterable[Bet], n: float, bad: float) -> float:
    """The e-value of one start: sum of w_k L_k, which is 1 without units; *n* may be a fraction."""
    good = n - bad
    return sum(w * math.exp(min(s * bad + f * good, _CAP)) for w, s, f in stream)


def spent(at: int) -> float:
    """
    Share of the restart mass that the starts up to cell *at* have; over all cells it sums to 1.

    Half is the first cell's, 3/8 are spread evenly over HORIZON, and 1/8 falls as 1/t^2 after it,
    so that a rollout of any length is watched. Against an even half over HORIZON and nothing after
    it, this costs a late change ln(4/3) = 0.3 of about 14 nats.
    """
    if at < 1:
        return 0.0
    return 1 / 2 + 3 / 8 * min(at / HORIZON, 1) + 1 / 8 * (1 - HORIZON / max(at, HORIZON))


def excess(n: int, bad: int, rate: float) -> float:
    """n KL(bad/n || *rate*): the nats by which *bad* of *n* are above *rate*, 0 if they are not."""
    if bad <= rate * n + EXACT:
        return 0.0
    good = n - bad
    rest = good * math.log(good / n / (1 - rate)) if good else 0.0
    return bad * math.log(bad / n / rate) + rest


def e_restarted(found: Sequence[Cell], stream: Sequence[Bet], *, beyond: float | None = None) -> float:
    """
    The e-value with restarts: the sum over starts of their mass times the e-value since then.

    It is the recursion M <- L (M + mass) of an e-SR with summable mass. With *beyond*, a start
    counts only while the rate since it exceeds that by MARGIN nats. Against the rate since the
    CUSUM's last restart, this guard reverts a KPI short of its warning less often (target 15 %,
    warning 20 %, 50 units an hour, 7 days: 0.13 against 0.18 at a true 17.5 %, 0.45 against 0.67 at
    18.5 %), sees 25 % as fast, and is not blinded by what came before a change. More bad units
    never lower the result.
    """
    total, n, bad, exp = 0.0, 0, 0, math.exp
    for position in range(len(found) - 1, -1, -1):
        at, units, bads = found[position]
        n, bad = n + units, bad + bads
        if beyond is not None and (bad <= beyond * n or excess(n, bad, beyond) < MARGIN):
            continue
        good, e = n - bad, 0.0
        for weight, per_bad, per_good in stream:
            exponent = per_bad * bad + per_good * good
            e += weight * exp(min(exponent, _CAP))
        total += (spent(at) - spent(found[position - 1].at if position else 0)) * e
    return total


def e_cusum(found: Sequence[Cell], stream: Sequence[Bet]) -> float:
    """
    The e-CUSUM M <- max(L M, 1), averaged over bets: each counts since its own best start.

    Its start is chosen afterwards, so it is a level for holding, not an e-value. *stream* goes from
    the mildest bet to the boldest: where one has nothing to win, none after it has.
    """
    best, n, bad = [0.0] * len(stream), 0, 0
    for _, units, bads in reversed(found):
        n, bad = n + units, bad + bads
        for position, (_, per_bad, per_good) in enumerate(stream):
            exponent = per_bad * bad + per_good * (n - bad)
            if exponent <= 0:
                break
            best[position] = max(best[position], exponent)
    return sum(bet.weight * math.exp(min(x, _CAP)) for bet, x in zip(stream, best, strict=True))


def units_needed(stream: Sequence[Bet], n: int, bad: int, *, level: float) -> int | None:
    """How many more units of the same rate bring `e_now` to *level*; None beyond ten million."""
    low, high = -1, 10**7
    if not n or e_now(stream, n + high, bad * (1 + high / n)) < level:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = e_now(stream, n + middle, bad * (1 + middle / n)) >= level
        low, high = (low, middle) if enough else (middle, high)
    return high


def interval(n: int, bad: int, *, alpha: float = 0.05) -> tuple[float, float]:
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


# ---------------------------------------------------------------- two arms


class Stratum(NamedTuple):
    """Units of both arms in the same stretch of time, which ends with cell `at`."""

    at: int
    n: int
    bad: int
    control_n: int
    control_bad: int


def strata(pilot: Iterable[Cell], control: Iterable[Cell], *, least: int = 5) -> list[Stratum]:
    """
    Stretches of whole cells in which each arm has *least* units; an unfinished last one waits.

    Where they end depends on how many units came, never on outcomes, so the bets stay fair.
    """
    arms = {at: (n, bad, 0, 0) for at, n, bad in pilot}
    for at, n, bad in control:
        arms[at] = (*arms.get(at, (0, 0))[:2], n, bad)
    done = []
    n = bad = control_n = control_bad = 0
    for at in sorted(arms):
        a, b, c, d = arms[at]
        n, bad, control_n, control_bad = n + a, bad + b, control_n + c, control_bad + d
        if n >= least and control_n >= least:
            done.append(Stratum(at, n, bad, control_n, control_bad))
            n = bad = control_n = control_bad = 0
    return done


def projection(n: int, q: float, control_n: int, control_q: float, *, dip: float) -> tuple[float, float]:
    """
    The rates on the line pilot = dip + (1 - dip) control that are closest to (q, control_q).

    They minimise n KL(q || pilot) + control_n KL(control_q || control). With N = n + control_n and
    b the control's rate, the derivative is 0 where N (1-dip) b^2 + (N dip - n q - control_n
    control_q (1-dip)) b - control_n control_q dip = 0, of whose roots one is positive.
    """
    rest, total = 1 - dip, n + control_n
    a, c = total * rest, -control_n * control_q * dip
    b = total * dip - n * q - control_n * control_q * rest
    root = math.sqrt(b * b - 4 * a * c)
    control = (root - b) / (2 * a) if b < 0 else -2 * c / (root + b)
    return dip + rest * control, control


@lru_cache(maxsize=1 << 16)  # every pass asks again of the same past
def two_arm_factors(stratum: Stratum, control_q: float, *, dip: float) -> tuple[float, ...]:
    """
    Log factors of one stratum, one for each of DIPS, against "the pilot's good rate is at least
    (1 - *dip*) times the control's"; *control_q* is what the past says of the control's bad rate.

    Each has a mean of at most 1 on the whole null, for a projection onto a convex null (Turner, Ly,
    Gruenwald 2024, theorem 1).
    """
    _, n, bad, control_n, control_bad = stratum
    on_line, log, logs = dip + (1 - dip) * control_q, math.log, []
    for factor in DIPS:
        q = odds_times(on_line, factor)
        pilot, control = projection(n, q, control_n, control_q, dip=dip)
        logs.append(
            bad * log(q / pilot)
            + (n - bad) * log((1 - q) / (1 - pilot))
            + control_bad * log(control_q / control)
            + (control_n - control_bad) * log((1 - control_q) / (1 - control))
        )
    return tuple(logs)


def e_two_arms(found: Sequence[Stratum], *, dip: float) -> float:
    """The e-value with restarts that the pilot is more than *dip* below the control."""
    past_n, past_bad, factors = 10, 1, []
    for stratum in found:
        factors.append(two_arm_factors(stratum, past_bad / past_n, dip=dip))
        past_n, past_bad = past_n + stratum.control_n, past_bad + stratum.control_bad
    total, sums = 0.0, [0.0] * len(DIPS)
    for position in range(len(found) - 1, -1, -1):
        sums = [x + y for x, y in zip(sums, factors[position], strict=True)]
        mass = spent(found[position].at) - spent(found[position - 1].at if position else 0)
        total += mass * sum(math.exp(min(x, _CAP)) for x in sums) / len(sums)
    return total


# ---------------------------------------------------------------- in words


def e_text(e: float) -> str:
    """An e-value in a sentence, rounded down: it never reads as a level that it has not reached."""
    if e >= 1e6:
        return f"{e:.0e}"
    return str(int(e)) if e >= 10 else f"{math.floor(e * 10) / 10:g}"


def span_text(seconds: float) -> str:
    """A length of time in its largest fitting unit: `45 s`, `10 min`, `3 h`, `2 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{seconds:.0f} s"
