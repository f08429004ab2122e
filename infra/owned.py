"""What a stack owns in AWS, by name and by tag, for permissions that are for that alone."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.config import StackConfig

STACK_TAG = "pilot-stack"


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What a stack owns, by name: `prefix` is `<service>-<stack>`."""

    config: StackConfig
    account: pulumi.Input[str]
    prefix: str

    def arn(self, service: str, resource: str, *, region: bool = True, account: bool = True) -> pulumi.Output[str]:
        where = self.config.region if region else ""
        return pulumi.Output.concat(f"arn:aws:{service}:{where}:", self.account if account else "", f":{resource}")

    @property
    def roles(self) -> list[pulumi.Output[str]]:
        service = self.config.service
        names = [f"{service.cluster}-{service.name}-{name}" for name in ("execution", "task")]
        own = ("preview", "up", "controller", "controller-execution", "controller-scheduler")
        names += [f"{self.prefix}-{name}" for name in own]
        return [self.arn("iam", f"role/{name}", region=False) for name in names]

    @property
    def roles_by_pattern(self) -> list[pulumi.Output[str]]:
        """The same, shorter and wider: to look at, which needs less care than to change."""
        service = self.config.service
        patterns = (f"{service.cluster}-{service.name}-*", f"{self.prefix}-*")
        return [self.arn("iam", f"role/{pattern}", region=False) for pattern in patterns]

    @property
    def policies(self) -> list[pulumi.Output[str]]:
        return [self.arn("iam", f"policy/{self.prefix}-{key}", region=False) for key in ("reads", "entry", "operator")]

    @property
    def provider(self) -> list[pulumi.Input[str]]:
        hosts = ("token.actions.githubusercontent.com", "gitlab.com")
        return [self.arn("iam", f"oidc-provider/{host}", region=False) for host in hosts]

    @property
    def bucket(self) -> pulumi.Output[str]:
        return pulumi.Output.concat(f"arn:aws:s3:::{self.prefix}-access-logs-", self.account)

    @property
    def log_groups(self) -> list[pulumi.Output[str]]:
        service = self.config.service
        groups = (f"{service.cluster}/{service.name}", f"{self.prefix}/controller")
        return [self.arn("logs", f"log-group:/ecs/{group}:*") for group in groups]

    @property
    def services(self) -> pulumi.Output[str]:
        return self.arn("ecs", f"service/{self.config.service.cluster}/*")

    @property
    def cluster(self) -> pulumi.Output[str]:
        return self.arn("ecs", f"cluster/{self.config.service.cluster}")

    @property
    def task_definitions(self) -> list[pulumi.Output[str]]:
        families = (f"{self.config.service.cluster}-*", f"{self.prefix}-controller")
        return [self.arn("ecs", f"task-definition/{family}:*") for family in families]

    @property
    def alarms(self) -> list[pulumi.Output[str]]:
        return [self.arn("cloudwatch", f"alarm:{name}-*") for name in (self.config.service.cluster, self.prefix)]

    @property
    def parameters(self) -> pulumi.Output[str]:
        service = self.config.service
        return self.arn("ssm", f"parameter/pilot/{service.cluster}/{service.name}/*")

    @property
    def parameters_path(self) -> pulumi.Output[str]:
        """What listing the parameters is a permission for."""
        service = self.config.service
        return self.arn("ssm", f"parameter/pilot/{service.cluster}/{service.name}")

    @property
    def topic(self) -> pulumi.Output[str]:
        return self.arn("sns", f"{self.prefix}-alarms")

    @property
    def queue(self) -> pulumi.Output[str]:
        return self.arn("sqs", f"{self.prefix}-controller-missed")

    @property
    def schedule(self) -> pulumi.Output[str]:
        return self.arn("scheduler", f"schedule/default/{self.prefix}-controller")

    @property
    def scalable(self) -> pulumi.Output[str]:
        return self.arn("application-autoscaling", "scalable-target/*")

    def balancing(self, *kinds: str) -> list[pulumi.Output[str]]:
        paths = {
            "targetgroup": "targetgroup/{}*",
            "loadbalancer": "loadbalancer/app/{}/*",
            "listener": "listener/app/{}/*",
        }
        return [self.arn("elasticloadbalancing", paths[kind].format(self.prefix)) for kind in kinds]

    def network(self, *parts: str) -> list[pulumi.Output[str]]:
        return [self.arn("ec2", f"{part}/*") for part in parts]

    @property
    def tagged(self) -> dict[str, dict[str, str]]:
        return {"StringEquals": {f"aws:ResourceTag/{STACK_TAG}": self.config.stack}}
