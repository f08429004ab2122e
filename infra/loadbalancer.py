"""The way in: an application load balancer whose listener splits traffic by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.accesslogs import AccessLogs, AccessLogsArgs
from infra.config import IngressConfig, Variant
from infra.network import Network

STICKINESS_SECONDS = 7 * 24 * 3600  # the longest that a load balancer allows
ANYWHERE = ["0.0.0.0/0"]


@dataclass(frozen=True, kw_only=True)
class LoadBalancerArgs:
    """
    `prefix` begins every name; one target group for each of `variants`, with its weight.

    `drain_seconds`: how long a target that leaves may finish its requests.
    """

    prefix: str
    config: IngressConfig
    network: Network
    variants: Sequence[Variant]
    port: int
    health_path: str
    drain_seconds: int
    region: str
    account: pulumi.Input[str]


class LoadBalancer(pulumi.ComponentResource):
    """
    A load balancer, its security group, a target group per variant, the listener, and where access is logged.

    Users come by HTTPS, and HTTP sends them there; by plain HTTP where the configuration says so. While two variants
    share the traffic, a user stays with the one that served them first, for seven days.
    """

    security_group_id: pulumi.Output[str]
    arn: pulumi.Output[str]
    arn_suffix: pulumi.Output[str]
    url: pulumi.Output[str]
    target_groups: dict[str, aws.lb.TargetGroup]
    listener: aws.lb.Listener

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:LoadBalancer", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        group = self._security_group(name, args)
        balancer = aws.lb.LoadBalancer(
            name,
            name=args.prefix,
            load_balancer_type="application",
            internal=False,
            subnets=args.network.public_subnet_ids,
            security_groups=[group.id],
            drop_invalid_header_fields=True,
            access_logs=self._access_logs(name, args),
            opts=self._child,
        )
        self.target_groups = {variant.name: self._target_group(variant, args) for variant in args.variants}
        self.listener = self._listeners(name, balancer.arn, args)
        self.security_group_id = group.id
        self.arn = balancer.arn
        self.arn_suffix = balancer.arn_suffix
        self.url = pulumi.Output.concat("http://" if args.config.insecure_http else "https://", balancer.dns_name)
        self.register_outputs({"url": self.url, "listenerArn": self.listener.arn})

    def _security_group(self, name: str, args: LoadBalancerArgs) -> aws.ec2.SecurityGroup:
        ports = [80] if args.config.insecure_http else [80, 443]
        return aws.ec2.SecurityGroup(
            name,
            name=f"{args.prefix}-alb",
            description="the internet to the load balancer",
            vpc_id=args.network.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(protocol="tcp", from_port=port, to_port=port, cidr_blocks=ANYWHERE)
                for port in ports
            ],
            egress=[aws.ec2.SecurityGroupEgressArgs(protocol="-1", from_port=0, to_port=0, cidr_blocks=ANYWHERE)],
            opts=self._child,
        )

    def _access_logs(self, name: str, args: LoadBalancerArgs) -> aws.lb.LoadBalancerAccessLogsArgs | None:
        if not args.config.access_log_days:
            return None
        logs = AccessLogs(f"{name}-logs", AccessLogsArgs(
            bucket_name=pulumi.Output.concat(args.prefix, "-access-logs-", args.account),
            days=args.config.access_log_days, region=args.region, account=args.account), self._child)  # fmt: skip
        return aws.lb.LoadBalancerAccessLogsArgs(bucket=logs.bucket, enabled=True)

    def _listeners(self, name: str, balancer: pulumi.Input[str], args: LoadBalancerArgs) -> aws.lb.Listener:
        """Return the listener that carries the weights."""
        action, config = self._forward(args.variants), args.config
        if config.insecure_http:
            return aws.lb.Listener(
                name, load_balancer_arn=balancer, port=80, protocol="HTTP", default_actions=[action], opts=self._child
            )
        to_https = aws.lb.ListenerDefaultActionRedirectArgs(protocol="HTTPS", port="443", status_code="HTTP_301")
        aws.lb.Listener(
            f"{name}-redirect",
            load_balancer_arn=balancer,
            port=80,
            protocol="HTTP",
            default_actions=[aws.lb.ListenerDefaultActionArgs(type="redirect", redirect=to_https)],
            opts=self._child,
        )
        return aws.lb.Listener(
            name,
            load_balancer_arn=balancer,
            port=443,
            protocol="HTTPS",
            certificate_arn=config.certificate_arn,
            ssl_policy=config.tls_policy,
            default_actions=[action],
            opts=self._child,
        )

    def _target_group(self, variant: Variant, args: LoadBalancerArgs) -> aws.lb.TargetGroup:
        suffix = "" if variant.name == "stable" else "-cand"
        return aws.lb.TargetGroup(
            variant.name,
            name=f"{args.prefix}{suffix}",
            port=args.port,
            protocol="HTTP",
            target_type="ip",
            vpc_id=args.network.vpc_id,
            deregistration_delay=args.drain_seconds,
            health_check=aws.lb.TargetGroupHealthCheckArgs(
                path=args.health_path,
                matcher="200",
                interval=10,
                timeout=5,
                healthy_threshold=2,
                unhealthy_threshold=3,
            ),
            opts=self._child,
        )

    def _forward(self, variants: Sequence[Variant]) -> aws.lb.ListenerDefaultActionArgs:
        """Forward by weight; at 0 and 100 no cookie keeps anybody with the variant that shall get nobody."""
        split = all(variant.weight for variant in variants)
        stickiness = aws.lb.ListenerDefaultActionForwardStickinessArgs(enabled=split, duration=STICKINESS_SECONDS)
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
