"""
Turns events into samples: one row for each event that a query reads, judged when it is loaded.

What a query says of an event does not depend on the clock, and neither does which event of a unit is the first after
the window's start. So both are settled here, and a pass only selects by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import duckdb

from controller.model import Query
from controller.sources.records import Layout

EXAMPLES = 3  # bad units of an answer that are named
_US = timedelta(microseconds=1)
# What an event is to a query: a unit; one of a unit's, of which the first counts, or all; an exposure, one of a user's;
# or what an exposure waits for.
EACH, FIRST, EXPOSED, OUTCOME, SHARED = range(5)


@dataclass(frozen=True)
class _Reading:
    """How a query reads one type of event, in SQL."""

    q: int
    kind: int
    role: int
    where: str = "true"
    unit: str = "NULL"
    bad: str = "false"
    worse: str = "false"
    value: str = "NULL"


def define(con: duckdb.DuckDBPyConnection, layout: Layout, queries: Sequence[Query], start: int) -> None:
    """
    Say how the events since *start*, in microseconds, are read, and judge those that are loaded.

    `sample`: `ord` is the event's row, `unit` NULL where the query cannot count it. `head`: the first sample of each
    unit, `mixed` where others of it are in the other arm.
    """
    readings = [r for n, q in enumerate(queries) for r in _readings(layout, n, q)]
    table = ", ".join(f"({n}, {r.q}, {r.kind}, {r.role})" for n, r in enumerate(readings))

    def by_reading(expressions: Iterable[str]) -> str:
        # few expressions differ
        chosen: dict[str, list[str]] = {}
        for n, sql in enumerate(expressions):
            chosen.setdefault(sql, []).append(str(n))
        cases = [f"WHEN n IN ({', '.join(ns)}) THEN {sql}" for sql, ns in chosen.items()]
        return f"CASE {' '.join(cases)} END"

    con.execute(f"""
        CREATE OR REPLACE TEMP VIEW judged AS
        SELECT CAST(q AS UTINYINT) AS q, CAST(role AS UTINYINT) AS role, event.rowid AS ord, ts,
            coalesce(event.arm, true) AS arm,
            CAST({by_reading(r.unit for r in readings)} AS UBIGINT) AS unit,
            CAST({by_reading(r.bad for r in readings)} AS BOOLEAN) AS bad,
            CAST({by_reading(r.worse for r in readings)} AS BOOLEAN) AS worse,
            CAST({by_reading(r.value for r in readings)} AS DOUBLE) AS value
        FROM event JOIN (VALUES {table}) reading (n, q, kind, role) ON event.kind = reading.kind
        ANTI JOIN (FROM shared WHERE repeats) again ON again.ord = event.rowid
        WHERE ts >= {start} AND {by_reading(r.where for r in readings)}""")
    con.execute("CREATE OR REPLACE TABLE sample AS FROM judged")
    con.execute(f"CREATE OR REPLACE TABLE head AS {_heads(after=0)}")


def append(con: duckdb.DuckDBPyConnection, after: int) -> None:
    """Add the samples of the rows of `event` from *after* on; of a unit known already, the earlier event stays."""
    con.execute(f"INSERT INTO sample FROM judged WHERE ord >= {after}")
    con.execute(f"""
        MERGE INTO head h USING ({_heads(after)}) f ON h.q = f.q AND h.unit = f.unit
        WHEN MATCHED AND f.ts < h.ts THEN UPDATE SET
            ts = f.ts, ord = f.ord, arm = f.arm, bad = f.bad, worse = f.worse,
            mixed = h.mixed OR f.mixed OR h.arm <> f.arm
        WHEN MATCHED AND NOT h.mixed AND (f.mixed OR h.arm <> f.arm) THEN UPDATE SET mixed = true
        WHEN NOT MATCHED THEN INSERT""")


def _heads(after: int) -> str:
    """
    The first sample of each unit among the rows from *after* on: by time, then in order of the input.

    That order, and what is wanted of the sample, are packed into one number: twice as fast as the least struct.
    """
    low = "(ord * 8 + if(arm, 4, 0) + if(bad, 2, 0) + if(worse, 1, 0))"
    return f"""
        SELECT q, unit, ts, low >> 3 AS ord, low & 4 <> 0 AS arm, low & 2 <> 0 AS bad, low & 1 <> 0 AS worse, mixed
        FROM (SELECT *, CAST(least - CAST(ts AS HUGEINT) * {1 << 60} AS BIGINT) AS low FROM (
            SELECT q, unit, min(ts) AS ts, min(CAST(ts AS HUGEINT) * {1 << 60} + {low}) AS least,
                bool_or(arm) <> bool_and(arm) AS mixed
            FROM sample WHERE role IN ({FIRST}, {EXPOSED}) AND unit IS NOT NULL AND ord >= {after} GROUP BY q, unit))"""


def counted(queries: Sequence[Query]) -> str:
    """
    The rows q, ord, due, arm, bad, worse, bucket of what counts by $now, in the buckets that end after $final. Bad and
    worse are shares: 0 or 1 but of what counts by its mean.

    $since are microseconds, not later than the start of those buckets. An exposure counts when it is as old as its
    query waits and something has been heard since ($heard is the newest event): it is bad unless an outcome followed in
    that time, and a source that fell silent says nothing of that.
    """
    delayed = f"q IN ({', '.join([str(n) for n, q in enumerate(queries) if q.within is not None]) or -1})"
    width = f"CAST({[q.resolution for q in queries]} AS BIGINT[])[q + 1]"
    wait = f"CAST({[(q.within or timedelta(0)) // _US for q in queries]} AS BIGINT[])[q + 1]"
    every = f"CAST({[(q.every or timedelta(seconds=1)) // _US for q in queries]} AS BIGINT[])[q + 1]"
    return f"""
        SELECT *, (due // (width * 1000000) + 1) * width AS bucket
        FROM (SELECT *, {width} AS width FROM (
            SELECT q, ord, ts AS due, arm, bad::DOUBLE AS bad, worse::DOUBLE AS worse FROM sample
            WHERE role = {EACH} AND ts BETWEEN $since AND $now
            UNION ALL
            SELECT q, ord, ts, arm, bad, worse FROM head WHERE NOT {delayed} AND ts BETWEEN $since AND $now
            UNION ALL
            SELECT q, min(ord), (min(ts) // {every} + 1) * {every} AS due, arm, avg(bad::INT), avg(worse::INT)
            FROM sample WHERE role = {SHARED} AND unit IS NOT NULL AND ts BETWEEN $since - {every} AND $now
            GROUP BY q, unit, arm HAVING due BETWEEN $since AND $now
            UNION ALL
            SELECT *, missed FROM (
                SELECT h.q, min(h.ord), min(h.due), bool_or(h.arm), NOT bool_or(o.ts <= h.due) IS true AS missed
                FROM (SELECT *, ts + {wait} AS due FROM head WHERE {delayed} AND due BETWEEN $since AND $heard) h
                LEFT JOIN (SELECT q, unit, ts FROM sample WHERE role = {OUTCOME} AND unit IS NOT NULL) o
                    ON h.q = o.q AND h.unit = o.unit AND h.ts <= o.ts
                GROUP BY h.q, h.unit)))
        WHERE bucket > $final"""


def _readings(layout: Layout, n: int, q: Query) -> list[_Reading]:
    kind, where = layout.kind(q.event), _matches(layout, q.where)
    has_arm = "true" if q.either_arm else "event.arm IS NOT NULL"
    where = f"({where} AND {has_arm})"
    if q.within is not None:
        unit = layout.unit("user")
        return [
            _Reading(n, layout.kind("exposure"), EXPOSED, has_arm, unit),
            _Reading(n, kind, OUTCOME, where, unit),
        ]
    role, unit, value = EACH, "NULL", "NULL"
    if q.unit != "event":
        role, unit = SHARED if q.mean else FIRST, layout.unit(q.unit)
        if q.every:
            unit = f"if({unit} IS NULL, NULL, hash({unit}, ts // {q.every // _US}))"
    if q.field is not None:
        value = layout.number(q.field)
        bad, worse = (_beyond(value, bound) for bound in (q.above, q.above_warning))
    else:
        bad = worse = _rate(layout, q)
    return [_Reading(n, kind, role, where, unit, bad, worse, value)]


def _rate(layout: Layout, q: Query) -> str:
    bad = _matches(layout, q.bad) if q.bad else "false"
    bad = " OR ".join([bad, *(layout.test(attribute, ()) for attribute in q.needs)])
    return f"({bad} OR NOT {_matches(layout, q.good)})" if q.good else f"({bad})"


def _beyond(value: str, bound: float | None) -> str:
    lost = f"{value} = 'infinity'::DOUBLE"
    return f"({lost})" if bound is None else f"({lost} OR {value} > {float(bound)!r}::DOUBLE)"


def _matches(layout: Layout, conditions: Mapping[str, tuple[str, ...]]) -> str:
    return f"({' AND '.join(layout.test(*condition) for condition in conditions.items()) or 'true'})"
