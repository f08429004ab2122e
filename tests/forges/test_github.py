"""What is GitHub's own: its refusals, its lags, its ways to merge, and what each of them costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql import parse, validate

from controller.errors import ConfigError, TransientError
from controller.forges import github as adapter
from controller.forges import github_graphql as documents
from controller.forges.cache import Cache
from controller.forges.git import Git
from controller.forges.github import GitHub
from controller.forges.patience import Patience
from controller.ports import CheckState, Ci, CiState, Merge, PrState, PullRequest, RefUpdate, Rules
from tests.forges.fakes.github import schema
from tests.forges.fakes.server import Answer, Fault, Request
from tests.forges.test_conformance import BODY, BRANCH, TITLE, TWENTY
from tests.forges.worlds import WORLDS, GitHubWorld, only, propose


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with WORLDS["github"](tmp_path) as made:
        assert isinstance(made, GitHubWorld)
        yield made
        assert made.complaints() == []


@pytest.fixture
def asked(world: GitHubWorld) -> list[Request]:
    """Every request that the server has answered."""
    seen: list[Request] = []

    def note(request: Request, _: Answer) -> None:
        seen.append(request)

    world.server.checks.append(note)
    return seen


class Pilot:
    """One controller on a world, with a proposal pushed."""

    def __init__(self, world: GitHubWorld, cache: Path | None = None) -> None:
        self.world = world
        forge, self.git = world.controller(cache)
        assert isinstance(forge, GitHub)
        self.forge = forge

    def open(self, branch: str = BRANCH) -> PullRequest:
        if not (self.world.remote.path / "refs" / "heads" / branch).exists():
            self.world.propose(branch)
        return self.forge.open(branch=branch, title=TITLE, body=BODY)

    def open_green(self) -> PullRequest:
        pull = self.open()
        self.forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")
        return pull


@pytest.fixture
def pilot(world: GitHubWorld) -> Pilot:
    return Pilot(world)


@pytest.mark.parametrize("name", ["DETAILS", "COMMENTS", "MERGEABILITY", "ARM"])
def test_the_documents_are_valid_in_githubs_schema(name: str) -> None:
    document = getattr(documents, name)
    assert validate(schema(), parse(document)) == []
    assert validate(schema(), parse(document.replace("enabledAt", "enabledOn").replace("endCursor", "end"))) != []


# ---------------------------------------------------------------- opening


def test_a_pull_request_is_asked_for_as_the_description_says(pilot: Pilot, asked: list[Request]) -> None:
    pilot.open()

    (opening,) = [request for request in asked if request.method == "POST" and request.path.endswith("/pulls")]
    assert opening.body == {
        "title": TITLE,
        "head": f"acme:{BRANCH}",
        "base": "main",
        "body": BODY,
        "maintainer_can_modify": False,
    }
    assert opening.headers["accept"] == "application/vnd.github+json"


def test_one_that_the_list_does_not_show_yet_is_adopted_once_it_does(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.freeze()
    first = pilot.open()

    with pytest.raises(TransientError, match=r"already exists for acme:.*list does not show it yet"):
        Pilot(world).open()
    world.server.frozen = None
    assert Pilot(world).open() == first


def test_what_we_opened_is_known_while_the_list_lags_behind(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.freeze()
    pull = pilot.open()
    pilot.forge.edit(pull.number, body="new")

    assert pilot.forge.pull_requests("rollout/") == [replace(pull, body="new")]
    assert pilot.open() == replace(pull, body="new")


def test_a_list_from_before_our_change_takes_nothing_back(world: GitHubWorld, pilot: Pilot) -> None:
    pull = pilot.open()
    world.server.freeze()
    world.clock.sleep(5)
    pilot.forge.close(pull.number)

    assert only(pilot.forge, pull.number).state is PrState.CLOSED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"resource": "PullRequest", "field": "head", "code": "invalid"}, "was just pushed, the next run tries again"),
        (
            {"resource": "PullRequest", "code": "custom", "message": f"No commits between main and {BRANCH}"},
            "decides on",
        ),
    ],
)
def test_a_server_that_has_not_seen_the_push_is_asked_again_by_the_next_run(
    world: GitHubWorld, pilot: Pilot, error: Any, said: str
) -> None:
    body = {"message": "Validation Failed", "errors": [error], "documentation_url": "x"}
    world.server.faults.append(Fault("POST .*/pulls$", status=422, body=body))

    with pytest.raises(TransientError, match=said):
        pilot.open()
    assert pilot.open().number == 1


def test_a_branch_that_is_the_same_as_the_base_is_not_opened(world: GitHubWorld, pilot: Pilot) -> None:
    world.remote.set(BRANCH, world.remote.refs["refs/heads/main"])

    with pytest.raises(TransientError, match="No commits between main and"):
        pilot.forge.open(branch=BRANCH, title=TITLE, body=BODY)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("status", [0, 500, 502])
def test_an_opening_without_an_answer_makes_one_pull_request(
    world: GitHubWorld, pilot: Pilot, status: int, applied: bool
) -> None:
    world.server.faults.append(Fault("POST .*/pulls$", status=status, applied=applied))

    if applied:
        assert pilot.open().number == 1
    else:
        with pytest.raises(TransientError, match="may have been done"):
            pilot.open()
        assert Pilot(world).open().number == 1
    assert len(world.server.pulls) == 1


def test_a_lost_answer_to_a_status_or_a_comment_is_made_up_for_at_once(world: GitHubWorld, pilot: Pilot) -> None:
    pull = pilot.open()
    world.lose("check", applied=False)
    pilot.forge.check(pull.head, CheckState.SUCCESS, "good")
    world.lose("comment", applied=True)
    pilot.forge.comment(pull.number, "hello")

    seen = only(pilot.forge, pull.number)
    assert (seen.check, seen.comments) == ((CheckState.SUCCESS, "good"), ("hello",))


def test_texts_are_cut_to_what_github_takes_and_the_marker_survives(world: GitHubWorld, pilot: Pilot) -> None:
    world.propose(BRANCH)
    long = "| row |\n" * 20_000 + BODY
    pull = pilot.forge.open(branch=BRANCH, title="long " * 100, body=long)
    pilot.forge.check(pull.head, CheckState.FAILURE, "hold:\n" + "because " * 50)

    seen = only(pilot.forge, pull.number)
    assert len(seen.body) <= 65_536
    assert seen.body.endswith("| row |\n\n…\n\n<!-- rollout:v1 e30= -->")
    assert len(seen.title) <= 256
    assert seen.check is not None
    assert seen.check[1].startswith("hold: because")
    assert len(seen.check[1]) <= 140


# ---------------------------------------------------------------- the list


def fill(world: GitHubWorld, count: int) -> None:
    tip = world.remote.refs["refs/heads/main"]
    for number in range(count):
        world.clock.at += timedelta(seconds=7)
        pull = world.server.add(f"rollout/prod/{number}", tip, f"#{number}", BODY, "ann")
        world.server.end(pull, "ann")


@pytest.mark.parametrize("in_order", [True, False])
def test_a_list_of_several_pages_is_complete(world: GitHubWorld, pilot: Pilot, in_order: bool) -> None:
    fill(world, 230)
    world.server.in_order = in_order

    found = pilot.forge.pull_requests("rollout/")
    assert [pull.number for pull in found] == list(range(1, 231))
    assert {pull.closed_by for pull in found} == {"ann"}
    assert found[0].title == "#0"


def test_only_what_is_new_is_read_again(world: GitHubWorld, pilot: Pilot, asked: list[Request]) -> None:
    fill(world, 230)
    before = pilot.forge.pull_requests("rollout/")
    world.clock.sleep(3600)
    world.edit(3, "reopened by hand", "ann")
    asked.clear()

    after = pilot.forge.pull_requests("rollout/")

    assert [pull for pull in after if pull not in before] == [replace(before[2], body="reopened by hand")]
    assert [request.path for request in asked] == ["/repos/acme/shop/pulls", "/graphql/Details"]
    assert asked[1].body["variables"]["ids"] == ["PR_3"]


def test_a_list_that_is_out_of_order_is_read_to_its_end(world: GitHubWorld, pilot: Pilot) -> None:
    fill(world, 230)
    world.server.in_order = False
    pilot.forge.pull_requests("rollout/")
    world.clock.sleep(3600)
    for number in (1, 120, 230):
        world.edit(number, "touched", "ann")

    found = pilot.forge.pull_requests("rollout/")
    assert [pull.number for pull in found if pull.body == "touched"] == [1, 120, 230]


def test_what_moves_to_the_front_while_the_pages_are_read_is_not_missed(world: GitHubWorld, pilot: Pilot) -> None:
    fill(world, 230)

    def touch(request: Request, _: Answer) -> None:
        if request.query.get("page") == "2" and len(world.server.pulls) == 230:
            world.clock.at += timedelta(seconds=7)
            world.edit(1, "touched", "ann")  # was on the last page, and is on the first now
            world.server.add("rollout/prod/new", world.remote.refs["refs/heads/main"], "new", BODY, "ann")

    world.server.checks.append(touch)
    found = pilot.forge.pull_requests("rollout/")

    assert [pull.number for pull in found] == list(range(1, 232))
    assert found[0].body == "touched"


def test_another_base_and_an_unknown_fork_are_none_of_ours(world: GitHubWorld, pilot: Pilot) -> None:
    tip = world.remote.refs["refs/heads/main"]
    world.server.add("rollout/prod/a", tip, "onto a release", BODY, "ann", base="release")
    pull = pilot.open()
    assert [found.number for found in pilot.forge.pull_requests("rollout/")] == [pull.number]

    world.server.pull(pull.number).base = "release"
    world.edit(pull.number, "retargeted", "ann")
    assert pilot.forge.pull_requests("rollout/") == []


def test_all_comments_are_read_however_many(world: GitHubWorld, pilot: Pilot) -> None:
    pull = pilot.open()
    texts = [f"comment {number}" for number in range(250)]
    world.server.pull(pull.number).comments += texts
    world.edit(pull.number, BODY, "ann")

    assert only(pilot.forge, pull.number).comments == tuple(texts)


def test_a_bot_that_closed_has_the_name_that_it_opens_under(world: GitHubWorld, pilot: Pilot) -> None:
    """REST says `dependabot[bot]`, and GraphQL `dependabot`."""
    pull = pilot.open()
    world.close(pull.number, "dependabot[bot]")
    assert only(pilot.forge, pull.number).closed_by == "dependabot[bot]"


def test_a_status_of_another_controller_is_seen_after_ten_minutes_at_the_latest(
    world: GitHubWorld, pilot: Pilot
) -> None:
    pull = pilot.open_green()
    world.clock.sleep(60)
    only(pilot.forge, pull.number)
    Pilot(world).forge.check(pull.head, CheckState.FAILURE, "bad news")

    assert only(pilot.forge, pull.number).check == (CheckState.SUCCESS, "all KPIs good"), "does not change the list"
    world.clock.sleep(600)
    assert only(pilot.forge, pull.number).check == (CheckState.FAILURE, "bad news")


def test_a_status_on_a_head_that_the_list_does_not_show_yet_is_none_of_the_old_heads(
    world: GitHubWorld, pilot: Pilot
) -> None:
    pull = pilot.open()
    world.server.freeze()
    head = world.push(BRANCH, TWENTY)
    pilot.forge.check(head, CheckState.SUCCESS, "of the new head")

    seen = only(Pilot(world).forge, pull.number)
    assert (seen.head, seen.check) == (pull.head, None)


@pytest.mark.parametrize(
    ("reported", "read"),
    [("error", CheckState.FAILURE), ("pending", CheckState.PENDING), ("success", CheckState.SUCCESS)],
)
def test_the_status_under_our_name_is_read_and_no_other(
    world: GitHubWorld, pilot: Pilot, reported: str, read: CheckState
) -> None:
    pull = pilot.open()
    world.server.statuses[pull.head] = [
        {"state": reported, "context": "rollout/evidence", "description": None},
        {"state": "failure", "context": "ci/build", "description": "red"},
    ]
    assert only(pilot.forge, pull.number).check == (read, "")


def test_a_branch_that_must_be_up_to_date_is_behind_once_the_base_moves(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.rules.up_to_date = True
    pull = pilot.open()
    assert only(pilot.forge, pull.number).behind is False

    world.push("main", TWENTY)
    world.edit(pull.number, BODY, "ann")
    assert only(pilot.forge, pull.number).behind is True


def test_the_cache_of_an_earlier_version_is_passed_over(world: GitHubWorld, tmp_path: Path) -> None:
    pull = Pilot(world, tmp_path / "cache").open()
    for file in (tmp_path / "cache").iterdir():
        file.write_text(file.read_text().replace('"newest"', '"latest"').replace('"node"', '"nodes"'))

    assert Pilot(world, tmp_path / "cache").forge.pull_requests("") == [pull]


# ---------------------------------------------------------------- merging


@pytest.mark.parametrize(
    ("methods", "parents"),
    [
        ({"squash": True, "merge": True, "rebase": True}, 1),
        ({"squash": False, "merge": True, "rebase": True}, 2),
        ({"squash": False, "merge": False, "rebase": True}, 2),
    ],
)
def test_the_first_method_that_the_repository_allows_merges(
    world: GitHubWorld, pilot: Pilot, methods: dict[str, bool], parents: int, asked: list[Request]
) -> None:
    world.server.rules.methods = methods
    pull = pilot.open_green()

    assert pilot.forge.merge(pull) is Merge.MERGED
    (merging,) = [request for request in asked if request.method == "PUT"]
    method = next(name for name, allowed in methods.items() if allowed)
    assert (merging.body["merge_method"], merging.body["sha"]) == (method, pull.head)
    assert ("commit_title" in merging.body) is (method != "rebase")
    assert len(world.remote.git("log", "-1", "--format=%P", "main").split()) == parents


def test_the_commit_on_the_base_has_our_message_and_not_the_body(world: GitHubWorld, pilot: Pilot) -> None:
    tip = pilot.git.sync()
    message = "rollout(prod): 0% -> 10%\n\nAll good.\n\nRollout-Id: 0123abcd\n"
    head = pilot.git.commit(tip, {"Pulumi.prod.yaml": TWENTY}, message)
    assert pilot.git.push([RefUpdate(f"refs/heads/{BRANCH}", None, head)])
    pull = pilot.open_green()

    assert pilot.forge.merge(pull) is Merge.MERGED
    assert world.remote.git("log", "-1", "--format=%B", "main") == (
        "rollout(prod): 0% -> 10% (#1)\n\nAll good.\n\nRollout-Id: 0123abcd"
    )


def test_what_the_rules_block_is_armed_at_the_head_and_merged_by_github(
    world: GitHubWorld, pilot: Pilot, asked: list[Request]
) -> None:
    world.server.rules.approvals = 1
    pull = pilot.open_green()

    assert pilot.forge.merge(pull) is Merge.ARMED
    seen = only(pilot.forge, pull.number)
    assert (seen.state, seen.armed) == (PrState.OPEN, True)
    (arming,) = [request for request in asked if request.path == "/graphql/Arm"]
    assert arming.body["variables"]["input"]["expectedHeadOid"] == pull.head

    assert pilot.forge.merge(pull) is Merge.ARMED, "armed already"
    assert len([request for request in asked if request.path == "/graphql/Arm"]) == 1
    world.approve(pull.number, "ann")
    assert only(pilot.forge, pull.number).state is PrState.MERGED


def test_one_who_may_bypass_the_rules_does_not(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.rules.approvals = 1
    world.server.rules.bypass = {"pilot[bot]"}
    pull = pilot.open_green()

    pilot.forge.merge(pull)
    assert only(pilot.forge, pull.number).state is PrState.OPEN


def test_what_has_become_free_while_it_was_armed_is_merged(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.rules.approvals = 1
    pull = pilot.open_green()

    def approve(request: Request, _: Answer) -> None:
        if request.path == "/graphql/Mergeability" and not world.server.pull(1).reviews:
            world.approve(1, "ann")

    world.server.checks.append(approve)
    assert pilot.forge.merge(pull) is Merge.MERGED
    assert only(pilot.forge, pull.number).state is PrState.MERGED


def test_a_merge_queue_is_joined_and_then_left_alone(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.rules.queue = True
    pull = pilot.open_green()

    assert pilot.forge.merge(pull) is Merge.ARMED
    assert only(pilot.forge, pull.number).queued is True
    world.requests()
    assert pilot.forge.merge(pull) is Merge.ARMED
    for touch in (lambda: pilot.forge.edit(pull.number, body="new"), lambda: pilot.forge.close(pull.number)):
        with pytest.raises(TransientError, match="#1 is in the merge queue and is left alone"):
            touch()
    assert world.requests()[2] == 0
    assert world.server.pull(1).body == BODY


def test_what_cannot_be_merged_yet_is_for_later(world: GitHubWorld, pilot: Pilot) -> None:
    pull = pilot.open_green()
    world.server.unknown = True
    assert pilot.forge.merge(pull) is Merge.NOT_YET
    world.server.unknown = False

    for status, message in ((405, "Base branch was modified. Review and try the merge again."), (409, "Head branch")):
        world.server.faults.append(Fault("PUT .*/merge$", status=status, body={"message": message}))
        assert pilot.forge.merge(pull) is Merge.NOT_YET

    world.draft(pull.number, "ann")
    assert pilot.forge.merge(pull) is Merge.NOT_YET
    world.server.pull(1).draft = False
    assert pilot.forge.merge(pull) is Merge.MERGED


def test_what_the_settings_forbid_is_a_persons_to_allow(world: GitHubWorld, pilot: Pilot) -> None:
    pull = pilot.open_green()
    message = {"message": "Merge method squash merging is not allowed on this repository", "documentation_url": "x"}
    world.server.faults.append(Fault("PUT .*/merge$", status=405, body=message))
    with pytest.raises(ConfigError, match="405: Merge method squash merging is not allowed"):
        pilot.forge.merge(pull)

    world.server.rules.approvals, world.server.rules.auto_merge = 1, False
    with pytest.raises(ConfigError, match="Auto merge is not allowed for this repository; switch on auto-merge"):
        pilot.forge.merge(pull)

    world.server.rules.methods = dict.fromkeys(("squash", "merge", "rebase"), False)
    with pytest.raises(ConfigError, match="acme/shop allows no merge method"):
        pilot.forge.merge(pull)


@pytest.mark.parametrize("applied", [True, False])
def test_an_arming_whose_answer_is_lost_is_looked_up(world: GitHubWorld, pilot: Pilot, applied: bool) -> None:
    world.server.rules.approvals = 1
    pull = pilot.open_green()
    world.lose("arm", applied=applied)

    assert pilot.forge.merge(pull) is (Merge.ARMED if applied else Merge.NOT_YET)
    assert pilot.forge.merge(pull) is Merge.ARMED


# ---------------------------------------------------------------- permissions and limits


@pytest.mark.parametrize(
    ("denied", "act", "missing"),
    [
        ("pull_requests", "open", "pull requests (write)"),
        ("pull_requests", "comment", "pull requests (write)"),
        ("statuses", "check", "commit statuses (write)"),
        ("contents", "merge", "contents (write) and pull requests (write)"),
        ("pull_requests", "arm", "pull requests (write) and contents (write)"),
    ],
)
def test_a_missing_permission_is_named(world: GitHubWorld, pilot: Pilot, denied: str, act: str, missing: str) -> None:
    if act != "open":
        pull = pilot.open()
    if act == "arm":
        world.server.rules.approvals = 1
    world.server.denied = {denied}

    acts: dict[str, Callable[[], object]] = {
        "open": pilot.open,
        "comment": lambda: pilot.forge.comment(pull.number, "hello"),
        "check": lambda: pilot.forge.check(pull.head, CheckState.SUCCESS, "good"),
        "merge": lambda: pilot.forge.merge(pull),
        "arm": lambda: pilot.forge.merge(pull),
    }
    with pytest.raises(ConfigError) as caught:
        acts[act]()
    assert "Resource not accessible by integration" in str(caught.value)
    assert f"probably missing: {missing}" in str(caught.value)


def test_a_wrong_token_and_a_hidden_repository_are_told_apart(world: GitHubWorld, pilot: Pilot) -> None:
    world.token = "ghp_expired0000"
    with pytest.raises(ConfigError, match=r"401: Bad credentials; the token is wrong or has expired") as caught:
        pilot.forge.pull_requests("")
    assert "ghp_" not in str(caught.value)

    world.server.tokens["ghp_expired0000"] = "ann"
    world.server.project = "acme/renamed"
    with pytest.raises(ConfigError, match=r"404: Not Found; it is not there, or hidden .* pull requests \(read\)"):
        pilot.forge.pull_requests("")


def test_a_status_on_a_commit_that_a_server_does_not_know_yet_is_for_the_next_run(pilot: Pilot) -> None:
    with pytest.raises(TransientError, match="No commit found for SHA"):
        pilot.forge.check("0" * 40, CheckState.SUCCESS, "good")


@pytest.mark.parametrize(
    ("headers", "slept"),
    [({"retry-after": "30"}, 30), ({}, 60), ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772445645"}, 46)],
)
def test_a_limit_in_the_middle_of_a_pass_is_waited_out(
    world: GitHubWorld, pilot: Pilot, headers: dict[str, str], slept: float
) -> None:
    body = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
    world.server.faults.append(Fault("POST .*/pulls$", status=403, body=body, headers=headers))

    assert pilot.open().number == 1
    assert world.clock.slept == [slept]
    assert len(world.server.pulls) == 1


@pytest.mark.parametrize("message", ["Something went wrong while executing your query.", "Field 'x' is fine"])
def test_an_error_of_graphql_is_for_the_next_run(world: GitHubWorld, pilot: Pilot, message: str) -> None:
    pilot.open()
    world.server.faults.append(
        Fault("/graphql/Details", status=200, body={"data": None, "errors": [{"message": message}]})
    )
    with pytest.raises(TransientError, match=r"GitHub: GraphQL Details: .*; the next run tries again"):
        pilot.forge.pull_requests("")
    assert len(pilot.forge.pull_requests("")) == 1


def test_a_github_that_is_too_old_is_named(world: GitHubWorld, pilot: Pilot) -> None:
    pilot.open()
    said = {"errors": [{"message": "Field 'isInMergeQueue' doesn't exist on type 'PullRequest'"}]}
    world.server.faults.append(Fault("/graphql/Details", status=200, body=said))
    with pytest.raises(ConfigError, match=r"GitHub Enterprise Server 3\.12 or newer"):
        pilot.forge.pull_requests("")


# ---------------------------------------------------------------- a server of one's own


@pytest.mark.parametrize(
    ("host", "api"),
    [
        ("github.com", "https://api.github.com"),
        ("ssh.github.com", "https://api.github.com"),
        ("acme.ghe.com", "https://api.acme.ghe.com"),
        ("git.example.com", "https://git.example.com/api/v3"),
    ],
)
def test_the_address_of_the_api_comes_from_the_host(host: str, api: str) -> None:
    assert adapter.api(host) == api


def test_an_enterprise_server_has_graphql_beside_rest(world: GitHubWorld) -> None:
    paths: list[str] = []
    handle = world.server.handle

    def note(request: Request) -> Answer | None:
        paths.append(request.path)
        return handle(request)

    world.server.handle = note  # type: ignore[method-assign]
    forge = GitHub(
        world.server.url + "/api/v3/",
        "acme",
        "shop",
        token=lambda: world.token,
        cache=Cache(),
        patience=Patience(clock=world.clock.time, sleep=world.clock.sleep),
    )
    git = Git(world.server.remote, credentials=lambda: ("x-access-token", world.token))
    propose(git, BRANCH)
    pull = forge.open(branch=BRANCH, title=TITLE, body=BODY)

    assert forge.merge(pull) is Merge.MERGED
    assert [found.state for found in forge.pull_requests("")] == [PrState.MERGED]
    assert set(paths) == {
        "/api/v3/repos/acme/shop/pulls",
        "/api/v3/repos/acme/shop/pulls/1/merge",
        "/api/graphql",
    }


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize("ended", [True, False])
def test_one_that_cannot_be_read_stops_the_pass_only_while_it_is_open(
    world: GitHubWorld, pilot: Pilot, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    lost, other = pilot.open(), pilot.open("rollout/staging/advance-0-10-0123abcd")
    for pull in (lost, other) if ended else ():
        world.close(pull.number, "ann")
    node = world.server.pull(lost.number).node
    find = world.server._by_node
    monkeypatch.setattr(world.server, "_by_node", lambda one: find("gone" if one == node else one))
    forge = world.controller()[0]

    if ended:
        found = forge.pull_requests("rollout/")
        assert [(pull.number, pull.state, pull.closed_by) for pull in found] == [
            (lost.number, PrState.CLOSED, None),
            (other.number, PrState.CLOSED, "ann"),
        ]
        monkeypatch.undo()
        assert only(forge, lost.number).closed_by == "ann"
    else:
        with pytest.raises(TransientError, match=f"#{lost.number} is listed but cannot be read"):
            forge.pull_requests("rollout/")


def test_an_item_that_makes_no_sense_is_a_reason_to_try_again(world: GitHubWorld, pilot: Pilot) -> None:
    pilot.open()
    world.server.frozen = [{"number": 1, "updated_at": "2026-03-02T10:00:00Z"}]
    world.server.checks.clear()

    with pytest.raises(TransientError, match=r"pull request #1 makes no sense: KeyError\('head'\)"):
        world.controller()[0].pull_requests("rollout/")


def test_what_is_armed_stays_so_when_the_branch_is_edited_and_its_new_head_has_no_status(
    world: GitHubWorld, pilot: Pilot
) -> None:
    world.server.rules.approvals = 1
    pull = pilot.open_green()
    assert pilot.forge.merge(pull) is Merge.ARMED
    edited = world.push(pull.branch, TWENTY, "ann")

    seen = only(pilot.forge, pull.number)
    assert (seen.head, seen.armed, seen.check) == (edited, True, None)
    assert pilot.forge.merge(pull) is Merge.NOT_YET, "that is of another head"


# ---------------------------------------------------------------- the CI and the rules


def test_check_runs_count_beside_statuses_on_every_page(world: GitHubWorld, pilot: Pilot) -> None:
    oid = world.remote.refs["refs/heads/main"]
    done = {"status": "completed", "conclusion": "success"}
    world.server.runs[oid] = [{"name": f"job {n}", **done} for n in range(101)]
    assert pilot.forge.ci(oid) == Ci(CiState.GREEN, "101 jobs green")
    world.server.runs[oid].append(
        {"name": "e2e", "status": "in_progress", "conclusion": "success"}
    )  # null, which the description forgot
    assert pilot.forge.ci(oid) == Ci(CiState.RUNNING, "running: e2e")
    world.server.runs[oid][-1] = {"name": "e2e", "status": "completed", "conclusion": "timed_out"}
    assert pilot.forge.ci(oid) == Ci(CiState.RED, "red: e2e")


def test_a_token_that_may_not_see_check_runs_says_which_right_is_missing(world: GitHubWorld, pilot: Pilot) -> None:
    world.server.denied.add("checks")
    with pytest.raises(ConfigError, match=r"probably missing: checks \(read\)"):
        pilot.forge.ci(world.remote.refs["refs/heads/main"])


def test_a_ruleset_requires_statuses_too(world: GitHubWorld, pilot: Pilot) -> None:
    checks = [{"context": "rollout/evidence"}]
    asked = {"required_status_checks": checks, "strict_required_status_checks_policy": False}
    world.server.rulesets = [{"type": "deletion"}, {"type": "required_status_checks", "parameters": asked}]
    assert pilot.forge.rules() == Rules(True, ("rollout/evidence",))
