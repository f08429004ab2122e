"""
Simulated users of the app, and the events that they leave. Everything here is made up; the seed decides all of it.

Sessions arrive by a Poisson process with a daily rhythm. A user falls into the pilot by a hash of the name, as an app
that reads `PILOT_ROLLOUT_PCT` would do it, so a raised percent keeps those who were in it.
"""

from __future__ import annotations

import bisect
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

DAY_RHYTHM = (1,) * 7 + (5,) + (16,) * 10 + (4,) * 3 + (2,) * 3  # weight of each hour, UTC


@dataclass(frozen=True, slots=True)
class Behaviour:
    """
    What a user of one arm meets: probabilities, and the median and spread of the time to value in seconds.

    No run fails where all is well: the runbook's rule on the first ten packets is literal, and would roll back one
    healthy launch in a hundred at a true rate of 0.1 %.
    """

    granted: float = 0.92
    activated: float = 0.48
    server_error: float = 0.003
    login_failed: float = 0.002
    run_failed: float = 0.0
    ttv_median_s: float = 1.2
    ttv_sigma: float = 0.7  # of the logarithm: p90 is 2.9 s
    ttv_timed_out: float = 0.002


HEALTHY = Behaviour()


@dataclass(frozen=True, slots=True)
class App:
    """What runs while users come: the live percent and flags."""

    percent: int
    flags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Users:
    """
    A stream of events in order of time. `behaviour` gives what the pilot's users meet at an instant; the control arm's
    are always healthy.
    """

    seed: str
    sessions_a_day: float
    behaviour: Callable[[datetime, App], Behaviour]
    returning: float = 0.3
    _random: random.Random = field(init=False)
    _names: int = 0
    _serial: int = 0
    _packets: int = 0
    _later: list[tuple[datetime, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def between(self, start: datetime, end: datetime, app: App) -> Iterator[str]:
        """The events of [start, end) as JSON lines, in order of time; what a session leaves later comes later."""
        at = start
        while True:
            rate = self.sessions_a_day * DAY_RHYTHM[at.hour] / sum(DAY_RHYTHM) / 3600
            at += timedelta(seconds=self._random.expovariate(rate))
            if at >= end:
                break
            self._session(at, app)
        self._later.sort()
        due = bisect.bisect_left(self._later, (end,))
        for _, _, line in self._later[:due]:
            yield line
        del self._later[:due]

    def _session(self, at: datetime, app: App) -> None:
        returns = self._names > 20 and self._random.random() < self.returning
        if not returns:
            self._names += 1
        user = f"u{self._random.randint(1, self._names) if returns else self._names}"
        pilot = zlib.crc32(user.encode()) % 100 < app.percent
        meets = self.behaviour(at, app) if pilot else HEALTHY
        who = f'"user":"{user}","arm":"{"pilot" if pilot else "control"}"'
        chance = self._random.random

        def leave(after_s: float, kind: str, attributes: str = "") -> None:
            """*attributes* are JSON members; written out by hand, since there are hundreds of thousands."""
            self._put(at + timedelta(seconds=after_s), kind, f"{who},{attributes}" if attributes else who)

        leave(0, "exposure")
        leave(1, "login", f'"outcome":"{"failed" if chance() < meets.login_failed else "ok"}"')
        for _ in range(2):
            leave(chance() * 300, "api_call", f'"status":{503 if chance() < meets.server_error else 200}')
        if chance() < meets.ttv_timed_out:
            leave(30, "ttv", '"timed_out":true')
        else:
            seconds = meets.ttv_median_s * self._random.lognormvariate(0, meets.ttv_sigma)
            leave(seconds, "ttv", f'"seconds":{seconds:.3f}')
        if not returns:
            leave(20, "mic_prompt", f'"outcome":"{"granted" if chance() < meets.granted else "denied"}"')
        if chance() < meets.activated:
            leave(120 + chance() * 1200, "activation")
        if chance() < 0.1:
            self._packets += 1
            self._work(leave, f"p{self._packets}", meets)

    def _work(self, leave: Callable[..., None], packet: str, meets: Behaviour) -> None:
        failed = self._random.random() < meets.run_failed
        leave(60, "upload", f'"outcome":"ok","packet":"{packet}"')
        leave(180, "run", f'"outcome":"{"failed" if failed else "ok"}","packet":"{packet}"')
        if not failed:
            leave(240, "citation_check", f'"outcome":"ok","packet":"{packet}"')
            leave(300, "output", f'"packet":"{packet}","url":"https://app.ontogra.com/outputs/{packet}"')
            leave(600, "legal_review", f'"severity":"none","packet":"{packet}"')

    def report(self, at: datetime, kind: str, **attributes: object) -> None:
        """Add one event that a person causes, such as a legal reviewer's finding."""
        self._put(at, kind, json.dumps({"arm": "pilot", **attributes})[1:-1])

    def _put(self, at: datetime, kind: str, members: str) -> None:
        self._serial += 1
        stamp = at.isoformat("T", "milliseconds")[:-6]  # without its +00:00
        line = f'{{"id":"e{self._serial}","ts":"{stamp}Z","type":"{kind}",{members}}}'
        self._later.append((at, self._serial, line))
