"""What a pass does, and does not do, with pull requests in every condition that a forge knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller import observe, stackfile
from controller import reconcile as loop
from controller.errors import ConfigError, TransientError
from controller.messages import proposals, pull_request
from controller.model import Verdict
from controller.ports import CheckState, Forge, Merge, PrState, PullRequest, RefUpdate
from controller.reconcile import Outcome
from controller.theirs import HANDS_OFF
from tests.forge_world import FILE_NAME, POLICY, LocalWorld
from tests.memory import MemoryGit, Server, by_hand
from tests.steps import Faulty, stepped
from tests.world import BEGIN


class Scene:
    """A world whose pull requests stand as `mark` says, and the steps of each pass."""

    def __init__(self, more: str = "") -> None:
        server = Server()
        self.world = LocalWorld(lambda: MemoryGit(server), more=more)
        self.marks: dict[int, dict[str, Any]] = {}
        self.listings = 0
        self.trouble: Exception | None = None
        self.failing: dict[str, Exception] = {}

    def reconcile(self, **options: Any) -> tuple[Outcome, list[str]]:
        """One pass; its outcome and its side effects by name."""
        faulty = Faulty()
        reader, forge = stepped(self.world.controller(), lambda name, effect: self._step(faulty, name, effect))
        (outcome,) = loop.reconcile(reader, _Listed(forge, self), now=self.world.now, **options)  # type: ignore[arg-type]
        return outcome, faulty.names

    def _step(self, faulty: Faulty, name: str, effect: Callable[[], Any]) -> Any:
        if name in self.failing:
            raise self.failing[name]
        return faulty(name, effect)

    def open(self) -> list[PullRequest]:
        return [pull for pull in self.world.pulls() if pull.state is PrState.OPEN]

    def titles(self) -> list[str]:
        return [pull.title.removeprefix("rollout(prod): ") for pull in self.open()]

    def mark(self, number: int, **fields: Any) -> None:
        self.marks[number] = fields

    def bad(self, name: str = "trigger:legal_defect", share: float = 1.0) -> None:
        self.world.source.bad = {name: share}


class _Listed:
    """The forge, with the marks of the scene in its listing."""

    def __init__(self, forge: Forge, scene: Scene) -> None:
        self._forge, self._scene = forge, scene

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        self._scene.listings += 1
        assert prefix == "rollout/"
        if self._scene.trouble:
            raise self._scene.trouble
        return [replace(pull, **self._scene.marks.get(pull.number, {})) for pull in self._forge.pull_requests(prefix)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._forge, name)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def advancing() -> Scene:
    """With the advance to 50 % open."""
    scene = Scene()
    scene.reconcile()
    assert scene.titles() == ["20% -> 50%"]
    return scene


# ---------------------------------------------------------------- the listing


def test_a_pass_lists_once_even_when_it_writes(advancing: Scene) -> None:
    """After its own writes it trusts the answers: listings of a forge lag behind."""
    assert advancing.listings == 1
    advancing.bad()
    advancing.reconcile()
    assert advancing.listings == 2


@pytest.mark.parametrize(
    ("trouble", "code"), [(TransientError("502"), 75), (ConfigError("401"), 2), (ValueError("a bug"), 2)]
)
@pytest.mark.parametrize("bad", [False, True])
def test_a_failed_listing_holds_advances_and_writes_nothing_but_still_tells_of_a_revert(
    scene: Scene, trouble: Exception, code: int, bad: bool
) -> None:
    """A person may have declined what would be proposed; the verdict is there for whoever looks."""
    scene.trouble = trouble
    if bad:
        scene.bad()

    outcome, steps = scene.reconcile()

    assert steps == []
    assert outcome.error is trouble
    assert loop.exit_code([outcome]) == code
    assert outcome.decision is not None
    assert outcome.decision.verdict is (Verdict.REVERT if bad else Verdict.HOLD)
    if not bad:
        assert outcome.decision.reasons[0].startswith(
            "the pull requests could not be read, nor what a person declined: "
        )


def test_stacks_with_like_names_do_not_mix(scene: Scene) -> None:
    """`prod` is not `prod-eu`: a pull request counts for the stack that its branch names, whole."""
    repository = scene.world.controller()[0].repository
    tip = repository.sync()
    dealt, trouble = loop._listed(repository, _Fixed(["rollout/prod/x", "rollout/prod-eu/y", "rollout/prod.eu/z"], tip))

    assert trouble is None
    assert {stack: [pr.branch for pr in prs] for stack, prs in dealt.items()} == {
        "prod": ["rollout/prod/x"],
        "prod-eu": ["rollout/prod-eu/y"],
        "prod.eu": ["rollout/prod.eu/z"],
    }


class _Fixed:
    def __init__(self, branches: Sequence[str], head: str) -> None:
        self._pulls = [
            PullRequest(i, "t", "b", branch, head, "main", "pilot", PrState.CLOSED, BEGIN)
            for i, branch in enumerate(branches)
        ]

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        return self._pulls

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_an_open_one_whose_branch_is_gone_is_a_no(advancing: Scene) -> None:
    """GitLab leaves it open; whoever deleted the branch does not want it."""
    (pull,) = advancing.open()
    advancing.world.delete(pull.branch)
    advancing.mark(pull.number, state=PrState.OPEN)

    outcome, steps = advancing.reconcile()

    assert steps == []
    assert outcome.decision is not None
    assert f"closed #{pull.number}: declined until" in outcome.decision.reasons[0]


def test_a_head_that_forge_and_git_do_not_agree_on_is_left_for_the_next_pass(advancing: Scene) -> None:
    """Somebody is pushing: nothing is written on it, and the pass says to try again."""
    (pull,) = advancing.open()
    advancing.mark(pull.number, head="f" * 40)
    advancing.world.source.silent = True

    outcome, steps = advancing.reconcile()

    assert steps == []
    assert isinstance(outcome.error, TransientError)
    assert f"#{pull.number}: {pull.branch} is at another commit" in str(outcome.error)


def test_a_head_in_dispute_does_not_keep_a_revert(advancing: Scene) -> None:
    """The revert is opened beside it."""
    advancing.mark(1, head="f" * 40)
    advancing.bad()
    advancing.reconcile()
    assert advancing.titles() == ["20% -> 50%", "20% -> 0% (revert)"]


# ---------------------------------------------------------------- order, and what fails alone


def test_the_new_one_is_open_before_the_old_one_is_marked_and_closed(advancing: Scene) -> None:
    """And the old one's branch goes last; the reason names the new one."""
    advancing.bad()

    _, steps = advancing.reconcile()

    assert steps == ["push", "open", "check", "edit", "close", "push"]
    old, new = advancing.world.pulls()
    mark = proposals.parse(old.body)
    assert mark is not None
    assert mark.closed_reason.startswith(f"overtaken by a revert, #{new.number}: legal_defect fired")


def test_a_revert_that_cannot_be_opened_closes_nothing_and_fails_the_advances_check(advancing: Scene) -> None:
    """Today's bad news still keeps yesterday's advance from being merged."""
    advancing.bad()
    advancing.failing = {"open": ConfigError("no permission to open pull requests")}

    outcome, steps = advancing.reconcile()

    assert isinstance(outcome.error, ConfigError)
    assert steps == ["push", "check"]
    (advance,) = advancing.open()
    assert advance.check is not None
    assert advance.check[0] is CheckState.FAILURE


def test_no_permission_for_statuses_stops_no_revert(advancing: Scene) -> None:
    """It is opened, the advance is closed, and the error is told."""
    advancing.bad()
    advancing.failing = {"check": ConfigError("statuses: write is missing")}

    outcome, _ = advancing.reconcile()

    assert isinstance(outcome.error, ConfigError)
    assert advancing.titles() == ["20% -> 0% (revert)"]


def test_of_two_the_safer_one_stays_when_the_evidence_has_recovered(advancing: Scene) -> None:
    """A pass died between opening the revert and closing the advance; meanwhile only an advance would be asked for."""
    (advance,) = advancing.open()
    advancing.bad()
    advancing.failing = {"edit": TransientError("x"), "close": TransientError("x"), "check": TransientError("x")}
    advancing.reconcile()
    assert advancing.titles() == ["20% -> 50%", "20% -> 0% (revert)"]
    advancing.failing = {}
    advancing.world.source.bad = {}

    advancing.reconcile()

    assert advancing.titles() == ["20% -> 0% (revert)"]
    mark = proposals.parse(advancing.world.pulls()[0].body)
    assert mark is not None
    assert (advance.number, mark.closed_reason) == (1, "overtaken by a revert, #2")


@pytest.mark.parametrize(("queued", "titles"), [(False, ["20% -> 30%"]), (True, ["20% -> 50%"])])
def test_an_advance_to_a_stage_that_the_policy_no_longer_has_is_replaced(
    advancing: Scene, queued: bool, titles: list[str]
) -> None:
    """Its check must not say that the evidence asks for 50 % when it asks for 30 %; in a queue it keeps its place."""
    policy = POLICY.replace("percent: 50", "percent: 30")
    by_hand(advancing.world._git, {"rollout.yaml": policy.encode()}, "a smaller step", advancing.world.now)
    advancing.mark(1, queued=queued)

    advancing.reconcile()

    assert advancing.titles() == titles
    (pull,) = advancing.open()
    assert pull.check is not None
    assert (pull.check[0] is CheckState.FAILURE) == queued


# ---------------------------------------------------------------- queue, draft, armed


@pytest.mark.parametrize("change", ["bad", "aged", "recovered"])
def test_nothing_of_a_queued_one_is_touched_but_its_check_for_bad_news(advancing: Scene, change: str) -> None:
    """No push, edit, close or comment, whatever the evidence says; a revert is opened beside it."""
    (queued,) = advancing.open()
    advancing.mark(1, queued=True, behind=True)
    expected = []
    if change == "bad":
        advancing.bad()
        expected = ["push", "open", "check", "check"]  # the revert and its check, and the failure of the queued one
    elif change == "aged":
        advancing.world.source.silent = True
        advancing.world.now += timedelta(hours=25)
        expected = ["check"]
    else:
        advancing.mark(1, queued=True, check=(CheckState.FAILURE, "held"))

    _, steps = advancing.reconcile()

    assert steps == expected
    now = advancing.world.pulls()[0]
    failed = change != "recovered"
    assert now.check is not None
    assert (now.check[0] is CheckState.FAILURE) == failed
    assert replace(now, check=None) == replace(queued, check=None)
    assert advancing.reconcile()[1] == []


def test_an_edited_branch_in_the_queue_is_not_even_told(advancing: Scene) -> None:
    """A comment is a touch too."""
    advancing.world.commit(advancing.open()[0].branch, "percent: 50", "percent: 30")
    advancing.mark(1, queued=True)
    advancing.bad()
    _, steps = advancing.reconcile()
    assert steps == ["push", "open", "check"]


def test_a_new_push_to_an_edited_branch_gets_its_check_and_no_second_comment(advancing: Scene) -> None:
    """A required check must not stand in the way of the person whose branch it is."""
    branch = advancing.open()[0].branch
    advancing.world.commit(branch, "percent: 50", "percent: 30")
    assert advancing.reconcile()[1] == ["comment", "check"]
    advancing.world.commit(branch, "percent: 30", "percent: 25")
    assert advancing.reconcile()[1] == ["check"]
    assert advancing.reconcile()[1] == []


@pytest.mark.parametrize("mark", [{"armed": True}, {"draft": True}])
def test_what_a_person_gave_keeps_its_meaning(advancing: Scene, mark: dict[str, bool]) -> None:
    """Fresh evidence is written into the body; title, head and branch stay, and a revert is another pull request."""
    (before,) = advancing.open()
    advancing.mark(1, **mark)
    advancing.world.now += timedelta(hours=25)
    assert advancing.reconcile()[1] == ["edit"]
    (after,) = advancing.open()
    assert replace(after, body="") == replace(before, body="")

    advancing.bad()
    advancing.reconcile()

    old, new = advancing.world.pulls()
    assert (old.state, old.title, old.head) == (PrState.CLOSED, before.title, before.head)
    assert new.title == "rollout(prod): 20% -> 0% (revert)"


# ---------------------------------------------------------------- what was not judged


@pytest.mark.parametrize(
    ("percent", "armed", "state"),
    [
        ("100", False, CheckState.FAILURE),
        ("21", False, CheckState.FAILURE),
        ("20", False, CheckState.SUCCESS),
        ("10", False, CheckState.SUCCESS),
        ("10", True, CheckState.FAILURE),
        ("ten", False, CheckState.FAILURE),
    ],
)
@pytest.mark.parametrize("bad", [False, True])
def test_an_edited_one_is_green_only_where_it_raises_nothing(
    advancing: Scene, percent: str, armed: bool, state: CheckState, bad: bool
) -> None:
    """Nobody has judged what a person pushed; and a merge that was armed before it would take it unseen."""
    if bad:
        advancing.world.source.silent = True
        advancing.reconcile()
    advancing.world.commit(advancing.open()[0].branch, "percent: 50 ", f"percent: {percent} ")
    advancing.mark(1, armed=armed)

    advancing.reconcile()

    (pull,) = advancing.open()
    assert pull.check is not None
    assert pull.check[0] is state
    assert advancing.reconcile()[1] == []


def test_an_edit_that_raises_another_stack_is_not_green(advancing: Scene) -> None:
    """The branch of one stack may hold the file of another."""
    branch = advancing.open()[0].branch
    head = advancing.world.commit(branch, "percent: 50 ", "percent: 20 ")
    git = advancing.world._git
    data = git.read(head, FILE_NAME)
    assert data is not None
    more = advancing.world.committed(head, {"Pulumi.eu.yaml": data}, "and another")
    assert git.push([RefUpdate(f"refs/heads/{branch}", head, more)])

    advancing.reconcile()

    check = advancing.open()[0].check
    assert check is not None
    assert check[0] is CheckState.FAILURE


@pytest.mark.parametrize("twice", [False, True])
def test_an_advance_that_lost_its_text_fails_on_bad_news(advancing: Scene, twice: bool) -> None:
    """Rewritten by a person, or with a second marker; it recovers with the news, as any other."""
    (pull,) = advancing.open()
    advancing.world.edit(1, body=pull.body * 2 if twice else "we raise it")
    assert advancing.reconcile()[1] == []
    advancing.world.source.silent = True

    assert advancing.reconcile()[1] == ["check"]

    (failed,) = advancing.open()
    assert failed.check is not None
    assert failed.check[0] is CheckState.FAILURE
    assert advancing.reconcile()[1] == []
    advancing.world.source.silent = False
    assert advancing.reconcile()[1] == ["check"]


@pytest.mark.parametrize(
    ("bad", "mark", "steps"),
    [(False, {}, ["check"]), (True, {}, []), (False, {"by_us": False}, []), (False, {"base": "release"}, [])],
)
def test_only_an_advance_of_ours_fails_where_its_stack_cannot_be_judged(
    scene: Scene, bad: bool, mark: dict[str, Any], steps: list[str]
) -> None:
    """Nothing blocks a revert, and another's is another's."""
    if bad:
        scene.bad()
    scene.reconcile()
    scene.mark(1, **mark)
    scene.world.commit("main", "percent: 20 ", "percent: twenty ")

    assert scene.reconcile()[1] == steps


def test_an_advance_that_lost_its_text_and_was_edited_fails(advancing: Scene) -> None:
    """Whatever the evidence says of what its name tells."""
    (pull,) = advancing.open()
    advancing.world.edit(1, body="we raise it")
    advancing.world.commit(pull.branch, "percent: 50", "percent: 100")

    advancing.reconcile()

    (now,) = advancing.open()
    assert now.check is not None
    assert now.check[0] is CheckState.FAILURE


@pytest.mark.parametrize("lost", [False, True])
def test_no_advance_beside_a_revert_that_a_person_made_theirs(scene: Scene, lost: bool) -> None:
    """By editing its branch or rewriting its text: until it is merged or closed, it is still under way."""
    scene.bad()
    scene.reconcile()
    (pull,) = scene.open()
    if lost:
        scene.world.edit(1, body="back, please")
    else:
        scene.world.commit(pull.branch, "percent: 0 ", "percent: 10 ")
    scene.world.source.bad = {}

    outcome, steps = scene.reconcile()

    assert steps == ([] if lost else ["comment", "check"])
    assert "proposed no advance: a revert that a person edited is open, #1: merge or close it" in outcome.actions
    scene.world.close(1)
    scene.reconcile()
    assert scene.titles() == ["20% -> 50%"]


# ---------------------------------------------------------------- whose it is


@pytest.mark.parametrize("mark", [{"by_us": False}, {"base": "release"}, {"branch": "rollout/prod/copy"}])
def test_a_copy_of_our_text_is_not_ours(advancing: Scene, mark: dict[str, Any]) -> None:
    """By another account, onto another base, or from another branch: not checked, edited or closed."""
    if "branch" in mark:
        head = advancing.open()[0].head
        git = advancing.world._git
        git.push([RefUpdate("refs/heads/rollout/prod/copy", None, head)])
    advancing.mark(1, **mark)
    advancing.world.source.silent = True
    advancing.world.now += timedelta(hours=25)

    assert advancing.reconcile()[1] == []


@pytest.mark.parametrize("mark", [{"by_us": False}, {"body": "mine"}, {"base": "release"}])
def test_a_branch_that_another_pull_request_holds_is_left_to_it(advancing: Scene, mark: dict[str, Any]) -> None:
    """It is said in every pass, and nothing is opened."""
    advancing.mark(1, **mark)

    outcome, steps = advancing.reconcile()

    assert steps == []
    assert outcome.actions == (f"left {advancing.open()[0].branch} to #1, which is not the controller's",)


def test_a_squatted_branch_gets_no_pull_request_of_ours(scene: Scene) -> None:
    """Under our name would stand what somebody else wrote."""
    scene.reconcile()
    (pull,) = scene.open()
    scene.world.commit(pull.branch, "percent: 50", "percent: 100")
    scene.mark(1, branch="elsewhere", state=PrState.MERGED)

    outcome, steps = scene.reconcile()

    assert steps == []
    assert (
        str(outcome.error) == f"branch {pull.branch} holds more than its proposal, and has no pull request; delete it"
    )


def test_a_persons_words_in_the_body_survive_fresh_evidence_and_closing(advancing: Scene) -> None:
    """Around ours the evidence is renewed; in ours only the proposal, so that it ages from now."""
    ours = advancing.open()[0].body
    advancing.world.edit(1, body=f"Bo agrees.\n\n{ours}\nSo does Cy.\n")
    advancing.world.now += timedelta(hours=25)
    outcome, steps = advancing.reconcile()
    assert steps == ["edit"]
    assert outcome.actions == ("refreshed the evidence of #1",)
    assert advancing.reconcile()[1] == []
    (pull,) = advancing.open()
    assert pull.body.startswith("Bo agrees.\n\n**Raise")
    assert pull.body.endswith("So does Cy.\n")
    until = f"to {advancing.world.now:%Y-%m-%d %H:%M}"
    assert until in pull.body and until not in ours

    advancing.world.edit(1, body=pull.body.replace("### Why", "### Why, says Dee"))
    advancing.world.now += timedelta(hours=25)
    assert advancing.reconcile()[0].actions == (
        "renewed #1; a person edited our text, so the evidence shown in it is still the former",
    )
    assert advancing.reconcile()[1] == []
    assert "### Why, says Dee" in advancing.open()[0].body

    advancing.world.source.silent = True
    advancing.world.now += timedelta(hours=25)
    advancing.reconcile()
    assert "Bo agrees." in advancing.world.pulls()[0].body


# ---------------------------------------------------------------- up to date


def test_a_branch_is_touched_only_where_the_base_demands_it(advancing: Scene) -> None:
    """The base moves: nothing. The same file moves: a merge commit, and the pull request can be merged again."""
    world = advancing.world
    (pull,) = advancing.open()
    git = world._git
    tip = git.sync()
    other = world.committed(tip, {"other.txt": b"x"}, "elsewhere")
    assert git.push([RefUpdate("refs/heads/main", tip, other)])
    assert advancing.reconcile()[1] == []

    world.commit("main", "    exposure:", "    # a note\n    exposure:")
    assert advancing.open()[0].behind
    outcome, steps = advancing.reconcile()

    assert steps == ["push", "check"]
    assert outcome.actions[0] == "brought #1 up to date with main"
    (now,) = advancing.open()
    assert git.objects.commit(now.head).parents == (pull.head, git.sync())
    assert pull_request.rollout_id(git.objects.commit(now.head).message) is not None
    assert advancing.reconcile()[1] == []
    world.merge(1)
    data = git.read(git.sync(), FILE_NAME)
    assert data is not None
    assert b"# a note\n" in data
    assert b"percent: 50" in data


def test_where_the_forge_does_not_tell_a_conflict_git_does(advancing: Scene) -> None:
    """None is not "no"; and a base that moved elsewhere is no conflict."""
    advancing.mark(1, behind=None)
    by_hand(advancing.world._git, {"other.txt": b"x"}, "elsewhere", advancing.world.now)
    assert advancing.reconcile()[1] == []

    advancing.world.commit("main", "    exposure:", "    # a note\n    exposure:")
    advancing.mark(1, behind=False)
    assert advancing.reconcile()[1] == []
    advancing.mark(1, behind=None)
    assert advancing.reconcile()[0].actions[0] == "brought #1 up to date with main"
    assert advancing.reconcile()[1] == []


def test_one_that_is_not_to_be_merged_now_is_not_brought_up_to_date(advancing: Scene) -> None:
    """A push would cost an approval for nothing."""
    advancing.world.commit("main", "    exposure:", "    # a note\n    exposure:")
    advancing.world.source.silent = True
    assert advancing.reconcile()[1] == ["check"]


# ---------------------------------------------------------------- merging by itself

REVERTS = "merges_by_itself: [revert]\n"


def test_a_revert_merges_by_itself_where_the_policy_says_so() -> None:
    """Its check first; then at the head that was just made."""
    scene = Scene(REVERTS)
    scene.bad()

    outcome, steps = scene.reconcile()

    assert steps == ["push", "open", "check", "merge"]
    assert outcome.actions[-1] == "merged #1, as the policy says"
    assert scene.world.pulls()[0].state is PrState.MERGED


def test_an_advance_never_does() -> None:
    scene = Scene("merges_by_itself: [revert, flip]\n")
    assert scene.reconcile()[1] == ["push", "open", "check"]


def test_a_flip_does_only_where_it_is_named() -> None:
    for more, merged in ((REVERTS, False), ("merges_by_itself: [flip]\n", True)):
        scene = Scene(more)
        scene.bad("mic_grant", 0.4)
        assert ("merge" in scene.reconcile()[1]) == merged


def test_a_flip_that_no_trigger_of_the_policy_asks_for_is_closed_and_not_merged() -> None:
    """Its id and its branch are right: anyone can compute the one and push the other."""
    scene = Scene("merges_by_itself: [flip]\n")
    scene.bad("mic_grant", 0.4)
    scene.failing = {"merge": TransientError("not yet")}
    scene.reconcile()
    scene.failing = {}
    policy = (POLICY + "merges_by_itself: [flip]\n").replace("to: native", "to: primer")
    by_hand(scene.world._git, {"rollout.yaml": policy.encode()}, "the other way", scene.world.now)
    scene.world.source.silent = True

    outcome, steps = scene.reconcile()

    assert steps == ["edit", "close", "push"]
    assert outcome.actions == ("closed #1: no trigger of rollout.yaml asks for it",)


@pytest.mark.parametrize("mark", [{"draft": True}, {"armed": True}, {"queued": True}])
def test_a_draft_an_armed_and_a_queued_one_are_not_merged(mark: dict[str, bool]) -> None:
    """The person's draft is respected; what is under way is not begun again."""
    scene = _unmerged_revert()
    scene.mark(1, **mark)
    assert scene.reconcile()[1] == []


@pytest.mark.parametrize("percent", ["5", "20", "100"])
def test_an_edited_one_is_not_merged_and_another_is_opened_beside_it(percent: str) -> None:
    """Whatever the person made of it, emptied it included: the revert that the evidence asks for is there."""
    scene = _unmerged_revert()
    scene.failing = {"merge": TransientError("not yet")}
    edited = scene.world.commit(scene.open()[0].branch, "percent: 0 ", f"percent: {percent} ")

    assert scene.reconcile()[1] == ["comment", "check", "push", "open", "check"]

    theirs, ours = scene.open()
    assert (theirs.head, ours.title) == (edited, theirs.title)
    assert ours.branch != theirs.branch
    assert theirs.check is not None
    assert (theirs.check[0] is CheckState.SUCCESS) == (percent != "100")
    assert scene.reconcile()[1] == []
    scene.world.now += timedelta(hours=25)
    assert scene.reconcile()[1] == ["edit"]
    assert scene.reconcile()[1] == []
    scene.world.close(ours.number)
    assert scene.reconcile()[1] == []
    assert [pull.number for pull in scene.open()] == [theirs.number]


def test_one_with_another_file_on_its_branch_is_not_merged() -> None:
    """Ours is as we wrote it; what is beside it nobody has judged."""
    scene = _unmerged_revert()
    by_hand(scene.world._git, {"deploy.sh": b"x"}, "also", scene.world.now, branch=scene.open()[0].branch)

    assert scene.reconcile()[1] == ["comment", "check", "push", "open", "check", "merge"]

    (theirs,) = scene.open()
    assert (theirs.number, HANDS_OFF in theirs.comments) == (1, True)


def test_a_revert_takes_another_branch_than_one_that_holds_something_else(scene: Scene) -> None:
    """Pushed by whomever, with no pull request."""
    scene.bad()
    scene.reconcile()
    (pull,) = scene.open()
    scene.world.commit(pull.branch, "percent: 0 ", "percent: 5 ")
    scene.mark(1, branch="elsewhere", state=PrState.MERGED)

    assert scene.reconcile()[1] == ["push", "open", "check"]
    assert [item.title for item in scene.open()] == [pull.title, pull.title]


@pytest.mark.parametrize(
    "fields",
    [
        {"changes": {"percent": (20, 100)}, "asked_by": "Ana"},
        {"changes": {"percent": (20, 100)}},
        {"from_percent": 100, "to_percent": 50, "changes": {"percent": (100, 50)}},
        {"from_percent": 100, "to_percent": 50, "changes": {"percent": (100, 50)}, "asked_by": "Ana"},
        {
            "to_percent": 10,
            "changes": {"percent": (20, 10), "flags.micPrompt": ("primer", "native")},
            "asked_by": "Ana",
        },
    ],
)
def test_what_calls_itself_a_revert_and_is_none_is_not_merged(fields: dict[str, Any]) -> None:
    """Whoever may push and edit a body can write a marker with a fitting id; only what lowers merges by itself."""
    scene = _unmerged_revert()
    (pull,) = scene.open()
    scene.world.source.bad = {}
    ours = proposals.parse(pull.body)
    assert ours is not None
    repository = scene.world._git
    tip = repository.sync()
    commit = observe.past(repository, tip, "prod").steps[0].commit.oid
    fake = replace(ours, **fields)
    fake = replace(fake, id=proposals.ident("prod", fake.verdict, fake.changes, commit, asked=bool(fake.asked_by)))
    data = repository.read(tip, FILE_NAME)
    assert data is not None
    wanted = {path: new for path, (_, new) in fake.changes.items()}
    head = repository.commit(tip, {FILE_NAME: stackfile.splice(data, wanted, name=FILE_NAME)[0]}, "fake")
    assert repository.push([RefUpdate(f"refs/heads/{proposals.branch(fake)}", None, head)])
    scene.mark(1, body=proposals.render(fake), branch=proposals.branch(fake), head=head, check=None)

    _, steps = scene.reconcile()

    assert "merge" not in steps
    assert scene.world.pulls()[0].state is not PrState.MERGED


def test_a_declined_one_is_not_opened_and_not_merged() -> None:
    scene = _unmerged_revert()
    scene.world.close(1)
    outcome, steps = scene.reconcile()
    assert steps == []
    assert outcome.actions[0].startswith("Ana closed #1")
    assert loop.exit_code([outcome]) == 2
    assert str(outcome.error).startswith("a revert is due and none is open: Ana closed #1 at ")


def test_an_action_that_failed_is_not_told_as_done(advancing: Scene) -> None:
    advancing.bad()
    advancing.failing = {"check": TransientError("503"), "close": TransientError("503"), "edit": TransientError("503")}
    outcome, _ = advancing.reconcile()
    assert outcome.actions == ("#2: opened rollout(prod): 20% -> 0% (revert)",)


@pytest.mark.parametrize("failing", ["check", "edit"])
def test_one_whose_check_or_text_could_not_be_written_is_merged_all_the_same(failing: str) -> None:
    """The forge's rules say whether it may be without; ours must not keep a revert."""
    scene = _unmerged_revert()
    scene.mark(1, check=None)
    scene.world.now += timedelta(hours=25)
    scene.failing = {failing: TransientError("503")}
    outcome, steps = scene.reconcile()
    assert steps[-1] == "merge"
    assert isinstance(outcome.error, TransientError)


def test_one_that_cannot_be_merged_yet_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And said; the forge's no is a ConfigError and is told as one."""
    scene = _unmerged_revert()
    monkeypatch.setattr("controller.forges.local.LocalForge.merge", lambda *_: Merge.NOT_YET)
    assert scene.reconcile()[0].actions == ("could not merge #1 yet; the next pass tries again",)
    monkeypatch.undo()
    assert scene.reconcile()[1] == ["merge"]


def test_one_that_the_forge_merges_later_is_said_to_be_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = _unmerged_revert()
    monkeypatch.setattr("controller.forges.local.LocalForge.merge", lambda *_: Merge.ARMED)
    said = "left #1 to the forge to merge once its rules allow, as the policy says"
    assert scene.reconcile()[0].actions == (said,)


def test_a_dry_run_says_all_of_it_and_does_nothing(advancing: Scene) -> None:
    """A merge, a closing, a check."""
    merging = _unmerged_revert()
    outcome, steps = merging.reconcile(dry_run=True)
    assert (steps, outcome.actions) == ([], ("would have merged #1, as the policy says",))

    advancing.bad()
    outcome, steps = advancing.reconcile(dry_run=True)
    assert steps == []
    assert outcome.actions[0] == "would have opened rollout(prod): 20% -> 0% (revert)"
    assert outcome.actions[1].startswith("would have closed #1: overtaken by a revert: legal_defect fired")

    advancing.world.source.bad = {}
    advancing.world.source.silent = True
    outcome, steps = advancing.reconcile(dry_run=True)
    assert steps == []
    assert outcome.actions[0].startswith("would have set rollout/evidence of #1 to failure, ")


def _unmerged_revert() -> Scene:
    """A revert that the policy lets merge by itself, and that the forge did not merge in the pass that opened it."""
    scene = Scene(REVERTS)
    scene.bad()
    scene.failing = {"merge": TransientError("not yet")}
    scene.reconcile()
    scene.failing = {}
    assert scene.titles() == ["20% -> 0% (revert)"]
    return scene


def test_an_outdated_revert_stays_until_the_new_one_could_be_opened(scene: Scene) -> None:
    """At no time is the safer one missing because the old one went first."""
    scene.bad()
    scene.reconcile()
    scene.world.commit("main", 'hold: ""', 'hold: "we look"')
    scene.failing = {"open": TransientError("502")}

    outcome, steps = scene.reconcile()

    assert isinstance(outcome.error, TransientError)
    assert steps == ["push"]
    assert scene.titles() == ["20% -> 0% (revert)"]
    scene.failing = {}
    assert scene.reconcile()[1] == ["open", "check", "edit", "close", "push"]


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [('hold: ""', 'hold: "we look"', []), ("percent: 20 ", "percent: 30 ", ["edit", "close", "push"])],
)
def test_an_outdated_revert_stays_where_the_new_one_was_declined(
    scene: Scene, old: str, new: str, steps: list[str]
) -> None:
    """Unless it starts from another percent than there is now: then it takes nothing back."""
    scene.bad()
    scene.reconcile()
    scene.world.commit("main", old, new)
    scene.failing = {"edit": TransientError("502")}
    scene.reconcile()
    scene.failing = {}
    scene.world.close(2)

    assert scene.reconcile()[1] == steps


def test_of_two_on_one_branch_the_first_stays_with_its_branch(advancing: Scene) -> None:
    """A forge closes what is open of a branch that is deleted."""
    (pull,) = advancing.open()
    advancing.world.duplicate(1)

    assert advancing.reconcile()[1] == ["edit", "close"]

    assert [(item.number, item.head) for item in advancing.open()] == [(1, pull.head)]


def test_a_closing_that_was_cut_short_is_not_finished_on_a_branch_that_a_person_edited(advancing: Scene) -> None:
    """Nor is the branch taken for the same once more."""
    (pull,) = advancing.open()
    advancing.world.edit(1, body=pull_request.closed_body(pull.body, "superseded"))
    edited = advancing.world.commit(pull.branch, "percent: 50", "percent: 30")

    assert advancing.reconcile()[1] == ["comment", "check"]

    assert [item.head for item in advancing.open()] == [edited]


def test_what_a_forge_gives_instead_of_a_new_one_is_looked_at(advancing: Scene) -> None:
    """A listing that lags has hidden it: an open pull request of the same branch, with another's text."""
    advancing.world.edit(1, body="mine")
    advancing.mark(1, state=PrState.MERGED)

    outcome, steps = advancing.reconcile()

    assert steps == ["open"]
    assert outcome.actions == (f"left {advancing.open()[0].branch} to #1, which someone else opened",)
    assert outcome.pull_request is None
