"""
The worlds of crash and race tests that have a server: the fake GitHub, GitLab and Gitea, each before real Git.

The server runs for as long as the test process. What a scenario begins with is made once and then laid back, so that a
crash point costs its passes and no more. All controllers of a world share a mirror and a cache, as the processes of one
machine do that die one after the other; time stands still while they work.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from controller import observe
from controller.errors import ConfigError
from controller.forges.cache import Cache
from controller.forges.git import Git
from controller.forges.gitea import Gitea
from controller.forges.github import GitHub
from controller.forges.gitlab import GitLab
from controller.forges.patience import Patience
from controller.ports import Forge, PullRequest
from tests.forge_world import LocalWorld
from tests.forges.conftest import _create
from tests.forges.fakes import gitea as fake_gitea
from tests.forges.fakes import github as fake_github
from tests.forges.fakes import gitlab as fake_gitlab
from tests.forges.fakes.described import described
from tests.forges.fakes.server import Forge as Server
from tests.forges.fakes.server import Refused

BOT, TOKEN = "pilot[bot]", "s3cr3t-t0ken"


class HostedWorld(LocalWorld):
    """The same stack and the same people on a forge with a server, which *folder* keeps the repository of."""

    kept: ClassVar[tuple[str, ...]]  # what the server knows of pull requests
    server: Any

    def __init__(self, folder: Path, server: Server, *, more: str) -> None:
        self.folder, self.server = folder, server
        self._gits: list[Git] = []
        server.tokens, server.clock = {TOKEN: BOT}, lambda: self.now
        super().__init__(lambda: self._opened(server.repository, "people"), more=more)
        server.moved("Ana")

    # ------------------------------------------------------------ the controller

    def controller(self) -> tuple[observe.Reader, Forge]:
        git = self._opened(self.server.remote, "pilot", credentials=lambda: ("x-access-token", TOKEN))
        forge = self.forge(Cache(self.folder / "cache"), self._patience())
        return observe.Reader(git, self.live, lambda stack, policy: self.source), forge

    def forge(self, cache: Cache, patience: Patience) -> Forge:
        raise NotImplementedError

    def _patience(self) -> Patience:
        return Patience(clock=lambda: self.now.timestamp(), sleep=lambda _: None)

    def _opened(self, remote: str | Path, whose: str, **options: Any) -> Git:
        self._gits.append(Git(remote, directory=self.folder / f"mirror-{whose}", **options))
        return self._gits[-1]

    # ------------------------------------------------------------ people

    def merge(self, number: int) -> None:
        try:
            self._merge(number)
        except (Refused, AssertionError) as error:
            raise ConfigError(f"#{number}: {error}") from error
        self.up()

    def _merge(self, number: int) -> None:
        self.server.merge(number, "Ana")

    def close(self, number: int) -> None:
        self.server.close(number, "Ana")

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        pull = self.server.get(number)
        pull.title, pull.body, pull.updated = title or pull.title, body or pull.body, self.now

    def commit(self, branch: str, old: str, new: str, *, message: str = "by hand") -> str:
        oid = super().commit(branch, old, new, message=message)
        self.server.moved("Ana")
        return oid

    def delete(self, branch: str) -> None:
        self.server.delete_branch(branch, "Ana")

    def duplicate(self, number: int) -> None:
        pull = self.server.get(number)
        self.server.create(pull.branch, pull.title, pull.body, BOT)

    # ------------------------------------------------------------ the truth

    def pulls(self) -> Sequence[PullRequest]:
        """By a controller that remembers nothing."""
        return self.forge(Cache(), self._patience()).pull_requests("")

    def heads(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.server.refs()
        return found

    # ------------------------------------------------------------ going back

    def save(self, folder: Path) -> None:
        """Keep the world in *folder*."""
        shutil.copytree(self.server.repository, folder / "remote.git")
        shutil.copytree(self.folder / "cache", folder / "cache")
        state = [getattr(self.server, name) for name in self.kept]
        (folder / "state").write_bytes(pickle.dumps((self.now, self.source, self.live, state)))

    def restore(self, folder: Path) -> None:
        """Make the world what *folder* keeps."""
        self.release()
        for source, place in (
            (folder / "remote.git", self.server.repository),
            (folder / "cache", self.folder / "cache"),
        ):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(source, place)
        self.now, self.source, self.live, state = pickle.loads((folder / "state").read_bytes())
        for name, value in zip(self.kept, state, strict=True):
            setattr(self.server, name, value)
        self.server._refs = self.server.refs()
        self._git = self._opened(self.server.repository, "people")

    def release(self) -> None:
        """End the processes of controllers that are gone."""
        for git in self._gits:
            git.close()
        self._gits.clear()


class GitHubWorld(HostedWorld):
    kept = ("pulls", "statuses")  # type: ignore[assignment]

    def forge(self, cache: Cache, patience: Patience) -> Forge:
        return GitHub(self.server.url, "acme", "shop", token=lambda: TOKEN, cache=cache, patience=patience)

    def _merge(self, number: int) -> None:
        pull = self.server.pull(number)
        if pull.state != "open":
            raise ConfigError(f"#{number} is not open")
        self.server.merge(pull, "Ana", f"{pull.title} (#{number})")
        self.server.delete_branch(pull.branch, "Ana")

    def close(self, number: int) -> None:
        self.server.end(self.server.pull(number), "Ana")

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        pull = self.server.pull(number)
        pull.title, pull.body, pull.updated = title or pull.title, body or pull.body, self.now

    def duplicate(self, number: int) -> None:
        pull = self.server.pull(number)
        self.server.add(pull.branch, pull.head, pull.title, pull.body, BOT)


class GitLabWorld(HostedWorld):
    kept = ("requests", "statuses")  # type: ignore[assignment]

    def forge(self, cache: Cache, patience: Patience) -> Forge:
        return GitLab("acme/shop", url=self.server.url, token=lambda: TOKEN, cache=cache, patience=patience)

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        mr = self.server.get(number)
        mr.title, mr.description, mr.updated = title or mr.title, body or mr.description, self.now

    def duplicate(self, number: int) -> None:
        mr = self.server.get(number)
        self.server.create(mr.source, mr.title, mr.description, BOT)


class GiteaWorld(HostedWorld):
    kept = ("pulls", "statuses")  # type: ignore[assignment]

    def forge(self, cache: Cache, patience: Patience) -> Forge:
        return Gitea("acme", "shop", url=self.server.url, token=lambda: TOKEN, cache=cache, patience=patience)


_PRODUCTS: Mapping[str, tuple[type[Server], type[HostedWorld], tuple[str, str] | None]] = {
    "github": (fake_github.GitHub, GitHubWorld, None),
    "gitlab": (fake_gitlab.GitLab, GitLabWorld, ("gitlab.json", "/api/v4")),
    "gitea": (fake_gitea.Gitea, GiteaWorld, ("gitea.json", "/api/v1")),
}


class Hosting:
    """The server of one product, and the worlds that begin on it, one at a time."""

    def __init__(self, kind: str, folder: Path) -> None:
        product, self._world, description = _PRODUCTS[kind]
        self._folder = folder
        _create(folder / "remote.git")
        self.server = product(folder / "remote.git")
        if description is not None:
            self.server.checks.append(described(*description).check)
        self._saved: dict[object, tuple[HostedWorld, Path]] = {}

    def begun(self, more: str, prepare: Callable[[Any], None]) -> HostedWorld:
        """A world with *more* in its policy after *prepare*, the same each time."""
        key = (more, prepare)
        if key not in self._saved:
            self._clear()
            world = self._world(self._folder, self.server, more=more)
            prepare(world)
            place = Path(tempfile.mkdtemp(dir=self._folder))
            world.save(place)
            self._saved[key] = (world, place)
        world, place = self._saved[key]
        world.restore(place)
        self.server.clock = lambda: world.now
        return world

    def close(self) -> None:
        for world, _ in self._saved.values():
            world.release()
        self.server.__exit__()
        assert self.server.complaints == []

    def _clear(self) -> None:
        """Nothing but an empty repository."""
        for world, _ in self._saved.values():
            world.release()
        for name in ("cache", "mirror-pilot", "mirror-people", "remote.git"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        (self._folder / "cache").mkdir()
        _create(self._folder / "remote.git")
        for name in self._world.kept:
            setattr(self.server, name, type(getattr(self.server, name))())
        self.server._refs = {}
