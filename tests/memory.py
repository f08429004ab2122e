"""
Git without processes: the objects and refs of one repository in dictionaries, under the real `Git` and `LocalForge`.

Objects have the ids that git gives them, so a story told here and one told on a real repository can be compared by them;
`test_crash` does so. What is not here: the wire, locks, and what a mirror has not fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from controller.errors import ConfigError
from controller.forges.git import Git
from controller.forges.objects import FILE, Commit, Entry, Objects, Signature
from controller.ports import FileCommit, RefUpdate


@dataclass
class Server:
    """The repository that everyone pushes to."""

    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)


class MemoryObjects(Objects):
    def __init__(self, server: Server) -> None:
        super().__init__(Path("memory"), 1)
        self._server = server

    def _read(self, oid: str) -> tuple[str, bytes]:
        if oid not in self._server.objects:
            raise ConfigError(f"{oid} is not in the repository; check the id, or fetch it first")
        return self._server.objects[oid]

    def write(self, kind: str, data: bytes) -> str:
        oid = hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()
        self._server.objects[oid] = (kind, data)
        return oid


class MemoryGit(Git):
    """One process's view of *server*: refs are as of its last fetch."""

    def __init__(self, server: Server) -> None:
        super().__init__("memory", directory=Path("memory"))
        self._server = server
        self.objects = MemoryObjects(server)

    def fetch(self) -> None:
        self._refs = dict(self._server.refs)

    def push(self, updates: Sequence[RefUpdate]) -> bool:
        refs = self._server.refs
        if any(refs.get(update.ref) not in (update.old, update.new) for update in updates):
            return False
        for update in updates:
            refs.pop(update.ref, None)
            if update.new:
                refs[update.ref] = update.new
        self._remember(updates)
        return True

    def _read_history(self, oid: str, path: str, limit: int) -> Sequence[FileCommit]:
        found: list[FileCommit] = []
        at: str | None = oid
        while at is not None and len(found) < limit:
            commit = self.objects.commit(at)
            parent = commit.parents[0] if commit.parents else None
            before = self.objects.entry(self.objects.commit(parent).tree, path) if parent else None
            if self.objects.entry(commit.tree, path) != before:
                message = "\n\n".join([commit.message, *self._merged(commit)])
                data = self.objects.file(at, path)
                found.append(FileCommit(at, commit.committer.time, commit.committer.name, message, data))
            at = parent
        return tuple(found)

    def conflicts(self, one: str, other: str) -> bool:
        """As the local forge sees it: both changed a file."""
        return bool(self.changed(one, other).keys() & self.changed(other, one).keys())

    def _find_merge_base(self, base: str, head: str) -> str | None:
        common = self._ancestors(base) & self._ancestors(head)
        return next((oid for oid in common if not any(oid in self._ancestors(o) - {o} for o in common)), None)

    def _ancestors(self, oid: str) -> set[str]:
        seen: set[str] = set()
        open_ = [oid]
        while open_:
            at = open_.pop()
            if at not in seen:
                seen.add(at)
                open_ += self.objects.commit(at).parents
        return seen


def by_hand(git: Git, files: Mapping[str, bytes | None], message: str, at: datetime, *, branch: str = "main") -> str:
    """What Ana commits and pushes on top of *branch*, or begins it with; None takes a file away."""
    git.fetch()
    tip = git.branches(branch).get(branch)
    oid = commit_on(git, tip, files, message, at)
    assert git.push([RefUpdate(f"refs/heads/{branch}", tip, oid)])
    return oid


def commit_on(git: Git, tip: str | None, files: Mapping[str, bytes | None], message: str, at: datetime) -> str:
    """Ana's commit, in no branch yet."""
    objects, by = git.objects, Signature("Ana", "ana@example.com", at)
    entries = {name: data if data is None else Entry(FILE, objects.write("blob", data)) for name, data in files.items()}
    tree = objects.splice(objects.commit(tip).tree if tip else None, entries)
    return objects.write_commit(Commit(tree, (tip,) if tip else (), by, by, message))
