"""What applying a stack means, whoever does it: the real engine or, where there is none, we."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from controller.rehearsal.localcloud.shapes import Bag

T = TypeVar("T")

PROVIDERS = "pulumi:providers:"  # what begins the type of a provider, which is no resource of ours
PROGRAM = Path(__file__).parents[3] / "infra"


@dataclass(frozen=True, slots=True)
class Step:
    """What happened, or in a preview would, to one resource: `op` is Pulumi's word, create to delete."""

    op: str
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Applied:
    """
    The outcome of one run.

    `changes` counts resources by what happened to them, those that stayed the `same` among them,
    as `pulumi up` prints it. `steps` are all but those. `outputs` are what the program exports.
    """

    changes: Mapping[str, int]
    steps: tuple[Step, ...]
    outputs: Bag


class Applier(Protocol):
    """
    Applies a Pulumi program's stacks to the local AWS. It works on copies of what it is given.

    Every method raises ConfigError where the program or AWS refused what is declared, and
    TransientError where the engine itself did not run to its end.
    """

    def up(self, stack: str, project: bytes, stack_file: bytes, *, refresh: bool = False) -> Applied:
        """Make AWS what *stack_file* declares; with *refresh* whatever others have changed there, too."""
        ...

    def destroy(self, stack: str) -> Applied:
        """Delete all that `up` has made of *stack*."""
        ...


def in_own_loop(run: Callable[[], T]) -> T:
    """
    Call *run* in a thread that has an event loop, and close that loop and those of its threads.

    The SDK makes a loop in every thread that it uses and closes none; it also keeps the state of a
    program in context variables, of which a new thread has none.
    """
    loops: list[asyncio.AbstractEventLoop] = []

    def enter() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    def entered() -> T:
        with ThreadPoolExecutor(initializer=enter) as workers:
            asyncio.get_event_loop().set_default_executor(workers)
            return run()

    try:
        with ThreadPoolExecutor(1, initializer=enter) as thread:
            return thread.submit(entered).result()
    finally:
        for loop in loops:
            loop.close()


def counted(ops: list[Any]) -> dict[str, int]:
    return {op: ops.count(op) for op in sorted(set(ops))}
