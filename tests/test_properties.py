"""Promises of evidence and rule together, from counts to verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller import evidence
from controller.decide import current_stage, decide
from controller.model import Bucket, KpiStatus, Recorded, Series, Verdict, Window
from tests.facts import NOW, POLICY, facts, kpi, live
from tests.facts import evidence as all_passed

STAGE = NOW - timedelta(days=8)
PERCENTS = st.sampled_from([10, 20, 50])
# (units, bad, beyond the warning) of one bucket, more or less healthy
COUNTS = st.integers(0, 60).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n // 3), st.integers(0, n)).map(
        lambda c: (c[0], c[1], min(c[1], c[2]))
    )
)
HISTORIES = st.fixed_dictionaries({name: st.lists(COUNTS, min_size=1, max_size=12) for name in POLICY.kpis})


def verdict(percent: int, counts: dict[str, list[tuple[int, int, int]]]) -> Verdict:
    """Decide on *counts* of five minutes each, the last of which have just ended."""
    end = int(NOW.timestamp()) // 300 * 300 - 300
    series = {
        name: Series(
            tuple(
                Bucket(end - 300 * (len(cells) - 1 - i), n, bad, worse if POLICY.kpis[name].quantile else bad)
                for i, (n, bad, worse) in enumerate(cells)
                if n
            ),
            last=NOW,
        )
        for name, cells in counts.items()
    }
    window = Window(STAGE, STAGE, NOW)
    stage = current_stage(POLICY, percent)
    found = evidence.assess(POLICY, percent=percent, stage=stage, recorded=Recorded(series), window=window)
    return decide(facts(percent, live=live(percent, since=STAGE), evidence=found, window=window)).verdict


@given(PERCENTS, HISTORIES, st.sampled_from(sorted(POLICY.kpis)), st.integers(0, 11), st.integers(1, 30))
def test_adding_bad_events_never_turns_a_hold_or_a_revert_into_an_advance(
    percent: int, counts: dict[str, list[tuple[int, int, int]]], name: str, at: int, more: int
) -> None:
    """Whichever KPI and whenever; also where the bad ones are what was missing for the least number of units."""
    n, bad, worse = counts[name][at % len(counts[name])]
    cells = list(counts[name])
    cells[at % len(cells)] = (n + more, bad + more, worse + more)

    if verdict(percent, counts | {name: cells}) is Verdict.ADVANCE:
        assert verdict(percent, counts) is Verdict.ADVANCE


def test_the_property_is_about_something() -> None:
    """Counts of the kind that it draws do advance, and ten bad ones do not complete nine good ones."""
    healthy = {name: [(60, 1, 0)] * 12 for name in POLICY.kpis}
    nine = healthy | {"mic_grant": [(9, 0, 0)]}

    assert verdict(20, healthy) is Verdict.ADVANCE
    assert verdict(10, nine) is Verdict.HOLD
    assert verdict(10, nine | {"mic_grant": [(10, 1, 1)]}) is Verdict.HOLD
    assert verdict(10, nine | {"mic_grant": [(11, 1, 1)]}) is Verdict.ADVANCE


@given(PERCENTS, st.sampled_from(sorted(POLICY.kpis)), st.sampled_from(list(KpiStatus)))
def test_one_required_kpi_that_has_not_passed_is_enough_to_stay(percent: int, name: str, status: KpiStatus) -> None:
    """All others being proven, quiet and baked."""
    given_ = facts(percent)
    changed = replace(given_, evidence=replace(all_passed(), kpis=all_passed().kpis | {name: kpi(status)}))

    assert (decide(changed).verdict is Verdict.ADVANCE) == (status is KpiStatus.PASSED)


@given(PERCENTS)
def test_no_events_never_advance(percent: int) -> None:
    """Nor does a source that answers with nothing."""
    assert verdict(percent, {}) is Verdict.HOLD
    assert verdict(percent, {name: [] for name in POLICY.kpis}) is Verdict.HOLD
