"""What was applied, as SSM parameters: the percent with its date, and settings that an app may poll."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.config import RolloutConfig


@dataclass(frozen=True, kw_only=True)
class PercentParameterArgs:
    """`after` is what carries the percent; the parameter is written only once that has changed."""

    cluster: str
    service: str
    percent: int
    after: Sequence[pulumi.Resource]


class PercentParameter(pulumi.ComponentResource):
    """
    The SSM parameter `/pilot/<cluster>/<service>/percent`.

    Its date says since when the listener's weights are what they are: a load balancer does not.
    """

    name: pulumi.Output[str]

    def __init__(self, name: str, args: PercentParameterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:PercentParameter", name, None, opts)
        parameter = aws.ssm.Parameter(
            name,
            name=f"/pilot/{args.cluster}/{args.service}/percent",
            type="String",
            value=str(args.percent),
            description="rollout percent as last applied",
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.after)),
        )
        self.name = parameter.name
        self.register_outputs({"name": self.name})


@dataclass(frozen=True, kw_only=True)
class SettingsParameterArgs:
    """What the app is told by it is `rollout`."""

    cluster: str
    service: str
    rollout: RolloutConfig


class SettingsParameter(pulumi.ComponentResource):
    """
    The SSM parameter `/pilot/<cluster>/<service>/settings`: JSON that the app polls, `delivery: parameter`.

    A stage or a flag then changes without a new task. What reads it: the app by its own choice of pace, and the
    controller, which counts a stage from the parameter's date.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    resource: aws.ssm.Parameter

    def __init__(self, name: str, args: SettingsParameterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:SettingsParameter", name, None, opts)
        self.resource = aws.ssm.Parameter(
            name,
            name=settings_name(args.cluster, args.service),
            type="String",
            value=args.rollout.settings,
            description="what the app is told of the rollout; it polls this",
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name, self.arn = self.resource.name, self.resource.arn
        self.register_outputs({"name": self.name})


def settings_name(cluster: str, service: str) -> str:
    return f"/pilot/{cluster}/{service}/settings"
