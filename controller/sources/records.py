"""
Loads JSON lines or CSV into a typed table, once: the reserved fields of a record and the attributes that queries read.

Nothing is dropped. A line that is no event becomes a row of `event` whose `kind` is NULL; records that share an id
stay there too, and are listed in `shared`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import duckdb

from controller.errors import ConfigError
from controller.model import Arm, Query
from controller.sources.csv_head import Head, is_csv

_OWN = ("id", "ts", "type", "arm")  # `user` is an attribute like any other, read where a query needs it
# RFC 3339. The zone is checked since a cast to TIMESTAMPTZ takes a time without one as UTC. LIKE is 4 times as fast.
RFC3339 = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"
NAIVE = r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"  # with `times: utc`
UNIX = r"\d{9,10}(\.\d+)?|\d{12,13}"  # with `times: unix`: seconds, or milliseconds
WHOLE = "*"  # as the product's name of `id`: a record has none, and all that is read of it identifies it


def quoted(text: str) -> str:
    """*text* as an SQL string literal: names and values come from a policy file."""
    if "\0" in text:
        raise ConfigError(f"{text!r} holds a NUL character; remove it from the policy")
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Names:
    """
    A product's own names: `fields`, `types` and `arms` map ours to theirs; what is not named keeps its name.

    `constants` are our fields that no record has since they would be the same in all; `times` is how `ts` is written.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    arms: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    times: str = "rfc3339"

    def field(self, ours: str) -> str:
        return self.fields.get(ours, ours)

    def type(self, ours: str) -> str:
        return self.types.get(ours, ours)

    def arm(self, ours: Arm) -> str:
        return self.arms.get(ours, ours)


@dataclass(frozen=True)
class Layout:
    """
    What `event` holds for a set of queries.

    `kinds` are event types: a row's `kind` is its index, -1 for any other type, NULL for a record that is no event.
    `armed` are those of which some query needs the arm, `armless` those that some query reads without one.
    `tests` are the conditions on attributes, `units` and `numbers` the attributes read as such. Columns are numbered,
    so that no attribute's name is a column's.
    """

    names: Names
    kinds: tuple[str, ...]
    armed: frozenset[str]
    armless: frozenset[str]
    tests: tuple[tuple[str, tuple[str, ...]], ...]
    units: tuple[str, ...]
    numbers: tuple[str, ...]

    @staticmethod
    def of(queries: Sequence[Query], names: Names) -> Layout:
        armed, armless = set[str](), set[str]()
        tests, units, numbers = set[tuple[str, tuple[str, ...]]](), set[str](), set[str]()
        for q in queries:
            kinds = armless if q.either_arm else armed
            kinds.add(q.event)
            for conditions in (q.where, q.good or {}, q.bad or {}, dict.fromkeys(q.needs, ())):
                tests |= set(conditions.items())
            if q.within is not None:
                kinds.add("exposure")
                units.add("user")
            elif q.unit != "event":
                units.add(q.unit)
            if q.within is None and q.field is not None:
                numbers.add(q.field)
        return Layout(
            names,
            tuple(sorted(armed | armless)),
            frozenset(armed),
            frozenset(armless),
            tuple(sorted(tests)),
            tuple(sorted(units)),
            tuple(sorted(numbers)),
        )

    def kind(self, event: str) -> int:
        return self.kinds.index(event)

    def test(self, attribute: str, values: tuple[str, ...]) -> str:
        """The column that says whether an attribute has one of the values, or, without any, is missing; never NULL."""
        return f"test_{self.tests.index((attribute, values))}"

    def unit(self, attribute: str) -> str:
        """
        The column of an attribute's hash, NULL where it is missing or empty.

        Two of a million values share a 64-bit hash once in 37 million runs.
        """
        return f"unit_{self.units.index(attribute)}"

    def number(self, attribute: str) -> str:
        """The column of an attribute as a number; infinite where it is none to use, or the event timed out."""
        return f"number_{self.numbers.index(attribute)}"

    def malformed(self) -> str:
        """SQL that holds for a row of `event` that is no event, or none for some query that reads its type."""
        return f"(kind IS NULL OR arm IS NULL AND {self._among(self.armed & self.armless)})"

    def content(self) -> str:
        """SQL of a hash of all that the queries can see of a row of `event`."""
        return f"hash({', '.join(('ts', 'kind', 'arm', *self.columns()))})"

    def columns(self) -> dict[str, str]:
        """The columns of attributes, with the SQL that reads each from a record."""
        columns = {self.test(a, values): self._test(a, values) for a, values in self.tests}
        for a in self.units:
            columns[self.unit(a)] = f"if({self._text(a)} <> '', hash({self._text(a)}), NULL)"
        lost = f"coalesce({self._json('timed_out')}, 'false') NOT IN ('false', 'null')"
        for a in self.numbers:
            columns[self.number(a)] = f"if({lost}, NULL, TRY_CAST({self._json(a)} AS DOUBLE))"
        return columns

    def json_lines(self) -> str:
        """
        SQL of the records of the JSON lines in `$files`.

        With `ignore_errors` a line that is not JSON becomes a row of NULLs, without it the load would stop.
        """
        columns = ", ".join(f"{quoted(name)}: '{kind}'" for name, kind in self._read().items())
        return f"read_ndjson($files, columns = {{{columns}}}, ignore_errors = true, hive_partitioning = false)"

    def csv(self, head: Head) -> str:
        """
        SQL of the records of the CSV in `$files`, all of whose lines are as *head*; a number is one without quotes.

        Nothing is left to DuckDB's sniffer, which passes over lines that it takes for a preamble.
        """
        columns = []
        for name, kind in self._read().items():
            value = _identifier(name) if name in head.names else "NULL"
            if kind == "JSON":
                value = f"coalesce(TRY_CAST({value} AS JSON), to_json({value}))"
            columns.append(f"CAST({value} AS {kind}) AS {_identifier(name)}")
        theirs = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in head.names)
        return f"""(SELECT {", ".join(columns)} FROM read_csv($files, auto_detect = false, header = true,
            columns = {{{theirs}}}, delim = {quoted(head.delimiter)}, quote = '"', escape = '"',
            hive_partitioning = false))"""

    def rows(self, read: str) -> str:
        """SQL of the rows of `event` for the records that *read* gives."""
        armed, armless = self._among(self.armed - self.armless), self._among(self.armless - self.armed)
        i, t, y, a = (self._own(own) for own in _OWN)
        pilot, control = (quoted(self.names.arm(arm)) for arm in Arm)
        cases = " ".join(f"WHEN {quoted(self.names.type(k))} THEN {n}" for n, k in enumerate(self.kinds))
        kept = "".join(f", {sql} AS {column}" for column, sql in self.columns().items())
        finite = "".join(  # NaN is above infinity in DuckDB's order
            f", if({n} >= 0 AND {n} < 'infinity'::DOUBLE, {n}, 'infinity'::DOUBLE) AS {n}"
            for n in map(self.number, self.numbers)
        )
        return f"""
            SELECT * REPLACE (
                CASE WHEN id <> '' AND ts IS NOT NULL AND (arm IS NOT NULL OR NOT {armed}) THEN kind END AS kind,
                if(arm IS NULL AND {armless}, true, arm) AS arm{finite})
            FROM (SELECT {i} AS id,
                {self._time(t)} AS ts,
                CAST(CASE {y} {cases} WHEN '' THEN NULL ELSE if({y} IS NULL, NULL, -1) END AS TINYINT) AS kind,
                CASE {a} WHEN {pilot} THEN true WHEN {control} THEN false END AS arm{kept}
                FROM {read})"""

    def _own(self, own: str) -> str:
        if own in self.names.constants:
            return quoted(self.names.constants[own])
        if own == "id" and self.names.field(own) == WHOLE:
            parts = (f"coalesce(CAST({_identifier(name)} AS VARCHAR), '')" for name in self._read())
            return f"concat_ws('|', {', '.join(parts)})"
        return _identifier(self.names.field(own))

    def _time(self, text: str) -> str:
        """Microseconds since the epoch, NULL where *text* is no time."""
        exact = f"""epoch_us(CASE WHEN {text} LIKE '____-__-__T__:__:__%Z' THEN TRY_CAST({text} AS TIMESTAMPTZ)
            WHEN regexp_full_match({text}, '{RFC3339}') THEN TRY_CAST(upper({text}) AS TIMESTAMPTZ) END)"""
        if self.names.times == "utc":
            naive = f"regexp_full_match({text}, '{NAIVE}')"
            return f"CASE WHEN {naive} THEN epoch_us(TRY_CAST({text} AS TIMESTAMP)) ELSE {exact} END"
        if self.names.times == "unix":
            per = f"if(regexp_full_match({text}, '\\d{{12,13}}'), 1000, 1000000)"
            micros = f"CAST(TRY_CAST({text} AS DECIMAL(20, 6)) * {per} AS BIGINT)"
            return f"CASE WHEN regexp_full_match({text}, '{UNIX}') THEN {micros} END"
        return exact

    def _among(self, kinds: frozenset[str]) -> str:
        return f"kind IN ({', '.join(str(self.kind(k)) for k in sorted(kinds))})" if kinds else "false"

    def _raw(self) -> set[str]:
        """The product's fields whose JSON type matters: "3" is no number."""
        return {self.names.field(a) for a in (*self.numbers, *(["timed_out"] if self.numbers else []))}

    def _text(self, attribute: str) -> str:
        theirs = self.names.field(attribute)
        return f"({_identifier(theirs)} ->> '$')" if theirs in self._raw() else _identifier(theirs)

    def _test(self, attribute: str, values: tuple[str, ...]) -> str:
        """
        A value's text is a string without its quotes, anything else as JSON writes it; upper and lower case are alike.

        `5xx` is any 500 to 599.
        """
        text = self._text(attribute)
        if not values:
            return f"coalesce({text}, '') = ''"
        test = f"lower({text}) IN ({', '.join(f'lower({quoted(v)})' for v in values)})"
        classes = [v[0] for v in values if re.fullmatch("[0-9][xX]{2}", v)]
        if classes:
            test += f" OR floor(TRY_CAST({text} AS DOUBLE) / 100) IN ({', '.join(classes)})"
        return f"coalesce({test}, false)"

    def _json(self, attribute: str) -> str:
        return f"CAST({_identifier(self.names.field(attribute))} AS VARCHAR)"

    def _read(self) -> Mapping[str, str]:
        """The product's fields and their DuckDB types."""
        own = (o for o in _OWN if o not in self.names.constants and self.names.field(o) != WHOLE)
        types = dict.fromkeys(map(self.names.field, (*own, *(a for a, _ in self.tests), *self.units)), "VARCHAR")
        types |= dict.fromkeys(self._raw(), "JSON")
        spelled: dict[str, str] = {}
        for name in types:
            other = spelled.setdefault(name.casefold(), name)
            if other != name:
                raise ConfigError(f"fields {other!r} and {name!r} differ only in case; spell them alike in the policy")
        return types


def load(con: duckdb.DuckDBPyConnection, layout: Layout, files: Sequence[str], *, after: int) -> None:
    """
    Append the records of *files* to `event`, which has *after* rows; its rowid is the order of the input.

    DuckDB: names of files are globs to it, hence escaped. Blank lines are skipped. CREATE AS is 3 times as fast as
    INSERT.
    """
    for table, group in groupby(files, key=lambda name: name if is_csv(name) else None):
        read = layout.json_lines() if table is None else layout.csv(Head.of(table))
        into = "INSERT INTO event" if after else "CREATE OR REPLACE TABLE event AS"
        con.execute(f"{into} {layout.rows(read)}", {"files": [glob.escape(path) for path in group]})
        (after,) = con.execute("SELECT count(*) FROM event").fetchone() or (0,)


def create_shared(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE OR REPLACE TABLE shared (ord BIGINT, ts BIGINT, id VARCHAR, repeats BOOLEAN)")


def find_shared(con: duckdb.DuckDBPyConnection, layout: Layout, *, after: int) -> bool:
    """
    List in `shared` the events that share an id, some from *after* on; those `repeats` whose content came before.

    Returns whether there are any.

    As the time is part of the content, what comes later never changes which of two events repeats the other.
    """
    good = "event WHERE kind IS NOT NULL"
    fresh = f"AND hash(id) IN (SELECT hash(id) FROM {good} AND rowid >= {after})" if after else ""
    hashes = con.execute(f"SELECT hash(id) FROM {good} {fresh} GROUP BY ALL HAVING count(*) > 1").fetchall()
    if not hashes:
        return False
    con.execute(
        f"""
        INSERT INTO shared
        SELECT rowid, ts, id, row_number() OVER (PARTITION BY id, {layout.content()} ORDER BY rowid) > 1
        FROM {good} AND hash(id) IN (SELECT unnest($hashes))
        QUALIFY rowid NOT IN (SELECT ord FROM shared)""",
        {"hashes": [h for (h,) in hashes]},
    )
    return True
