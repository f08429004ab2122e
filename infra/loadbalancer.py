"""The way in: an application load balancer whose listener splits traffic by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.config import Variant
from infra.network import Network

STICKINESS_SECONDS = 7 * 24 * 3600  # the longest that a load balancer allows


@dataclass(frozen=True, kw_only=True)
class LoadBalancerArgs:
    """`prefix` begins every name; one target group for each of `variants`, with its weight."""

    prefix: str
    network: Network
    variants: Sequence[Variant]
    port: int
    health_path: str


class LoadBalancer(pulumi.ComponentResource):
    """
    A load balancer, its security group, a target group per variant, and the listener.

    A user stays with the variant that served them first for seven days, where there are two.
    """

    security_group_id: pulumi.Output[str]
    arn_suffix: pulumi.Output[str]
    dns_name: pulumi.Output[str]
    target_groups: dict[str, aws.lb.TargetGroup]
    listener: aws.lb.Listener

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:LoadBalancer", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        group = aws.ec2.SecurityGroup(
            name,
            name=f"{args.prefix}-alb",
            description="HTTP from anywhere to the load balancer",
            vpc_id=args.network.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(protocol="tcp", from_port=80, to_port=80, cidr_blocks=["0.0.0.0/0"])
            ],
            egress=[aws.ec2.SecurityGroupEgressArgs(protocol="-1", from_port=0, to_port=0, cidr_blocks=["0.0.0.0/0"])],
            opts=child,
        )
        balancer = aws.lb.LoadBalancer(
            name,
            name=args.prefix,
            load_balancer_type="application",
            internal=False,
            subnets=args.network.public_subnet_ids,
            security_groups=[group.id],
            opts=child,
        )
        self.target_groups = {variant.name: self._target_group(variant, args) for variant in args.variants}
        self.listener = aws.lb.Listener(
            name,
            load_balancer_arn=balancer.arn,
            port=80,
            protocol="HTTP",
            default_actions=[self._forward(args.variants)],
            opts=child,
        )
        self.security_group_id = group.id
        self.arn_suffix = balancer.arn_suffix
        self.dns_name = balancer.dns_name
        self.register_outputs({"dnsName": self.dns_name, "listenerArn": self.listener.arn})

    def _target_group(self, variant: Variant, args: LoadBalancerArgs) -> aws.lb.TargetGroup:
        suffix = "" if variant.name == "stable" else "-cand"
        return aws.lb.TargetGroup(
            variant.name,
            name=f"{args.prefix}{suffix}",
            port=args.port,
            protocol="HTTP",
            target_type="ip",
            vpc_id=args.network.vpc_id,
            deregistration_delay=30,
            health_check=aws.lb.TargetGroupHealthCheckArgs(
                path=args.health_path,
                matcher="200",
                interval=10,
                timeout=5,
                healthy_threshold=2,
                unhealthy_threshold=3,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _forward(self, variants: Sequence[Variant]) -> aws.lb.ListenerDefaultActionArgs:
        stickiness = aws.lb.ListenerDefaultActionForwardStickinessArgs(enabled=True, duration=STICKINESS_SECONDS)
        return aws.lb.ListenerDefaultActionArgs(
            type="forward",
            forward=aws.lb.ListenerDefaultActionForwardArgs(
                target_groups=[
                    aws.lb.ListenerDefaultActionForwardTargetGroupArgs(
                        arn=self.target_groups[variant.name].arn, weight=variant.weight
                    )
                    for variant in variants
                ],
                stickiness=stickiness if len(variants) > 1 else None,
            ),
        )
