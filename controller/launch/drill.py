"""
A drill of the kill switch, in the stack that goes first: it is pulled, seen to work, and taken back.

What is declared there does not change. Once the stop has ended, `pulumi up --refresh` brings it all back, and the
preflight's line on the deployment holds the launch until it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from controller.aws.breakglass import Act
from controller.model import CheckResult, Intake, Live, Unreadable

LOOK = timedelta(seconds=5)
_LONGEST = timedelta(minutes=10)  # a deployment of ECS takes some


def drill(
    pull: Iterable[Act],
    look: Callable[[], Live | Unreadable],
    end: Callable[[], Act],
    *,
    now: Callable[[], datetime],
    wait: Callable[[timedelta], None],
) -> Iterator[CheckResult]:
    """*pull* the switch, *look* until nobody is in and the intake is paused, and *end* the stop in any case."""
    start = now()
    for act in pull:
        yield CheckResult("Pulled", act.error is None, f"{act.words}: {act.error}" if act.error else act.words, 0.0)
    while (missing := _missing(look())) is not None and now() - start < _LONGEST:
        wait(LOOK)
    took = (now() - start).total_seconds()
    act = end()
    words = f"{act.words}: {act.error}" if act.error else act.words
    yield CheckResult("Stop ended", act.error is None, words, 0.0)
    seen = f"0 % live and the intake paused after {took:.0f} s" if missing is None else f"after {took:.0f} s {missing}"
    yield CheckResult("Worked", missing is None, seen, took)


def _missing(live: Live | Unreadable) -> str | None:
    """What of a kill is not so yet."""
    if isinstance(live, Unreadable):
        return f"live state unknown: {live.reason}"
    if live.percent:
        return f"{live.percent} % are in still"
    return None if live.intake is Intake.PAUSED else f"the intake is {live.intake or 'not told'}"
