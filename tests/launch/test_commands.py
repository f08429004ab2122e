"""The commands of launch day as a person and a program meet them: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from controller import cli, observe, readiness, wiring
from controller.aws.breakglass import Act
from controller.cli import launch
from controller.errors import TransientError
from controller.launch import preflight
from controller.model import Announcement, CheckResult, Intake, Readiness, Stop, Unreadable
from tests.facts import ROOT
from tests.world import MemoryWorld, World

Run = Callable[..., int]


class Heard(MemoryWorld):
    """A world with one channel, which tells what it heard; `deaf` is what keeps it from being told."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = ["channel launch: PILOT_CHANNEL_LAUNCH is not set"]
        self.heard: list[str] = []

    def tell(self, news: Announcement, *, key: str) -> list[str]:
        self.heard.append(f"{news.kind}: {news.text}")
        return []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Both stacks as shipped, with a preflight asked of prod that needs neither a browser nor a network."""
    made = Heard()
    for old, new in (
        ("    stacks: []", "    stacks: [prod]"),
        ("command: npx playwright test --config=playwright/playwright.noweb.config.ts --project=firefox", "command: echo 3 passed"),
        ("    checks: [smoke, health]\n    checklist: readiness/Pilot_Launch_Command_Checklist_7Day.md\n    ci: true ", "    checks: [smoke]\n    ci: false "),
        ("  dashboard: https://app.ontogra.com/analytics\n", ""),
        ("    scan: {ttv_p50: samples, ttv_p90: samples, mic_grant: target}", "    scan: {mic_grant: target}"),
    ):  # fmt: skip
        made.edit("rollout.yaml", old, new)
    made.wait(hours=1)
    heard = SimpleNamespace(problems=lambda: made.deaf, tell=made.tell)
    means = SimpleNamespace(reader=made.reader, forge=made.forge, close=lambda: None, notifier=lambda policy: heard)
    monkeypatch.setattr(wiring, "world", lambda settings, now: means)
    monkeypatch.setattr(preflight, "way_back", lambda glass: "api:1")
    monkeypatch.setattr(launch, "now", lambda: made.now)
    monkeypatch.setenv("PILOT_REPOSITORY", "memory.git")
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", ["pilot", *args])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return run


def test_a_preflight_is_a_list_that_ends_with_what_is_next(
    world: Heard, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("preflight", "--stack", "prod", "--by", "Omar") == 2
    out = capsys.readouterr().out
    assert "FAIL  People named: nobody is named for support, technical, qa" in out
    assert "ok    E2E smoke test: exit code 0: 3 passed" in out
    assert "3 of 8 checks failed: nobody is let in." in out
    assert "pilot preflight --stack prod" in out.splitlines()[-1] or "goes first" in out

    for role in ("support", "technical", "qa"):
        world.edit("rollout.yaml", f'{role}: ""', f"{role}: Sam")
    world.deaf = []
    drill = Readiness("", world.now, "Ana", (CheckResult("Kill", True, "0 % live after 3 s", 3.0),))
    preflight.save(world.reader, readiness.drill_ref("staging"), drill, "drill")
    assert run("preflight", "--stack", "prod", "--by", "Omar", "--send-test", "--json") == 0
    assert world.heard == ["launch: Omar tries whether this channel is heard. Nothing has happened."]
    told = json.loads(capsys.readouterr().out)
    assert (told["passed"], told["by"], len(told["checks"])) == (True, "Omar", 8)
    assert told["reasons"][0].startswith("staging goes first")  # which is at 0 %: what else holds is told too


def test_a_preflight_of_another_stack_is_refused(world: Heard, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("preflight", "--stack", "staging") == 2
    assert "asks for no preflight of staging" in capsys.readouterr().err


def test_watch_once_tells_people_and_programs_and_exits_by_the_state(
    world: Heard, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.edit("Pulumi.prod.yaml", "percent: 0 ", "percent: 10 ")
    world.up("prod")
    world.wait(minutes=30)
    before = world.refs()

    assert run("watch", "--stack", "prod", "--once") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("prod   ALL WELL")
    assert "ok   Login failures" in out
    assert "\x1b" not in out

    world.sources["prod"].bad = {"login": 0.1, "citations": 0.02}
    assert run("watch", "--stack", "prod", "--once", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    rows = {row["title"]: row for row in told["rows"]}
    assert (told["state"], rows["Login failures"]["state"], rows["Upload failures"]["state"]) == ("ACT!", "ACT!", "ok")
    assert rows["Login failures"]["shown"].startswith("25 of 250, 10 %")
    assert world.refs() == before


def test_watch_says_what_it_cannot_see(world: Heard, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    world.sources["prod"].down = TransientError("the events API did not answer")
    for cluster in world.live.applied:
        world.live.broken[cluster] = Unreadable("denied; allow it")
    assert run("watch", "--stack", "prod", "--once") == 2
    out = capsys.readouterr().out
    assert "NOT UP TO DATE: the events API did not answer" in out
    assert "live state unknown: denied; allow it" in out
    assert "??   Login failures           not counted" in out


def test_a_wrong_pause_is_refused(world: Heard, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch", "--stack", "prod", "--once", "--every", "30") == 2
    assert "--every" in capsys.readouterr().err


def test_the_doctor_answers_in_both_forms(
    world: Heard, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The push is tried on a repository of Git's."""
    monkeypatch.setenv("PILOT_REPOSITORY", str(World(tmp_path).remote))
    monkeypatch.setenv("PILOT_AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    world.edit("rollout.yaml", "https://staging.ontogra.com", "http://127.0.0.1:9")
    world.edit("rollout.yaml", "https://app.ontogra.com", "http://127.0.0.1:9")
    assert run("doctor", "--json") == 2
    found = {item["about"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["push"]["health"] == "fine"
    assert found["prod: AWS credentials"]["health"] == "wrong"
    assert found["prod: live state"]["health"] == "fine"


def test_the_doctor_looks_on_where_the_settings_are_wrong(
    world: Heard, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOT_FORG", "github")
    assert run("doctor") == 2
    out = capsys.readouterr().out
    assert "FAIL  settings" in out
    assert "ok    git" in out


# ---------------------------------------------------------------- the drill


class Glass:
    """The switch of staging; `works` is whether AWS follows it."""

    def __init__(self, world: Heard, *, works: bool = True) -> None:
        self.world, self.works, self.stops = world, works, list[str]()

    def stop(self) -> None:
        return None

    def hold_down(self, stop: Stop) -> Iterator[Act]:
        self.stops.append(stop.reason)
        yield Act("the stop is recorded", wrote=True)
        if self.works:
            live = self.world.live.applied
            cluster = next(name for name in live if "staging" in name)
            live[cluster] = replace(live[cluster], percent=0, intake=Intake.PAUSED)

    def end(self, why: str) -> Act:
        self.stops.append(f"ended: {why}")
        return Act("the stop has ended", wrote=True)


@pytest.mark.parametrize("works", [True, False])
def test_a_drill_pulls_the_switch_in_staging_ends_it_and_keeps_what_came_of_it(
    world: Heard, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    glass = Glass(world, works=works)
    monkeypatch.setattr(wiring, "glass", lambda settings, declared: glass)
    monkeypatch.setattr(launch.time, "sleep", lambda s: world.wait(seconds=s))
    world.edit("Pulumi.staging.yaml", "percent: 0 ", "percent: 100 ")
    world.up("staging")

    assert run("preflight", "--stack", "prod", "--drill", "--yes", "--by", "Omar") == 2
    out = capsys.readouterr()
    assert glass.stops == ["drill of the kill switch", "ended: drill by Omar"]
    assert "next: bring staging back: pulumi up --refresh --stack staging" in out.err
    kept = observe.ready(world.git, readiness.drill_ref("staging"))
    assert kept is not None
    assert (not kept.failed) is works
    if works:
        assert "ok    Kill switch tried: in staging" in out.out
        assert "FAIL  staging: deployment: another image or percent is live" in out.out  # until it is brought back
    else:
        assert "FAIL  Kill switch tried" in out.out
        assert "100 % are in still" in out.out


def test_a_drill_is_made_by_whoever_types_the_stacks_name(
    world: Heard, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    glass = Glass(world)
    monkeypatch.setattr(wiring, "glass", lambda settings, declared: glass)
    monkeypatch.setattr(launch.click, "prompt", lambda *_, **__: "prod")
    assert run("preflight", "--stack", "prod", "--drill") == 2
    assert "another name was typed: nothing was done" in capsys.readouterr().err
    assert glass.stops == []


# ---------------------------------------------------------------- what people read on paper


@pytest.mark.parametrize("page", ["runbook.md", "launch-card.md"])
def test_what_a_page_tells_people_to_type_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    typed = re.findall(r"^    (pilot .+)$|`(pilot [^`]+)`", text, re.MULTILINE)
    assert len(typed) > 5
    for words in (shlex.split(one or other)[1:] for one, other in typed):
        command: click.Command = cli.cli
        while isinstance(command, click.Group):
            assert words, f"{command.name} alone"
            name = words.pop(0)
            assert name in command.commands, f"there is no pilot {name}"
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("--") or word in known, f"pilot {command.name} has no {word}"
