"""Each kind of trigger at its bounds: what fires, what is quiet, what cannot be said."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import triggers
from controller.model import Bucket, Query, Recorded, Series, TriggerResult, TriggerStatus, Window
from controller.policy import Policy, load

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
STAGE, START = NOW - timedelta(hours=12), NOW - timedelta(hours=24)
END = int(NOW.timestamp())
MARK = END - 120  # the watermark: what ended by then is complete
FIRED, QUIET, UNKNOWN = TriggerStatus.FIRED, TriggerStatus.QUIET, TriggerStatus.UNKNOWN

HEAD = """
stages: [{percent: 0}, {percent: 10, bake: 1h}, {percent: 100}]
risk: {false_revert: 1%, false_advance: 5%}
source: {kind: files, paths: [events.jsonl], lag: 2m}
kpis:
  mic:
    title: Mic grant
    rate: {event: mic_prompt, good: {outcome: granted}}
    target: ">= 85%"
    min_units: 50
  ttv:
    title: Time to value
    quantile: {event: ttv, field: seconds, p: 90}
    target: "<= 5 s"
    warning: "> 8 s"
  errors:
    title: Errors
    rate: {event: api_call, bad: {status: 5xx}}
    target: "<= 2%"
flags: {mic: [primer, native]}
triggers:
"""
API = """
  it: {rate: {event: api_call, bad: {status: 5xx}, unit: event}, above: 2%, for: 10m, then: hold}
"""
FIRST = "  it: {rate: {event: run, bad: {outcome: failed}}, above: 5%, in_first: 10, then: rollback}"
LEGAL = "  it: {any: {event: legal_review, severity: critical}, then: rollback}"
CRASH = "  it: {any: {event: crash}, then: rollback}"
CRASHES = "  it: {count: {event: crash, severity: fatal}, above: 3, per: 1h, then: rollback}"
DIP = "  it: {kpi: mic, below_control: 10%, then: {set: flags.mic, to: native}}"
SLOW = "  it: {kpi: ttv, above: 6 s, for: 1h, then: {revert_to: 10}}"
LOW = "  it: {kpi: mic, below: 80%, for: 1h, then: hold}"
LEVEL = "  it: {kpi: mic, below: 80%, then: hold}"
LEVEL_TTV = "  it: {kpi: ttv, above: 8 s, then: hold}"
LEVEL_ERRORS = "  it: {kpi: errors, above: 2%, then: hold}"


@cache
def policy(trigger: str) -> Policy:
    return load((HEAD + trigger).encode())


def judge(
    trigger: str,
    series: Series | None,
    *,
    gaps: Iterable[tuple[datetime, datetime]] = (),
    last: datetime | None = NOW,
) -> TriggerResult:
    of = policy(trigger)
    asked = triggers.queries(of)
    key = asked[0].name if asked else of.triggers["it"].kpi  # type: ignore[union-attr]
    recorded = Recorded({key: series} if series else {}, gaps=tuple(gaps), last=last)
    return triggers.assess(of, recorded=recorded, window=Window(START, STAGE, NOW))["it"]


def minutes(
    count: int, calls: int, bad: Callable[[int], int], *, end: int = MARK, size: int = 60
) -> tuple[Bucket, ...]:
    """*count* buckets up to *end*; of the *calls* in the one i before it, `bad(i)` are bad."""
    buckets = []
    for i in reversed(range(count)):
        failed = bad(i)
        buckets.append(Bucket(end - size * i, calls, failed, failed))
    return tuple(buckets)


def minutes_of(counts: list[tuple[int, int]]) -> tuple[Bucket, ...]:
    """A bucket of each (units, bad), the last one up to the watermark."""
    ends = range(MARK - 60 * len(counts) + 60, MARK + 60, 60)
    return tuple(Bucket(end, n, bad, bad) for end, (n, bad) in zip(ends, counts, strict=True))


# ---------------------------------------------------------------- queries


def test_a_trigger_asks_for_what_no_kpi_counts() -> None:
    def only(trigger: str) -> Query:
        (query,) = triggers.queries(policy(trigger))
        return query

    assert (only(API).name, only(API).resolution, only(API).unit) == ("trigger:it", 60, "event")
    assert only(FIRST).first == 10
    assert (only(LEGAL).event, only(LEGAL).bad) == ("legal_review", {"severity": ("critical",)})
    assert (only(SLOW).above, only(SLOW).above_warning, only(SLOW).resolution) == (6, 6, 60)
    assert (only(LOW).good, only(LOW).resolution) == ({"outcome": ("granted",)}, 60)
    assert [triggers.queries(policy(own)) for own in (DIP, LEVEL, LEVEL_TTV)] == [(), (), ()]


def test_the_shipped_triggers_without_data_are_unknown() -> None:
    shipped = load((Path(__file__).parents[1] / "rollout.yaml").read_bytes())

    found = triggers.assess(shipped, recorded=Recorded({}), window=Window(START, STAGE, NOW))

    assert list(found) == list(shipped.triggers)
    assert {result.status for result in found.values()} == {UNKNOWN}


# ---------------------------------------------------------------- sustained


@pytest.mark.parametrize(
    ("calls", "bad", "status", "parts"),
    [
        pytest.param(100, lambda i: 20 * (i < 10), FIRED, "10 of 10 parts", id="all-ten-minutes"),
        pytest.param(100, lambda i: 20 * (i < 9), QUIET, "9 of 10 parts", id="nine-of-them"),
        pytest.param(100, lambda i: 20 * (i != 9), QUIET, "9 of 10 parts", id="better-ten-ago"),
        pytest.param(100, lambda i: 2, QUIET, "0 of 10 parts", id="exactly-at-the-level"),
        pytest.param(100, lambda i: 3, FIRED, "10 of 10 parts", id="just-above-for-an-hour"),
        pytest.param(99, lambda i: 20 * (i < 10), FIRED, "5 of 5 parts", id="below-1000-calls"),
        pytest.param(49, lambda i: 10 * (i < 10), FIRED, "2 of 2 parts", id="below-500-calls"),
        pytest.param(19, lambda i: 4 * (i < 10), FIRED, "1 of 1 parts", id="below-200-calls"),
        pytest.param(5, lambda i: i == 3, QUIET, "0 of 1 parts", id="one-in-fifty-is-the-level"),
        pytest.param(5, lambda i: i in (3, 4), QUIET, "1 of 1 parts", id="two-in-fifty-are-noise"),
    ],
)
def test_sustained(calls: int, bad: Callable[[int], int], status: TriggerStatus, parts: str) -> None:
    found = judge(API, Series(minutes(60, calls, bad)))

    assert (found.status, f"above 2 % in {parts}" in found.reason) == (status, True)


def test_sustained_says_its_arithmetic() -> None:
    found = judge(API, Series(minutes(60, 100, lambda i: 1)))

    assert found.reason == "10 of 1000 bad in the last 10 min, above 2 % in 0 of 10 parts, e-value 0 < 100"


def test_what_may_still_change_is_not_judged() -> None:
    late = (Bucket(MARK + 60, 5, 0, 0), Bucket(END, 5, 0, 0), Bucket(END + 60, 5, 0, 0))

    with_late = judge(API, Series((*minutes(60, 100, lambda i: 20 * (i < 10)), *late)))

    assert with_late.status is FIRED


@pytest.mark.parametrize("ago", range(8))
def test_a_blip_of_three_minutes_does_not_fire_wherever_it_is(ago: int) -> None:
    for seed in range(4):
        rng = random.Random(seed)

        def bad(i: int, rng: random.Random = rng) -> int:
            rate = 0.2 if ago <= i < ago + 3 else 0.01
            return sum(rng.random() < rate for _ in range(200))

        assert judge(API, Series(minutes(90, 200, bad))).status is QUIET


@pytest.mark.parametrize(("calls", "most"), [(5, 20), (20, 13), (100, 11)])
def test_an_outage_fires_soon_after_its_ten_minutes(calls: int, most: int) -> None:
    delays = []
    for seed in range(15):
        rng = random.Random(seed)
        healthy = [sum(rng.random() < 0.005 for _ in range(calls)) for _ in range(600)]
        outage = [sum(rng.random() < 0.2 for _ in range(calls)) for _ in range(40)]
        counts = [*healthy, *outage]

        def fires(after: int, counts: list[int] = counts) -> bool:
            seen = [(calls, failed) for failed in counts[: 600 + after]]
            return judge(API, Series(minutes_of(seen))).status is FIRED

        delays.append(next(after for after in range(1, 41) if fires(after)))

    assert sorted(delays)[7] <= most
    assert min(delays) >= (10 if calls == 100 else 4)


def test_a_healthy_rate_never_fires_at_any_look() -> None:
    rng = random.Random(4)
    counts = [sum(rng.random() < 0.01 for _ in range(30)) for _ in range(1200)]

    for look in range(20, 1200, 20):
        seen = [(30, failed) for failed in counts[:look]]
        assert judge(API, Series(minutes_of(seen))).status is QUIET


@pytest.mark.parametrize(("length", "parts"), [("1m", "1 of 1"), ("2m", "2 of 2"), ("7m", "5 of 5"), ("30s", "1 of 1")])
def test_parts_are_no_shorter_than_a_bucket(length: str, parts: str) -> None:
    found = judge(API.replace("10m", length), Series(minutes(60, 2000, lambda i: 400)))

    assert (found.status, f"in {parts} parts" in found.reason) == (FIRED, True)


@pytest.mark.parametrize(("level", "status"), [("0%", FIRED), ("100%", QUIET)])
def test_levels_at_the_ends(level: str, status: TriggerStatus) -> None:
    found = judge(API.replace("2%", level), Series(minutes(60, 100, lambda i: 100)))

    assert found.status is status


# ---------------------------------------------------------------- nothing to see is not quiet


@pytest.mark.parametrize(
    ("trigger", "series", "reason"),
    [
        pytest.param(API, None, "no data of the pilot", id="sustained-none"),
        pytest.param(
            API, Series(control=minutes(9, 9, lambda i: 0)), "no data of the pilot", id="control"
        ),
        pytest.param(
            API, Series(minutes(300, 5, lambda i: 0, end=MARK - 120)),
            "silent for 4 min, 10 units were expected", id="sustained-stale",
        ),
        pytest.param(
            API, Series(minutes(2, 1, lambda i: 0, end=MARK - 660, size=600)),
            "no units in the last 10 min", id="sustained-rare",
        ),
        pytest.param(FIRST, None, "no units yet", id="first-none"),
        pytest.param(LEGAL, None, "no legal_review yet", id="any-none"),
        pytest.param(DIP, None, "no control", id="dip-none"),
        pytest.param(DIP, Series(minutes(9, 9, lambda i: 0)), "no control", id="dip-no-control"),
        pytest.param(
            DIP, Series(control=minutes(9, 9, lambda i: 0)), "no data of the pilot",
            id="dip-no-pilot",
        ),
        pytest.param(
            LEVEL, Series(minutes(300, 5, lambda i: 0, end=MARK - 3600)),
            "silent for 1 h, 250 units were expected", id="level-stale",
        ),
        pytest.param(
            LEVEL, Series(minutes(60, 1, lambda i: 0, end=int(STAGE.timestamp()))),
            "no data since the stage began", id="level-before-the-stage",
        ),
        pytest.param(
            LEVEL_TTV, Series(minutes(60, 1, lambda i: 0)), "the source gives no estimate",
            id="level-number",
        ),
        pytest.param(
            LEVEL_TTV, Series(minutes(60, 1, lambda i: 0), estimate=float("nan")),
            "the source gives no estimate", id="level-nan",
        ),
    ],
)  # fmt: skip
def test_unknown(trigger: str, series: Series | None, reason: str) -> None:
    assert judge(trigger, series) == TriggerResult(UNKNOWN, reason)


def test_a_rare_kpi_is_stale_by_the_policy() -> None:
    found = judge(LEVEL_ERRORS, Series((Bucket(END - 7 * 3600, 3, 0, 0),)))

    assert found == TriggerResult(UNKNOWN, "silent for 7 h > 6 h")


@pytest.mark.parametrize(
    ("trigger", "series", "begin_min"),
    [
        pytest.param(API, Series(minutes(60, 100, lambda i: 0)), -12, id="sustained"),
        pytest.param(FIRST, Series(first=(False,) * 10), -1440, id="first"),
        pytest.param(LEGAL, Series((Bucket(END, 1, 0, 0),)), -1440, id="any"),
        pytest.param(DIP, Series(minutes(60, 9, lambda i: 0), minutes(60, 9, lambda i: 0)), -1440, id="dip"),
        pytest.param(LEVEL, Series(minutes(60, 9, lambda i: 0)), -720, id="level"),
    ],
)
def test_a_gap_in_what_is_looked_at_is_not_quiet(trigger: str, series: Series, begin_min: int) -> None:
    begin = NOW + timedelta(minutes=begin_min)
    before = judge(trigger, series, gaps=[(START - timedelta(days=2), begin)])
    inside = judge(trigger, series, gaps=[(begin, begin + timedelta(minutes=1))])

    assert before.status is QUIET
    assert inside.status is UNKNOWN
    assert inside.reason == f"events may be missing from {begin:%Y-%m-%d %H:%M} to " + (
        f"{begin + timedelta(minutes=1):%Y-%m-%d %H:%M} UTC; {before.reason}"
    )


def test_a_gap_takes_nothing_back() -> None:
    gaps = [(START, NOW)]

    assert judge(API, Series(minutes(60, 100, lambda i: 20)), gaps=gaps).status is FIRED
    assert judge(FIRST, Series(first=(True,)), gaps=gaps).status is FIRED
    assert judge(LEGAL, Series((Bucket(END, 1, 1, 1),)), gaps=gaps).status is FIRED
    assert judge(LEVEL, Series(minutes(60, 9, lambda i: 9)), gaps=gaps).status is FIRED


# ---------------------------------------------------------------- first N


@pytest.mark.parametrize(
    ("level", "first", "status", "reason"),
    [
        ("5%", (True,), FIRED, "1 of the first 1 bad > 5 % of 10"),
        ("5%", (False,) * 9 + (True,), FIRED, "1 of the first 10 bad > 5 % of 10"),
        ("5%", (False,) * 10 + (True,), QUIET, "0 of the first 10 bad <= 5 % of 10"),
        ("5%", (False,) * 3, QUIET, "0 of the first 3 bad <= 5 % of 10"),
        ("30%", (True,) * 3, QUIET, "3 of the first 3 bad <= 30 % of 10"),
        ("30%", (True,) * 4, FIRED, "4 of the first 4 bad > 30 % of 10"),
    ],
)
def test_the_first_ten_are_taken_literally(
    level: str, first: tuple[bool, ...], status: TriggerStatus, reason: str
) -> None:
    found = judge(FIRST.replace("5%", level), Series(first=first))

    assert found == TriggerResult(status, reason)


# ---------------------------------------------------------------- any


def test_one_event_in_either_arm_is_enough_and_is_named() -> None:
    clean, hit = Bucket(END - 600, 4, 0, 0), Bucket(END + 60, 3, 2, 2)

    pilot = judge(LEGAL, Series((clean, hit), examples=("e7", "e8", "e9", "e10")))
    control = judge(LEGAL, Series(control=(hit,)))

    assert pilot == TriggerResult(FIRED, "2 matching legal_review, first by 2026-03-02 12:01 UTC (e7, e8, e9)")
    assert control == TriggerResult(FIRED, "2 matching legal_review, first by 2026-03-02 12:01 UTC")


def test_reviews_without_a_finding_are_quiet() -> None:
    found = judge(LEGAL, Series((Bucket(END, 4, 0, 0),), (Bucket(END, 5, 0, 0),)))

    assert found == TriggerResult(QUIET, "none of 9 legal_review matches")


def test_an_event_that_is_itself_the_bad_news_is_quiet_while_others_arrive() -> None:
    assert judge(CRASH, None).status is QUIET
    assert judge(CRASH, None, last=None).status is UNKNOWN
    assert judge(CRASH, Series((Bucket(END, 1, 1, 1),))).status is FIRED


# ---------------------------------------------------------------- counts per time


def test_a_count_asks_for_matching_events_of_the_pilot() -> None:
    (query,) = triggers.queries(policy(CRASHES))

    assert (query.event, query.bad, query.unit, query.control) == ("crash", {"severity": ("fatal",)}, "event", False)


@pytest.mark.parametrize(
    ("an_hour", "status"),
    [
        pytest.param(1, QUIET, id="fewer"),
        pytest.param(3, QUIET, id="as-many-as-allowed"),
        pytest.param(9, FIRED, id="three-times-as-many"),
    ],
)
def test_a_count_per_time(an_hour: int, status: TriggerStatus) -> None:
    crashes = minutes(24, an_hour, lambda i: an_hour, size=3600)

    assert judge(CRASHES, Series(crashes)).status is status


def test_a_count_says_its_arithmetic() -> None:
    found = judge(CRASHES, Series((Bucket(MARK - 600, 2, 1, 1), Bucket(MARK, 1, 1, 1))))

    assert found.reason == "2 crash in 1 d, 3 in 1 h allowed, e-value 0 < 100"


def test_a_count_of_the_past_is_not_taken_back_by_silence() -> None:
    crashes = Series((Bucket(MARK - 7200, 30, 30, 30),))

    assert judge(CRASHES, crashes, last=NOW - timedelta(hours=2)).status is FIRED
    assert judge(CRASHES, crashes, last=None).status is UNKNOWN


@pytest.mark.parametrize(("ago", "status"), [(60, QUIET), (70, UNKNOWN)])
def test_no_events_of_any_type_for_that_time_are_not_quiet(ago: int, status: TriggerStatus) -> None:
    found = judge(CRASHES, None, last=NOW - timedelta(minutes=ago))

    assert found.status is status
    assert ("silent for 1.1 h" in found.reason) == (status is UNKNOWN)


# ---------------------------------------------------------------- against the control


@pytest.mark.parametrize(
    ("rate", "status"),
    [
        pytest.param(0.12, QUIET, id="equal"),
        pytest.param(0.20, QUIET, id="within-a-tenth"),
        pytest.param(0.40, FIRED, id="far-below"),
    ],
)
def test_a_dip_against_the_control(rate: float, status: TriggerStatus) -> None:
    rng = random.Random(3)

    def arm(n: int, p: float) -> tuple[Bucket, ...]:
        return minutes(200, n, lambda i: sum(rng.random() < p for _ in range(n)), size=300)

    pilot, control = arm(2, rate), arm(8, 0.12)

    assert judge(DIP, Series(pilot, control)).status is status


@pytest.mark.parametrize(
    ("trigger", "fires_at"),
    [
        pytest.param("kpi: mic, below_control: 10 points", 0.30, id="points-below"),
        pytest.param("kpi: mic, below_control: 20%", 0.45, id="share-below"),
        pytest.param("kpi: errors, above_control: 5 points", 0.30, id="points-above"),
        pytest.param("kpi: errors, above_control: 100%", 0.40, id="share-above"),
    ],
)
def test_a_margin_to_the_control_is_a_share_or_points(trigger: str, fires_at: float) -> None:
    trigger = f"  it: {{{trigger}, then: hold}}"
    kpi = "mic" if "mic" in trigger else "errors"

    def arm(p: float) -> tuple[Bucket, ...]:
        return minutes(200, 20, lambda i: round((i + 1) * 20 * p) - round(i * 20 * p), size=300)

    status = [
        triggers.assess(
            policy(trigger), recorded=Recorded({kpi: Series(arm(rate), arm(0.12))}), window=Window(START, STAGE, NOW)
        )["it"].status
        for rate in (0.12, 0.16, fires_at)
    ]

    assert status == [QUIET, QUIET, FIRED]


def test_points_are_said_as_points() -> None:
    same = minutes(100, 10, lambda i: 1, end=MARK, size=300)
    trigger = "  it: {kpi: errors, above_control: 2 points, then: hold}"

    assert judge(trigger, Series(same, same)).reason == (
        "10 % of 1000 against 10 % of 1000 in control, 2 points more allowed, e-value 0 < 100"
    )


def test_a_dip_says_its_arithmetic() -> None:
    same = minutes(100, 10, lambda i: 1, end=MARK, size=300)

    assert judge(DIP, Series(same, same)).reason == (
        "90 % of 1000 against 90 % of 1000 in control, 10 % less allowed, e-value 0 < 100"
    )


# ---------------------------------------------------------------- a KPI's level


@pytest.mark.parametrize(
    ("trigger", "bad", "calls", "status", "text"),
    [
        pytest.param(SLOW, 5, 10, FIRED, "300 of 600 bad in the last 1 h, p90 above 6 s", id="p90"),
        pytest.param(SLOW, 1, 10, QUIET, "60 of 600 bad", id="p90-at-the-level"),
        pytest.param(LOW, 5, 10, FIRED, "300 of 600 bad in the last 1 h, below 80 %", id="rate"),
        pytest.param(LOW, 2, 10, QUIET, "120 of 600 bad", id="rate-at-the-level"),
    ],
)
def test_a_level_for_a_time(trigger: str, bad: int, calls: int, status: TriggerStatus, text: str) -> None:
    found = judge(trigger, Series(minutes(120, calls, lambda i: bad)))

    assert (found.status, text in found.reason) == (status, True)


@pytest.mark.parametrize(
    ("n", "bad", "status", "reason"),
    [
        pytest.param(49, 49, QUIET, "0 % of 49, below 80 %; 49 < 50", id="too-few"),
        pytest.param(50, 10, QUIET, "80 % of 50, not below 80 %", id="at-the-level"),
        pytest.param(50, 11, FIRED, "78 % of 50, below 80 %", id="below"),
    ],
)
def test_a_level_of_the_estimate(n: int, bad: int, status: TriggerStatus, reason: str) -> None:
    before = Bucket(int(STAGE.timestamp()), 500, 400, 400)

    found = judge(LEVEL, Series((before, Bucket(MARK, n, bad, bad))))

    assert found == TriggerResult(status, reason)


@pytest.mark.parametrize(("seconds", "status"), [(8.0, QUIET), (8.1, FIRED)])
def test_a_level_of_a_quantile(seconds: float, status: TriggerStatus) -> None:
    found = judge(LEVEL_TTV, Series((Bucket(MARK, 50, 0, 0),), estimate=seconds))

    assert found.status is status


@pytest.mark.parametrize(("bad", "status"), [(2, QUIET), (3, FIRED)])
def test_a_level_of_a_rate_that_is_better_when_low(bad: int, status: TriggerStatus) -> None:
    assert judge(LEVEL_ERRORS, Series((Bucket(MARK, 100, bad, bad),))).status is status


# ---------------------------------------------------------------- promises

COUNTS = st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(st.lists(COUNTS, min_size=1, max_size=30), st.data(), st.sampled_from([API, SLOW, LOW, LEVEL, CRASHES]))
def test_more_bad_units_never_quieten_a_trigger(
    counts: list[tuple[int, int]], data: st.DataObject, trigger: str
) -> None:
    where = data.draw(st.integers(0, len(counts) - 1))
    worse = [(n, n) if i == where else (n, b) for i, (n, b) in enumerate(counts)]

    before, after = (judge(trigger, Series(minutes_of(case))) for case in (counts, worse))

    assert after.status is FIRED or before.status is not FIRED


@given(st.sampled_from([API, FIRST, LEGAL, DIP, SLOW, LOW, LEVEL]), st.lists(COUNTS, max_size=5))
def test_silence_is_never_quiet(trigger: str, counts: list[tuple[int, int]]) -> None:
    if trigger in (FIRST, LEGAL):
        counts = []
    old = [Bucket(END - 86000 + 60 * i, n, b, b) for i, (n, b) in enumerate(counts)]

    assert judge(trigger, Series(tuple(old), tuple(old))).status is not QUIET


@pytest.mark.parametrize("trigger", [API, LEGAL, DIP, LOW, LEVEL])
def test_impossible_counts_are_refused(trigger: str) -> None:
    with pytest.raises(ValueError, match="0 <= worse <= bad <= n"):
        judge(trigger, Series((Bucket(MARK, 1, 2, 2),), (Bucket(MARK, 1, 0, 0),)))
