"""
The objects of one git repository: commits, trees and files, which never change once they have an
id.

Reads go through one long-lived `git cat-file --batch` and are kept; writes are one `git
hash-object` each. Writing the same thing twice is harmless, so a killed process leaves nothing to
clean up.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO

from controller.errors import ConfigError, TransientError
from controller.forges import command

_OID = re.compile(r"[0-9a-f]{40}")
_SIGNATURE = re.compile(r"(.*?) ?<(.*?)>(?: (\d+))?")
_LAST_SECOND = 253402300799  # the end of the year 9999, which datetime cannot pass
_CACHED_OBJECTS = 8192
_CACHED_TREES = 64  # one of a thousand files takes a quarter of a megabyte

TREE = "40000"
GITLINK = "160000"
FILE = "100644"
REGULAR = frozenset({FILE, "100755", "100664"})  # 100664 is in repositories from before git 1.0


@dataclass(frozen=True, slots=True)
class Signature:
    """Who, and when to the second."""

    name: str
    email: str
    time: datetime

    def __str__(self) -> str:
        name, email = (re.sub(r"[<>\x00-\x1f]", "", part).strip() for part in (self.name, self.email))
        return f"{name} <{email}> {int(self.time.timestamp())} +0000"


@dataclass(frozen=True, slots=True)
class Commit:
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree; `mode` as git writes it, octal without leading zeros."""

    mode: str
    oid: str


class Objects:
    """The object store of the bare repository in *directory*."""

    def __init__(self, directory: Path, timeout_s: float) -> None:
        self._directory = directory
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._batch: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Objects] | None = None
        self.read = lru_cache(maxsize=_CACHED_OBJECTS)(self._read)
        self.tree = lru_cache(maxsize=_CACHED_TREES)(self._tree)
        self.commit = lru_cache(maxsize=_CACHED_OBJECTS)(self._commit)

    # ------------------------------------------------------------ reading

    def _read(self, oid: str) -> tuple[str, bytes]:
        """
        Return the type and the bytes of *oid*.

        Raises:
            ConfigError: no such object.
        """
        if not _OID.fullmatch(oid):
            raise ConfigError(f"{oid!r} is no full object id; give all 40 hexadecimal digits")
        with self._lock:
            answer = self._ask(oid)
            if answer is None:  # somebody killed the process
                answer = self._ask(oid)
        if answer is None:
            raise TransientError(f"{self._directory}: git cat-file does not answer; run again")
        kind, data = answer
        if kind == "missing":
            raise ConfigError(f"{oid} is not in the repository; check the id, or fetch it first")
        return kind, data

    def _ask(self, oid: str) -> tuple[str, bytes] | None:
        """Ask the process; None when it has ended, and then it is started anew the next time."""
        batch = self._batch or self._start()
        assert batch.stdin is not None
        assert batch.stdout is not None
        answer = None
        try:
            with contextlib.suppress(BrokenPipeError):
                batch.stdin.write(f"{oid}\n".encode())
                batch.stdin.flush()
                answer = _answer(batch.stdout)
        finally:
            if answer is None:  # interrupted between question and answer it would be out of step
                self.close()
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        self._batch = batch = subprocess.Popen(
            ["git", f"--git-dir={self._directory}", "cat-file", "--batch"],
            env=command.hermetic(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._end = weakref.finalize(self, _end, batch)
        return batch

    def close(self) -> None:
        if self._end is not None:
            self._end()
        self._batch = self._end = None

    def _commit(self, oid: str) -> Commit:
        """
        Parse a commit. Odd ones of foreign tools parse too: a missing time is the epoch, bad UTF-8
        is replaced.

        Raises:
            ConfigError: *oid* is no commit.
        """
        kind, data = self.read(oid)
        if kind != "commit":
            raise ConfigError(f"{oid} is a {kind}, not a commit")
        header, _, message = data.decode("utf-8", "replace").partition("\n\n")
        fields: dict[str, list[str]] = {}
        for line in header.split("\n"):
            name, _, value = line.partition(" ")
            fields.setdefault(name, []).append(value)
        return Commit(
            tree=fields["tree"][0],
            parents=tuple(fields.get("parent", ())),
            author=_signature(fields["author"][0]),
            committer=_signature(fields["committer"][0]),
            message=message,
        )

    def _tree(self, oid: str) -> Mapping[str, Entry]:
        _, data = self._read(oid)
        entries, position = {}, 0
        while position < len(data):
            end = data.index(b"\0", position)
            mode, name = data[position:end].split(b" ", 1)
            position = end + 21
            entries[name.decode("utf-8", "surrogateescape")] = Entry(mode.decode(), data[end + 1 : position].hex())
        return entries

    def entry(self, tree: str, path: str) -> Entry | None:
        """Find *path* below *tree*."""
        folder, _, name = path.rpartition("/")
        if folder:
            parent = self.entry(tree, folder)
            if parent is None or parent.mode != TREE:
                return None
            tree = parent.oid
        return self.tree(tree).get(name)

    def file(self, commit: str, path: str) -> bytes | None:
        """Read a regular file of *commit*; a symbolic link, a folder or nothing is None."""
        entry = self.entry(self.commit(commit).tree, path)
        return self.content(entry) if entry and entry.mode in REGULAR else None

    def content(self, entry: Entry) -> bytes:
        """Read what *entry* stands for; a submodule as `git diff` shows it."""
        if entry.mode == GITLINK:
            return f"Subproject commit {entry.oid}\n".encode()
        return self.read(entry.oid)[1]

    def differences(
        self, before: str | None, after: str | None, folder: str = ""
    ) -> Iterator[tuple[str, Entry | None, Entry | None]]:
        """
        Walk two trees and yield the path, old and new entry of what is not the same, folders
        expanded.
        """
        old = self.tree(before) if before else {}
        new = self.tree(after) if after else {}
        for name in sorted(old.keys() | new.keys()):
            pair = [old.get(name), new.get(name)]
            if pair[0] == pair[1]:
                continue
            trees = [entry.oid if entry and entry.mode == TREE else None for entry in pair]
            if any(trees):
                yield from self.differences(trees[0], trees[1], f"{folder}{name}/")
            files = [None if entry and entry.mode == TREE else entry for entry in pair]
            if any(files):
                yield folder + name, files[0], files[1]

    # ------------------------------------------------------------ writing

    def write(self, kind: str, data: bytes) -> str:
        """Store *data* and return its id."""
        result = command.run(
            *(f"--git-dir={self._directory}", "hash-object", "-w", "-t", kind, "--stdin"),
            environment=command.hermetic(),
            timeout_s=self._timeout_s,
            stdin=data,
        )
        if result.code:
            raise command.failure(result, f"{self._directory}: a {kind} could not be written")
        return result.text.strip()

    def write_commit(self, commit: Commit) -> str:
        lines = [
            f"tree {commit.tree}",
            *(f"parent {parent}" for parent in commit.parents),
            f"author {commit.author}",
            f"committer {commit.committer}",
            "",
            commit.message.rstrip("\n") + "\n",
        ]
        return self.write("commit", "\n".join(lines).encode())

    def splice(self, tree: str | None, changes: Mapping[str, Entry | None]) -> str:
        """
        Write *tree* with the entries of *changes* put in, or taken out where None, and return its
        id.
        """
        entries = dict(self.tree(tree)) if tree else {}
        below: dict[str, dict[str, Entry | None]] = {}
        for path, entry in changes.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = entry
            elif entry is None:
                entries.pop(name, None)
            else:
                entries[name] = entry
        for name, inner in below.items():
            old = entries.get(name)
            oid = self.splice(old.oid if old and old.mode == TREE else None, inner)
            entries[name] = Entry(TREE, oid)
            if not self.tree(oid):
                del entries[name]
        return self.write("tree", b"".join(_tree_bytes(entries)))


def _tree_bytes(entries: Mapping[str, Entry]) -> Iterator[bytes]:
    """Format a tree; git sorts a folder as if its name ended in a slash."""
    named = [(name.encode("utf-8", "surrogateescape"), entry) for name, entry in entries.items()]
    for name, entry in sorted(named, key=lambda n: n[0] + b"/" * (n[1].mode == TREE)):
        yield entry.mode.encode() + b" " + name + b"\0" + bytes.fromhex(entry.oid)


def _answer(stream: IO[bytes]) -> tuple[str, bytes] | None:
    """Read `<oid> <type> <size> LF <bytes> LF` or `<oid> missing LF`."""
    _, kind, *size = stream.readline().decode().split() or ("", "")
    if not size:
        return (kind, b"") if kind else None
    data = stream.read(int(size[0]) + 1)
    return (kind, data[:-1]) if len(data) == int(size[0]) + 1 else None


def _signature(text: str) -> Signature:
    match = _SIGNATURE.match(text)
    name, email, seconds = match.groups() if match else (text, "", None)
    time = datetime.fromtimestamp(min(int(seconds or 0), _LAST_SECOND), UTC)
    return Signature(name, email, time)


def _end(batch: subprocess.Popen[bytes]) -> None:
    assert batch.stdin is not None
    assert batch.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        batch.stdin.close()
    batch.stdout.close()
    batch.wait()
