"""That the bench of decisions measures the controller, models the peers as they publish, and shows what it measured."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad  # type: ignore[import-untyped]
from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]

from bench.__main__ import RESULTS, in_lines
from bench.decisions import limits, measure, ours, peers, report
from bench.decisions.peers import METHODS
from bench.decisions.streams import ALPHA, SCENARIOS, TARGET, WARNING, Scenario, Streams, draw, first
from controller.model import KpiStatus

RATES = (0.10, 0.19, 0.22, 0.30, 1.0)
SMALL = measure.Size(runs=2, slow_runs=1, samples=2, calibration=2)


def random() -> np.random.Generator:
    return np.random.default_rng(7)


def streams(*bad: int, n: int = 20, control: int = 3) -> Streams:
    """One run: *bad* of *n* units in each cell."""
    row = np.array([bad])
    return Streams(np.full_like(row, n), row, np.full_like(row, control))


# ---------------------------------------------------------------- ours


@pytest.mark.parametrize("kpis", [ours.ONE, limits.SIX])
def test_the_evidence_is_what_the_controller_finds_at_every_peek(kpis: tuple[str, ...]) -> None:
    pilot, cells = ours.Pilot(kpis), 80 // len(kpis)
    n = random().poisson(4, (len(RATES), len(kpis), cells))
    bad = random().binomial(n, np.array(RATES)[:, None, None])

    for units, bads in zip(n, bad, strict=True):
        found = [pilot.assess(units[:, : at + 1], bads[:, : at + 1]).e_revert for at in range(cells)]
        assert list(pilot.e_values(units, bads)) == pytest.approx(found, rel=1e-12)


def test_reverts_and_advances_are_the_first_that_the_controller_finds() -> None:
    pilot, cells = ours.Pilot(), 60
    seen = set()
    for rate in RATES:
        drawn = draw(Scenario("", rate), 50, 1, random(), cells)
        n, bad = drawn.n[:, None], drawn.bad[:, None]
        for run, (reverted, advanced) in enumerate(zip(pilot.reverts(n, bad), pilot.advances(n, bad), strict=True)):
            found = [pilot.assess(n[run, :, : at + 1], bad[run, :, : at + 1]) for at in range(cells)]
            reverts = [at for at, one in enumerate(found) if one.e_revert >= 1 / ALPHA]
            passes = [at for at, one in enumerate(found) if one.kpis["kpi"].status is KpiStatus.PASSED]
            assert [reverted, advanced] == [next(iter(hits), cells) for hits in (reverts, passes)]
            seen |= {("reverted", reverted < cells), ("advanced", advanced < cells)}
    assert len(seen) == 4  # each happened, and did not


def test_a_change_of_measure_finds_the_probability_that_counting_finds() -> None:
    cells, runs, level = 20, 600, 1.0
    pilot = ours.Pilot()
    pilot.level = level
    drawn = draw(SCENARIOS["target"], 50, runs, random(), cells)
    counted, error = limits.mean(pilot.reverts(drawn.n[:, None], drawn.bad[:, None]) < cells)
    weighted, its_error = limits.mean(limits._weights(pilot, 50, runs, random(), cells))

    assert 0.02 < counted < 0.5
    assert abs(weighted - counted) < 3.5 * math.hypot(error, its_error)


# ---------------------------------------------------------------- peers


@pytest.mark.parametrize(
    ("name", "bad", "reverted", "advanced"),
    [
        ("argo-0", (4, 4, 5, 4, 4, 4, 4, 4, 4), 2, 7),
        ("argo-3", (5, 5, 4, 5, 4, 5, 4, 4, 4), 5, 7),
        ("argo-3", (5, 5, 4, 5, 4, 4, 4, 4, 4), 9, 7),
        ("argo-4-in-a-row", (4, 4, 4, 5, 4, 4, 4, 4, 4), 9, 7),
        ("flagger-1", (4,) * 26, 26, 24),
        ("flagger-10", (5,) * 9 + (4,) * 25 + (5,), 34, 33),
        ("sprt", (0,) * 9, 9, 2),
    ],
)
def test_a_peer_reverts_and_advances_when_it_says(
    name: str, bad: tuple[int, ...], reverted: int, advanced: int
) -> None:
    method, seen = METHODS[name], streams(*bad)

    assert first(method.statistic(seen) >= method.level) == reverted
    assert method.advance(seen) == advanced


def test_an_interval_without_units_is_no_measurement() -> None:
    empty = Streams(np.array([[20, 0, 20]]), np.array([[4, 0, 5]]), np.array([[3, 0, 3]]))

    assert peers.failures(empty).tolist() == [[0, 0, 1]]
    assert peers.good(empty).tolist() == [[True, False, False]]


def test_kayenta_compares_by_mann_whitney_with_ties_and_continuity() -> None:
    x, y = random().integers(0, 9, 40) / 10, random().integers(0, 7, 40) / 10
    p = mannwhitneyu(x, y, alternative="greater", method="asymptotic").pvalue

    z = peers.mann_whitney(x, y, tolerance=0)

    assert 0.5 * math.erfc(z / math.sqrt(2)) == pytest.approx(p)
    assert peers.mann_whitney(x, y) < z


def test_growthbook_excludes_zero_where_its_interval_does() -> None:
    seen = streams(6, 6, 7, 5)
    alpha = math.exp(-peers.sequential(seen)[0, -1])
    n, p, q = 160, 24 / 80, 12 / 80
    log = -2 * math.log(2 * 0.05)
    rho2 = (log + math.log(log + 1)) / 5000
    s2 = n * (p * (1 - p) + q * (1 - q)) / 80
    half = math.sqrt(s2 * 2 * (n * rho2 + 1) / (n * n * rho2) * math.log(1 + math.sqrt(n * rho2 + 1) / (2 * alpha)))

    assert half == pytest.approx(p - q)
    assert peers.sequential(streams(20, 20))[0, -1] == -math.inf  # no variance, no result


@pytest.mark.parametrize(("bad", "better", "null"), [(40, False, TARGET), (90, False, TARGET), (5, True, WARNING)])
def test_the_mixture_is_uniform_over_one_side(bad: int, better: bool, null: float) -> None:
    def ratio(p: float) -> float:
        return math.exp(bad * math.log(p / null) + (150 - bad) * math.log((1 - p) / (1 - null)))

    low, high = (0, null) if better else (null, 1)
    uniform = quad(ratio, low, high, points=[bad / 150])[0] / (high - low)

    assert peers.mixture(streams(bad, n=150), null, better=better)[0, 0] == pytest.approx(math.log(uniform))


# ---------------------------------------------------------------- limits and figures


def test_walds_limit_is_nearly_reached_by_the_test_that_knows_the_rate() -> None:
    assert limits.wald(0.25, 0.15) == pytest.approx(136.11, abs=0.01)
    found = limits.to_revert(limits.DESIGN[0], 0.6, 30, random())
    assert 0.8 < found["oracle"] < 1.6  # type: ignore[operator]
    assert 1.0 < found["ratio"] < 2.5  # type: ignore[operator]


def test_units_count_from_the_change() -> None:
    seen = Streams(np.full((3, 4), 10), np.zeros((3, 4), dtype=int), np.zeros((3, 4), dtype=int))
    found = measure.row(seen, Scenario("", 0.25, since=2), np.array([1, 2, 4]), np.array([0, 3, 3]))

    assert found["reverted"] == pytest.approx(2 / 3)
    assert found["before"] == pytest.approx(1 / 3)
    assert found["mean"] == found["median"] == 10
    assert found["excess"] == pytest.approx(0.10 * (10 + 20) / 2)  # the third ran to the end
    assert found["reverted_first"] == pytest.approx(1 / 3)
    assert found["advanced"] == pytest.approx(2 / 3)


def test_every_method_is_measured_the_same_way_each_time() -> None:
    levels = dict.fromkeys(METHODS, 5.0)
    found = measure.table(SMALL, "50/h", "bad", levels)

    assert set(found) == {"pilot", *METHODS}
    assert found["pilot"]["reverted"] == 1
    assert found == measure.table(SMALL, "50/h", "bad", levels)


def test_the_readme_and_the_page_show_what_was_measured() -> None:
    figures = json.loads(RESULTS.read_text())["measured"][report.RESULT]

    for path, new in ((report.README, report.short(figures)), (report.PAGE, report.full(figures))):
        text = path.read_text()
        assert text == report.spliced(text, new), (
            f"{path.name} is not what results.json says: python -m bench decisions"
        )


def test_results_are_json_with_a_line_for_each_row() -> None:
    found = {"a": {"b": {"c": {"d": {"x": 1, "y": 2}}}}, "e": [1]}

    text = in_lines(found)

    assert json.loads(text) == found
    assert '"d": {"x": 1, "y": 2}\n' in text
