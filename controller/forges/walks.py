"""
What the first-parent history of a branch did to the files of one folder, each commit looked at once.

A walk of all of it takes some seconds in a repository of 60,000 commits. So what was found is kept in the mirror, and
the next pass or process walks from there. What is kept may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from controller.errors import PilotError
from controller.forges import command
from controller.forges.objects import Entry

Changes = Mapping[str, Sequence[tuple[str, Entry | None]]]  # by path: commits and what they left there, newest first


class Walks:
    """The walks of the mirror in *directory*; *git* runs a command there."""

    def __init__(self, directory: Path, git: Callable[..., command.Result]) -> None:
        self._directory = directory
        self._git = git

    def walk(self, oid: str, folder: str, ending: str) -> Changes:
        """
        Read what first-parent history up to the commit *oid* did to every file of *folder* whose name has *ending*.

        All files at once: a walk for each would cost as much each time, and there may be a thousand.
        """
        pattern = _glob(f"{folder}/" if folder else "") + "*" + _glob(ending)
        place = self._directory / f"walk-{hashlib.sha256(pattern.encode()).hexdigest()[:16]}.json"
        since, known = _recalled(place)
        if oid == since:
            return known
        found = self._continued(since, oid, pattern, known) if since else None
        if found is None:
            found, _ = self._log(pattern, oid)
        _keep(place, oid, found)
        return found

    def _continued(self, since: str, oid: str, pattern: str, known: Changes) -> Changes | None:
        """*known* with what came after *since*; None where the line of first parents does not lead there."""
        try:
            new, end = self._log(pattern, "--sparse", f"{since}..{oid}")
        except PilotError:
            return None  # since a push by force it is not there any more
        if end != since:
            return None
        return {path: [*new.get(path, ()), *known.get(path, ())] for path in known.keys() | new.keys()}

    def _log(self, pattern: str, *commits: str) -> tuple[Changes, str]:
        """The changes in *commits*, and the first parent of the last of them that is listed; all are by `--sparse`."""
        listed = self._git(
            *("log", "--first-parent", "--root", "--raw", "--no-abbrev", "--no-renames", "-z", "--format=%H %P"),
            *(*commits, "--", f":(top,glob){pattern}"),
        )
        if listed.code:
            raise command.failure(listed, f"history of {pattern} in {commits[-1]}")
        found: dict[str, list[tuple[str, Entry | None]]] = {}
        commit, parent, parts = "", "", iter(listed.text.split("\0"))
        for part in (part.lstrip("\n") for part in parts):
            if part.startswith(":"):
                _, mode, _, new, _ = part.split(" ")
                entry = Entry(mode.lstrip("0"), new) if mode.strip("0") else None
                found.setdefault(next(parts), []).append((commit, entry))
            elif part:
                commit, parent = [*part.split(" "), ""][:2]
        return found, parent


def _glob(path: str) -> str:
    """Spell *path* in a pattern where it stands for itself."""
    return re.sub(r"[*?\\\[]", r"\\\g<0>", path)


def _recalled(place: Path) -> tuple[str, Changes]:
    try:
        kept = json.loads(place.read_text())
        changes = {
            path: [(commit, Entry(*entry) if entry else None) for commit, entry in changes]
            for path, changes in kept["changes"].items()
        }
        return (kept["tip"], changes) if re.fullmatch("[0-9a-f]{40}", kept["tip"]) else ("", {})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "", {}


def _keep(place: Path, oid: str, found: Changes) -> None:
    changes = {
        path: [(commit, [entry.mode, entry.oid] if entry else None) for commit, entry in changes]
        for path, changes in found.items()
    }
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=".walk-")
        with os.fdopen(handle, "w") as file:
            json.dump({"tip": oid, "changes": changes}, file)
        os.replace(name, place)
