"""Events from files of JSON lines or CSV, plain or gzipped, that may grow and be joined by others while watched."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from controller.errors import ConfigError
from controller.model import Event, Query, Recorded, Window
from controller.sources.counting import Counter, Gaps
from controller.sources.raw import events
from controller.sources.records import Names
from controller.sources.replay import Replay

_TAIL = 64  # bytes before the end that must be unchanged for a larger file to be the same one, grown


@dataclass(frozen=True)
class _Seen:
    """A file as it was loaded; `tail` are its last bytes, None where it cannot be read on from there."""

    size: int
    mtime_ns: int
    tail: bytes | None


class JsonLines:
    """
    Files and globs (`**` goes through folders); files are read in the order of their names.

    Kept over passes, it reads only new files and what the last file has grown by. Whatever else changed (a file is
    gone, rewritten, or new in front of others) makes it read everything again. Files miss nothing: no gaps.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        fields: Mapping[str, str] | None = None,
        types: Mapping[str, str] | None = None,
        arms: Mapping[str, str] | None = None,
        constants: Mapping[str, str] | None = None,
        times: str = "rfc3339",
    ) -> None:
        self._paths = tuple(paths)
        self._names = Names(fields or {}, types or {}, arms or {}, constants or {}, times)
        self._counter = Counter(self._names)
        self._seen: dict[str, _Seen] = {}

    def read(self, queries: Sequence[Query], window: Window, *, gaps: Gaps = ()) -> Recorded:
        """
        Count every query over *window*; *gaps* are for a caller who knows that the files lack something.

        A path that matches no file is a note, not an error: no data is a value.

        Raises:
            ConfigError: a file cannot be read, or a query cannot be answered from events.
        """
        files, missing = self._expand()
        self._load(files, queries)
        return self._counter.answer(queries, window, gaps=gaps, notes=[f"{path}: no such file" for path in missing])

    def replay(self, queries: Sequence[Query], *, start: datetime, passes: Sequence[datetime]) -> Replay:
        """
        The source whose files ended at each of *passes*, one after the other; all are counted at once.

        Raises:
            ConfigError: as for `read`.
        """
        self._load(self._expand()[0], queries)
        return self._counter.replay(queries, start=start, passes=passes)

    def events(self, types: Collection[str], start: datetime, end: datetime) -> Sequence[Event]:
        """As `Source.events`."""
        files, _ = self._expand()
        try:
            return events([glob.escape(path) for path in files], self._names, types, start, end) if files else []
        except (OSError, duckdb.Error) as e:
            raise ConfigError(f"events cannot be read: {str(e).splitlines()[0]}; mend or remove the file") from e

    def _expand(self) -> tuple[list[str], list[str]]:
        """The files that there are, in order, and the paths that match none."""
        files, missing = set[str](), list[str]()
        for path in self._paths:
            found = [path] if os.path.exists(path) else glob.glob(path, recursive=True)
            found = [f for f in found if f == path or not os.path.isdir(f)]
            files.update(found)
            missing += [] if found else [path]
        return sorted(files), missing

    def _load(self, files: Sequence[str], queries: Sequence[Query]) -> None:
        try:
            stats = {path: os.stat(path) for path in files}
            if not (self._seen and self._counter.fits(queries) and self._continues(stats)):
                self._counter.reset(queries)
                self._seen = {}
            if self._seen:
                self._load_tail(path := next(reversed(self._seen)), stats[path].st_size)
            fresh = [path for path in files if path not in self._seen]
            if fresh:
                for path in fresh:
                    open(path, "rb").close()
                self._counter.load(fresh)
                self._seen |= {path: _look(path, stats[path]) for path in fresh}
        except (OSError, duckdb.Error) as e:
            self._seen = {}  # some may be loaded: begin anew
            raise ConfigError(f"events cannot be read: {str(e).splitlines()[0]}; mend or remove the file") from e

    def _continues(self, stats: Mapping[str, os.stat_result]) -> bool:
        """Whether the files seen are the first of *stats*, as they were, but for growth at the end of the last."""
        if list(self._seen) != list(stats)[: len(self._seen)]:
            return False
        changed = [
            path
            for path, seen in self._seen.items()
            if (seen.size, seen.mtime_ns) != (stats[path].st_size, stats[path].st_mtime_ns)
        ]
        if not changed:
            return True
        path = changed[0]
        seen = self._seen[path]
        if path != next(reversed(self._seen)) or seen.tail is None or stats[path].st_size <= seen.size:
            return False
        with open(path, "rb") as file:
            file.seek(seen.size - len(seen.tail))
            return file.read(len(seen.tail)) == seen.tail

    def _load_tail(self, path: str, size: int) -> None:
        seen = self._seen[path]
        if size == seen.size:
            return
        with open(path, "rb") as file, tempfile.NamedTemporaryFile(suffix=".jsonl") as part:
            mtime_ns = os.fstat(file.fileno()).st_mtime_ns
            file.seek(seen.size)
            data = file.read(size - seen.size)
            part.write(data)
            part.flush()
            self._counter.load([part.name], origin=(path, seen.size))
        tail = ((seen.tail or b"") + data)[-_TAIL:]
        self._seen[path] = _Seen(size, mtime_ns, tail if data.endswith(b"\n") else None)


def _look(path: str, before: os.stat_result) -> _Seen:
    """
    What to remember of a file that was loaded whole.

    Without a `tail`, where its end is no end of a line, or it grew while it was read: any change then reads it again.
    """
    with open(path, "rb") as file:
        now = os.fstat(file.fileno())
        file.seek(max(0, before.st_size - _TAIL))
        tail = file.read(min(_TAIL, before.st_size))
    whole = not path.endswith((".gz", ".csv")) and now.st_size == before.st_size and (not tail or tail.endswith(b"\n"))
    return _Seen(before.st_size, before.st_mtime_ns, tail if whole else None)
