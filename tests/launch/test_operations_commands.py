"""What operations people type, from the first word of an incident to the morning's summary."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import cli, wiring
from controller.errors import ConfigError
from controller.model import Event
from controller.ports import PrState
from tests.forge_world import LocalWorld
from tests.launch.test_incidents import OPERATIONS
from tests.launch.test_news import Heard
from tests.memory import MemoryGit, Server


class Desk:
    """A terminal on a world whose clock is the machine's, for the commands ask that one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        server = Server()
        self.world = LocalWorld(lambda: MemoryGit(server), more=OPERATIONS)
        self.heard, self.capsys = Heard(), capsys
        self.now = datetime.now(UTC)
        self.world.now = self.now
        monkeypatch.setattr(wiring, "world", lambda settings, now: self._world())
        monkeypatch.setattr("os.environ", {"USER": "omar", "PILOT_REPOSITORY": "/anywhere"})

    def _world(self) -> wiring.World:
        reader, forge = self.world.controller()
        return wiring.World(reader, forge, lambda: None, lambda policy: self.heard)  # type: ignore[arg-type,return-value]

    def type(self, *words: str) -> list[str]:
        assert cli.cli.main(list(words), standalone_mode=False) == 0
        return self.capsys.readouterr().out.splitlines()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(monkeypatch, capsys)


def test_an_incident_from_the_terminal(desk: Desk) -> None:
    """Opened, listed, told of, resolved; the lines say what to type next."""
    opened = desk.type("incident", "open", "--stack", "prod", "--severity", "P1", "--title", "Exports fail")
    name = f"prod/{desk.now:%Y-%m-%d}-exports-fail"
    assert opened[0] == f"incident/{name} holds incidents/{name}/"
    assert opened[-1].endswith(f'pilot incident update {name} --text "..."')

    (line,) = desk.type("incident", "list")
    assert line.startswith(f"P1  {name}  Exports fail  next word by ")
    assert json.loads(desk.type("incident", "list", "--json")[0])["severity"] == "P1"
    desk.type("incident", "update", name, "--text", "looking at the queue")
    *_, report = desk.type("incident", "resolve", name.partition("/")[2], "--text", "the queue is drained")
    assert report == f"next: complete incidents/{name}/README.md on branch incident/{name}, and merge it"
    assert desk.type("incident", "list")[0].endswith("resolved, its report waits for a merge")
    assert [item.title.partition(":")[0] for item in desk.heard.said] == [
        "P1 incident in prod", "P1 incident in prod, update", "P1 incident in prod resolved",
    ]  # fmt: skip


def test_without_a_severity_a_program_is_told_the_rules(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A person at a terminal would be asked."""
    with pytest.raises(ConfigError, match="which severity"):
        desk.type("incident", "open", "--stack", "prod", "--title", "x")
    assert capsys.readouterr().err.splitlines() == [
        "P0: complete service outage, data loss", "P1: performance degradation > 50 %",
    ]  # fmt: skip
    assert desk.type("incident", "list") == ["no incident is open"]


def test_the_first_outputs_are_listed(desk: Desk) -> None:
    """With how many are missing."""
    attributes = {"packet": "p1", "url": "https://app.example.com/p1.pdf"}
    desk.world.source.recorded = (Event("e1", desk.now - timedelta(hours=2), "output", "pilot", attributes),)
    assert desk.type("outputs", "--stack", "prod") == [
        f"1. p1, {desk.now - timedelta(hours=2):%Y-%m-%d %H:%M} UTC: https://app.example.com/p1.pdf", "1 of 5 so far",
    ]  # fmt: skip
    (line,) = desk.type("outputs", "--stack", "prod", "--json")
    assert json.loads(line)["packet"] == "p1"


def test_a_firm_is_let_in(desk: Desk) -> None:
    """By a pull request that the local forge shows and merges."""
    first, following = desk.type("cohort", "add", "--stack", "prod", "firm-z")
    assert first == "#1: cohort(prod): add firm-z"
    assert following == "next: merge #1, then pulumi up --stack prod"
    desk.world.merge(1)
    assert "firm-z" in desk.type("cohort", "list", "--stack", "prod")
    desk.type("cohort", "remove", "--stack", "prod", "firm-z")
    assert [pr.title for pr in desk.world.pulls() if pr.state is PrState.OPEN] == ["cohort(prod): remove firm-z"]


def test_the_morning(desk: Desk, tmp_path: Path) -> None:
    """Markdown on the standard output, for a job's summary."""
    said: Any = desk.type("nightly", "--archive", str(tmp_path), "--tell")
    assert said[0] == f"# Pilot, {datetime.now(UTC):%A %Y-%m-%d}"
    assert "## prod: 20 % of users" in said
    assert [item.kind for item in desk.heard.said] == ["daily"]
