"""
A local AWS, and `pulumi up` onto it, so that a rollout can be rehearsed without an account.

    with LocalAws(start) as cloud, applier(cloud) as pulumi:
        pulumi.up("prod", project, stack_file)
        cloud.now += timedelta(minutes=5)
        cloud.settle()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controller.rehearsal.localcloud.apply import Applied, Applier, Step
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.localcloud.engine import Engine, find_pulumi
from controller.rehearsal.localcloud.inprocess import InProcess

__all__ = [
    "Applied", "Applier", "Engine", "InProcess", "LocalAws", "Step", "applier", "find_pulumi",
]  # fmt: skip


@contextmanager
def applier(cloud: LocalAws) -> Iterator[Applier]:
    """Apply by the real engine where there is a `pulumi` command, else in this process."""
    command = find_pulumi()
    if command is None:
        yield InProcess(cloud)
    else:
        with Engine(cloud, command) as engine:
            yield engine
