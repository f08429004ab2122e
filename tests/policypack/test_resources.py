"""Each rule of the policy pack on resources that it refuses and on ones that it lets pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policypack import permissions, resources

TASK = "aws:ecs/taskDefinition:TaskDefinition"
SERVICE = "aws:ecs/service:Service"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
LISTENER = "aws:lb/listener:Listener"
DIGEST = "registry.example/api@sha256:" + "a" * 64
BACK = {"enable": True, "rollback": True}


def task(**container: Any) -> dict[str, Any]:
    return {"containerDefinitions": json.dumps([{"name": "app", "image": DIGEST, **container}]), "skipDestroy": True}


def service(**changes: Any) -> dict[str, Any]:
    good = {
        "deploymentCircuitBreaker": BACK,
        "alarms": {**BACK, "alarmNames": ["5xx"]},
        "deploymentMinimumHealthyPercent": 100,
    }
    return good | changes


def ingress(low: int, high: int, *sources: str, protocol: str = "tcp") -> dict[str, Any]:
    return {"ingress": [{"protocol": protocol, "fromPort": low, "toPort": high, "cidrBlocks": list(sources)}]}


def forward(*weights: int, sticky: bool = True) -> dict[str, Any]:
    groups = [{"arn": "", "weight": weight} for weight in weights]
    return {"defaultActions": [{"forward": {"targetGroups": groups, "stickiness": {"enabled": sticky}}}]}


@pytest.mark.parametrize(
    ("rule", "kind", "props", "said"),
    [
        ("image", TASK, task(), None),
        ("image", TASK, task(image="api:latest"), "runs api:latest; name it by digest"),
        ("image", TASK, task(image=DIGEST[:-1]), "name it by digest"),
        ("image", TASK, {"containerDefinitions": "no JSON"}, None),
        ("image", "aws:sns/topic:Topic", {}, None),
        ("secrets", TASK, task(environment=[{"name": "DB_HOST", "value": "x"}]), None),
        (
            "secrets",
            TASK,
            task(environment=[{"name": "DB_PASSWORD", "value": "x"}]),
            "app has DB_PASSWORD in plain text",
        ),
        ("secrets", TASK, task(environment=[{"name": "apiKey", "value": "x"}]), "app has apiKey in plain text"),
        ("secrets", TASK, task(environment=[{"name": "DB_PASSWORD_ARN", "value": "x"}]), None),
        ("secrets", TASK, task(secrets=[{"name": "DB_PASSWORD", "valueFrom": "arn"}]), None),
        ("secrets", "aws:ssm/parameter:Parameter", {"name": "/shop/token", "type": "String"}, "make it a SecureString"),
        ("secrets", "aws:ssm/parameter:Parameter", {"name": "/shop/token", "type": "SecureString"}, None),
        ("privileged", TASK, task(privileged=True), "app is privileged"),
        ("privileged", TASK, task(privileged=False), None),
        ("way-back", TASK, task(), None),
        ("way-back", TASK, {**task(), "skipDestroy": False}, "set skip_destroy"),
        ("way-back", SERVICE, service(), None),
        ("way-back", SERVICE, service(deploymentCircuitBreaker=None), "set deployment_circuit_breaker"),
        (
            "way-back",
            SERVICE,
            service(deploymentCircuitBreaker={"enable": True, "rollback": False}),
            "set deployment_circuit_breaker",
        ),
        ("way-back", SERVICE, service(alarms=None), "set alarms"),
        ("way-back", SERVICE, service(alarms={**BACK, "alarmNames": []}), "set alarms"),
        ("way-back", SERVICE, service(alarms={"enable": True, "rollback": False, "alarmNames": ["x"]}), "set alarms"),
        ("way-back", SERVICE, service(deploymentMinimumHealthyPercent=0), "may stop every task at once"),
        ("way-back", SERVICE, service(deploymentController={"type": "CODE_DEPLOY"}), "is not deployed by ECS itself"),
        ("public-port", GROUP, ingress(443, 443, "0.0.0.0/0"), None),
        ("public-port", GROUP, ingress(5432, 5432, "10.0.0.0/8"), None),
        (
            "public-port",
            GROUP,
            ingress(5432, 5432, "10.0.0.0/8", "0.0.0.0/0"),
            "port 5432 (PostgreSQL) is open to the internet",
        ),
        ("public-port", GROUP, ingress(5400, 5432, "0.0.0.0/0"), "port 5432 (PostgreSQL)"),
        ("public-port", GROUP, ingress(5433, 5438, "0.0.0.0/0"), None),
        ("public-port", GROUP, ingress(0, 0, "0.0.0.0/0", protocol="-1"), "all ports are open to the internet"),
        (
            "public-port",
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            {"cidrIpv6": "::/0", "ipProtocol": "tcp", "fromPort": 6379, "toPort": 6379},
            "6379 (Redis)",
        ),
        (
            "public-port",
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "-1"},
            "all ports",
        ),
        (
            "public-port",
            "aws:ec2/securityGroupRule:SecurityGroupRule",
            {"type": "ingress", "protocol": "tcp", "fromPort": 22, "toPort": 22, "ipv6CidrBlocks": ["::/0"]},
            "22 (SSH)",
        ),
        (
            "public-port",
            "aws:ec2/securityGroupRule:SecurityGroupRule",
            {"type": "egress", "protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["0.0.0.0/0"]},
            None,
        ),
        ("public-port", "aws:rds/instance:Instance", {"publiclyAccessible": True}, "set publicly_accessible to false"),
        ("public-port", "aws:rds/instance:Instance", {"publiclyAccessible": False}, None),
        ("weights", LISTENER, forward(90, 10), None),
        ("weights", LISTENER, forward(100, 0), None),
        ("weights", LISTENER, forward(90, 20), "the weights are 90 + 20; they should sum to 100"),
        ("weights", LISTENER, forward(90, 10, sticky=False), "enable stickiness"),
        ("weights", LISTENER, forward(100, 0, sticky=False), None),  # nobody is kept where nobody shall be
        ("weights", LISTENER, forward(1), None),
        ("public-bucket", "aws:s3/bucketAcl:BucketAcl", {"acl": "public-read"}, "the bucket is public-read"),
        ("public-bucket", "aws:s3/bucketAcl:BucketAcl", {"acl": "private"}, None),
        (
            "public-bucket",
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            {"blockPublicAcls": True},
            "(blockPublicPolicy, ignorePublicAcls, restrictPublicBuckets)",
        ),
        (
            "public-bucket",
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            dict.fromkeys(["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"], True),
            None,
        ),
        ("log-retention", "aws:cloudwatch/logGroup:LogGroup", {}, "set retention_in_days"),
        ("log-retention", "aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 30}, None),
    ],
)
def test_a_resource_is_refused_with_what_to_do(rule: str, kind: str, props: dict[str, Any], said: str | None) -> None:
    found = list(resources.RULES[rule][1](kind, props))

    assert (said is None and found == []) or (said is not None and len(found) == 1 and said in found[0]), found


ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
ARN = "arn:aws:ecs:us-east-1:123456789012:service/shop/api"
GITHUB = "token.actions.githubusercontent.com"


def document(**statement: Any) -> str:
    return json.dumps({"Statement": [{"Effect": "Allow", **statement}]})


def oidc(issuer: str, **condition: Any) -> str:
    principal = {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{issuer}"}
    return document(Principal=principal, Action="sts:AssumeRoleWithWebIdentity", Condition=condition)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (document(Action="ecs:UpdateService", Resource=ARN), None),
        (document(Action="*", Resource="*"), "allows *; list the actions"),
        (document(Action=["ecs:UpdateService", "s3:*"], Resource=ARN), "allows s3:*; list the actions"),
        (
            document(Action="ecs:UpdateService", Resource="*"),
            "allows ecs:UpdateService on every resource (*); name the ARNs",
        ),
        (
            document(Action=["ec2:DescribeVpcs", "ecs:DescribeServices"], Resource=["*"]),
            "allows ecs:DescribeServices on every",
        ),
        (document(Action=["ec2:Describe*", "ecr:GetAuthorizationToken"], Resource="*"), None),
        (document(NotAction="iam:*", Resource="*"), "allows all but some"),
        (document(Action="ecs:UpdateService", NotResource=ARN), "allows all but some"),
        (json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}), "allows *"),
        (json.dumps({"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}), None),
        ("no JSON", None),
    ],
)
def test_a_role_may_do_only_what_is_listed(policy: str, said: str | None) -> None:
    for kind, props in (
        (ROLE_POLICY, {"policy": policy}),
        (ROLE, {"assumeRolePolicy": "{}", "inlinePolicies": [{"policy": policy}]}),
    ):
        found = list(permissions.rule(kind, props))
        assert (said is None and found == []) or (said is not None and len(found) == 1 and said in found[0]), found


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (document(Principal={"Service": "ecs-tasks.amazonaws.com"}, Action="sts:AssumeRole"), None),
        (document(Principal="*", Action="sts:AssumeRole"), "may be assumed by everyone"),
        (document(Principal={"AWS": ["*"]}, Action="sts:AssumeRole"), "may be assumed by everyone"),
        (oidc(GITHUB, StringEquals={f"{GITHUB}:sub": "repo:acme/shop:environment:prod"}), None),
        (oidc(GITHUB, StringLike={f"{GITHUB}:sub": ["repo:acme/shop:*"]}), None),
        (
            oidc(GITHUB, StringLike={f"{GITHUB}:sub": ["repo:acme/shop:*", "repo:acme/*"]}),
            f"bind {GITHUB}:sub to one repository",
        ),
        (oidc(GITHUB, StringEquals={f"{GITHUB}:aud": "sts.amazonaws.com"}), f"by everyone whom {GITHUB} knows"),
        (oidc("gitlab.com", StringLike={"gitlab.com:sub": "project_path:acme/shop:ref_type:branch:ref:*"}), None),
        (oidc("gitlab.com", StringLike={f"{GITHUB}:sub": "repo:acme/shop:*"}), "bind gitlab.com:sub"),
    ],
)
def test_a_role_is_assumed_by_whom_it_is_for(policy: str, said: str | None) -> None:
    found = list(permissions.rule(ROLE, {"assumeRolePolicy": policy}))

    assert (said is None and found == []) or (said is not None and len(found) == 1 and said in found[0]), found


@pytest.mark.parametrize(
    ("name", "refused"),
    [("AdministratorAccess", True), ("IAMFullAccess", True), ("service-role/AmazonECSTaskExecutionRolePolicy", False)],
)
def test_a_role_has_no_policy_that_allows_everything(name: str, refused: bool) -> None:
    arn = f"arn:aws:iam::aws:policy/{name}"
    attached = permissions.rule("aws:iam/rolePolicyAttachment:RolePolicyAttachment", {"policyArn": arn})
    managed = permissions.rule(ROLE, {"assumeRolePolicy": "{}", "managedPolicyArns": [arn]})

    assert (bool(list(attached)), bool(list(managed))) == (refused, refused)
