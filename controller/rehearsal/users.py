"""
Simulated users of the app, and the events that they leave. Everything here is made up; the seed decides all of it.

Sessions arrive by a Poisson process with a daily rhythm. A user falls into the pilot by a hash of the name, as an app
that reads `PILOT_ROLLOUT_PCT` would do it, so a raised percent keeps those who were in it.
"""

from __future__ import annotations

import heapq
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

DAY_RHYTHM = (1,) * 7 + (4,) + (9,) * 10 + (4,) * 3 + (2,) * 3  # weight of each hour, UTC


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a user of one arm meets: probabilities, and the median and spread of the time to value in seconds."""

    granted: float = 0.92
    activated: float = 0.48
    server_error: float = 0.003
    login_failed: float = 0.002
    run_failed: float = 0.001
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
    _later: list[tuple[datetime, int, dict[str, object]]] = field(default_factory=list)

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
        while self._later and self._later[0][0] < end:
            _, _, event = heapq.heappop(self._later)
            yield json.dumps(event, separators=(",", ":"))

    def _session(self, at: datetime, app: App) -> None:
        returns = self._names > 20 and self._random.random() < self.returning
        if not returns:
            self._names += 1
        user = f"u{self._random.randint(1, self._names) if returns else self._names}"
        pilot = zlib.crc32(user.encode()) % 100 < app.percent
        meets = self.behaviour(at, app) if pilot else HEALTHY
        base = {"user": user, "arm": "pilot" if pilot else "control"}
        chance = self._random.random

        def leave(after_s: float, kind: str, /, **attributes: object) -> None:
            self._serial += 1
            when = at + timedelta(seconds=after_s)
            stamp = when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            event = {"id": f"e{self._serial}", "ts": stamp, "type": kind, **base, **attributes}
            heapq.heappush(self._later, (when, self._serial, event))

        leave(0, "exposure")
        leave(1, "login", outcome="failed" if chance() < meets.login_failed else "ok")
        for _ in range(2):
            leave(chance() * 300, "api_call", status=503 if chance() < meets.server_error else 200)
        if chance() < meets.ttv_timed_out:
            leave(30, "ttv", timed_out=True)
        else:
            seconds = meets.ttv_median_s * self._random.lognormvariate(0, meets.ttv_sigma)
            leave(seconds, "ttv", seconds=round(seconds, 3))
        if not returns:
            granted = chance() < meets.granted
            leave(20, "mic_prompt", outcome="granted" if granted else "denied")
        if chance() < meets.activated:
            leave(120 + chance() * 1200, "activation")
        if chance() < 0.1:
            self._packets += 1
            self._work(leave, f"p{self._packets}", meets)

    def _work(self, leave: Callable[..., None], packet: str, meets: Behaviour) -> None:
        failed = self._random.random() < meets.run_failed
        leave(60, "upload", outcome="ok", packet=packet)
        leave(180, "run", outcome="failed" if failed else "ok", packet=packet)
        if not failed:
            leave(240, "citation_check", outcome="ok", packet=packet)
            leave(600, "legal_review", severity="none", packet=packet)

    def report(self, at: datetime, kind: str, **attributes: object) -> None:
        """One event that a person causes, such as a legal reviewer's finding."""
        self._serial += 1
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {"id": f"e{self._serial}", "ts": stamp, "type": kind, "arm": "pilot", **attributes}
        heapq.heappush(self._later, (at, self._serial, event))
