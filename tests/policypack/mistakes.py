"""
Wrong stack files and wrong programs, each through a real preview, and who refuses it.

`python -m tests.policypack.mistakes` writes docs/mistakes.md, which a test keeps true.
"""

from __future__ import annotations

import copy
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import yaml

from controller.engine import Cli, Workspace, find_pulumi, type_and_name, violated
from controller.errors import ConfigError
from controller.rehearsal.localcloud import Engine, LocalAws
from tests.facts import ROOT

with warnings.catch_warnings(action="ignore"):
    aws.ec2.SecurityGroup  # noqa: B018 - importing them warns of their deprecated parts
    aws.s3.Bucket  # noqa: B018

DOCUMENT = ROOT / "docs" / "mistakes.md"
DIGEST = "registry.example/api@sha256:" + "a" * 64
INFRA, PROJECT = str(ROOT / "infra" / "__main__.py"), (ROOT / "Pulumi.yaml").read_bytes()
HEAD = """\
# What a preview refuses

Each of these was tried: a wrong stack file or a wrong program, and `pulumi preview` of it with the real engine, before
anything exists. Caught by *config*: the program reads its stack file and refuses it. *Pack*: the policy pack. *Provider*:
the provider's check of the inputs, here the stand-in's for the AWS provider. *Engine*: Pulumi and its SDK.

`make mistakes` writes this page; a test fails when it is not true.

| mistake | caught by | sentence |
|---|---|---|
"""


@dataclass(frozen=True)
class Refusal:
    """Who refused a mistake, and how."""

    mistake: str
    by: str
    sentence: str


@dataclass
class Session:
    """The engine with the policy pack of a checkout of its own, on an empty local AWS."""

    cloud: LocalAws
    workspace: Workspace
    checkout: Path
    program: Callable[[], None] = field(default=lambda: None)
    percents: dict[str, int] = field(default_factory=dict)
    pack: ExitStack = field(default_factory=ExitStack)

    def refused(
        self, stack: str, file: Mapping[str, Any], program: Callable[[], None], *, pack: bool = True
    ) -> dict[str, str]:
        """What a preview refuses, by the name of the resource; "" is what is of no resource of the pack."""
        self.program, found = program, {}
        handle = self.workspace.stack(stack, PROJECT, yaml.safe_dump(file).encode(), create=True)

        def preview(on_event: Callable[..., None], color: str) -> None:
            def heard(event: Any) -> None:
                on_event(event)
                if sentence := violated(event):
                    name = type_and_name(event.policy_event.resource_urn)[1]
                    found.setdefault(name, sentence.split(": ", 1)[1])

            handle.preview(on_event=heard, color=color, policy_packs=self.workspace.policy_packs if pack else None)

        try:
            self.workspace.run(preview)
        except ConfigError as error:
            found.setdefault("", str(error).removeprefix("pulumi: "))
        return found

    def commit(self, **percents: int) -> None:
        """Have those percents committed; the pack, which remembers what is, begins anew where they were not."""
        if self.percents | percents == self.percents:
            return
        self.percents |= percents
        for stack, percent in percents.items():
            (self.checkout / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(changed(rollout={"percent": percent})))
        identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
        for arguments in (["add", "-A"], [*identity, "commit", "-qm", "a change", "--allow-empty"]):
            subprocess.run(["git", *arguments], cwd=self.checkout, check=True)
        self.pack.close()
        self.pack.enter_context(serving(self.checkout))


@contextmanager
def session() -> Iterator[Session]:
    """A session on an empty local AWS."""
    command = find_pulumi()
    assert command is not None, "there is no pulumi command; tools/pulumi-cli.sh gets it and prints its path"
    with ExitStack() as stack:
        checkout = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (checkout / "policypack").mkdir()
        shutil.copy(ROOT / "policypack" / "__main__.py", checkout / "policypack")
        shutil.copy(ROOT / "rollout.yaml", checkout)
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=checkout, check=True)
        cloud = stack.enter_context(LocalAws(datetime(2026, 3, 2, 9, tzinfo=UTC), seed=1))
        engine = stack.enter_context(Engine(cloud, command))
        holder: list[Session] = []
        workspace = stack.enter_context(
            Workspace(
                Cli(command),
                lambda: holder[0].program(),
                environment=engine.environment,
                home=checkout / "home",
                policy_packs=(checkout / "pack",),
            )
        )
        holder.append(Session(cloud, workspace, checkout))
        with holder[0].pack:
            holder[0].commit(staging=100, prod=0)
            yield holder[0]


@contextmanager
def serving(checkout: Path) -> Iterator[None]:
    """
    Run the pack, with an executable in its place that the engine starts and reads the pack's port from.

    The engine would start the pack anew in each preview, 1.5 seconds that say nothing more.
    """
    command = [sys.executable, "-u", "-m", "pulumi.policy", "", str(checkout / "policypack")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as pack:
        assert pack.stdout is not None
        path = checkout / "pack"
        path.write_text(f"#!/bin/sh\necho {int(pack.stdout.readline())}\nexec sleep infinity\n")
        path.chmod(0o755)
        try:
            yield
        finally:
            pack.terminate()


def infra() -> None:
    runpy.run_path(INFRA, run_name="__main__")


# Of prod, what a percent does not touch; without it a preview takes half as long.
PLAIN: dict[str, Any] = {
    "pilot:network": {
        "vpcId": "vpc-1", "publicSubnetIds": ["subnet-1", "subnet-2"], "privateSubnetIds": ["subnet-3", "subnet-4"],
    },
    "pilot:ingress": {"insecureHttp": True, "accessLogDays": 0},
    "pilot:pipeline": None, "pilot:controller": None, "pilot:alarms": None, "pilot:scaling": None,
}  # fmt: skip


def changed(*, service: Mapping[str, Any] | None = None, rollout: Mapping[str, Any] | None = None,
            without: str = "", **rest: Any) -> dict[str, Any]:  # fmt: skip
    """The shipped stack file of prod, with changes; None takes a key out."""
    file = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_bytes())
    config = copy.deepcopy(file["config"])
    for key, changes in (("pilot:service", service), ("pilot:rollout", rollout)):
        merged = config[key] | (changes or {})
        config[key] = {name: value for name, value in merged.items() if value is not None}
    return {"config": {key: value for key, value in (config | rest).items() if key != without and value is not None}}


# ---------------------------------------------------------------- wrong stack files

# The program says all that is wrong with a file, so that one preview has what can be wrong at once: each mistake by the
# key that its line begins with.
FILES: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"percent above 100": "rollout.percent", "exposure that does not exist": "rollout.exposure",
      "image by tag": "service.image", "an unknown key of the service": "service.replicas"},
     changed(rollout={"percent": 140, "exposure": "header"},
             service={"image": "registry.example/api:latest", "replicas": 3})),
    ({"percent in quotes": "rollout.percent", "memory that Fargate does not have": "service"},
     changed(rollout={"percent": "10"}, service={"memory": 9999})),
    ({"percent is missing": "rollout.percent", "`percent` misspelt": "rollout.percnt"},
     changed(rollout={"percent": None, "percnt": 10})),
    ({"traffic without a candidate": "service.candidateImage", "a name that AWS would cut": "service.name"},
     changed(rollout={"exposure": "traffic"}, service={"name": "a-service-with-a-long-name"})),
    ({"a candidate with exposure flag": "service.candidateImage"}, changed(service={"candidateImage": DIGEST})),
    ({"no rollout": "rollout"}, changed(without="pilot:rollout")),
]  # fmt: skip

# ---------------------------------------------------------------- wrong moves: what is committed, then what is declared

MOVES: dict[str, tuple[dict[str, int], str, int]] = {
    "a jump from 0 to 100": ({"prod": 0}, "prod", 100),
    "a skipped stage": ({"prod": 10}, "prod", 50),
    "a raise above what staging has": ({"staging": 0, "prod": 0}, "prod", 10),
    "a percent that is no stage": ({"staging": 100, "prod": 10}, "prod", 15),
    "a new stack that begins at 10": ({}, "demo", 10),
}

# ---------------------------------------------------------------- wrong programs


def task(name: str, *, image: str = DIGEST, keep: bool = True, **container: Any) -> None:
    aws.ecs.TaskDefinition(
        name, family="app", cpu="256", memory="512", network_mode="awsvpc", requires_compatibilities=["FARGATE"],
        container_definitions=json.dumps([{"name": "app", "image": image, **container}]), skip_destroy=keep,
    )  # fmt: skip


def service(name: str, *, breaker: bool = True, alarms: bool = True, **more: Any) -> None:
    circuit = aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=breaker)
    watched = aws.ecs.ServiceAlarmsArgs(enable=True, rollback=True, alarm_names=["5xx"])
    aws.ecs.Service(name, name="app", cluster="shop", task_definition="app:1", desired_count=1,
                    deployment_circuit_breaker=circuit, alarms=watched if alarms else None, **more)  # fmt: skip


def group(name: str, low: int, high: int, *, protocol: str = "tcp") -> None:
    rule = aws.ec2.SecurityGroupIngressArgs(protocol=protocol, from_port=low, to_port=high, cidr_blocks=["0.0.0.0/0"])
    aws.ec2.SecurityGroup(name, name="app", description="app", vpc_id="vpc-1", ingress=[rule])


def listener(name: str, *weights: int, sticky: bool = True) -> None:
    groups = [
        aws.lb.ListenerDefaultActionForwardTargetGroupArgs(arn=f"arn:{i}", weight=w) for i, w in enumerate(weights)
    ]
    kept = aws.lb.ListenerDefaultActionForwardStickinessArgs(enabled=sticky, duration=3600)
    forward = aws.lb.ListenerDefaultActionForwardArgs(target_groups=groups, stickiness=kept)
    aws.lb.Listener(name, load_balancer_arn="arn:lb", port=80, protocol="HTTP",
                    default_actions=[aws.lb.ListenerDefaultActionArgs(type="forward", forward=forward)])  # fmt: skip


def role(name: str, **statement: Any) -> None:
    aws.iam.Role(name, name="app", assume_role_policy=document(Action="sts:AssumeRole", **statement))


def allows(name: str, **statement: Any) -> None:
    aws.iam.RolePolicy(name, name="app", role="app", policy=document(**statement))


def document(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


def alarm(name: str, **changes: Any) -> None:
    settings = {"comparison_operator": "GreaterThanThreshold", "namespace": "AWS/ECS", "metric_name": "CPUUtilization",
                "period": 60, "statistic": "Average", "evaluation_periods": 1, "threshold": 80}  # fmt: skip
    aws.cloudwatch.MetricAlarm(name, name="app", **settings | changes)


ARN = "arn:aws:ecs:us-east-1:123456789012:service/shop/api"
# All in one program and one preview: a policy refuses each resource by itself.
RESOURCES: dict[str, Callable[[str], Any]] = {
    "a task whose image is by tag": lambda name: task(name, image="registry.example/api:latest"),
    "a password in plain environment": lambda name: task(name, environment=[{"name": "DB_PASSWORD", "value": "x"}]),
    "a privileged container": lambda name: task(name, privileged=True),
    "a task definition that is deregistered": lambda name: task(name, keep=False),
    "a percent that is none": lambda name: task(name, environment=[{"name": "PILOT_ROLLOUT_PCT", "value": "0.125"}]),
    "a service without circuit breaker": lambda name: service(name, breaker=False),
    "a service without alarms": lambda name: service(name, alarms=False),
    "a service that may stop all tasks": lambda name: service(name, deployment_minimum_healthy_percent=0),
    "a service that CodeDeploy deploys": lambda name: service(
        name, deployment_controller=aws.ecs.ServiceDeploymentControllerArgs(type="CODE_DEPLOY")
    ),
    "a database port that is public": lambda name: group(name, 5432, 5432),
    "a range of ports with a database in it": lambda name: group(name, 1024, 65535),
    "all ports public": lambda name: group(name, 0, 0, protocol="-1"),
    "weights that do not sum to 100": lambda name: listener(name, 90, 20),
    "weights without stickiness": lambda name: listener(name, 50, 50, 0, sticky=False),
    "a role that may do everything": lambda name: allows(name, Action="*", Resource="*"),
    "a role that may do all of a service": lambda name: allows(name, Action="ecs:*", Resource=ARN),
    "a role for every resource": lambda name: allows(name, Action="ecs:UpdateService", Resource="*"),
    "a role for all but some": lambda name: allows(name, NotAction="iam:*", Resource=ARN),
    "a role that everyone may assume": lambda name: role(name, Principal={"AWS": "*"}),
    "a role for any repository on GitHub": lambda name: role(
        name,
        Principal={"Federated": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"},
        Condition={"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}},
    ),
    "a token in a plain parameter": lambda name: aws.ssm.Parameter(name, name="/shop/token", type="String", value="x"),
    "logs for ever": lambda name: aws.cloudwatch.LogGroup(name, name="app"),
}


# One preview each: the first ends it.
PROGRAMS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "a weight of 5000": ("provider", lambda name: listener(name, 5000)),
    "a comparison that CloudWatch does not know": ("provider", lambda name: alarm(name, comparison_operator="Greater")),
    "container definitions that are no JSON": (
        "provider", lambda name: aws.ecs.TaskDefinition(name, family="app", container_definitions="[{"),
    ),
    "a network whose address has host bits": (
        "provider", lambda name: aws.ec2.Vpc(name, cidr_block="10.20.0.1/16"),
    ),
    "a policy document that is none": (
        "provider", lambda name: aws.iam.RolePolicy(name, name="app", role="app", policy="allow all"),
    ),
    "two resources of one name": ("engine", lambda name: [aws.cloudwatch.LogGroup(name, name=one, retention_in_days=7) for one in "ab"]),
    "an argument that does not exist": ("engine", lambda name: aws.cloudwatch.LogGroup(name, retention=7)),
    "a required argument that is missing": ("engine", lambda name: aws.ecs.TaskDefinition(name, family="app")),
}  # fmt: skip


def refusals(tried: Session) -> Iterator[Refusal]:
    """Try all of them."""
    for mistakes, file in FILES:
        said = tried.refused("prod", file, infra, pack=False).get("", "")
        for mistake, key in mistakes.items():
            about = re.compile(rf"Pulumi\.prod\.yaml: pilot:{re.escape(key)}[: ]")
            lines = {line for line in re.split(r"\n|; (?=Pulumi\.)", said) if about.match(line)}
            yield Refusal(mistake, "config" if len(lines) == 1 else "nobody", "".join(lines))
    for mistake, (by, program) in PROGRAMS.items():
        sentence = tried.refused("prod", changed(), lambda program=program: program("wrong"), pack=False).get("", "")
        provider = " has a problem: " in sentence
        refused = sentence and provider == (by == "provider")
        yield Refusal(mistake, by if refused else "nobody", sentence.split(" has a problem: ")[-1])
    for mistake, (committed, stack, percent) in MOVES.items():
        tried.commit(**committed)
        found = tried.refused(stack, changed(rollout={"percent": percent}, **PLAIN), infra)
        yield Refusal(mistake, "pack" if "percent" in found else "nobody", found.get("percent", ""))
    names = {mistake: mistake.replace(" ", "-") for mistake in RESOURCES}
    found = tried.refused("prod", changed(), lambda: [make(names[m]) for m, make in RESOURCES.items()] and None)
    for mistake, name in names.items():
        yield Refusal(mistake, "pack" if name in found else "nobody", found.get(name, found.get("", "")))


def page(found: list[Refusal]) -> str:
    """docs/mistakes.md."""
    rows = [f"| {one.mistake} | {one.by} | {_cell(one.sentence)} |" for one in found]
    return HEAD + "\n".join(rows) + "\n"


def _cell(sentence: str) -> str:
    line = sentence.splitlines()[0].removeprefix("python inline source runtime error: ") if sentence else ""
    return line.replace(DIGEST[:40], DIGEST[:36] + "…").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    with session() as tried:
        DOCUMENT.write_text(page(list(refusals(tried))))
