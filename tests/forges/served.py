"""The worlds of GitLab and Gitea: their adapters on the fake servers, and what people do there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.forges.cache import Cache
from controller.forges.git import Git
from controller.forges.gitea import Gitea
from controller.forges.gitlab import GitLab
from controller.forges.patience import Patience
from controller.ports import Forge
from tests.forges.conftest import Remote
from tests.forges.fakes import gitea as fake_gitea
from tests.forges.fakes import gitlab as fake_gitlab
from tests.forges.fakes.described import described
from tests.forges.fakes.server import Fault
from tests.forges.fakes.server import Forge as Server
from tests.forges.worlds import BOT, World, repository

TOKEN = "s3cr3t-t0ken"


class Served(World):
    """A world behind a server of ours."""

    server: Server
    writes: dict[str, str]  # what `lose` names, as the request that it is
    description: tuple[str, str]

    def __init__(self, remote: Remote, server: Server) -> None:
        super().__init__(remote)
        self.server = server
        server.checks.append(described(*self.description).check)
        server.tokens = {TOKEN: BOT}
        server.clock = self.clock.now
        self._counted = (0, 0, 0)

    def patience(self) -> Patience:
        return Patience(clock=self.clock.time, sleep=self.clock.sleep)

    def delete_branch(self, branch: str, by: str) -> None:
        self.server.delete_branch(branch, by)

    def requests(self) -> tuple[int, int, int]:
        server = self.server
        now = (server.reads - server.unchanged, server.unchanged, server.writes)
        since = (now[0] - self._counted[0], now[1] - self._counted[1], now[2] - self._counted[2])
        self._counted = now
        return since

    def lose(self, what: str, *, applied: bool) -> None:
        # A request that may be repeated is, and its answers get lost too.
        self.server.faults.append(Fault(self.writes[what], applied=applied))

    def complaints(self) -> list[str]:
        return self.server.complaints


class GitLabWorld(Served):
    description = ("gitlab.json", "/api/v4")
    can = frozenset(("draft", "queue", "arm", "fork", "reopen", "conflict"))
    writes = {  # noqa: RUF012
        "open": r"POST .*/merge_requests$",
        "edit": r"PUT .*/merge_requests/\d+$",
        "close": r"PUT .*/merge_requests/\d+$",
        "comment": r"POST .*/notes$",
        "check": r"POST .*/statuses/",
        "merge": r"PUT .*/merge$",
    }
    server: fake_gitlab.GitLab

    def controller(self, cache: Path | None = None) -> tuple[Forge, Git]:
        forge = GitLab(
            self.server.project,
            token=lambda: TOKEN,
            url=self.server.url,
            cache=Cache(cache),
            patience=self.patience(),
        )
        return forge, Git(self.server.remote, credentials=lambda: ("pilot", TOKEN))

    def merge(self, number: int, by: str) -> str:
        return self.server.merge(number, by)

    def close(self, number: int, by: str) -> None:
        self.server.close(number, by)

    def edit(self, number: int, body: str, by: str) -> None:
        mr = self.server.get(number)
        mr.description, mr.updated = body, self.clock.now()

    def open(self, branch: str, title: str, body: str, by: str) -> int:
        return self.server.create(branch, title, body, by).iid

    def reopen(self, number: int, by: str) -> None:
        mr = self.server.get(number)
        mr.state, mr.updated = "opened", self.clock.now()

    def draft(self, number: int, by: str) -> None:
        mr = self.server.get(number)
        mr.title, mr.updated = f"Draft: {mr.title}", self.clock.now()

    def queue(self, number: int, by: str) -> None:
        mr = self.server.get(number)
        self.server.trains, mr.train, mr.armed, mr.updated = True, "fresh", True, self.clock.now()

    def arm(self, number: int, by: str) -> None:
        self.server.get(number).armed = True

    def fork(self, branch: str, body: str, by: str) -> int:
        return self.server.create(branch, "theirs", body, by, source_project=999).iid

    def job(self, oid: str, name: str, state: str) -> None:
        said = {"success": "success", "failure": "failed", "pending": "running"}[state]
        self.server.statuses.append(
            {"id": 1 + len(self.server.statuses), "sha": oid, "ref": "main", "status": said, "name": name}
        )

    def guard(self) -> None:
        self.server.protected = self.server.pipeline_must_pass = True


class GiteaWorld(Served):
    description = ("gitea.json", "/api/v1")
    idle = (1, 0, 0)  # it cannot be asked for news only
    can = frozenset(("draft", "arm", "fork", "reopen"))
    writes = {  # noqa: RUF012
        "open": r"POST .*/pulls$",
        "edit": r"PATCH .*/pulls/\d+$",
        "close": r"PATCH .*/pulls/\d+$",
        "comment": r"POST .*/comments$",
        "check": r"POST .*/statuses/",
        "merge": r"POST .*/merge$",
    }
    server: fake_gitea.Gitea

    def controller(self, cache: Path | None = None) -> tuple[Forge, Git]:
        owner, _, name = self.server.project.partition("/")
        forge = Gitea(
            owner,
            name,
            token=lambda: TOKEN,
            url=self.server.url,
            cache=Cache(cache),
            patience=self.patience(),
        )
        return forge, Git(self.server.remote, credentials=lambda: ("pilot", TOKEN))

    def merge(self, number: int, by: str) -> str:
        return self.server.merge(number, by)

    def close(self, number: int, by: str) -> None:
        self.server.close(number, by)

    def edit(self, number: int, body: str, by: str) -> None:
        pull = self.server.get(number)
        pull.body, pull.updated = body, self.clock.now()

    def open(self, branch: str, title: str, body: str, by: str) -> int:
        return self.server.create(branch, title, body, by).number

    def reopen(self, number: int, by: str) -> None:
        self.server.reopen(number, by)

    def draft(self, number: int, by: str) -> None:
        pull = self.server.get(number)
        pull.title, pull.updated = f"WIP: {pull.title}", self.clock.now()

    def arm(self, number: int, by: str) -> None:
        self.server.tell(number, "pull_scheduled_merge", by)

    def fork(self, branch: str, body: str, by: str) -> int:
        return self.server.create(branch, "theirs", body, by, repository=999).number

    def job(self, oid: str, name: str, state: str) -> None:
        at = self.clock.now().isoformat()
        told = {"id": 1 + len(self.server.statuses), "status": state, "context": name, "description": ""}
        self.server.statuses.append({**told, "sha": oid, "updated_at": at, "created_at": at})

    def guard(self) -> None:
        self.server.protected, self.server.required = True, ["rollout/evidence"]


@contextmanager
def gitlab(folder: Path) -> Iterator[World]:
    remote = repository(folder)
    with fake_gitlab.GitLab(remote.path, prefix="/gitlab", project="acme/infra/shop") as server:
        yield GitLabWorld(remote, server)


@contextmanager
def gitea(folder: Path) -> Iterator[World]:
    remote = repository(folder)
    with fake_gitea.Gitea(remote.path, prefix="/git") as server:
        yield GiteaWorld(remote, server)
