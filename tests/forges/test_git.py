"""What the controller may rely on when it reads and writes the repository. Real git, real refs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import ConfigError, TransientError
from controller.forges.git import Git
from controller.ports import RefUpdate

if TYPE_CHECKING:
    from tests.forges.conftest import Remote

Clone = Callable[..., Git]
PROD = "Pulumi.prod.yaml"
STACK_FILE = b"config:\r\n  pilot:rollout:\r\n    percent: 0  # one line\r\n"
BRANCH = "refs/heads/rollout/prod/advance-0-10-0123abcd"
TEN = STACK_FILE.replace(b"percent: 0", b"percent: 10")


@pytest.fixture
def git(clone: Clone) -> Git:
    return clone()


def create(oid: str, ref: str = BRANCH) -> RefUpdate:
    return RefUpdate(ref, None, oid)


# ---------------------------------------------------------------- sync


def test_sync_returns_the_tip_and_follows_the_remote(remote: Remote, clone: Clone) -> None:
    git = clone()
    first = git.sync()
    second = remote.set("main", remote.commit({PROD: TEN}, first))

    assert git.read(first, PROD) == STACK_FILE
    assert git.sync() == second
    assert git.read(second, PROD) == TEN


def test_branches_come_and_go_and_may_become_folders(remote: Remote, clone: Clone) -> None:
    git = clone()
    tip = git.sync()
    remote.set("rollout/prod", tip)
    git.sync()
    before = git.branches("rollout/")
    remote.git("update-ref", "-d", "refs/heads/rollout/prod")
    remote.set("rollout/prod/advance", tip)
    git.sync()

    assert before == {"rollout/prod": tip}
    assert git.branches("rollout/") == {"rollout/prod/advance": tip}


def test_a_mirror_that_was_cut_short_or_deleted_is_made_again(remote: Remote, clone: Clone, tmp_path: Path) -> None:
    half = tmp_path / "half"
    (half / "objects").mkdir(parents=True)
    tip = clone(directory=half).sync()
    shutil.rmtree(half)

    assert clone(directory=half).sync() == tip == remote.refs["refs/heads/main"]


def test_several_may_share_one_mirror(remote: Remote, clone: Clone, tmp_path: Path) -> None:
    tip = remote.refs["refs/heads/main"]
    for n in range(6):
        remote.set(f"topic/{n}", remote.commit({PROD: b"%d" % n}, tip))
    gits = [clone(directory=tmp_path / "shared") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        tips = set(pool.map(lambda git: git.sync(), gits))

    assert tips == {tip}
    assert all(len(git.branches("topic/")) == 6 for git in gits)


def test_a_lock_that_a_killed_git_left_in_the_mirror_is_in_the_way_once(
    remote: Remote, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.forges.command.WAITS_S", (0, 0))
    git = clone(directory=tmp_path / "mirror")
    second = remote.set("main", remote.commit({PROD: TEN}, git.sync()))
    lock = tmp_path / "mirror/refs/mirror/heads/main.lock"
    lock.touch()

    with pytest.raises(TransientError, match=r"cannot lock ref .*; the next run tries again"):
        git.sync()
    assert lock.exists(), "it may be in use"
    os.utime(lock, (0, 0))
    with pytest.raises(TransientError, match=r"cannot lock ref .*; the next run tries again"):
        git.sync()
    assert git.sync() == second


def test_a_temporary_mirror_leaves_nothing_behind(remote: Remote) -> None:
    git = Git(remote.path)
    git.read(git.sync(), PROD)
    directory = git._directory
    assert directory.is_dir()
    git.close()

    assert not directory.exists()


def test_an_empty_remote_says_what_to_push(empty: Callable[..., Remote], clone: Clone) -> None:
    with pytest.raises(ConfigError, match=r"is empty; push a first commit .* to main"):
        clone(empty("empty.git").path).sync()


def test_a_missing_base_branch_names_those_there_are(remote: Remote, clone: Clone) -> None:
    remote.git("symbolic-ref", "HEAD", "refs/heads/nowhere")

    assert clone().sync()
    with pytest.raises(ConfigError, match=r"no branch trunk \(found: main\); create it, or set"):
        clone(base="trunk").sync()


def test_a_sha256_repository_is_refused_with_the_reason(empty: Callable[..., Remote], clone: Clone) -> None:
    long = empty("long.git", "--object-format=sha256")
    long.set("main", long.commit({PROD: TEN}))

    with pytest.raises(ConfigError, match="SHA-256"):
        clone(long.path).sync()


@pytest.mark.parametrize("name", ["nowhere.git", "folder"])
def test_what_is_no_repository_is_a_persons_to_mend(clone: Clone, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(ConfigError, match=rf"{name} could not be fetched: .*not appear to be a git"):
        clone(tmp_path / name).sync()


def test_a_working_clone_serves_as_remote_too(remote: Remote, clone: Clone, tmp_path: Path) -> None:
    work = tmp_path / "work"
    remote.git("clone", "--quiet", str(remote.path), str(work))

    assert clone(work).sync() == remote.refs["refs/heads/main"]


def test_without_git_the_message_says_so(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(ConfigError, match="git was not found on PATH; install"):
        clone().sync()


# ---------------------------------------------------------------- reading


def test_files_are_the_regular_ones_at_the_root(remote: Remote, clone: Clone) -> None:
    blob = remote.git("hash-object", "-w", "--stdin", stdin=b"x")
    inner = remote.git("mktree", stdin=f"100644 blob {blob}\tfile\n".encode())
    tree = remote.git(
        "mktree",
        stdin=(
            f"040000 tree {inner}\tfolder\n120000 blob {blob}\tlink\n"
            f"100755 blob {blob}\tscript\n100644 blob {blob}\tüml.yaml\n"
        ).encode(),
    )
    oid = remote.set("main", remote.git("commit-tree", tree, "-m", "kinds"))
    git = clone()
    git.sync()

    assert sorted(git.files(oid)) == ["script", "üml.yaml"]
    assert git.read(oid, "folder/file") == b"x"
    assert [git.read(oid, path) for path in ("link", "folder", "none", "script/none")] == [None] * 4


@pytest.mark.parametrize("oid", ["0" * 40, "HEAD", "main\n", "--all", ""])
def test_an_unknown_commit_is_an_error_that_names_it(clone: Clone, oid: str) -> None:
    git = clone()
    git.sync()

    for call in (git.files, lambda oid: git.history(oid, PROD)):
        with pytest.raises(ConfigError, match=r"is not in the repository|is no full object id"):
            call(oid)


def test_reading_goes_on_after_the_reader_was_killed(clone: Clone) -> None:
    git = clone()
    tip = git.sync()
    git.files(tip)
    reader = git.objects._batch
    assert reader
    os.kill(reader.pid, signal.SIGKILL)

    assert git.read(tip, PROD) == STACK_FILE


def test_history_tells_squash_merge_and_revert_by_what_they_did_to_the_file(remote: Remote, clone: Clone) -> None:
    first = remote.refs["refs/heads/main"]
    other = remote.commit({PROD: STACK_FILE, "other": b"1"}, first, message="not this file")
    squash = remote.commit({PROD: TEN, "other": b"1"}, other, message="rollout: 0 -> 10 (#1)")
    side = remote.commit({PROD: b"twenty", "other": b"1"}, squash, message="on the side")
    merge = remote.commit({PROD: b"twenty", "other": b"1"}, squash, side, message="Merge")
    revert = remote.commit({PROD: TEN, "other": b"1"}, merge, message=f"Revert\n\n{merge}")
    ours = remote.commit({PROD: TEN, "other": b"2"}, revert, side, message="Merge of nothing")
    gone = remote.commit({"other": b"2"}, ours, message="remove the file")
    remote.set("main", gone)
    git = clone()
    history = git.history(git.sync(), PROD)

    assert [(commit.oid, commit.data) for commit in history] == [
        (gone, None),
        (revert, TEN),
        (merge, b"twenty"),
        (squash, TEN),
        (first, STACK_FILE),
    ]
    assert history[1].message == f"Revert\n\n{merge}\n"
    assert (history[1].by, history[1].time) == ("Ann", datetime(2026, 3, 2, 9, tzinfo=UTC))
    assert git.history(gone, PROD, limit=2) == history[:2]
    assert git.history(gone, "*.yaml") == ()


def test_history_goes_on_from_where_it_was_read_to_whatever_became_of_the_branch(
    remote: Remote, clone: Clone, tmp_path: Path
) -> None:
    """Each time by a new process on the same mirror, and as one that remembers nothing reads it."""
    first = remote.refs["refs/heads/main"]
    one = remote.commit({PROD: TEN}, first, message="one")
    quiet = remote.commit({PROD: TEN, "other": b"1"}, one, message="not this file")
    side = remote.commit({PROD: STACK_FILE}, first, remote.commit({PROD: b"side"}, first), message="another way")
    moves = {
        "on": one,
        "on without a change": quiet,
        "by a merge": remote.commit({PROD: b"merged"}, quiet, side),
        "by a merge whose first parent is the other": remote.commit({PROD: b"swapped"}, side, quiet),
        "back by force": one,
        "to the other by force": side,
        "to another beginning": remote.commit({PROD: b"new"}),
    }
    for how, oid in moves.items():
        remote.set("main", oid)
        read = [clone(directory=tmp_path / "mirror"), clone()]
        kept, fresh = [git.history(git.sync(), PROD) for git in read]
        assert [commit.oid for commit in kept] == [commit.oid for commit in fresh], how


@pytest.mark.parametrize("text", ["", "{}", '{"tip": 1, "changes": 7}', '{"tip": "%s", "changes": {"a": [[1]]}}'])
def test_history_is_read_once_and_what_is_kept_of_it_may_be_broken(
    remote: Remote, clone: Clone, tmp_path: Path, text: str
) -> None:
    mirror, first = tmp_path / "mirror", remote.refs["refs/heads/main"]
    git = clone(directory=mirror)
    before = git.history(git.sync(), PROD)
    (kept,) = mirror.glob("walk-*.json")
    kept.write_text(kept.read_text().replace(PROD, "Pulumi.other.yaml"))  # so that it can be told who believes it
    git = clone(directory=mirror)
    quiet = remote.commit({PROD: STACK_FILE, "other": b"1"}, first)
    next_ = remote.set("main", remote.commit({PROD: TEN}, quiet))
    assert [commit.oid for commit in git.history(git.sync(), PROD)] == [next_]

    kept.write_text(text.replace("%s", next_))
    git = clone(directory=mirror)
    assert git.history(git.sync(), PROD)[1:] == before


def test_changed_compares_with_where_the_branch_began(remote: Remote, clone: Clone) -> None:
    git = clone()
    fork = git.sync()
    head = git.commit(fork, {PROD: TEN, "infra/new.py": b"new"}, "change")
    base = remote.commit({PROD: STACK_FILE, "README.md": b"moved on\n"}, fork)
    remote.set("main", base)
    git.sync()

    assert git.changed(base, head) == {PROD: (STACK_FILE, TEN), "infra/new.py": (None, b"new")}
    assert git.changed(fork, head) == git.changed(base, head)
    assert git.changed(head, head) == git.changed(head, fork) == {}


def test_changed_shows_a_mode_a_deletion_and_unrelated_histories(remote: Remote, clone: Clone) -> None:
    git = clone()
    tip = git.sync()
    blob = remote.git("rev-parse", f"{tip}:README.md")
    tree = remote.git("mktree", stdin=f"100755 blob {blob}\tREADME.md\n".encode())
    head = remote.set("edited", remote.git("commit-tree", tree, "-p", tip, "-m", "by a person"))
    orphan = remote.set("orphan", remote.commit({"a": b"1"}))
    git.sync()

    assert git.changed(tip, head) == {
        PROD: (STACK_FILE, None),
        "README.md": (b"read me\n", b"read me\n"),
    }
    assert git.changed(tip, orphan) == {"a": (None, b"1")}


# ---------------------------------------------------------------- commits


def test_the_same_commit_is_the_same_object_whatever_is_configured(
    remote: Remote, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = clone()
    tip = git.sync()
    plain = git.commit(tip, {PROD: TEN}, "rollout(prod): 0% -> 10%\n\nRollout-To: 10")
    config = tmp_path / "config"
    config.write_text(
        "[core]\nautocrlf = true\n[commit]\ngpgSign = true\n[user]\nname = Someone\n"
        "[i18n]\ncommitEncoding = ISO-8859-1\n[init]\ndefaultObjectFormat = sha256\n"
    )
    for name, value in {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z",
        "GIT_COMMITTER_NAME": "Someone",
        "GIT_DIR": "/nowhere",
        "GIT_OBJECT_DIRECTORY": "/nowhere",
        "GIT_NAMESPACE": "elsewhere",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "de_DE.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    other = clone()
    other.sync()

    assert other.commit(tip, {PROD: TEN}, "rollout(prod): 0% -> 10%\n\nRollout-To: 10") == plain
    assert other.push([create(plain)])
    assert remote.refs[BRANCH] == plain
    assert plain == "6aa5da5af7f513f4b3bd56d34001756dfdcab7cf"


def test_a_commit_is_later_than_its_parent_and_by_the_controller(remote: Remote, clone: Clone) -> None:
    git = clone(identity=("Pïlot", "pilot@example.com"))
    oid = git.commit(git.sync(), {PROD: TEN}, "Größe\n\nbody")
    git.push([create(oid)])

    assert remote.git("log", "-1", "--format=%an <%ae> %aI%n%cn <%ce> %cI%n%B", oid) == (
        "Pïlot <pilot@example.com> 2026-03-02T09:00:01+00:00\n"
        "Pïlot <pilot@example.com> 2026-03-02T09:00:01+00:00\n"
        "Größe\n\nbody"
    )


def test_a_commit_keeps_every_other_file_and_its_modes(remote: Remote, clone: Clone) -> None:
    blob = remote.git("hash-object", "-w", "--stdin", stdin=b"#!/bin/sh\n")
    inner = remote.git("mktree", stdin=f"100755 blob {blob}\trun\n".encode())
    listing = f"040000 tree {inner}\ta\n100644 blob {blob}\ta.b\n120000 blob {blob}\tlink\n"
    tree = remote.git("mktree", stdin=listing.encode())
    remote.set("main", remote.git("commit-tree", tree, "-m", "kinds"))
    git = clone()
    oid = git.commit(git.sync(), {"a/run": b"new\n", "a/b/c": b"c", "a0": b"0"}, "edit")
    git.push([create(oid)])

    modes = remote.git("ls-tree", "-r", "--format=%(objectmode) %(path)", oid).splitlines()
    assert modes == ["100644 a.b", "100644 a/b/c", "100755 a/run", "100644 a0", "120000 link"]
    assert remote.git("show", f"{oid}:a/run") == "new"
    assert not remote.git("fsck", "--strict", "--no-dangling")
    with pytest.raises(ConfigError, match=r"link in .* is a symbolic link"):
        git.commit(git.sync(), {"link": b"x"}, "edit")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary() | st.sampled_from([b"a\r\nb\n", b"\xef\xbb\xbfbom", b"", b"no end"]))
def test_bytes_survive(git: Git, data: bytes) -> None:
    oid = git.commit(git.sync(), {PROD: data}, "bytes")

    assert git.read(oid, PROD) == data


def test_a_sync_that_finds_no_file_of_the_refs_changed_still_sees_the_next_change(remote: Remote, git: Git) -> None:
    """Once settled, every way of changing a ref is seen: a new branch, a moved one, a deleted one, packed ones."""
    tip = git.sync()
    for command_, branches in (
        (["branch", "a", tip], {"a"}),
        (["branch", "b", tip], {"a", "b"}),
        (["pack-refs", "--all"], {"a", "b"}),
        (["branch", "-D", "a"], {"b"}),
        (["update-ref", "refs/heads/deep/er/c", tip], {"b", "deep/er/c"}),
    ):
        time.sleep(0.15)
        git.sync()
        git.sync()
        remote.git(*command_)
        git.sync()
        assert set(git.branches("")) - {"main"} == branches


def test_an_update_is_the_base_with_our_file_and_both_parents(remote: Remote, clone: Callable[..., Git]) -> None:
    """Always the same object, dated after both parents."""
    git = clone()
    tip = git.sync()
    head = git.commit(tip, {"Pulumi.prod.yaml": b"ours"}, "ours")
    moved = remote.set("main", remote.commit({"Pulumi.prod.yaml": b"1", "new": b"2"}, tip))
    git.sync()

    update = git.update(head, moved, {"Pulumi.prod.yaml": b"ours on it"}, "up to date")

    assert clone().sync() and git.update(head, moved, {"Pulumi.prod.yaml": b"ours on it"}, "up to date") == update
    assert git.objects.commit(update).parents == (head, moved)
    assert git.changed(moved, update) == {"Pulumi.prod.yaml": (b"1", b"ours on it")}
    latest = max(git.objects.commit(oid).committer.time for oid in (head, moved))
    assert git.objects.commit(update).committer.time > latest
