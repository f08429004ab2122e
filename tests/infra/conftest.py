"""The Pulumi program of infra/, run against mocks that remember what it registers."""

from __future__ import annotations

import functools
import json
import runpy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws
import pytest
import yaml
from pulumi.runtime import mocks

from controller.rehearsal.localcloud import find_pulumi
from controller.rehearsal.localcloud.apply import in_own_loop

ROOT = Path(__file__).parents[2]
STABLE = "registry.example/api@sha256:" + "a" * 64
CANDIDATE = "registry.example/api@sha256:" + "b" * 64
with warnings.catch_warnings(action="ignore"):
    pulumi_aws.ec2.SecurityGroup  # noqa: B018 - importing them warns of their deprecated parts
    pulumi_aws.s3.Bucket  # noqa: B018
ACCOUNT = "123456789012"
_SECRET = "4dabf18193072939515e22adb298388d"


@dataclass
class Program(mocks.Mocks):
    """What one run of the program registered, by type and name, and what it told the engine of it."""

    resources: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    providers: dict[tuple[str, str], str] = field(default_factory=dict)
    ignored: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    after: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def call(self, args: mocks.MockCallArgs) -> Any:
        return {
            "aws:index/getAvailabilityZones:getAvailabilityZones": {
                "names": ["zone-a", "zone-b", "zone-c"],
                "id": "zones",
            },
            "aws:ssm/getParametersByPath:getParametersByPath": {"names": [], "values": [], "id": "parameters"},
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT, "id": ACCOUNT},
        }[args.token]

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        key = (args.typ, args.name)
        assert key not in self.resources, "the engine refuses two of a type and name"
        self.resources[key] = args.inputs
        self.providers[key] = args.provider
        made = {
            "arn": f"arn:{args.name}",
            "arnSuffix": f"suffix/{args.name}",
            "dnsName": "alb.test",
            "allocationId": f"eipalloc-{args.name}",
            "arnWithoutRevision": f"arn:{args.name}",
        }
        return f"{args.name}-id", {**args.inputs, **made}

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The inputs of all AWS resources of a type, by name."""
        return {
            name: inputs
            for (typ, name), inputs in self.resources.items()
            if typ.startswith("aws:") and typ.endswith(f":{kind}")
        }

    def container(self, name: str) -> dict[str, Any]:
        (container,) = json.loads(self.of("TaskDefinition")[name]["containerDefinitions"])
        return dict(container)

    def environment(self, name: str) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.container(name)["environment"]}

    def weights(self) -> dict[str, float]:
        (action,) = self.of("Listener")["ingress"]["defaultActions"]
        return {group["arn"]: group["weight"] for group in action["forward"]["targetGroups"]}

    def parameter(self) -> Any:
        value = self.of("Parameter")["percent"]["value"]
        return value["value"] if isinstance(value, dict) and _SECRET in value else value


class Monitor(mocks.MockMonitor):
    """Remembers what mocks are not told."""

    mocks: Program

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        key = (request.type, request.name)
        self.mocks.ignored[key] = list(request.ignoreChanges)
        self.mocks.after[key] = {"/".join(urn.split("$")[-1].split("::")[-2:]) for urn in request.dependencies}
        return super().RegisterResource(request)


def evaluate(config: Mapping[str, Any], stack: str = "staging") -> Program:
    """Run the program with *config*, which is the `config:` of a stack file; what was run before is only read."""
    return _evaluated(json.dumps(config), stack)


@functools.cache
def _evaluated(config: str, stack: str) -> Program:
    made = Program()

    def run() -> None:
        settings = {k: v if isinstance(v, str) else json.dumps(v) for k, v in json.loads(config).items()}
        pulumi.runtime.set_all_config(settings)
        mocks.set_mocks(made, "pilot", stack, preview=False, monitor=Monitor(made))
        program = str(ROOT / "infra" / "__main__.py")
        pulumi.runtime.test(lambda: runpy.run_path(program, run_name="__main__") and None)()

    in_own_loop(run)
    return made


def stack_config(
    *,
    service: Mapping[str, Any] | None = None,
    rollout: Mapping[str, Any] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """A valid `config:`, with changes."""
    return {
        "aws:region": "eu-west-1",
        "pilot:service": {
            "cluster": "shop", "name": "api", "image": STABLE,
            "healthUrl": "https://api.example.com/health", **(service or {}),
        },
        "pilot:ingress": {"insecureHttp": True, "accessLogDays": 0},
        "pilot:rollout": {"percent": 10, "exposure": "flag", **(rollout or {})},
        **rest,
    }  # fmt: skip


def traffic_config(percent: int) -> dict[str, Any]:
    return stack_config(service={"candidateImage": CANDIDATE}, rollout={"percent": percent, "exposure": "traffic"})


@pytest.fixture(scope="session")
def pulumi_command() -> Path:
    command = find_pulumi()
    if command is None:
        pytest.fail("there is no pulumi command; tools/pulumi-cli.sh gets it and prints its path")
    return command


@pytest.fixture(name="evaluate")
def _evaluate() -> Callable[..., Program]:
    return evaluate


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    return stack_config


@pytest.fixture
def traffic() -> Callable[[int], dict[str, Any]]:
    return traffic_config


@pytest.fixture(params=["staging", "prod"])
def shipped(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each stack file of the repository: its stack, and its `config:`."""
    text = (ROOT / f"Pulumi.{request.param}.yaml").read_text()
    return request.param, yaml.safe_load(text)["config"]
