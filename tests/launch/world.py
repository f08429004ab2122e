"""A service on a local AWS for break-glass stories: reset between them by hand, and interrupted at any call of the API."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from controller.aws.breakglass import BreakGlass
from controller.aws.live import EcsLiveState
from controller.model import Exposure, Live, Place, Service
from controller.rehearsal.localcloud import InProcess, LocalAws
from tests.kept import keep

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
A, B, CANDIDATE = ("registry.example/api@sha256:" + letter * 64 for letter in "abc")
PLACE = Place("shop", "api", "us-east-1")
PROJECT = (Path(__file__).parents[2] / "Pulumi.yaml").read_bytes()
SERVICES = ("ecs", "elbv2", "ssm")
WRITES = ("UpdateService", "RegisterTaskDefinition", "PutParameter", "ModifyListener")


class Interrupted(BaseException):
    """The process was killed."""


@dataclass
class Calls:
    """The calls of the API, in order; the fault strikes at the one with the number `at`, before it or after."""

    at: int | None = None
    after: bool = False
    fault: Callable[[], BaseException] = Interrupted
    names: list[str] = field(default_factory=list)

    def before_call(self, model: Any, **_: Any) -> None:
        self.names.append(model.name)
        if not self.after and len(self.names) - 1 == self.at:
            raise self.fault()

    def after_call(self, **_: Any) -> None:
        if self.after and len(self.names) - 1 == self.at:
            raise self.fault()

    @property
    def writing(self) -> list[int]:
        """The numbers of the calls that write."""
        return [at for at, name in enumerate(self.names) if name in WRITES]

    @property
    def writes(self) -> list[str]:
        return [self.names[at] for at in self.writing]

    def points(self) -> list[tuple[int, bool]]:
        """
        Where to interrupt, and whether after the call: before the first that writes, and after each.

        Before another is as after the last, since only reads lie between. With PILOT_TEST_EXHAUSTIVE, around each call.
        """
        if os.environ.get("PILOT_TEST_EXHAUSTIVE"):
            return [(at, after) for at in range(len(self.names)) for after in (False, True)]
        return [(self.writing[0], False), *((at, True) for at in self.writing)]


def no_answer() -> Exception:
    return ReadTimeoutError(endpoint_url="https://aws.example")


def no_connection() -> Exception:
    return ConnectTimeoutError(endpoint_url="https://aws.example")


class World:
    """One stack, brought up once; what a story did to it is taken back by `reset`."""

    def __init__(self, cloud: LocalAws, exposure: Exposure, delivery: str) -> None:
        self.cloud, self.exposure, self.delivery = cloud, exposure, delivery
        self._pulumi, self._network = InProcess(cloud), json.dumps(cloud.network())

    def up(self, percent: int, *, image: str = A, intake: str = "open") -> None:
        candidate = f", candidateImage: '{CANDIDATE}'" if self.exposure == "traffic" else ""
        text = (
            "config:\n"
            "  aws:region: us-east-1\n"
            f"  pilot:service: {{cluster: shop, name: api, image: '{image}'{candidate},"
            f" healthUrl: 'https://api.example.com/health', delivery: {self.delivery}}}\n"
            f"  pilot:network: {self._network}\n"
            "  pilot:ingress: {insecureHttp: true, accessLogDays: 0}\n"
            f"  pilot:rollout: {{percent: {percent}, exposure: {self.exposure}, intake: {intake},"
            " flags: {micPrompt: primer}}\n"
        )
        self._pulumi.up("prod", PROJECT, text.encode())
        self.settle()

    def settle(self) -> None:
        self.cloud.now += timedelta(minutes=5)
        self.cloud.settle()

    def glass(self) -> BreakGlass:
        """As another process has it."""
        return BreakGlass(self.cloud.client, PLACE)

    def live(self) -> Live:
        live = EcsLiveState(self.cloud.client).read(Service("shop", "api", A), self.exposure, "us-east-1")
        assert isinstance(live, Live), live
        return live

    def state(self) -> dict[str, Any]:
        """All that a story may change, as it is now; what the tasks run by what it says, not by its number."""
        ecs, ssm = self.cloud.client("ecs"), self.cloud.client("ssm")
        names = ["api", "api-candidate"] if self.exposure == "traffic" else ["api"]
        services = ecs.describe_services(cluster="shop", services=names)["services"]
        told = {}
        for one in services:
            found = ecs.describe_task_definition(taskDefinition=one["taskDefinition"])["taskDefinition"]
            (container,) = found["containerDefinitions"]
            environment = sorted((pair["name"], pair["value"]) for pair in container["environment"])
            told[one["serviceName"]] = (container["image"], environment, len(one["deployments"]))
        parameters = ssm.get_parameters_by_path(Path="/pilot/shop/api")["Parameters"]
        return {
            "told": told,
            "parameters": {one["Name"].rsplit("/", 1)[1]: one["Value"] for one in parameters},
            "weights": self._weights(),
            "revisions": len(self._revisions()),
        }

    def _revisions(self) -> set[str]:
        return set(self.cloud.client("ecs").list_task_definitions()["taskDefinitionArns"])

    def _weights(self) -> list[tuple[int, Any]]:
        action = self._listener()["DefaultActions"][0]["ForwardConfig"]
        sticky = action.get("TargetGroupStickinessConfig", {}).get("Enabled")
        return [(group["Weight"], sticky) for group in action["TargetGroups"]]

    def _listener(self) -> Any:
        elb = self.cloud.client("elbv2")
        arn = elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
        return elb.describe_listeners(LoadBalancerArn=arn)["Listeners"][0]

    def keep(self) -> Callable[[], None]:
        """Return what brings back the present state."""
        return keep(self.cloud, self._pulumi)

    @contextmanager
    def watched(self, **fault: Any) -> Iterator[Calls]:
        """Note the calls of the API, and let one of them fail."""
        calls = Calls(**fault)
        events = [self.cloud.client(name).meta.events for name in SERVICES]
        for one in events:
            one.register_first("before-call", calls.before_call)
            one.register_last("after-call", calls.after_call)
        try:
            yield calls
        finally:
            for one in events:
                one.unregister("before-call", calls.before_call)
                one.unregister("after-call", calls.after_call)
