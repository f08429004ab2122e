"""Answers queries over JSON lines: what every source that reads events shares. It knows no file by itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

import duckdb

from controller.model import Bucket, Query, Recorded, Series, Window
from controller.sources import records, samples
from controller.sources.instants import instant, micros
from controller.sources.malformed import DESCRIBED, describe, malformed_notes, unfit_note
from controller.sources.records import Layout, Names
from controller.sources.replay import Replay
from controller.sources.samples import EACH, EXAMPLES, EXPOSED

LARGE = 8 << 20  # bytes from which on DuckDB's threads pay; a few events they cost half as much time again
Gaps = tuple[tuple[datetime, datetime], ...]
_ROWS = 1 << 40  # more than anyone loads


@dataclass
class _Answer:
    """What is known of a query: buckets by arm, and of the pilot's first units and bad units (bucket, what to show)."""

    buckets: dict[bool, list[Bucket]] = field(default_factory=lambda: {True: [], False: []})
    first: list[tuple[int, bool]] = field(default_factory=list)
    examples: list[tuple[int, str]] = field(default_factory=list)

    def forget_after(self, final: int) -> None:
        """Keep what ended by *final*."""
        for buckets in self.buckets.values():
            while buckets and buckets[-1].end > final:
                buckets.pop()
        for shown in (self.first, self.examples):
            while shown and shown[-1][0] > final:
                shown.pop()


class Counter:
    """
    Events of one source and the answers about them, kept from pass to pass.

    A pass costs what is new: samples are made when events are loaded, and a bucket that ended before the last pass and
    before every event loaded since is final. The answers are those of a fresh Counter that loads the same lines.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._con = duckdb.connect()
        self._con.execute("SET TimeZone = 'UTC'")
        self._layout = Layout.of((), names)
        self._queries: tuple[Query, ...] = ()
        self._sampled = False  # whether the samples are those of all events
        self._start = 0
        self._rows = 0  # of `event`
        self._malformed: list[tuple[int | None, str | None]] = []  # when, and what is wrong
        self._shared = False  # whether any events share an id
        self._threads = 0
        self._final = 0  # microseconds: what ended by then is in `_answers` and stays as it is
        self._answers: list[_Answer] = []
        self._said: tuple[int, int, Recorded] | None = None  # the stage of the last answer, until when it holds, and it

    def fits(self, queries: Sequence[Query]) -> bool:
        """Whether what is loaded can answer *queries*; if not, `reset` and load everything again."""
        return self._layout == Layout.of(queries, self._names)

    def reset(self, queries: Sequence[Query]) -> None:
        """Forget every event, and make room for those that *queries* read."""
        self._layout = Layout.of(queries, self._names)
        self._rows, self._malformed, self._shared, self._sampled = 0, [], False, False
        records.create_shared(self._con)

    def load(self, paths: Sequence[str], *, origin: tuple[str, int] | None = None) -> None:
        """
        Add the records of files, which come after all that are loaded.

        *origin* is the file that the only path holds the end of, and the number of bytes before it.
        """
        after, self._said = self._rows, None
        self._use_threads(paths)
        records.load(self._con, self._layout, paths, after=after)
        first, rows, bad = self._one(
            f"""SELECT min(ts), count(*), list((rowid, ts) ORDER BY rowid) FILTER ({self._layout.malformed()})
            FROM event WHERE rowid >= {after}"""
        )
        self._rows += rows
        bad = bad or []
        shown = [row - after for row, _ in bad[:DESCRIBED]]
        words = describe([origin] if origin else [(path, 0) for path in paths], shown, self._names)
        self._malformed += zip_longest((ts for _, ts in bad), words)
        self._shared |= records.find_shared(self._con, self._layout, after=after)
        if self._sampled:
            samples.append(self._con, after)
            self._final = self._final if first is None else min(self._final, first)

    def _use_threads(self, paths: Sequence[str]) -> None:
        large = sum(os.path.getsize(path) for path in paths) > LARGE
        threads = (os.cpu_count() or 1) if large else 1
        if threads != self._threads:
            self._con.execute(f"SET threads = {threads}")
            self._threads = threads

    def answer(
        self,
        queries: Sequence[Query],
        window: Window,
        *,
        gaps: Gaps = (),
        notes: Sequence[str] = (),
    ) -> Recorded:
        """Count every query over *window*; *gaps* and *notes* are what else the source has to say."""
        start, now = micros(window.start), micros(window.now)
        if self._rows == 0 or not queries:
            return Recorded({q.name: Series() for q in queries}, gaps=gaps, notes=tuple(notes))
        if not self._sampled or self._queries != tuple(queries) or self._start != start:
            self._queries, self._start, self._final = tuple(queries), start, 0
            self._answers = [_Answer() for _ in queries]
            samples.define(self._con, self._layout, queries, start)
            self._sampled, self._said = True, None
        stage = micros(window.stage)
        if self._said is None or self._said[0] != stage or not self._final <= now < self._said[1]:
            recorded, until = self._answer(window, start, now)
            self._said = (stage, until, recorded)
        said = self._said[2]
        return replace(said, gaps=gaps, notes=(*notes, *said.notes))

    def replay(self, queries: Sequence[Query], *, start: datetime, passes: Sequence[datetime]) -> Replay:
        """The answers about what is loaded at each of *passes*, in their order; it reads no file again."""
        samples.define(self._con, self._layout, queries, micros(start))
        self._sampled, self._said = False, None
        return Replay(self._con, self._names, queries, self._malformed, start=start, passes=passes)

    def _answer(self, window: Window, start: int, now: int) -> tuple[Recorded, int]:
        """The answer, and when, without another record, it changes: as the next event's time comes."""
        last, future, ahead = self._one(
            """SELECT max(ts) FILTER (kind IS NOT NULL AND ts BETWEEN $start AND $now),
                count(*) FILTER (kind IS NOT NULL AND ts > $now), min(ts) FILTER (ts > $now)
            FROM event""",
            {"start": start, "now": now},
        )
        self._count(now, heard=start if last is None else last)
        seen = self._all(
            f"""SELECT q, max(ts) FILTER (role <> {EXPOSED} AND (role = {EACH} OR unit IS NOT NULL)),
                count(*) FILTER (role <> {EACH} AND unit IS NULL AND ts >= $start)
            FROM sample WHERE ts <= $now GROUP BY q ORDER BY q""",
            {"start": start, "now": now},
        )
        malformed, duplicates, noted = self._rejected(start, now, {q: count for q, _, count in seen if count})
        recorded = Recorded(
            self._series(window, now, {q: newest for q, newest, _ in seen}),
            malformed=malformed,
            duplicates=duplicates,
            future=future,
            notes=tuple(noted),
            last=instant(last),
        )
        return recorded, 1 << 62 if ahead is None else int(ahead)

    def _one(self, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        row = self._con.execute(sql, parameters or {}).fetchone()
        assert row is not None
        return row

    def _all(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._con.execute(sql, parameters).fetchall()

    def _count(self, now: int, heard: int) -> None:
        """Bring the answers up to *now*, and what is delayed to when something was last *heard*."""
        final = min(self._final, now) // 1_000_000
        for answer in self._answers:
            answer.forget_after(final)
        width = max((q.resolution for q in self._queries), default=0)
        span = {"now": now, "heard": heard, "final": final, "since": (final - width) * 1_000_000}
        compared = [str(n) for n, q in enumerate(self._queries) if q.control] or ["-1"]
        literal = [str(n) for n, q in enumerate(self._queries) if q.first] or ["-1"]
        shown: dict[int, list[tuple[int, int]]] = {}  # bad units of the new buckets: bucket and row
        for q, arm, end, n, bad, worse, earliest, units in self._all(
            f"""SELECT q, arm, bucket, count(*), sum(bad), sum(worse),
                min(CAST(due AS HUGEINT) * {_ROWS} + ord, {EXAMPLES}) FILTER (bad > 0 AND arm),
                list(bad > 0 ORDER BY due, ord) FILTER (arm AND q IN ({", ".join(literal)}))
            FROM ({samples.counted(self._queries)}) counted
            WHERE arm OR q IN ({", ".join(compared)}) GROUP BY ALL ORDER BY ALL""",
            span,
        ):
            answer = self._answers[q]
            # a sum of shares depends on their order, which threads change
            bad, worse = (round(x, 9) if self._queries[q].mean else int(x) for x in (bad, worse))
            answer.buckets[arm].append(Bucket(end, n, bad, worse))
            if arm and len(answer.first) < self._queries[q].first:
                answer.first += [(end, is_bad) for is_bad in units]
            if earliest and len(answer.examples) + len(shown.get(q, ())) < EXAMPLES:
                shown.setdefault(q, []).extend((end, at % _ROWS) for at in earliest)
        self._name(shown)
        self._final = heard

    def _name(self, shown: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Add the ids of the units *shown* to the answers' examples."""
        rows = ", ".join(str(row) for units in shown.values() for _, row in units)
        ids = dict(self._all(f"SELECT rowid, id FROM event WHERE rowid IN ({rows})", {})) if rows else {}
        for q, units in shown.items():
            self._answers[q].examples += [(bucket, ids[row]) for bucket, row in units]

    def _series(self, window: Window, now: int, newest: Mapping[int, int | None]) -> dict[str, Series]:
        estimates = self._estimates(window, now)
        return {
            q.name: Series(
                pilot=tuple(answer.buckets[True]),
                control=tuple(answer.buckets[False]),
                estimate=estimates.get(n),
                first=tuple(bad for _, bad in answer.first[: q.first]),
                last=instant(newest.get(n)),
                examples=tuple(id_ for _, id_ in answer.examples[:EXAMPLES]),
            )
            for n, (q, answer) in enumerate(zip(self._queries, self._answers, strict=True))
        }

    def _estimates(self, window: Window, now: int) -> dict[int, float]:
        """
        Quantiles of the field, interpolated linearly, where no usable number is an infinite one.

        None where the quantile falls on, or next to, such a sample: it is then beyond every bound.
        """
        asked = [(n, q.quantile) for n, q in enumerate(self._queries) if q.quantile is not None]
        if not asked:
            return {}
        found = self._one(
            f"""SELECT {", ".join(f"quantile_cont(value, {p!r}) FILTER (q = {n})" for n, p in asked)}
            FROM sample s WHERE arm AND ts BETWEEN $stage AND $now AND value IS NOT NULL
                AND (role = {EACH} OR EXISTS (FROM head h WHERE h.q = s.q AND h.ord = s.ord))""",
            {"stage": micros(window.stage), "now": now},
        )
        return {n: value for (n, _), value in zip(asked, found, strict=True) if value is not None and value < math.inf}

    def _rejected(self, start: int, now: int, unfit: Mapping[int, int]) -> tuple[int, int, list[str]]:
        """
        The numbers of malformed and of repeated records in the window, and the first of each in words.

        *unfit* counts a query's samples without a unit.
        """
        span = {"start": start, "now": now}
        inside = "ts BETWEEN $start AND $now"
        bad = [note for time, note in self._malformed if time is None or start <= time <= now]
        notes = malformed_notes(bad)
        without_unit = 0
        if unfit:
            (without_unit,) = self._one(
                f"SELECT count(DISTINCT ord) FROM sample WHERE role <> {EACH} AND unit IS NULL AND {inside}", span
            )
        for n, count in unfit.items():
            notes.append(unfit_note(self._queries[n], self._names, count))
        for n, count in self._all("SELECT q, count(*) FROM head WHERE mixed GROUP BY q ORDER BY q", {}):
            notes.append(f"{self._queries[n].name}: {count} in both arms, counted in that of the first event")
        if not self._shared:
            return len(bad) + without_unit, 0, notes
        for id_, count in self._all(
            f"""SELECT id, count(*) FROM shared WHERE NOT repeats AND {inside}
            GROUP BY id HAVING count(*) > 1 ORDER BY min(ord) LIMIT {DESCRIBED}""",
            span,
        ):
            notes.append(f"id {id_}: records with different content; {'both' if count == 2 else f'all {count}'} count")
        (repeats,) = self._one(f"SELECT count(*) FROM shared WHERE repeats AND {inside}", span)
        return len(bad) + without_unit, repeats, notes
