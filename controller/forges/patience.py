"""How long a pass waits for a forge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.errors import TransientError

BUDGET_S = 120.0  # blocks of GitHub's that name no time have lasted longer than the 60 s it documents
_BETWEEN_WRITES_S = 1.0  # https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api


@dataclass(slots=True)
class Patience:
    """
    Waits, up to `budget_s` seconds in all for one pass; `renew` begins the next pass.

    The second between two writes is not counted: that one is ours, not the forge's.
    """

    budget_s: float = BUDGET_S
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    _spent_s: float = field(default=0.0, init=False)
    _written: float = field(default=float("-inf"), init=False)

    def renew(self) -> None:
        self._spent_s = 0.0

    def pace(self) -> None:
        """Keep a second between two writes; a clock that was set back must not make it more."""
        wait_s = self._written + _BETWEEN_WRITES_S - self.clock()
        if wait_s > 0:
            self.sleep(min(wait_s, _BETWEEN_WRITES_S))
        self._written = self.clock()

    def wait(self, best_s: float, why: str, *, least_s: float | None = None) -> None:
        """
        Wait *best_s*, or all that is left where that is at least *least_s*.

        Raises:
            TransientError: the budget has less left; the message says *why*, and when to try again.
        """
        left_s = self.budget_s - self._spent_s
        if left_s < (best_s if least_s is None else least_s):
            until = datetime.fromtimestamp(self.clock() + best_s, UTC)
            raise TransientError(
                f"{why}; that takes {best_s:.0f} s, and this pass waits {left_s:.0f} s more at most: "
                f"try later, resets at {until:%Y-%m-%d %H:%M:%S} UTC"
            )
        wait_s = min(best_s, left_s)
        self._spent_s += wait_s
        self.sleep(wait_s)
