"""
A world for stories: Git and the local forge, a service that is live when someone applies, a scripted source.

`World` is on real Git, `MemoryWorld` the same without processes, for stories that are not about Git.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from controller import observe, stackfile
from controller import reconcile as loop
from controller.errors import PilotError
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.model import (
    Bucket,
    Deployment,
    Event,
    Exposure,
    Live,
    Query,
    Recorded,
    Series,
    Service,
    Unreadable,
    Verdict,
    Window,
)
from controller.ports import PrState, PullRequest
from tests.facts import ROOT
from tests.memory import MemoryGit, Server, by_hand

BEGIN = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
FILES = ("rollout.yaml", "Pulumi.yaml", "Pulumi.staging.yaml", "Pulumi.prod.yaml")


def shipped(name: str) -> bytes:
    """A file as it is shipped, without a preflight: the tests of that ask for one."""
    return (ROOT / name).read_bytes().replace(b"    stacks: [prod]\n", b"    stacks: []\n")


@dataclass
class ScriptedSource:
    """Counts of every query since the stage began, healthy unless `bad` says otherwise; `down` fails the read."""

    bad: dict[str, float] = field(default_factory=dict)
    down: PilotError | None = None
    silent: bool = False
    units: int = 600
    malformed: int = 0
    seen_at: datetime | None = None
    gaps: tuple[tuple[datetime, datetime], ...] = ()
    recorded: tuple[Event, ...] = ()

    def events(self, types: Collection[str], start: datetime, end: datetime) -> Sequence[Event]:
        if self.down:
            raise self.down
        return [event for event in self.recorded if event.type in types and start <= event.ts <= end]

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        if self.down:
            raise self.down
        if self.silent:
            return Recorded({})
        series = {query.name: self._series(query, window) for query in queries}
        return Recorded(series, gaps=self.gaps, malformed=self.malformed, last=window.now)

    def _series(self, query: Query, window: Window) -> Series:
        share = self.bad.get(query.name, 0.0)
        if query.name.startswith("trigger:legal"):
            return Series(pilot=(), last=window.now) if not share else self._one(query, window)
        end, step = int(window.now.timestamp()) - 300, query.resolution
        ends = [(end // step - i) * step for i in range(12)][::-1]
        ends = [at for at in ends if at > window.stage.timestamp()]
        n = self.units // 12
        pilot = tuple(Bucket(at, n, round(n * share), round(n * share)) for at in ends)
        if query.name == "exposure":
            return Series(last=window.now)
        control = tuple(Bucket(at, n, round(n * 0.05), 0) for at in ends)
        first = tuple(i < share * query.first for i in range(query.first))
        return Series(pilot, control, estimate=1.0, first=first, last=window.now)

    def _one(self, query: Query, window: Window) -> Series:
        end = int((self.seen_at or window.now).timestamp())
        return Series((Bucket(end, 1, 1, 1),), last=window.now, examples=("e1",))


@dataclass
class AppliedLive:
    """What someone last applied, by cluster; `broken` answers instead."""

    applied: dict[str, Live] = field(default_factory=dict)
    broken: dict[str, Unreadable] = field(default_factory=dict)

    def read(self, service: Service, exposure: Exposure, region: str | None) -> Live | Unreadable:
        if service.cluster in self.broken:
            return self.broken[service.cluster]
        return self.applied.get(service.cluster) or Unreadable("no such service")


class World:
    """A repository in *folder* with the shipped policy and stack files, and everything around it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, BEGIN
        self.remote, self.checkout = folder / "remote.git", folder / "checkout"
        self.run("git", "init", "-q", "--bare", "-b", "main", str(self.remote), cwd=folder)
        self.run("git", "init", "-q", "-b", "main", str(self.checkout), cwd=folder)
        for name in FILES:
            (self.checkout / name).write_bytes(shipped(name))
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", "begin")
        self.run("git", "push", "-q", str(self.remote), "main")
        self._begin()

    def _begin(self) -> None:
        self.live = AppliedLive()
        self.sources = {"staging": ScriptedSource(), "prod": ScriptedSource()}
        self._open()
        self.up("staging")
        self.up("prod")

    def _open(self) -> None:
        self.git = self._connected()
        self.forge = LocalForge(self.git, actor="pilot", now=lambda: self.now)
        self.reader = observe.Reader(self.git, self.live, lambda stack, policy: self.sources[stack])

    def _connected(self) -> Git:
        return Git(self.remote)

    def save(self) -> None:
        """Keep what is not in Git, for `reopened`."""
        state = pickle.dumps((self.now, self.live, self.sources))
        (self.folder / "state.pickle").write_bytes(state)

    @classmethod
    def reopened(cls, folder: Path) -> World:
        """The world that was saved in *folder*, or a copy of it, as another process sees it."""
        world = cls.__new__(cls)
        world.folder, world.remote, world.checkout = (
            folder,
            folder / "remote.git",
            folder / "checkout",
        )
        world.now, world.live, world.sources = pickle.loads((folder / "state.pickle").read_bytes())
        world._open()
        return world

    def run(self, *command: str, cwd: Path | None = None) -> str:
        stamp = f"{int(self.now.timestamp())} +0000"
        who = {"NAME": "Ana", "EMAIL": "ana@example.com", "DATE": stamp}
        environment = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        done = subprocess.run(
            command, cwd=cwd or self.checkout, check=True, capture_output=True, text=True,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), **environment},
        )  # fmt: skip
        return done.stdout

    # ------------------------------------------------------------ acts

    def wait(self, **length: float) -> None:
        self.now += timedelta(**length)

    def reconcile(self, **options: Any) -> dict[str, loop.Outcome]:
        done = loop.reconcile(self.reader, self.forge, now=self.now, **options)
        return {outcome.stack: outcome for outcome in done}

    def up(self, stack: str) -> None:
        """What `pulumi up` does, as far as the controller can see it."""
        data = self.file(stack)
        said = stackfile.read(data, name=stack)
        self.live.applied[said.service.cluster] = Live(
            said.rollout.percent, self.now, Deployment.COMPLETED, said.service.image,
            said.service.candidate_image, said.rollout.flags,
        )  # fmt: skip

    def merge(self, number: int) -> str:
        return self.forge.merge_by_person(number, by="Ana", at=self.now)

    def edit(self, path: str, old: str, new: str, message: str = "edit", *, branch: str = "main") -> str:
        """What a person commits and pushes."""
        self.run("git", "fetch", "-q", str(self.remote), branch)
        self.run("git", "checkout", "-q", "-B", "work", "FETCH_HEAD")
        file = self.checkout / path
        text = file.read_bytes().decode()
        assert old in text
        file.write_bytes(text.replace(old, new, 1).encode())
        self.run("git", "commit", "-qam", message)
        self.run("git", "push", "-q", str(self.remote), f"work:{branch}")
        return self.run("git", "rev-parse", "HEAD").strip()

    def reach(self, percent: int) -> None:
        """Bring both stacks to *percent* by merging what is proposed and applying it."""
        for _ in range(60):
            if self.percent("prod") == percent:
                return
            for stack, outcome in self.reconcile().items():
                assert outcome.error is None, outcome.error
                if outcome.pull_request is not None:
                    self.merge(outcome.pull_request)
                    self.up(stack)
            self.wait(days=1)
        raise AssertionError(f"prod did not reach {percent}")

    # ------------------------------------------------------------ looks

    def file(self, stack: str) -> bytes:
        data = self.git.read(self.git.sync(), observe.stack_file(stack))
        assert data is not None
        return data

    def percent(self, stack: str) -> int:
        return stackfile.read(self.file(stack), name=stack).rollout.percent

    def pulls(self, stack: str, *states: PrState) -> list[PullRequest]:
        found = self.forge.pull_requests(f"rollout/{stack}/")
        return [pr for pr in found if not states or pr.state in states]

    def open(self, stack: str) -> list[PullRequest]:
        return self.pulls(stack, PrState.OPEN)

    def refs(self) -> str:
        """Every ref of the remote: the state of the world that writes would change."""
        return self.run("git", "for-each-ref", cwd=self.remote)


class MemoryWorld(World):
    """The same files in a repository that only this process has."""

    def __init__(self) -> None:
        self.now, self.server = BEGIN, Server()
        by_hand(self._connected(), {name: shipped(name) for name in FILES}, "begin", self.now)
        self._begin()

    def _connected(self) -> Git:
        return MemoryGit(self.server)

    def copied(self) -> Self:
        """Another world, which is as this one is now."""
        world = type(self).__new__(type(self))
        world.now, world.server = self.now, Server(dict(self.server.objects), dict(self.server.refs))
        world.live, world.sources = copy.deepcopy((self.live, self.sources))
        world._open()
        return world

    def edit(self, path: str, old: str, new: str, message: str = "edit", *, branch: str = "main") -> str:
        self.git.fetch()
        data = self.git.read(self.git.branches(branch)[branch], path)
        assert data is not None
        assert old.encode() in data
        files = {path: data.replace(old.encode(), new.encode(), 1)}
        return by_hand(self.git, files, message, self.now, branch=branch)

    def refs(self) -> str:
        return str(sorted(self.server.refs.items()))


def verdicts(outcomes: dict[str, loop.Outcome]) -> dict[str, Verdict | None]:
    return {stack: o.decision.verdict if o.decision else None for stack, o in outcomes.items()}
