"""
What a source would have answered at each of many instants, from one count of a recording.

Each item is counted together with the first pass that sees it, so that a pass knows nothing of what came after it: what
an event says never depends on the clock, only whether it has come (`samples`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from heapq import heappop, heappush, heappushpop
from itertools import accumulate
from typing import Any

import duckdb

from controller.model import Bucket, Query, Recorded, Series, Window
from controller.sources import samples
from controller.sources.instants import instant, micros
from controller.sources.malformed import malformed_notes, unfit_note
from controller.sources.records import Names
from controller.sources.samples import EACH, EXAMPLES, EXPOSED

ByPass = dict[int, list[tuple[Any, ...]]]


class Replay:
    """
    What (`ports.Counts`) answers at *passes*, in their order, as one would whose files ended there.

    Of notes it has those on malformed records. Samples must be those of *queries* since *start*.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        names: Names,
        queries: Sequence[Query],
        malformed: Sequence[tuple[int | None, str | None]],
        *,
        start: datetime,
        passes: Sequence[datetime],
    ) -> None:
        self._names, self._queries = names, tuple(queries)
        self._passes = [micros(at) for at in passes]
        self._start = micros(start)
        self._bad = [(bisect_left(self._passes, at or 0), note) for at, note in malformed
                     if at is None or self._start <= at]  # fmt: skip
        self._count(con)
        self._at, self._stage = -1, -1
        self._recorded = Recorded({})
        self._series = [_Growing(q) for q in queries]
        self._unfit: dict[int, int] = {}

    def _count(self, con: duckdb.DuckDBPyConnection) -> None:
        span = {"start": self._start}
        con.execute("CREATE OR REPLACE TEMP TABLE pass (k BIGINT, t BIGINT)")
        con.execute("INSERT INTO pass SELECT unnest(range(len($t))), unnest($t)", {"t": self._passes})
        heard = _by_pass(con, "max(ts)", "event WHERE kind IS NOT NULL AND ts >= $start", span)
        self._last = _running(heard, len(self._passes))
        con.execute("CREATE OR REPLACE TEMP TABLE hearing (k BIGINT, t BIGINT)")
        known = [self._start if at is None else at for at in self._last]
        first = {t: k for k, t in reversed(list(enumerate(known)))}
        con.execute("INSERT INTO hearing SELECT unnest($k), unnest($t)", {"k": [*first.values()], "t": [*first]})
        self._tally(con, {"now": self._passes[-1], "heard": known[-1], "final": 0, "since": 0})
        self._newest = _by_pass(
            con, "max(ts)", f"sample WHERE role <> {EXPOSED} AND (role = {EACH} OR unit IS NOT NULL)", {}, "q"
        )
        lost = f"sample WHERE role <> {EACH} AND unit IS NULL"
        self._without = _by_pass(con, "count(*)", lost, {}, "q")
        self._lost = _sums(_by_pass(con, "count(DISTINCT ord)", lost, {}), len(self._passes))
        repeats = _by_pass(con, "count(*)", "shared WHERE repeats AND ts >= $start", span)
        self._repeats = _sums(repeats, len(self._passes))

    def _tally(self, con: duckdb.DuckDBPyConnection, span: Mapping[str, int]) -> None:
        def those(indexes: Sequence[int]) -> str:
            return f"q IN ({', '.join(map(str, indexes)) or -1})"

        each = list(enumerate(self._queries))
        delayed = those([n for n, q in each if q.within is not None])
        compared = those([n for n, q in each if q.control])
        literal = f"CAST({[q.first for q in self._queries]} AS BIGINT[])[q + 1]"
        con.execute(
            f"""CREATE OR REPLACE TEMP TABLE seen AS
            WITH due AS (SELECT * FROM ({samples.counted(self._queries)}) counted WHERE arm OR {compared})
            SELECT due.*, k FROM due ASOF JOIN pass ON due <= t WHERE NOT {delayed}
            UNION ALL SELECT due.*, k FROM due ASOF JOIN hearing ON due <= t WHERE {delayed}""",
            span,
        )
        self._buckets = _grouped(con.execute(
            """SELECT k, q, arm, bucket, count(*), count(*) FILTER (bad), count(*) FILTER (worse)
            FROM seen GROUP BY ALL ORDER BY ALL"""
        ).fetchall())  # fmt: skip
        numbered = "row_number() OVER (PARTITION BY q ORDER BY due, ord)"
        self._first = _grouped(con.execute(
            f"SELECT k, q, bad FROM seen WHERE arm QUALIFY {numbered} <= {literal} ORDER BY q, due, ord"
        ).fetchall())  # fmt: skip
        self._examples = _grouped(con.execute(
            f"""SELECT k, q, id FROM (SELECT k, q, due, ord FROM seen WHERE arm AND bad
                QUALIFY {numbered} <= {EXAMPLES}) shown JOIN event ON event.rowid = ord ORDER BY q, due, ord"""
        ).fetchall())  # fmt: skip
        ranked = those([n for n, q in each if q.quantile is not None])
        self._values = con.execute(
            f"""SELECT q, ts, value FROM sample s WHERE {ranked} AND arm AND value IS NOT NULL
                AND (role = {EACH} OR EXISTS (FROM head h WHERE h.q = s.q AND h.ord = s.ord)) ORDER BY ts"""
        ).fetchall()
        self._times = [row[1] for row in self._values]

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        """
        The answer at `window.now`, which is one of the passes, and none before the last asked.

        Raises:
            ValueError: it is asked otherwise than it was counted.
        """
        now, stage = micros(window.now), micros(window.stage)
        at = bisect_left(self._passes, now)
        if tuple(queries) != self._queries or at < self._at or self._passes[at : at + 1] != [now]:
            raise ValueError("a replay answers its own queries, at its passes in their order")
        since = self._passes[self._at] if self._at >= 0 else -1
        if stage != self._stage:  # estimates count from the stage
            for series in self._series:
                series.quantile.clear()
            since = stage - 1
        for k in range(self._at + 1, at + 1):
            self._grow(k)
        for q, _, value in self._values[bisect_right(self._times, since) : bisect_right(self._times, now)]:
            self._series[q].quantile.add(value)
        self._at, self._stage = at, stage
        return self._answer(at)

    def _grow(self, k: int) -> None:
        for _, q, arm, *bucket in self._buckets.get(k, ()):
            self._series[q].add(arm, Bucket(*bucket))
        for _, q, bad in self._first.get(k, ()):
            self._series[q].first.append(bool(bad))
        for _, q, id_ in self._examples.get(k, ()):
            self._series[q].examples.append(id_)
        for _, newest, q in self._newest.get(k, ()):
            self._series[q].newest = max(self._series[q].newest or newest, newest)
        for _, count, q in self._without.get(k, ()):
            self._unfit[q] = self._unfit.get(q, 0) + count

    def _answer(self, at: int) -> Recorded:
        bad = [note for k, note in self._bad if k <= at]
        unfit = (unfit_note(self._queries[q], self._names, count) for q, count in sorted(self._unfit.items()))
        return Recorded(
            {q.name: series.answer() for q, series in zip(self._queries, self._series, strict=True)},
            malformed=len(bad) + self._lost[at],
            duplicates=self._repeats[at],
            notes=(*malformed_notes(bad), *unfit),
            last=instant(self._last[at]),
        )


class _Growing:
    """One query's series up to the pass."""

    def __init__(self, query: Query) -> None:
        self.arms: dict[bool, list[Bucket]] = {True: [], False: []}
        self.first: list[bool] = []
        self.examples: list[str] = []
        self.newest: int | None = None
        self.quantile = Quantile(query.quantile)

    def add(self, arm: bool, bucket: Bucket) -> None:
        """Merge what a pass sees into a bucket; a delayed unit's may be an older one."""
        buckets = self.arms[arm]
        place = len(buckets)
        while place and buckets[place - 1].end >= bucket.end:
            place -= 1
        if place < len(buckets) and buckets[place].end == bucket.end:
            old = buckets[place]
            buckets[place] = Bucket(old.end, old.n + bucket.n, old.bad + bucket.bad, old.worse + bucket.worse)
        else:
            buckets.insert(place, bucket)

    def answer(self) -> Series:
        return Series(
            pilot=tuple(self.arms[True]),
            control=tuple(self.arms[False]),
            estimate=self.quantile.value(),
            first=tuple(self.first),
            last=instant(self.newest),
            examples=tuple(self.examples),
        )


class Quantile:
    """
    A quantile of numbers that come one by one, interpolated linearly: the greatest of the lower ones, the least of the
    others, each at the root of a heap. A number costs O(log n).
    """

    def __init__(self, p: float | None) -> None:
        self._p = p
        self.clear()

    def clear(self) -> None:
        self._low: list[float] = []  # negated
        self._high: list[float] = []

    def add(self, value: float) -> None:
        assert self._p is not None
        heappush(self._high, -heappushpop(self._low, -value))
        if len(self._low) <= math.floor((len(self._low) + len(self._high) - 1) * self._p):
            heappush(self._low, -heappop(self._high))

    def value(self) -> float | None:
        """The quantile; None where there is none, or it falls on or next to an infinite number."""
        if self._p is None or not self._low:
            return None
        rank = (len(self._low) + len(self._high) - 1) * self._p
        part = rank - math.floor(rank)
        low = -self._low[0]
        high = self._high[0] if part else low
        found = low * (1 - part) + high * part
        return found if found < math.inf else None


def _grouped(rows: Sequence[tuple[Any, ...]]) -> ByPass:
    """Rows by the pass that sees them, which they begin with."""
    found: ByPass = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _by_pass(con: duckdb.DuckDBPyConnection, what: str, rows: str, span: Mapping[str, int], *by: str) -> ByPass:
    """*what* of the *rows* that each pass sees first, grouped *by* more."""
    columns = ", ".join(("k", what, *by))
    return _grouped(con.execute(
        f"SELECT {columns} FROM (SELECT * FROM {rows}) found ASOF JOIN pass ON found.ts <= t GROUP BY ALL", span
    ).fetchall())  # fmt: skip


def _running(newest: ByPass, passes: int) -> list[int | None]:
    """The newest so far at each pass."""
    found: list[int | None] = []
    for k in range(passes):
        found.append(newest[k][0][1] if k in newest else found[-1] if found else None)
    return found


def _sums(counts: ByPass, passes: int) -> list[int]:
    """The sum so far at each pass."""
    return list(accumulate(counts[k][0][1] if k in counts else 0 for k in range(passes)))
