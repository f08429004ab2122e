"""
What a stack file may set, read once and checked before any resource exists.

The only reader of `pulumi.Config`. Keys are those of `Pulumi.<stack>.yaml`, in camel case as
written there; a key that is not known is an error, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, Self

import pulumi
from pydantic import Field, ValidationError, model_validator

from infra.sections import (
    AlarmsConfig,
    ControllerConfig,
    IngressConfig,
    Keys,
    NetworkConfig,
    PipelineConfig,
    RolloutConfig,
    ScalingConfig,
    ServiceConfig,
    TagKey,
    TagValue,
    words,
)

# A target group is named after service and stack, "-cand" at its end for the candidate's;
# AWS allows the name 32 characters.
_LONGEST_NAME = 32 - len("--cand")

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_PARAMETER_SIZE = 4096

_SECTIONS: dict[str, type[Keys]] = {
    "service": ServiceConfig,
    "rollout": RolloutConfig,
    "network": NetworkConfig,
    "ingress": IngressConfig,
    "scaling": ScalingConfig,
    "alarms": AlarmsConfig,
    "pipeline": PipelineConfig,
    "controller": ControllerConfig,
}


_NEEDED = {
    "pilot:ingress": " with certificateArn, or with insecureHttp: true for tests and internal use",
}


class ConfigError(pulumi.RunError):
    """A stack file that a person must change; Pulumi shows the message without a traceback."""


class Variant(Keys):
    """One of the stack's ECS services: which image it runs, and its weight at the listener."""

    name: Literal["stable", "candidate"]
    service: str
    image: str
    weight: int


class StackConfig(Keys):
    """Everything a stack may set."""

    stack: str
    region: str
    service: ServiceConfig
    rollout: RolloutConfig
    ingress: IngressConfig
    network: NetworkConfig = NetworkConfig()
    scaling: ScalingConfig | None = None
    alarms: AlarmsConfig | None = None
    pipeline: PipelineConfig | None = None
    controller: ControllerConfig | None = None
    tags: dict[TagKey, TagValue] = Field(default_factory=dict)

    @classmethod
    def load(cls) -> Self:
        """
        Read the configuration of the current stack.

        Raises:
            ConfigError: every mistake found, one a line: the key, what is there, what is allowed.
        """
        pilot = pulumi.Config("pilot")
        found = {key: _value(pilot.get(key)) for key in _sections()}
        found |= {"stack": pulumi.get_stack(), "region": pulumi.Config("aws").get("region")}
        present = {key: value for key, value in found.items() if value is not None}
        try:
            # Through JSON, where strict checking still takes an array for a tuple.
            return cls.model_validate_json(json.dumps(present))
        except ValidationError as error:
            where = f"Pulumi.{pulumi.get_stack()}.yaml"
            lines = (f"{where}: {line}" for detail in error.errors() for line in _sentence(detail).splitlines())
            raise ConfigError("\n".join(lines)) from None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if wrong := [*self._of_exposure(), *self._of_names(), *self._of_controller()]:
            raise ValueError("\n".join(wrong))
        return self

    def _of_exposure(self) -> Iterator[str]:
        traffic, candidate = self.rollout.exposure == "traffic", self.service.candidate_image
        if traffic and candidate is None:
            yield "pilot:service.candidateImage is missing; exposure traffic needs it, by digest"
        if not traffic and candidate is not None:
            yield (
                "pilot:service.candidateImage is set, but exposure flag runs one image;"
                " remove it or set pilot:rollout.exposure to traffic"
            )

    def _of_names(self) -> Iterator[str]:
        if len(self.service.name) + len(self.stack) > _LONGEST_NAME:
            yield (
                f"pilot:service.name is {self.service.name!r}; with the stack's name it should have"
                f" at most {_LONGEST_NAME} characters, for AWS allows a target group's name 32"
            )

        size = len(self.rollout.settings)
        if self.service.delivery == "parameter" and size > _PARAMETER_SIZE:
            yield (
                f"pilot:rollout.flags and .cohort make a parameter of {size} characters; Systems Manager allows"
                f" {_PARAMETER_SIZE}; name fewer, or set pilot:service.delivery to environment"
            )

    def _of_controller(self) -> Iterator[str]:
        if self.controller and self.controller.runs == "ci" and self.pipeline is None:
            yield "pilot:controller.runs is 'ci'; that needs pilot:pipeline, whose CI it is, or runs: schedule"

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The services of this stack; their weights sum to 100."""
        service, percent = self.service, self.rollout.percent
        if service.candidate_image is None:
            return (Variant(name="stable", service=service.name, image=service.image, weight=100),)
        return (
            Variant(name="stable", service=service.name, image=service.image, weight=100 - percent),
            Variant(
                name="candidate",
                service=f"{service.name}-candidate",
                image=service.candidate_image,
                weight=percent,
            ),
        )


def _sections() -> list[str]:
    """
    Return what the stack file says of `pilot:`, the misspelt too, which nobody would ask `pulumi.Config` for.

    The language host hands the configuration over by an environment variable, the Automation API by a call.
    """
    there = {**pulumi.runtime.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    return sorted(key.removeprefix("pilot:") for key in there if key.startswith("pilot:"))


def _value(raw: str | None) -> Any:
    """Return a configuration value as Pulumi hands it over: objects as JSON, scalars as text."""
    try:
        return None if raw is None else json.loads(raw)
    except ValueError:
        return raw


def _sentence(detail: Any) -> str:
    """Say one of pydantic's findings in the words of a stack file."""
    top, *rest = detail["loc"] or ("",)
    key = ".".join([f"aws:{top}" if top == "region" else f"pilot:{top}", *map(str, rest)])
    message = re.sub(r"^(Value error, |\w+ (?=should))", "", detail["msg"])
    if not detail["loc"]:
        return message
    match detail["type"]:
        case "missing":
            return f"{key} is missing; add it{_NEEDED.get(key, '')}"
        case "extra_forbidden":
            return f"{key} is not a known key; known are {words(_known(detail['loc']))}"
        case "value_error" if not message.startswith("should"):
            return f"{key}: {message}"
        case _:
            return f"{key} is {detail['input']!r}; it {message}"


def _known(loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand where the one at *loc* does."""
    if len(loc) == 1:
        return [f"pilot:{section}" for section in (*_SECTIONS, "tags")]
    return [field.alias or name for name, field in _SECTIONS[str(loc[0])].model_fields.items()]
