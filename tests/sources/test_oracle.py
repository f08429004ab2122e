"""The counts against a counter that shares nothing with them: plain Python, one event after the other."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.model import Bucket, Query, Recorded, Series, Window
from controller.sources.jsonlines import JsonLines

T0 = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(T0, T0 + timedelta(minutes=20), T0 + timedelta(minutes=60))
QUERIES = [
    Query("rate", "call", bad={"status": ("5xx",)}, resolution=60),
    Query("good", "call", good={"status": ("200", "2xx"), "ok": ("true",)}, unit="user"),
    Query("hourly", "call", bad={"status": ("5xx", "404")}, unit="user", every=timedelta(minutes=7)),
    Query("mean", "call", bad={"status": ("5xx",)}, unit="user", every=timedelta(minutes=5), mean=True, resolution=60),
    Query("some", "call", {"ok": ("true", "1")}, bad={"status": ("500",)}, unit="packet", first=3),
    Query("count", "call"),
    Query("needs", "call", bad={"status": ("5xx",)}, needs=("status",)),
    Query("p50", "ttv", field="seconds", above=2.0, above_warning=4.0, quantile=0.5, first=4),
    Query("p90", "ttv", field="seconds", above=2.0, quantile=0.9, unit="user"),
    Query("late", "activation", within=timedelta(minutes=10), first=2),
    Query("ok-late", "activation", {"ok": ("true",)}, within=timedelta(minutes=3), resolution=60),
    Query("any-review", "review", bad={"ok": ("False",)}, resolution=60, either_arm=True),
    Query("any-call", "call", {"ok": ("TRUE", "1")}, bad={"status": ("5XX",)}, either_arm=True),
    Query("any-late", "review", within=timedelta(minutes=5), first=2, either_arm=True),
]


def types(either_arm: bool) -> set[str]:
    """The types of event that queries read whose arm does not matter, or does."""
    asked = [q for q in QUERIES if q.either_arm == either_arm]
    return {q.event for q in asked} | {"exposure" for q in asked if q.within}


ARMED, ARMLESS = types(False), types(True)


def text(value: Any) -> str | None:
    """An attribute as the conditions see it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def matches(event: dict[str, Any], conditions: dict[str, tuple[str, ...]]) -> bool:
    def one(value: str | None, wanted: str) -> bool:
        if value is None or value.lower() == wanted.lower() or not wanted.lower().endswith("xx"):
            return value is not None and value.lower() == wanted.lower()
        try:
            return float(value) // 100 == int(wanted[0])
        except ValueError:
            return False

    return all(any(one(text(event.get(a)), w) for w in wanted) for a, wanted in conditions.items())


def parse(line: str) -> dict[str, Any] | None:
    """The event of a line with `at` in microseconds and a known arm or none, None where no query can count it."""
    try:
        event = json.loads(line)
        time = datetime.fromisoformat(event["ts"])
        good = time.tzinfo and event["id"] not in ("", None) and event["type"] not in ("", None)
    except (ValueError, TypeError, KeyError):
        return None
    arm = event.get("arm") if event.get("arm") in ("pilot", "control") else None
    if not good or (arm is None and event["type"] in ARMED - ARMLESS):
        return None
    return event | {"at": (time - T0) // timedelta(microseconds=1), "arm": arm}


def content(event: dict[str, Any]) -> Any:
    """All that the queries can see of an event, whatever its type."""
    seen: list[Any] = [event["id"], event["at"]]
    seen.append(event["type"] if event["type"] in ARMED | ARMLESS else None)
    seen.append(event["arm"] or ("pilot" if event["type"] in ARMLESS - ARMED else None))
    for q in QUERIES:
        for conditions in (q.where, q.good or {}, q.bad or {}):
            seen += [matches(event, {a: wanted}) for a, wanted in conditions.items()]
        seen += [text(event.get(a)) in (None, "") for a in q.needs]
        seen.append(text(event.get("user" if q.within else q.unit)) or None)
        seen.append(verdict(q, event)[2])
    return tuple(seen)


def us(time: datetime) -> int:
    return (time - T0) // timedelta(microseconds=1)


def verdict(q: Query, event: dict[str, Any]) -> tuple[bool, bool, float | None]:
    """Bad, worse, and the number of an event."""
    if q.field is None:
        bad = bool(q.bad) and matches(event, dict(q.bad or {}))
        bad = bad or any(text(event.get(a)) in (None, "") for a in q.needs)
        bad = bad or (q.good is not None and not matches(event, dict(q.good)))
        return bad, bad, None
    value = event.get(q.field)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or event.get("timed_out") or not math.isfinite(value) or value < 0:
        return True, True, math.inf
    return value > (q.above or math.inf), value > (q.above_warning or math.inf), float(value)


def readable(q: Query, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events in an arm, and where that does not matter those in none, which are the pilot's."""
    return [e | {"arm": e["arm"] or "pilot"} for e in events if e["arm"] or q.either_arm]


def units(q: Query, events: list[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
    """The units of a query in order of time: what counts, when, and how."""
    found: dict[Any, dict[str, Any]] = {}
    heard = max((e["at"] for e in events), default=0)
    events = readable(q, events)
    matching = [e for e in events if e["type"] == q.event and matches(e, dict(q.where))]
    if q.within is not None:
        wait = q.within // timedelta(microseconds=1)
        for e in events:
            if e["type"] == "exposure" and text(e.get("user")) and text(e["user"]) not in found:
                followed = any(
                    text(m.get("user")) == text(e["user"]) and e["at"] <= m["at"] <= e["at"] + wait for m in matching
                )
                unit = {"due": e["at"] + wait, "bad": not followed, "worse": not followed, "value": None}
                found[text(e["user"])] = e | unit
        return [u for u in found.values() if u["due"] <= heard]
    if q.mean and q.every:
        epoch, every = (
            (T0 - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
            q.every // timedelta(microseconds=1),
        )
        means: dict[Any, list[dict[str, Any]]] = {}
        for e in matching:
            if text(e.get(q.unit)) not in (None, ""):
                due = ((e["at"] + epoch) // every + 1) * every - epoch
                means.setdefault((text(e[q.unit]), due, e["arm"]), []).append(e)
        shares = [
            of[0] | {"due": due, "bad": share, "worse": share, "value": None}
            for (_, due, _), of in means.items()
            if due <= us(window.now)
            for share in [sum(verdict(q, e)[0] for e in of) / len(of)]
        ]
        return sorted(shares, key=lambda u: u["due"])
    for n, e in enumerate(matching):
        key = n if q.unit == "event" else text(e.get(q.unit))
        if key in (None, ""):
            continue
        if q.every:
            key = (key, e["at"] // (q.every // timedelta(microseconds=1)))
        bad, worse, value = verdict(q, e)
        found.setdefault(key, e | {"due": e["at"], "bad": bad, "worse": worse, "value": value})
    return list(found.values())


def count(q: Query, events: list[dict[str, Any]], window: Window) -> Series:
    def buckets(arm: str) -> tuple[Bucket, ...]:
        ends: dict[int, list[float]] = {}
        for u in counted:
            if u["arm"] == arm:
                end = (u["due"] // (q.resolution * 10**6) + 1) * q.resolution + int(T0.timestamp())
                total = ends.setdefault(end, [0, 0, 0])
                for i, more in enumerate((1, u["bad"], u["worse"])):
                    total[i] += more
        return tuple(
            Bucket(end, int(n), round(bad, 9), round(worse, 9)) for end, (n, bad, worse) in sorted(ends.items())
        )

    counted = units(q, events, window)
    pilot = [u for u in counted if u["arm"] == "pilot"]
    values = sorted(u["value"] for u in pilot if u["value"] is not None and u["at"] >= us(window.stage))
    estimate = None
    if q.quantile is not None and values:
        place = q.quantile * (len(values) - 1)
        low, high = values[math.floor(place)], values[math.ceil(place)]
        if high < math.inf:
            estimate = low + (high - low) * (place - math.floor(place))
    unit = "user" if q.within is not None else q.unit
    last = [
        e["at"]
        for e in readable(q, events)
        if e["type"] == q.event and matches(e, dict(q.where)) and (unit == "event" or text(e.get(unit)))
    ]
    return Series(
        buckets("pilot"),
        buckets("control"),
        None if estimate is None else round(estimate, 9),
        tuple(u["bad"] for u in pilot[: q.first]),
        T0 + timedelta(microseconds=max(last)) if last else None,
        tuple(u["id"] for u in pilot if u["bad"])[:3],
    )


def unfit(q: Query, e: dict[str, Any]) -> bool:
    """Whether the query matches the event and cannot count it, but for its arm."""
    if not readable(q, [e]):
        return False
    matched = e["type"] == q.event and matches(e, dict(q.where))
    if q.within is not None:
        return (matched or e["type"] == "exposure") and not text(e.get("user"))
    return matched and q.unit != "event" and not text(e.get(q.unit))


def expected(lines: list[str], window: Window = WINDOW) -> Recorded:
    parsed = [parse(line) for line in lines]
    first: dict[Any, dict[str, Any]] = {}
    usable = sorted((e for e in parsed if e), key=lambda e: e["at"])  # a stable sort: the order of the input
    for e in usable:
        first.setdefault(content(e), e)
    inside = [e for e in first.values() if 0 <= e["at"] <= us(window.now)]
    repeats = [e for e in usable if first[content(e)] is not e and 0 <= e["at"] <= us(window.now)]
    bad = 0
    for line, e in zip(lines, parsed, strict=True):
        if e is None or (e["arm"] is None and e["type"] in ARMED & ARMLESS):
            try:
                at = us(datetime.fromisoformat(json.loads(line)["ts"]))
            except (ValueError, TypeError, KeyError):
                at = 0
            bad += 0 <= at <= us(window.now)
    bad += sum(any(unfit(q, e) for q in QUERIES) for e in inside)
    return Recorded(
        {q.name: count(q, inside, window) for q in QUERIES},
        malformed=bad,
        duplicates=len(repeats),
        future=sum(e["at"] > us(window.now) for e in usable),
        last=T0 + timedelta(microseconds=max(e["at"] for e in inside)) if inside else None,
    )


def ts(minutes: float) -> str:
    return (T0 + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


times = st.one_of(st.integers(-5, 65), st.sampled_from([9.999999, 10.5, 59.99, 60.001]))


def events(ids: int) -> st.SearchStrategy[str]:
    """Events as lines, whose ids are of so many."""
    return st.fixed_dictionaries(
        {
            "id": st.integers(0, ids).map(str),
            "ts": times.map(ts),
            "type": st.sampled_from(["call", "ttv", "activation", "exposure", "exposure", "review", "other"]),
            "arm": st.sampled_from([*["pilot"] * 6, *["control"] * 3, "Pilot", None]),
        },
        optional={
            "user": st.sampled_from(["a", "b", "c", "d", "e", 7, "7", ""]),
            "packet": st.sampled_from(["x", "y", "z"]),
            "status": st.sampled_from([200, "200", 500, "503", 404, None, True, "5xx", 499.5]),
            "ok": st.sampled_from([True, "true", "TRUE", "False", False, 1, None]),
            "seconds": st.one_of(
                st.sampled_from([0, 2, 2.0, 4, 4.5, -1, "3", True, None, math.nan, math.inf, [1]]),
                st.floats(0, 10).map(lambda x: round(x, 3)),
            ),
            "timed_out": st.sampled_from([True, False, None]),
        },
    ).map(json.dumps)


junk = st.sampled_from(
    ["not json", "[]", "null", '"text"', "{}", "{", '{"id": "1"}', '{"id": "j1", "ts": "2026-03-01", "type": "call"}']
    + [
        json.dumps({"id": "j2", "ts": ts(3), "type": "call", "arm": "pilot"} | more)
        for more in (
            {"id": ""},
            {"id": None},
            {"type": None},
            {"ts": "2026-03-01T00:03:00"},
            {"ts": "soon"},
            {"ts": 5},
            {"arm": "Pilot"},
            {"arm": None},
            {"arm": "x", "ts": ts(99)},
            {"type": ""},
        )
    ]
)


def repeated(lines: list[str]) -> st.SearchStrategy[list[str]]:
    """*lines* with some of them written again at the end."""
    return st.lists(st.sampled_from(lines), max_size=8).map(lines.__add__) if lines else st.just(lines)


def rounded(recorded: Recorded) -> Recorded:
    series = {}
    for name, s in recorded.series.items():
        estimate = None if s.estimate is None else round(s.estimate, 9)
        series[name] = Series(s.pilot, s.control, estimate, s.first, s.last, s.examples)
    return Recorded(series, (), recorded.malformed, recorded.duplicates, recorded.future, (), recorded.last)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(events(9), events(60), junk), max_size=80).flatmap(repeated))
def test_the_counts_are_those_of_counting_one_by_one(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "events.jsonl"
    path.unlink(missing_ok=True)
    path.write_text("".join(line + "\n" for line in lines))

    assert rounded(JsonLines([str(path)]).read(QUERIES, WINDOW)) == expected(lines)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(events(9), events(10**9), junk), max_size=60).flatmap(repeated), st.data())
def test_a_source_that_grows_from_pass_to_pass_counts_like_a_new_one(
    tmp_path: Path, lines: list[str], data: st.DataObject
) -> None:
    path = tmp_path / "growing.jsonl"
    path.write_text("")
    growing = JsonLines([str(path)])
    at = 0
    for minutes in (25, 45, 60):
        to = data.draw(st.integers(at, len(lines)))
        with path.open("a") as file:
            file.write("".join(line + "\n" for line in lines[at:to]))
        at, window = to, Window(T0, WINDOW.stage, T0 + timedelta(minutes=minutes))

        assert rounded(growing.read(QUERIES, window)) == expected(lines[:to], window)


def until(lines: list[str], now: datetime) -> list[str]:
    """*lines* as the file was at *now*: without what is stamped later."""
    return [line for line in lines if (e := parse(line)) is None or e["at"] <= us(now)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(events(9), events(60), junk), min_size=1, max_size=80).flatmap(repeated))
def test_a_replay_knows_at_each_pass_what_a_file_that_ended_there_would_tell(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    passes = [T0 + timedelta(minutes=minutes) for minutes in (2, 10.5, 11, 25, 40, 60, 70)]
    replay = JsonLines([str(path)]).replay(QUERIES, start=T0, passes=passes)

    for now in passes:
        window = Window(T0, min(now, WINDOW.stage), now)
        assert rounded(replay.read(QUERIES, window)) == expected(until(lines, now), window)
