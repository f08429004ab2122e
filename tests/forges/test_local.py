"""The forge that needs no server: pull requests as people and the controller meet them there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from controller.errors import ConfigError, TransientError
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.ports import CheckState, Merge, PrState, PullRequest, RefUpdate

if TYPE_CHECKING:
    from tests.forges.conftest import Remote

PROD = "Pulumi.prod.yaml"
STACK_FILE = b"config:\r\n  pilot:rollout:\r\n    percent: 0  # one line\r\n"
TEN = STACK_FILE.replace(b"percent: 0", b"percent: 10")
BRANCH = "rollout/prod/advance-0-10-0123abcd"
NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


class Story:
    """One repository, its forge at a chosen time, and the branch of a proposal."""

    def __init__(self, git: Git) -> None:
        self.git = git
        self.now = NOW
        self.forge = LocalForge(git, actor="Pilot <pilot@example.com>", now=lambda: self.now)
        self.tip = git.sync()

    def push(self, branch: str = BRANCH, data: bytes = TEN, path: str = PROD) -> str:
        head = self.git.commit(self.tip, {path: data}, f"rollout(prod): to {branch}")
        assert self.git.push([RefUpdate(f"refs/heads/{branch}", None, head)])
        return head

    def open(self, branch: str = BRANCH, data: bytes = TEN, path: str = PROD) -> PullRequest:
        self.push(branch, data, path)
        return self.forge.open(branch=branch, title="rollout(prod): 0% -> 10%", body="evidence")

    def open_green(self, branch: str = BRANCH, data: bytes = TEN, path: str = PROD) -> PullRequest:
        pull = self.open(branch, data, path)
        self.forge.check(pull.head, CheckState.SUCCESS, "all KPIs good")
        return self.only(pull.number)

    def only(self, number: int) -> PullRequest:
        (found,) = (pull for pull in self.forge.pull_requests("") if pull.number == number)
        return found


@pytest.fixture
def story(clone: Callable[..., Git]) -> Story:
    return Story(clone())


# ---------------------------------------------------------------- what the controller does


def test_an_opened_pull_request_is_what_every_machine_reads(story: Story, clone: Callable[..., Git]) -> None:
    head = story.push()
    opened = story.forge.open(branch=BRANCH, title="rollout(prod): 0% -> 10%", body="Größe\r\n")

    assert opened == PullRequest(
        number=1,
        title="rollout(prod): 0% -> 10%",
        body="Größe\r\n",
        branch=BRANCH,
        head=head,
        base="main",
        author="Pilot <pilot@example.com>",
        state=PrState.OPEN,
        created=NOW,
        by_us=True,
    )
    assert Story(clone()).forge.pull_requests("rollout/prod/") == [opened]
    assert story.forge.pull_requests("rollout/staging/") == []


def test_opening_again_returns_the_open_one(story: Story) -> None:
    opened = story.open()
    story.now = LATER

    assert story.forge.open(branch=BRANCH, title="other", body="other") == opened
    assert story.forge.pull_requests("") == [opened]


def test_a_branch_whose_name_begins_like_another_gets_its_own(story: Story) -> None:
    longer = story.open(BRANCH + "ef")

    assert story.open(BRANCH).number == longer.number + 1


def test_opening_a_branch_that_is_not_there_is_for_the_next_run(story: Story) -> None:
    with pytest.raises(TransientError, match="is not on the remote; the next run pushes it"):
        story.forge.open(branch=BRANCH, title="t", body="b")


def test_edit_comment_and_check_keep_each_other(story: Story) -> None:
    opened = story.open()
    story.forge.edit(1, body="new evidence")
    story.forge.comment(1, "one")
    story.forge.comment(1, "two")
    story.forge.check(opened.head, CheckState.PENDING, "12 of 40 users")

    assert story.only(1) == replace(
        opened,
        body="new evidence",
        comments=("one", "two"),
        check=(CheckState.PENDING, "12 of 40 users"),
    )


def test_what_changes_nothing_writes_nothing(story: Story, remote: Remote) -> None:
    opened = story.open_green()
    refs = remote.refs
    story.now = LATER
    story.forge.edit(1, body=opened.body)
    story.forge.check(opened.head, CheckState.SUCCESS, "all KPIs good")
    story.forge.check("0" * 40, CheckState.FAILURE, "a commit without a pull request")

    assert remote.refs == refs


def test_a_check_is_of_one_head_only(story: Story, remote: Remote) -> None:
    opened = story.open_green()
    edited = remote.set(BRANCH, remote.commit({PROD: b"by a person"}, opened.head))

    assert (story.only(1).head, story.only(1).check) == (edited, None)
    story.forge.check(opened.head, CheckState.FAILURE, "too late")
    assert story.only(1).check is None


def test_close_ends_it_once_and_a_new_one_may_follow(story: Story) -> None:
    opened = story.open()
    story.now = LATER
    story.forge.close(1)
    closed = story.only(1)
    story.now = LATER + timedelta(hours=1)
    story.forge.close(1)
    again = story.forge.open(branch=BRANCH, title="again", body="")

    assert closed == replace(opened, state=PrState.CLOSED, closed_by="Pilot <pilot@example.com>", closed_at=LATER)
    assert story.only(1) == closed
    assert (again.number, again.state) == (2, PrState.OPEN)


def test_a_deleted_branch_ends_its_pull_request(story: Story, remote: Remote) -> None:
    opened = story.open()
    remote.git("update-ref", "-d", f"refs/heads/{BRANCH}")

    assert story.only(1) == replace(opened, state=PrState.CLOSED)


def test_a_pull_request_that_is_not_there_is_named(story: Story) -> None:
    with pytest.raises(ConfigError, match="there is no pull request 7"):
        story.forge.comment(7, "hello")


def test_the_same_story_has_the_same_objects_everywhere(
    empty: Callable[..., Remote], template: Path, clone: Callable[..., Git]
) -> None:
    ends = []
    for name in ("one.git", "two.git"):
        remote = empty(name)
        remote.git("fetch", "--quiet", str(template), "main:main")
        story = Story(clone(remote.path))
        story.open_green()
        story.forge.comment(1, "hello")
        story.forge.merge_by_person(1, by="Maria", at=LATER)
        story.open("rollout/prod/revert", STACK_FILE + b"#")
        story.forge.close_by_person(2, "Tom", LATER)
        ends.append(remote.refs)

    assert ends[0] == ends[1]
    assert ends[0].keys() == {
        "refs/heads/main",
        "refs/heads/rollout/prod/revert",
        "refs/rollout/pulls/1",
        "refs/rollout/pulls/2",
    }


def test_the_log_of_its_ref_tells_a_pull_requests_story(story: Story, remote: Remote) -> None:
    head = story.push()
    story.forge.open(branch=BRANCH, title="a title", body="")
    story.forge.check(head, CheckState.SUCCESS, "good")
    story.now = LATER
    story.forge.close_by_person(1, "Maria Süß <maria@example.com>", LATER)

    log = remote.git("log", "--format=%an <%ae> %aI %s", "refs/rollout/pulls/1")
    assert log.splitlines() == [
        "Maria Süß <maria@example.com> 2026-03-02T11:00:00+00:00 pull request 1, close",
        "Pilot <pilot@example.com> 2026-03-02T10:00:00+00:00 pull request 1, check: success",
        "Pilot <pilot@example.com> 2026-03-02T10:00:00+00:00 pull request 1, open: a title",
    ]


# ---------------------------------------------------------------- what people do


def test_merge_squashes_onto_the_base_and_deletes_the_branch(story: Story, remote: Remote) -> None:
    opened = story.open_green()
    oid = story.forge.merge_by_person(1, by="Maria <maria@example.com>", at=LATER)

    assert remote.refs.keys() == {"refs/heads/main", "refs/rollout/pulls/1"}
    assert remote.refs["refs/heads/main"] == oid == story.git.sync()
    assert remote.git("log", "-1", "--format=%P%n%an %aI%n%cn <%ce> %cI%n%B", oid) == (
        f"{story.tip}\n"
        "Pilot 2026-03-02T09:00:01+00:00\n"
        "Maria <maria@example.com> 2026-03-02T11:00:00+00:00\n"
        f"rollout(prod): to {BRANCH}"
    )
    assert story.git.changed(story.tip, oid) == {PROD: (STACK_FILE, TEN)}
    assert story.only(1) == replace(
        opened,
        state=PrState.MERGED,
        closed_by="Maria <maria@example.com>",
        closed_at=LATER,
        merged_as=oid,
    )


def test_merge_takes_what_a_person_added_to_the_branch(story: Story, remote: Remote) -> None:
    head = story.open().head
    edited = remote.set(BRANCH, remote.commit({PROD: TEN, "notes": b"why"}, head, message="notes"))
    story.forge.check(edited, CheckState.SUCCESS, "fine")
    oid = story.forge.merge_by_person(1, by="Maria", at=LATER)

    assert story.git.changed(story.tip, oid) == {
        PROD: (STACK_FILE, TEN),
        "README.md": (b"read me\n", None),
        "notes": (None, b"why"),
    }


def test_merge_onto_a_base_that_moved_elsewhere_keeps_both(story: Story, remote: Remote) -> None:
    story.open_green()
    moved = remote.set("main", remote.commit({PROD: STACK_FILE, "other": b"1"}, story.tip))
    oid = story.forge.merge_by_person(1, by="Maria", at=LATER)

    assert story.git.changed(moved, oid) == {PROD: (STACK_FILE, TEN)}
    assert sorted(story.git.files(oid)) == [PROD, "other"]
    assert story.git.merge_base(moved, oid) == moved


def test_merge_of_a_deletion_leaves_no_empty_folder(story: Story, remote: Remote) -> None:
    with_folder = story.git.commit(story.tip, {"folder/file": b"1"}, "add")
    assert story.git.push([RefUpdate("refs/heads/main", story.tip, with_folder)])
    remote.set(BRANCH, remote.commit({PROD: STACK_FILE, "README.md": b"read me\n"}, with_folder))
    story.git.sync()
    story.forge.open(branch=BRANCH, title="remove", body="")
    story.forge.check(story.only(1).head, CheckState.SUCCESS, "fine")
    story.tip = with_folder
    moved = story.push("moved", b"1", "other")
    remote.set("main", moved)
    oid = story.forge.merge_by_person(1, by="Maria", at=LATER)

    assert remote.git("ls-tree", "--name-only", oid).split() == [PROD, "README.md", "other"]


def test_merge_onto_a_base_that_changed_the_same_file_waits(story: Story, remote: Remote) -> None:
    opened = story.open_green()
    remote.set("main", remote.commit({PROD: STACK_FILE + b"#"}, story.tip))
    refs = remote.refs

    with pytest.raises(TransientError, match=f"{PROD} has changed on main since; .*next pass"):
        story.forge.merge_by_person(1, by="Maria", at=LATER)
    assert remote.refs == refs
    assert story.only(1) == replace(opened, behind=True)


def test_only_a_change_of_the_same_file_makes_a_pull_request_behind(story: Story, remote: Remote) -> None:
    """And a merge of the base into the branch makes it mergeable again."""
    opened = story.open_green()
    remote.set("main", remote.commit({PROD: STACK_FILE, "other": b"1"}, story.tip))
    assert not story.only(1).behind
    tip = remote.set("main", remote.commit({PROD: STACK_FILE + b"#"}, story.tip))
    assert story.only(1).behind

    update = story.git.update(opened.head, tip, {PROD: TEN + b"#"}, "up to date")
    assert story.git.push([RefUpdate(f"refs/heads/{BRANCH}", opened.head, update)])
    assert not story.only(1).behind
    story.forge.check(update, CheckState.SUCCESS, "fine")
    oid = story.forge.merge_by_person(1, by="Maria", at=LATER)
    assert story.git.read(oid, PROD) == TEN + b"#"


def test_one_that_another_account_opened_is_not_ours(story: Story) -> None:
    story.open()
    other = LocalForge(story.git, actor="Maria", now=lambda: NOW)

    assert [pull.by_us for pull in story.forge.pull_requests("")] == [True]
    assert [pull.by_us for pull in other.pull_requests("")] == [False]


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        pytest.param(None, TransientError, "is pending: not reported yet", id="none"),
        pytest.param(CheckState.PENDING, TransientError, "is pending: why; merge", id="pending"),
        pytest.param(CheckState.FAILURE, ConfigError, "is failure: why; close it", id="failure"),
    ],
)
def test_merge_wants_a_good_check(
    story: Story, remote: Remote, check: CheckState | None, error: type[Exception], message: str
) -> None:
    head = story.open().head
    if check:
        story.forge.check(head, check, "why")
    refs = remote.refs

    with pytest.raises(error, match=f"pull request 1: rollout/evidence {message}"):
        story.forge.merge_by_person(1, by="Maria", at=LATER)
    assert remote.refs == refs


def test_what_has_ended_is_neither_merged_nor_closed_by_a_person(story: Story, remote: Remote) -> None:
    story.open_green()
    story.forge.merge_by_person(1, by="Maria", at=LATER)
    story.open("rollout/prod/second", b"2")
    story.forge.close_by_person(2, "Maria", LATER)
    refs = remote.refs

    for number, state in ((1, "merged"), (2, "closed")):
        for act in (
            lambda n: story.forge.merge_by_person(n, by="Tom", at=LATER),
            lambda n: story.forge.close_by_person(n, "Tom", LATER),
        ):
            with pytest.raises(ConfigError, match=f"pull request {number} is {state}, not open"):
                act(number)
    story.forge.close(1)
    assert remote.refs == refs
    assert story.only(2).closed_by == "Maria"


def test_a_protected_base_refuses_the_merge_whole(story: Story, remote: Remote) -> None:
    opened = story.open_green()
    remote.hook("update", 'test "$1" != refs/heads/main')
    refs = remote.refs

    with pytest.raises(ConfigError, match="hook declined"):
        story.forge.merge_by_person(1, by="Maria", at=LATER)
    assert remote.refs == refs
    assert story.only(1) == opened


def test_a_person_who_acts_on_an_old_view_changes_nothing(
    story: Story, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check turns bad after it was looked at, in the moment before the merge is pushed."""
    opened = story.open_green()
    push = Git.push

    def bad_news_first(git: Git, updates: Any) -> bool:
        monkeypatch.setattr(Git, "push", push)
        other = Story(Git(remote.path))
        other.forge.check(opened.head, CheckState.FAILURE, "breach")
        return push(git, updates)

    monkeypatch.setattr(Git, "push", bad_news_first)
    with pytest.raises(TransientError, match="something changed meanwhile"):
        story.forge.merge_by_person(1, by="Maria", at=LATER)
    assert remote.refs["refs/heads/main"] == story.tip
    assert story.only(1) == replace(opened, check=(CheckState.FAILURE, "breach"))


# ---------------------------------------------------------------- what others put there


def test_refs_that_hold_something_else_are_passed_over_and_keep_their_number(story: Story, remote: Remote) -> None:
    good = remote.git("show", f"{_document(story, remote)}:pr.json").encode()
    for number, data in enumerate(
        [
            b"not json",
            b"[]",
            b"{}",
            good.replace(b'"open"', b'"odd"'),
            good.replace(b"+00:00", b""),
            good.replace(b'"base": "main"', b'"base": "elsewhere"'),
            good.replace(BRANCH.encode(), b"main"),
            good.replace(b'"evidence"', b"17"),
            good.replace(b'"evidence"', b'"\\ud800"'),
            good.replace(b"2026-03-02T10:00:00+00:00", b"0001-01-01T00:00:00+23:59"),
            b"[" * 100_000,
            b"\xff\xfe",
        ],
        start=2,
    ):
        remote.git("update-ref", f"refs/rollout/pulls/{number}", remote.commit({"pr.json": data}))
    for name, oid in {
        "21": remote.git("hash-object", "-w", "--stdin", stdin=b"a blob"),
        "22": remote.commit({"other": b"x"}),
        "23/inner": story.tip,
        "007": story.tip,
        "hello": story.tip,
    }.items():
        remote.git("update-ref", f"refs/rollout/pulls/{name}", oid)

    assert [pull.number for pull in story.forge.pull_requests("")] == [1]
    assert story.open("rollout/prod/next").number == 24


def _document(story: Story, remote: Remote) -> str:
    story.open()
    return remote.refs["refs/rollout/pulls/1"]


# ---------------------------------------------------------------- at the same time

_OPENER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from controller.forges.git import Git
from controller.forges.local import LocalForge

remote, branches = Path(sys.argv[1]), sys.argv[2:]
git = Git(remote)
forge = LocalForge(git, actor=f"Pilot {branches[0]}", now=lambda: datetime(2026, 3, 2, tzinfo=UTC))
git.sync()
print("ready", flush=True)
sys.stdin.readline()
for branch in branches:
    print(forge.open(branch=branch, title=branch, body="").number, flush=True)
"""


def test_two_processes_open_one_pull_request_for_each_branch(story: Story, remote: Remote) -> None:
    branches = [f"rollout/prod/{n}" for n in range(3)]
    for branch in branches:
        story.push(branch)
    orders = (branches, branches[::-1])
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENER, str(remote.path), *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    for opener in openers:
        assert opener.stdout
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin
        opener.stdin.write("go\n")
        opener.stdin.flush()
    answers = [
        dict(zip(order, map(int, opener.communicate()[0].split()), strict=True))
        for order, opener in zip(orders, openers, strict=True)
    ]

    pulls = story.forge.pull_requests("rollout/")
    assert {pull.branch: pull.number for pull in pulls} == answers[0] == answers[1]
    assert [pull.number for pull in pulls] == [1, 2, 3]


def test_the_controller_merges_the_head_that_it_saw_and_no_other(story: Story, remote: Remote) -> None:
    seen = story.open_green()
    edited = remote.set(BRANCH, remote.commit({PROD: TEN, "notes": b"why"}, seen.head, message="notes"))
    story.forge.check(edited, CheckState.SUCCESS, "fine")

    assert story.forge.merge(seen) is Merge.NOT_YET
    assert remote.refs["refs/heads/main"] == story.tip

    assert story.forge.merge(story.only(1)) is Merge.MERGED
    assert story.only(1).state is PrState.MERGED
    assert story.forge.merge(story.only(1)) is Merge.NOT_YET


def test_the_controller_does_not_merge_before_the_check_is_there(story: Story, remote: Remote) -> None:
    assert story.forge.merge(story.open()) is Merge.NOT_YET
    assert remote.refs["refs/heads/main"] == story.tip
