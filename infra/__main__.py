"""Wire one stack from its configuration."""

import pulumi
import pulumi_aws as aws

from infra.alarms import Alarms, AlarmsArgs, Notifications, NotificationsArgs
from infra.cluster import Cluster, ClusterArgs
from infra.config import StackConfig
from infra.controller import Controller, ControllerArgs
from infra.grants import entry, operates, reads, writes
from infra.loadbalancer import LoadBalancer, LoadBalancerArgs
from infra.network import Network, NetworkArgs
from infra.owned import STACK_TAG, Owned
from infra.parameter import PercentParameter, PercentParameterArgs, SettingsParameter, SettingsParameterArgs
from infra.permissions import document
from infra.pipeline import Pipeline, PipelineArgs
from infra.scaling import Scaling, ScalingArgs
from infra.service import Service, ServiceArgs
from infra.stop import StopParameter, StopParameterArgs, Stopped

config = StackConfig.load()
settings, variants = config.service, config.variants
prefix = f"{settings.name}-{config.stack}"
boundary = config.pipeline.permissions_boundary_arn if config.pipeline else None

tags = {"managed-by": "pulumi", STACK_TAG: config.stack, "pilot-service": settings.name, **config.tags}
provider = aws.Provider("aws", region=config.region, default_tags=aws.ProviderDefaultTagsArgs(tags=tags))
opts = pulumi.ResourceOptions(provider=provider)
stopped = Stopped.read(config, pulumi.InvokeOptions(provider=provider))
account = aws.get_caller_identity_output(opts=pulumi.InvokeOptions(provider=provider)).account_id

network = Network("network", NetworkArgs(config=config.network), opts)
ingress = LoadBalancer("ingress", LoadBalancerArgs(
    prefix=prefix, config=config.ingress, network=network, variants=variants, port=settings.port,
    health_path=settings.health_path, drain_seconds=settings.drain_seconds,
    region=config.region, account=account), opts)  # fmt: skip
polled = None
if settings.delivery == "parameter":
    polled = SettingsParameter("settings", SettingsParameterArgs(
        cluster=settings.cluster, service=settings.name, rollout=config.rollout), opts)  # fmt: skip
cluster = Cluster("cluster", ClusterArgs(
    cluster=settings.cluster, service=settings.name, images=[v.image for v in variants],
    secrets=settings.secrets, secrets_key_arn=settings.secrets_key_arn, settings_arn=polled and polled.arn,
    log_retention=settings.log_retention, vpc_id=network.vpc_id, ingress_group_id=ingress.security_group_id,
    port=settings.port, account=account, boundary=boundary), opts)  # fmt: skip
told = None
if config.alarms:
    notifications = Notifications("alarms", NotificationsArgs(
        prefix=prefix, config=config.alarms, load_balancer=ingress.arn_suffix, account=account), opts)  # fmt: skip
    told = notifications.topic_arn

services = []
for variant in variants:
    group = ingress.target_groups[variant.name]
    alarms = Alarms(variant.name, AlarmsArgs(
        prefix=f"{settings.cluster}-{variant.service}", config=config.alarms,
        load_balancer=ingress.arn_suffix, target_group=group.arn_suffix, topic_arn=told), opts)  # fmt: skip
    service = Service(variant.name, ServiceArgs(
        config=config, variant=variant, network=network, cluster=cluster, target_group_arn=group.arn,
        alarm_names=alarms.rollback, after=[ingress.listener, *([polled] if polled else [])]), opts)  # fmt: skip
    services.append(service)
    if config.scaling:
        Scaling(variant.name, ScalingArgs(
            config=config.scaling, cluster=settings.cluster, service=service.name,
            load_balancer=ingress.arn_suffix, target_group=group.arn_suffix), opts)  # fmt: skip
parameter = PercentParameter("percent", PercentParameterArgs(
    cluster=settings.cluster, service=settings.name, percent=config.rollout.percent,
    after=[ingress.listener, *services]), opts)  # fmt: skip
StopParameter("stop", StopParameterArgs(
    config=config, stopped=stopped, after=[parameter, *([polled] if polled else [])]), opts)  # fmt: skip

owned = Owned(config=config, account=account, prefix=prefix)
# For an administrator to attach to the people who may break the glass: who these are, no program knows.
operator = aws.iam.Policy("operator", name=f"{prefix}-operator", policy=document(*operates(owned)), opts=opts)
pulumi.export("operatorPolicy", operator.arn)

pipeline = None
if config.pipeline:
    pipeline = Pipeline("pipeline", PipelineArgs(
        prefix=prefix, config=config.pipeline,
        reads=reads(owned), entry=entry(owned), writes=writes(owned)), opts)  # fmt: skip
    pulumi.export("previewRole", pipeline.preview_role_arn)
    pulumi.export("upRole", pipeline.up_role_arn)
if config.controller:
    trust = pipeline.trust_branch() if pipeline and config.controller.runs == "ci" else None
    controller = Controller("controller", ControllerArgs(
        prefix=prefix, stack=config, config=config.controller, cluster=cluster, network=network, account=account,
        ci_trust=trust, topic_arn=told), opts)  # fmt: skip
    pulumi.export("controllerRole", controller.role_arn)

pulumi.export("percent", config.rollout.percent)
pulumi.export("url", ingress.url)
pulumi.export("listenerArn", ingress.listener.arn)
pulumi.export("taskDefinitions", {s.pulumi_resource_name: s.task_definition_arn for s in services})
