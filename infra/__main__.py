"""Wire one stack from its configuration."""

import pulumi

from infra.alarms import ErrorAlarm, ErrorAlarmArgs
from infra.cluster import Cluster, ClusterArgs
from infra.config import StackConfig
from infra.loadbalancer import LoadBalancer, LoadBalancerArgs
from infra.network import Network, NetworkArgs
from infra.parameter import PercentParameter, PercentParameterArgs
from infra.service import Service, ServiceArgs

config = StackConfig.load()
settings, variants = config.service, config.variants

network = Network("network", NetworkArgs(given=config.network))
ingress = LoadBalancer("ingress", LoadBalancerArgs(
    prefix=f"{settings.name}-{config.stack}", network=network, variants=variants,
    port=settings.port, health_path=settings.health_path))  # fmt: skip
cluster = Cluster("cluster", ClusterArgs(
    cluster=settings.cluster, service=settings.name, images=[v.image for v in variants],
    log_retention=settings.log_retention, vpc_id=network.vpc_id,
    ingress_group_id=ingress.security_group_id, port=settings.port))  # fmt: skip
services = []
for variant in variants:
    group = ingress.target_groups[variant.name]
    alarm = ErrorAlarm(variant.name, ErrorAlarmArgs(
        alarm_name=f"{settings.cluster}-{variant.service}-5xx",
        load_balancer=ingress.arn_suffix, target_group=group.arn_suffix))  # fmt: skip
    services.append(Service(variant.name, ServiceArgs(
        config=config, variant=variant, network=network, cluster=cluster,
        target_group_arn=group.arn, listener=ingress.listener, alarm_name=alarm.name)))  # fmt: skip
parameter = PercentParameter("percent", PercentParameterArgs(
    cluster=settings.cluster, service=settings.name, percent=config.rollout.percent,
    after=[ingress.listener, *services]))  # fmt: skip

pulumi.export("percent", config.rollout.percent)
pulumi.export("url", pulumi.Output.concat("http://", ingress.dns_name))
pulumi.export("listenerArn", ingress.listener.arn)
pulumi.export("taskDefinitions", {s.pulumi_resource_name: s.task_definition_arn for s in services})
