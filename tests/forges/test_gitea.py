"""The traps of Gitea's and Forgejo's API, one by one; what every forge promises is in test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.errors import ConfigError, TransientError
from controller.forges.cache import Cache
from controller.forges.gitea import Gitea
from controller.ports import CheckState, Merge, PrState, PullRequest
from tests.forges import served
from tests.forges.fakes.server import Fault
from tests.forges.served import GiteaWorld
from tests.forges.worlds import BOT, STACK_FILE, only

BRANCH = "rollout/prod/advance-0-10-0123abcd"
BODY = "evidence\n\n<!-- rollout:v1 e30= -->"
TWENTY = STACK_FILE.replace(b"percent: 0", b"percent: 20")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GiteaWorld]:
    with served.gitea(tmp_path) as made:
        assert isinstance(made, GiteaWorld)
        yield made
        assert made.complaints() == []


@pytest.fixture
def forge(world: GiteaWorld) -> Gitea:
    forge = world.controller()[0]
    assert isinstance(forge, Gitea)
    return forge


@pytest.fixture
def pull(world: GiteaWorld, forge: Gitea) -> PullRequest:
    world.propose(BRANCH)
    return forge.open(branch=BRANCH, title="rollout(prod): 0% -> 10%", body=BODY)


@pytest.fixture
def green(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> PullRequest:
    forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")
    return only(forge, 1)


# ---------------------------------------------------------------- merging


def _refuses(text: str) -> Callable[[GiteaWorld], None]:
    def change(world: GiteaWorld) -> None:
        world.server.refuses = text

    return change


def _answers(status: int, text: str) -> Callable[[GiteaWorld], None]:
    return lambda world: world.server.faults.append(Fault("POST .*/merge$", status=status, body={"message": text}))


def _draft(world: GiteaWorld) -> None:
    world.draft(1, "ann")


def _conflict(world: GiteaWorld) -> None:
    world.push("main", TWENTY)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_refuses("Please try again later"), id="it-checks"),
        pytest.param(_refuses("not ready to merge: Not all required status checks successful"), id="checks"),
        pytest.param(_refuses("not ready to merge: Does not have enough approvals"), id="approvals"),
        pytest.param(_refuses("not ready to merge: There are requested changes"), id="requested-changes"),
        pytest.param(_refuses("not ready to merge: The head branch is behind the base branch"), id="behind"),
        pytest.param(_draft, id="work-in-progress"),
        pytest.param(_conflict, id="a-conflict-says-try-again-later-too"),
        pytest.param(_answers(405, ""), id="405-without-a-word"),
        pytest.param(_answers(409, "head out of date"), id="409-head-moved"),
        pytest.param(_answers(409, "merge push out of date"), id="409-base-moved"),
        pytest.param(_answers(404, "not found"), id="404-closed-meanwhile"),
        pytest.param(_answers(500, ""), id="500-it-depends-on-another"),
        pytest.param(_answers(0, ""), id="lost-and-not-done"),
    ],
)
def test_what_is_not_possible_yet_is_for_later(
    world: GiteaWorld, forge: Gitea, green: PullRequest, change: Callable[[GiteaWorld], None]
) -> None:
    change(world)

    assert forge.merge(green) is Merge.NOT_YET
    assert world.server.get(1).state == "open"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_refuses("User not allowed to merge PR"), id="no-right"),
        pytest.param(_refuses("merge is not allowed an allowed merge style for this repository"), id="style"),
        pytest.param(_refuses("not ready to merge: Changed protected files"), id="protected-files"),
        pytest.param(_refuses("head commits are not all verified"), id="signatures"),
        pytest.param(_answers(409, "PushRejected with remote message: no pushes on Friday"), id="a-hook"),
        pytest.param(_answers(423, "repo is archived"), id="archived"),
    ],
)
def test_what_settings_forbid_is_a_persons(
    world: GiteaWorld, forge: Gitea, green: PullRequest, change: Callable[[GiteaWorld], None]
) -> None:
    change(world)

    with pytest.raises(ConfigError):
        forge.merge(green)
    assert world.server.get(1).state == "open"


def test_someone_elses_merge_a_moment_before_is_as_good(world: GiteaWorld, forge: Gitea, green: PullRequest) -> None:
    world.server.merge(1, "ann")

    assert forge.merge(green) is Merge.MERGED


def test_it_is_merged_in_the_repositorys_own_style(world: GiteaWorld, forge: Gitea, green: PullRequest) -> None:
    world.server.style, world.server.styles = "squash", ("squash",)

    assert forge.merge(green) is Merge.MERGED
    assert len(world.remote.git("rev-list", "--parents", "-1", "main").split()) == 2, "no merge commit"


@pytest.mark.parametrize("state", [None, CheckState.PENDING, CheckState.FAILURE])
def test_a_head_without_a_good_status_is_not_merged(
    world: GiteaWorld, forge: Gitea, pull: PullRequest, state: CheckState | None
) -> None:
    if state:
        forge.check(pull.head, state, "why")

    assert forge.merge(pull) is Merge.NOT_YET
    assert not [entry for entry in world.server.log if entry.path.endswith("/merge")]


# ---------------------------------------------------------------- opening and closing


def test_of_two_that_gitea_let_through_the_older_is_taken(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.server.create(BRANCH, "the same", BODY, BOT)

    assert forge.open(branch=BRANCH, title="t", body=BODY).number == 1
    assert [found.number for found in forge.pull_requests("rollout/")] == [1, 2]


def test_a_duplicate_that_the_list_does_not_show_yet_is_for_the_next_run(
    world: GiteaWorld, forge: Gitea, pull: PullRequest
) -> None:
    world.server.lagging = []

    with pytest.raises(TransientError, match=r"pull request already exists.*next run"):
        world.controller()[0].open(branch=BRANCH, title="t", body=BODY)


def test_a_branch_without_a_change_is_for_the_next_run(world: GiteaWorld, forge: Gitea) -> None:
    world.remote.set(BRANCH, world.remote.refs["refs/heads/main"])

    with pytest.raises(TransientError, match=r"no changes between.*next run"):
        forge.open(branch=BRANCH, title="t", body=BODY)


def test_closing_what_was_merged_meanwhile_is_nothing(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.merge(1, "ann")
    forge.close(1)

    assert only(forge, 1).state is PrState.MERGED


def test_a_draft_stays_one_when_the_body_is_edited(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.draft(1, "ann")
    forge.edit(1, body="new")

    seen = only(forge, 1)
    assert (seen.draft, seen.title, seen.body) == (True, f"WIP: {pull.title}", "new")


def test_a_token_that_may_only_read_is_told_what_is_missing(world: GiteaWorld, forge: Gitea) -> None:
    world.propose(BRANCH)
    world.server.may_write = False

    with pytest.raises(ConfigError, match=r"403.*scope write:repository"):
        forge.open(branch=BRANCH, title="t", body=BODY)
    with pytest.raises(ConfigError, match=r"403.*scope write:issue"):
        forge.comment(1, "hello")


# ---------------------------------------------------------------- reading


def test_a_merged_one_whose_branch_is_gone_is_known_by_its_label(
    world: GiteaWorld, forge: Gitea, pull: PullRequest
) -> None:
    world.merge(1, "ann")

    assert world.server._json(world.server.get(1))["head"]["ref"] == "refs/pull/1/head"
    (seen,) = forge.pull_requests("rollout/prod/")
    assert (seen.branch, seen.state, seen.head) == (BRANCH, PrState.MERGED, pull.head)


def test_mergeable_is_not_asked(world: GiteaWorld, forge: Gitea, green: PullRequest) -> None:
    assert world.server.mergeable is False
    assert forge.merge(green) is Merge.MERGED


def test_who_closed_it_is_asked_once(world: GiteaWorld, forge: Gitea, pull: PullRequest, tmp_path: Path) -> None:
    world.clock.sleep(60)
    world.close(1, "ann")
    cache = tmp_path / "cache"
    assert only(world.controller(cache)[0], 1).closed_by == "ann"
    world.requests()

    assert only(world.controller(cache)[0], 1).closed_by == "ann"
    assert world.requests() == (1, 0, 0)


def test_of_several_closes_the_last_one_counts(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    for by in ("ann", "bob"):
        world.clock.sleep(60)
        world.close(1, by)
        assert only(forge, 1).closed_by == by
        world.clock.sleep(60)
        world.reopen(1, by)
        assert (only(forge, 1).closed_by, only(forge, 1).closed_at) == (None, None)


def test_who_closed_it_is_found_behind_a_long_timeline(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    for n in range(60):
        world.server.tell(1, "comment", "ann", str(n))
    world.clock.sleep(60)
    world.close(1, "bob")

    assert only(forge, 1).closed_by == "bob"


def test_who_deleted_the_branch_closed_it(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.delete_branch(BRANCH, "ann")

    assert (only(forge, 1).state, only(forge, 1).closed_by) == (PrState.CLOSED, "ann")


def test_a_long_timeline_is_read_to_its_end(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.server.page_size = 3
    for n in range(4):
        world.server.tell(1, "comment", "ann", f"before {n}")
    for _ in range(7):  # which Gitea leaves out of pages that it has cut already
        world.server.tell(1, "code", "ann", "a line of code")
    for n in range(4):
        world.server.tell(1, "comment", "ann", f"after {n}")

    assert only(forge, 1).comments == tuple(f"{when} {n}" for when in ("before", "after") for n in range(4))


def test_a_server_that_does_not_tell_its_limit_is_read_with_care(
    world: GiteaWorld, forge: Gitea, pull: PullRequest
) -> None:
    world.server.page_size, world.server.hides_settings = 20, True
    for n in range(45):
        world.server.tell(1, "comment", "ann", str(n))

    assert only(forge, 1).comments == tuple(map(str, range(45)))


@pytest.mark.parametrize("count", [0, 2, 3, 4, 6])
def test_a_timeline_of_about_a_page_is_read_to_its_end(
    world: GiteaWorld, forge: Gitea, pull: PullRequest, count: int
) -> None:
    world.server.page_size = 3
    for n in range(count):
        world.server.tell(1, "comment", "ann", str(n))

    assert only(forge, 1).comments == tuple(map(str, range(count)))


def test_an_automatic_merge_that_was_cancelled_is_not_armed(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.arm(1, "ann")
    assert only(forge, 1).armed is True
    world.server.tell(1, "pull_cancel_scheduled_merge", "ann")
    assert only(forge, 1).armed is False


@pytest.mark.parametrize(
    ("asks", "admin", "moved", "behind"),
    [(True, True, True, True), (True, True, False, None), (False, True, True, None), (True, False, True, None)],
)
def test_a_branch_is_behind_where_the_rule_asks_and_can_be_read(
    world: GiteaWorld, forge: Gitea, pull: PullRequest, asks: bool, admin: bool, moved: bool, behind: bool | None
) -> None:
    world.server.asks_up_to_date, world.server.is_admin = asks, admin
    if moved:
        world.push("main", TWENTY)

    assert only(forge, 1).behind is behind


@pytest.mark.parametrize(
    ("status", "state"),
    [("error", CheckState.FAILURE), ("warning", CheckState.PENDING), ("skipped", CheckState.PENDING)],
)
def test_a_status_in_giteas_own_words_is_read(
    world: GiteaWorld, forge: Gitea, pull: PullRequest, status: str, state: CheckState
) -> None:
    forge.check(pull.head, CheckState.SUCCESS, "good")
    world.server.statuses[0]["status"] = status

    assert only(forge, 1).check == (state, "good")


def test_a_second_event_in_the_same_second_is_seen(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.server.tell(1, "comment", "ann", "one")
    assert only(forge, 1).comments == ("one",)
    world.server.tell(1, "comment", "bob", "two")

    assert only(forge, 1).comments == ("one", "two")


def test_a_head_that_was_pushed_far_down_the_list_is_seen(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    for n in range(12):
        world.clock.sleep(60)
        old = world.server.create(f"rollout/other/{n}", f"number {n}", BODY, BOT)
        old.state, old.merged, old.ended_by, old.ended_at = "closed", True, "ann", world.clock.now()
    world.server.page_size = 5
    assert len(forge.pull_requests("rollout/")) == 13
    world.clock.sleep(60)
    head = world.push(BRANCH, TWENTY)  # which Gitea does not count as a change

    seen = forge.pull_requests("rollout/prod/")[0]
    assert (seen.head, seen.check) == (head, None)


def test_what_was_asked_for_is_looked_for_in_what_comes(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.server.create("rollout/prod/other", "t", BODY, BOT, base="release")
    world.server.ignores_filters = True

    assert [seen.number for seen in forge.pull_requests("rollout/")] == [1]


def test_our_own_status_is_seen_at_once(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.clock.sleep(120)
    assert only(forge, 1).check is None
    forge.check(pull.head, CheckState.SUCCESS, "good")
    assert only(forge, 1).check == (CheckState.SUCCESS, "good")


@pytest.mark.parametrize("place", [0, 1])
def test_of_two_statuses_in_a_second_the_later_counts(
    world: GiteaWorld, forge: Gitea, pull: PullRequest, place: int
) -> None:
    forge.check(pull.head, CheckState.SUCCESS, "good")
    first = world.server.statuses[0]
    world.server.statuses.insert(place, first | {"id": 2, "status": "failure"})

    assert only(forge, 1).check == (CheckState.FAILURE, "good")


@pytest.mark.parametrize("reordered", [False, True])
def test_a_list_of_several_pages_is_complete_in_any_order(
    world: GiteaWorld, forge: Gitea, pull: PullRequest, reordered: bool
) -> None:
    for n in range(7):
        world.server.create(f"rollout/other/{n}", f"number {n}", BODY, BOT)
    world.server.page_size, world.server.reordered = 3, reordered

    for _ in range(2):
        assert [found.number for found in forge.pull_requests("rollout/")] == list(range(1, 9))


def test_links_of_another_address_than_ours_are_followed_on_ours(
    world: GiteaWorld, forge: Gitea, pull: PullRequest
) -> None:
    assert world.server.root not in world.server.url
    for n in range(4):
        world.server.create(f"rollout/other/{n}", f"number {n}", BODY, BOT)
    world.server.page_size = 2

    assert len(forge.pull_requests("rollout/")) == 5
    assert only(forge, 1) == pull


def test_a_rate_limit_of_a_proxy_is_waited_for(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.server.faults.append(Fault("GET", status=429, headers={"Retry-After": "42"}))
    world.clock.slept.clear()

    assert len(forge.pull_requests("rollout/")) == 1
    assert world.clock.slept == [42.0]


def test_without_the_scope_that_tells_who_we_are_nothing_is_taken_for_ours(
    world: GiteaWorld, pull: PullRequest
) -> None:
    world.server.hides_user = True
    world.server.tokens["another"] = BOT
    other = Gitea("acme", "shop", token=lambda: "another", url=world.server.url, patience=world.patience())

    with pytest.raises(ConfigError, match=r"probably missing: a token with the scope read:user"):
        other.pull_requests("rollout/")


def test_another_accounts_token_makes_another_account(world: GiteaWorld, tmp_path: Path) -> None:
    """Also where both find the same cache."""
    world.propose(BRANCH)
    forge, _ = world.controller(tmp_path / "cache")
    assert forge.open(branch=BRANCH, title="rollout(prod): 0% -> 10%", body=BODY).by_us
    assert only(forge, 1).by_us

    world.server.tokens["another"] = "ann"
    cache = Cache(tmp_path / "cache")
    other = Gitea("acme", "shop", token=lambda: "another", url=world.server.url, cache=cache, patience=world.patience())
    assert only(other, 1).by_us is False


def test_who_closed_it_is_not_worth_the_pass(world: GiteaWorld, forge: Gitea, pull: PullRequest) -> None:
    world.close(pull.number, "ann")
    world.server.faults.append(Fault("/timeline$", status=404))

    seen = only(forge, pull.number)
    assert (seen.state, seen.closed_by) == (PrState.CLOSED, None)
    assert only(forge, pull.number).closed_by == "ann", "once it can be read"
