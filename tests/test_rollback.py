"""`pilot rollback`: what it takes back, however the advance came to be merged, and what later passes make of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import observe
from controller import reconcile as loop
from controller.errors import ConfigError
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.messages import proposals, pull_request
from controller.model import Intake, Stop
from controller.ports import CheckState, PrState, PullRequest, RefUpdate
from controller.rollback import Rollback, rollback
from tests.forge_world import FILE_NAME, LocalWorld
from tests.memory import MemoryGit, Server
from tests.steps import Faulty, stepped


class Asked(LocalWorld):
    """The world, and a person who asks."""

    def back(self, step: Any = None, **options: Any) -> Rollback:
        asked = {"stack": "prod", "to": None, "reason": "users complain", "by": "Ana", "now": self.now} | options
        reader, forge = stepped(self.controller(), step or Faulty())
        return rollback(reader.repository, forge, **asked)  # type: ignore[arg-type]

    def reconcile(self) -> tuple[loop.Outcome, list[str]]:
        faulty = Faulty()
        (outcome,) = loop.reconcile(*stepped(self.controller(), faulty), now=self.now)
        assert outcome.error is None
        return outcome, faulty.names

    def file(self, ref: str = "main") -> bytes:
        data = self._git.read(self.heads()[ref], FILE_NAME)
        assert data is not None
        return data

    def open(self) -> list[PullRequest]:
        return [pull for pull in self.pulls() if pull.state is PrState.OPEN]


class Real(Asked):
    """The same on a bare repository and a mirror of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.remote = folder, folder / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.remote)], check=True)
        git = Git(self.remote, directory=folder / "mirror")
        super().__init__(lambda: git)

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
        subprocess.run(["git", *who, *arguments], cwd=self.folder / "clone", check=True, capture_output=True)

    def clone(self) -> None:
        subprocess.run(["git", "clone", "-q", str(self.remote), str(self.folder / "clone")], check=True)


def remembered(more: str = "") -> Asked:
    server = Server()
    return Asked(lambda: MemoryGit(server), more=more)


@pytest.fixture
def world() -> Asked:
    return remembered()


def squash(world: Real, pull: PullRequest) -> None:
    world.merge(pull.number)


def rebase(world: Real, pull: PullRequest) -> None:
    """The base moves on, and the commit is replayed on it with another id."""
    world.clone()
    world.git("checkout", "-q", "-b", "side", "main")
    (world.folder / "clone" / "other.txt").write_text("x")
    world.git("add", "other.txt")
    world.git("commit", "-qm", "elsewhere")
    world.git("push", "-q", "origin", "side:main")
    world.git("checkout", "-q", pull.branch)
    world.git("rebase", "-q", "side")
    world.git("push", "-q", "origin", "HEAD:main", f":{pull.branch}")


def merge_commit(world: Real, pull: PullRequest) -> None:
    """With a message that says nothing of ours."""
    world.clone()
    world.git("merge", "-q", "--no-ff", "-m", "go", f"origin/{pull.branch}")
    world.git("push", "-q", "origin", "main", f":{pull.branch}")


@pytest.mark.parametrize("way", [squash, rebase, merge_commit])
def test_it_restores_the_former_bytes_however_the_advance_was_merged(
    tmp_path: Path, way: Callable[[Real, PullRequest], None]
) -> None:
    """The commit is found by what it did to the key, not by its message; and a later pass takes it as a person's word."""
    world = Real(tmp_path)
    before = world.file()
    world.reconcile()
    way(world, world.open()[0])
    world.up()
    assert b"percent: 50" in world.file()

    done = world.back()

    (pull,) = world.open()
    assert pull.title == "rollout(prod): 50% -> 20% (revert)"
    assert pull.check == (CheckState.SUCCESS, "rollback, asked for by Ana")
    assert world.file(pull.branch) == before
    assert done.lines == (
        f"#{pull.number}: opened {pull.title}",
        f"next: merge #{pull.number}, then pulumi up --stack prod",
    )
    world.merge(pull.number)
    world.now += timedelta(days=30)
    outcome, steps = world.reconcile()
    assert steps == []
    assert outcome.decision is not None
    assert outcome.decision.reasons[0].startswith("Ana reverted 50 % to 20 %")


def test_what_a_person_changed_since_stays(world: Asked) -> None:
    """A comment, and a hold: the percent alone goes back, and every other byte stays."""
    world.commit("main", "    exposure:", "    # ask Bo first\n    exposure:")
    world.commit("main", 'hold: ""', 'hold: "looking"')
    now = world.file()

    world.back()

    assert world.file(world.open()[0].branch) == now.replace(b"percent: 20 ", b"percent: 10 ")


def test_all_that_the_advance_wrote_is_taken_back(world: Asked) -> None:
    """A person raised the percent and set a flag in one commit."""
    before = world.file()
    text = before.decode()
    git = world._git
    tip = world.heads()["main"]
    both = text.replace("percent: 20 ", "percent: 50 ").replace("micPrompt: primer", "micPrompt: native")
    commit = world.committed(tip, {FILE_NAME: both.encode()}, "go")
    assert git.push([RefUpdate("refs/heads/main", tip, commit)])

    world.back()

    (pull,) = world.open()
    assert world.file(pull.branch) == before
    mark = proposals.parse(pull.body)
    assert mark is not None
    assert mark.changes == {"percent": (50, 20), "flags.micPrompt": ("native", "primer")}
    assert "| `pilot:rollout.flags.micPrompt` | native | **primer** |" in pull.body
    world.reconcile()
    assert world.open()[0].comments == ()


def test_where_the_rest_has_changed_again_only_the_percent_goes_back_and_it_is_said(world: Asked) -> None:
    """The flag of that commit was set back since: not ours to guess."""
    text = world.file().decode()
    tip = world.heads()["main"]
    both = text.replace("percent: 20 ", "percent: 50 ").replace("micPrompt: primer", "micPrompt: other")
    commit = world.committed(tip, {FILE_NAME: both.encode()}, "go")
    assert world._git.push([RefUpdate("refs/heads/main", tip, commit)])
    world.commit("main", "micPrompt: other", "micPrompt: native")
    now = world.file()

    world.back()

    (pull,) = world.open()
    assert world.file(pull.branch) == now.replace(b"percent: 50 ", b"percent: 20 ")
    assert f"The commit {commit[:8]} that advanced changed more, which has changed again since" in pull.body
    world.reconcile()
    assert world.open()[0].comments == ()


def test_an_advance_that_is_taken_back_already_is_told_with_what_to_run(world: Asked) -> None:
    """It does not go down another stage by itself; --to does."""
    lowered = world.commit("main", "percent: 20 ", "percent: 10 ")

    with pytest.raises(ConfigError) as error:
        world.back()
    assert str(error.value) == (
        f"the last advance is taken back already: {lowered[:8]} of Ana lowered 20 % to 10 %; to go further down: "
        "pilot rollback --stack prod --to PERCENT --reason TEXT"
    )

    world.back(to=0)
    assert [pull.title for pull in world.open()] == ["rollout(prod): 10% -> 0% (revert)"]


def test_a_stack_that_was_never_advanced_is_told_to_name_the_percent() -> None:
    world = remembered()
    tip = world.heads()["main"]
    text = world.file().decode().replace("percent: 20 ", "percent: 30 ")
    commit = world.committed(tip, {"Pulumi.eu.yaml": text.encode()}, "a new stack")
    assert world._git.push([RefUpdate("refs/heads/main", tip, commit)])

    with pytest.raises(ConfigError, match=r"no commit raised Pulumi.eu.yaml to 30 %; name the percent: pilot rollback"):
        world.back(stack="eu")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"to": 20}, "Pulumi.prod.yaml is at 20 %; a rollback goes lower, found --to 20"),
        ({"to": 50}, "Pulumi.prod.yaml is at 20 %; a rollback goes lower, found --to 50"),
        ({"stack": "prd"}, "no Pulumi.prd.yaml; stacks here: prod"),
    ],
)
def test_what_cannot_be_is_refused(world: Asked, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        world.back(**options)
    assert str(error.value) == says
    assert world.pulls() == []


def test_asking_twice_finds_the_same_and_writes_nothing(world: Asked) -> None:
    """For whatever reason, by whomever."""
    first = world.back()
    faulty = Faulty()

    second = world.back(faulty, reason="still bad", by="Bo")

    assert faulty.names == []
    assert second.pull_request.number == first.pull_request.number
    assert second.lines[0].startswith("#1: does that already")


def test_one_that_goes_as_low_is_enough(world: Asked) -> None:
    """If a person asked for it; and one that does not go as low is not."""
    world.back(to=0)
    assert world.back().lines[0].startswith("#1: does that already")

    world.close(1)
    world.back()
    assert world.back(to=0).lines[0].startswith("#3: opened")
    world.reconcile()
    assert [pull.title for pull in world.open()] == ["rollout(prod): 20% -> 0% (revert)"]


def test_a_revert_of_the_controller_does_not_stand_for_a_persons(world: Asked) -> None:
    """It ends when anything of the file changes, and its merge holds no later advance: the asked one replaces it."""
    world.source.bad = {"trigger:legal_defect": 1.0}
    world.reconcile()
    asked = world.back(to=0).pull_request
    world.reconcile()
    assert [pull.number for pull in world.open()] == [asked.number]
    world.commit("main", 'hold: ""', 'hold: "incident 7"')
    world.source.bad = {}
    world.source.silent = True

    world.reconcile()

    assert [pull.number for pull in world.open()] == [asked.number]


def test_one_whose_branch_is_gone_is_closed(world: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitLab leaves it open."""
    first = world.back().pull_request
    world.delete(first.branch)
    listed = LocalForge.pull_requests
    monkeypatch.setattr(
        LocalForge,
        "pull_requests",
        lambda forge, prefix: [replace(pull, state=PrState.OPEN) for pull in listed(forge, prefix)],
    )

    again = world.back()

    assert first.branch in world.heads()
    assert again.pull_request.branch == first.branch


def test_one_that_is_about_to_be_closed_does_not_count(world: Asked) -> None:
    first = world.back().pull_request
    world.edit(1, body=pull_request.closed_body(first.body, "superseded"))
    assert world.back().lines[0].startswith("#2: opened")


def test_a_branch_with_something_else_on_it_is_left_as_it_is(world: Asked) -> None:
    first = world.back().pull_request
    world.close(1)
    theirs = world.commit(first.branch, "percent: 10 ", "percent: 15 ")

    again = world.back().pull_request

    assert again.branch != first.branch
    assert world.heads()[first.branch] == theirs


def test_one_that_the_forge_did_not_list_and_a_person_rewrote_is_named(
    world: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.back().pull_request
    world.edit(1, body="mine")
    monkeypatch.setattr("controller.rollback._open", lambda *_: [])

    with pytest.raises(ConfigError, match=rf"#1 .*holds {first.branch} and is not the controller's; merge or close it"):
        world.back()


def test_a_missing_permission_for_statuses_does_not_hide_what_was_opened(world: Asked) -> None:
    def step(name: str, effect: Callable[[], Any]) -> Any:
        if name == "check":
            raise ConfigError("403 statuses")
        return effect()

    done = world.back(step)

    assert done.lines == (
        "#1: opened rollout(prod): 20% -> 10% (revert)",
        "its status rollout/evidence could not be set, and is missing where it is required: 403 statuses",
        "next: merge #1, then pulumi up --stack prod",
    )


def test_later_passes_leave_it_open_and_close_an_advance_beside_it(world: Asked) -> None:
    """However good the evidence, however old it gets, and whatever else a person writes into the file."""
    world.reconcile()
    (advance,) = world.open()
    (asked,) = [world.back().pull_request]
    world.reconcile()
    assert [pull.number for pull in world.open()] == [asked.number]
    mark = proposals.parse(world.pulls()[advance.number - 1].body)
    assert mark is not None
    assert mark.closed_reason == f"overtaken by a revert, #{asked.number}"

    world.commit("main", 'hold: ""', 'hold: "incident 7"')
    world.now += timedelta(days=3)
    assert world.reconcile()[1] == ["push", "check"]  # this forge merges no file that has changed: brought up to date
    assert world.reconcile()[1] == []
    assert [pull.number for pull in world.open()] == [asked.number]
    world.merge(asked.number)
    assert b"percent: 10 " in world.file()
    assert b'hold: "incident 7"' in world.file()


def test_it_ends_when_the_percent_is_another(world: Asked) -> None:
    """Somebody has acted; the request speaks of what is no more."""
    world.back()
    world.commit("main", "percent: 20 ", "percent: 10 ")

    world.reconcile()

    (pull,) = world.pulls()
    mark = proposals.parse(pull.body)
    assert (pull.state, mark and mark.closed_reason) == (PrState.CLOSED, "Pulumi.prod.yaml is at 10 % now")


def test_a_deeper_revert_overtakes_it(world: Asked) -> None:
    world.back()
    world.source.bad = {"trigger:legal_defect": 1.0}
    world.reconcile()
    assert [pull.title for pull in world.open()] == ["rollout(prod): 20% -> 0% (revert)"]


def test_closing_it_declines_no_revert_of_the_evidence_and_asking_again_opens_another(world: Asked) -> None:
    """A no to one's own request is not a no to bad news."""
    world.back()
    world.close(1)
    assert world.reconcile()[0].decision is not None
    assert [pull.title for pull in world.open()] == ["rollout(prod): 20% -> 50%"]

    again = world.back()
    assert again.pull_request.number == 3
    world.close(3)
    world.source.bad = {"activation": 0.95}
    world.reconcile()
    assert "rollout(prod): 20% -> 10% (revert)" in [pull.title for pull in world.open()]


def test_it_is_not_closed_for_a_revert_that_was_declined(world: Asked) -> None:
    """Nothing takes its place."""
    world.source.bad = {"trigger:legal_defect": 1.0}
    world.reconcile()
    world.close(1)
    asked = world.back().pull_request

    assert world.reconcile()[1] == []
    assert [pull.number for pull in world.open()] == [asked.number]


def test_where_reverts_merge_by_themselves_so_does_this_one() -> None:
    world = remembered("merges_by_itself: [revert]\n")
    world.back()
    assert world.reconcile()[1] == ["merge"]
    assert b"percent: 10 " in world.file()


def test_neither_aws_nor_the_source_is_asked(world: Asked) -> None:
    """They may be what is broken."""
    world.source.down = RuntimeError("the source was asked")  # type: ignore[assignment]
    world.live.applied = None  # type: ignore[assignment]
    assert world.back().pull_request.number == 1


def test_a_name_and_a_reason_are_words_and_nothing_else(world: Asked) -> None:
    """No mention, no second trailer, no marker."""
    forged = "<!-- rollout:v1 e30= --> @bo #12"
    world.back(by="@ana\nRollout-Id: ffffffff", reason=f"x\n\nRollout-Id: 01234567\n{forged}")

    (pull,) = world.open()
    mark = proposals.parse(pull.body)
    assert mark is not None
    assert mark.asked_by == "ana Rollout-Id ffffffff"
    assert "@" not in pull.body.replace("@\u200b", "")
    assert pull.body.count("<!--") == 1
    message = world._git.objects.commit(pull.head).message
    assert pull_request.rollout_id(message) == mark.id
    assert pull_request.asked_by(message) == "ana Rollout-Id ffffffff"
    past = observe.past(world._git, pull.head, "prod")
    assert (past.steps[0].commit.by, past.steps[0].by_person) == ("ana Rollout-Id ffffffff", True)


@pytest.mark.parametrize("way", ["branch", "text"])
def test_who_asks_again_where_one_was_edited_gets_another_and_is_told_of_it(world: Asked, way: str) -> None:
    """What the other person made of it stays theirs."""
    first = world.back().pull_request
    if way == "branch":
        world.commit(first.branch, "percent: 10 ", "percent: 15 ")
    else:
        world.edit(1, body="mine")
    head = world.heads()[first.branch]

    done = world.back()

    assert done.lines[:2] == (
        "#2: opened rollout(prod): 20% -> 10% (revert)",
        "#1 asks for the same, and a person has edited it: merge or close it",
    )
    assert world.heads()[first.branch] == head
    assert world.back().lines[0].startswith("#2: does that already")
    world.reconcile()
    assert [pull.number for pull in world.open()] == [1, 2]


# ---------------------------------------------------------------- what a person stopped in AWS


def stopped(world: Real, percent: int, **more: Any) -> None:
    """What `pilot kill` and `pilot rollback` leave in AWS, as far as the controller can see it."""
    (cluster,) = world.live.applied
    stop = Stop(percent, world.now, "Omar", "users complain", **more)
    was = world.live.applied[cluster]
    world.live.applied[cluster] = replace(was, percent=percent, intake=Intake.PAUSED, stop=stop, since=world.now)


def test_git_follows_a_kill_in_the_next_pass_and_the_update_ends_it(world: Real) -> None:
    stopped(world, 0)

    outcome, _ = world.reconcile()

    (pull,) = world.open()
    assert pull.title == "rollout(prod): 20% -> 0% (revert)"
    assert outcome.decision is not None
    assert outcome.decision.reasons[0].startswith("stopped at 0 % in AWS by Omar at")
    assert "stopped at 0 % in AWS by Omar" in pull.body
    text = world.file(pull.branch)
    assert b"percent: 0 " in text
    assert b"intake: paused " in text
    assert world.reconcile()[1] == []
    (cluster, live), *_ = world.live.applied.items()
    world.merge(pull.number)
    world.live.applied[cluster] = live  # merging applies too, in this world
    outcome, _ = world.reconcile()
    assert outcome.decision is not None
    assert outcome.decision.reasons[0].endswith("agrees: run pulumi up --stack prod, which ends the stop")
    assert world.open() == []


def test_where_the_percent_may_stay_the_intake_alone_is_proposed(world: Real) -> None:
    stopped(world, 20, image="another")

    world.reconcile()

    (pull,) = world.open()
    assert pull.title == "rollout(prod): intake open -> paused"
    assert world.file(pull.branch) == world.file().replace(b"intake: open ", b"intake: paused ")
    assert "the percent stays 20 %" in pull.body
    assert world.reconcile()[1] == []


def test_a_deeper_stop_overtakes_the_pull_request_of_the_first(world: Real) -> None:
    stopped(world, 10)
    world.reconcile()
    stopped(world, 0)

    world.reconcile()

    assert [pull.title for pull in world.open()] == ["rollout(prod): 20% -> 0% (revert)"]


def test_a_stop_overtakes_a_revert_that_goes_as_low_and_leaves_the_intake_open(world: Real) -> None:
    """Else it is merged, and `pulumi up` refuses it."""
    world.source.bad = {"trigger:legal_defect": 1.0}
    world.reconcile()
    (revert,) = world.open()
    assert b"intake: open " in world.file(revert.branch)
    stopped(world, 0)

    world.reconcile()

    (pull,) = world.open()
    assert pull.number != revert.number
    assert b"percent: 0 " in world.file(pull.branch)
    assert b"intake: paused " in world.file(pull.branch)
    assert world.reconcile()[1] == []


def test_the_rollback_of_a_person_pauses_the_intake_in_git_too_and_stays_alone(world: Real) -> None:
    stopped(world, 10)
    done = world.back(to=10, paused=True, notes=["step 3: api:3 serves"])

    outcome, steps = world.reconcile()

    (pull,) = world.open()
    assert (steps, outcome.error) == ([], None)
    assert world.file(pull.branch) == (
        world.file().replace(b"percent: 20 ", b"percent: 10 ").replace(b"intake: open ", b"intake: paused ")
    )
    assert "step 3: api:3 serves" in pull.body
    assert world.back(to=10, paused=True).pull_request == replace(pull, check=pull.check)
    assert done.pull_request is not None
    world.merge(pull.number)
    assert world.back(to=10, paused=True) == Rollback(
        None, ("Pulumi.prod.yaml says so already; next: pulumi up --stack prod",)
    )


def test_it_pauses_the_intake_beside_all_that_the_advance_changed(world: Real) -> None:
    before = world.file()
    text = before.decode()
    old = text[text.index("percent: 20 ") : text.index("micPrompt: primer") + len("micPrompt: primer")]
    world.commit("main", old, old.replace("percent: 20 ", "percent: 50 ").replace("primer", "native"))
    world.up()

    world.back(to=20, paused=True)

    (pull,) = world.open()
    assert world.file(pull.branch) == before.replace(b"intake: open ", b"intake: paused ")
    assert world.reconcile()[1] == []
