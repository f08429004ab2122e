"""Records as other products write them: CSV, their own arms, times without a zone, no type, no id."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import ConfigError
from controller.model import Bucket, Query, Window
from controller.policy import load
from controller.sources.jsonlines import JsonLines
from tests.facts import ROOT

T0 = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(T0, T0, T0 + timedelta(hours=1))
BOUGHT = Query("bought", "visit", good={"bought": ("1",)}, unit="user")
SLOW = Query("slow", "visit", field="seconds", above=2.0, quantile=0.5)
NAMES: dict[str, Any] = {
    "fields": {"id": "*", "user": "who", "ts": "when", "arm": "group"},
    "arms": {"pilot": "B", "control": "A"},
    "constants": {"type": "visit"},
    "times": "utc",
}
ROWS = """when,who,group,bought,seconds
2026-03-01 00:01:00,u1,B,1,1.5
2026-03-01T00:02:00.5,u2,B,0,
2026-03-01 00:03,u3,A,1,"0.5"
2026-03-01,u4,B,1,3
2026-03-01T01:01:00+01:00,"u,5",B,0,2
"""


def read(path: Path, *queries: Query, **names: Any) -> Any:
    return JsonLines([str(path)], **(NAMES | names)).read(queries, WINDOW)


def test_csv_counts_like_json_lines(tmp_path: Path) -> None:
    """A date is its midnight, an empty cell is none, a number without quotes is one, a zone is honoured."""
    path = tmp_path / "visits.csv"
    path.write_text(ROWS)

    recorded = read(path, BOUGHT, SLOW)

    end = int(T0.timestamp()) + 300
    assert recorded.series["bought"].pilot == (Bucket(end, 4, 2, 2),)
    assert recorded.series["bought"].control == (Bucket(end, 1, 0, 0),)
    assert recorded.series["slow"].pilot == (Bucket(end, 4, 2, 1),)
    assert (recorded.malformed, recorded.duplicates, recorded.notes) == (0, 0, ())


def test_gzipped_files_with_other_columns_and_json_lines_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"group;when;who\nB;2026-03-01 00:01:00;u1\n"))
    (tmp_path / "b.csv").write_text(ROWS)
    (tmp_path / "c.jsonl").write_text('{"when": "2026-03-01T00:09:00", "who": "u9", "group": "B", "bought": 1}\n')

    recorded = JsonLines([str(tmp_path / "*")], **NAMES).read([BOUGHT], WINDOW)

    end = int(T0.timestamp()) + 300
    assert recorded.series["bought"].pilot == (Bucket(end, 4, 3, 3), Bucket(end + 300, 1, 0, 0))


def test_a_csv_file_that_grows_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(ROWS)
    source = JsonLines([str(path)], **NAMES)
    source.read([BOUGHT], WINDOW)
    path.write_text(ROWS + "2026-03-01 00:04:00,u6,B,1,1\n")

    (bucket,) = source.read([BOUGHT], WINDOW).series["bought"].pilot

    assert (bucket.n, bucket.bad) == (5, 2)


def test_without_an_id_records_that_are_alike_are_one(tmp_path: Path) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(ROWS + ROWS.splitlines()[1] + "\n")

    recorded = read(path, Query("visits", "visit"))

    assert recorded.duplicates == 1
    assert sum(bucket.n for bucket in recorded.series["visits"].pilot) == 4


@pytest.mark.parametrize("text", ["", "a,,b\n1,2,3\n", "a,A\n1,2\n"])
def test_csv_without_the_names_of_its_columns_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"line 1: found .*; a CSV file begins with the names of its columns"):
        read(path, BOUGHT)


@pytest.mark.parametrize(
    ("times", "written"),
    [
        ("unix", "1772323260"), ("unix", "1772323260.0"), ("unix", "1772323260000"),
        ("utc", "2026-03-01 00:01"), ("utc", "2026-03-01T00:01:00Z"), ("rfc3339", "2026-03-01T01:01:00+01:00"),
    ],
)  # fmt: skip
def test_the_same_instant_in_every_way_of_writing(tmp_path: Path, times: str, written: str) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(f"when,who,group,bought\n{written},u1,B,1\n")

    assert read(path, BOUGHT, times=times).last == T0 + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("times", "row", "says"),
    [
        ("utc", "2026-13-01 00:01:00,u1,B,1", "line 2: when '2026-13-01 00:01:00' is no time"),
        ("utc", "1772323260,u1,B,1", "line 2: when '1772323260' is no time"),
        ("unix", "2026-03-01 00:01:00,u1,B,1", "is no number of seconds or milliseconds since 1970"),
        ("rfc3339", "2026-03-01 00:01:00,u1,B,1", "has no zone; write UTC times, with a Z"),
        ("utc", ",u1,B,1", "line 2: no when"),
        ("utc", "2026-03-01 00:01:00,u1,pilot,1", 'line 2: group is "pilot", neither B nor A'),
    ],
)
def test_what_is_written_otherwise_is_counted_as_malformed_and_named(
    tmp_path: Path, times: str, row: str, says: str
) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(f"when,who,group,bought\n{row}\n")

    recorded = read(path, BOUGHT, times=times)

    assert (recorded.malformed, recorded.series["bought"].pilot) == (1, ())
    assert says in recorded.notes[0]


@pytest.mark.parametrize("row", ["2026-03-01 00:04:00,u6", "2026-03-01 00:04:00,u6,B,1,2,3"])
def test_a_row_that_has_another_number_of_cells_is_refused(tmp_path: Path, row: str) -> None:
    """Which cell is missing cannot be known, and no row is passed over."""
    path = tmp_path / "visits.csv"
    path.write_text(ROWS + row + "\n")

    with pytest.raises(ConfigError, match=r"events cannot be read: .*mend or remove the file"):
        read(path, BOUGHT)


def test_an_api_has_no_such_mapping() -> None:
    policy = (ROOT / "rollout.yaml").read_bytes()
    with pytest.raises(ConfigError, match="arms, constants and times are for kind files"):
        load(policy.replace(b"limit: 200}", b"limit: 200, arms: {pilot: B}}", 1))
