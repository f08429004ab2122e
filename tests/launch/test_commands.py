"""The commands of launch day as a person and a program meet them: what they print, and their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller import cli, launch_commands, readiness, wiring
from controller.errors import TransientError
from controller.launch import preflight
from controller.model import CheckResult, Readiness, Unreadable
from tests.world import World

Run = Callable[..., int]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Both stacks as shipped, with a preflight asked of prod that needs neither a browser nor a network."""
    made = World(tmp_path)
    for old, new in (
        ("    stacks: []", "    stacks: [prod]"),
        ("command: npx playwright test --config=playwright/playwright.noweb.config.ts --project=firefox", "command: echo 3 passed"),
        ("    checks: [smoke, health]\n    checklist: readiness/Pilot_Launch_Command_Checklist_7Day.md\n    ci: true", "    checks: [smoke]\n    ci: false"),
        ("  dashboard: https://app.ontogra.com/analytics\n", ""),
        ("    scan: {ttv_p50: samples, ttv_p90: samples, mic_grant: target}", "    scan: {mic_grant: target}"),
    ):  # fmt: skip
        made.edit("rollout.yaml", old, new)
    made.wait(hours=1)
    means = SimpleNamespace(reader=made.reader, forge=made.forge, close=lambda: None)
    monkeypatch.setattr(wiring, "world", lambda settings, now: means)
    monkeypatch.setattr(wiring, "way_back", lambda settings, declared: (True, "api:1"))
    monkeypatch.setattr(launch_commands, "_now", lambda: made.now)
    monkeypatch.setenv("PILOT_REPOSITORY", str(made.remote))
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
    world: World, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("preflight", "--stack", "prod", "--by", "Omar") == 2
    out = capsys.readouterr().out
    assert "FAIL  People named: nobody is named for support, technical, qa" in out
    assert "ok    E2E smoke test: exit code 0: 3 passed" in out
    assert "3 of 8 checks failed: nobody is let in." in out
    assert "pilot preflight --stack prod" in out.splitlines()[-1] or "goes first" in out

    for role in ("support", "technical", "qa"):
        world.edit("rollout.yaml", f'{role}: ""', f"{role}: Sam")
    monkeypatch.setenv("PILOT_CHANNEL_LAUNCH", "https://hooks.example.com/x")
    drill = Readiness("", world.now, "Ana", (CheckResult("Kill", True, "0 % live after 3 s", 3.0),))
    preflight.save(world.reader, readiness.drill_ref("staging"), drill, "drill")
    assert run("preflight", "--stack", "prod", "--by", "Omar", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["passed"], told["by"], len(told["checks"])) == (True, "Omar", 8)
    assert told["reasons"][0].startswith("staging goes first")  # which is at 0 %: what else holds is told too


def test_a_preflight_of_another_stack_is_refused(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("preflight", "--stack", "staging") == 2
    assert "asks for no preflight of staging" in capsys.readouterr().err


def test_watch_once_tells_people_and_programs_and_exits_by_the_state(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
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


def test_watch_says_what_it_cannot_see(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    world.sources["prod"].down = TransientError("the events API did not answer")
    for cluster in world.live.applied:
        world.live.broken[cluster] = Unreadable("denied; allow it")
    assert run("watch", "--stack", "prod", "--once") == 2
    out = capsys.readouterr().out
    assert "NOT UP TO DATE: the events API did not answer" in out
    assert "live state unknown: denied; allow it" in out
    assert "??   Login failures           not counted" in out


def test_a_wrong_pause_is_refused(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch", "--stack", "prod", "--once", "--every", "30") == 2
    assert "--every" in capsys.readouterr().err


def test_the_doctor_answers_in_both_forms(
    world: World, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOT_AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    world.edit("rollout.yaml", "https://staging.ontogra.com", "http://127.0.0.1:9")
    world.edit("rollout.yaml", "https://app.ontogra.com", "http://127.0.0.1:9")
    assert run("doctor", "--json") == 2
    found = {item["about"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["push"]["severity"] == "fine"
    assert found["prod: AWS credentials"]["severity"] == "wrong"
    assert found["prod: live state"]["severity"] == "fine"


def test_the_doctor_looks_on_where_the_settings_are_wrong(
    world: World, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOT_FORG", "github")
    assert run("doctor") == 2
    out = capsys.readouterr().out
    assert "FAIL  settings" in out
    assert "ok    git" in out
