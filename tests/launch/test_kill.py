"""`pilot kill` on the local AWS: both exposures, both deliveries, interrupted at every call of the API."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from controller.aws.breakglass import Act, CredentialsError
from controller.errors import ConfigError, TransientError
from controller.launch.kill import kill
from controller.model import Deployment, Exposure, Intake
from controller.rehearsal.localcloud import LocalAws
from tests.launch.world import START, Interrupted, World, no_answer, no_connection

KINDS = list(itertools.product(Exposure, ("environment", "parameter")))
if not os.environ.get("PILOT_TEST_EXHAUSTIVE"):
    KINDS = KINDS[:3]  # the fourth is made of parts of the second and the third


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def stack(request: pytest.FixtureRequest) -> Iterator[World]:
    """A stack at 20 %, for all stories of the module."""
    with LocalAws(START) as cloud:
        world = World(cloud, *(Exposure(request.param[0]), request.param[1]))
        world.up(20)
        yield world


@pytest.fixture
def world(stack: World) -> Iterator[World]:
    back = stack.keep()
    yield stack
    back()


def killed(world: World) -> list[Act]:
    return list(kill(world.glass(), reason="users complain", by="Ana", now=world.cloud.now))


def test_nobody_is_in_and_nobody_comes_in(world: World) -> None:
    acts = killed(world)
    world.settle()

    live = world.live()
    assert [act.error for act in acts] == [None] * len(acts)
    assert (live.percent, live.intake, live.deployment) == (0, Intake.PAUSED, Deployment.COMPLETED)
    assert live.stop is not None
    assert (live.stop.percent, live.stop.by, live.stop.reason) == (0, "Ana", "users complain")
    if world.exposure is Exposure.TRAFFIC:
        assert world.state()["weights"] == [(100, False), (0, False)]
    if world.delivery == "parameter":
        assert json.loads(world.state()["parameters"]["settings"])["flags"] == {"micPrompt": "primer"}


def test_a_second_time_finds_it_so_and_writes_nothing(world: World) -> None:
    first = killed(world)
    for _ in range(2):  # while it is deployed, and after
        with world.watched() as calls:
            again = killed(world)
        assert calls.writes == []
        assert [act.wrote for act in again] == [False] * len(first)
        world.settle()


def test_interrupted_at_every_call_and_run_again_it_ends_the_same(stack: World) -> None:
    back = stack.keep()
    now = stack.cloud.now
    with stack.watched() as calls:
        list(kill(stack.glass(), reason="users complain", by="Ana", now=now))
    expected = stack.state()
    for at, after in calls.points():
        back()
        with stack.watched(at=at, after=after), pytest.raises(Interrupted):
            list(kill(stack.glass(), reason="users complain", by="Ana", now=now))
        if after and at >= calls.writing[0]:  # whatever was written, it is recorded: no `pulumi up` takes it back
            assert stack.state()["parameters"]["stop"].startswith("{")

        list(kill(stack.glass(), reason="users complain", by="Ana", now=now))

        assert stack.state() == expected, (calls.names[at], after)
    back()


def test_a_call_that_fails_is_told_keeps_no_other_act_and_ends_the_same_the_next_time(world: World) -> None:
    back, now = world.keep(), world.cloud.now
    with world.watched() as calls:
        list(kill(world.glass(), reason="users complain", by="Ana", now=now))
    expected = world.state()
    for number, at in enumerate(calls.writing):
        back()
        fault: dict[str, Any] = {"fault": no_connection} if number % 2 else {"fault": no_answer, "after": True}
        with world.watched(at=at, **fault):
            acts = list(kill(world.glass(), reason="users complain", by="Ana", now=now))
        assert [type(act.error) for act in acts if act.error] == [TransientError]
        assert len(acts) == len(list(kill(world.glass(), reason="users complain", by="Ana", now=now)))
        assert world.state() == expected, calls.names[at]


def test_what_aws_forbids_is_a_persons_to_mend_and_keeps_no_other_act(world: World) -> None:
    def forbidden() -> Exception:
        error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        return world.cloud.client("ssm").exceptions.ClientError(error, "PutParameter")

    with world.watched(at=2, fault=forbidden):  # the first write: what records the stop
        acts = killed(world)

    first, *rest = acts
    assert isinstance(first.error, ConfigError)
    assert "allow ssm:PutParameter" in str(first.error)
    assert [act.error for act in rest] == [None] * len(rest)
    world.settle()
    assert (world.live().percent, world.live().intake) == (0, Intake.PAUSED)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_PROFILE": "ops"}, "Log in: aws sso login --profile ops, then run the same command again"),
        ({"AWS_ACCESS_KEY_ID": "ASIA"}, "paste the lines that set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SE"),
        ({}, "Log in: aws sso login, then"),
    ],
)
def test_expired_credentials_end_it_with_the_next_step_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def expired() -> Exception:
        error = {"Error": {"Code": "ExpiredTokenException", "Message": "The security token is expired"}}
        return world.cloud.client("ssm").exceptions.ClientError(error, "GetParameter")

    with world.watched(at=0, fault=expired) as calls, pytest.raises(CredentialsError, match="ExpiredToken") as raised:
        killed(world)

    assert said in str(raised.value)
    assert calls.names == ["GetParameter"]


@pytest.mark.parametrize("stack", [("flag", "environment")], indirect=True, ids=["flag-environment"])
def test_a_deployment_that_an_alarm_takes_back_is_ordered_again(world: World) -> None:
    """ECS does not watch an alarm that fires already when a deployment begins."""
    killed(world)
    alarms = world.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    for alarm in alarms:
        world.cloud.set_alarm(alarm["AlarmName"], firing=True)
    world.settle()
    assert world.live().intake is Intake.OPEN

    acts = killed(world)
    world.settle()

    assert any(act.wrote for act in acts)
    assert world.live().intake is Intake.PAUSED
    for alarm in alarms:
        world.cloud.set_alarm(alarm["AlarmName"], firing=False)
