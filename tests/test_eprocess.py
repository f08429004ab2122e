"""The arithmetic of evidence against closed forms, enumeration and an independent library."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from ville import BernoulliCS, BernoulliTest  # type: ignore[import-untyped]

from controller import eprocess
from controller.eprocess import Bet, Cell, Stratum
from controller.model import Bucket

COUNTS = st.integers(0, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
AGAINST = eprocess.ladder(0.15, first=0.20)


def cells(*counts: tuple[int, int], gap: int = 1) -> list[Cell]:
    return [Cell(1 + i * gap, n, bad) for i, (n, bad) in enumerate(counts) if n]


def recursion(found: Sequence[Cell], stream: Sequence[Bet]) -> float:
    """M <- L (M + mass), the e-SR written forward (Shin, Ramdas, Rinaldo 2024)."""
    states, before = [0.0] * len(stream), 0.0
    for at, n, bad in found:
        mass = eprocess.spent(at) - before
        states = [
            math.exp(bet.bad * bad + bet.good * (n - bad)) * (state + mass)
            for bet, state in zip(stream, states, strict=True)
        ]
        before = eprocess.spent(at)
    return sum(bet.weight * state for bet, state in zip(stream, states, strict=True))


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


# ---------------------------------------------------------------- bets and mass


def test_the_ladder_is_the_measured_one() -> None:
    odds = [q / (1 - q) for q in (0.20, *(0.25 * f / (1 + 0.25 * f) for f in eprocess.LADDER))]

    for bet, o in zip(AGAINST, odds, strict=True):
        q = o / (1 + o)
        assert bet.bad == pytest.approx(math.log(q / 0.15))
        assert bet.good == pytest.approx(math.log((1 - q) / 0.85))
    assert [bet.weight for bet in AGAINST] == [1 / 2] + [1 / 16] * 8


def test_better_bets_win_on_good_units_only() -> None:
    for bet in eprocess.ladder(0.2, first=0.15, better=True):
        assert bet.good > 0 > bet.bad


def test_the_restart_mass_is_half_at_once_and_one_for_ever() -> None:
    assert eprocess.spent(0) == 0
    assert eprocess.spent(1) == pytest.approx(1 / 2 + 3 / 8 / 4032)
    assert eprocess.spent(4032) == pytest.approx(7 / 8)
    assert eprocess.spent(8064) == pytest.approx(15 / 16)
    assert 0.999999 < eprocess.spent(10**12) <= 1
    steps = [eprocess.spent(at) for at in range(12000)]
    assert steps == sorted(steps)


# ---------------------------------------------------------------- one stream


@settings(max_examples=40, deadline=None)
@given(st.lists(COUNTS, max_size=12), st.integers(1, 500))
def test_restarts_equal_the_recursion(counts: list[tuple[int, int]], gap: int) -> None:
    found = cells(*counts, gap=gap)

    assert eprocess.e_restarted(found, AGAINST) == pytest.approx(recursion(found, AGAINST))


@settings(max_examples=40, deadline=None)
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


@pytest.mark.parametrize("rate", [0.15, 0.1, 0.01])
@pytest.mark.parametrize("beyond", [None, 0.15, 0.2])
def test_the_mean_under_the_null_is_at_most_the_mass(rate: float, beyond: float | None) -> None:
    sizes, total = (2, 3, 1, 4), 0.0
    for bads in itertools.product(*(range(n + 1) for n in sizes)):
        found = cells(*zip(sizes, bads, strict=True), gap=700)
        chance = math.prod(binomial(n, bad, rate) for n, bad in zip(sizes, bads, strict=True))
        total += chance * eprocess.e_restarted(found, AGAINST, beyond=beyond)

    mass = eprocess.spent(1 + 3 * 700)
    assert total <= mass + 1e-12
    if rate == 0.15 and beyond is None:
        assert total == pytest.approx(mass)


def test_looking_after_every_unit_crosses_no_more_often_than_promised() -> None:
    alpha, crossed = 0.2, 0.0
    for path in itertools.product((0, 1), repeat=12):
        found = [Cell(1 + i * 300, 1, bad) for i, bad in enumerate(path)]
        if any(eprocess.e_restarted(found[:t], AGAINST) >= 1 / alpha for t in range(1, 13) if path[t - 1]):
            crossed += 0.15 ** sum(path) * 0.85 ** (12 - sum(path))

    assert 0 < crossed <= alpha


@settings(max_examples=40, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=10), st.data())
def test_more_bad_units_never_lower_the_evidence(counts: list[tuple[int, int]], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(counts) - 1))
    more = data.draw(st.integers(1, 20))
    worse = [(n + more, b + more) if i == where else (n, b) for i, (n, b) in enumerate(counts)]

    for beyond in (None, 0.2):
        low = eprocess.e_restarted(cells(*counts), AGAINST, beyond=beyond)
        high = eprocess.e_restarted(cells(*worse), AGAINST, beyond=beyond)
        assert high >= low * (1 - 1e-12)


def test_the_guard_takes_starts_that_are_a_nat_beyond() -> None:
    n = 40
    bad = next(b for b in range(n) if n * kl(max(b, 1) / n, 0.2) >= 1 and b > 0.2 * n)

    short = eprocess.e_restarted([Cell(1, n, bad - 1)], AGAINST, beyond=0.2)
    enough = eprocess.e_restarted([Cell(1, n, bad)], AGAINST, beyond=0.2)

    assert short == 0
    assert enough == eprocess.e_restarted([Cell(1, n, bad)], AGAINST) > 0


def test_a_drop_late_in_a_healthy_rollout_is_seen() -> None:
    healthy = [Cell(at, 4, at % 10 == 0) for at in range(1, 6001)]
    drop = [Cell(6000 + i, 4, 2) for i in range(1, 17)]

    assert eprocess.e_restarted(healthy, AGAINST, beyond=0.2) == 0
    assert eprocess.e_restarted([*healthy, *drop], AGAINST, beyond=0.2) >= 100


def test_huge_counts_stay_finite() -> None:
    found = [Cell(1, 10**9, 10**9), Cell(2, 10**9, 0)]

    assert math.isfinite(eprocess.e_restarted(found[:1], AGAINST))
    assert eprocess.e_restarted(found[:1], AGAINST) > 1e200
    assert math.isfinite(eprocess.e_cusum(found[:1], AGAINST))
    assert math.isfinite(eprocess.e_now(AGAINST, 10**9, 10**9))
    assert eprocess.e_restarted(found, AGAINST, beyond=0.6) == 0


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


@pytest.mark.parametrize(("rate", "most"), [(0.25, 1.8), (0.4, 2.0), (0.9, 4.0)])
def test_a_bad_start_is_seen_near_the_physical_limit(rate: float, most: float) -> None:
    rng, limit = np.random.default_rng(5), math.log(100) / kl(rate, 0.15)
    needed = []
    for _ in range(40):
        bad, n = 0, 0
        while eprocess.e_restarted([Cell(1, n, bad)] if n else [], AGAINST, beyond=0.2) < 100:
            n, bad = n + 1, bad + int(rng.random() < rate)
        needed.append(n)

    assert np.mean(needed) <= most * limit


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 6))))
def test_needed_is_the_first_count_that_is_enough(counts: tuple[int, int]) -> None:
    n, bad = counts
    stream = eprocess.ladder(0.2, first=0.15, better=True)

    more = eprocess.units_needed(stream, n, bad, level=20)

    assert more is not None
    assert eprocess.e_now(stream, n + more, bad * (1 + more / n)) >= 20
    if more:
        assert eprocess.e_now(stream, n + more - 1, bad * (1 + (more - 1) / n)) < 20


@pytest.mark.parametrize(("n", "bad"), [(0, 0), (100, 20), (100, 60)])
def test_needed_is_unknown_without_units_or_at_a_rate_that_proves_nothing(n: int, bad: int) -> None:
    stream = eprocess.ladder(0.2, first=0.15, better=True)

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


# ---------------------------------------------------------------- two arms


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 500), st.floats(0.12, 0.95), st.integers(1, 500), st.floats(0.02, 0.9),
    st.floats(0.01, 0.5),
)  # fmt: skip
def test_the_projection_is_the_closest_point_of_the_line(
    n: int, q: float, control_n: int, control_q: float, dip: float
) -> None:
    def distance(b: float) -> float:
        return n * kl(q, dip + (1 - dip) * b) + control_n * kl(control_q, b)

    pilot, control = eprocess.projection(n, q, control_n, control_q, dip=dip)
    best = minimize_scalar(distance, bounds=(1e-9, 1 - 1e-9), method="bounded")

    assert pilot == pytest.approx(dip + (1 - dip) * control)
    assert 0 < control < 1
    assert distance(control) <= best.fun + 1e-6


@pytest.mark.parametrize("control_q", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("n", "control_n"), [(3, 4), (5, 1), (1, 6)])
def test_the_mean_of_a_two_arm_factor_is_at_most_one_on_the_null(n: int, control_n: int, control_q: float) -> None:
    dip, most = 0.1, 0.0
    for control in np.linspace(0.005, 0.995, 67):
        for pilot in (dip + (1 - dip) * control, 0.8 * (dip + (1 - dip) * control)):
            means = np.zeros(len(eprocess.DIPS))
            for bad, control_bad in itertools.product(range(n + 1), range(control_n + 1)):
                stratum = Stratum(1, n, bad, control_n, control_bad)
                logs = eprocess.two_arm_factors(stratum, control_q, dip=dip)
                chance = binomial(n, bad, pilot) * binomial(control_n, control_bad, control)
                means += chance * np.exp(logs)
            most = max(most, means.max())

    assert 0.97 < most <= 1 + 1e-9


def test_the_mean_of_two_arms_over_time_is_at_most_the_mass() -> None:
    total, pilot, control = 0.0, 0.1 + 0.9 * 0.2, 0.2
    for a, b, c, d in itertools.product(range(4), range(3), range(3), range(4)):
        found = [Stratum(1, 3, a, 2, b), Stratum(900, 2, c, 3, d)]
        if c > 2:
            continue
        chance = binomial(3, a, pilot) * binomial(2, c, pilot)
        chance *= binomial(2, b, control) * binomial(3, d, control)
        total += chance * eprocess.e_two_arms(found, dip=0.1)

    assert 0.5 < total <= eprocess.spent(900) + 1e-9


def test_the_second_stratum_learns_from_the_first_ones_control_only() -> None:
    first, second = Stratum(1, 6, 5, 30, 3), Stratum(2, 8, 4, 20, 2)
    one = eprocess.two_arm_factors(first, 1 / 10, dip=0.1)
    two = eprocess.two_arm_factors(second, 4 / 40, dip=0.1)
    early, late = eprocess.spent(1), eprocess.spent(2) - eprocess.spent(1)
    means = [(early * math.exp(x + y) + late * math.exp(y)) / 5 for x, y in zip(one, two, strict=True)]

    assert eprocess.e_two_arms([first, second], dip=0.1) == pytest.approx(sum(means))


def test_a_stratum_waits_until_both_arms_have_units() -> None:
    pilot = [Cell(1, 3, 1), Cell(2, 1, 0), Cell(5, 1, 1), Cell(6, 7, 0)]
    control = [Cell(1, 40, 4), Cell(3, 20, 2), Cell(6, 4, 1)]

    assert eprocess.strata(pilot, control) == [Stratum(5, 5, 2, 60, 6)]


def test_a_dip_is_seen_whatever_the_time_of_day_does_to_both_arms() -> None:
    rng = np.random.default_rng(2)

    def run(dip: float) -> float:
        found = []
        for at in range(1, 400):
            control = 0.15 + 0.1 * math.sin(at / 40)
            pilot = 1 - (1 - dip) * (1 - control)
            arms = int(rng.binomial(10, pilot)), int(rng.binomial(30, control))
            found.append(Stratum(at, 10, arms[0], 30, arms[1]))
        return eprocess.e_two_arms(found, dip=0.1)

    assert run(0.0) < 1
    assert run(0.1) < 100
    assert run(0.25) >= 100


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=8), st.floats(0.01, 0.9))
def test_two_arms_are_finite_whatever_the_counts(
    counts: list[tuple[tuple[int, int], tuple[int, int]]], dip: float
) -> None:
    pilot, control = (cells(*(pair[arm] for pair in counts)) for arm in (0, 1))

    e = eprocess.e_two_arms(eprocess.strata(pilot, control), dip=dip)

    assert 0 <= e < math.inf


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


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (600, "10 min"), (5400, "1.5 h"), (172800, "2 d")])
def test_a_span_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert eprocess.span_text(seconds) == text
