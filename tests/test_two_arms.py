"""The pilot against the control: closest points, means by enumeration, and what must not matter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

from controller import eprocess, two_arms
from controller.eprocess import Cell
from controller.two_arms import Line, Stratum
from tests.test_eprocess import COUNTS, binomial, cells, kl

LINES = [
    pytest.param(two_arms.dip(0.1), id="a-tenth-fewer-good"),
    pytest.param(two_arms.rise(0.5), id="half-as-many-more-bad"),
    pytest.param(two_arms.points(0.05), id="five-points"),
    pytest.param(Line(0.0, 1.0), id="equal"),
]


@given(
    st.integers(1, 500), st.floats(0.01, 0.99), st.integers(1, 500), st.floats(0.02, 0.9),
    st.sampled_from([line.values[0] for line in LINES]),
)  # fmt: skip
def test_the_projection_is_the_closest_point_of_the_line(
    n: int, share: float, control_n: int, control_q: float, line: Line
) -> None:
    on_line = min(line.shift + line.slope * control_q, 0.98)
    q, most = on_line + share * (0.99 - on_line), min(1, (1 - line.shift) / line.slope)

    def distance(b: float) -> float:
        return n * kl(q, line.shift + line.slope * b) + control_n * kl(control_q, b)

    if q <= line.shift + line.slope * control_q:
        return
    pilot, control = two_arms.projection(n, q, control_n, control_q, line=line)
    best = minimize_scalar(distance, bounds=(1e-9, most - 1e-9), method="bounded")

    assert pilot == pytest.approx(line.shift + line.slope * control)
    assert 0 < control < most
    assert distance(control) <= best.fun + 1e-6


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.02, 0.9), st.floats(1.01, 9))
def test_of_equal_rates_the_closest_point_is_the_pooled_rate(n: int, m: int, q: float, factor: float) -> None:
    """So neither arm is special: exchanged, they have the same one."""
    worse = eprocess.odds_times(q, factor)

    found = two_arms.projection(n, worse, m, q, line=Line(0.0, 1.0))

    assert found == pytest.approx(((n * worse + m * q) / (n + m),) * 2, rel=1e-6)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("control_q", [0.02, 0.1, 0.5, 0.99])
@pytest.mark.parametrize(("n", "control_n"), [(3, 4), (5, 1), (1, 6)])
def test_the_mean_of_a_two_arm_factor_is_at_most_one_on_the_null(
    line: Line, n: int, control_n: int, control_q: float
) -> None:
    """Summed over every outcome, on the line and below it, whatever was learnt of the control."""
    outcomes = list(itertools.product(range(n + 1), range(control_n + 1)))
    logs = [two_arms.factors(Stratum(1, n, bad, control_n, c), control_q, line=line) for bad, c in outcomes]
    most = 0.0
    for control in np.linspace(0.005, 0.995, 45):
        edge = line.shift + line.slope * control
        for pilot in {min(edge, 1.0), 0.8 * min(edge, 1.0)}:
            chances = [binomial(n, bad, pilot) * binomial(control_n, c, control) for bad, c in outcomes]
            most = max(most, (np.array(chances) @ np.exp(logs)).max())

    assert 0.9 < most <= 1 + 1e-9


def test_the_mean_of_two_arms_over_time_is_at_most_the_mass() -> None:
    total, pilot, control = 0.0, 0.1 + 0.9 * 0.2, 0.2
    for a, b, c, d in itertools.product(range(4), range(3), range(3), range(4)):
        found = [Stratum(1, 3, a, 2, b), Stratum(900, 2, c, 3, d)]
        if c > 2:
            continue
        chance = binomial(3, a, pilot) * binomial(2, c, pilot)
        chance *= binomial(2, b, control) * binomial(3, d, control)
        total += chance * two_arms.e_two_arms(found, line=two_arms.dip(0.1))

    assert 0.5 < total <= eprocess.spent(900) + 1e-9


def test_the_second_stratum_learns_from_the_first_ones_control_only() -> None:
    first, second = Stratum(1, 6, 5, 30, 3), Stratum(2, 8, 4, 20, 2)
    one = two_arms.factors(first, 1 / 10, line=two_arms.dip(0.1))
    two = two_arms.factors(second, 4 / 40, line=two_arms.dip(0.1))
    early, late = eprocess.spent(1), eprocess.spent(2) - eprocess.spent(1)
    means = [(early * math.exp(x + y) + late * math.exp(y)) / len(one) for x, y in zip(one, two, strict=True)]

    assert two_arms.e_two_arms([first, second], line=two_arms.dip(0.1)) == pytest.approx(sum(means))


@pytest.mark.parametrize(
    ("line", "beyond"),
    [
        pytest.param(two_arms.points(0.1), False, id="ten-points"),
        pytest.param(two_arms.dip(0.1), True, id="a-tenth-of-the-good"),
        pytest.param(two_arms.rise(0.2), False, id="a-fifth-of-the-bad"),
        pytest.param(two_arms.rise(0.1), True, id="a-tenth-of-the-bad"),
    ],
)
def test_half_against_three_fifths_is_ten_points_and_more_than_a_tenth(line: Line, beyond: bool) -> None:
    found = [Stratum(at, 20, 12, 20, 10) for at in range(1, 401)]

    assert (two_arms.e_two_arms(found, line=line) >= 100) is beyond


@pytest.mark.parametrize(
    ("build", "share", "most"),
    [(two_arms.dip, 0.1, 0.28), (two_arms.rise, 0.5, 0.3), (two_arms.points, 0.05, 0.25)],
)
def test_a_line_says_what_the_pilot_may_have_where_the_control_has_a_fifth(
    build: Callable[[float], Line], share: float, most: float
) -> None:
    line = build(share)

    assert line.shift + line.slope * 0.2 == pytest.approx(most)


def test_a_stratum_ends_as_soon_as_each_arm_has_the_least() -> None:
    cell = [Cell(1, 5, 1)]

    assert two_arms.strata(cell, cell) == [Stratum(1, 5, 1, 5, 1)]


def test_a_stratum_waits_until_both_arms_have_units() -> None:
    pilot = [Cell(1, 3, 1), Cell(2, 1, 0), Cell(5, 1, 1), Cell(6, 7, 0)]
    control = [Cell(1, 40, 4), Cell(3, 20, 2), Cell(6, 4, 1)]

    assert two_arms.strata(pilot, control) == [Stratum(5, 5, 2, 60, 6)]


def test_a_dip_is_seen_whatever_the_time_of_day_does_to_both_arms() -> None:
    rng = np.random.default_rng(2)

    def run(dip: float) -> float:
        found = []
        for at in range(1, 400):
            control = 0.15 + 0.1 * math.sin(at / 40)
            pilot = 1 - (1 - dip) * (1 - control)
            arms = int(rng.binomial(10, pilot)), int(rng.binomial(30, control))
            found.append(Stratum(at, 10, arms[0], 30, arms[1]))
        return two_arms.e_two_arms(found, line=two_arms.dip(0.1))

    assert run(0.0) < 1
    assert run(0.1) < 100
    assert run(0.25) >= 100


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=8), st.floats(0.01, 0.9))
def test_two_arms_are_finite_whatever_the_counts(
    counts: list[tuple[tuple[int, int], tuple[int, int]]], dip: float
) -> None:
    pilot, control = (cells(*(pair[arm] for pair in counts)) for arm in (0, 1))

    e = two_arms.e_two_arms(two_arms.strata(pilot, control), line=two_arms.dip(dip))

    assert 0 <= e < math.inf
