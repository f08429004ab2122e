"""The first outputs of the pilot, which the runbook sends to the QA reviewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controller.decide import Facts
from controller.model import Arm, Event
from controller.policy import Policy
from controller.ports import Source


def first(source: Callable[[str, Policy], Source], facts: Facts) -> Sequence[Event]:
    """
    The first outputs of the pilot arm in this release, one for each packet, not more than the policy asks for.

    Raises:
        ConfigError, TransientError: the events cannot be read.
    """
    read = source(facts.stack, facts.policy).events(("output",), facts.window.start, facts.now)
    packets: dict[str, Event] = {}
    for event in read:
        if event.arm != Arm.CONTROL:
            packets.setdefault(event.attributes.get("packet", event.id), event)
    return list(packets.values())[: facts.policy.operations.first_outputs]
