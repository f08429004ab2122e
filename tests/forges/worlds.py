"""
One world a forge, all with the same controls, so that one suite of promises runs on every forge.

A world is a real Git repository, the forge that the controller sees, and what people do there. A product adds a world
by a function that yields one, in `WORLDS`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import ClassVar

from controller.forges.cache import Cache
from controller.forges.git import Git
from controller.forges.github import GitHub
from controller.forges.local import LocalForge
from controller.forges.patience import Patience
from controller.ports import Forge, PullRequest, RefUpdate
from tests.forges.conftest import STACK_FILE, Remote, _create
from tests.forges.fakes import github as fake_github
from tests.forges.fakes import server as fake_server

PROD = "Pulumi.prod.yaml"
BEGIN = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOT = "pilot[bot]"


@dataclass
class Clock:
    """Time that passes only when someone sleeps."""

    at: datetime = BEGIN
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def time(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


class World(ABC):
    """
    A forge with one repository, branch `main`, that holds `Pulumi.prod.yaml`.

    `can` names what the product has beyond the common: "draft", "queue", "arm", "fork", "reopen", "conflict".
    `is_remote` is whether requests are counted and can be lost, and `idle` what a pass without news costs, as `requests` tells it.
    """

    can: frozenset[str] = frozenset()
    is_remote = True
    idle = (0, 1, 0)

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.clock = Clock()

    @abstractmethod
    def controller(self, cache: Path | None = None) -> tuple[Forge, Git]:
        """A controller that has just been started, on its own clone; *cache* outlives it."""

    # ------------------------------------------------------------ what people do

    @abstractmethod
    def merge(self, number: int, by: str) -> str:
        """Merge by hand, delete the branch, and return the commit on `main`."""

    @abstractmethod
    def close(self, number: int, by: str) -> None: ...

    @abstractmethod
    def edit(self, number: int, body: str, by: str) -> None: ...

    @abstractmethod
    def open(self, branch: str, title: str, body: str, by: str) -> int:
        """Open a pull request of a pushed branch by hand, and return its number."""

    def propose(self, branch: str, percent: int = 10) -> str:
        """What `propose` pushes, put in place without Git, where a test is not about the push."""
        head = _template()[1][percent]
        path = self.remote.path / "refs" / "heads" / branch
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}\n")
        return head

    def push(self, branch: str, data: bytes, by: str = "ann") -> str:
        """Push one more commit of the stack file to *branch*, or make it from `main`."""
        tip = self.remote.refs.get(f"refs/heads/{branch}") or self.remote.refs["refs/heads/main"]
        return self.remote.set(branch, self.remote.commit({PROD: data, "README.md": b"read me\n"}, tip, message=by))

    def delete_branch(self, branch: str, by: str) -> None:
        self.remote.git("update-ref", "-d", f"refs/heads/{branch}")

    def reopen(self, number: int, by: str) -> None:
        raise NotImplementedError

    def draft(self, number: int, by: str) -> None:
        raise NotImplementedError

    def queue(self, number: int, by: str) -> None:
        raise NotImplementedError

    def arm(self, number: int, by: str) -> None:
        """Tell the forge to merge once its rules allow."""
        raise NotImplementedError

    def fork(self, branch: str, body: str, by: str) -> int:
        """Open a pull request of a branch of the same name in a stranger's fork, and return its number."""
        raise NotImplementedError

    def job(self, oid: str, name: str, state: str) -> None:
        """What a job of the CI, or of another bot, reports on a commit: "success", "failure" or "pending"."""
        raise NotImplementedError

    def guard(self) -> None:
        """Protect the base branch, and require our status."""
        raise NotImplementedError

    # ------------------------------------------------------------ what remote forges show and suffer

    def requests(self) -> tuple[int, int, int]:
        """Reads answered in full, reads answered "unchanged", and writes to the API since the last call."""
        raise NotImplementedError

    def lose(self, what: str, *, applied: bool) -> None:
        """Close the connection on the next "open", "edit", "close", "comment", "check" or "merge", after or before."""
        raise NotImplementedError

    def complaints(self) -> list[str]:
        """What was against the product's published description, of requests and of answers."""
        return []


class LocalWorld(World):
    is_remote = False
    can = frozenset({"conflict"})

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote)
        self.git = Git(remote.path)
        self.forge = LocalForge(self.git, actor=BOT, now=self.clock.now)

    def controller(self, cache: Path | None = None) -> tuple[Forge, Git]:
        git = Git(self.remote.path)
        return LocalForge(git, actor=BOT, now=self.clock.now), git

    def merge(self, number: int, by: str) -> str:
        return self.forge.merge_by_person(number, by=by, at=self.clock.now())

    def close(self, number: int, by: str) -> None:
        self.forge.close_by_person(number, by, self.clock.now())

    def edit(self, number: int, body: str, by: str) -> None:
        self.forge.edit(number, body=body)

    def open(self, branch: str, title: str, body: str, by: str) -> int:
        theirs = LocalForge(self.git, actor=by, now=self.clock.now)
        return theirs.open(branch=branch, title=title, body=body).number


class GitHubWorld(World):
    can = frozenset({"draft", "queue", "arm", "fork", "conflict"})
    _PATHS: ClassVar = {
        "open": r"POST /repos/acme/shop/pulls$",
        "edit": r"PATCH /repos/acme/shop/pulls/\d+$",
        "close": r"PATCH /repos/acme/shop/pulls/\d+$",
        "comment": r"POST /repos/acme/shop/issues/\d+/comments$",
        "check": r"POST /repos/acme/shop/statuses/",
        "merge": r"PUT /repos/acme/shop/pulls/\d+/merge$",
        "arm": r"POST /graphql/Arm$",
        "list": r"GET /repos/acme/shop/pulls$",
    }

    def __init__(self, remote: Remote, server: fake_github.GitHub) -> None:
        super().__init__(remote)
        self.server = server
        server.clock = self.clock.now
        self.token = next(iter(server.tokens))

    def controller(self, cache: Path | None = None) -> tuple[Forge, Git]:
        forge = GitHub(
            self.server.url,
            "acme",
            "shop",
            token=lambda: self.token,
            cache=Cache(cache),
            patience=Patience(clock=self.clock.time, sleep=self.clock.sleep),
        )
        return forge, Git(self.server.remote, credentials=lambda: ("x-access-token", self.token))

    def merge(self, number: int, by: str) -> str:
        pull = self.server.pull(number)
        self.server.moved(by)
        oid = self.server.merge(pull, by, f"{pull.title} (#{number})")
        self.server.delete_branch(pull.branch, by)
        return oid

    def close(self, number: int, by: str) -> None:
        self.server.end(self.server.pull(number), by)

    def edit(self, number: int, body: str, by: str) -> None:
        pull = self.server.pull(number)
        pull.body, pull.updated = body, self.clock.now()

    def open(self, branch: str, title: str, body: str, by: str) -> int:
        return self.server.add(branch, self.remote.refs[f"refs/heads/{branch}"], title, body, by).number

    def push(self, branch: str, data: bytes, by: str = "ann") -> str:
        head = super().push(branch, data, by)
        self.server.moved(by)
        return head

    def delete_branch(self, branch: str, by: str) -> None:
        self.server.delete_branch(branch, by)

    def approve(self, number: int, by: str) -> None:
        pull = self.server.pull(number)
        pull.reviews.append((by, "APPROVED", pull.head))
        pull.updated = self.clock.now()
        self.server.settle()

    def draft(self, number: int, by: str) -> None:
        pull = self.server.pull(number)
        pull.draft, pull.updated = True, self.clock.now()

    def queue(self, number: int, by: str) -> None:
        pull = self.server.pull(number)
        pull.queued, pull.updated = True, self.clock.now()

    def arm(self, number: int, by: str) -> None:
        pull = self.server.pull(number)
        pull.armed_by, pull.updated = by, self.clock.now()

    def fork(self, branch: str, body: str, by: str) -> int:
        tip = self.remote.refs["refs/heads/main"]
        return self.server.add(branch, tip, "from a fork", body, by, fork=True).number

    def job(self, oid: str, name: str, state: str) -> None:
        made = {"context": name, "state": state, "description": ""}
        self.server.statuses.setdefault(oid, []).append(made)

    def guard(self) -> None:
        self.server.rules.checks.add("rollout/evidence")

    def requests(self) -> tuple[int, int, int]:
        return self.server.counted()

    def lose(self, what: str, *, applied: bool) -> None:
        self.server.faults.append(fake_server.Fault(self._PATHS[what], applied=applied))

    def complaints(self) -> list[str]:
        return self.server.complaints


@contextmanager
def github(folder: Path) -> Iterator[World]:
    remote = repository(folder)
    with fake_github.GitHub(remote.path) as server:
        assert isinstance(server, fake_github.GitHub)
        yield GitHubWorld(remote, server)


@contextmanager
def local(folder: Path) -> Iterator[World]:
    yield LocalWorld(repository(folder))


def repository(folder: Path) -> Remote:
    """The bare repository of a world; all are copies of one, which costs no process."""
    return Remote(shutil.copytree(_template()[0], folder / "remote.git"))


@cache
def _template() -> tuple[Path, dict[int, str]]:
    """That repository, and the commits of proposals that it holds beside its one branch, by percent."""
    folder = Path(tempfile.mkdtemp(prefix="pilot-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    remote = _create(folder / "remote.git")
    remote.set("main", remote.commit({PROD: STACK_FILE, "README.md": b"read me\n"}))
    git = Git(remote.path)
    commits = {percent: propose(git, f"rollout/{percent}", percent) for percent in (10, 20)}
    git.close()
    for percent in commits:
        remote.git("update-ref", "-d", f"refs/heads/rollout/{percent}")
    return remote.path, commits


def gitlab(folder: Path) -> AbstractContextManager[World]:
    from tests.forges import served  # which needs what is above

    return served.gitlab(folder)


def gitea(folder: Path) -> AbstractContextManager[World]:
    from tests.forges import served

    return served.gitea(folder)


WORLDS: dict[str, Callable[[Path], AbstractContextManager[World]]] = {
    "local": local,
    "github": github,
    "gitlab": gitlab,
    "gitea": gitea,
}


def propose(git: Git, branch: str, percent: int = 10) -> str:
    """Push the branch of a proposal as the controller does, and return its head."""
    tip = git.sync()
    data = STACK_FILE.replace(b"percent: 0", b"percent: %d" % percent)
    head = git.commit(tip, {PROD: data}, f"rollout(prod): 0% -> {percent}%")
    assert git.push([RefUpdate(f"refs/heads/{branch}", None, head)])
    return head


def only(forge: Forge, number: int) -> PullRequest:
    (found,) = (pr for pr in forge.pull_requests("") if pr.number == number)
    return found
