"""
The side effects of a pass, one step each: to be ended at, failed at, or interleaved with another pass at any of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from controller import observe
from controller.errors import TransientError
from controller.ports import Forge

EFFECTS = ("push", "open", "edit", "close", "comment", "check", "merge")
READS = ("pull_requests",)
Fault = Literal["die before", "die after", "fail before", "answer lost"]
FAULTS: tuple[Fault, ...] = ("die before", "die after", "fail before", "answer lost")
UNTOLD: tuple[Fault, ...] = ("die after",)  # the write took effect, and nobody here knows


class KilledError(BaseException):
    """The process ends here: no handler for errors may go on."""


class _Proxy:
    """Passes everything on; calls in *names* go through *step* first."""

    def __init__(self, inner: Any, step: Callable[[str, Callable[[], Any]], Any], names: Sequence[str]) -> None:
        self._inner, self._step, self._names = inner, step, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found
        return lambda *args, **more: self._step(name, lambda: found(*args, **more))


def stepped(
    controller: tuple[observe.Reader, Forge], step: Callable[[str, Callable[[], Any]], Any], *, reads: bool = False
) -> tuple[observe.Reader, Forge]:
    """The controller's view of the world with *step* around each side effect, and each listing where *reads*."""
    reader, forge = controller
    names = (*EFFECTS, *(READS if reads else ()))
    repository: Any = _Proxy(reader.repository, step, names)
    stepped_forge: Any = _Proxy(forge, step, names)
    return observe.Reader(repository, reader.live, reader.source), stepped_forge


@dataclass
class Faulty:
    """Counts steps; at number *at* the fault happens, once."""

    at: int = -1
    fault: Fault = "die before"
    names: list[str] = field(default_factory=list)
    before: Callable[[int], None] | None = None

    def __call__(self, name: str, effect: Callable[[], Any]) -> Any:
        number = len(self.names)
        self.names.append(name)
        if self.before is not None:
            self.before(number)
        if number != self.at:
            return effect()
        if self.fault.endswith("before"):
            raise KilledError if self.fault == "die before" else TransientError("no answer; the next run tries again")
        effect()
        raise KilledError if self.fault == "die after" else TransientError("no answer; the next run tries again")


class Turns:
    """
    Lets one of several threads run at a time, from step to step, by *plan*.

    `plan` holds who goes at each point, by index among those that are not done; beyond its end the first goes on.
    `options` records how many could have gone, so that the next plan can be made.
    """

    def __init__(self, plan: Sequence[int]) -> None:
        self.plan, self.options, self.choices = plan, [], []
        self._wake: list[threading.Event] = []
        self._back = threading.Event()
        self._done: list[bool] = []
        self.errors: list[BaseException] = []

    def run(self, *bodies: Callable[[Callable[[str, Callable[[], Any]], Any]], Any]) -> None:
        threads = []
        for index, body in enumerate(bodies):
            self._wake.append(threading.Event())
            self._done.append(False)
            threads.append(threading.Thread(target=self._thread, args=(index, body), daemon=True))
        for thread in threads:
            thread.start()
        last = 0
        while not all(self._done):
            ready = [index for index, done in enumerate(self._done) if not done]
            ready.sort(key=lambda index: index != last)  # option 0 goes on with the one that ran
            wanted = self.plan[len(self.choices)] if len(self.choices) < len(self.plan) else 0
            self.options.append(len(ready))
            self.choices.append(wanted)
            last = ready[wanted]
            self._back.clear()
            self._wake[last].set()
            self._back.wait()
        for thread in threads:
            thread.join()

    def _thread(self, index: int, body: Callable[..., Any]) -> None:
        self._pause(index)
        try:
            body(lambda name, effect: (self._next(index), effect())[1])
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._done[index] = True
            self._back.set()

    def _next(self, index: int) -> None:
        self._back.set()
        self._pause(index)

    def _pause(self, index: int) -> None:
        self._wake[index].wait()
        self._wake[index].clear()


def plans(run: Callable[[Sequence[int]], Turns], *, switches: int | None = None) -> Iterator[Turns]:
    """
    Every plan there is, depth first, each run once; with *switches* only those with at most so many changes of turn
    away from one that could have gone on.
    """
    stack: list[list[int]] = [[]]
    while stack:
        plan = stack.pop()
        turns = run(plan)
        for point in range(len(plan), len(turns.options)):
            used = sum(choice > 0 for choice in turns.choices[:point])
            if switches is None or used < switches:
                stack += [[*turns.choices[:point], other] for other in range(1, turns.options[point])]
        yield turns
