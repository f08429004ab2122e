"""The arithmetic of evidence against closed forms, enumeration and an independent library."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ville import BernoulliCS, BernoulliTest  # type: ignore[import-untyped]

from controller import eprocess
from controller.eprocess import Bet, Cell
from controller.model import Bucket

COUNTS = st.integers(0, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
AGAINST = eprocess.ladder(0.15, eprocess.even(0.15, 0.20))


def cells(*counts: tuple[int, int], gap: int = 1) -> list[Cell]:
    return [Cell(1 + i * gap, n, bad) for i, (n, bad) in enumerate(counts) if n]


def by_starts(found: Sequence[Cell], stream: Sequence[Bet]) -> float:
    """The mixture written out: each start's mass times the e-value of all units since then."""
    total = 0.0
    for first, cell in enumerate(found):
        mass = eprocess.spent(cell.at) - (eprocess.spent(found[first - 1].at) if first else 0.0)
        since = found[first:]
        total += mass * eprocess.e_now(stream, sum(c.n for c in since), sum(c.bad for c in since))
    return total


def binomial(n: int, bad: int, rate: float) -> float:
    return math.comb(n, bad) * rate**bad * (1 - rate) ** (n - bad)


def kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("n", "bad", "worse"),
    [
        pytest.param(-1, 0, 0, id="negative-units"),
        pytest.param(3, -1, 0, id="negative-bad"),
        pytest.param(3, 4, 0, id="more-bad-than-units"),
        pytest.param(3, 1, 2, id="more-worse-than-bad"),
        pytest.param(3, 1, -1, id="negative-worse"),
        pytest.param(math.nan, 0, 0, id="nan-units"),
        pytest.param(3, math.nan, 0, id="nan-bad"),
        pytest.param(3, 1, math.nan, id="nan-worse"),
        pytest.param(math.inf, 0, 0, id="infinite-units"),
    ],
)
def test_impossible_counts_are_refused(n: float, bad: float, worse: float) -> None:
    bucket = Bucket(600, n, bad, worse)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r"mic: found .*0 <= worse <= bad <= n"):
        eprocess.closed("mic", [bucket], after=0, until=900)


def test_a_bucket_counts_from_its_end_on() -> None:
    buckets = [Bucket(end, 1, 0, 0) for end in (300, 600, 900, 1200)]

    kept = eprocess.closed("x", buckets, after=300, until=900)

    assert [bucket.end for bucket in kept] == [600, 900]


def test_finer_buckets_are_merged_on_the_grid() -> None:
    buckets = [Bucket(end, 2, 1, 0) for end in (1260, 1320, 1500, 1560, 2400)]

    found = eprocess.cells(buckets, start=1230)

    assert found == [Cell(1, 6, 3), Cell(2, 2, 1), Cell(4, 2, 1)]
    assert [c.bad for c in eprocess.cells(buckets, start=1230, worse=True)] == [0, 0, 0]


def test_buckets_out_of_order_are_refused_and_no_buckets_are_no_cells() -> None:
    with pytest.raises(ValueError, match=r"end=300.* comes after later ones"):
        eprocess.cells([Bucket(600, 2, 1, 0), Bucket(300, 2, 1, 0)], start=0)

    assert eprocess.cells([], start=0) == []


@pytest.mark.parametrize(
    ("silence", "per_second", "absent"),
    [(820, 0.01, 7.0), (120, 1.0, 0.0), (121, 1.0, 1.0), (1e6, 0, 0), (0, 1.0, 0)],
)
def test_units_are_missed_from_the_lag_on(silence: float, per_second: float, absent: float) -> None:
    assert eprocess.absent(silence, lag=120, per_second=per_second) == pytest.approx(absent)


@pytest.mark.parametrize(
    ("until", "end"),
    [(0, 0), (1000, 0), (86399, 0), (86400, 86400), (2 * 86400 - 1, 86400), (2 * 86400, 2 * 86400), (-86400, 0)],
)
def test_a_day_has_ended_when_its_last_cell_has(until: float, end: float) -> None:
    """Counted from the grid's cell in which the start lies."""
    assert eprocess.days_ended(600, until=600 + until) == 600 + end
    assert eprocess.days_ended(899, until=600 + until) == 600 + end


# ---------------------------------------------------------------- bets and mass


def test_half_of_the_weight_is_on_the_first_bet_and_the_rest_on_bolder_ones() -> None:
    first = eprocess.even(0.15, 0.20)
    odds = [first / (1 - first) * factor for factor in (1, 2, 8)]

    for bet, o in zip(AGAINST, odds, strict=True):
        q = o / (1 + o)
        assert bet.bad == pytest.approx(math.log(q / 0.15))
        assert bet.good == pytest.approx(math.log((1 - q) / 0.85))
    assert [bet.weight for bet in AGAINST] == [1 / 2, 1 / 4, 1 / 4]
    assert eprocess.ladder(0.15) == eprocess.ladder(0.15, eprocess.odds_times(0.15, 1.3))


@given(st.floats(0.001, 0.9), st.floats(1.05, 30))
def test_the_first_bet_breaks_even_at_the_warning(null: float, odds: float) -> None:
    at = eprocess.odds_times(null, odds)

    q = eprocess.even(null, at)

    assert q > at
    (bet,) = eprocess.bets(null, [q])
    assert at * bet.bad + (1 - at) * bet.good == pytest.approx(0, abs=1e-6) or q > 0.99999  # as far as a rate may go
    for bolder in eprocess.ladder(null, q):
        assert null * bolder.bad + (1 - null) * bolder.good < 0
        assert at * bolder.bad + (1 - at) * bolder.good < 1e-6 or q > 0.99999


def test_better_bets_win_on_good_units_only() -> None:
    for bet in eprocess.ladder(0.2, 0.15, better=True):
        assert bet.good > 0 > bet.bad


def test_the_restart_mass_is_two_thirds_at_once_and_one_for_ever() -> None:
    assert eprocess.spent(0) == 0
    assert eprocess.spent(1) == pytest.approx(2 / 3)
    assert eprocess.spent(2017) == pytest.approx(5 / 6)
    assert eprocess.spent(6049) == pytest.approx(11 / 12)
    assert 0.999999 < eprocess.spent(10**12) <= 1
    steps = [eprocess.spent(at) for at in range(12000)]
    assert steps == sorted(steps)


# ---------------------------------------------------------------- one stream


@given(st.lists(COUNTS, max_size=12), st.integers(1, 500))
def test_each_step_of_the_path_is_the_sum_over_its_starts(counts: list[tuple[int, int]], gap: int) -> None:
    found = cells(*counts, gap=gap)

    path = list(eprocess.e_path(found, AGAINST))

    assert path == pytest.approx([by_starts(found[: t + 1], AGAINST) for t in range(len(found))])
    assert eprocess.e_restarted(found, AGAINST) == (path[-1] if path else 0)


@given(st.lists(COUNTS, max_size=12))
def test_the_cusum_equals_its_recursion(counts: list[tuple[int, int]]) -> None:
    found, states = cells(*counts), [1.0] * len(AGAINST)
    for _, n, bad in found:
        factors = [math.exp(bet.bad * bad + bet.good * (n - bad)) for bet in AGAINST]
        states = [max(factor * state, 1) for factor, state in zip(factors, states, strict=True)]
    expected = sum(bet.weight * state for bet, state in zip(AGAINST, states, strict=True))

    assert eprocess.e_cusum(found, AGAINST) == pytest.approx(expected)


def test_a_fine_mixture_equals_the_oracles_beta_binomial() -> None:
    outcomes = np.random.default_rng(3).random(60) < 0.3
    oracle = BernoulliTest(p0=0.15).fit(outcomes.astype(float))
    grid = (np.arange(20_000) + 0.5) / 20_000
    stream = eprocess.bets(0.15, list(grid))

    for n in (1, 10, 60):
        e = eprocess.e_now(stream, n, int(outcomes[:n].sum()))
        assert math.log(e) == pytest.approx(oracle.log_e_values_[n - 1], abs=1e-6)


NULLS = [
    pytest.param(0.15, AGAINST, id="rate"),
    pytest.param(0.10, eprocess.ladder(0.10), id="quantile-p90"),
    pytest.param(0.5, eprocess.ladder(0.5), id="quantile-p50"),
    pytest.param(0.8, eprocess.bets(0.8, [1 - b for b in (0.15, 0.1, 0.02)]), id="advance"),
    pytest.param(0.2, eprocess.bets(0.2, [eprocess.odds_times(0.2, f) for f in (0.5, 0.9, 1.1, 2)]), id="share"),
]


@pytest.mark.parametrize(("null", "stream"), NULLS)
@pytest.mark.parametrize("share", [1.0, 0.7, 0.1])
def test_the_mean_under_the_null_is_at_most_the_mass(null: float, stream: list[Bet], share: float) -> None:
    """Summed over every outcome. At the null it is the mass itself; a share of users has no better side."""
    sizes, total, rate = (2, 3, 1, 4), 0.0, null * share
    for bads in itertools.product(*(range(n + 1) for n in sizes)):
        found = cells(*zip(sizes, bads, strict=True), gap=700)
        chance = math.prod(binomial(n, bad, rate) for n, bad in zip(sizes, bads, strict=True))
        total += chance * eprocess.e_restarted(found, stream)

    mass = eprocess.spent(1 + 3 * 700)
    if share == 1:
        assert total == pytest.approx(mass)
    elif all(bet.bad > 0 for bet in stream):
        assert total < mass


@pytest.mark.parametrize("rates", [(0.3, 0.1, 0.2), (0.0, 0.4, 0.2), (0.2, 0.2, 0.2)])
def test_a_day_may_have_bad_hours_if_its_mean_keeps_the_bound(rates: tuple[float, ...]) -> None:
    """Of cells that close at whole days the mean is at most 1, in whatever order the hours come."""
    total = 0.0
    for bads in itertools.product((0, 1, 2), repeat=3):
        chance = math.prod(binomial(2, bad, rate) for bad, rate in zip(bads, rates, strict=True))
        total += chance * eprocess.e_now(eprocess.ladder(0.2), 6, sum(bads))

    assert total <= 1 + 1e-12


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.01])
def test_the_mean_of_a_count_per_time_is_at_most_the_mass(rate: float) -> None:
    """Summed over all counts of three cells that have any chance worth adding."""
    stream, total = eprocess.counting(0.5, [0.75, 1.5, 4.0]), 0.0
    chances = [math.exp(-rate) * rate**c / math.factorial(c) for c in range(30)]
    for counts in itertools.product(range(30), repeat=2):
        found = [Cell(at, 1, c) for at, c in zip((1, 900), counts, strict=True)]
        total += math.prod(chances[c] for c in counts) * eprocess.e_restarted(found, stream)

    assert total <= eprocess.spent(900) + 1e-9
    if rate == 0.5:
        assert total == pytest.approx(eprocess.spent(900))


@pytest.mark.parametrize("values", [(0.0, 0.5), (0.25, 0.25, 0.1), (0.0, 1.0, 0.05, 0.0)])
def test_means_per_unit_are_bets_that_are_at_most_fair(values: tuple[float, ...]) -> None:
    """Units whose means are drawn from *values*: the factor of their sum is convex in each."""
    null, total = sum(values) / len(values), 0.0
    for drawn in itertools.product(values, repeat=3):
        total += eprocess.e_now(eprocess.ladder(null), 3, sum(drawn)) / len(values) ** 3

    assert 0 < total <= 1 + 1e-12


def test_looking_after_every_unit_crosses_no_more_often_than_promised() -> None:
    alpha, crossed = 0.2, 0.0
    for path in itertools.product((0, 1), repeat=12):
        found = [Cell(1 + i * 300, 1, bad) for i, bad in enumerate(path)]
        if any(eprocess.e_restarted(found[:t], AGAINST) >= 1 / alpha for t in range(1, 13) if path[t - 1]):
            crossed += 0.15 ** sum(path) * 0.85 ** (12 - sum(path))

    assert 0 < crossed <= alpha


@given(st.lists(COUNTS, min_size=1, max_size=10), st.data())
def test_more_bad_units_never_lower_the_evidence(counts: list[tuple[int, int]], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(counts) - 1))
    more = data.draw(st.integers(1, 20))
    worse = [(n + more, b + more) if i == where else (n, b) for i, (n, b) in enumerate(counts)]

    low, high = (list(eprocess.e_path(cells(*c), AGAINST)) for c in (counts, worse))

    assert high[-1:] >= low[-1:]
    assert eprocess.e_cusum(cells(*worse), AGAINST) >= eprocess.e_cusum(cells(*counts), AGAINST)


@given(st.lists(COUNTS, max_size=10), st.integers(0, 10))
def test_empty_cells_change_nothing(counts: list[tuple[int, int]], where: int) -> None:
    found = cells(*counts, gap=2)
    with_empty = sorted([*found, Cell(2 * where + 2, 0, 0)])

    assert eprocess.e_restarted(with_empty, AGAINST) == pytest.approx(eprocess.e_restarted(found, AGAINST))
    assert eprocess.e_cusum(with_empty, AGAINST) == pytest.approx(eprocess.e_cusum(found, AGAINST))


@given(st.floats(1e-6, 1 - 1e-6), st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), max_size=6))
def test_no_counts_make_anything_but_a_number(null: float, counts: list[tuple[int, float]]) -> None:
    found = cells(*((n, int(share * n)) for n, share in counts))
    for stream in (eprocess.ladder(null), eprocess.ladder(null, better=True), eprocess.counting(null, [2 * null])):
        for e in (*eprocess.e_path(found, stream), eprocess.e_cusum(found, stream)):
            assert 0 <= e < math.inf


def test_a_drop_late_in_a_healthy_rollout_is_seen() -> None:
    healthy = [Cell(at, 4, at % 10 == 0) for at in range(1, 6001)]
    drop = [Cell(6000 + i, 4, 2) for i in range(1, 17)]

    assert eprocess.e_restarted(healthy, AGAINST) < 0.01
    assert eprocess.e_restarted([*healthy, *drop], AGAINST) >= 100


def test_huge_counts_stay_finite() -> None:
    found = [Cell(1, 10**9, 10**9), Cell(2, 10**9, 0)]

    assert math.isfinite(eprocess.e_restarted(found[:1], AGAINST))
    assert eprocess.e_restarted(found[:1], AGAINST) > 1e200
    assert math.isfinite(eprocess.e_cusum(found[:1], AGAINST))
    assert math.isfinite(eprocess.e_now(AGAINST, 10**9, 10**9))
    assert eprocess.e_restarted(found, AGAINST) < 1e-3


def test_fourteen_days_of_looks_at_the_target_stay_in_the_risk_budget() -> None:
    rng, looks, runs = np.random.default_rng(11), 336, 1000
    bad = rng.binomial(20, 0.15, (looks, runs))
    per_bad, per_good, weights = (np.array([getattr(bet, key) for bet in AGAINST]) for key in ("bad", "good", "weight"))
    states, top = np.zeros((runs, len(AGAINST))), np.zeros(runs)
    for look in range(looks):
        mass = eprocess.spent(12 * look + 12) - eprocess.spent(12 * look)
        factors = np.exp(np.outer(bad[look], per_bad) + np.outer(20 - bad[look], per_good))
        states = factors * (states + mass)
        top = np.maximum(top, states @ weights)
    first = [Cell(12 * look + 12, 20, int(bad[look, 0])) for look in range(looks)]

    assert eprocess.e_restarted(first, AGAINST) == pytest.approx(float(states[0] @ weights))
    assert (top >= 100).mean() <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / runs)


@pytest.mark.parametrize(("rate", "most"), [(0.25, 1.25), (0.3, 1.25), (0.4, 1.32), (0.6, 1.42), (0.9, 1.52)])
def test_a_bad_start_is_seen_near_the_physical_limit(rate: float, most: float) -> None:
    """The mean number of units to 100, exactly: the chances of the states that have not reached it."""
    limit, alive, mean, n = math.log(100) / kl(rate, 0.15), {0: 1.0}, 0.0, 0
    while (left := sum(alive.values())) > 1e-4:
        mean, n, reached = mean + left, n + 1, dict[int, float]()
        for bad, chance in alive.items():
            reached[bad] = reached.get(bad, 0) + chance * (1 - rate)
            reached[bad + 1] = reached.get(bad + 1, 0) + chance * rate
        low = min(reached)  # more bad units reach it sooner
        while low in reached and eprocess.spent(1) * eprocess.e_now(AGAINST, n, low) < 100:
            low += 1
        alive = {bad: chance for bad, chance in reached.items() if bad < low and chance > 1e-9}

    assert mean <= most * limit


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 6))))
def test_needed_is_the_first_count_that_is_enough(counts: tuple[int, int]) -> None:
    n, bad = counts
    stream = eprocess.ladder(0.2, 0.15, better=True)

    more = eprocess.units_needed(stream, n, bad, level=20)

    assert more is not None
    assert eprocess.e_now(stream, n + more, bad * (1 + more / n)) >= 20
    if more:
        assert eprocess.e_now(stream, n + more - 1, bad * (1 + (more - 1) / n)) < 20


@pytest.mark.parametrize(("n", "bad"), [(0, 0), (100, 20), (100, 60)])
def test_needed_is_unknown_without_units_or_at_a_rate_that_proves_nothing(n: int, bad: int) -> None:
    stream = eprocess.ladder(0.2, 0.15, better=True)

    assert eprocess.units_needed(stream, n, bad, level=20) is None


# ---------------------------------------------------------------- bounds of a rate


@pytest.mark.parametrize(("n", "bad"), [(1, 0), (1, 1), (7, 0), (40, 6), (500, 75), (30, 30)])
def test_bounds_equal_the_oracles(n: int, bad: int) -> None:
    data = np.array([1.0] * bad + [0.0] * (n - bad))
    oracle = BernoulliCS(alpha=0.05, intersect=False).fit(data)

    low, high = eprocess.interval(n, bad)

    assert low == pytest.approx(float(np.atleast_1d(oracle.lower_)[-1]), abs=1e-6)
    assert high == pytest.approx(float(np.atleast_1d(oracle.upper_)[-1]), abs=1e-6)


def test_bounds_without_units_say_nothing() -> None:
    assert eprocess.interval(0, 0) == (0, 1)


@pytest.mark.parametrize("rate", [0.15, 0.5, 0.02])
def test_bounds_hold_at_all_times_at_once(rate: float) -> None:
    """Exactly, by dynamic programming over the paths that were never left out."""
    inside = {0: 1.0}
    for n in range(1, 121):
        reached: dict[int, float] = {}
        for bad, chance in inside.items():
            reached[bad] = reached.get(bad, 0) + chance * (1 - rate)
            reached[bad + 1] = reached.get(bad + 1, 0) + chance * rate
        inside = {}
        for bad, chance in reached.items():
            low, high = eprocess.interval(n, bad)
            if low <= rate <= high:
                inside[bad] = chance

    assert 1 > sum(inside.values()) >= 0.95


# ---------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("e", "text"),
    [
        (0.04, "0"),
        (3.19, "3.1"),
        (19.999, "19"),
        (20.0, "20"),
        (123456.7, "123456"),
        (2e9, "2e+09"),
    ],
)
def test_an_e_value_is_rounded_down(e: float, text: str) -> None:
    assert eprocess.e_text(e) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (12, "12"), (12.0, "12"), (12.34, "12.3"), (3e6, "3000000")])
def test_a_count_is_a_whole_number_unless_it_is_of_means(count: float, text: str) -> None:
    assert eprocess.count_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (600, "10 min"), (5400, "1.5 h"), (172800, "2 d")])
def test_a_span_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert eprocess.span_text(seconds) == text
