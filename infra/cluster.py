"""What the variants of a service share: cluster, logs, roles, and who may reach the tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.permissions import Role, Statement, allow, assumed_by

_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^@:]+)@")


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """
    `ingress_group_id` is the security group that may reach the tasks on `port`.

    `secrets` are the tasks' variables with the ARN of each; `settings_arn` is the parameter that the app polls.
    """

    cluster: str
    service: str
    images: Sequence[str]
    secrets: Mapping[str, str]
    secrets_key_arn: str | None
    settings_arn: pulumi.Input[str] | None
    log_retention: int
    vpc_id: pulumi.Input[str]
    ingress_group_id: pulumi.Input[str]
    port: int
    account: pulumi.Input[str]
    boundary: str | None


class Cluster(pulumi.ComponentResource):
    """
    An ECS cluster with the log group, the roles and the security group of its tasks.

    The execution role may pull the stack's images, read its secrets and write its log, nothing else. The task role
    may read the settings where the app polls them, else nothing: what the application needs is its own to grant.
    """

    arn: pulumi.Output[str]
    log_group: aws.cloudwatch.LogGroup
    execution_role_arn: pulumi.Output[str]
    task_role_arn: pulumi.Output[str]
    security_group_id: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Cluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        prefix = f"{args.cluster}-{args.service}"
        cluster = aws.ecs.Cluster(
            name,
            name=args.cluster,
            settings=[aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")],
            opts=child,
        )
        self.log_group = aws.cloudwatch.LogGroup(
            name,
            name=log_group_name(args.cluster, args.service),
            retention_in_days=args.log_retention,
            opts=child,
        )
        trust = assumed_by("ecs-tasks.amazonaws.com", args.account)
        self.execution_role_arn = Role(
            "execution",
            role_name=f"{prefix}-execution",
            trust=trust,
            allows=starting(self.log_group.arn, args.images, args.secrets.values(), args.secrets_key_arn),
            boundary=args.boundary,
            opts=child,
        ).arn
        polls = [] if args.settings_arn is None else [
            allow("poll the settings of the rollout", "ssm:GetParameter", args.settings_arn)
        ]  # fmt: skip
        self.task_role_arn = Role(
            "task", role_name=f"{prefix}-task", trust=trust, allows=polls, boundary=args.boundary, opts=child
        ).arn
        group = aws.ec2.SecurityGroup(
            name,
            name=f"{prefix}-tasks",
            description="the load balancer to the tasks",
            vpc_id=args.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp",
                    from_port=args.port,
                    to_port=args.port,
                    security_groups=[args.ingress_group_id],
                )
            ],
            egress=[aws.ec2.SecurityGroupEgressArgs(protocol="-1", from_port=0, to_port=0, cidr_blocks=["0.0.0.0/0"])],
            opts=child,
        )
        self.arn = cluster.arn
        self.security_group_id = group.id
        self.register_outputs({"arn": self.arn})


def log_group_name(cluster: str, service: str) -> str:
    return f"/ecs/{cluster}/{service}"


def starting(
    log_group_arn: pulumi.Input[str], images: Iterable[str], secrets: Iterable[str], key_arn: str | None
) -> list[Statement]:
    """Return the least that starting a task takes: its log, its images, its secrets."""
    statements = [
        allow(
            "write the log of the tasks",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            pulumi.Output.concat(log_group_arn, ":*"),
        )
    ]
    repositories = sorted(
        {
            f"arn:aws:ecr:{found['region']}:{found['account']}:repository/{found['repository']}"
            for found in map(_ECR.match, images)
            if found
        }
    )
    if repositories:
        pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        statements += [
            # No permission by resource: list_amazonelasticcontainerregistry.html
            allow("log in to the registry", "ecr:GetAuthorizationToken", "*"),
            allow("pull the images", pull, repositories),
        ]
    return statements + _reading(sorted(set(secrets)), key_arn)


def _reading(secrets: Sequence[str], key_arn: str | None) -> list[Statement]:
    """Allow these secrets; ECS may ask for one field of a secret, a permission is for the whole."""
    whole = sorted({":".join(arn.split(":")[:7]) for arn in secrets if ":secretsmanager:" in arn})
    parameters = [arn for arn in secrets if ":ssm:" in arn]
    statements = []
    if whole:
        statements.append(allow("read the secrets", "secretsmanager:GetSecretValue", whole))
    if parameters:
        statements.append(allow("read the secret parameters", "ssm:GetParameters", parameters))
    if key_arn:
        statements.append(allow("decrypt the secrets", "kms:Decrypt", key_arn))
    return statements
