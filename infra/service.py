"""One ECS service of the stack, and the task definition that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.cluster import Cluster, log_group_name
from infra.config import StackConfig, Variant
from infra.container import NAME, container_definitions, volume_name
from infra.network import Network


@dataclass(frozen=True, kw_only=True)
class ServiceArgs:
    """
    `after` is waited for: ECS refuses a target group that no load balancer uses, and an app its missing settings.

    `alarm_names` take a deployment back when they fire during it.
    """

    config: StackConfig
    variant: Variant
    network: Network
    cluster: Cluster
    target_group_arn: pulumi.Input[str]
    alarm_names: Sequence[pulumi.Input[str]]
    after: Sequence[pulumi.Resource]


class Service(pulumi.ComponentResource):
    """
    A Fargate service that takes a broken deployment back by itself.

    The circuit breaker reverts one whose tasks do not start, the alarms one whose requests fail or are slow.
    Earlier revisions of the task definition stay registered, for that and for people to go back to. ECS spreads tasks
    over the zones again after one was lost. How many run is the stack file's to say, unless it leaves that to scaling.
    """

    name: pulumi.Output[str]
    task_definition_arn: pulumi.Output[str]

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Service", name, None, opts)
        settings = args.config.service
        task = self._task_definition(name, args)
        scaled = args.config.scaling
        service = aws.ecs.Service(
            name,
            name=args.variant.service,
            cluster=args.cluster.arn,
            task_definition=task.arn,
            desired_count=scaled.min_tasks if scaled else settings.desired_count,
            launch_type="FARGATE",
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=args.network.private_subnet_ids,
                security_groups=[args.cluster.security_group_id],
                assign_public_ip=False,
            ),
            load_balancers=[
                aws.ecs.ServiceLoadBalancerArgs(
                    target_group_arn=args.target_group_arn,
                    container_name=NAME,
                    container_port=settings.port,
                )
            ],
            health_check_grace_period_seconds=60,
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            alarms=aws.ecs.ServiceAlarmsArgs(enable=True, rollback=True, alarm_names=args.alarm_names),
            availability_zone_rebalancing="ENABLED",
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=list(args.after), ignore_changes=["desiredCount"] if scaled else None
            ),
        )
        self.name = service.name
        self.task_definition_arn = task.arn
        self.register_outputs({"name": self.name, "taskDefinitionArn": self.task_definition_arn})

    def _task_definition(self, name: str, args: ServiceArgs) -> aws.ecs.TaskDefinition:
        settings = args.config.service
        log_group = log_group_name(settings.cluster, settings.name)
        return aws.ecs.TaskDefinition(
            name,
            family=f"{settings.cluster}-{args.variant.service}",
            cpu=str(settings.cpu),
            memory=str(settings.memory),
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            runtime_platform=aws.ecs.TaskDefinitionRuntimePlatformArgs(
                cpu_architecture=settings.architecture, operating_system_family="LINUX"
            ),
            execution_role_arn=args.cluster.execution_role_arn,
            task_role_arn=args.cluster.task_role_arn,
            container_definitions=container_definitions(args.config, args.variant, log_group),
            volumes=[aws.ecs.TaskDefinitionVolumeArgs(name=volume_name(path)) for path in settings.writable_paths],
            skip_destroy=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.cluster.log_group]),
        )
