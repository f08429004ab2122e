"""What the variants of a service share: cluster, logs, roles, and who may reach the tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^@:]+)@")
_TASKS_MAY_ASSUME = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """`ingress_group_id` is the security group that may reach the tasks on `port`."""

    cluster: str
    service: str
    images: Sequence[str]
    log_retention: int
    vpc_id: pulumi.Input[str]
    ingress_group_id: pulumi.Input[str]
    port: int


class Cluster(pulumi.ComponentResource):
    """
    An ECS cluster with the log group, the roles and the security group of its tasks.

    The execution role may pull the stack's images and write its log, nothing else. The task role
    may do nothing: what the application needs is the application's to grant.
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
        execution = aws.iam.Role(
            "execution",
            name=f"{prefix}-execution",
            assume_role_policy=_TASKS_MAY_ASSUME,
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            "execution",
            name="pull-images-and-write-logs",
            role=execution.name,
            policy=self.log_group.arn.apply(lambda arn: _execution_policy(arn, args.images)),
            opts=child,
        )
        task = aws.iam.Role("task", name=f"{prefix}-task", assume_role_policy=_TASKS_MAY_ASSUME, opts=child)
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
        # A task that starts before the role has its policy cannot pull its image.
        self.execution_role_arn = pulumi.Output.all(execution.arn, policy.id).apply(lambda both: str(both[0]))
        self.task_role_arn = task.arn
        self.security_group_id = group.id
        self.register_outputs({"arn": self.arn})


def log_group_name(cluster: str, service: str) -> str:
    return f"/ecs/{cluster}/{service}"


def _execution_policy(log_group_arn: str, images: Sequence[str]) -> str:
    """Return the least that starting a task takes: ECR's login has no resource of its own."""
    statements: list[dict[str, object]] = [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": f"{log_group_arn}:*",
        }
    ]
    repositories = sorted(
        {
            f"arn:aws:ecr:{found['region']}:{found['account']}:repository/{found['repository']}"
            for found in map(_ECR.match, images)
            if found
        }
    )
    if repositories:
        statements += [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": [
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:GetDownloadUrlForLayer",
                ],
                "Resource": repositories,
            },
        ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
