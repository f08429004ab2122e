"""The local AWS refuses what AWS refuses; moto and botocore would accept most of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from controller.rehearsal.localcloud import InProcess, LocalAws
from controller.rehearsal.localcloud.kinds import invoke, kind_of
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError

CONTAINER = {"name": "app", "image": "i", "portMappings": [{"containerPort": 8080}]}
TASK = {
    "family": "f", "cpu": "256", "memory": "512", "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"], "containerDefinitions": json.dumps([CONTAINER]),
}  # fmt: skip
LISTENER = {
    "loadBalancerArn": "lb", "port": 80, "protocol": "HTTP",
    "defaultActions": [{"type": "forward", "forward": {
        "targetGroups": [{"arn": "tg", "weight": 100}],
        "stickiness": {"enabled": True, "duration": 604800}}}],
}  # fmt: skip
TARGET_GROUP = {
    "name": "tg", "port": 80, "protocol": "HTTP", "targetType": "ip", "vpcId": "vpc-1",
    "deregistrationDelay": 30, "healthCheck": {"path": "/", "matcher": "200", "interval": 10},
}  # fmt: skip
SERVICE = {
    "name": "s", "cluster": "c", "taskDefinition": "f:1", "launchType": "FARGATE",
    "networkConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": False},
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
}  # fmt: skip
RATE = {"id": "rate", "expression": "100 * errors", "returnData": True}
ERRORS = {"id": "errors", "returnData": False, "metric": {
    "namespace": "n", "metricName": "m", "period": 60, "stat": "Sum"}}  # fmt: skip
ALARM = {
    "name": "a", "comparisonOperator": "GreaterThanThreshold", "evaluationPeriods": 10,
    "threshold": 2, "treatMissingData": "notBreaching", "metricQueries": [ERRORS, RATE],
}  # fmt: skip
ROLE = {"name": "r", "assumeRolePolicy": '{"Statement": [{"Effect": "Allow"}]}'}
PARAMETER = {"name": "/p", "type": "String", "value": "1"}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "task": ("aws:ecs/taskDefinition:TaskDefinition", TASK),
    "listener": ("aws:lb/listener:Listener", LISTENER),
    "target-group": ("aws:lb/targetGroup:TargetGroup", TARGET_GROUP),
    "service": ("aws:ecs/service:Service", SERVICE),
    "alarm": ("aws:cloudwatch/metricAlarm:MetricAlarm", ALARM),
    "role": ("aws:iam/role:Role", ROLE),
    "parameter": ("aws:ssm/parameter:Parameter", PARAMETER),
    "logs": ("aws:cloudwatch/logGroup:LogGroup", {"name": "/l", "retentionInDays": 30}),
    "vpc": ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"}),
    "subnet": ("aws:ec2/subnet:Subnet", {"vpcId": "v", "cidrBlock": "10.0.1.0/24"}),
    "balancer": ("aws:lb/loadBalancer:LoadBalancer", {"name": "lb", "subnets": ["subnet-1"]}),
}


@pytest.fixture(scope="module")
def aws() -> Any:
    return LocalAws(datetime(2026, 3, 2, tzinfo=UTC)).aws()  # not entered: nothing is called


def changed(inputs: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy of *inputs* with the member at *path*, such as `a.0.b`, set to *value*."""
    result = copy.deepcopy(inputs)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = result
    for part in way:
        place = place[part]
    place[last] = value
    return result


@pytest.mark.parametrize("name", KINDS)
def test_good_inputs_pass(aws: Any, name: str) -> None:
    token, inputs = KINDS[name]

    kind_of(token, aws).check(inputs)


@pytest.mark.parametrize("name", KINDS)
def test_inputs_that_a_preview_does_not_know_pass(aws: Any, name: str) -> None:
    token, inputs = KINDS[name]
    known = {"defaultActions", "networkConfiguration", "metricQueries", "healthCheck"}

    kind_of(token, aws).check({k: v if k in known else UNKNOWN for k, v in inputs.items()})


FORWARD = "defaultActions.0.forward"


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("listener", f"{FORWARD}.targetGroups.0.weight", 1000, "1000; .*0..999"),
        ("listener", f"{FORWARD}.targetGroups.0.weight", -1, "-1; .*0..999"),
        ("listener", f"{FORWARD}.targetGroups.0.weight", 9.5, "9.5; .*whole number"),
        ("listener", f"{FORWARD}.stickiness.duration", 604801, "1..604800"),
        ("listener", f"{FORWARD}.stickiness.durration", 5, "durration is not a member"),
        ("listener", "defaultActions.0.type", "forwrd", "should be one of forward"),
        ("listener", "protocol", "HTTPZ", "should be one of HTTP"),
        ("listener", "port", 99999, "1..65535"),
        ("target-group", "deregistrationDelay", 99999, "0..3600"),
        ("target-group", "healthCheck.interval", 1, "5..300"),
        ("target-group", "healthCheck.pth", "/", "pth is not a member"),
        ("target-group", "targetType", "container", "should be one of instance"),
        ("target-group", "name", "n" * 33, "at most 32"),
        ("task", "memory", "9999", "memory with cpu 256 is '9999'; .*512, 1024, 2048"),
        ("task", "cpu", "300", "cpu is '300'; .*256, 512"),
        ("task", "networkMode", "bridge", "networkMode on Fargate"),
        ("task", "containerDefinitions", "[", "is not JSON"),
        ("task", "containerDefinitions", "[]", "at least one container"),
        ("task", "containerDefinitions", '[{"name": "a", "image": "i", "enviroment": []}]',
         "enviroment is not a member"),
        ("task", "containerDefinitions",
         '[{"name": "a", "image": "i", "portMappings": [{"containerPort": 99999}]}]', "1..65535"),
        ("task", "requiresCompatibilities", ["FARGAT"], "should be one of EC2, FARGATE"),
        ("service", "launchType", "FARGATEE", "should be one of EC2"),
        ("service", "desiredCount", -1, "0..5000"),
        ("service", "deploymentCircuitBreaker.rolback", True, "rolback is not a member"),
        ("service", "networkConfiguration.subnts", [], "subnts is not a member"),
        ("alarm", "comparisonOperator", "Greater", "should be one of GreaterThan"),
        ("alarm", "treatMissingData", "ignored", "should be one of breaching"),
        ("alarm", "metricQueries.0.metric.stat", "Median", "stat is 'Median'"),
        ("alarm", "metricQueries.1.expression", "100 * (errors", "brackets do not close"),
        ("alarm", "metricQueries.1.expression", "100 * erors", "no query is 'erors'"),
        ("alarm", "metricQueries.1.returnData", False, "exactly one"),
        ("role", "assumeRolePolicy", "{", "is not a policy document"),
        ("role", "assumeRolePolicy", '{"Statement": [{"Effect": "Alow"}]}', "'Alow'"),
        ("parameter", "type", "Text", "should be one of String"),
        ("logs", "retentionInDays", 31, "31; it should be one of 1, 3, 5"),
        ("vpc", "cidrBlock", "10.0.0.1/16", "has host bits set"),
        ("subnet", "cidrBlock", "10.0.0.0/33", "10.0.0.0/33"),
        ("balancer", "loadBalancerType", "classic", "should be one of application"),
    ],
)  # fmt: skip
def test_what_can_be_known_before_it_is_made_is_refused(
    aws: Any, name: str, path: str, value: object, said: str
) -> None:
    token, inputs = KINDS[name]

    with pytest.raises(BadInputError, match=said):
        kind_of(token, aws).check(changed(inputs, path, value))


def test_an_unknown_type_and_an_unknown_function_are_refused(aws: Any) -> None:
    with pytest.raises(BadInputError, match="aws:rds/instance:Instance is not among"):
        kind_of("aws:rds/instance:Instance", aws)
    with pytest.raises(BadInputError, match=r"getAmi.* is not among"):
        invoke("aws:ec2/getAmi:getAmi", {}, aws)


@pytest.fixture(scope="module")
def made(project: bytes, stack_file: Callable[..., bytes]) -> Iterator[Callable[[str, str, object], None]]:
    """A stack that is up; the call updates one of its resources with one member changed."""
    with LocalAws(datetime(2026, 3, 2, tzinfo=UTC)) as cloud:
        pulumi = InProcess(cloud)
        pulumi.up("staging", project, stack_file(10, exposure="traffic", network=cloud.network()))
        yield _updating(cloud, pulumi)


def _updating(cloud: LocalAws, pulumi: InProcess) -> Callable[[str, str, object], None]:

    def update(name: str, path: str, value: object) -> None:
        token = KINDS[name][0]
        resource = next(one for one in pulumi.resources("staging") if one.token == token)
        new = changed(resource.inputs, path, value)
        kind = kind_of(token, cloud.aws())
        if kind.changed(resource.inputs, new)[1]:
            kind.create({**new, "name": "another"} if "name" in new else new)
        else:
            kind.update(resource.id, resource.inputs, new)

    return update


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("listener", f"{FORWARD}.targetGroups.0.arn", "arn:none", "no such target group"),
        ("service", "loadBalancers.0.containerName", "web", "'web'; it should be one of app"),
        ("service", "loadBalancers.0.containerPort", 81, "81; it should be one of 8080"),
        ("service", "loadBalancers.0.targetGroupArn", "arn:none", "no such target group"),
        ("service", "alarms.alarmNames", ["none"], "'none'; it should be one of"),
        ("service", "cluster", "none", "Cluster not found"),
        ("service", "networkConfiguration.subnets", ["subnet-0"], "subnet-0"),
        ("task", "executionRoleArn", "arn:aws:iam::1:role/none", "there is no such role"),
        ("balancer", "subnets", ["subnet-0"], "there is no such subnet"),
        ("balancer", "securityGroups", ["sg-0"], "there is no such security group"),
    ],
)
def test_what_refers_to_nothing_is_refused(
    made: Callable[[str, str, object], None], name: str, path: str, value: object, said: str
) -> None:
    with pytest.raises((BadInputError, ClientError), match=said):
        made(name, path, value)
