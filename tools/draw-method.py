"""
The figures and pictures of docs/method.md: `python tools/draw-method.py` prints the former, writes docs/method-*.svg.

Stopping times from the start are exact, by enumeration of the states (units, bad units). What runs for days is
simulated with fixed seeds; false alarms by importance sampling: data are drawn from the mixture that the e-value bets
on, and each run that stops counts 1 / (its likelihood ratio).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from controller import eprocess
from controller.eprocess import FIRST, HALF, Bet

DOCS = Path(__file__).parents[1] / "docs"
ALPHA, PEEKS, PER_PEEK = 0.01, 4032, 4  # 14 days of five minutes, at 50 units an hour
TARGET, WARNING = 0.15, 0.20
AGAINST = eprocess.ladder(TARGET, eprocess.even(TARGET, WARNING))
POINTS = (0.25, 0.30, 0.40, 0.60)


def kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def wald(rate: float, null: float) -> float:
    """The least mean number of units of any test with power one and P(false) <= ALPHA (Wald 1945)."""
    return math.log(1 / ALPHA) / kl(rate, null)


# ---------------------------------------------------------------- from the start, exactly


def boundary(bets: Sequence[Bet], level: float, most: int) -> np.ndarray:
    """For each number of units, the least number of bad ones whose e-value is *level*."""
    n = np.arange(most + 1)
    low, high = np.full(most + 1, -1), n + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        logs = [math.log(b.weight) + b.bad * middle + b.good * (n - middle) for b in bets]
        reached = np.logaddexp.reduce(logs) >= math.log(level)
        open_ = high - low > 1
        high, low = np.where(open_ & reached, middle, high), np.where(open_ & ~reached, middle, low)
    return high


def stopping(bets: Sequence[Bet], level: float, rate: float, most: int) -> tuple[float, float]:
    """The mean number of units until the e-value is *level*, and the chance of that within *most*."""
    limit, alive, mean = boundary(bets, level, most), np.zeros(most + 2), 0.0
    alive[0] = 1
    for n in range(1, most + 1):
        mean += alive.sum()
        alive[1:] = alive[1:] * (1 - rate) + alive[:-1] * rate
        alive[0] *= 1 - rate
        alive[limit[n] :] = 0
    return mean, 1 - alive.sum()


def ratio(null: float, rate: float, bets: Sequence[Bet], *, first: float = FIRST) -> float:
    limit = wald(rate, null)
    return stopping(bets, first and 1 / (ALPHA * first), rate, int(12 * limit) + 60)[0] / limit


def least(share: float, rates: Sequence[float], null: float = TARGET, most: int = 700) -> float:
    """
    Below this no test is that spends *share* of ALPHA: a lower bound of max over *rates* of mean units / Wald's.

    For every prior on the rates and price of a false alarm, the cost of the best test (by backward induction over the
    states) less the price of the permitted alarms; the largest over a grid of priors and prices.
    """

    def cost(prior: Sequence[float], price: float) -> float:
        value = np.zeros(1)
        for n in range(most - 1, -1, -1):
            bad = np.arange(n + 1)
            going = sum(
                part / wald(p, null) * np.exp(np.minimum(bet.bad * bad + bet.good * (n - bad), 60))
                for p, part, bet in zip(rates, prior, eprocess.bets(null, rates), strict=True)
            )
            after = (1 - null) * value[: n + 1] + null * value[1 : n + 2] if len(value) > n + 1 else 0.0
            value = np.minimum(price, going + after)
        return float(value[0])

    priors = [np.array(p) / sum(p) for p in ((1, 1, 1, 1), (2, 1, 1, 2), (3, 1, 1, 3), (3, 1, 1, 4))]
    prices = np.exp(np.linspace(math.log(15), math.log(400), 24))
    return max(cost(p, price) - price * share * ALPHA for p, price in product(priors, prices))


# ---------------------------------------------------------------- over days, simulated


class Running:
    """Many e-processes with restarts side by side, unit by unit."""

    def __init__(self, bets: Sequence[Bet], runs: int, first: float = FIRST) -> None:
        self.bad, self.good = (np.exp([getattr(b, key) for b in bets]) for key in ("bad", "good"))
        self.weights, self.first = np.array([b.weight for b in bets]), first
        self.states, self.units = np.zeros((runs, len(bets))), 0

    def spent(self, cell: int) -> float:
        return 1 - (1 - self.first) * HALF / (HALF + cell - 1) if cell >= 1 else 0.0

    def step(self, bad: np.ndarray) -> np.ndarray:
        if self.units % PER_PEEK == 0:
            cell = self.units // PER_PEEK + 1
            self.states += self.spent(cell) - self.spent(cell - 1)
        self.units += 1
        self.states = np.minimum(self.states * np.where(bad[:, None], self.bad, self.good), 1e300)
        return self.states @ self.weights


class Cusum:
    """Page's CUSUM of a test that knows the rate after the change."""

    def __init__(self, rate: float, runs: int) -> None:
        self.bad, self.good, self.state = math.log(rate / TARGET), math.log((1 - rate) / (1 - TARGET)), np.zeros(runs)

    def step(self, bad: np.ndarray) -> np.ndarray:
        self.state = np.maximum(self.state, 0) + np.where(bad, self.bad, self.good)
        return np.exp(self.state)


def delay(process: Running | Cusum, level: float, runs: int, *, peeks: int = 1000) -> tuple[float, float]:
    """Mean units from a drop 10 % -> 25 % after *peeks* until *level* at any unit, with its standard error."""
    draw, at = np.random.default_rng(3), np.zeros(runs)
    for unit in range(peeks * PER_PEEK + 3000):
        e = process.step(draw.random(runs) < (0.10 if unit < peeks * PER_PEEK else 0.25))
        at = np.where((at == 0) & (e >= level), unit + 1 - peeks * PER_PEEK, at)
        if (at != 0).all():
            break
    at = at[at > 0]
    return float(at.mean()), float(at.std() / math.sqrt(len(at)))


def cusum_alarm(level: float, rate: float, runs: int = 4000) -> float:
    """P(the CUSUM reaches *level* in 14 days at the target), by importance sampling over where a change might be."""
    draw, units = np.random.default_rng(4), PEEKS * PER_PEEK
    start, process, ratio_ = draw.integers(0, units, runs), Cusum(rate, runs), np.zeros(runs)
    total, alive = 0.0, np.ones(runs, bool)
    for unit in range(units):
        bad = draw.random(runs) < np.where(start <= unit, rate, TARGET)
        ratio_ = (ratio_ + 1) * np.where(bad, rate / TARGET, (1 - rate) / (1 - TARGET))
        hit = alive & (process.step(bad) >= level)
        total += float((units / (ratio_[hit] + units - unit - 1)).sum())
        alive &= ~hit
        if not alive.any():
            break
    return total / runs


def false_reverts(kpis: Sequence[tuple[float, Sequence[Bet]]], runs: int = 4000) -> tuple[float, float]:
    """P(the mean of the KPIs' e-values reaches 1 / ALPHA in 14 days), all exactly at their targets, and its error."""
    draw, mass = np.random.default_rng(5), eprocess.spent(PEEKS)
    which = draw.integers(0, len(kpis), runs)
    at = np.searchsorted([eprocess.spent(cell) / mass for cell in range(1, PEEKS + 1)], draw.random(runs)) * PER_PEEK
    rates = np.array([draw.choice([math.exp(b.bad) * kpis[k][0] for b in kpis[k][1]], p=[b.weight for b in kpis[k][1]])
                      for k in which])  # fmt: skip
    processes, counted, alive = [Running(bets, runs) for _, bets in kpis], np.zeros(runs), np.ones(runs, bool)
    for unit in range(PEEKS * PER_PEEK):
        es = []
        for k, ((null, _), process) in enumerate(zip(kpis, processes, strict=True)):
            rate = np.where((which == k) & (at <= unit), rates, null)
            es.append(process.step(draw.random(runs) < rate))
        e, left = np.mean(es, axis=0), mass - eprocess.spent(unit // PER_PEEK + 1)
        hit = alive & (e >= 1 / ALPHA) & ((unit + 1) % PER_PEEK == 0)
        counted[hit] = mass / (e[hit] + left)
        alive &= ~hit
        if not alive.any():
            break
    return float(counted.mean()), float(counted.std() / math.sqrt(runs))


def between(rate: float, runs: int = 2000, days: int = 7) -> float:
    """P(a KPI at *rate* is reverted within *days*)."""
    draw, process, hit = np.random.default_rng(6), Running(AGAINST, runs), np.zeros(runs, bool)
    for _ in range(days * 288 * PER_PEEK):
        hit |= process.step(draw.random(runs) < rate) >= 1 / ALPHA
    return float(hit.mean())


# ---------------------------------------------------------------- pictures

Lines = dict[str, list[tuple[float, float]]]
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#8250df")


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from *low* to *high*, six or so."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (high - low) / s <= 7.5)
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def chart(title: str, across: str, up: str, lines: Lines, shown: Callable[[float], str]) -> str:
    """A line chart as SVG, its scale from the data."""
    xs, ys = ([point[i] for line in lines.values() for point in line] for i in (0, 1))
    left, right, low, high = min(xs), max(xs), min([1.0 if max(ys) > 1 else 0.0, *ys]), max(1.0, *ys)

    def place(x: float, y: float) -> str:
        return f"{60 + 400 * (x - left) / (right - left):.1f},{250 - 210 * (y - low) / (high - low):.1f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 300" font-family="sans-serif" font-size="12"',
        f' role="img"><title>{title}</title><rect width="640" height="300" fill="#ffffff"/>',
        f'<text x="60" y="22" font-weight="bold">{title}</text>',
        f'<text x="260" y="292" text-anchor="middle">{across}</text>',
        f'<text transform="translate(14 145) rotate(-90)" text-anchor="middle">{up}</text>',
    ]  # fmt: skip
    for y in ticks(low, high):
        parts.append(f'<path d="M{place(left, y)} L{place(right, y)}" stroke="#d0d7de"/>')
        parts.append(f'<text x="54" y="{place(left, y).split(",")[1]}" dy="4" text-anchor="end">{y:.1f}</text>')
    for x in ticks(left, right):
        parts.append(f'<text x="{place(x, low).split(",")[0]}" y="268" text-anchor="middle">{shown(x)}</text>')
    for i, (name, points) in enumerate(lines.items()):
        path = " L".join(place(*point) for point in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"/>')
        parts.append(f'<text x="474" y="{60 + 18 * i}" fill="{COLOURS[i]}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def percent(x: float) -> str:
    return f"{x:.0%}" if abs(x * 100 - round(x * 100)) < 1e-9 else f"{x:.1%}"


def start() -> None:
    print("| target, warning | true rate: mean units to revert / Wald's limit |\n|---|---|")
    for target, warning, rates in (
        (0.15, 0.20, (0.22, 0.25, 0.30, 0.40, 0.60, 0.90)),
        (0.02, 0.05, (0.06, 0.07, 0.10, 0.20, 0.40)),
        (0.60, 0.65, (0.68, 0.70, 0.75, 0.80, 0.90)),
        (0.10, None, (0.13, 0.15, 0.20, 0.30, 0.50)),
        (0.50, None, (0.60, 0.70, 0.80, 0.90)),
        (0.30, 0.40, (0.45, 0.55, 0.70)),
        (0.05, 0.06, (0.07, 0.09, 0.15)),
    ):
        bets = eprocess.ladder(target, eprocess.even(target, warning) if warning else None)
        said = ", ".join(f"{percent(p)}: {ratio(target, p, bets):.2f}" for p in rates)
        print(f"| {percent(target)}, {percent(warning) if warning else 'none'} | {said} |")

    def known(rate: float) -> float:
        return ratio(TARGET, rate, eprocess.bets(TARGET, [rate]), first=1)

    print("a test that knows the rate, at 1/alpha:", ", ".join(f"{percent(p)}: {known(p):.2f}" for p in POINTS))
    rates = [0.22 + 0.01 * i for i in range(39)]
    lines = {
        "Pilot": [(p, ratio(TARGET, p, AGAINST)) for p in rates],
        "if all mass were first": [(p, ratio(TARGET, p, AGAINST, first=1)) for p in rates],
        "a test that knows the rate": [(p, known(p)) for p in rates],
    }
    text = chart("Units to a revert, target 15 %, warning 20 %", "true rate of bad units", "mean units / Wald's limit",
                 lines, percent)  # fmt: skip
    (DOCS / "method-start.svg").write_text(text)


def shares() -> None:
    runs, level = 3000, math.exp(10.7)
    low, high = 10.0, 11.6
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (low, middle) if cusum_alarm(math.exp(middle), 0.25) <= ALPHA else (middle, high)
    level = math.exp(high)
    oracle, provable = delay(Cusum(0.25, runs), level, runs), delay(Cusum(0.25, runs), PEEKS / ALPHA, runs)
    print(f"CUSUM that knows 25 %: threshold {high:.2f} nats, {oracle[0]:.0f} +- {oracle[1]:.0f} units; with")
    print(f"a proven threshold of {math.log(PEEKS / ALPHA):.2f}: {provable[0]:.0f} +- {provable[1]:.0f}")
    early: Lines = {"Pilot, worst of four rates": [], "any test, worst of four": [], "Pilot, late drop / CUSUM": []}
    for share in (0.4, 0.5, 0.6, FIRST, 0.75, 0.85):
        worst = max(ratio(TARGET, p, AGAINST, first=share) for p in POINTS)
        late = delay(Running(AGAINST, runs, share), 1 / ALPHA, runs)
        bound = least(share, POINTS)
        print(f"share {share:.2f}: worst {worst:.2f}, any test {bound:.2f}, late drop {late[0]:.0f} +- {late[1]:.0f} "
              f"= {late[0] / oracle[0]:.2f} of the CUSUM, {late[0] / provable[0]:.2f} of the proven one")  # fmt: skip
        for line, value in zip(early.values(), (worst, bound, late[0] / oracle[0]), strict=True):
            line.append((share, value))
    print(f"any test that spends all at the start: {least(1, POINTS):.2f}")
    text = chart("What the first cell's share of the mass buys and costs", "share of the first cell",
                 "ratio to the limit", early, percent)  # fmt: skip
    (DOCS / "method-shares.svg").write_text(text)


def in_between() -> None:
    rates = (0.15, 0.16, 0.17, 0.175, 0.18, 0.185, 0.19, 0.20, 0.21, 0.22)
    reverted = [(rate, between(rate)) for rate in rates]
    print("reverted within 7 days:", ", ".join(f"{percent(rate)}: {p:.2f}" for rate, p in reverted))
    text = chart("Reverted within 7 days at 50 units an hour, target 15 %, warning 20 %", "true rate of bad units",
                 "probability", {"Pilot": reverted}, percent)  # fmt: skip
    (DOCS / "method-between.svg").write_text(text)


def budget() -> None:
    bounds: tuple[tuple[float, float | None], ...] = (
        (0.15, 0.20), (0.60, 0.65), (0.02, 0.05), (0.05, 0.10), (0.10, None), (0.50, None),
    )  # fmt: skip
    kpis = [(t, eprocess.ladder(t, eprocess.even(t, w) if w else None)) for t, w in bounds]
    p, error = false_reverts(kpis)
    one, one_error = false_reverts(kpis[:1])
    print(f"false reverts in 14 days at exactly the targets: six KPIs {p:.5f} +- {1.96 * error:.5f}, "
          f"one {one:.5f} +- {1.96 * one_error:.5f} (95 %)")  # fmt: skip


if __name__ == "__main__":
    for part in (start, shares, in_between, budget):
        part()
