"""What every forge promises the controller, tried on all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.errors import TransientError
from controller.ports import CheckState, Ci, CiState, Forge, Merge, PrState, PullRequest, RefUpdate, Rules
from tests.forges.conftest import STACK_FILE
from tests.forges.worlds import BOT, PROD, WORLDS, World, only, propose

BRANCH = "rollout/prod/advance-0-10-0123abcd"
TITLE = "rollout(prod): 0% -> 10%"
BODY = "evidence\n\n<!-- rollout:v1 e30= -->"
TWENTY = STACK_FILE.replace(b"percent: 0", b"percent: 20")


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with WORLDS[request.param](tmp_path) as made:
        yield made
        assert made.complaints() == []


@pytest.fixture(params=sorted(WORLDS.keys() - {"local"}))
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Only those that have a server between the forge and its repository."""
    with WORLDS[request.param](tmp_path) as made:
        yield made
        assert made.complaints() == []


@pytest.fixture
def forge(world: World) -> Forge:
    return world.controller()[0]


def opened(world: World, forge: Forge, branch: str = BRANCH, percent: int = 10) -> PullRequest:
    world.propose(branch, percent)
    return forge.open(branch=branch, title=TITLE, body=BODY)


# ---------------------------------------------------------------- opening


def test_an_opened_pull_request_is_what_every_controller_reads(world: World, forge: Forge) -> None:
    propose(world.controller()[1], BRANCH)
    pull = forge.open(branch=BRANCH, title=TITLE, body=BODY)

    assert (pull.title, pull.body, pull.branch, pull.base) == (TITLE, BODY, BRANCH, "main")
    assert (pull.head, pull.state, pull.created) == (
        world.remote.refs[f"refs/heads/{BRANCH}"],
        PrState.OPEN,
        world.clock.now(),
    )
    assert (pull.author, pull.closed_by, pull.closed_at, pull.merged_as) == (BOT, None, None, None)
    assert (pull.check, pull.comments, pull.by_us) == (None, (), True)
    assert not (pull.draft or pull.armed or pull.queued or pull.behind)
    assert world.controller()[0].pull_requests("rollout/prod/") == [pull]
    assert forge.pull_requests("rollout/prod/") == [pull]


def test_opening_again_adopts_the_open_one(world: World, forge: Forge) -> None:
    pull = opened(world, forge)

    assert forge.open(branch=BRANCH, title="other", body="other") == pull
    assert world.controller()[0].open(branch=BRANCH, title="other", body="other") == pull
    assert forge.pull_requests("") == [pull]


def test_a_closed_one_is_not_opened_again_but_followed_by_a_new_one(world: World, forge: Forge) -> None:
    first = opened(world, forge)
    world.close(first.number, "ann")

    second = forge.open(branch=BRANCH, title=TITLE, body=BODY)

    assert second.number > first.number
    assert [pull.state for pull in forge.pull_requests("")] == [PrState.CLOSED, PrState.OPEN]


def test_a_branch_that_is_not_there_is_for_the_next_run(world: World, forge: Forge) -> None:
    with pytest.raises(TransientError, match="next run"):
        forge.open(branch=BRANCH, title=TITLE, body=BODY)


def test_two_controllers_that_open_at_once_have_one_pull_request(world: World) -> None:
    world.propose(BRANCH)
    found: list[PullRequest] = []
    barrier = threading.Barrier(2)

    def run() -> None:
        forge = world.controller()[0]
        forge.pull_requests("rollout/")
        barrier.wait()
        found.append(forge.open(branch=BRANCH, title=TITLE, body=BODY))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [pull.number for pull in found] == [found[0].number] * 2
    assert len(world.controller()[0].pull_requests("")) == 1


# ---------------------------------------------------------------- the list


def test_the_list_is_by_prefix_and_number_and_holds_what_has_ended(world: World, forge: Forge) -> None:
    one = opened(world, forge, "rollout/prod/a")
    two = opened(world, forge, "rollout/staging/b")
    three = opened(world, forge, "rollout/prod/c")
    world.close(one.number, "ann")

    assert [pull.number for pull in forge.pull_requests("rollout/prod/")] == [one.number, three.number]
    assert [pull.number for pull in forge.pull_requests("rollout/")] == [one.number, two.number, three.number]
    assert [pull.number for pull in forge.pull_requests("rollout/staging/")] == [two.number]
    assert forge.pull_requests("other/") == []


def test_a_strangers_fork_with_a_branch_of_the_same_name_is_ignored(remote: World) -> None:
    world, forge = remote, remote.controller()[0]
    world.fork(BRANCH, BODY, "mallory")

    assert forge.pull_requests("rollout/") == []
    pull = opened(world, forge)
    assert [found.number for found in forge.pull_requests("rollout/")] == [pull.number]


# ---------------------------------------------------------------- writing


def test_a_check_is_read_back_and_is_of_one_head_only(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    forge.check(pull.head, CheckState.PENDING, "12 of 40 users")
    forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")

    assert only(forge, pull.number).check == (CheckState.SUCCESS, "all KPIs good")
    assert only(world.controller()[0], pull.number).check == (CheckState.SUCCESS, "all KPIs good")

    head = world.push(BRANCH, TWENTY)
    assert (only(forge, pull.number).head, only(forge, pull.number).check) == (head, None)


@pytest.mark.parametrize("state", list(CheckState))
def test_every_state_of_a_check_is_read_back(world: World, forge: Forge, state: CheckState) -> None:
    pull = opened(world, forge)
    forge.check(pull.head, state, "why")

    assert only(world.controller()[0], pull.number).check == (state, "why")


def test_comments_and_edits_are_read_back(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    forge.comment(pull.number, "one")
    forge.comment(pull.number, "two\n\nlines")
    forge.edit(pull.number, body="new " + BODY)

    for seen in (only(forge, pull.number), only(world.controller()[0], pull.number)):
        assert seen == replace(pull, body="new " + BODY, comments=("one", "two\n\nlines"))


def test_closing_twice_is_closing_once(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    forge.close(pull.number)
    forge.close(pull.number)

    (seen,) = forge.pull_requests("")
    assert (seen.state, seen.closed_by) == (PrState.CLOSED, BOT)
    assert seen.closed_at is not None


# ---------------------------------------------------------------- people


def test_who_closed_it_and_when_is_shown(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    world.clock.sleep(3600)
    world.close(pull.number, "ann")

    for seen in (only(forge, pull.number), only(world.controller()[0], pull.number)):
        assert (seen.state, seen.closed_by, seen.closed_at) == (PrState.CLOSED, "ann", world.clock.now())
        assert seen.merged_as is None


def test_what_it_was_merged_as_is_shown(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")
    world.clock.sleep(3600)
    oid = world.merge(pull.number, "ann")

    for seen in (only(forge, pull.number), only(world.controller()[0], pull.number)):
        assert (seen.state, seen.closed_by, seen.closed_at) == (PrState.MERGED, "ann", world.clock.now())
        assert seen.merged_as == oid == world.remote.refs["refs/heads/main"]


def test_a_deleted_branch_ends_it(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    world.delete_branch(BRANCH, "ann")

    assert only(forge, pull.number).state is PrState.CLOSED


def test_what_a_person_pushed_and_wrote_is_seen(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    world.clock.sleep(60)
    head = world.push(BRANCH, TWENTY)
    world.edit(pull.number, "mine", "ann")

    assert (only(forge, pull.number).head, only(forge, pull.number).body) == (head, "mine")


def test_a_pull_request_is_ours_by_who_opened_it_and_not_by_its_words(world: World, forge: Forge) -> None:
    """Another account on the very branch, with the very text."""
    ours = opened(world, forge)
    world.propose("rollout/staging/advance-0-10-0123abcd", 20)
    number = world.open("rollout/staging/advance-0-10-0123abcd", TITLE, BODY, "mallory")

    for seen in (forge, world.controller()[0]):
        assert {pull.number: (pull.by_us, pull.author) for pull in seen.pull_requests("")} == {
            ours.number: (True, BOT),
            number: (False, "mallory"),
        }
    adopted = forge.open(branch="rollout/staging/advance-0-10-0123abcd", title=TITLE, body=BODY)
    assert (adopted.number, adopted.by_us) == (number, False)
    forge.edit(number, body="edited by us")
    assert not only(forge, number).by_us


def test_a_branch_that_conflicts_is_behind_until_it_is_brought_up_to_date(world: World, forge: Forge) -> None:
    """Gitea does not tell reliably whether a branch conflicts, and so says neither yes nor no; Git is asked then."""
    git = world.controller()[1]
    pull = opened(world, forge)
    world.clock.sleep(60)
    tip = world.push("main", STACK_FILE.replace(b"percent: 0", b"percent: 1"))
    world.clock.sleep(601)
    assert only(forge, pull.number).behind is ("conflict" in world.can or None)
    assert git.conflicts(git.sync(), pull.head)

    assert git.sync() == tip
    merged = git.update(pull.head, tip, {PROD: TWENTY}, "up to date")
    assert git.push([RefUpdate(f"refs/heads/{BRANCH}", pull.head, merged)])
    assert not only(forge, pull.number).behind
    assert not git.conflicts(tip, merged)


def test_a_draft_an_armed_merge_and_a_queue_are_seen(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    for what in ("draft", "arm", "queue"):
        if what not in world.can:
            continue
        world.clock.sleep(60)
        getattr(world, what)(pull.number, "ann")
        seen = only(forge, pull.number)
        assert {"draft": seen.draft, "arm": seen.armed, "queue": seen.queued}[what], what


# ---------------------------------------------------------------- merging


def test_the_head_that_was_seen_is_merged_and_no_other(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")
    moved = world.push(BRANCH, TWENTY)
    forge.check(moved, CheckState.SUCCESS, "all KPIs good")
    before = world.remote.refs["refs/heads/main"]

    assert forge.merge(pull) is Merge.NOT_YET
    assert world.remote.refs["refs/heads/main"] == before

    assert forge.merge(only(forge, pull.number)) is Merge.MERGED
    seen = only(forge, pull.number)
    assert (seen.state, seen.merged_as) == (PrState.MERGED, world.remote.refs["refs/heads/main"])
    assert world.remote.git("show", "main:Pulumi.prod.yaml").encode() == TWENTY.rstrip()


def test_what_has_ended_is_not_merged(world: World, forge: Forge) -> None:
    pull = opened(world, forge)
    forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")
    world.close(pull.number, "ann")

    assert forge.merge(pull) is Merge.NOT_YET
    assert only(forge, pull.number).state is PrState.CLOSED


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize("applied", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("what", ["open", "edit", "close", "comment", "check"])
def test_a_write_whose_answer_is_lost_is_done_once_by_the_next_pass(remote: World, what: str, applied: bool) -> None:
    world, (forge, _) = remote, remote.controller()
    world.propose(BRANCH)
    if what != "open":
        forge.open(branch=BRANCH, title=TITLE, body=BODY)
    world.lose(what, applied=applied)

    def act(forge: Forge) -> None:
        pull = forge.open(branch=BRANCH, title=TITLE, body=BODY)
        if what == "edit":
            forge.edit(pull.number, body="new")
        elif what == "close":
            forge.close(pull.number)
        elif what == "comment" and "hello" not in pull.comments:
            forge.comment(pull.number, "hello")
        elif what == "check":
            forge.check(pull.head, CheckState.SUCCESS, "good")

    try:
        act(forge)
    except TransientError:
        act(world.controller()[0])

    (seen,) = world.controller()[0].pull_requests("")
    done = {
        "open": seen.state is PrState.OPEN,
        "edit": seen.body == "new",
        "close": seen.state is PrState.CLOSED,
        "comment": seen.comments == ("hello",),
        "check": seen.check == (CheckState.SUCCESS, "good"),
    }
    assert done[what]


@pytest.mark.parametrize("applied", [True, False], ids=["after", "before"])
def test_a_merge_whose_answer_is_lost_is_looked_up(remote: World, applied: bool) -> None:
    world, (forge, _) = remote, remote.controller()
    pull = opened(world, forge)
    forge.check(pull.head, CheckState.SUCCESS, "good")
    world.lose("merge", applied=applied)

    assert forge.merge(pull) is (Merge.MERGED if applied else Merge.NOT_YET)
    if not applied:
        assert forge.merge(pull) is Merge.MERGED
    assert only(forge, pull.number).state is PrState.MERGED


# ---------------------------------------------------------------- cost


def test_a_pass_in_which_nothing_happened_costs_one_request(remote: World, tmp_path: Path) -> None:
    world, cache = remote, tmp_path / "cache"
    forge = world.controller(cache)[0]
    pull = opened(world, forge)
    opened(world, forge, "rollout/staging/advance-0-10-0123abcd", 20)
    forge.check(pull.head, CheckState.SUCCESS, "good")
    world.clock.sleep(120)
    before = forge.pull_requests("rollout/")
    world.requests()

    assert forge.pull_requests("rollout/") == before
    assert world.requests() == world.idle

    assert world.controller(cache)[0].pull_requests("rollout/") == before
    assert world.requests() == world.idle, "another process that finds the cache"

    without = world.controller()[0].pull_requests("rollout/")
    assert without == before, "the cache is only ever for speed"
    assert world.requests()[1:] == (0, 0)


def test_a_second_opening_writes_nothing(remote: World) -> None:
    world, (forge, _) = remote, remote.controller()
    opened(world, forge)
    world.requests()
    forge.open(branch=BRANCH, title=TITLE, body=BODY)

    assert world.requests()[2] == 0


def test_a_second_passes_between_two_writes(remote: World) -> None:
    world, (forge, _) = remote, remote.controller()
    pull = opened(world, forge)
    world.clock.slept.clear()
    forge.edit(pull.number, body="new")
    forge.comment(pull.number, "one")

    assert world.clock.slept == [1.0, 1.0]


# ---------------------------------------------------------------- two controllers


def test_a_failure_that_another_controller_overwrote_is_not_taken_for_true(remote: World, tmp_path: Path) -> None:
    world, cache = remote, tmp_path / "cache"
    ours, theirs = world.controller(cache)[0], world.controller()[0]
    pull = opened(world, ours)
    world.clock.sleep(120)
    ours.pull_requests("rollout/")
    ours.check(pull.head, CheckState.FAILURE, "bad news")
    world.clock.sleep(120)
    assert only(ours, pull.number).check == (CheckState.FAILURE, "bad news")
    theirs.check(pull.head, CheckState.SUCCESS, "good")

    assert only(world.controller(cache)[0], pull.number).check == (CheckState.SUCCESS, "good")


def test_a_failure_is_read_once_a_pass(remote: World, tmp_path: Path) -> None:
    world, cache = remote, tmp_path / "cache"
    forge = world.controller(cache)[0]
    pull = opened(world, forge)
    forge.check(pull.head, CheckState.FAILURE, "bad news")
    world.clock.sleep(120)
    forge.pull_requests("rollout/")
    forge = world.controller(cache)[0]
    forge.pull_requests("rollout/")
    world.requests()

    assert forge.pull_requests("rollout/")[0].check == (CheckState.FAILURE, "bad news")
    assert world.requests() == world.idle


# ---------------------------------------------------------------- the CI and the rules of the base branch


@pytest.mark.parametrize(
    ("jobs", "state", "words"),
    [
        ([], CiState.NONE, "no job has reported"),
        ([("build", "success")], CiState.GREEN, "1 job green"),
        ([("build", "failure"), ("build", "success")], CiState.GREEN, "1 job green"),  # ran again
        ([("build", "success"), ("test", "pending")], CiState.RUNNING, "running: test"),
        ([("build", "failure"), ("test", "pending")], CiState.RED, "red: build"),
        ([(name, "failure") for name in "edcba"], CiState.RED, "red: a, b, c and 2 more"),
        ([("rollout/evidence", "failure"), ("build", "success")], CiState.GREEN, "1 job green"),  # ours says nothing
    ],
)
def test_the_ci_of_a_commit_is_what_its_jobs_come_to(
    remote: World, jobs: list[tuple[str, str]], state: CiState, words: str
) -> None:
    oid = remote.remote.refs["refs/heads/main"]
    for name, said in jobs:
        remote.job(oid, name, said)

    assert remote.controller()[0].ci(oid) == Ci(state, words)
    assert remote.controller()[0].ci(oid, without={name for name, _ in jobs}).state is CiState.NONE


def test_a_base_branch_that_asks_for_our_status_says_so(remote: World) -> None:
    assert remote.controller()[0].rules() == Rules(False, ())
    remote.guard()
    assert remote.controller()[0].rules() == Rules(True, ("rollout/evidence",))


def test_a_local_forge_has_neither(tmp_path: Path) -> None:
    with WORLDS["local"](tmp_path) as world:
        forge = world.controller()[0]
        assert forge.ci("0" * 40).state is CiState.UNKNOWN
        assert forge.rules() == Rules(None, None)
