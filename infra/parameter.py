"""The percent that was applied, where the controller and people can read it back with its date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


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
