"""Whole scenarios: how they end, that a seed decides everything, and that both engines tell the same story."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.rehearsal.command import play
from controller.rehearsal.localcloud.engine import find_pulumi
from controller.rehearsal.play import Story
from controller.rehearsal.scenarios import End

SEED = 1


@pytest.fixture(scope="module")
def vetoed(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The scenario in which a person closes a proposal, in-process."""
    return play("veto", SEED, tmp_path_factory.mktemp("vetoed") / "a", None)


def test_a_scenario_ends_as_it_must_tells_how_and_differs_by_its_seed(vetoed: Story, tmp_path: Path) -> None:
    """The timeline names who did what; the base branch holds the same. Two scenarios of one seed would begin alike."""
    reverted = play("human-revert", SEED + 1, tmp_path / "reverted", None)

    assert reverted.wrong == ()
    assert [text for text in (beat.text for beat in reverted.beats) if "Omar Operator runs git revert" in text]
    assert [line.split(" ", 1)[1] for line in reverted.commits] == [
        'Revert "rollout(prod): 10% -> 20%"',
        "rollout(prod): 10% -> 20%",
        "rollout(prod): 0% -> 10%",
        "Declare the pilot in staging and prod",
    ]
    assert not set(reverted.commits) & set(vetoed.commits)


def test_the_real_engine_tells_the_same_story_commit_by_commit(vetoed: Story, tmp_path: Path) -> None:
    """Nothing in the repository depends on the machine, the hour or the engine."""
    pulumi = find_pulumi()
    assert pulumi is not None, "no pulumi command: run `make test`, or tools/pulumi-cli.sh, which builds it with Go"

    again = play("veto", SEED, tmp_path / "b", pulumi)

    assert again.wrong == ()
    assert again.commits == vetoed.commits
    assert [(pr.number, pr.head, pr.body) for pr in again.pull_requests] == [
        (pr.number, pr.head, pr.body) for pr in vetoed.pull_requests
    ]


@pytest.mark.parametrize("name", ["api-errors", "not-applied"])
def test_what_goes_wrong_is_handled(name: str, tmp_path: Path) -> None:
    """A rollback by a trigger, and a hold that says what to run; `make rehearse` plays all eight."""
    assert play(name, SEED, tmp_path / name, None).wrong == ()


def test_a_wrong_end_is_noticed_point_by_point() -> None:
    """What a scenario is compared with at its end."""
    end = End(20, 10, ("a", "b"), says="run pulumi up")

    assert end.unlike(replace(end, says="live 10 %: run pulumi up --stack prod")) == ()
    assert end.unlike(End(10, None, ("a",), says="baking", flags=())) == (
        "declared percent: expected 20, found 10",
        "live percent: expected 10, found None",
        "merged pull requests: expected ('a', 'b'), found ('a',)",
        "flags: expected {'micPrompt': 'primer'}, found {}",
        "last reason: expected 'run pulumi up' in 'baking'",
    )
