"""Whole scenarios: how they end, that a seed decides everything, and that both engines tell the same story."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.rehearsal import command
from controller.rehearsal.command import play
from controller.rehearsal.localcloud.engine import find_pulumi
from controller.rehearsal.play import Story
from controller.rehearsal.scenarios import SCENARIOS

SEED = 1


@pytest.fixture(scope="module")
def reverted(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The scenario in which a person takes the advance back, in-process."""
    return play("human-revert", SEED, tmp_path_factory.mktemp("reverted") / "a", None)


def test_a_scenario_ends_as_it_must_and_tells_how(reverted: Story) -> None:
    """The timeline names who did what; the base branch holds the same."""
    assert reverted.wrong == ()
    assert [text for text in (beat.text for beat in reverted.beats) if "Omar Operator runs git revert" in text]
    assert [line.split(" ", 1)[1] for line in reverted.commits] == [
        'Revert "rollout(prod): 10% -> 20%"',
        "rollout(prod): 10% -> 20%",
        "rollout(prod): 0% -> 10%",
        "Declare the pilot in staging and prod",
    ]


def test_the_same_seed_gives_the_same_commit_ids_with_the_real_engine_too(reverted: Story, tmp_path: Path) -> None:
    """Nothing in the repository depends on the machine, the hour or the engine; another seed is another story."""
    pulumi = find_pulumi()
    assert pulumi is not None, "no pulumi command: run `make test`, or tools/pulumi-cli.sh, which builds it with Go"

    again = play("human-revert", SEED, tmp_path / "b", pulumi)
    other = play("human-revert", SEED + 1, tmp_path / "c", None)

    assert again.commits == reverted.commits
    assert [(pr.number, pr.head, pr.body) for pr in again.pull_requests] == [
        (pr.number, pr.head, pr.body) for pr in reverted.pull_requests
    ]
    assert other.wrong == ()
    assert other.commits != reverted.commits


@pytest.mark.parametrize("name", ["api-errors", "not-applied"])
def test_what_goes_wrong_is_handled(name: str, tmp_path: Path) -> None:
    """A rollback by a trigger, and a hold that says what to run; `make rehearse` plays all eight."""
    assert play(name, SEED, tmp_path / name, None).wrong == ()


def test_a_wrong_end_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The story is compared with the end that its scenario names, point by point."""
    scenario = next(one for one in SCENARIOS if one.name == "not-applied")
    end = replace(scenario.end, live=20, merged=(), says="something else")
    monkeypatch.setattr(command, "SCENARIOS", (replace(scenario, days=0.1, end=end),))

    wrong = command.play("not-applied", SEED, tmp_path / "d", None).wrong

    assert [line.split(":")[0] for line in wrong] == [
        "declared percent",
        "live percent",
        "merged pull requests",
        "last reason",
    ]
