"""The real Pulumi engine on the local AWS, and our own applier in its place, told as stories."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import ConfigError, TransientError
from controller.rehearsal.localcloud import (
    Applied,
    Applier,
    Engine,
    InProcess,
    LocalAws,
    Step,
    find_pulumi,
)

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
TASK = Step("replace", "aws:ecs/taskDefinition:TaskDefinition", "stable")
SERVICE = Step("update", "aws:ecs/service:Service", "stable")
LISTENER = Step("update", "aws:lb/listener:Listener", "ingress")
PARAMETER = Step("update", "aws:ssm/parameter:Parameter", "percent")
StackFile = Callable[..., bytes]


RUNS = {
    "first": ("flag", 0), "again": ("flag", 0), "advance": ("flag", 10),
    "traffic": ("traffic", 10), "raised": ("traffic", 20),
}  # fmt: skip


@dataclass(frozen=True)
class Story:
    """What each run of a rollout did, what AWS was like after it, and what became of the repository's own files."""

    runs: dict[str, Applied]
    aws: dict[str, Any]
    before: dict[str, str]
    after: dict[str, str]


def tell(pulumi: Applier, cloud: LocalAws, project: bytes, write: StackFile) -> Story:
    """Go through RUNS, and destroy; tests/infra tells of the program, this of who applies it."""
    runs, aws, before = {}, {}, files()
    for name, (exposure, percent) in RUNS.items():
        runs[name] = pulumi.up("staging", project, write(percent, exposure=exposure))
        cloud.now += timedelta(minutes=5)
        cloud.settle()
        aws[name] = described(cloud)
    runs["destroy"] = pulumi.destroy("staging")
    aws["destroy"] = described(cloud)
    return Story(runs, aws, before, files())


def files() -> dict[str, str]:
    """The repository's project and stack files, which the engine would rewrite, by their names."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in ROOT.glob("Pulumi*.yaml")}


def described(cloud: LocalAws) -> dict[str, Any]:
    """Describe all that the program makes, without the ids that AWS makes up."""
    ecs, elb, iam = cloud.client("ecs"), cloud.client("elbv2"), cloud.client("iam")
    ec2, ssm = cloud.client("ec2"), cloud.client("ssm")
    clusters = ecs.list_clusters()["clusterArns"]
    services = [
        ecs.describe_services(cluster=cluster, services=[arn])["services"][0]
        for cluster in clusters
        for arn in ecs.list_services(cluster=cluster)["serviceArns"]
    ]
    tasks = ecs.list_task_definitions()["taskDefinitionArns"]
    balancers = elb.describe_load_balancers()["LoadBalancers"]
    groups = elb.describe_target_groups()["TargetGroups"]
    roles = iam.list_roles()["Roles"]
    answer = {
        "services": services,
        "tasks": [ecs.describe_task_definition(taskDefinition=t)["taskDefinition"] for t in tasks],
        "balancers": balancers,
        "listeners": [elb.describe_listeners(LoadBalancerArn=one["LoadBalancerArn"])["Listeners"] for one in balancers],
        "groups": [
            {
                **one,
                **elb.describe_target_group_attributes(TargetGroupArn=one["TargetGroupArn"]),
            }
            for one in groups
        ],
        "roles": roles,
        "policies": [
            iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
            for role in roles
            for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
        ],
        "logs": cloud.client("logs").describe_log_groups()["logGroups"],
        "alarms": cloud.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "parameters": [
            ssm.get_parameter(Name=one["Name"])["Parameter"] for one in ssm.describe_parameters()["Parameters"]
        ],
        "security": ec2.describe_security_groups()["SecurityGroups"],
        "subnets": [one for one in ec2.describe_subnets()["Subnets"] if not one["DefaultForAz"]],
        "routes": ec2.describe_route_tables()["RouteTables"],
    }
    return {name: anonymous(value) for name, value in answer.items()}


def anonymous(value: Any) -> Any:
    """Take out made-up ids and the real clock's dates, and put unordered lists in order."""
    match value:
        case dict():
            drop = ("ResponseMetadata", "CreateDate", "creationTime", "CreatedTime", "RoleId")
            return {key: anonymous(item) for key, item in value.items() if key not in drop}
        case list():
            return sorted(map(anonymous, value), key=repr)
        case str():
            return re.sub(r"\b[0-9a-f]{16,17}\b|\b\d{18,19}\b|-\d+(?=\.us-east-1\.elb)", "#", value)
    return value


@pytest.fixture(scope="module")
def engine(pulumi_command: Path, project: bytes, stack_file: StackFile) -> Story:
    with LocalAws(START, seed=1) as cloud, Engine(cloud, pulumi_command) as pulumi:
        return tell(pulumi, cloud, project, stack_file)


@pytest.fixture(scope="module")
def in_process(project: bytes, stack_file: StackFile) -> Story:
    with LocalAws(START, seed=1) as cloud:
        return tell(InProcess(cloud), cloud, project, stack_file)


def test_a_stage_change_touches_exactly_what_carries_the_percent(engine: Story) -> None:
    assert set(engine.runs["advance"].steps) == {TASK, SERVICE, PARAMETER}
    assert set(engine.runs["raised"].steps) == {LISTENER, PARAMETER}
    assert [engine.runs[run].outputs["percent"] for run in ("advance", "raised")] == [10, 20]


def test_destroy_leaves_only_the_revisions(engine: Story) -> None:
    left = {name for name, value in engine.aws["destroy"].items() if value}

    assert left - {"tasks", "security", "routes"} == set()
    made = sum(engine.runs[run].changes["create"] for run in ("first", "traffic"))
    assert engine.runs["destroy"].changes == {"delete": made}


@pytest.mark.parametrize("run", [*RUNS, "destroy"])
def test_both_appliers_leave_the_same_aws(engine: Story, in_process: Story, run: str) -> None:
    assert in_process.aws[run] == engine.aws[run]


@pytest.mark.parametrize("run", [*RUNS, "destroy"])
def test_both_appliers_say_that_they_did_the_same(engine: Story, in_process: Story, run: str) -> None:
    assert in_process.runs[run].changes == engine.runs[run].changes
    assert set(in_process.runs[run].steps) == set(engine.runs[run].steps)
    assert in_process.runs[run].outputs.keys() == engine.runs[run].outputs.keys()


@pytest.fixture(params=["engine", "in process"])
def applier(request: pytest.FixtureRequest, cloud: LocalAws, pulumi_command: Path) -> Iterator[Applier]:
    if request.param == "in process":
        yield InProcess(cloud)
    else:
        with Engine(cloud, pulumi_command) as engine:
            yield engine


@pytest.mark.parametrize(
    ("percent", "network", "said"),
    [
        pytest.param(140, None, "percent is 140; it should be less than", id="by-the-program"),
        pytest.param(
            0,
            {
                "vpcId": "vpc-0a",
                "publicSubnetIds": ["subnet-1", "subnet-2"],
                "privateSubnetIds": ["subnet-1", "subnet-2"],
            },
            "(vpc-0a|subnet-1)",
            id="by-aws",
        ),
    ],
)
def test_what_is_refused_is_for_a_person_to_change(
    applier: Applier,
    project: bytes,
    stack_file: StackFile,
    percent: int,
    network: object,
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        applier.up("staging", project, stack_file(percent, network=network))

    assert "Traceback" not in str(raised.value)


def test_a_file_that_is_no_yaml_is_for_a_person_to_change(applier: Applier, project: bytes) -> None:
    with pytest.raises(ConfigError, match=r"Pulumi.staging.yaml is not YAML"):
        applier.up("staging", project, b"config: [")


def test_the_repositorys_own_files_stay_as_they_are(engine: Story, in_process: Story) -> None:
    for story in (engine, in_process):
        assert story.before.keys() == {"Pulumi.yaml", "Pulumi.staging.yaml", "Pulumi.prod.yaml"}
        assert story.after == story.before


def test_an_engine_that_does_not_run_to_its_end_may_be_tried_again(
    cloud: LocalAws, project: bytes, stack_file: StackFile, tmp_path: Path
) -> None:
    command = tmp_path / "pulumi"
    command.write_text('#!/bin/sh\n[ "$1" = version ] && echo v3.274.1 || { echo killed >&2; exit 137; }\n')
    command.chmod(0o755)

    with Engine(cloud, command) as engine, pytest.raises(TransientError, match="killed"):
        engine.up("staging", project, stack_file(0))


def test_a_command_that_is_not_pulumi_is_named(cloud: LocalAws, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-pulumi .*tools/pulumi-cli.sh"):
        Engine(cloud, tmp_path / "no-pulumi")


def test_the_command_is_looked_for_by_name_then_path_then_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = tmp_path / "pilot" / "pulumi-3.274.1" / "pulumi"
    built.parent.mkdir(parents=True)
    on_path = tmp_path / "bin" / "pulumi"
    on_path.parent.mkdir()
    monkeypatch.delenv("PILOT_PULUMI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(on_path.parent))

    found = [find_pulumi()]
    for place in (built, on_path):
        place.touch(mode=0o755)
        found.append(find_pulumi())
    monkeypatch.setenv("PILOT_PULUMI", "/named/pulumi")
    found.append(find_pulumi())

    assert found == [None, built, on_path, Path("/named/pulumi")]
