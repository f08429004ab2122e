"""
Tells each piece of news once, across crashes and passes that run at once. What was told is kept in Git, in refs
`refs/rollout/told/*`; why so, and what cannot be promised, is in docs/adr/0009.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from controller.errors import ConfigError, PilotError
from controller.model import Announcement, News
from controller.notify import channels
from controller.policy.operations import Channel
from controller.ports import RefUpdate, Repository

LEASE = timedelta(minutes=5)  # a claim that is older was left by a process that died
KEPT = timedelta(days=14)  # what was told longer ago is forgotten
_REFS = "refs/rollout/told/"
_FILE = "told.json"
_AT_ANY_RATE = (News.ROLLBACK, News.INCIDENT)  # twice is better than never
_REPEAT = "(This may be a repeat: it was not recorded whether it was told before.)"


@dataclass(frozen=True, slots=True)
class Record:
    """
    What has become of one piece of news.

    `claim` is of the process that is telling it, empty when none is; `at` is when that began. `channels` maps each that
    was tried to "" where it took the news, else to why not; `tries` counts.
    """

    key: str
    at: datetime
    claim: str = ""
    tries: int = 0
    channels: Mapping[str, str] = field(default_factory=dict)

    def due(self, now: datetime) -> bool:
        """Whether it is time to try again: at the next pass, then ever more rarely, at most 5 hours later."""
        wait = LEASE if self.claim else LEASE * (2 ** min(self.tries - 1, 6) - 1)
        return now - self.at >= wait


class Teller:
    """
    Implements `controller.ports.Notifier` on the *named* channels of a policy.

    Their addresses are read from *environment*. *send* takes an address and the news, and returns why it failed.
    """

    def __init__(
        self,
        repository: Repository,
        named: Mapping[str, Channel],
        *,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
        send: Callable[[str, Announcement], str | None] = channels.send,
    ) -> None:
        self._repository, self._named, self._environment = repository, named, environment
        self._now, self._send = now, send

    def problems(self) -> list[str]:
        """What keeps channels from being told, as far as their addresses show; nothing is sent."""
        found = [(name, self._address(name)) for name in self._named]
        wrong = [f"channel {name} {why}" for name, address in found if address and (why := channels.problem(address))]
        return [*(self._unset(name) for name, address in found if not address), *wrong]

    def knows(self, kind: News, *, key: str) -> bool:
        """Whether *key* was told wherever it can be, so that nobody need prepare it."""
        record = self._record(key)[1]
        told = record.channels if record else {}
        return all(told.get(name) == "" for name in self._wanting(kind) if self._address(name))

    def tell(self, news: Announcement, *, key: str) -> list[str]:
        wanting = self._wanting(news.kind)
        trouble = [self._unset(name) for name in wanting if not self._address(name)]
        reachable = [name for name in wanting if self._address(name)]
        try:
            return trouble + (self._tell(news, key, reachable) if reachable else [])
        except PilotError as error:
            unrecorded = f"{news.title!r}: what was told could not be read or written: {error}"
            if news.kind not in _AT_ANY_RATE:
                return [*trouble, f"not told, {unrecorded}"]
            failed = self._sent(news, reachable)
            return [*trouble, *_words(news, failed), f"told without a record, may come again, {unrecorded}"]

    def _tell(self, news: Announcement, key: str, reachable: list[str]) -> list[str]:
        now = self._now()
        old, before = self._record(key)
        told = before.channels if before else {}
        pending = [name for name in reachable if told.get(name) != ""]
        if not pending or (before is not None and not before.due(now)):
            return _words(news, {name: told.get(name, "") for name in pending})
        claim = Record(key, now, os.urandom(8).hex(), before.tries if before else 0, told)
        claimed = self._write(key, old, claim)
        if claimed is None:
            return []  # another pass tells it
        if before is not None and before.claim:
            news = replace(news, text=f"{news.text}\n{_REPEAT}")
        tried = self._sent(news, pending)
        done = replace(claim, claim="", tries=claim.tries + 1, channels={**told, **tried})
        try:
            self._write(key, claimed, done)
            self._forget(now)
        except PilotError as error:
            return [*_words(news, tried), f"{news.title!r} was told, which could not be recorded: {error}"]
        return _words(news, tried)

    def _sent(self, news: Announcement, names: list[str]) -> dict[str, str]:
        return {name: self._send(self._address(name), news) or "" for name in names}

    def _wanting(self, kind: News) -> list[str]:
        return [name for name, channel in self._named.items() if channel.only is None or kind in channel.only]

    def _address(self, name: str) -> str:
        return self._environment.get(self._named[name].url_from, "").strip()

    def _unset(self, name: str) -> str:
        return (
            f"channel {name} cannot be told: {self._named[name].url_from} is not set; put the channel's address there"
        )

    # ------------------------------------------------------------ the records

    def _record(self, key: str) -> tuple[str | None, Record | None]:
        """The commit that holds the record of *key*, and the record; None where nothing was told, or nothing sense."""
        oid = self._repository.refs(_REFS).get(_ref(key))
        return oid, self._read(oid) if oid else None

    def _read(self, oid: str) -> Record | None:
        try:
            fields = json.loads(self._repository.read(oid, _FILE) or b"")
            return Record(**{**fields, "at": datetime.fromisoformat(fields["at"])})
        except (ConfigError, ValueError, TypeError, KeyError):
            return None

    def _write(self, key: str, old: str | None, record: Record) -> str | None:
        """Put *record* in the place of the commit *old*; None where another process was first."""
        parent = old or self._repository.branches(self._repository.base)[self._repository.base]
        data = json.dumps({**asdict(record), "at": record.at.isoformat()}, sort_keys=True).encode()
        commit = self._repository.commit(parent, {_FILE: data}, f"told: {key}")
        return commit if self._repository.push([RefUpdate(_ref(key), old, commit)]) else None

    def _forget(self, now: datetime) -> None:
        refs = self._repository.refs(_REFS)
        records = {ref: self._read(oid) for ref, oid in refs.items()}
        old = [ref for ref, record in records.items() if record is None or now - record.at > KEPT]
        self._repository.push([RefUpdate(ref, refs[ref], None) for ref in old])


def _ref(key: str) -> str:
    """A name without the key's own slashes: git has no `a/b` beside `a`."""
    return _REFS + hashlib.sha256(key.encode()).hexdigest()[:32]


def _words(news: Announcement, tried: Mapping[str, str]) -> list[str]:
    return [f"channel {name} could not be told {news.title!r}: {why}" for name, why in tried.items() if why]
