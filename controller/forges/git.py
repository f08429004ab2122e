"""
The repository that holds the state, by the git command line.

A private bare mirror keeps what was fetched: the remote's `refs/heads/*` and `refs/rollout/*`,
under `refs/mirror/`. It may be deleted at any time. Every write to the remote is one
compare-and-swap of all its refs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from controller.errors import ConfigError
from controller.forges import command
from controller.forges.objects import FILE, REGULAR, TREE, Commit, Entry, Objects, Signature
from controller.forges.walks import Walks
from controller.ports import FileCommit, RefUpdate

_KINDS = ("heads", "rollout")
_HISTORIES = 4096
_WALKS = 4  # of whole folders
_FIRST_FETCH = 10  # times the timeout: it brings all of the history, and one that is cut short begins anew
_FRESH_NS = 100_000_000
_Stamp = tuple[tuple[str, int, int], ...]


class Git:
    """
    Implements `controller.ports.Repository` on *remote*, a URL or the path of a repository on this
    machine.

    *directory* is the mirror's, made where absent; without one it is temporary. *credentials* gives
    a user name and a password for an http(s) remote each time they are needed, since tokens expire;
    without it git asks its own helpers.
    """

    def __init__(
        self,
        remote: str | Path,
        *,
        directory: Path | None = None,
        base: str = "main",
        identity: tuple[str, str] = ("Pilot", "pilot@localhost"),
        credentials: Callable[[], tuple[str, str]] | None = None,
        timeout: timedelta = timedelta(minutes=1),
    ) -> None:
        here = Path(remote).absolute()
        self._local = next((d for d in (here / ".git", here) if (d / "HEAD").is_file()), None)
        self.remote = str(here if here.is_dir() else remote)
        self.base = base
        self.identity = identity
        self._credentials = credentials
        self._timeout_s = timeout.total_seconds()
        self._directory = directory or Path(tempfile.mkdtemp(prefix="pilot-mirror-"))
        self.objects = Objects(self._directory, self._timeout_s)
        self._delete: Callable[[], object] = lambda: None
        if directory is None:
            self._delete = weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._refs: dict[str, str] | None = None
        self._stamp: _Stamp | None = None  # of the files that hold `_refs` on a remote on this machine
        self._merge_base = lru_cache(maxsize=_HISTORIES)(self._find_merge_base)
        self._walk = lru_cache(maxsize=_WALKS)(Walks(self._directory, self._here).walk)
        self._history = lru_cache(maxsize=_HISTORIES)(self._read_history)

    def close(self) -> None:
        """End the helper process and delete a temporary mirror."""
        self.objects.close()
        self._delete()

    # ------------------------------------------------------------ refs

    def sync(self) -> str:
        self.fetch()
        tip = self.refs("refs/heads/").get(f"refs/heads/{self.base}")
        if tip:
            return tip
        found = ", ".join(sorted(self.branches(""))[:5])
        problem = (
            f"has no branch {self.base} (found: {found}); create it, or set the base branch"
            if found
            else f"is empty; push a first commit with the stack files to {self.base}"
        )
        raise ConfigError(f"{command.redact(self.remote)} {problem}")

    def fetch(self) -> None:
        """
        Bring the mirror up to date.

        A remote on this machine is first asked for its refs, at a quarter of the cost of a fetch
        that finds nothing new; and not even that while no file of theirs has changed.
        """
        if self._refs is None:
            self._refs = self._create_mirror()
        stamp = _stamp(self._local) if self._local else None
        if stamp is not None and stamp == self._stamp:
            return
        self._stamp = None
        if self._local and self._list(self._local, "refs/") == self._refs:
            self._stamp = stamp
            return
        timeout_s = self._timeout_s * (1 if self._refs else _FIRST_FETCH)
        result = command.patiently(
            lambda: self._talk(
                *("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", self.remote),
                *(f"+refs/{kind}/*:refs/mirror/{kind}/*" for kind in _KINDS),
                timeout_s=timeout_s,
            )
        )
        if "mismatched algorithms" in result.stderr:
            raise ConfigError(
                f"{command.redact(self.remote)} names objects by SHA-256, which is not supported; "
                "use a repository with SHA-1 object ids"
            )
        if result.code:
            self._remove_stale_locks()
            raise command.failure(result, f"{self.remote} could not be fetched")
        self._refs = self._list(self._directory, "refs/mirror/")

    def refs(self, prefix: str) -> Mapping[str, str]:
        """Return the remote's refs that start with *prefix*, by full name, as of the last sync."""
        if self._refs is None:
            self.fetch()
        return {ref: oid for ref, oid in (self._refs or {}).items() if ref.startswith(prefix)}

    def branches(self, prefix: str) -> Mapping[str, str]:
        heads = self.refs(f"refs/heads/{prefix}")
        return {ref.removeprefix("refs/heads/"): oid for ref, oid in heads.items()}

    def push(self, updates: Sequence[RefUpdate]) -> bool:
        """
        Apply all *updates* or none; also True where the remote is already so.

        An update is a lease on the exact old object. `--force` or a `+` would switch leases off
        without a word, so neither is ever used. When the push fails the remote is read again,
        because the answer, and not the push, may be what got lost.

        Raises:
            ConfigError: the server refuses (permission, hook, branch rule), or a branch is in the way.
            TransientError: the server or the network failed, and nothing was changed.
        """
        if not updates:
            return True
        if self._refs is None:
            self.fetch()
        arguments = [
            *("push", "--porcelain", "--atomic", "--no-verify"),
            *(f"--force-with-lease={update.ref}:{update.old or ''}" for update in updates),
            self.remote,
            *(f"{update.new or ''}:{update.ref}" for update in updates),
        ]
        for wait_s in command.WAITS_S:
            result = self._talk(*arguments)
            outcome = True if result.code == 0 else self._outcome(updates, result)
            if outcome:
                self._remember(updates)
            if outcome is not None:
                return outcome
            self._check_the_way(updates)
            if not result.contended:
                break
            time.sleep(wait_s)  # the refs are as expected, but locked: another push is under way
        raise command.failure(result, f"{self.remote} did not take the push")

    def try_push(self) -> None:
        """
        Ask the remote whether a branch may be pushed; nothing is.

        Raises:
            ConfigError, TransientError: it may not, or the remote did not answer.
        """
        result = self._talk("push", "--dry-run", "--porcelain", self.remote, f"{self.sync()}:refs/heads/rollout/doctor")
        if result.code:
            raise command.failure(result, f"{self.remote} would not take a push")

    def _outcome(self, updates: Sequence[RefUpdate], failed: command.Result) -> bool | None:
        """Read what a failed push left: applied (True), overtaken (False) or as it was (None)."""
        result = self._talk("ls-remote", self.remote, *(update.ref for update in updates))
        if result.code:
            raise command.failure(failed, f"{self.remote} did not take the push")
        found = _parse(result.text, "refs/")
        if all(found.get(update.ref) == update.new for update in updates):
            return True
        as_it_was = all(found.get(update.ref) in {update.old, update.new} for update in updates)
        return None if as_it_was else False

    def _check_the_way(self, updates: Sequence[RefUpdate]) -> None:
        """
        Name what keeps a new ref from being made: git has no `a/b` beside `a`. The server's words for it vary, and its
        "cannot lock ref" is also said of a race.
        """
        for new in (update.ref for update in updates if update.old is None):
            for ref in self.refs(""):
                if new.startswith(f"{ref}/") or ref.startswith(f"{new}/"):
                    raise ConfigError(
                        f"{command.redact(self.remote)}: {_short(ref)} is in the way of {_short(new)}, since a name "
                        f"cannot be a folder too; rename or delete {_short(ref)}"
                    )

    def _remember(self, updates: Sequence[RefUpdate]) -> None:
        refs = dict(self.refs(""))
        for update in updates:
            refs.pop(update.ref, None)
            if update.new:
                refs[update.ref] = update.new
        self._refs = refs

    # ------------------------------------------------------------ commits

    def files(self, oid: str) -> Sequence[str]:
        tree = self.objects.tree(self.objects.commit(oid).tree)
        return [name for name, entry in tree.items() if entry.mode in REGULAR]

    def read(self, oid: str, path: str) -> bytes | None:
        return self.objects.file(oid, path)

    def history(self, oid: str, path: str, limit: int = 200) -> Sequence[FileCommit]:
        return self._history(oid, path, limit)

    def _read_history(self, oid: str, path: str, limit: int) -> Sequence[FileCommit]:
        self.objects.commit(oid)  # or say that it is none
        folder, _, name = path.rpartition("/")
        changes = self._walk(oid, folder, os.path.splitext(name)[1]).get(path, ())
        commits = [(oid, entry, self.objects.commit(oid)) for oid, entry in changes[:limit]]
        return tuple(
            FileCommit(
                oid=oid,
                time=commit.committer.time,
                by=commit.committer.name,
                message="\n\n".join([commit.message, *self._merged(commit)]),
                data=self.objects.content(entry) if entry and entry.mode in REGULAR else None,
            )
            for oid, entry, commit in commits
        )

    def _merged(self, commit: Commit) -> list[str]:
        """The messages of what a merge commit brought in: they say who proposed it."""
        return [self.objects.commit(parent).message for parent in commit.parents[1:]]

    def changed(self, base: str, head: str) -> Mapping[str, tuple[bytes | None, bytes | None]]:
        def content(entry: Entry | None) -> bytes | None:
            return self.objects.content(entry) if entry else None

        return {path: (content(a), content(b)) for path, a, b in self.changes(base, head)}

    def changes(self, base: str, head: str) -> Sequence[tuple[str, Entry | None, Entry | None]]:
        """List what `changed` tells, as tree entries; a file of another mode alone is in it too."""
        fork = self.merge_base(base, head)
        before = self.objects.commit(fork).tree if fork else None
        return list(self.objects.differences(before, self.objects.commit(head).tree))

    def merge_base(self, base: str, head: str) -> str | None:
        """Find where *head* left *base*; None for unrelated histories."""
        return base if base in self.objects.commit(head).parents else self._merge_base(base, head)

    def _find_merge_base(self, base: str, head: str) -> str | None:
        self.objects.commit(base)
        result = self._here("merge-base", base, head)
        if result.code > 1:
            raise command.failure(result, f"merge base of {base} and {head}")
        return result.text.strip() or None

    def conflicts(self, one: str, other: str) -> bool:
        result = self._here("merge-tree", "--write-tree", one, other)
        if result.code not in (0, 1):
            raise command.failure(result, f"merge of {one} and {other}")
        return result.code == 1

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """
        Write a commit that is the same object for the same arguments, whoever runs it and when.

        Its time is one second after its latest parent's: later than that, and no clock is asked.
        """
        return self._write((parent,), files, message)

    def update(self, head: str, tip: str, files: Mapping[str, bytes], message: str) -> str:
        return self._write((head, tip), files, message)

    def _write(self, parents: tuple[str, ...], files: Mapping[str, bytes], message: str) -> str:
        """Write a commit of *parents* that is the last one's tree with *files* put in."""
        parent = parents[-1]
        below = self.objects.commit(parent)
        changes: dict[str, Entry | None] = {}
        for path, data in files.items():
            old = self.objects.entry(below.tree, path)
            if old and old.mode not in REGULAR:
                kind = "a folder" if old.mode == TREE else "a symbolic link or submodule"
                raise ConfigError(f"{path} in {parent} is {kind}; make it a regular file")
            changes[path] = Entry(old.mode if old else FILE, self.objects.write("blob", data))
        latest = max(self.objects.commit(oid).committer.time for oid in parents)
        by = Signature(*self.identity, latest + timedelta(seconds=1))
        tree = self.objects.splice(below.tree, changes)
        return self.objects.write_commit(Commit(tree, parents, by, by, message))

    # ------------------------------------------------------------ git

    def _create_mirror(self) -> dict[str, str]:
        """Make the mirror, or finish one that was cut short, and list what it holds."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self._directory} cannot be made: {error.strerror}") from error
        result = command.patiently(
            lambda: self._here("init", "--quiet", "--bare", "--object-format=sha1", "--template=")
        )
        if result.code:
            raise command.failure(result, f"{self._directory} is no usable mirror, delete it")
        return self._list(self._directory, "refs/mirror/")

    def _remove_stale_locks(self) -> None:
        """Remove what a killed git left in the mirror; no live one is older than the timeout."""
        for lock in self._directory.rglob("*.lock"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > 2 * self._timeout_s:
                    lock.unlink()

    def _list(self, directory: Path, prefix: str) -> dict[str, str]:
        patterns = [prefix + kind for kind in _KINDS]
        listing = "--format=%(objectname)\t%(refname)"
        result = self._here("for-each-ref", listing, *patterns, directory=directory)
        if result.code:
            raise command.failure(result, f"{directory}: refs could not be read")
        return _parse(result.text, prefix)

    def _here(self, *arguments: str, directory: Path | None = None) -> command.Result:
        return command.run(
            *(f"--git-dir={directory or self._directory}", *arguments),
            environment=command.hermetic(),
            timeout_s=self._timeout_s,
        )

    def _talk(self, *arguments: str, timeout_s: float | None = None) -> command.Result:
        credentials = self._credentials() if self._credentials else None
        return command.run(
            *(f"--git-dir={self._directory}", *arguments),
            environment=command.networked(self.remote, credentials),
            timeout_s=timeout_s or self._timeout_s,
        )


def _short(ref: str) -> str:
    return f"branch {ref.removeprefix('refs/heads/')}" if ref.startswith("refs/heads/") else ref


def _stamp(directory: Path) -> _Stamp | None:
    """
    What changes with any ref: git moves a new file into place for each, or for all packed ones.

    None where that cannot be told: another format of refs, or a change so fresh that a further one could leave the
    same times (as git itself does with its index, "racily clean").
    """
    if (directory / "reftable").exists():
        return None
    now, found = time.time_ns(), []
    for folder, _, files in os.walk(directory / "refs"):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            with contextlib.suppress(FileNotFoundError):
                found.append((path, (stat := os.stat(path)).st_mtime_ns, stat.st_ino))
    with contextlib.suppress(FileNotFoundError):
        stat = os.stat(directory / "packed-refs")
        found.append(("packed-refs", stat.st_mtime_ns, stat.st_ino))
    fresh = any(now - mtime < _FRESH_NS for _, mtime, _ in found)
    return None if fresh else tuple(found)


def _parse(listing: str, prefix: str) -> dict[str, str]:
    """Read `<oid> TAB <ref>` lines, with *prefix* of each ref put back to `refs/`."""
    pairs = (line.split("\t", 1) for line in listing.splitlines())
    return {"refs/" + ref.removeprefix(prefix): oid for oid, ref in pairs}
