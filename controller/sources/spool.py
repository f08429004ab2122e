"""
Keeps what an events API answered, so that an API that shows only its newest events can be counted over a rollout.

A folder of JSON-lines files, one for each poll that brought something new, and `manifest.json`: the size of each file
and the spans of time that the polls cover without a hole. Files are written first and the manifest last, each by
rename and all under a lock: what is lost, in whatever way, is time that counts as a gap.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from controller.errors import ConfigError
from controller.sources.counting import Gaps

_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Poll:
    """
    What one poll saw: its events, newest first, and the instant from which it can have missed none.

    `since` is None where the API showed all that it has. `paged` says that pages were followed back to there.
    """

    time: datetime
    events: Sequence[Any]
    since: datetime | None
    paged: bool = False


@dataclass
class _Span:
    """Polls cover [begin, end]; `newest` is the newest event of the last of them."""

    begin: datetime
    end: datetime
    newest: datetime


@dataclass
class _Manifest:
    files: dict[str, int] = field(default_factory=dict)
    spans: list[_Span] = field(default_factory=list)


class Spool:
    """
    The spool in *folder*, which is made if it is not there. `id_field` and `ts_field` are the product's own names.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, id_field: str = "id", ts_field: str = "ts") -> None:
        self._folder, self._id, self._ts = folder, id_field, ts_field
        self._manifest = _Manifest()
        self._read: set[str] = set()  # files whose events are in the two below
        self._lines: set[int] = set()
        self._ids: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ConfigError(f"spool {folder} cannot be made: {e.strerror}; choose another folder") from e

    @property
    def pattern(self) -> str:
        """The glob of its files of events."""
        return str(self._folder / "*.jsonl")

    def refresh(self) -> None:
        """Read what others have spooled."""
        self._manifest = self._load_manifest()
        for path in sorted(self._folder.glob("*.jsonl")):
            if path.name not in self._read:
                with path.open(encoding="ascii", errors="replace") as file:
                    self._remember(file.read().splitlines())
                self._read.add(path.name)

    def knows(self, events: Sequence[Any]) -> bool:
        """Whether each of *events* is in the spool as it is."""
        return all(hash(_line(event)) in self._lines for event in events)

    def meets(self, events: Sequence[Any], now: datetime) -> bool:
        """
        Whether *events*, newest first, go back to what the last poll saw.

        An event that is sent again says nothing, wherever it stands. So the oldest must be known (one of those at the
        oldest's time, whose order may change), and what was the newest must be shown too.
        """
        timed = [(time, self._id_of(event)) for event in events if (time := self._time_of(event)) and time <= now]
        if not timed or not self._manifest.spans:
            return False
        oldest = takewhile(lambda at: at[0] == timed[-1][0], reversed(timed))
        newest = self._manifest.spans[-1].newest
        return any(id_ in self._ids for _, id_ in oldest) and any(time == newest for time, _ in timed)

    def gaps(self, start: datetime, now: datetime) -> Gaps:
        """The spans of [start, now] in which events may be missing, in order."""
        gaps, at = [], start
        for span in sorted(self._manifest.spans, key=lambda s: s.begin):
            if span.begin > at:
                gaps.append((at, min(span.begin, now)))
            at = max(at, span.end)
            if at >= now:
                break
        if at < now:
            gaps.append((at, now))
        return tuple((a, b) for a, b in gaps if a < b)

    def add(self, poll: Poll) -> None:
        """Spool what is new in *poll*, and what it covers."""
        with self._locked():
            self.refresh()
            meets = self.meets(poll.events, poll.time)
            lines = [line for event in poll.events if hash(line := _line(event)) not in self._lines]
            if lines:
                lines.reverse()  # oldest first, the order in which they happened
                name = f"{poll.time.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{os.urandom(4).hex()}.jsonl"
                text = "\n".join(lines) + "\n"
                self._write(name, text)
                self._manifest.files[name] = len(text)  # ASCII
                self._read.add(name)
                self._remember(lines)
            self._cover(poll, meets)
            self._write("manifest.json", self._dump_manifest())

    def _cover(self, poll: Poll, meets: bool) -> None:
        """
        Join *poll* to the last span where it *meets* that; otherwise what lies between is a gap.

        An API that shows all that it has shows what it showed before. If it does not, it has lost something. And what
        goes back past the newest event of a span shows that; if it does not, its oldest event was sent again.
        """
        spans, times = self._manifest.spans, [t for t in map(self._time_of, poll.events) if t and t <= poll.time]
        newest, begin = max(times, default=None), poll.since
        if begin is None:
            begin = poll.time if self._ids.difference(map(self._id_of, poll.events)) else _ALWAYS
        elif any(begin < span.newest and span.newest not in times for span in spans):
            begin = poll.time
        if spans and (meets or begin == _ALWAYS):
            last = spans[-1]
            if poll.paged or begin == _ALWAYS:  # one page goes no further back than that of the poll before
                last.begin = min(last.begin, begin)
            last.end = max(last.end, poll.time)
            last.newest = max(last.newest, newest or last.newest)
            return
        if spans:
            last = spans[-1]
            last.end = max(last.begin, last.newest)
            if begin == last.newest:  # others of that instant may be cut off
                begin = min((t for t in times if t > begin), default=poll.time)
        spans.append(_Span(begin, poll.time, newest or begin))

    def _id_of(self, event: Any) -> str:
        return str(event.get(self._id, "")) if isinstance(event, dict) else ""

    def _time_of(self, event: Any) -> datetime | None:
        return event_time(event, self._ts)

    def _remember(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._lines.add(hash(line))
            try:
                id_ = self._id_of(json.loads(line))
            except ValueError:
                continue
            if id_:
                self._ids.add(id_)

    def _load_manifest(self) -> _Manifest:
        """The manifest; without its spans if it, or a file that it names, is not as it was written."""
        try:
            data = json.loads((self._folder / "manifest.json").read_text())
            files = {str(name): int(size) for name, size in data["files"].items()}
            spans = [_Span(*map(datetime.fromisoformat, span)) for span in data["spans"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return _Manifest()
        for name, size in files.items():
            try:
                intact = (self._folder / name).stat().st_size == size
            except OSError:
                intact = False
            if not intact:
                return _Manifest()
        return _Manifest(files, spans)

    def _dump_manifest(self) -> str:
        spans = [[t.isoformat() for t in (s.begin, s.end, s.newest)] for s in self._manifest.spans]
        return json.dumps({"spans": spans, "files": self._manifest.files}, indent=1)

    def _write(self, name: str, text: str) -> None:
        fd, path = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(path, self._folder / name)
        except BaseException:
            os.unlink(path)
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def event_time(event: Any, ts_field: str) -> datetime | None:
    """The time of an event, None where it has none that can be used."""
    ts = event.get(ts_field) if isinstance(event, dict) else None
    try:
        time = datetime.fromisoformat(ts) if isinstance(ts, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None


def _line(event: Any) -> str:
    return json.dumps(event, sort_keys=True)
