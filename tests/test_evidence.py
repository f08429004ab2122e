"""Every status at its bounds, and what missing or worse data may never do."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import eprocess, evidence
from controller.model import (
    Bucket,
    Evidence,
    KpiEvidence,
    KpiStatus,
    Query,
    Recorded,
    Series,
    Window,
)
from controller.policy import Policy, Stage, load

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
STAGE = NOW - timedelta(hours=24)
START = NOW - timedelta(hours=48)
END = int(NOW.timestamp())
PROOF, LOOK = Stage(percent=20), Stage(percent=20, proof="estimate")
FRESH = NOW - timedelta(minutes=1)

HEAD = """
stages: [{percent: 0}, {percent: 20, bake: 1h}, {percent: 100}]
risk: {false_revert: 1%, false_advance: 5%}
source: {kind: files, paths: [events.jsonl], lag: 2m}
kpis:
"""
MIC = """
  mic:
    title: Mic grant
    rate: {event: mic_prompt, good: {outcome: granted}}
    target: ">= 85%"
    warning: "< 80%"
    min_units: 50
"""
TTV = """
  ttv:
    title: Time to value
    quantile: {event: ttv, field: seconds, p: 90}
    target: "<= 5 s"
    warning: "> 8 s"
"""
ERRORS = """
  errors:
    title: Errors
    rate: {event: api_call, bad: {status: 5xx}, unit: event}
    target: "<= 2%"
"""
ACTIVATION = """
  activation:
    title: Activation
    rate: {event: activation, within: 30m}
    target: ">= 40%"
    warning: "< 35%"
"""


@cache
def policy(*kpis: str) -> Policy:
    return load((HEAD + "".join(kpis)).encode())


def window(start: datetime = START, stage: datetime = STAGE, now: datetime = NOW) -> Window:
    return Window(start, stage, now)


def spread(n: int, bad: int, worse: int | None = None, *, buckets: int = 20) -> tuple[Bucket, ...]:
    """*n* units evenly over the last *buckets* closed buckets, the bad ones among them evenly."""
    share = [
        [total * (i + 1) // buckets - total * i // buckets for i in range(buckets)]
        for total in (n, bad, bad if worse is None else worse)
    ]
    ends = [END - 300 * (buckets - i) for i in range(buckets)]
    found = (Bucket(end, *counts) for end, *counts in zip(ends, *share, strict=True))
    return tuple(bucket for bucket in found if bucket.n)


def judge(
    policy: Policy,
    series: dict[str, Series],
    *,
    stage: Stage = PROOF,
    percent: int = 20,
    gaps: Sequence[tuple[datetime, datetime]] = (),
    within: Window | None = None,
) -> Evidence:
    recorded = Recorded(series, gaps=tuple(gaps))
    return evidence.assess(policy, percent=percent, stage=stage, recorded=recorded, window=within or window())


def mic(n: int, bad: int, *, stage: Stage = PROOF, last: datetime = FRESH, buckets: int = 20) -> KpiEvidence:
    series = {"mic": Series(spread(n, bad, buckets=buckets), last=last)}
    return judge(policy(MIC), series, stage=stage).kpis["mic"]


# ---------------------------------------------------------------- queries


def test_every_kpi_is_asked_for_by_name_and_users_by_exposure() -> None:
    asked = evidence.queries(policy(MIC, TTV))

    assert [query.name for query in asked] == ["mic", "ttv", "exposure"]
    assert asked[2] == Query("exposure", "exposure", good={}, unit="user", resolution=300)


def test_the_shipped_policy_can_be_judged_without_any_data() -> None:
    shipped = load((Path(__file__).parents[1] / "rollout.yaml").read_bytes())

    found = judge(shipped, {})

    assert {kpi.status for kpi in found.kpis.values()} == {KpiStatus.MISSING}
    assert found.e_revert == 0
    assert found.proportion is None


# ---------------------------------------------------------------- status


@pytest.mark.parametrize(
    ("n", "bad", "stage", "status", "reason"),
    [
        pytest.param(0, 0, LOOK, KpiStatus.MISSING, "no users since the stage began", id="none"),
        pytest.param(49, 0, LOOK, KpiStatus.SMALL, "49 users < 50", id="below-min"),
        pytest.param(
            50, 0, LOOK, KpiStatus.PASSED,
            "100 % of 50 users (target >= 85 %, warning < 80 %), 50 good ones >= 50", id="at-min",
        ),
        pytest.param(
            100, 15, LOOK, KpiStatus.PASSED,
            "85 % of 100 users (target >= 85 %, warning < 80 %), 85 good ones >= 50", id="at-target",
        ),
        pytest.param(
            100, 16, LOOK, KpiStatus.OPEN,
            "84 % of 100 users (target >= 85 %, warning < 80 %), not at the target",
            id="off-target",
        ),
        pytest.param(
            100, 20, LOOK, KpiStatus.OPEN,
            "80 % of 100 users (target >= 85 %, warning < 80 %), not at the target",
            id="at-warning",
        ),
        pytest.param(
            100, 21, LOOK, KpiStatus.HOLD,
            "79 % of 100 users (target >= 85 %, warning < 80 %), beyond the warning",
            id="beyond-warning",
        ),
        pytest.param(
            100, 12, PROOF, KpiStatus.OPEN,
            "88 % of 100 users (target >= 85 %, warning < 80 %), e-value 4.2 < 20, "
            "about 87 more users", id="not-proven",
        ),
        pytest.param(
            300, 30, PROOF, KpiStatus.PASSED,
            "90 % of 300 users (target >= 85 %, warning < 80 %), e-value 8823 >= 20", id="proven",
        ),
        pytest.param(
            100, 27, PROOF, KpiStatus.HOLD,
            "73 % of 100 users (target >= 85 %, warning < 80 %), e-CUSUM 30 >= 10 against it",
            id="hold-level",
        ),
        pytest.param(
            100, 60, PROOF, KpiStatus.BREACH,
            "40 % of 100 users (target >= 85 %, warning < 80 %), "
            "e-value 3e+20 x weight 1 = 3e+20 >= 100 against it", id="breach",
        ),
    ],
)  # fmt: skip
def test_status(n: int, bad: int, stage: Stage, status: KpiStatus, reason: str) -> None:
    found = mic(n, bad, stage=stage)

    assert (found.status, found.reason) == (status, f"mic: {reason}")


def test_a_passed_kpi_reports_its_counts_in_its_own_unit() -> None:
    found = mic(300, 30)

    assert (found.n, found.bad, found.estimate) == (300, 30, 0.9)
    assert (found.target, found.warning, found.needed, found.complete) == (0.85, 0.8, 0, True)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.9 < found.high < 0.95
    assert (1 - found.high, 1 - found.low) == pytest.approx(eprocess.interval(300, 30))


def test_what_is_needed_is_at_least_the_units_that_the_stage_asks_for() -> None:
    assert mic(10, 0).needed == 40
    assert mic(10, 0, stage=LOOK).needed == 40
    assert mic(60, 30).needed is None


@pytest.mark.parametrize(
    ("silent_s", "status"),
    [
        pytest.param(120 + 7 * 86280 / 100, KpiStatus.PASSED, id="seven-expected"),
        pytest.param(120 + 7 * 86280 / 100 + 1, KpiStatus.STALE, id="more-than-seven-expected"),
    ],
)
def test_silence_too_long_for_chance_is_stale(silent_s: float, status: KpiStatus) -> None:
    found = mic(100, 5, stage=LOOK, last=NOW - timedelta(seconds=silent_s))

    assert found.status == status
    assert found.freshness_s == pytest.approx(silent_s)
    assert ("silent for 1.7 h, 7 users were expected" in found.reason) == (status is KpiStatus.STALE)


def test_silence_of_a_rare_kpi_is_stale_by_the_policy() -> None:
    rare = policy(MIC.replace("min_units: 50", "min_units: 2, stale: 3h".replace(", ", "\n    ")))
    series = {"mic": Series((Bucket(END - 3 * 3600 - 300, 3, 0, 0),))}

    found = judge(rare, series, stage=LOOK).kpis["mic"]

    assert (found.status, found.reason) == (KpiStatus.STALE, "mic: silent for 3.1 h > 3 h")


def test_a_pilot_gone_silent_is_stale_while_the_control_goes_on() -> None:
    old = tuple(bucket._replace(end=bucket.end - 4 * 3600) for bucket in spread(300, 10))

    found = judge(policy(MIC), {"mic": Series(old, spread(900, 90), last=FRESH)}).kpis["mic"]

    assert found.status is KpiStatus.STALE


def test_means_may_be_silent_until_the_time_they_are_of_has_ended() -> None:
    daily = MIC.replace("granted}}", "granted}, every: 12h, mean: true}")
    series = {"mic": Series((Bucket(END - 13 * 3600, 100, 5, 5),), last=FRESH)}

    assert judge(policy(daily), series, stage=LOOK).kpis["mic"].freshness_s == 3600
    assert judge(policy(MIC), series, stage=LOOK).kpis["mic"].freshness_s == 13 * 3600


def test_a_delayed_kpi_may_be_silent_for_as_long_as_its_events_may_take() -> None:
    series = Series(spread(288, 100, buckets=200))
    ages = {minutes: NOW - timedelta(minutes=minutes) for minutes in (80, 90)}

    status = {
        age: judge(policy(ACTIVATION), {"activation": replace(series, last=last)}).kpis["activation"].status
        for age, last in ages.items()
    }

    # 188 activations a day: seven are expected in 53.6 minutes, after the lag and 30 minutes.
    assert status == {80: KpiStatus.PASSED, 90: KpiStatus.STALE}


@pytest.mark.parametrize(
    ("begin", "end", "status"),
    [
        pytest.param(-30, -24, KpiStatus.PASSED, id="before-the-stage"),
        pytest.param(-30, -23, KpiStatus.INCOMPLETE, id="into-the-stage"),
        pytest.param(-1, 1, KpiStatus.INCOMPLETE, id="until-now"),
    ],
)
def test_a_gap_in_the_stage_is_incomplete(begin: int, end: int, status: KpiStatus) -> None:
    gap = (NOW + timedelta(hours=begin), NOW + timedelta(hours=end))

    found = judge(policy(MIC), {"mic": Series(spread(300, 10), last=FRESH)}, gaps=[gap])

    assert found.kpis["mic"].status == status
    assert found.kpis["mic"].complete is (status is KpiStatus.PASSED)


def test_neither_silence_nor_a_gap_takes_a_breach_back() -> None:
    series = {"mic": Series(spread(100, 60), last=NOW - timedelta(hours=20))}

    found = judge(policy(MIC), series, gaps=[(STAGE, NOW)])

    assert found.kpis["mic"].status is KpiStatus.BREACH
    assert found.e_revert >= 100


# ---------------------------------------------------------------- what counts


def test_only_closed_buckets_count() -> None:
    inside = Bucket(END - 300, 60, 0, 0)
    for end, n in ((END - 120, 160), (END - 119, 60), (END + 300, 60)):
        series = Series((inside, Bucket(end, 100, 90, 90)))

        assert judge(policy(MIC), {"mic": series}).kpis["mic"].n == n


def test_estimates_count_from_the_stage_and_reverts_from_the_window() -> None:
    before = Bucket(int(STAGE.timestamp()), 200, 150, 150)
    series = {"mic": Series((before, *spread(100, 5)), last=FRESH)}

    found = judge(policy(MIC), series).kpis["mic"]
    outside = judge(policy(MIC), series, within=window(start=STAGE)).kpis["mic"]

    assert (found.n, found.bad) == (outside.n, outside.bad) == (100, 5)
    assert found.e_advance == outside.e_advance
    assert found.e_revert >= 100 > outside.e_revert


def test_a_kpi_between_target_and_warning_holds_and_is_not_reverted() -> None:
    found = judge(policy(MIC), {"mic": Series(spread(3000, 570, buckets=280), last=FRESH)})
    worse = judge(policy(MIC), {"mic": Series(spread(3000, 720, buckets=280), last=FRESH)})

    assert found.kpis["mic"].status is KpiStatus.HOLD
    assert found.kpis["mic"].e_hold > 1000
    assert found.e_revert < 0.01
    assert worse.kpis["mic"].status is KpiStatus.BREACH


def test_a_late_drop_holds_before_it_is_averaged_away() -> None:
    healthy, drop = spread(2800, 100, buckets=280)[:-4], [(10, 4)] * 4
    late = [Bucket(END - 300 * (4 - i), n, bad, bad) for i, (n, bad) in enumerate(drop)]

    found = judge(policy(MIC), {"mic": Series((*healthy, *late), last=FRESH)}).kpis["mic"]

    assert found.e_advance > 1e6
    assert found.status is KpiStatus.HOLD


def nights(days: int, *, n: int = 200) -> Series:
    """A KPI at its target over each day, 15 %, but at 25 % in the night's half and at 5 % in the day's."""
    first = END - 300 * 288 * days
    bad = [n // 20 + n // 5 * (i % 288 >= 144) for i in range(288 * days - 1)]
    buckets = [Bucket(first + 300 * (i + 1), n, b, b) for i, b in enumerate(bad)]
    return Series(tuple(buckets), last=FRESH)


@pytest.mark.parametrize(("bounds", "reverts"), [("always", True), ("daily", False)])
def test_every_night_beyond_its_bound_reverts_unless_the_bound_is_of_the_day(bounds: str, reverts: bool) -> None:
    mic = policy(MIC + f"    bounds: {bounds}\n")
    within = window(start=NOW - timedelta(days=4))

    found = judge(mic, {"mic": nights(4)}, within=within)

    assert (found.e_revert >= 100) is reverts


def test_a_bound_of_the_day_counts_whole_days_only() -> None:
    daily, within = (
        policy(MIC + "    bounds: daily\n"),
        window(start=NOW - timedelta(hours=36), stage=NOW - timedelta(hours=26)),
    )
    end = int((NOW - timedelta(hours=12)).timestamp())
    before, after = Bucket(end, 400, 40, 40), Bucket(end + 300, 500, 500, 500)
    proof = Bucket(int((NOW - timedelta(hours=2)).timestamp()), 100, 10, 10)
    today = Bucket(END - 3600, 50, 0, 0)

    found = judge(daily, {"mic": Series((before, after, proof, today), last=FRESH)}, within=within).kpis["mic"]

    against, hold, better = evidence.bets(daily.kpis["mic"])
    assert found.n == 1050
    assert found.e_revert == pytest.approx(eprocess.spent(288) * eprocess.e_now(against, 400, 40))
    assert found.e_hold == 1
    assert found.e_advance == eprocess.e_now(better, 1000, 550)
    assert hold[0].bad < against[0].bad


def test_means_of_users_count_as_parts_of_bad_units() -> None:
    half = Bucket(END - 300, 100, 7.5, 7.5)

    found = judge(policy(MIC), {"mic": Series((half,), last=FRESH)}, stage=LOOK).kpis["mic"]

    assert (found.bad, found.estimate) == (7.5, 0.925)
    assert found.reason == "mic: 92.5 % of 100 users (target >= 85 %, warning < 80 %), 92 good ones >= 50"
    assert found.e_advance == eprocess.e_now(evidence.bets(policy(MIC).kpis["mic"])[2], 100, 7.5)


def test_a_quantile_is_its_share_beyond_each_bound() -> None:
    slow = Series(spread(200, 20, 4), estimate=4.9, last=FRESH)

    found = judge(policy(TTV), {"ttv": slow}).kpis["ttv"]

    assert found.status is KpiStatus.PASSED
    assert found.reason.startswith("ttv: 4.9 s, 20 of 200 users above 5 s (target <= 5 s, warning > 8 s), e-value ")
    assert (found.low, found.high, found.estimate) == (None, None, 4.9)
    assert found.e_advance == eprocess.e_now(eprocess.ladder(0.1, better=True), 200, 4)


@pytest.mark.parametrize(
    ("bad", "worse", "status"),
    [
        pytest.param(20, 20, KpiStatus.PASSED, id="at-target"),
        pytest.param(21, 20, KpiStatus.OPEN, id="off-target"),
        pytest.param(21, 21, KpiStatus.HOLD, id="beyond-warning"),
        pytest.param(90, 4, KpiStatus.HOLD, id="far-from-target-within-warning"),
        pytest.param(90, 70, KpiStatus.BREACH, id="credibly-beyond-warning"),
    ],
)
def test_a_quantile_reverts_by_its_warning_only(bad: int, worse: int, status: KpiStatus) -> None:
    series = {"ttv": Series(spread(200, bad, worse), estimate=5.0, last=FRESH)}

    assert judge(policy(TTV), series, stage=LOOK).kpis["ttv"].status == status


@pytest.mark.parametrize("estimate", [None, math.nan, math.inf])
def test_a_quantile_without_a_number_is_shown_by_its_counts(estimate: float | None) -> None:
    series = {"ttv": Series(spread(200, 20, 4), estimate=estimate, last=FRESH)}

    found = judge(policy(TTV), series).kpis["ttv"]

    assert found.estimate is None
    assert "none, 20 of 200 users above 5 s" in found.reason


@pytest.mark.parametrize("target", [1, 2, 3, 5, 7, 10, 15, 29, 35, 58, 90])
def test_a_rate_exactly_at_its_target_is_at_it(target: int) -> None:
    low = policy(ERRORS.replace('"<= 2%"', f'"<= {target}%"'))
    high = policy(ERRORS.replace('"<= 2%"', f'">= {100 - target}%"').replace("bad:", "good:"))
    series = {"errors": Series(spread(1000, 10 * target), last=FRESH)}
    over = {"errors": Series(spread(1000, 10 * target + 1), last=FRESH)}

    for rate in (low, high):
        found = judge(rate, series, stage=LOOK).kpis["errors"]
        assert "not at the target" not in found.reason
        assert found.needed == 0
        assert judge(rate, over, stage=LOOK).kpis["errors"].needed is None


@pytest.mark.parametrize(
    ("kpi", "bounds"),
    [
        pytest.param(MIC, (0.15, 0.20), id="good-when-high"),
        pytest.param(ERRORS + '    warning: "> 5%"\n', (0.02, 0.05), id="bad-when-high"),
        pytest.param(ERRORS, (0.02, 0.026 / 1.006), id="without-warning"),
        pytest.param(TTV, (0.10, 0.10), id="quantile"),
        pytest.param(ACTIVATION, (0.60, 0.65), id="delayed"),
        pytest.param(MIC.replace("< 80%", "< 0%"), (0.15, 1 - 1e-6), id="warning-at-nothing"),
    ],
)
def test_rates_of_bad_units_at_the_bounds(kpi: str, bounds: tuple[float, float]) -> None:
    (only,) = policy(kpi).kpis.values()

    assert evidence.rate_bounds(only) == pytest.approx(bounds)


def test_e_values_are_those_of_the_method() -> None:
    found = judge(policy(ERRORS), {"errors": Series(spread(400, 4), last=FRESH)}).kpis["errors"]
    warning = eprocess.odds_times(0.02, 1.3)
    better = eprocess.ladder(warning, first=0.02, better=True)

    assert found.e_advance == pytest.approx(eprocess.e_now(better, 400, 4))

    bad = judge(policy(ERRORS), {"errors": Series((Bucket(END - 300, 90, 9, 9),))}).kpis["errors"]
    at = (END - 300) // 300 - int(START.timestamp()) // 300
    once = eprocess.e_now(eprocess.ladder(0.02, first=warning), 90, 9)
    assert bad.e_revert == pytest.approx(eprocess.spent(at) * once)
    assert bad.e_hold == pytest.approx(once, rel=0.1)


def test_a_warning_at_the_target_leaves_no_room_between() -> None:
    tight = policy(MIC.replace("< 80%", "< 85%"))

    series = {"mic": Series(spread(300, 90), last=FRESH)}
    assert judge(tight, series).kpis["mic"].status is KpiStatus.BREACH
    better = judge(tight, {"mic": Series(spread(300, 15), last=FRESH)}).kpis["mic"]
    assert better.status is KpiStatus.PASSED


# ---------------------------------------------------------------- all together


def test_kpis_are_combined_by_their_weights() -> None:
    weighted = policy(MIC, ERRORS + "    weight: 3\n")
    bad = {"mic": Series(spread(100, 50)), "errors": Series(spread(100, 1), last=FRESH)}

    found = judge(weighted, bad)

    assert found.e_revert == pytest.approx((found.kpis["mic"].e_revert + 3 * found.kpis["errors"].e_revert) / 4)
    assert "x weight 0.25 =" in found.kpis["mic"].reason


def test_one_kpi_breaches_by_its_own_share_only() -> None:
    series = {"mic": Series(spread(60, 27), last=FRESH)}
    alone = judge(policy(MIC), series).kpis["mic"]
    heavy = ERRORS + f"    weight: {alone.e_revert / 50:.0f}\n"

    assert alone.status is KpiStatus.BREACH
    assert judge(policy(MIC, heavy), series).kpis["mic"].status is KpiStatus.HOLD


@pytest.mark.parametrize(
    ("percent", "pilot", "control", "alarm"),
    [
        pytest.param(20, 200, 800, False, id="as-planned"),
        pytest.param(20, 300, 700, True, id="too-many"),
        pytest.param(20, 100, 900, True, id="too-few"),
        pytest.param(50, 0, 100, True, id="none-in-the-pilot"),
    ],
)
def test_users_per_arm_are_held_against_the_plan(percent: int, pilot: int, control: int, alarm: bool) -> None:
    series = {"exposure": Series(spread(pilot, 0), spread(control, 0))}

    found = judge(policy(MIC), series, percent=percent).proportion

    assert found is not None
    assert (found.pilot, found.control, found.planned) == (pilot, control, percent / 100)
    assert (found.e >= 100) is alarm


@given(st.integers(1, 99), st.integers(0, 10**4), st.integers(1, 10**4))
def test_neither_arm_is_special_to_the_sample_ratio(percent: int, pilot: int, control: int) -> None:
    one, other = (
        judge(policy(MIC), {"exposure": Series(spread(a, 0), spread(b, 0))}, percent=share).proportion
        for a, b, share in ((pilot, control, percent), (control, pilot, 100 - percent))
    )

    assert one is not None
    assert other is not None
    assert one.e == pytest.approx(other.e, rel=1e-6)


@pytest.mark.parametrize(("percent", "n"), [(0, 50), (100, 50), (20, 0)])
def test_there_is_no_proportion_without_two_arms(percent: int, n: int) -> None:
    series = {"exposure": Series(spread(n, 0), spread(n, 0))}

    assert judge(policy(MIC), series, percent=percent).proportion is None


def test_the_bucket_in_which_the_stage_began_has_no_share() -> None:
    stage = STAGE + timedelta(seconds=60)
    mixed = Bucket(int(STAGE.timestamp()) + 300, 500, 0, 0)
    whole = mixed._replace(end=mixed.end + 300, n=7)

    found = judge(policy(MIC), {"exposure": Series((mixed, whole))}, within=window(stage=stage)).proportion

    assert found is not None
    assert found.pilot == 7


# ---------------------------------------------------------------- promises

COUNTS = st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
HISTORY = st.lists(COUNTS, min_size=1, max_size=40)


def history(counts: Sequence[tuple[int, int]]) -> tuple[Bucket, ...]:
    ends = range(END - 300 * len(counts), END, 300)
    return tuple(Bucket(end, n, bad, bad) for end, (n, bad) in zip(ends, counts, strict=True))


@given(HISTORY, st.data(), st.sampled_from([MIC, TTV, ERRORS]))
def test_more_bad_units_are_never_better(counts: list[tuple[int, int]], data: st.DataObject, kpi: str) -> None:
    only = policy(kpi)
    (name,) = only.kpis
    where, more = data.draw(st.integers(0, len(counts) - 1)), data.draw(st.integers(1, 9))
    worse = [(n + more, b + more) if i == where else (n, b) for i, (n, b) in enumerate(counts)]

    before, after = (judge(only, {name: Series(history(c), last=FRESH)}).kpis[name] for c in (counts, worse))

    assert after.e_revert >= before.e_revert * (1 - 1e-12)
    assert after.e_advance <= before.e_advance * (1 + 1e-12)


@given(HISTORY, st.sampled_from([PROOF, LOOK]), st.sampled_from(["old", "gap", "before"]))
def test_without_fresh_and_complete_data_nothing_passes(
    counts: list[tuple[int, int]], stage: Stage, missing: str
) -> None:
    shift = {"old": 7 * 3600, "before": 25 * 3600}.get(missing, 0)
    buckets = tuple(bucket._replace(end=bucket.end - shift) for bucket in history(counts))
    gaps = [(NOW - timedelta(hours=1), NOW)] if missing == "gap" else []

    found = judge(policy(MIC), {"mic": Series(buckets)}, stage=stage, gaps=gaps).kpis["mic"]

    assert found.status is not KpiStatus.PASSED


@given(HISTORY, st.integers(0, 10**6))
def test_empty_buckets_and_finer_ones_change_nothing(counts: list[tuple[int, int]], seed: int) -> None:
    plain, rng = [bucket for bucket in history(counts) if bucket.n], random.Random(seed)
    fine = []
    for bucket in plain:
        units = [i < bucket.bad for i in range(bucket.n)]
        rng.shuffle(units)
        cut = rng.randint(0, bucket.n)
        for end, part in ((bucket.end - 240, units[:cut]), (bucket.end, units[cut:])):
            bad = sum(part)
            fine.append(Bucket(end, len(part), bad, bad))

    found = [
        judge(policy(MIC), {"mic": Series(tuple(buckets), last=STAGE)}).kpis["mic"]
        for buckets in (plain, history(counts), fine)
    ]

    keys = ("status", "n", "bad", "e_revert", "e_advance", "e_hold", "reason")
    for key in keys:
        assert len({getattr(kpi, key) for kpi in found[:2]}) == 1
    for key in keys[1:-1]:
        assert getattr(found[2], key) == pytest.approx(getattr(found[0], key))


def test_healthy_releases_advance_and_are_not_reverted() -> None:
    rng, passed, reverted = random.Random(7), 0, 0
    for _ in range(40):
        counts = [(4, sum(rng.random() < 0.10 for _ in range(4))) for _ in range(280)]
        found = judge(policy(MIC), {"mic": Series(history(counts), last=FRESH)})
        passed += found.kpis["mic"].status is KpiStatus.PASSED
        reverted += found.e_revert >= 100

    assert passed >= 38
    assert reverted == 0


def test_releases_at_the_warning_hardly_ever_pass_at_any_look() -> None:
    rng, passed, runs = random.Random(8), 0, 80
    for _ in range(runs):
        counts = [(10, sum(rng.random() < 0.20 for _ in range(10))) for _ in range(120)]
        passed += any(
            judge(policy(MIC), {"mic": Series(history(counts[:look]), last=FRESH)}).kpis["mic"].status
            is KpiStatus.PASSED
            for look in range(10, 121, 10)
        )

    assert passed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
