"""What a person stopped in AWS stays stopped until the stack file agrees, told with the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.aws import stops
from controller.aws.api import Api
from controller.aws.breakglass import BreakGlass
from controller.errors import ConfigError
from controller.launch.kill import kill
from controller.model import Place, Stop
from controller.rehearsal.localcloud import Applier, Engine, InProcess, LocalAws, Step
from tests.rehearsal.conftest import IMAGE

PARAMETER = "/pilot/shop/api/stop"


@dataclass
class Stack:
    """A stack whose percent is in the task definition."""

    cloud: LocalAws
    pulumi: Applier
    project: bytes

    def file(self, percent: int, intake: str = "open", image: str = IMAGE) -> bytes:
        return (
            "config:\n"
            "  aws:region: us-east-1\n"
            f"  pilot:service: {{cluster: shop, name: api, image: '{image}', healthUrl: 'https://api.example.com/'}}\n"
            "  pilot:ingress: {insecureHttp: true, accessLogDays: 0}\n"
            f"  pilot:network: {json.dumps(self.cloud.network())}\n"
            f"  pilot:rollout: {{percent: {percent}, exposure: flag, intake: {intake}}}\n"
        ).encode()

    def up(self, *args: Any, refresh: bool = False, **named: Any) -> tuple[Step, ...]:
        done = self.pulumi.up("staging", self.project, self.file(*args, **named), refresh=refresh)
        self.cloud.now += timedelta(minutes=5)
        self.cloud.settle()
        return done.steps

    def kill(self) -> None:
        glass = BreakGlass(self.cloud.client, Place("shop", "api", "us-east-1"))
        assert [act.error for act in kill(glass, reason="users complain", by="Ana", now=self.cloud.now)] == [None, None]
        self.cloud.settle()

    def told(self) -> dict[str, str]:
        """What the tasks that serve are told, and the task definition."""
        ecs = self.cloud.client("ecs")
        arn = ecs.describe_services(cluster="shop", services=["api"])["services"][0]["taskDefinition"]
        (container,) = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"]
        told = {one["name"]: one["value"] for one in container["environment"]}
        return {"percent": told["PILOT_ROLLOUT_PCT"], "intake": told["PILOT_INTAKE"], "revision": arn.rsplit(":", 1)[1]}

    def parameter(self) -> str:
        return str(self.cloud.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"])


@pytest.fixture
def stack(cloud: LocalAws, project: bytes) -> Stack:
    return Stack(cloud, InProcess(cloud), project)


@pytest.fixture
def engine(cloud: LocalAws, project: bytes, pulumi_command: Path) -> Iterator[Stack]:
    with Engine(cloud, pulumi_command) as pulumi:
        yield Stack(cloud, pulumi, project)


def test_the_real_engine_does_not_undo_a_stop_and_ends_it_by_what_agrees(engine: Stack) -> None:
    engine.up(20)
    assert engine.parameter() == "none"
    engine.kill()
    killed = engine.told()
    assert (killed["percent"], killed["intake"]) == ("0.00", "paused")

    for refused in (engine.pulumi.preview, engine.pulumi.up):
        with pytest.raises(ConfigError, match=r"percent is 20; it should be 0 at most, intake is open; it should be"):
            refused("staging", engine.project, engine.file(20))
    assert engine.told() == killed
    assert json.loads(engine.parameter())["by"] == "Ana"

    agreed = engine.up(0, "paused")
    assert Step("update", "aws:ssm/parameter:Parameter", "stop") in agreed
    assert engine.parameter().startswith("ended: stopped at 2026-03-02T09:05:00")
    assert engine.told()["percent"] == "0.00"

    engine.pulumi.destroy("staging")
    assert engine.cloud.client("ssm").describe_parameters()["Parameters"] == []


def test_what_a_drill_has_taken_down_comes_back_with_a_refresh(engine: Stack) -> None:
    """By the command that the drill ends with; both engines, one after the other, find the same to do."""
    in_process = Stack(engine.cloud, InProcess(engine.cloud), engine.project)
    engine.up(20)
    engine.kill()
    BreakGlass(engine.cloud.client, Place("shop", "api", "us-east-1")).end("drill by Ana")

    steps = engine.up(20, refresh=True)

    assert [(step.op, step.type) for step in steps] == [("update", "aws:ecs/service:Service")]
    assert (engine.told()["percent"], engine.told()["intake"]) == ("0.20", "open")
    assert engine.up(20) == ()
    engine.pulumi.destroy("staging")

    in_process.up(20)
    in_process.kill()
    BreakGlass(engine.cloud.client, Place("shop", "api", "us-east-1")).end("drill by Ana")

    assert in_process.up(20, refresh=True) == steps
    assert (in_process.told()["percent"], in_process.told()["intake"]) == ("0.20", "open")


def test_a_second_stop_after_one_that_ended_is_heeded_too(stack: Stack) -> None:
    stack.up(20)
    for _ in range(2):
        stack.kill()
        with pytest.raises(ConfigError, match="percent is 20"):
            stack.up(20)
        stack.up(0, "paused")
        stack.up(20)
        assert stack.told()["percent"] == "0.20"


def test_a_stop_of_what_is_declared_as_stopped_already_ends_with_the_next_update(stack: Stack) -> None:
    stack.up(0, "paused")
    stack.kill()
    assert stack.parameter().startswith("{")

    assert stack.up(0, "paused") == (Step("update", "aws:ssm/parameter:Parameter", "stop"),)

    assert stack.parameter().startswith("ended")
    assert stack.up(0, "paused") == ()


def test_a_stop_may_stand_before_the_first_update_that_knows_of_it(stack: Stack) -> None:
    stop = Stop(0, stack.cloud.now, "Ana", "users complain")
    stops.write(Api(stack.cloud.client, "us-east-1"), Place("shop", "api", "us-east-1"), stop)

    with pytest.raises(ConfigError, match="percent is 20"):
        stack.up(20)
    assert stack.parameter() == stops.render(stop)

    stack.up(0, "paused")
    assert stack.parameter().startswith("ended")


def test_the_image_that_was_rolled_back_does_not_come_back(stack: Stack) -> None:
    stack.up(20)
    stop = Stop(20, stack.cloud.now, "Ana", "users complain", image=IMAGE)
    stops.write(Api(stack.cloud.client, "us-east-1"), Place("shop", "api", "us-east-1"), stop)

    with pytest.raises(ConfigError, match="image is the one that was rolled back; it should be another"):
        stack.up(20, "paused")

    stack.up(20, "paused", "registry.example/api@sha256:" + "c" * 64)
    assert stack.parameter().startswith("ended")
