"""A second opinion that knows nothing of Pulumi or moto: cfn-lint judges every resource, and every permission."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.data import AdditionalSpecs
from cfnlint.helpers import load_resource

from controller.rehearsal.localcloud import InProcess, LocalAws
from controller.rehearsal.localcloud.inprocess import Resource
from tests.infra import cloudformation, whole

REGION = "us-east-1"
STACKS = {
    "everything": lambda: whole.everything(whole.shipped("prod")),
    "staging": lambda: whole.shipped("staging"),
}


@pytest.fixture(scope="module")
def registered() -> dict[str, tuple[Resource, ...]]:
    """All AWS resources of two stacks, with every id known, by the stack."""
    found = {}
    for name, config in STACKS.items():
        stack = "prod" if name == "everything" else name
        with LocalAws(datetime(2026, 3, 2, 9, tzinfo=UTC), seed=1) as cloud:
            pulumi = InProcess(cloud)
            pulumi.up(stack, whole.PROJECT, whole.text(whole.in_local_aws(cloud, config())))
            found[name] = tuple(one for one in pulumi.resources(stack) if one.token.startswith("aws:"))
    return found


def judged(resources: dict[str, tuple[str, dict[str, Any]]]) -> list[str]:
    """Return cfn-lint's findings in a template of *resources*, by their names: type and properties."""
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {name: {"Type": kind, "Properties": properties} for name, (kind, properties) in resources.items()},
    }
    found = lint(json.dumps(template), config=ManualArgs(regions=[REGION], include_checks=["I"]))
    return [
        f"{one.path[1] if len(one.path or []) > 1 else ''} {one.rule.id} {one.message}"
        for one in found
        if one.rule.id not in TEMPLATES_ONLY
    ]


# Said of templates, not of what they make: that a bucket is one resource there and not four, that what is deleted with
# its template needs a word on it, that a zone is written out.
TEMPLATES_ONLY = {"E3019", "I3011", "W3010"}


def template(resources: Iterable[Resource]) -> dict[str, tuple[str, dict[str, Any]]]:
    named = {}
    for i, resource in enumerate(resources):
        for j, said in enumerate(cloudformation.said(resource.token, copy.deepcopy(resource.inputs))):
            named["".join(c for c in f"{resource.name}{i}x{j}".title() if c.isalnum())] = said
    return named


def test_every_resource_is_one_that_cloudformation_would_take(registered: dict[str, tuple[Resource, ...]]) -> None:
    """Of both stacks in one template; what has but other ids in the second is judged once."""
    resources = {
        re.sub(r"\b[0-9a-f]{16,17}\b", "#", json.dumps([one.token, one.inputs], sort_keys=True)): one
        for stack in STACKS
        for one in registered[stack]
    }

    assert judged(template(resources.values())) == []


def test_a_type_that_nobody_translates_is_refused() -> None:
    with pytest.raises(KeyError, match="aws:rds/instance:Instance"):
        cloudformation.said("aws:rds/instance:Instance", {})


def test_everything_has_every_type_that_is_translated(registered: dict[str, tuple[Resource, ...]]) -> None:
    assert {one.token for one in registered["everything"]} == set(cloudformation._TYPES)


MISTAKES: list[tuple[str, str, Any, str]] = [
        ("aws:ecs/taskDefinition:TaskDefinition", "memory", "9999", "E3047"),
        ("aws:lb/listener:Listener", "protocol", "HTTPZ", "E3030"),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "comparisonOperator", "Greater", "E3030"),
        ("aws:scheduler/schedule:Schedule", "flexibleTimeWindow", {"mode": "NOPE"}, "E3030"),
        ("aws:ecs/service:Service", "launchTyp", "FARGATE", "E3002"),
        ("aws:iam/rolePolicy:RolePolicy", "policy",
         '{"Version": "2012-10-17", "Statement": [{"Effect": "Alow", "Action": "s3:GetObject", "Resource": "*"}]}',
         "E3510"),
        ("aws:iam/rolePolicy:RolePolicy", "policy",
         '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObjekt", "Resource": "*"}]}',
         "W3037"),
        ("aws:iam/rolePolicy:RolePolicy", "policy",
         '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:RunTask",'
         ' "Resource": "arn:aws:s3:::bucket"}]}', "I3510"),
]  # fmt: skip


def test_each_mistake_is_found(registered: dict[str, tuple[Resource, ...]]) -> None:
    """In one template, for cfn-lint takes its time to begin."""
    wrong = {}
    for i, (token, path, value, _) in enumerate(MISTAKES):
        good = next(one for one in registered["everything"] if one.token == token)
        (wrong[f"Wrong{i}"],) = cloudformation.said(token, {**copy.deepcopy(good.inputs), path: value})

    found = judged(wrong)

    missed = [
        one
        for i, one in enumerate(MISTAKES)
        if not any(line.startswith(f"Wrong{i} ") and one[3] in line for line in found)
    ]
    assert missed == []


# ---------------------------------------------------------------- permissions


def identity_policies(resources: tuple[Resource, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What roles are allowed: the role or the shared policy, and each statement."""
    for one in resources:
        if one.token in ("aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy"):
            for statement in json.loads(one.inputs["policy"])["Statement"]:
                yield one.inputs.get("role", one.inputs["name"]), statement


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def test_permissions_are_for_named_actions_that_aws_knows(registered: dict[str, tuple[Resource, ...]]) -> None:
    """Shared policies too: cfn-lint looks at the resources of inline ones only, which were judged above."""
    policies = {
        f"P{i}": ("AWS::IAM::Policy", {
            "PolicyName": "p", "Roles": ["r"], "PolicyDocument": json.loads(one.inputs["policy"]),
        })
        for i, one in enumerate(
            one for stack in STACKS for one in registered[stack] if one.token == "aws:iam/policy:Policy"
        )
    }  # fmt: skip
    actions = [
        action
        for stack in STACKS
        for _, one in identity_policies(registered[stack])
        for action in listed(one["Action"])
    ]

    assert judged(policies) == []
    assert [action for action in actions if "*" in action] == []


@pytest.mark.parametrize("stack", STACKS)
def test_a_permission_is_for_everything_only_where_aws_has_none_by_resource(
    registered: dict[str, tuple[Resource, ...]], stack: str
) -> None:
    """By the service authorization reference, of which cfn-lint brings a copy that is kept."""
    services = load_resource(AdditionalSpecs, "Policies.json")
    avoidable = []
    for role, statement in identity_policies(registered[stack]):
        if "*" in listed(statement["Resource"]):
            for action in listed(statement["Action"]):
                service, name = action.lower().split(":")
                if services[service]["Actions"][name].get("Resources"):
                    avoidable.append((role, action))

    assert avoidable == []
