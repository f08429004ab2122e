"""
The stop that `pilot kill` or `pilot rollback` left in AWS: it stands until what is declared agrees with it.

It is an SSM parameter that this program owns, so that it goes with the stack, and that those commands overwrite. What
they write is read before anything is registered; a stack file that would undo it is refused. One that agrees is
applied, and the parameter then says that the stop has ended.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.config import ConfigError, StackConfig

_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What stands in AWS: the parameter's text, and what it says of a stop, if it does."""

    text: str
    told: dict[str, Any] | None

    @classmethod
    def read(cls, config: StackConfig, opts: pulumi.InvokeOptions) -> Stopped:
        """
        Look at AWS, now: nothing may be registered before a stack file is found to agree.

        Raises:
            ConfigError: it does not; says what to do.
        """
        path = f"/pilot/{config.service.cluster}/{config.service.name}"
        # By its path, since the parameter is not there before the first update, and a single one must be.
        found = aws.ssm.get_parameters_by_path(path=path, opts=opts)
        texts = dict(zip(found.names, found.values, strict=True))
        stopped = cls.of(texts.get(f"{path}/stop", _NONE))
        if sentence := stopped.refusal(config):
            raise ConfigError(sentence)
        return stopped

    @classmethod
    def of(cls, text: str) -> Stopped:
        try:
            told = json.loads(text)
            stands = type(told["percent"]) is int
        except (LookupError, TypeError, ValueError):
            told, stands = None, False
        return cls(text=text, told=told if stands else None)

    def refusal(self, config: StackConfig) -> str | None:
        """Why *config* would undo the stop; None where it does not, or none stands."""
        if self.told is None:
            return None
        rollout, service, percent = config.rollout, config.service, self.told["percent"]
        wrong = []
        if rollout.percent > percent:
            wrong.append(f"percent is {rollout.percent}; it should be {percent} at most")
        if rollout.intake != "paused":
            wrong.append(f"intake is {rollout.intake}; it should be paused")
        if self.told.get("image") == service.image:
            wrong.append("image is the one that was rolled back; it should be another")
        if not wrong:
            return None
        return (
            f"Pulumi.{config.stack}.yaml would undo what {self.told.get('by')} stopped in AWS at {self.told.get('at')}"
            f" ({self.told.get('reason')}): {', '.join(wrong)}; merge the pull request that the controller opens, or"
            " change the file so, and run pulumi up again"
        )

    @property
    def applied(self) -> str:
        """What the parameter shall say once the stack file is applied."""
        return self.text if self.told is None else f"ended: stopped at {self.told.get('at')}"


@dataclass(frozen=True, kw_only=True)
class StopParameterArgs:
    """`after` is what carries percent and intake: the stop ends once that has changed."""

    config: StackConfig
    stopped: Stopped
    after: list[pulumi.Resource]


class StopParameter(pulumi.ComponentResource):
    """The SSM parameter `/pilot/<cluster>/<service>/stop`."""

    def __init__(self, name: str, args: StopParameterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:StopParameter", name, None, opts)
        service = args.config.service
        aws.ssm.Parameter(
            name,
            name=f"/pilot/{service.cluster}/{service.name}/stop",
            type="String",
            value=args.stopped.applied,
            description="what pilot kill or rollback stopped, until pulumi up has applied as much",
            overwrite=True,  # a stop may stand before the first update that knows of it
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.after),
        )
        self.register_outputs({})
