"""The traps of GitLab's API, one by one; what every forge promises is in test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.errors import ConfigError, TransientError
from controller.forges.gitlab import GitLab
from controller.ports import CheckState, Merge, PrState, PullRequest
from tests.forges import served
from tests.forges.fakes.server import Fault
from tests.forges.served import GitLabWorld
from tests.forges.worlds import BOT, STACK_FILE, only

BRANCH = "rollout/prod/advance-0-10-0123abcd"
BODY = "evidence\n\n<!-- rollout:v1 e30= -->"
TWENTY = STACK_FILE.replace(b"percent: 0", b"percent: 20")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitLabWorld]:
    with served.gitlab(tmp_path) as made:
        assert isinstance(made, GitLabWorld)
        yield made
        assert made.complaints() == []


@pytest.fixture
def forge(world: GitLabWorld) -> GitLab:
    forge = world.controller()[0]
    assert isinstance(forge, GitLab)
    return forge


@pytest.fixture
def pull(world: GitLabWorld, forge: GitLab) -> PullRequest:
    world.propose(BRANCH)
    return forge.open(branch=BRANCH, title="rollout(prod): 0% -> 10%", body=BODY)


# ---------------------------------------------------------------- merging


def _says(status: str) -> Callable[[GitLabWorld], None]:
    def change(world: GitLabWorld) -> None:
        world.server.get(1).status = status

    return change


def _asks_for_approval(world: GitLabWorld) -> None:
    world.server.asks_for_approval = True


def _draft(world: GitLabWorld) -> None:
    world.draft(1, "ann")


def _behind(world: GitLabWorld) -> None:
    world.server.ff = True
    world.push("main", TWENTY)


def _locked(world: GitLabWorld) -> None:
    world.server.get(1).state = "locked"


def _fails_with(status: int, body: object) -> Callable[[GitLabWorld], None]:
    return lambda world: world.server.faults.append(Fault("PUT .*/merge$", status=status, body=body))


@pytest.mark.parametrize(
    ("change", "merged", "armed", "writes"),
    [
        pytest.param(_says("mergeable"), True, False, 1, id="mergeable"),
        pytest.param(_says("ci_still_running"), False, True, 1, id="armed-until-the-pipeline-is-done"),
        pytest.param(_asks_for_approval, False, True, 1, id="armed-until-it-is-approved"),
        pytest.param(_says("checking"), False, False, 1, id="422-while-it-checks"),
        pytest.param(_says("some_new_status"), False, False, 1, id="405-for-what-we-do-not-know"),
        pytest.param(_says("conflict"), False, False, 0, id="conflict"),
        pytest.param(_draft, False, False, 0, id="draft"),
        pytest.param(_behind, False, False, 0, id="need-rebase"),
        pytest.param(_locked, False, False, 0, id="locked-is-a-merge-under-way"),
        pytest.param(_fails_with(409, {"message": "SHA does not match"}), False, False, 1, id="409-head-moved"),
        pytest.param(_fails_with(406, {"message": "Branch cannot be merged"}), False, False, 1, id="406-old-servers"),
        pytest.param(_fails_with(0, None), False, False, 1, id="lost-and-not-done"),
    ],
)
def test_a_merge_is_done_armed_or_for_later(
    world: GitLabWorld, forge: GitLab, pull: PullRequest, change: Callable[[GitLabWorld], None], merged: bool,
    armed: bool, writes: int,
) -> None:  # fmt: skip
    change(world)
    world.requests()

    assert forge.merge(pull) is (Merge.MERGED if merged else Merge.ARMED if armed else Merge.NOT_YET)

    assert world.requests()[2] == writes
    mr = world.server.get(1)
    assert ((mr.state == "merged"), mr.armed) == (merged, armed)


def _may_not_merge(world: GitLabWorld) -> None:
    world.server.may_merge = False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(_may_not_merge, "401.*`Allowed to merge`", id="no-right-to-the-branch"),
        pytest.param(_says("jira_association_missing"), "jira_association_missing", id="a-setting"),
        pytest.param(_says("security_policy_violations"), "security_policy_violations", id="a-policy"),
    ],
)
def test_what_settings_forbid_is_a_persons(
    world: GitLabWorld, forge: GitLab, pull: PullRequest, change: Callable[[GitLabWorld], None], said: str
) -> None:
    change(world)

    with pytest.raises(ConfigError, match=said):
        forge.merge(pull)
    assert world.server.get(1).state == "opened"


def test_a_project_with_merge_trains_gets_it_on_the_train(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    world.server.trains = True

    assert forge.merge(pull) is Merge.ARMED

    seen = only(forge, 1)
    assert (seen.state, seen.queued, seen.armed) == (PrState.OPEN, True, True)
    assert world.server.get(1).train == "idle"
    assert forge.merge(pull) is Merge.ARMED, "it is on it already"


def test_what_waits_for_its_pipeline_alone_is_armed_and_not_queued(
    world: GitLabWorld, forge: GitLab, pull: PullRequest
) -> None:
    world.arm(1, "ann")

    assert (only(forge, 1).armed, only(forge, 1).queued) == (True, False)
    assert forge.merge(pull) is Merge.ARMED


@pytest.mark.parametrize("how", ["merge", "squash", "ff"])
def test_however_a_person_merges_the_commit_on_the_base_is_told(
    world: GitLabWorld, forge: GitLab, pull: PullRequest, how: str
) -> None:
    world.server.ff = how == "ff"
    oid = world.server.merge(1, "ann", squash=how == "squash")

    seen = only(forge, 1)
    assert (seen.state, seen.merged_as, seen.closed_by) == (PrState.MERGED, oid, "ann")
    assert seen.branch == BRANCH


# ---------------------------------------------------------------- opening


def test_a_duplicate_that_the_list_does_not_show_yet_is_for_the_next_run(
    world: GitLabWorld, forge: GitLab, pull: PullRequest
) -> None:
    world.server.lagging = []
    late = world.controller()[0]

    with pytest.raises(TransientError, match=r"Another open merge request already exists.*next run"):
        late.open(branch=BRANCH, title="t", body=BODY)
    world.server.lagging = None
    assert late.open(branch=BRANCH, title="t", body=BODY).number == 1


def test_a_new_one_without_a_head_yet_gets_that_of_its_branch(world: GitLabWorld, forge: GitLab) -> None:
    world.server.slow_heads = True
    head = world.propose(BRANCH)

    assert forge.open(branch=BRANCH, title="t", body=BODY).head == head


def test_trouble_before_it_is_opened_opens_none_and_sends_nothing_twice(world: GitLabWorld, forge: GitLab) -> None:
    world.propose(BRANCH)
    world.server.faults.append(Fault("POST .*/merge_requests$", status=502))

    with pytest.raises(TransientError, match="502"):
        forge.open(branch=BRANCH, title="t", body=BODY)
    assert (world.server.requests, world.server.writes) == ([], 1)
    assert forge.open(branch=BRANCH, title="t", body=BODY).number == 1


def test_no_line_of_a_text_is_carried_out(world: GitLabWorld, forge: GitLab) -> None:
    world.propose(BRANCH)
    assert forge.open(branch=BRANCH, title="t", body="/close\nfine\n  /merge").body == "\\/close\nfine\n  \\/merge"
    forge.comment(1, "/approve\n")
    forge.edit(1, body="see a/b\n/merge\n")

    mr = world.server.get(1)
    assert (mr.state, mr.description) == ("opened", "see a/b\n\\/merge\n")
    assert only(forge, 1).comments == ("\\/approve\n",)


def test_a_ci_job_token_is_refused_before_anything_is_sent(world: GitLabWorld) -> None:
    forge = GitLab("acme/infra/shop", token=lambda: "glcbt-64_abcdef", url=world.server.url)

    with pytest.raises(ConfigError, match=r"CI job token.*project access token"):
        forge.pull_requests("rollout/")
    assert world.server.log == []


def test_a_role_that_may_only_read_is_told_what_is_missing(world: GitLabWorld, forge: GitLab) -> None:
    world.propose(BRANCH)
    world.server.role = "reporter"

    with pytest.raises(ConfigError, match=r"403.*scope api and the role Developer"):
        forge.open(branch=BRANCH, title="t", body=BODY)


# ---------------------------------------------------------------- reading


def test_a_locked_one_is_open_and_not_to_be_touched(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    _locked(world)

    seen = only(forge, 1)
    assert (seen.state, seen.queued) == (PrState.OPEN, True)


def test_an_old_branch_is_behind_only_where_the_project_asks(
    world: GitLabWorld, forge: GitLab, pull: PullRequest
) -> None:
    tip = world.remote.refs["refs/heads/main"]
    world.remote.set("main", world.remote.commit({"Pulumi.prod.yaml": STACK_FILE, "README.md": b"more\n"}, tip))
    assert only(forge, 1).behind is False
    world.server.ff = True
    assert only(forge, 1).behind is True


def test_what_gitlab_wrote_itself_is_no_comment(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    world.server.get(1).notes.append(("ann", "added 1 commit", True))
    forge.comment(1, "hello")

    assert only(forge, 1).comments == ("hello",)


def test_the_newest_status_of_our_name_counts(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    for name, state in (("rollout/evidence", "success"), ("build", "failed"), ("rollout/evidence", "canceled")):
        world.server.statuses.append(
            {"id": 1 + len(world.server.statuses), "sha": pull.head, "ref": f"{name}-{state}", "name": name,
             "status": state, "description": None}
        )  # fmt: skip
    world.server.statuses.reverse()

    assert only(forge, 1).check == (CheckState.FAILURE, "")


def test_pending_once_more_is_done_already(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    forge.check(pull.head, CheckState.PENDING, "12 of 40 users")
    forge.check(pull.head, CheckState.PENDING, "13 of 40 users")

    assert only(forge, 1).check == (CheckState.PENDING, "12 of 40 users")


def test_a_status_goes_to_the_pipeline_of_its_branch_and_is_cut(
    world: GitLabWorld, forge: GitLab, pull: PullRequest
) -> None:
    world.remote.set("another", pull.head)
    forge.check(pull.head, CheckState.SUCCESS, "good " * 100)

    (status,) = world.server.statuses
    assert (status["ref"], len(status["description"])) == (BRANCH, 255)


def test_another_controllers_status_is_seen_after_ten_minutes(
    world: GitLabWorld, forge: GitLab, pull: PullRequest
) -> None:
    assert only(forge, 1).check is None
    world.controller()[0].check(pull.head, CheckState.FAILURE, "bad")

    world.clock.sleep(600)
    assert only(forge, 1).check == (CheckState.FAILURE, "bad")


def test_one_that_is_far_down_the_list_is_read_anew(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    _fill(world, 120)
    world.server.page_size = 50
    assert len(forge.pull_requests("rollout/")) == 121
    world.server.get(1).status = "need_rebase"  # which GitLab does not count as a change

    assert forge.pull_requests("rollout/prod/")[0].behind is True


def test_a_change_far_down_the_list_moves_up_and_is_seen(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    _fill(world, 120)
    world.server.page_size = 50
    forge.pull_requests("rollout/")
    world.requests()
    world.clock.sleep(60)
    world.close(1, "ann")

    seen = forge.pull_requests("rollout/")[0]
    assert (seen.state, seen.closed_by) == (PrState.CLOSED, "ann")
    assert world.requests() == (2, 0, 0), "the page with the change, and the first without"


def test_what_was_asked_for_is_looked_for_in_what_comes(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    world.server.create("rollout/prod/other", "t", BODY, BOT, target="release")
    world.server.ignores_filters = True
    forge.check(pull.head, CheckState.SUCCESS, "good")
    world.server.statuses.append(world.server.statuses[0] | {"id": 9, "name": "build", "status": "failed"})

    (seen,) = forge.pull_requests("rollout/")
    assert (seen.number, seen.check) == (1, (CheckState.SUCCESS, "good"))


def test_our_own_status_is_seen_at_once(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    assert only(forge, 1).check is None
    forge.check(pull.head, CheckState.SUCCESS, "good")
    assert only(forge, 1).check == (CheckState.SUCCESS, "good")


def test_a_head_that_moved_is_not_even_tried(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    world.push(BRANCH, TWENTY)
    world.requests()

    assert forge.merge(pull) is Merge.NOT_YET
    assert world.requests()[2] == 0


@pytest.mark.parametrize("reordered", [False, True])
def test_a_list_of_several_pages_is_complete_in_any_order(
    world: GitLabWorld, forge: GitLab, pull: PullRequest, reordered: bool
) -> None:
    _fill(world, 7)
    world.server.page_size, world.server.reordered = 3, reordered

    for _ in range(2):
        assert [found.number for found in forge.pull_requests("rollout/")] == list(range(1, 9))


def test_a_list_that_is_cut_short_raises(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    _fill(world, 3)
    page = world.server._page(_Query({}), [world.server._json(mr) for mr in world.server.requests[:2]])
    cut = Fault("GET .*/merge_requests$", status=200, body=page.body, headers={"x-total": "4"}, times=3)
    world.server.faults.append(cut)

    with pytest.raises(TransientError, match="2 of 4"):
        forge.pull_requests("rollout/")
    cut.times = 0
    assert len(forge.pull_requests("rollout/")) == 4


def test_one_that_was_deleted_is_gone(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    _fill(world, 7)
    world.server.page_size = 3
    forge.pull_requests("rollout/")
    del world.server.requests[0]

    assert [found.number for found in forge.pull_requests("rollout/")] == list(range(2, 9))


def test_one_that_was_moved_to_another_base_is_none_of_ours(
    world: GitLabWorld, forge: GitLab, pull: PullRequest
) -> None:
    assert len(forge.pull_requests("rollout/")) == 1
    world.server.get(1).target = "release"

    assert forge.pull_requests("rollout/") == []


def test_a_rate_limit_is_waited_for(world: GitLabWorld, forge: GitLab, pull: PullRequest) -> None:
    limit = {"status": 429, "body": "Retry later\n", "headers": {"Retry-After": "42", "RateLimit-Remaining": "0"}}
    world.server.faults.append(Fault("GET", **limit))  # type: ignore[arg-type]
    world.clock.slept.clear()

    assert len(forge.pull_requests("rollout/")) == 1
    assert world.clock.slept == [42.0]


class _Query:
    def __init__(self, query: dict[str, str]) -> None:
        self.query = query
        self.path = ""


def _fill(world: GitLabWorld, count: int) -> None:
    """Merge requests of the past, each changed after the one before."""
    for n in range(count):
        world.clock.sleep(60)
        mr = world.server.create(f"rollout/other/{n}", f"number {n}", BODY, BOT)
        mr.state, mr.ended_by, mr.ended_at = "closed", "ann", world.clock.now()


def test_nothing_is_asked_that_is_not_used(world: GitLabWorld, pull: PullRequest) -> None:
    world.server.log.clear()
    assert only(world.controller()[0], 1).number == pull.number

    asked = {entry.path.rpartition("/")[2] for entry in world.server.log}
    assert asked == {"merge_requests", "user", "statuses"}
