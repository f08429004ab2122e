"""Every rule of counting on a handful of events, counted by hand."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import ConfigError
from controller.model import Bucket, Query, Recorded, Series, Window
from controller.sources.jsonlines import JsonLines
from controller.sources.malformed import explain
from controller.sources.records import Names

Event = Callable[..., dict[str, Any]]
Answer = Callable[..., Recorded]
MIDNIGHT = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
ERRORS = Query("errors", "api_call", bad={"status": ("5xx",)})
SECONDS = Query("ttv", "ttv", field="seconds", above=2, above_warning=4, quantile=0.5)
ACTIVATION = Query("activation", "activation", within=timedelta(minutes=20))


def at(minute: int, n: int, bad: int = 0, worse: int | None = None) -> Bucket:
    """A bucket that ends at *minute*."""
    return Bucket(MIDNIGHT + 60 * minute, n, bad, bad if worse is None else worse)


def time(minute: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minute)


def test_a_rate_is_counted_bucket_by_bucket_and_arm_by_arm(event: Event, answer: Answer) -> None:
    events = [
        event("api_call", 0, status=500),
        event("api_call", 4.99, status="503"),
        event("api_call", 5, status=200),
        event("api_call", 6, status=502, arm="control"),
        event("api_call", 60, status=499),
        event("login", 7, status=500),
    ]

    assert answer(events, ERRORS) == Recorded(
        {
            "errors": Series(
                pilot=(at(5, 2, 2), at(10, 1), at(65, 1)),
                control=(at(10, 1, 1),),
                last=time(60),
                examples=("api_call-0", "api_call-4.99"),
            )
        },
        last=time(60),
    )


BAD = {
    "good": ({"good": {"outcome": ("granted",)}}, {"outcome": "granted"}, 0),
    "not-good": ({"good": {"outcome": ("granted",)}}, {"outcome": "denied"}, 1),
    "good-attribute-missing": ({"good": {"outcome": ("granted",)}}, {}, 1),
    "good-attribute-null": ({"good": {"outcome": ("granted",)}}, {"outcome": None}, 1),
    "class-of-numbers": ({"bad": {"status": ("5xx",)}}, {"status": 599}, 1),
    "class-of-strings": ({"bad": {"status": ("5xx",)}}, {"status": "500"}, 1),
    "beyond-the-class": ({"bad": {"status": ("5xx",)}}, {"status": 600}, 0),
    "no-number": ({"bad": {"status": ("5xx",)}}, {"status": "5 gold coins"}, 0),
    "one-of-several": ({"bad": {"status": ("5xx", "404")}}, {"status": 404}, 1),
    "all-conditions-must-hold": ({"bad": {"a": ("1",), "b": ("2",)}}, {"a": 1, "b": 3}, 0),
    "booleans-as-JSON-writes-them": ({"bad": {"ok": ("false",)}}, {"ok": False}, 1),
    "bad-wins": ({"good": {"ok": ("true",)}, "bad": {"s": ("x",)}}, {"ok": True, "s": "x"}, 1),
    "half-good-is-bad": ({"good": {"a": ("1",), "b": ("2",)}}, {"a": 1}, 1),
    "no-condition-counts": ({}, {"status": 500}, 0),
    "quotes": ({"bad": {"o'k\"": ("it's",)}}, {"o'k\"": "it's"}, 1),
    "names-by-case": ({"bad": {"x": ("1",)}}, {"X": 1}, 0),
    "case-of-the-policy": ({"bad": {"severity": ("Critical",)}}, {"severity": "critical"}, 1),
    "case-of-the-event": ({"bad": {"severity": ("critical",)}}, {"severity": "CRITICAL"}, 1),
    "case-of-the-good": ({"good": {"outcome": ("granted",)}}, {"outcome": "Granted"}, 0),
    "case-of-other-letters": ({"bad": {"who": ("ÄRA",)}}, {"who": "Ära"}, 1),
    "case-of-a-boolean": ({"bad": {"ok": ("False",)}}, {"ok": False}, 1),
    "case-of-a-class": ({"bad": {"status": ("5XX",)}}, {"status": 503}, 1),
}


def test_what_is_bad(event: Event, answer: Answer) -> None:
    events = [event(case, 1, **attributes) for case, (_, attributes, _) in BAD.items()]
    queries = [Query(case, case, **conditions) for case, (conditions, _, _) in BAD.items()]

    series = answer(events, *queries).series

    assert {case: series[case].pilot for case in BAD} == {case: (at(5, 1, bad),) for case, (_, _, bad) in BAD.items()}


def test_where_selects_the_events(event: Event, answer: Answer) -> None:
    events = [event("call", 1, path="/a"), event("call", 2, path="/b"), event("call", 3), event("call", 4, path="/A")]

    assert answer(events, Query("q", "call", {"path": ("/a", "/c")})).series["q"].pilot == (at(5, 2),)


NUMBERS = {
    "2": (0, 0),
    "2.001": (1, 0),
    "4": (1, 0),
    "4.5": (1, 1),
    "0": (0, 0),
    "-0.5": (1, 1),
    "NaN": (1, 1),
    "Infinity": (1, 1),
    "-Infinity": (1, 1),
    "1e999": (1, 1),
    '"1"': (1, 1),
    "true": (1, 1),
    "null": (1, 1),
    "[1]": (1, 1),
    '1, "timed_out": true': (1, 1),
    '1, "timed_out": false': (0, 0),
    '1, "timed_out": null': (0, 0),
    '1, "timed_out": "yes"': (1, 1),
}


def test_a_number_that_cannot_be_used_is_never_good_news(answer: Answer) -> None:
    lines: list[Any] = [
        f'{{"id": "{n}", "ts": "2026-03-01T00:{n:02}:00Z", "type": "ttv", "arm": "pilot", "seconds": {written}}}'
        for n, written in enumerate(NUMBERS)
    ]

    recorded = answer(lines, replace(SECONDS, resolution=60))

    counts = [(bucket.bad, bucket.worse) for bucket in recorded.series["ttv"].pilot]
    assert dict(zip(NUMBERS, counts, strict=True)) == NUMBERS
    assert recorded.malformed == 0


@pytest.mark.parametrize("seconds", [{}, {"seconds": None}, {"seconds": math.nan}])
@pytest.mark.parametrize("bounds", [{}, {"above": 2}, {"above": 2, "above_warning": 4}])
def test_a_lost_number_is_beyond_every_bound(
    event: Event, answer: Answer, bounds: dict[str, float], seconds: dict[str, Any]
) -> None:
    query = Query("ttv", "ttv", field="seconds", **bounds)

    assert answer([event("ttv", 1, **seconds)], query).series["ttv"].pilot == (at(5, 1, 1, 1),)


@pytest.mark.parametrize(
    ("seconds", "estimate"),
    [
        pytest.param([3, 1, 2], 2.0, id="the-middle-one"),
        pytest.param([1, 2], 1.5, id="between-two"),
        pytest.param([1, 2, None], 2.0, id="a-lost-one-counts-as-infinite"),
        pytest.param([1, None], None, id="next-to-a-lost-one"),
        pytest.param([1, None, None], None, id="on-a-lost-one"),
        pytest.param([], None, id="none"),
    ],
)
def test_the_estimate_is_a_quantile(event: Event, answer: Answer, seconds: list[Any], estimate: float | None) -> None:
    events = [event("ttv", 20 + i, seconds=s) for i, s in enumerate(seconds)]

    assert answer(events, SECONDS).series["ttv"].estimate == estimate


def test_the_estimate_is_of_the_pilot_arm_since_the_stage_began(event: Event, answer: Answer) -> None:
    events = [
        event("ttv", 9.99, seconds=100),
        event("ttv", 10, seconds=1),
        event("ttv", 11, seconds=50, arm="control"),
    ]

    assert answer(events, SECONDS).series["ttv"].estimate == 1


def test_a_unit_counts_once_by_its_first_event(event: Event, answer: Answer) -> None:
    query = Query("mic", "mic", good={"outcome": ("granted",)}, unit="user")
    events = [
        event("mic", 20, user="ann", outcome="granted"),
        event("mic", 3, user="ann", outcome="denied"),
        event("mic", 4, user="bob", outcome="granted"),
        event("mic", 30, user=7, outcome="granted"),
        event("mic", 31, user="7", outcome="denied"),
    ]

    assert answer(events, query).series["mic"].pilot == (at(5, 2, 1), at(35, 1))


def test_of_two_events_at_one_instant_the_first_of_the_input_counts(event: Event, answer: Answer) -> None:
    query = Query("mic", "mic", bad={"outcome": ("denied",)}, unit="user")
    events = [event("mic", 3, id=i, user="ann", outcome=o) for i, o in (("b", "denied"), ("a", "granted"))]

    assert answer(events, query).series["mic"].pilot == (at(5, 1, 1),)


def test_every_lets_a_unit_count_again_in_the_next_span_of_the_clock(event: Event, answer: Answer) -> None:
    query = Query("calls", "call", bad={"status": ("5xx",)}, unit="user", every=timedelta(minutes=30))
    events = [event("call", m, user="ann", status=s) for m, s in ((29, 500), (29.5, 200), (30, 200), (31, 500))]

    assert answer(events, query).series["calls"].pilot == (at(30, 1, 1), at(35, 1))


def test_a_unit_in_both_arms_counts_in_that_of_its_first_event(event: Event, answer: Answer) -> None:
    query = Query("users", "exposure", unit="user")
    events = [
        event("exposure", 1, user="ann", arm="control"),
        event("exposure", 2, user="ann"),
        event("exposure", 3, user="bob"),
    ]

    recorded = answer(events, query)

    assert (recorded.series["users"].pilot, recorded.series["users"].control) == ((at(5, 1),), (at(5, 1),))
    assert recorded.notes == ("users: 1 in both arms, counted in that of the first event",)


def test_an_event_without_its_unit_is_malformed(event: Event, answer: Answer) -> None:
    events = [event("call", 1, user="ann"), event("call", 2), event("call", 3, user=""), event("call", 4, user=None)]

    recorded = answer(events, Query("calls", "call", unit="user"), Query("all", "call"))

    assert recorded.series["calls"].pilot == (at(5, 1),)
    assert recorded.series["calls"].last == time(1)
    assert recorded.series["all"].pilot == (at(5, 4),)
    assert (recorded.malformed, recorded.notes) == (3, ("calls: 3 without user, not counted",))


@pytest.mark.parametrize(
    ("activated", "pilot"),
    [
        pytest.param(None, (at(25, 1, 1),), id="never"),
        pytest.param(4, (at(25, 1),), id="at-once"),
        pytest.param(24, (at(25, 1),), id="at-the-last-instant"),
        pytest.param(24.001, (at(25, 1, 1),), id="too-late"),
        pytest.param(3.999, (at(25, 1, 1),), id="before-the-exposure"),
    ],
)
def test_a_delayed_unit_counts_when_it_is_old_enough(
    event: Event, answer: Answer, activated: float | None, pilot: tuple[Bucket, ...]
) -> None:
    events = [event("exposure", 4, user="ann"), event("heartbeat", 24)]
    if activated is not None:
        events.append(event("activation", activated, user="ann"))

    series = answer(events, ACTIVATION).series["activation"]

    assert series.pilot == pilot
    assert series.examples == (("exposure-4",) if pilot[0].bad else ())
    assert series.last == (None if activated is None else time(activated))


def test_neither_success_nor_failure_counts_before_its_time(event: Event, answer: Answer) -> None:
    events = [
        event("exposure", 40, user="ann"),
        event("exposure", 40.001, user="bob"),
        event("exposure", 41, user="cyd"),
        event("activation", 42, user="cyd"),
        event("heartbeat", 60),
    ]

    assert answer(events, ACTIVATION).series["activation"].pilot == (at(65, 1, 1),)


def test_silence_is_no_outcome(event: Event, answer: Answer) -> None:
    """A source that stopped says of the last users neither that they did it nor that they did not."""
    events = [event("exposure", 10, user="ann"), event("exposure", 20, user="bob"), event("other", 35, user="bob")]

    assert answer(events, ACTIVATION).series["activation"].pilot == (at(35, 1, 1),)


def test_only_the_first_exposure_since_the_start_counts_in_its_arm(event: Event, answer: Answer) -> None:
    events = [
        event("exposure", -1, user="ann"),
        event("exposure", 1, user="ann", arm="control"),
        event("exposure", 15, user="ann"),
        event("activation", 30, user="ann"),
        event("activation", 2, user="bob"),
    ]

    series = answer(events, ACTIVATION).series["activation"]

    assert (series.pilot, series.control) == ((), (at(25, 1, 1),))


def test_another_event_counts_as_the_outcome_only_where_it_matches(event: Event, answer: Answer) -> None:
    query = Query("activation", "activation", {"kind": ("full",)}, within=timedelta(minutes=20))
    events = [event("exposure", 1, user="ann"), event("activation", 2, user="ann", kind="half"), event("heartbeat", 30)]

    assert answer(events, query).series["activation"].pilot == (at(25, 1, 1),)


def test_a_user_whose_name_is_missing_is_no_delayed_unit(event: Event, answer: Answer) -> None:
    recorded = answer([event("exposure", 1), event("activation", 2)], ACTIVATION)

    assert recorded.series["activation"] == Series()
    assert (recorded.malformed, recorded.notes) == (2, ("activation: 2 without user, not counted",))


def test_first_are_the_outcomes_of_the_pilots_first_units_in_order(event: Event, answer: Answer) -> None:
    query = Query("runs", "run", bad={"outcome": ("failed",)}, unit="packet", first=3)
    outcomes = [(5, "c", "ok"), (1, "a", "failed"), (2, "a", "ok"), (3, "b", "ok"), (9, "d", "failed")]
    events = [event("run", minute, packet=packet, outcome=outcome) for minute, packet, outcome in outcomes]
    events.append(event("run", 0, packet="z", outcome="failed", arm="control"))

    assert answer(events, query).series["runs"].first == (True, False, False)


def test_examples_are_the_first_bad_ones_of_the_pilot(event: Event, answer: Answer) -> None:
    events = [event("api_call", minute, status=500) for minute in (9, 8, 7, 6)]
    events.append(event("api_call", 1, status=500, arm="control"))

    assert answer(events, ERRORS).series["errors"].examples == ("api_call-6", "api_call-7", "api_call-8")


def test_only_the_window_is_counted(event: Event, answer: Answer) -> None:
    events = [event("api_call", m, status=500) for m in (-0.001, 0, 60, 60.001, 99)]

    recorded = answer(events, ERRORS)

    assert recorded.series["errors"].pilot == (at(5, 1, 1), at(65, 1, 1))
    assert (recorded.future, recorded.malformed, recorded.last) == (2, 0, time(60))


def test_of_records_with_one_id_and_the_same_content_one_counts(event: Event, answer: Answer) -> None:
    events = [
        event("api_call", 3, id="y", status=500),
        event("api_call", 3, id="y", status="503", unread="more"),  # alike to the query
        event("api_call", 3, id="y", status=500, ts="2026-03-01T01:03:00+01:00"),
        event("api_call", 3, id="z", status=500),
        event("api_call", 3, id="z", status=500),
    ]

    recorded = answer(events, ERRORS)

    assert recorded.series["errors"].pilot == (at(5, 2, 2),)
    assert (recorded.duplicates, recorded.last, recorded.notes) == (3, time(3), ())


def test_records_with_one_id_and_different_content_all_count(event: Event, answer: Answer) -> None:
    """Else a repeated id could hide bad news."""
    events = [
        event("review", 2, id="d5", severity="none"),
        event("review", 2, id="d5", severity="critical"),
        event("review", 3, id="d6", severity="none"),
        event("review", 9, id="d6", severity="none"),
        event("review", 9, id="d6", severity="none", arm="control"),
        event("review", 9, id="d6", severity="none"),
        event("review", 4, id="d7", severity="none"),
        event("review", 61, id="d7", severity="critical"),
    ]

    recorded = answer(events, Query("review", "review", bad={"severity": ("critical",)}))

    series = recorded.series["review"]
    assert (series.pilot, series.control) == ((at(5, 4, 1), at(10, 1)), (at(10, 1),))
    assert (series.examples, recorded.duplicates, recorded.future) == (("d5",), 1, 1)
    assert recorded.notes == (
        "id d5: records with different content; both count",
        "id d6: records with different content; all 3 count",
    )


ANY = Query("any", "review", bad={"severity": ("critical",)}, either_arm=True)
REVIEWS = [("a", "pilot"), ("b", None), ("c", "Pilot"), ("d", "b"), ("e", 1), ("f", "control")]


def reviews(event: Event) -> list[dict[str, Any]]:
    """One in each arm, some in none, and one that lacks the attribute."""
    events = [event("review", 1, id=i, arm=arm, severity="critical") for i, arm in REVIEWS]
    lacking = event("review", 1, id="g", severity="critical")
    del lacking["arm"]
    return [*events, lacking]


def test_where_the_arm_does_not_matter_an_event_without_one_is_the_pilots(event: Event, answer: Answer) -> None:
    recorded = answer(reviews(event), ANY, ERRORS)

    assert recorded.series["any"].pilot == (at(5, 6, 6),)
    assert recorded.series["any"].control == (at(5, 1, 1),)
    assert recorded.series["any"].examples == ("a", "b", "c")
    assert (recorded.malformed, recorded.notes, recorded.last) == (0, (), time(1))


def test_where_it_matters_to_one_query_of_two_the_event_is_malformed_to_that(
    event: Event, answer: Answer, tmp_path: Path
) -> None:
    strict = Query("strict", "review", bad={"severity": ("critical",)})

    recorded = answer(reviews(event), strict, ANY)

    assert (recorded.series["strict"].pilot, recorded.series["strict"].control) == ((at(5, 1, 1),), (at(5, 1, 1),))
    assert (recorded.series["any"].pilot, recorded.series["any"].control) == ((at(5, 6, 6),), (at(5, 1, 1),))
    assert recorded.malformed == 5
    assert recorded.notes[0] == f"{tmp_path}/events.jsonl, line 2: arm is null, neither pilot nor control"


def test_an_exposure_without_an_arm_is_no_users_whose_arm_matters(event: Event, answer: Answer) -> None:
    events = [event("exposure", 1, user="ann", arm=None), event("review", 2, user="ann", arm=None)]
    events.append(event("heartbeat", 30))
    waits = Query("waits", "review", within=timedelta(minutes=20), either_arm=True)

    recorded = answer(events, ACTIVATION, waits)

    assert recorded.series["activation"] == Series()
    assert recorded.series["waits"].pilot == (at(25, 1),)
    assert recorded.malformed == 1


def test_without_an_arm_or_in_the_pilot_is_the_same_content_where_the_arm_does_not_matter(
    event: Event, answer: Answer
) -> None:
    recorded = answer([event("review", 1), event("review", 1, arm=None)], ANY)

    assert (recorded.series["any"].pilot, recorded.duplicates, recorded.notes) == ((at(5, 1),), 1, ())


MALFORMED = {
    "so it goes": "not JSON: so it goes",
    '{"id": "1", "ts"': 'not JSON: {"id": "1", "ts"',
    '[{"id": "1"}]': 'not a JSON object: [{"id": "1"}]',
    "null": "not a JSON object: null",
    '{"ts": "2026-03-01T00:01:00Z", "type": "api_call", "arm": "pilot"}': "no id",
    '{"id": "", "ts": "2026-03-01T00:01:00Z", "type": "api_call", "arm": "pilot"}': "no id",
    '{"id": "1", "ts": "2026-03-01T00:01:00Z", "arm": "pilot"}': "no type",
    '{"id": "1", "type": "api_call", "arm": "pilot"}': "no ts",
    '{"id": "1", "ts": "2026-03-01T00:01:00", "type": "api_call", "arm": "pilot"}': "ts '2026-03-01T00:01:00' has no zone; write UTC times, with a Z",
    '{"id": "1", "ts": "noon", "type": "api_call", "arm": "pilot"}': "ts 'noon' is no RFC 3339 time",
    '{"id": "1", "ts": 1772323260, "type": "api_call", "arm": "pilot"}': "ts '1772323260' is no RFC 3339 time",
    '{"id": "1", "ts": "2026-03-01T00:01:00Z", "type": "api_call", "arm": "Pilot"}': 'arm is "Pilot", neither pilot nor control',
    '{"id": "1", "ts": "2026-03-01T00:01:00Z", "type": "api_call"}': "arm is null, neither pilot nor control",
}


def test_a_malformed_record_is_never_counted(event: Event, answer: Answer) -> None:
    recorded = answer([event("api_call", 1), *MALFORMED, event("api_call", 2)], ERRORS)

    assert (recorded.series["errors"].pilot, recorded.malformed) == ((at(5, 2),), len(MALFORMED))


@pytest.mark.parametrize(("line", "note"), MALFORMED.items())
def test_a_malformed_record_is_described(line: str, note: str) -> None:
    assert explain(line.encode(), Names()) == note


def test_a_description_says_where(event: Event, answer: Answer, tmp_path: Path) -> None:
    recorded = answer([event("api_call", 1), "", "oops", event("api_call", 2)], ERRORS)

    assert recorded.notes == (f"{tmp_path}/events.jsonl, line 3: not JSON: oops",)


@pytest.mark.parametrize(
    "ts",
    ["2026-03-01T02:01:00+02:00", "2026-02-28T22:31:00.000-01:30", "2026-03-01 00:01:00Z", "2026-03-01t00:01:00z"],
)
def test_a_time_may_have_any_offset(event: Event, answer: Answer, ts: str) -> None:
    assert answer([event("api_call", 0, ts=ts)], ERRORS).last == time(1)


def test_an_unknown_arm_matters_only_for_events_that_are_read(event: Event, answer: Answer) -> None:
    recorded = answer([event("heartbeat", 1, arm="none"), event("api_call", 99, arm="none")], ERRORS)

    assert (recorded.malformed, recorded.last) == (0, time(1))


def test_many_malformed_records_are_counted_and_a_few_described(answer: Answer) -> None:
    recorded = answer(["junk"] * 8, ERRORS)

    assert (recorded.malformed, len(recorded.notes), recorded.notes[-1]) == (8, 6, "3 more malformed records")


def test_a_product_may_use_its_own_names(answer: Answer) -> None:
    line = (
        '{"uuid": "1", "at": "2026-03-01T00:01:00Z", "name": "time_to_value", "group": "pilot", "who": "ann", "sec": 9}'
    )
    names = {"id": "uuid", "ts": "at", "type": "name", "arm": "group", "user": "who", "seconds": "sec"}
    query = Query("ttv", "ttv", field="seconds", above=5, unit="user")

    recorded = answer([line], query, fields=names, types={"ttv": "time_to_value"})

    assert recorded.series["ttv"].pilot == (at(5, 1, 1, 0),)
    assert recorded.malformed == 0


def test_one_attribute_may_be_a_number_and_a_condition(event: Event, answer: Answer) -> None:
    queries = (Query("slow", "ttv", field="seconds", above=2), Query("three", "ttv", {"seconds": ("3",)}))

    recorded = answer([event("ttv", 1, seconds=3), event("ttv", 2, seconds="3")], *queries)

    assert recorded.series["slow"].pilot == (at(5, 2, 2, 1),)
    assert recorded.series["three"].pilot == (at(5, 2),)


def test_names_that_differ_in_case_only_are_refused(event: Event, answer: Answer) -> None:
    with pytest.raises(ConfigError, match="'State' and 'state' differ only in case"):
        answer([event("call", 1)], Query("q", "call", {"State": ("1",)}, bad={"state": ("1",)}))


def test_an_event_that_lacks_what_a_rate_needs_is_bad(event: Event, answer: Answer) -> None:
    """A call without a status, with an empty one or with null is no good news; without `needs` it is only not bad."""
    events = [
        event("call", 1),
        event("call", 2, status=""),
        event("call", 3, status=None),
        event("call", 4, status=200),
    ]
    needs = Query("needs", "call", bad={"status": ("5xx",)}, needs=("status",))

    recorded = answer(events, needs, Query("lax", "call", bad={"status": ("5xx",)}))

    assert recorded.series["needs"].pilot == (at(5, 4, 3),)
    assert recorded.series["lax"].pilot == (at(5, 4),)


def test_an_answer_is_given_anew_when_time_alone_changes_it(event: Event, tmp_path: Path) -> None:
    """An exposure that comes of age, a future event whose time has come, and a later stage."""
    events = [event("exposure", 1, user="ann"), event("call", 50)]
    queries = (ACTIVATION, Query("calls", "call"))
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in events))
    kept = JsonLines([str(file)])

    for minute in (10, 15, 20, 22, 40, 49, 51, 60):
        window = Window(time(0), time(minute // 2), time(minute))
        assert kept.read(queries, window) == JsonLines([str(file)]).read(queries, window)


def test_the_control_arm_is_counted_only_where_it_is_wanted(event: Event, answer: Answer) -> None:
    events = [event("call", 1), event("call", 2, arm="control")]

    recorded = answer(events, Query("pilot", "call", control=False), Query("both", "call"))

    assert (recorded.series["pilot"].pilot, recorded.series["pilot"].control) == ((at(5, 1),), ())
    assert recorded.series["both"].control == (at(5, 1),)
