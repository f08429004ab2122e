"""The controller's place in AWS: a task on a schedule, or a role for the CI that runs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.cluster import Cluster, starting
from infra.config import ControllerConfig, StackConfig
from infra.container import awslogs, pairs, references
from infra.network import Network
from infra.permissions import Role, Statement, allow, assumed_by

_CPU, _MEMORY = 256, 1024  # DuckDB reads the events in memory
_HOME = "/var/lib/pilot"  # the one place that it writes to; empty at each pass


@dataclass(frozen=True, kw_only=True)
class ControllerArgs:
    """`prefix` begins every name; `ci_trust` is whom runs: ci trusts; `topic_arn` is told of passes that never ran."""

    prefix: str
    stack: StackConfig
    config: ControllerConfig
    cluster: Cluster
    network: Network
    account: pulumi.Input[str]
    ci_trust: pulumi.Input[str] | None
    topic_arn: pulumi.Input[str] | None


class Controller(pulumi.ComponentResource):
    """
    What runs `pilot reconcile --stack <stack>`, and the role by which it reads AWS. It may change nothing there.

    With `schedule`, EventBridge Scheduler starts a Fargate task; a pass that could not be started goes to a queue,
    and an alarm says so. Passes may overlap, for each decides afresh. With `ci`, there is only the role.
    """

    role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: ControllerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Controller", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self._boundary = args.stack.pipeline.permissions_boundary_arn if args.stack.pipeline else None
        trust = args.ci_trust or assumed_by("ecs-tasks.amazonaws.com", args.account)
        self.role_arn = self._role(name, args, trust, _reads(args))
        if args.config.runs == "schedule":
            self._schedule(name, args)
        self.register_outputs({"roleArn": self.role_arn})

    def _role(
        self, name: str, args: ControllerArgs, trust: pulumi.Input[str], allows: Sequence[Statement]
    ) -> pulumi.Output[str]:
        role_name = f"{args.prefix}-{name}"
        return Role(
            name, role_name=role_name, trust=trust, allows=allows, boundary=self._boundary, opts=self._child
        ).arn  # fmt: skip

    def _schedule(self, name: str, args: ControllerArgs) -> None:
        task = self._task(name, args)
        missed = aws.sqs.Queue(
            f"{name}-missed",
            name=f"{args.prefix}-{name}-missed",
            sqs_managed_sse_enabled=True,
            message_retention_seconds=14 * 24 * 3600,
            opts=self._child,
        )
        runner = self._role(
            f"{name}-scheduler", args, assumed_by("scheduler.amazonaws.com", args.account),
            _running(args, task, self._execution_role_arn, self.role_arn, missed.arn),
        )  # fmt: skip
        group = self._security_group(name, args)
        aws.scheduler.Schedule(
            name,
            name=f"{args.prefix}-{name}",
            description=f"pilot reconcile --stack {args.stack.stack}",
            schedule_expression=f"rate({args.config.every_minutes} minutes)",
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(
                arn=args.cluster.arn,
                role_arn=runner,
                ecs_parameters=aws.scheduler.ScheduleTargetEcsParametersArgs(
                    task_definition_arn=task.arn,
                    launch_type="FARGATE",
                    task_count=1,
                    network_configuration=aws.scheduler.ScheduleTargetEcsParametersNetworkConfigurationArgs(
                        subnets=args.network.private_subnet_ids, security_groups=[group.id], assign_public_ip=False
                    ),
                ),
                dead_letter_config=aws.scheduler.ScheduleTargetDeadLetterConfigArgs(arn=missed.arn),
                retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                    maximum_retry_attempts=2, maximum_event_age_in_seconds=args.config.every_minutes * 60
                ),
            ),
            opts=self._child,
        )
        self._alarm(name, args, missed)

    def _task(self, name: str, args: ControllerArgs) -> aws.ecs.TaskDefinition:
        assert args.config.image is not None  # the configuration has been checked
        logs = aws.cloudwatch.LogGroup(
            name, name=f"/ecs/{args.prefix}/{name}", retention_in_days=args.stack.service.log_retention,
            opts=self._child,
        )  # fmt: skip
        secrets = args.config.secrets
        self._execution_role_arn = self._role(
            f"{name}-execution", args, assumed_by("ecs-tasks.amazonaws.com", args.account),
            starting(logs.arn, [args.config.image], secrets.values(), args.stack.service.secrets_key_arn),
        )  # fmt: skip
        return aws.ecs.TaskDefinition(
            name,
            family=f"{args.prefix}-{name}",
            cpu=str(_CPU),
            memory=str(_MEMORY),
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            runtime_platform=aws.ecs.TaskDefinitionRuntimePlatformArgs(
                cpu_architecture=args.stack.service.architecture, operating_system_family="LINUX"
            ),
            execution_role_arn=self._execution_role_arn,
            task_role_arn=self.role_arn,
            container_definitions=logs.name.apply(lambda group: _container(args, group)),
            volumes=[aws.ecs.TaskDefinitionVolumeArgs(name="home")],
            skip_destroy=True,
            opts=self._child,
        )

    def _security_group(self, name: str, args: ControllerArgs) -> aws.ec2.SecurityGroup:
        out = aws.ec2.SecurityGroupEgressArgs(protocol="tcp", from_port=443, to_port=443, cidr_blocks=["0.0.0.0/0"])
        return aws.ec2.SecurityGroup(
            name,
            name=f"{args.prefix}-{name}",
            description="the controller to AWS, the forge and the events, by HTTPS",
            vpc_id=args.network.vpc_id,
            egress=[out],
            opts=self._child,
        )

    def _alarm(self, name: str, args: ControllerArgs, missed: aws.sqs.Queue) -> None:
        aws.cloudwatch.MetricAlarm(
            f"{name}-missed",
            name=f"{args.prefix}-{name}-missed",
            alarm_description="the scheduler could not start a pass of the controller; its queue says why",
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": missed.name},
            statistic="Maximum",
            period=300,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            alarm_actions=[args.topic_arn] if args.topic_arn is not None else None,
            opts=self._child,
        )


def _container(args: ControllerArgs, log_group: str) -> str:
    home = {"HOME": _HOME, "PILOT_CACHE": _HOME, "TMPDIR": _HOME}
    definition = {
        "name": "pilot",
        "image": args.config.image,
        "essential": True,
        "entryPoint": ["pilot"],
        "command": ["reconcile", "--stack", args.stack.stack],
        "environment": pairs({**home, **args.config.environment}),
        "secrets": references(args.config.secrets),
        "user": args.stack.service.user,
        "readonlyRootFilesystem": True,
        "mountPoints": [{"sourceVolume": "home", "containerPath": _HOME, "readOnly": False}],
        "logConfiguration": awslogs(log_group, args.stack.region, "pilot"),
    }
    return json.dumps([definition])


def _reads(args: ControllerArgs) -> list[Statement]:
    """Return all that the controller may do in AWS."""
    service, region, ahead = args.stack.service, args.stack.region, args.config.ahead
    read = [(service.cluster, service.name, [variant.service for variant in args.stack.variants])]
    if ahead:  # whichever variants it has
        read.append((ahead.cluster, ahead.name, [ahead.name, f"{ahead.name}-candidate"]))

    def arn(of: str, name: str) -> pulumi.Output[str]:
        return pulumi.Output.concat(f"arn:aws:{of}:{region}:", args.account, f":{name}")

    services = [arn("ecs", f"service/{cluster}/{one}") for cluster, _, names in read for one in names]
    parameters = [arn("ssm", f"parameter/pilot/{cluster}/{name}/*") for cluster, name, _ in read]
    alarms = arn("cloudwatch", "alarm:*")
    return [
        allow("read the deployments of the services", "ecs:DescribeServices", services),
        # No permission by resource: list_amazonelasticcontainerservice.html
        allow("read what the tasks are told", "ecs:DescribeTaskDefinition", "*"),
        # No permission by resource: list_awselasticloadbalancingv2.html
        allow(
            "read the weights",
            ["elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeTargetGroups"],
            "*",
        ),
        allow("read what was applied", "ssm:GetParameter", parameters),
        allow("read the alarms", "cloudwatch:DescribeAlarms", alarms),
    ]


def _running(
    args: ControllerArgs,
    task: aws.ecs.TaskDefinition,
    execution_role: pulumi.Input[str],
    task_role: pulumi.Input[str],
    queue: pulumi.Input[str],
) -> list[Statement]:
    passed = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    in_cluster = {"ArnEquals": {"ecs:cluster": args.cluster.arn}}
    return [
        allow("start a pass", "ecs:RunTask", pulumi.Output.concat(task.arn_without_revision, ":*"), in_cluster),
        allow("give a pass its roles", "iam:PassRole", [execution_role, task_role], passed),
        allow("keep what could not be started", "sqs:SendMessage", queue),
    ]
