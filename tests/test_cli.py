"""The command line: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controller import cli, wiring
from controller.cli import terminal
from controller.errors import TransientError
from tests.facts import ROOT
from tests.world import World

EVENTS = ROOT / "tests" / "golden" / "events" / "two-hours.jsonl.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped policy and prod at 10 %, which is the working directory."""
    shutil.copy(ROOT / "rollout.yaml", tmp_path)
    text = (ROOT / "Pulumi.prod.yaml").read_text()
    (tmp_path / "Pulumi.prod.yaml").write_text(text.replace("percent: 0 ", "percent: 10 "))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `pilot` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["pilot", *args])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_decide_prints_the_promised_object_without_network_git_or_aws(folder: Path) -> None:
    """In a process of its own, with a PATH without git, a proxy that leads nowhere and no credentials."""
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "decide", "--stack", "prod", "--events", str(EVENTS),
         "--now", "2026-05-05T12:00:00Z", "--json"],
        cwd=folder, capture_output=True, text=True, check=True,
        env={"PATH": "", "HOME": str(folder), "https_proxy": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    data = json.loads(done.stdout)
    assert (data["stack"], data["verdict"], data["from"], data["to"]) == ("prod", "advance", 10, 20)
    assert data["changes"] == {"percent": [10, 20]}
    assert data["window"] == {"start": "2026-05-05T10:00:00+00:00", "end": "2026-05-05T12:00:00+00:00"}
    assert {name: kpi["status"] for name, kpi in data["kpis"].items()} == dict.fromkeys(
        ["ttv_p50", "ttv_p90", "mic_grant", "activation", "error_rate"], "passed"
    )
    assert {path.name for path in folder.iterdir()} == {"rollout.yaml", "Pulumi.prod.yaml"}


def test_the_same_events_are_not_enough_an_hour_earlier(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half an hour after the start the bake time and the units are missing, and it says so."""
    code = run(
        "decide", "--stack", "prod", "--events", str(EVENTS), "--now", "2026-05-05T10:30:00Z", monkeypatch=monkeypatch
    )

    out = capsys.readouterr().out
    assert code == 0
    assert "hold" in out
    assert "baking: 30m of 1h, until 2026-05-05 11:00 UTC" in out


def test_check_warns_of_stages_that_are_too_short_for_a_traffic(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that is no error: slow is not wrong."""
    assert run("policy", "check", "--traffic", "mic_grant=50/d", monkeypatch=monkeypatch) == 0

    assert "warning: mic_grant: at 50/d the 10 % stage needs 2d 4h; its bake time is 1h" in capsys.readouterr().out


def test_events_that_do_not_exist_hold_and_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No data is never good news."""
    code = run(
        "decide",
        "--stack",
        "prod",
        "--events",
        "nowhere.jsonl",
        "--now",
        "2026-05-05T12:00:00Z",
        monkeypatch=monkeypatch,
    )

    out = capsys.readouterr().out
    assert code == 0
    assert "hold" in out
    assert "nowhere.jsonl" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ("decide", "--stack", "prd", "--events", "x"),
            "Pulumi.prd.yaml: No such file or directory; run in the folder",
        ),
        (
            ("decide", "--stack", "prod", "--events", "x", "--now", "noon"),
            "found 'noon'; write an instant with its zone",
        ),
        (
            ("decide", "--stack", "prod", "--events", "x", "--now", "2026-05-05T12:00:00"),
            "write an instant with its zone",
        ),
        (("policy", "check", "other.yaml"), "other.yaml: No such file or directory"),
        (("backtest", "--events", "x", "--stack", "prd"), "Pulumi.prd.yaml: No such file or directory"),
        (("backtest", "--events", "nowhere.jsonl"), "nowhere.jsonl: no usable events; nowhere.jsonl: no such file"),
        (("backtest", "--events", "x", "--every", "soon"), "'--every': found 'soon'"),
        (("policy", "check", "--traffic", "50"), "--traffic 50: write a rate above 0 such as 50/d or 20/h"),
        (("rehearse", "--figures"), "no required KPI's traffic is known: give --traffic 50/d, --events"),
        (("rehearse", "--scenario", "heathy"), "no scenario heathy; there are: healthy, api-errors"),
        (("status",), "no repository: run inside a checkout that has a remote origin, or set PILOT_REPOSITORY"),
        (("launch",), "No such command 'launch'"),
    ],
)
def test_what_a_person_must_mend_exits_with_2(
    args: tuple[str, ...], says: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where, what was found, what to do."""
    assert run(*args, monkeypatch=monkeypatch) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")


def test_a_misspelt_variable_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be silently without effect."""
    monkeypatch.setenv("PILOT_REPO", "x")

    assert run("status", monkeypatch=monkeypatch) == 2
    assert "environment: PILOT_REPO: " in capsys.readouterr().err


def test_an_unreachable_repository_exits_with_75(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run may succeed."""
    monkeypatch.setenv("PILOT_REPOSITORY", "http://127.0.0.1:9/repository.git")
    monkeypatch.setenv("PILOT_FORGE", "local")
    monkeypatch.setenv("PILOT_CACHE", str(folder / "cache"))

    assert run("status", monkeypatch=monkeypatch) == 75


def test_policy_check_and_schema(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped policy holds together; a wrong one is refused with its place."""
    assert run("policy", "check", monkeypatch=monkeypatch) == 0
    assert "rollout.yaml: 5 stages, 5 KPIs, 7 triggers" in capsys.readouterr().out
    assert run("policy", "schema", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == (ROOT / "rollout.schema.json").read_text()

    path = folder / "rollout.yaml"
    path.write_text(path.read_text().replace("stages:", "stage:", 1))
    assert run("policy", "check", monkeypatch=monkeypatch) == 2
    assert "rollout.yaml:7:1: stage: unknown key; did you mean stages" in capsys.readouterr().err


def test_a_person_works_with_pull_requests_of_the_local_forge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """list, show, merge, close, and history from Git alone."""
    world = World(tmp_path)
    world.reconcile()
    monkeypatch.setenv("PILOT_REPOSITORY", str(world.remote))
    monkeypatch.setenv("PILOT_CACHE", str(tmp_path / "cache"))

    assert run("pr", "list", monkeypatch=monkeypatch) == 0
    assert "#1  open  rollout(staging): 0% -> 10%  [success: advance: preflight passed]" in capsys.readouterr().out
    assert run("pr", "show", "1", monkeypatch=monkeypatch) == 0
    assert "How to undo" in capsys.readouterr().out
    assert run("pr", "merge", "1", "--by", "Ana", monkeypatch=monkeypatch) == 0
    assert world.percent("staging") == 10
    assert run("pr", "close", "1", monkeypatch=monkeypatch) == 2
    assert "pull request 1 is merged, not open" in capsys.readouterr().err
    assert run("pr", "show", "9", monkeypatch=monkeypatch) == 2
    assert run("history", "--stack", "staging", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0 % -> 10 %" in lines[0]
    assert "(proposed by the controller, merged by Ana)" in lines[0]


def test_reconcile_with_aws_down_holds_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither AWS nor the events answer: each stack holds with the reason, and nothing is written."""
    world = World(tmp_path)
    before = world.refs()
    for name, value in {
        "PILOT_REPOSITORY": str(world.remote), "PILOT_CACHE": str(tmp_path / "cache"),
        "PILOT_AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    world.edit("rollout.yaml", "https://staging.ontogra.com", "http://127.0.0.1:9")
    world.edit("rollout.yaml", "https://app.ontogra.com", "http://127.0.0.1:9")
    before = world.refs()

    assert run("reconcile", "--json", monkeypatch=monkeypatch) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["verdict"] for item in found] == ["hold", "hold"]
    assert all(item["reasons"][0].startswith("live state unknown: ") for item in found)
    assert any(reason.startswith("no evidence: ") for reason in found[0]["reasons"])
    assert run("status", monkeypatch=monkeypatch) == 0
    assert "live state unknown" in capsys.readouterr().out
    assert world.refs() == before


def test_a_person_rolls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which pull request to merge and what to run then; asking again finds it; no AWS is needed."""
    world = World(tmp_path)
    world.edit("Pulumi.prod.yaml", "percent: 0 ", "percent: 10 ")
    monkeypatch.setenv("PILOT_REPOSITORY", str(world.remote))
    monkeypatch.setenv("PILOT_CACHE", str(tmp_path / "cache"))
    asked = ("rollback", "--git-only", "--stack", "prod", "--reason", "users complain", "--by", "Ana")

    assert run(*asked, monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.splitlines() == [
        "#1: opened rollout(prod): 10% -> 0% (revert)",
        "next: merge #1, then pulumi up --stack prod",
    ]
    assert run(*asked, monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.startswith("#1: does that already")
    assert run(*asked, "--to", "10", monkeypatch=monkeypatch) == 2
    assert "Pulumi.prod.yaml is at 10 %; a rollback goes lower, found --to 10" in capsys.readouterr().err
    assert run("pr", "merge", "1", "--by", "Bo", monkeypatch=monkeypatch) == 0
    assert world.percent("prod") == 0


def test_a_workflows_token_is_warned_of_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a pass and by a rollback, on stderr, also where nothing is reached then; a second pass keeps quiet."""
    for name, value in {
        "PILOT_REPOSITORY": "https://github.com/acme/shop", "GITHUB_TOKEN": "ghs_1", "PILOT_CACHE": str(tmp_path),
        "https_proxy": "http://127.0.0.1:9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    said = "warning: the token is a workflow's GITHUB_TOKEN"
    for command in (
        ("reconcile", "--json"),
        ("rollback", "--git-only", "--stack", "prod", "--reason", "users complain"),
    ):
        terminal.warn.cache_clear()
        assert run(*command, monkeypatch=monkeypatch) == 75
        out = capsys.readouterr()
        assert (out.err.count(said), out.out) == (1, "")
        assert run(*command, monkeypatch=monkeypatch) == 75
        assert said not in capsys.readouterr().err


def test_a_forge_that_cannot_be_listed_is_an_error_beside_the_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 75; each stack still says what it would decide."""
    world = World(tmp_path)
    made = wiring.World(
        world.reader, world.forge, lambda: None, lambda policy: wiring.notifier(world.git, policy, lambda: world.now)
    )
    monkeypatch.setattr(wiring, "world", lambda settings, now: made)
    monkeypatch.setenv("PILOT_REPOSITORY", str(world.remote))

    def down(self: object, prefix: str) -> None:
        raise TransientError("the forge answered 502")

    monkeypatch.setattr("controller.forges.local.LocalForge.pull_requests", down)

    assert run("reconcile", "--json", monkeypatch=monkeypatch) == 75
    out = capsys.readouterr()
    assert [json.loads(line)["verdict"] for line in out.out.splitlines()] == ["hold", "hold"]
    assert "staging: try again later: the forge answered 502" in out.err
    assert run("status", monkeypatch=monkeypatch) == 75
    assert "prod  declared 0 %" in capsys.readouterr().out
