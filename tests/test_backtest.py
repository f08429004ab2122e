"""A backtest decides at each pass what would have been decided then, and says it in a page."""

from __future__ import annotations

import json
import random
import shutil
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller import backtest, cli, offline
from controller.errors import ConfigError
from controller.messages.data import decision_json
from controller.model import Verdict
from tests.facts import ROOT

EVENTS = ROOT / "tests" / "golden" / "events"
LANDING = {"paths": [str(EVENTS / "landing-page.csv")], "policy_file": EVENTS / "landing-page.yaml"}
GOLDEN = ROOT / "tests" / "golden" / "messages" / "backtest.txt"
T0 = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
# An example is a whole replay.
SETTINGS = settings(
    max_examples=settings().max_examples // 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped policy, and prod at 10 %."""
    shutil.copy(ROOT / "rollout.yaml", tmp_path)
    text = (ROOT / "Pulumi.prod.yaml").read_text()
    (tmp_path / "Pulumi.prod.yaml").write_text(text.replace("percent: 0 ", "percent: 10 "))
    return tmp_path


def events(seed: int) -> list[dict[str, Any]]:
    """Some hours of users, more or less healthy; a few events come on the second of a pass."""
    draw, found = random.Random(seed), []
    good = draw.choice([0.2, 0.6, 0.95])

    def leave(at: float, type_: str, **more: Any) -> None:
        second = round(at / 300) * 300 if draw.random() < 0.2 else at
        ts = (T0 + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found.append({"id": str(len(found)), "ts": ts, "type": type_} | more)

    for user in range(90):
        at, who = draw.uniform(0, 9000), {"user": f"u{user % 70}", "arm": draw.choice(["pilot", "pilot", "control"])}
        leave(at, "exposure", **who)
        leave(at + 2, "ttv", seconds=round(draw.uniform(0, 6), 3), **who)
        leave(at + 9, "mic_prompt", outcome="granted" if draw.random() < good else "denied", **who)
        leave(at + 30, "api_call", status=200 if draw.random() < good else 503, **who)
        if draw.random() < good:
            leave(at + draw.uniform(0, 2400), "activation", **who)
        if draw.random() < 0.1:
            leave(at + 60, "run", outcome="failed" if draw.random() < 0.1 else "ok", packet=f"p{user}", **who)
    return found


def write(path: Path, recorded: list[dict[str, Any]], until: datetime | None = None) -> str:
    """*recorded* as a file that ends *until* then."""
    kept = [event for event in recorded if until is None or datetime.fromisoformat(event["ts"]) <= until]
    path.write_text("".join(json.dumps(event) + "\n" for event in kept))
    return str(path)


@SETTINGS
@given(st.integers(0, 10**9), st.booleans(), st.data())
def test_a_pass_decides_what_decide_would_on_a_file_that_ended_then(
    folder: Path, seed: int, dated: bool, data: st.DataObject
) -> None:
    """Nothing of the future is seen: neither events, nor outcomes of units that are not old enough."""
    recorded, since = events(seed), T0 + timedelta(minutes=7) if dated else None
    found = backtest.run(
        folder, paths=[write(folder / "all.jsonl", recorded)], policy_file=folder / "rollout.yaml", stack="prod",
        fixed=10, since=since,
    )  # fmt: skip

    for item in data.draw(st.lists(st.sampled_from(found.passes), min_size=3, max_size=3)):
        now = item.facts.now
        path = write(folder / "then.jsonl", recorded, until=now)
        _, decision = offline.decide(folder, stack="prod", paths=[path], now=now, since=since)
        assert without_source(item.decision) == without_source(decision)


def without_source(decision: Any) -> dict[str, Any]:
    """
    The decision, but for the fingerprint of what the source said (it covers notes on records too), and for the last
    bit of an estimate, which DuckDB rounds once less often.
    """
    data = decision_json(decision)
    for kpi in data["kpis"].values():
        kpi["estimate"] = None if kpi["estimate"] is None else round(kpi["estimate"], 9)
    return {key: value for key, value in data.items() if key != "evidence_sha256"}


@SETTINGS
@given(st.integers(0, 10**9), st.data())
def test_what_comes_later_changes_no_pass_of_a_climb(folder: Path, seed: int, data: st.DataObject) -> None:
    recorded = events(seed)
    options: dict[str, Any] = {"policy_file": folder / "rollout.yaml", "every": timedelta(minutes=10)}
    whole = backtest.run(folder, paths=[write(folder / "all.jsonl", recorded)], **options).passes
    last = data.draw(st.integers(0, len(whole) - 1))
    path = write(folder / "then.jsonl", recorded, until=whole[last].facts.now)

    part = backtest.run(folder, paths=[path], **options).passes[: last + 1]

    assert [without_source(item.decision) for item in part] == [
        without_source(item.decision) for item in whole[: len(part)]
    ]


def test_a_data_set_with_one_row_a_user_is_replayed_to_its_revert(tmp_path: Path) -> None:
    found = backtest.run(tmp_path, **LANDING)

    lines: list[str] = []
    backtest.show(found, lines.append, as_json=False)
    assert "\n".join(lines) + "\n" == GOLDEN.read_text()


def test_the_ladder_is_climbed_and_left_at_the_first_revert(tmp_path: Path) -> None:
    """The drop comes on the third day, at 100 %; a fixed percent goes on to the end of the recording."""
    climbed = backtest.run(tmp_path, **LANDING).passes
    moves = [
        (item.decision.from_percent, item.decision.to_percent)
        for item in climbed
        if item.decision.verdict is not Verdict.HOLD
    ]
    assert moves == [(50, 100), (100, 50)]
    assert climbed[-1].decision.verdict is Verdict.REVERT

    fixed = backtest.run(tmp_path, fixed=50, **LANDING).passes
    assert {item.decision.from_percent for item in fixed} == {50}
    assert fixed[-1].facts.now > climbed[-1].facts.now
    assert fixed[-1].facts.evidence.proportion is not None
    assert climbed[-1].facts.evidence.proportion is None


def test_two_hours_of_a_healthy_launch_advance_when_the_bake_time_is_over(folder: Path) -> None:
    found = backtest.run(
        folder, paths=[str(EVENTS / "two-hours.jsonl.gz")], policy_file=folder / "rollout.yaml", stack="prod"
    )

    first = next(item for item in found.passes if item.decision.verdict is Verdict.ADVANCE)
    assert (first.facts.now, first.decision.to_percent) == (T0 + timedelta(hours=1), 20)
    assert found.every == timedelta(minutes=5)


def test_json_has_every_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(EVENTS)
    command = ["pilot", "backtest", "--policy", "landing-page.yaml", "--events", "landing-page.csv", "--every", "6h"]
    monkeypatch.setattr(sys, "argv", [*command, "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()

    passes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert end.value.code == 0
    instants = [datetime.fromisoformat(item["at"]) for item in passes]
    assert {b - a for a, b in pairwise(instants)} == {timedelta(hours=6)}
    assert {"verdict", "reasons", "kpis", "policy_sha256"} <= passes[0].keys()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "no usable events"),
        ('{"id": "1", "ts": "2026-05-05T10:00:00Z", "type": "exposure", "arm": "B", "user": "u"}\n',
         "arm is \"B\", neither pilot nor control"),
        ('{"id": "1", "ts": "2026-05-05T10:00:00Z", "type": "exposure", "arm": "control", "user": "u"}\n',
         "no exposure of the pilot arm"),
    ],
)  # fmt: skip
def test_a_recording_that_says_nothing_of_the_pilot_is_refused(folder: Path, lines: str, says: str) -> None:
    (folder / "events.jsonl").write_text(lines)

    with pytest.raises(ConfigError) as error:
        backtest.run(folder, paths=[str(folder / "events.jsonl")], policy_file=folder / "rollout.yaml")

    assert says in str(error.value)
    assert "source.fields" in str(error.value)


def test_an_estimate_counts_from_the_first_exposure_as_its_units_do(folder: Path) -> None:
    """A sample that came before the pilot's first user is none of the stage's."""
    who = {"user": "u", "arm": "pilot"}
    recorded = [
        {"id": "1", "ts": "2026-05-05T09:00:00Z", "type": "ttv", "seconds": 9, **who},
        {"id": "2", "ts": "2026-05-05T10:00:00Z", "type": "exposure", **who},
        {"id": "3", "ts": "2026-05-05T10:01:00Z", "type": "ttv", "seconds": 1, "user": "v", "arm": "pilot"},
    ]
    path = write(folder / "events.jsonl", recorded)

    _, decision = offline.decide(folder, stack="prod", paths=[path], now=T0 + timedelta(minutes=10), since=None)

    kpi = decision.evidence.kpis["ttv_p90"]
    assert (kpi.n, kpi.estimate) == (1, 1.0)
