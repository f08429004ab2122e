"""What a push promises: all or nothing, first come first served, whatever breaks on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.errors import ConfigError, TransientError
from controller.forges.git import Git
from controller.ports import RefUpdate

if TYPE_CHECKING:
    from tests.forges.conftest import Remote, Server

Clone = Callable[..., Git]
PROD = "Pulumi.prod.yaml"
STACK_FILE = b"config:\r\n  pilot:rollout:\r\n    percent: 0  # one line\r\n"
BRANCH = "refs/heads/rollout/prod/advance-0-10-0123abcd"
TEN = STACK_FILE.replace(b"percent: 0", b"percent: 10")


def create(oid: str, ref: str = BRANCH) -> RefUpdate:
    return RefUpdate(ref, None, oid)


# ---------------------------------------------------------------- push


def test_a_push_moves_refs_and_again_changes_nothing(remote: Remote, clone: Clone) -> None:
    git, other = clone(), clone()
    tip, _ = git.sync(), other.sync()
    oid = git.commit(tip, {PROD: TEN}, "change")

    assert git.push([create(oid)])
    assert other.commit(tip, {PROD: TEN}, "change") == oid
    assert other.push([create(oid)]), "whoever else had the same idea is not refused"
    assert git.push([create(oid)])
    assert remote.refs == {"refs/heads/main": tip, BRANCH: oid}
    assert git.push([]) is True


def test_a_stale_lease_changes_nothing(remote: Remote, clone: Clone) -> None:
    git = clone()
    tip = git.sync()
    ours = git.commit(tip, {PROD: TEN}, "ours")
    theirs = remote.set("main", remote.commit({PROD: b"theirs"}, tip))

    assert git.push([RefUpdate("refs/heads/main", tip, ours)]) is False
    assert git.push([create(ours, "refs/heads/main")]) is False
    assert git.push([RefUpdate("refs/heads/main", tip, None)]) is False
    assert git.push([RefUpdate("refs/heads/absent", tip, ours)]) is False
    assert remote.refs == {"refs/heads/main": theirs}


def test_a_lease_may_move_a_branch_aside_and_delete_it(remote: Remote, clone: Clone) -> None:
    git = clone()
    tip = git.sync()
    one, two = (git.commit(tip, {PROD: data}, "change") for data in (b"1", b"2"))

    assert git.push([create(one)])
    assert git.push([RefUpdate(BRANCH, one, two)])
    assert remote.refs[BRANCH] == two
    assert git.push([RefUpdate(BRANCH, two, None)])
    assert remote.refs == {"refs/heads/main": tip}
    assert git.push([RefUpdate(BRANCH, two, None)]), "it is gone already"
    assert git.branches("rollout/") == {}


def test_several_refs_move_together_or_not_at_all(remote: Remote, clone: Clone) -> None:
    git = clone()
    tip = git.sync()
    oid = git.commit(tip, {PROD: TEN}, "change")
    taken = remote.set("taken", remote.commit({"a": b"1"}))
    updates = [create(oid), RefUpdate("refs/heads/main", tip, oid)]

    assert git.push([*updates, create(oid, "refs/heads/taken")]) is False
    assert remote.refs == {"refs/heads/main": tip, "refs/heads/taken": taken}
    assert git.push(updates) is True
    assert remote.refs == {"refs/heads/main": oid, "refs/heads/taken": taken, BRANCH: oid}


@pytest.mark.parametrize(("through", "many"), [("path", 8), ("http", 4)])
def test_of_many_racers_exactly_one_wins_each_ref(
    remote: Remote, clone: Clone, server: Server, through: str, many: int
) -> None:
    racers = [clone(server.url if through == "http" else remote.path) for _ in range(many)]
    tip = remote.refs["refs/heads/main"]

    def race(n: int) -> tuple[str, bool, bool]:
        git = racers[n]
        oid = git.commit(git.sync(), {PROD: b"%d" % n}, "mine")
        created = git.push([create(oid)])
        return oid, created, git.push([RefUpdate("refs/heads/main", tip, oid)])

    with ThreadPoolExecutor(many) as pool:
        results = list(pool.map(race, range(many)))

    assert [oid for oid, created, _ in results if created] == [remote.refs[BRANCH]]
    assert [oid for oid, _, moved in results if moved] == [remote.refs["refs/heads/main"]]


def test_a_protected_branch_is_a_persons_to_open(remote: Remote, clone: Clone) -> None:
    remote.hook(
        "pre-receive",
        'while read old new ref; do case $ref in refs/heads/main) echo "main is protected" >&2; exit 1;; esac; done',
    )
    git = clone()
    tip = git.sync()
    oid = git.commit(tip, {PROD: TEN}, "change")

    with pytest.raises(ConfigError, match=r"main is protected.*pre-receive hook declined"):
        git.push([create(oid), RefUpdate("refs/heads/main", tip, oid)])
    assert remote.refs == {"refs/heads/main": tip}
    assert git.push([create(oid)])


def test_hooks_of_the_user_do_not_run(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[core]\nhooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    git = clone()
    tip = git.sync()
    (hooks / "reference-transaction").unlink()  # the remote would run it, which is its own affair

    assert git.push([create(tip)])


def test_a_lock_left_on_the_server_is_tried_again_then_left_to_the_next_run(
    remote: Remote, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.forges.command.WAITS_S", (0, 0))
    git = clone()
    tip = git.sync()
    oid = git.commit(tip, {PROD: TEN}, "change")
    (remote.path / "refs/heads/main.lock").touch()

    with pytest.raises(TransientError, match=r"cannot lock ref .*; the next run tries again"):
        git.push([RefUpdate("refs/heads/main", tip, oid)])
    assert remote.refs == {"refs/heads/main": tip}


# ---------------------------------------------------------------- over a network


def test_an_answer_lost_after_the_push_was_applied_is_found_out(remote: Remote, clone: Clone, server: Server) -> None:
    git = clone(server.url)
    oid = git.commit(git.sync(), {PROD: TEN}, "change")
    server.drop = "after"

    assert git.push([create(oid)]) is True
    assert remote.refs[BRANCH] == oid


def test_a_push_lost_on_its_way_may_be_tried_again(remote: Remote, clone: Clone, server: Server) -> None:
    git = clone(server.url)
    oid = git.commit(git.sync(), {PROD: TEN}, "change")
    server.drop = "before"

    with pytest.raises(TransientError, match="did not take the push"):
        git.push([create(oid)])
    assert BRANCH not in remote.refs
    server.drop = ""
    assert git.push([create(oid)])


def test_what_the_server_answers_decides_who_acts(clone: Clone, server: Server) -> None:
    git = clone(server.url)
    oid = git.commit(git.sync(), {PROD: TEN}, "change")

    for status, error in (
        (401, ConfigError),
        (403, ConfigError),
        (404, ConfigError),
        (429, TransientError),
        (503, TransientError),
    ):
        server.status = status
        with pytest.raises(error):
            git.push([create(oid)])
        with pytest.raises(error):
            git.sync()


def test_credentials_reach_the_server_and_no_message(clone: Clone, server: Server) -> None:
    server.password = "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0"
    tokens = iter(["s3cr3t", "expired"])
    git = clone(server.url, credentials=lambda: ("x-access-token", next(tokens)))

    assert git.sync()
    with pytest.raises(ConfigError) as refused:
        git.sync()
    address = server.url.replace("http://", "http://pilot:hunter2@")
    with pytest.raises(ConfigError) as asked:
        clone(address).sync()
    assert "expired" not in str(refused.value)
    assert "hunter2" not in str(asked.value)
    assert "://***@127.0.0.1" in str(asked.value)


def test_a_silent_server_ends_in_time(clone: Clone, server: Server) -> None:
    git = clone(server.url, timeout=timedelta(seconds=0.1))
    server.hang.clear()

    with pytest.raises(TransientError, match=r"no answer in 1 s; the next run tries again"):
        git.sync()  # the first fetch may take ten times as long


def test_an_unreachable_server_is_for_the_next_run(clone: Clone) -> None:
    with pytest.raises(TransientError, match="could not be fetched: fatal: unable to access"):
        clone("http://127.0.0.1:1/x.git").sync()


# ---------------------------------------------------------------- being killed


def test_killed_between_any_two_git_commands_a_rerun_makes_the_same_objects(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        "#!/bin/sh\n"
        "# Counts the commands, and kills whoever is about to run the chosen one.\n"
        'read n <"$COUNT_FILE"; n=$((n + 1)); echo $n >"$COUNT_FILE"\n'
        'if [ $n = "$KILL_AT" ]; then kill -9 $PPID; exit 1; fi\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    count = tmp_path / "count"
    monkeypatch.setenv("COUNT_FILE", str(count))
    first = remote.refs

    def story(kill_at: int, mirror: str) -> int:
        """Propose a change in a child; return how many commands it ran, or 0 when killed."""
        count.write_text("0\n")
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(PATH=f"{wrapper.parent}:{os.environ['PATH']}", KILL_AT=str(kill_at))
                git = Git(remote.path, directory=tmp_path / mirror)
                oid = git.commit(git.sync(), {PROD: TEN}, "change")
                os._exit(0 if git.push([create(oid)]) else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return 0
        assert os.WEXITSTATUS(status) == 0
        return int(count.read_text())

    steps = story(0, "whole")
    expected = remote.refs
    assert expected.keys() == {"refs/heads/main", BRANCH}
    for step in range(1, steps + 1):
        remote.git("update-ref", "-d", BRANCH)
        assert story(step, f"killed-{step}") == 0
        assert remote.refs == first, "the push is the last step"
        assert story(0, f"killed-{step}") > 0
        assert remote.refs == expected
    fsck = subprocess.run(["git", "-C", remote.path, "fsck", "--strict"], capture_output=True, check=True)
    assert b"error" not in fsck.stderr


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_token_follows_a_redirect(clone: Clone, status: int) -> None:
    asked: list[tuple[str, bool]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.headers["Host"], "Authorization" in self.headers))
            self.send_response(status if self.headers["Host"] == here else 404)
            self.send_header("Location", f"http://localhost:{http.server_port}{self.path}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    here = f"127.0.0.1:{http.server_port}"
    try:
        with pytest.raises(ConfigError, match=f"error: {status}; check the address"):
            clone(f"http://{here}/shop.git", credentials=lambda: ("x-access-token", "s3cr3t")).sync()
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
    assert set(asked) == {(here, True)}


@pytest.mark.parametrize("url", ["http://git.example.com/shop.git", "http://127.0.0.1.example.com/shop.git"])
def test_no_token_goes_over_the_network_unencrypted(clone: Clone, url: str) -> None:
    with pytest.raises(ConfigError, match="a token goes by https only"):
        clone(url, credentials=lambda: ("x-access-token", "s3cr3t")).sync()


@pytest.mark.parametrize("name", ["rollout", "rollout/prod", f"{BRANCH.removeprefix('refs/heads/')}/mine"])
def test_a_branch_in_the_way_of_ours_is_named(remote: Remote, clone: Clone, name: str) -> None:
    remote.set(name, remote.refs["refs/heads/main"])
    git = clone()
    oid = git.commit(git.sync(), {PROD: TEN}, "10%")

    with pytest.raises(ConfigError, match=rf"branch {name} is in the way of .*; rename or delete branch {name}$"):
        git.push([create(oid)])
    remote.git("update-ref", "-d", f"refs/heads/{name}")
    assert git.push([create(oid)]), "once it is gone, nothing else need be done"
