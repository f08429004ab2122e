"""The morning's summary: golden text, the archive, and one message a day."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.decide import Facts, decide
from controller.errors import ConfigError, TransientError
from controller.launch import nightly as daily
from controller.messages import nightly as text
from controller.model import KpiStatus, News
from controller.observe import Reader
from controller.ports import Ci, CiState
from controller.sources.events_api import EventsApi
from tests.facts import NOW, POLICY, ROOT, facts, kpi, past, triggers
from tests.forge_world import LocalWorld
from tests.launch.test_news import Heard
from tests.memory import MemoryGit, Server
from tests.messages.test_pull_request import KPIS

GOLDEN = ROOT / "tests" / "golden" / "nightly"
STALE = {"activation": kpi(KpiStatus.STALE, "activation: silent for 7h")}


def shown(given: Facts, *more: Any) -> text.Stack:
    return text.Stack(given, decide(given), *more)


DAYS = {
    "healthy": [shown(facts(20, evidence=KPIS), 7, "https://git.example.com/7", "200 archived as events-prod.json")],
    "odd": [
        shown(facts(20, evidence=replace(KPIS, kpis=dict(KPIS.kpis) | STALE), malformed=9, counted=10, notes=("line 3: no ts",))),
        shown(facts(20, stack="staging", evidence=KPIS, triggers=triggers(legal_defect="1 event"))),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", DAYS)
def test_the_summary_is_the_golden_one(name: str) -> None:
    """Read the files in tests/golden/nightly: they are what stands in the job's summary and in the chat."""
    errors, incidents = (["dev: no such stack"], ["P1 prod/x: Exports fail"]) if name == "odd" else ([], [])
    said = text.summary(DAYS[name], errors, incidents, "5 jobs green", POLICY.operations, at=NOW)
    chat = text.message(DAYS[name], errors, "5 jobs green", POLICY.operations, day=NOW.date())
    assert f"{said}\n---\n{chat.title}\n\n{chat.text}\n" == (GOLDEN / f"{name}.md").read_text()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (facts(20, history=past(0, 10, 20, ago=timedelta(days=2)), window=replace(facts(20).window, stage=NOW - timedelta(days=2))),
         "20 % -> 50 % if KPIs stable, from 2026-05-23 12:00 UTC on; now baking"),
        (facts(50, evidence=KPIS), "50 % -> 100 %: KPIs stable, the next pass proposes it; review it and merge"),
        (facts(100), "the rollout is complete"),
        (facts(20, triggers=triggers(legal_defect="1 event")), "20 % -> 50 %: not now, legal_defect fired: 1 event"),
    ],
)  # fmt: skip
def test_the_weekly_step_up_is_said_with_its_day(given: Facts, words: str) -> None:
    """20 % -> 50 % in week 1, 50 % -> 100 % in week 2, if the KPIs are stable."""
    assert text.scale_up(shown(given)).startswith(words)


class Api(EventsApi):
    """An API of which only the newest page is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def newest(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def read(self, *asked: Any) -> Any:
        return world_source.read(*asked)


world_source: Any = None


@pytest.fixture
def world() -> LocalWorld:
    global world_source
    server = Server()
    made = LocalWorld(lambda: MemoryGit(server))
    world_source = made.source
    return made


def run(world: LocalWorld, answer: Any, folder: Path | None, heard: Heard | None = None) -> daily.Nightly:
    reader, forge = world.controller()
    reader = Reader(reader.repository, reader.live, lambda stack, policy: Api(answer))
    notifiers = None if heard is None else lambda policy: heard
    return daily.nightly(reader, forge, notifiers, archive=folder, now=world.now)


def test_the_newest_events_are_kept_as_the_api_gives_them(world: LocalWorld, tmp_path: Path) -> None:
    """For the notes of the rollout: also what we would call malformed."""
    events = [{"id": "e2", "ts": "2026-05-11T08:00:00Z", "type": "run", "name": "Zoë"}, "odd"]
    done = run(world, events, tmp_path / "new" / "folder")

    (kept,) = (tmp_path / "new" / "folder").iterdir()
    assert kept.name == "events-prod-2026-05-11T0800Z.json"
    assert json.loads(kept.read_text()) == events
    assert f"2 archived as {kept.name}" in done.summary
    assert "a local forge has no CI to ask" in done.summary


def test_an_api_that_is_down_costs_the_snapshot_alone(world: LocalWorld, tmp_path: Path) -> None:
    """The summary says so."""
    done = run(world, TransientError("events API answered 503"), tmp_path)
    assert "not archived: events API answered 503" in done.summary
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_persons_to_mend(world: LocalWorld, tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name another folder"):
        run(world, [], tmp_path / "file")


def test_the_day_is_told_once_and_nothing_is_written(world: LocalWorld) -> None:
    """Though the job runs again."""
    heard, before = Heard(), dict(world._git._server.refs)  # type: ignore[attr-defined]
    for _ in range(2):
        run(world, [], None, heard)
    world.now += timedelta(days=1)
    run(world, [], None, heard)

    assert [item.kind for item in heard.said] == [News.DAILY] * 2
    assert heard.said[0].title == "Pilot on Monday 2026-05-11"
    assert dict(world._git._server.refs) == before  # type: ignore[attr-defined]


def test_the_jobs_that_the_clock_starts_are_no_part_of_the_ci(world: LocalWorld) -> None:
    """The nightly summary is written by one of them, which runs still."""
    reader, forge = world.controller()
    jobs = {"tests": "green", "daily": "running"}

    def ci(oid: str, *, without: Collection[str] = ()) -> Ci:
        return Ci(CiState.GREEN, ", ".join(f"{job}: {how}" for job, how in jobs.items() if job not in without))

    forge.ci = ci  # type: ignore[method-assign]

    assert daily._ci(forge, reader.repository.sync(), POLICY.operations) == "tests: green"
