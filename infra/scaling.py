"""How many tasks of a service run, by load."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.config import ScalingConfig

_DIMENSION, _NAMESPACE = "ecs:service:DesiredCount", "ecs"
OUT_SECONDS, IN_SECONDS = 60, 300  # after one change until the next: quick to add, slow to take away


@dataclass(frozen=True, kw_only=True)
class ScalingArgs:
    """`load_balancer` and `target_group` are the ARN suffixes by which CloudWatch knows them."""

    config: ScalingConfig
    cluster: str
    service: pulumi.Input[str]
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]


class Scaling(pulumi.ComponentResource):
    """
    Target tracking on CPU and, where it is set, on requests per task and minute.

    Each policy adds tasks when its target is exceeded; tasks go only when every policy agrees.
    """

    def __init__(self, name: str, args: ScalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Scaling", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        config = args.config
        self._target = aws.appautoscaling.Target(
            name,
            service_namespace=_NAMESPACE,
            scalable_dimension=_DIMENSION,
            resource_id=pulumi.Output.concat("service/", args.cluster, "/", args.service),
            min_capacity=config.min_tasks,
            max_capacity=config.max_tasks,
            opts=self._child,
        )
        metric = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs
        self._track(f"{name}-cpu", config.cpu_percent, metric(
            predefined_metric_type="ECSServiceAverageCPUUtilization"))  # fmt: skip
        if config.requests_per_minute:
            self._track(f"{name}-requests", config.requests_per_minute, metric(
                predefined_metric_type="ALBRequestCountPerTarget",
                resource_label=pulumi.Output.concat(args.load_balancer, "/", args.target_group)))  # fmt: skip
        self.register_outputs({})

    def _track(
        self,
        name: str,
        target: int,
        metric: aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs,
    ) -> None:
        aws.appautoscaling.Policy(
            name,
            name=name,
            policy_type="TargetTrackingScaling",
            service_namespace=_NAMESPACE,
            scalable_dimension=_DIMENSION,
            resource_id=self._target.resource_id,
            target_tracking_scaling_policy_configuration=aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
                target_value=target,
                predefined_metric_specification=metric,
                scale_out_cooldown=OUT_SECONDS,
                scale_in_cooldown=IN_SECONDS,
                disable_scale_in=False,
            ),
            opts=self._child,
        )
