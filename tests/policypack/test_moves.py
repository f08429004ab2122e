"""A percent moves along the ladder; where it comes from is read from Git."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from policypack import moves
from policypack.moves import Move
from tests.facts import ROOT

LADDER = (0, 10, 20, 50, 100)
FILE = "Pulumi.prod.yaml"


@pytest.mark.parametrize(
    ("before", "to", "ahead", "said"),
    [
        pytest.param(0, 10, None, None, id="next-stage"),
        pytest.param(50, 100, None, None, id="last-stage"),
        pytest.param(20, 20, None, None, id="no-move"),
        pytest.param(50, 10, ("staging", 0), None, id="down-needs-nobody-ahead"),
        pytest.param(100, 0, None, None, id="down-to-nothing"),
        pytest.param(None, 0, None, None, id="new-at-0"),
        pytest.param(0, 20, None, f"{FILE}: percent goes from 0 to 20 and skips 10; set it to 10 first", id="skipped"),
        pytest.param(
            0, 100, None, f"{FILE}: percent goes from 0 to 100 and skips 10, 20, 50; set it to 10 first", id="jump"
        ),
        pytest.param(
            15,
            50,
            None,
            f"{FILE}: percent goes from 15 to 50 and skips 20; set it to 20 first",
            id="from-off-the-ladder",
        ),
        pytest.param(
            10,
            15,
            None,
            f"{FILE}: percent 15 is no stage of rollout.yaml; set pilot:rollout.percent to one of 0, 10, 20, 50, 100",
            id="no-stage",
        ),
        pytest.param(
            50,
            15,
            None,
            f"{FILE}: percent 15 is no stage of rollout.yaml; set pilot:rollout.percent to one of 0, 10, 20, 50, 100",
            id="down-to-no-stage",
        ),
        pytest.param(
            None,
            10,
            None,
            f"{FILE} begins at 10 %; commit a new stack at percent: 0, and raise it stage by stage",
            id="new-at-10",
        ),
        pytest.param(10, 20, ("staging", 20), None, id="ahead-is-there"),
        pytest.param(
            10,
            20,
            ("staging", 19),
            f"{FILE}: percent 20 is above the 19 that staging has; raise Pulumi.staging.yaml first",
            id="ahead-is-lower",
        ),
        pytest.param(
            10,
            20,
            ("staging", None),
            f"{FILE}: staging goes first (rollout.yaml), and there is no Pulumi.staging.yaml; add it, or remove `after`",
            id="ahead-is-missing",
        ),
    ],
)
def test_a_move_goes_to_the_next_stage_or_down(
    before: int | None, to: int, ahead: tuple[str, int | None] | None, said: str | None
) -> None:
    assert moves.refusal(Move("prod", before, to, LADDER, ahead)) == said


@pytest.mark.parametrize(
    ("before", "to", "allowed"), [(20, 10, True), (20, 0, True), (None, 0, True), (10, 20, False), (None, 10, False)]
)
def test_a_policy_that_cannot_be_read_stops_raises_and_no_revert(before: int | None, to: int, allowed: bool) -> None:
    assert (moves.refusal(Move("prod", before, to, None)) is None) == allowed


# ---------------------------------------------------------------- where a move starts from


class Checkout:
    """A git repository with two stack files and the shipped policy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.write(staging=100, prod=0)
        self.commit(prod=0)

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True)

    def write(self, *, ladder: str | None = None, **percents: int) -> None:
        policy = (ROOT / "rollout.yaml").read_text()
        (self.path / "rollout.yaml").write_text(
            policy.replace("  - {percent: 20, bake: 5d}", ladder or "  - {percent: 20}")
        )
        for stack, percent in percents.items():
            text = (ROOT / f"Pulumi.{stack}.yaml").read_text()
            (self.path / f"Pulumi.{stack}.yaml").write_text(text.replace("percent: 0 ", f"percent: {percent} "))

    def commit(self, *, ladder: str | None = None, **percents: int) -> None:
        self.write(ladder=ladder, **percents)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")

    def said(self, percent: int, stack: str = "prod") -> str | None:
        return moves.refusal(moves.read(self.path, stack, percent))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_an_edit_that_is_not_committed_starts_from_the_last_commit(checkout: Checkout) -> None:
    checkout.commit(prod=10)

    assert checkout.said(20) is None
    assert "from 10 to 50 and skips 20" in (checkout.said(50) or "")


def test_a_committed_jump_is_refused_until_it_is_taken_back(checkout: Checkout) -> None:
    checkout.commit(prod=50)
    checkout.commit()  # another commit, as the next pull request brings

    assert "from 0 to 50 and skips 10, 20" in (checkout.said(50) or "")
    checkout.commit(prod=10)
    assert checkout.said(10) is None
    checkout.commit(prod=20)
    assert checkout.said(20) is None


def test_other_changes_of_the_file_are_passed_over(checkout: Checkout) -> None:
    checkout.commit(prod=10)
    checkout.commit(prod=20)
    path = checkout.path / FILE
    path.write_text(path.read_text().replace("intake: open", "intake: paused"))
    checkout.git("commit", "-qam", "pause")

    assert moves.read(checkout.path, "prod", 20).before == 10


def test_a_ladder_that_changed_later_does_not_refuse_a_stage_that_was_reached(checkout: Checkout) -> None:
    checkout.commit(prod=10)
    checkout.commit(prod=20)
    checkout.commit(ladder="  - {percent: 15}\n  - {percent: 20}", prod=20)

    assert checkout.said(20) is None
    assert checkout.said(50) is None
    assert "from 20 to 100 and skips 50" in (checkout.said(100) or "")


def test_staging_must_be_there_before_the_commit_that_raises_prod(checkout: Checkout) -> None:
    checkout.commit(staging=0)
    checkout.commit(staging=10, prod=10)  # both at once

    assert checkout.said(10) == f"{FILE}: percent 10 is above the 0 that staging has; raise Pulumi.staging.yaml first"
    checkout.commit(prod=0)
    checkout.commit(prod=10)
    assert checkout.said(10) is None
    assert checkout.said(20) == f"{FILE}: percent 20 is above the 10 that staging has; raise Pulumi.staging.yaml first"


def test_a_merge_counts_as_one_move(checkout: Checkout) -> None:
    """Two raises on one branch do not become lawful by being two commits."""
    checkout.git("checkout", "-qb", "raise")
    checkout.commit(prod=10)
    checkout.commit(prod=20)
    checkout.git("checkout", "-q", "main")
    checkout.git("merge", "-q", "--no-ff", "-m", "merge", "raise")

    assert "from 0 to 20 and skips 10" in (checkout.said(20) or "")


def test_a_broken_commit_is_passed_over(checkout: Checkout) -> None:
    checkout.commit(prod=10)
    (checkout.path / FILE).write_text("config: [")
    checkout.git("commit", "-qam", "broken")
    checkout.commit(prod=20)

    assert checkout.said(20) is None


def test_a_new_stack_begins_at_0(checkout: Checkout) -> None:
    (checkout.path / "Pulumi.demo.yaml").write_bytes((checkout.path / FILE).read_bytes())

    assert checkout.said(0, "demo") is None
    assert "Pulumi.demo.yaml begins at 10 %" in (checkout.said(10, "demo") or "")
    checkout.git("add", "-A")
    checkout.git("commit", "-qm", "demo")
    assert checkout.said(10, "demo") is None


def test_a_shallow_clone_is_refused_with_what_to_do(checkout: Checkout, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{checkout.path}", tmp_path / "shallow"], check=True)

    props = {"name": "/pilot/shop/api/percent", "value": "10"}
    (said,) = moves.refusals(tmp_path / "shallow", "prod", "aws:ssm/parameter:Parameter", props)
    assert said == f"{FILE}: its history is cut off here; fetch all of it (git fetch --unshallow, or fetch-depth: 0)"


def test_a_folder_without_git_is_refused_except_at_0(tmp_path: Path) -> None:
    kind, name = "aws:ssm/parameter:Parameter", "/pilot/shop/api/percent"

    (said,) = moves.refusals(tmp_path, "prod", kind, {"name": name, "value": "10"})
    assert said.startswith("git rev-parse: ")
    assert list(moves.refusals(tmp_path, "prod", kind, {"name": name, "value": "0"})) == []


# ---------------------------------------------------------------- what carries the percent


def task(*environment: tuple[str, str]) -> dict[str, Any]:
    pairs = [{"name": name, "value": value} for name, value in environment]
    return {"containerDefinitions": json.dumps([{"name": "sidecar"}, {"name": "app", "environment": pairs}])}


def listener(*weights: float) -> dict[str, Any]:
    groups = [{"arn": "", "weight": weight} for weight in weights]
    return {"defaultActions": [{"type": "forward", "forward": {"targetGroups": groups}}]}


@pytest.mark.parametrize(
    ("kind", "props", "percent"),
    [
        pytest.param("aws:ecs/taskDefinition:TaskDefinition", task(("PILOT_ROLLOUT_PCT", "0.10")), 10, id="flag"),
        pytest.param(
            "aws:ecs/taskDefinition:TaskDefinition", task(("PILOT_ROLLOUT_PCT", "0.29")), 29, id="flag-not-binary"
        ),
        pytest.param(
            "aws:ecs/taskDefinition:TaskDefinition",
            task(("PILOT_ROLLOUT_PCT", "1.00"), ("PILOT_VARIANT", "candidate")),
            None,
            id="a-variant-carries-none",
        ),
        pytest.param("aws:ecs/taskDefinition:TaskDefinition", task(("A", "1")), None, id="another-task"),
        pytest.param("aws:ecs/taskDefinition:TaskDefinition", {"containerDefinitions": "no JSON"}, None, id="no-json"),
        pytest.param("aws:lb/listener:Listener", listener(90, 10), 10, id="traffic"),
        pytest.param(
            "aws:lb/listenerRule:ListenerRule",
            {"actions": listener(80, 20)["defaultActions"]},
            20,
            id="traffic-by-rule",
        ),
        pytest.param("aws:lb/listener:Listener", listener(100), None, id="one-group"),
        pytest.param("aws:lb/listener:Listener", {"defaultActions": [{"type": "redirect"}]}, None, id="redirect"),
        pytest.param(
            "aws:ssm/parameter:Parameter", {"name": "/pilot/shop/api/percent", "value": "50"}, 50, id="parameter"
        ),
        pytest.param(
            "aws:ssm/parameter:Parameter", {"name": "/shop/percent", "value": "50"}, None, id="another-parameter"
        ),
        pytest.param("aws:sns/topic:Topic", {"name": "/pilot/shop/api/percent"}, None, id="another-type"),
    ],
)
def test_a_resource_carries_a_percent(kind: str, props: dict[str, Any], percent: int | None) -> None:
    assert moves.carried(kind, props) == percent


@pytest.mark.parametrize("value", ["ten", "12.5", "101", "-1", "NaN"])
def test_what_is_no_whole_percent_is_refused(value: str, tmp_path: Path) -> None:
    props = {"name": "/pilot/shop/api/percent", "value": value}

    assert list(moves.refusals(tmp_path, "prod", "aws:ssm/parameter:Parameter", props)) == [
        f"the percent of users is {value}; it should be a whole number from 0 to 100"
    ]
