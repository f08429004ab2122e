"""A drill on a local AWS: the switch works, and the stop ends, so that `pulumi up` may bring back what is declared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from controller.aws.breakglass import BreakGlass
from controller.aws.live import EcsLiveState
from controller.launch.drill import drill
from controller.launch.kill import kill
from controller.launch.preflight import way_back
from controller.model import Exposure, Intake, Live, Place, Unreadable
from controller.rehearsal.localcloud import LocalAws
from tests.aws.test_live import SERVICE, START, Stack


@pytest.fixture
def cloud() -> Iterator[LocalAws]:
    with LocalAws(START) as cloud:
        yield cloud


@pytest.mark.parametrize("delivery", ["environment", "parameter"])
def test_a_drill_takes_everybody_out_and_ends_its_stop(cloud: LocalAws, delivery: str) -> None:
    stack = Stack(cloud, Exposure.FLAG, delivery)
    stack.up(50)
    cloud.settle()
    glass = BreakGlass(lambda name, _: cloud.client(name), Place(SERVICE.cluster, SERVICE.name, None))

    def live() -> Live | Unreadable:
        return EcsLiveState(lambda name, _: cloud.client(name)).read(SERVICE, Exposure.FLAG, None)

    def wait(length: timedelta) -> None:
        cloud.now += length
        cloud.life.tick()

    serving = way_back(glass)
    assert serving is not None
    items = list(
        drill(
            kill(glass, reason="drill", by="Omar", now=cloud.now),
            live, lambda: glass.end("drill"), now=lambda: cloud.now, wait=wait,
        )
    )  # fmt: skip
    assert [item.words for item in items if not item.ok] == []
    assert items[-1].words.startswith("0 % live and the intake paused after ")
    down = live()
    assert isinstance(down, Live)
    assert (down.percent, down.intake, down.stop) == (0, Intake.PAUSED, None)


def test_a_drill_that_aws_does_not_follow_is_no_passed_one(cloud: LocalAws) -> None:
    stack = Stack(cloud, Exposure.FLAG)
    stack.up(50)
    cloud.settle()
    glass = BreakGlass(lambda name, _: cloud.client(name), Place(SERVICE.cluster, SERVICE.name, None))

    def wait(length: timedelta) -> None:  # the deployment never ends
        cloud.now += length

    still = EcsLiveState(lambda name, _: cloud.client(name)).read(SERVICE, Exposure.FLAG, None)
    items = list(
        drill(
            kill(glass, reason="drill", by="Omar", now=cloud.now),
            lambda: still, lambda: glass.end("drill"), now=lambda: cloud.now, wait=wait,
        )
    )  # fmt: skip
    assert [item.title for item in items if not item.ok] == ["Worked"]
    assert items[-1].words == "after 600 s 50 % are in still"
    assert glass.stop() is None
