"""Files: which are read, when they are read again, and what a file may look like."""

import gzip
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import ConfigError
from controller.model import Query, Recorded, Series, Window
from controller.sources.counting import Counter
from controller.sources.jsonlines import JsonLines

Event = Callable[..., dict[str, Any]]
CALLS = Query("calls", "call", bad={"status": ("5xx",)}, resolution=3600)


def write(path: Path, *events: dict[str, Any], mode: str = "w") -> None:
    with path.open(mode) as file:
        file.write("".join(json.dumps(e) + "\n" for e in events))


def count(recorded: Recorded) -> int:
    return sum(bucket.n for bucket in recorded.series["calls"].pilot)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The paths of each load, as they happen."""
    seen: list[list[str]] = []
    load = Counter.load

    def noted(self: Counter, paths: list[str], **more: Any) -> None:
        seen.append([more["origin"][0] if more.get("origin") else path for path in paths])
        load(self, paths, **more)

    monkeypatch.setattr(Counter, "load", noted)
    return seen


def test_a_glob_goes_through_folders_and_reads_gzip(tmp_path: Path, event: Event, window: Window) -> None:
    (tmp_path / "day=1" / "deep").mkdir(parents=True)
    write(tmp_path / "a.jsonl", event("call", 1))
    write(tmp_path / "day=1" / "deep" / "b.jsonl", event("call", 2))
    with gzip.open(tmp_path / "day=1" / "c.jsonl.gz", "wt") as file:
        file.write(json.dumps(event("call", 3)) + "\n")
    write(tmp_path / "other.txt", event("call", 4))

    recorded = JsonLines([str(tmp_path / "**" / "*.jsonl*")]).read([CALLS], window)

    assert (count(recorded), recorded.notes, recorded.gaps) == (3, (), ())


def test_a_file_that_two_paths_name_is_read_once(tmp_path: Path, event: Event, window: Window) -> None:
    write(tmp_path / "a.jsonl", event("call", 1))

    recorded = JsonLines([str(tmp_path / "a.jsonl"), str(tmp_path / "*.jsonl")]).read([CALLS], window)

    assert (count(recorded), recorded.duplicates) == (1, 0)


def test_no_file_is_no_error(tmp_path: Path, window: Window) -> None:
    path = str(tmp_path / "none-*.jsonl")

    assert JsonLines([path]).read([CALLS], window) == Recorded({"calls": Series()}, notes=(f"{path}: no such file",))


def test_an_empty_file_has_no_events(tmp_path: Path, window: Window) -> None:
    write(tmp_path / "a.jsonl")

    assert JsonLines([str(tmp_path / "a.jsonl")]).read([CALLS], window) == Recorded({"calls": Series()})


@pytest.mark.parametrize("name", ["a[1].jsonl", "what?.jsonl", "all*.jsonl", "it's.jsonl", "ü.jsonl"])
def test_a_file_may_have_any_name(tmp_path: Path, event: Event, window: Window, name: str) -> None:
    write(tmp_path / "a1.jsonl", event("call", 1))
    write(tmp_path / name, event("call", 2), event("call", 3))

    assert count(JsonLines([str(tmp_path / name)]).read([CALLS], window)) == 2


def test_a_file_may_have_any_bytes(tmp_path: Path, event: Event, window: Window) -> None:
    good = json.dumps(event("call", 1)).encode()
    long = json.dumps(event("call", 2, text="x" * 20_000_000)).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\n\x00\x01\n" + good + b"\r\n" + long + b"\n  \n{}")

    recorded = JsonLines([str(tmp_path / "a.jsonl")]).read([CALLS], window)

    assert (count(recorded), recorded.malformed) == (2, 3)
    assert [note.split(", ")[1].split(":")[0] for note in recorded.notes] == ["line 1", "line 2", "line 6"]


def test_a_folder_is_no_file(tmp_path: Path, window: Window) -> None:
    with pytest.raises(ConfigError, match=r"events cannot be read: .*Is a directory"):
        JsonLines([str(tmp_path)]).read([CALLS], window)


def test_a_broken_gzip_is_an_error_until_it_is_mended(tmp_path: Path, event: Event, window: Window) -> None:
    good, broken = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    source = JsonLines([str(tmp_path / "*")])
    write(good, event("call", 1))
    source.read([CALLS], window)
    broken.write_bytes(gzip.compress(os.urandom(4000))[:2000])

    for _ in range(2):
        with pytest.raises(ConfigError, match="events cannot be read: "):
            source.read([CALLS], window)
    broken.write_bytes(gzip.compress(json.dumps(event("call", 2)).encode()))

    recorded = source.read([CALLS], window)
    assert (count(recorded), recorded.duplicates) == (2, 0)


def test_what_was_read_is_not_read_again(tmp_path: Path, event: Event, window: Window, loads: list[list[str]]) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source = JsonLines([str(tmp_path / "*.jsonl")])
    write(a, event("call", 1))
    source.read([CALLS], window)
    source.read([CALLS], window)
    write(a, event("call", 2), mode="a")
    source.read([CALLS], window)
    write(b, event("call", 3))

    assert count(source.read([CALLS], window)) == 3
    assert loads == [[str(a)], [str(a)], [str(b)]]


@pytest.mark.parametrize("change", ["rewritten", "gone", "earlier", "unfinished"])
def test_whatever_else_changes_is_read_anew(tmp_path: Path, event: Event, window: Window, change: str) -> None:
    b, c = tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    write(b, event("call", 1), event("call", 2))
    write(c, event("call", 3))
    if change == "unfinished":
        c.write_text(json.dumps(event("call", 3))[:20])
    source = JsonLines([str(tmp_path / "*.jsonl")])
    source.read([CALLS], window)
    match change:
        case "rewritten":
            write(c, event("call", 4, status=500), event("call", 5), event("call", 6))
        case "gone":
            b.unlink()
        case "earlier":
            write(tmp_path / "a.jsonl", event("call", 4))
        case "unfinished":
            write(c, event("call", 3), event("call", 4))

    recorded = source.read([CALLS], window)

    assert recorded == JsonLines([str(tmp_path / "*.jsonl")]).read([CALLS], window)
    assert (count(recorded), recorded.malformed) == (
        {"rewritten": 5, "gone": 1, "earlier": 4, "unfinished": 4}[change],
        0,
    )


def test_a_bad_line_is_found_in_a_file_that_has_grown(tmp_path: Path, event: Event, window: Window) -> None:
    path = tmp_path / "a.jsonl"
    source = JsonLines([str(path)])
    write(path, event("call", 1), event("call", 2))
    source.read([CALLS], window)
    with path.open("a") as file:
        file.write("\n" + json.dumps(event("call", 3)) + "\noops\n")

    assert source.read([CALLS], window).notes == (f"{path}, line 5: not JSON: oops",)


def test_other_queries_and_windows_count_the_same_files(tmp_path: Path, event: Event, window: Window) -> None:
    write(tmp_path / "a.jsonl", event("call", 1, user="ann"), event("call", 20, user="ann"), event("ttv", 2, seconds=1))
    source = JsonLines([str(tmp_path / "a.jsonl")])
    users = Query("calls", "call", unit="user", resolution=3600)
    later = Window(window.start + timedelta(minutes=10), window.stage, window.now)
    early = Window(window.start, window.start, window.start + timedelta(minutes=5))

    counts = [count(source.read([q], w)) for q, w in ((CALLS, window), (users, window), (users, later), (CALLS, early))]

    assert counts == [2, 1, 1, 1]


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path, event: Event, window: Window) -> None:
    for name in "cabed":
        write(tmp_path / f"{name}.jsonl", event("call", 1, id=name, status=500, user="ann"))
    users = Query("calls", "call", bad={"status": ("5xx",)}, unit="user")

    assert JsonLines([str(tmp_path / "*.jsonl")]).read([users], window).series["calls"].examples == ("a",)


@pytest.mark.parametrize(("minute", "arm", "bad"), [(30, "pilot", 0), (10, "pilot", 1), (30, "control", 0)])
def test_a_unit_that_is_seen_again_counts_by_the_earlier_event(
    tmp_path: Path, event: Event, window: Window, minute: float, arm: str, bad: int
) -> None:
    path = tmp_path / "a.jsonl"
    users = Query("calls", "call", bad={"status": ("5xx",)}, unit="user", resolution=3600)
    source = JsonLines([str(path)])
    write(path, event("call", 20, user="ann", status=200))
    source.read([users], window)
    write(path, event("call", minute, user="ann", status=500, arm=arm), mode="a")

    recorded = source.read([users], window)

    assert recorded == JsonLines([str(path)]).read([users], window)
    assert [(b.n, b.bad) for b in recorded.series["calls"].pilot] == [(1, bad)]
    assert len(recorded.notes) == (arm == "control")


@pytest.mark.parametrize(
    ("minute", "status", "counted"),
    [
        pytest.param(30, 500, (1, 1, 1, 0), id="same"),
        pytest.param(30, 200, (2, 1, 0, 1), id="other-content"),
        pytest.param(20, 200, (2, 1, 0, 1), id="earlier"),
        pytest.param(40, 500, (2, 2, 0, 1), id="later"),
        pytest.param(-1, 200, (1, 1, 0, 0), id="before-the-window"),
    ],
)
def test_an_id_that_comes_again_later_is_a_repeat_only_with_the_same_content(
    tmp_path: Path, event: Event, window: Window, minute: float, status: int, counted: tuple[int, ...]
) -> None:
    path = tmp_path / "a.jsonl"
    source = JsonLines([str(path)])
    write(path, event("call", 30, id="x", status=500), event("call", 50))
    source.read([CALLS], window)
    write(path, event("call", minute, id="x", status=status), mode="a")

    recorded = source.read([CALLS], window)

    assert recorded == JsonLines([str(path)]).read([CALLS], window)
    bad = sum(bucket.bad for bucket in recorded.series["calls"].pilot)
    assert (count(recorded) - 1, bad, recorded.duplicates, len(recorded.notes)) == counted


def test_an_id_that_comes_again_and_again_is_counted_once(tmp_path: Path, event: Event, window: Window) -> None:
    path = tmp_path / "a.jsonl"
    source = JsonLines([str(path)])
    write(path, event("call", 30, id="x", status=500))

    for again in range(4):
        recorded = source.read([CALLS], window)
        assert (count(recorded), recorded.duplicates, recorded.notes) == (1, again, ())
        write(path, event("call", 30, id="x", status=500), mode="a")


def test_an_event_without_its_arm_is_malformed_to_some_queries_as_the_file_grows(
    tmp_path: Path, event: Event, window: Window
) -> None:
    path = tmp_path / "a.jsonl"
    queries = [CALLS, Query("any", "call", bad={"status": ("5xx",)}, either_arm=True, resolution=3600)]
    source = JsonLines([str(path)])
    write(path, event("call", 1, arm=None, status=500), event("call", 2))
    source.read(queries, window)
    write(path, event("call", 3, arm="b", status=500), event("call", 1, arm=None, status=500), mode="a")

    recorded = source.read(queries, window)

    assert recorded == JsonLines([str(path)]).read(queries, window)
    assert [(b.n, b.bad) for s in recorded.series.values() for b in s.pilot] == [(1, 0), (3, 2)]
    assert (recorded.malformed, recorded.duplicates) == (3, 1)
    assert [source.read([q], window).malformed for q in queries] == [3, 0]
