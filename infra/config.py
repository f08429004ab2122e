"""
What a stack file may set, read once and checked before any resource exists.

The only reader of `pulumi.Config`. Keys are those of `Pulumi.<stack>.yaml`, in camel case as
written there; a key that is not known is an error, never ignored.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pulumi
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

# What CloudWatch Logs accepts for a retention, in days (PutRetentionPolicy).
Retention = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip

# Fargate's task sizes: CPU units -> what memory goes with them, in MiB.
_FARGATE_MEMORY = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}
_DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")

# A target group is named after service and stack, "-cand" at its end for the candidate's;
# AWS allows the name 32 characters.
_LONGEST_NAME = 32 - len("--cand")

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
FlagName = Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9]*$")]
Image = Annotated[str, Field(description="an image by digest")]


class ConfigError(pulumi.RunError):
    """A stack file that a person must change; Pulumi shows the message without a traceback."""


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


class ServiceConfig(_Keys):
    """`pilot:service`: what runs, and how large. Memory in MiB, retention in days."""

    cluster: Annotated[Name, Field(max_length=40)]
    name: Name
    image: Image
    candidate_image: Image | None = None
    health_url: str
    cpu: int = 256
    memory: int = 512
    desired_count: Annotated[int, Field(ge=1, le=1000)] = 2
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    log_retention: Retention = 30

    @field_validator("image", "candidate_image")
    @classmethod
    def _by_digest(cls, value: str | None) -> str | None:
        if value is not None and not _DIGEST.fullmatch(value):
            raise ValueError("should be an image by digest, <repository>@sha256:<64 hex digits>; a tag can move")
        return value

    @field_validator("health_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("should be a URL such as https://api.example.com/health")
        return value

    @model_validator(mode="after")
    def _is_fargate_size(self) -> Self:
        allowed = _FARGATE_MEMORY.get(self.cpu)
        if allowed is None:
            raise ValueError(f"cpu is {self.cpu}; it should be one of {_words(_FARGATE_MEMORY)}")
        if self.memory not in allowed:
            raise ValueError(f"memory is {self.memory}; with cpu {self.cpu} it should be one of {_words(allowed)}")
        return self

    @property
    def health_path(self) -> str:
        """The path that the load balancer asks for: that of the health URL."""
        return urlsplit(self.health_url).path or "/"


class RolloutConfig(_Keys):
    """`pilot:rollout`: the stage, and what else the controller's pull requests may change."""

    percent: Annotated[int, Field(ge=0, le=100)]
    exposure: Literal["flag", "traffic"]
    intake: Literal["open", "paused"] = "open"
    hold: str = ""  # read by the controller; nothing deployed depends on it
    flags: dict[FlagName, Word] = Field(default_factory=dict)
    cohort: tuple[Word, ...] = ()


class NetworkConfig(_Keys):
    """`pilot:network`: an existing network to use instead of creating one."""

    vpc_id: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]+$")]
    public_subnet_ids: Annotated[tuple[str, ...], Field(min_length=2)]
    private_subnet_ids: Annotated[tuple[str, ...], Field(min_length=2)]


class Variant(_Keys):
    """One of the stack's ECS services: which image it runs, and its weight at the listener."""

    name: Literal["stable", "candidate"]
    service: str
    image: str
    weight: int


class StackConfig(_Keys):
    """Everything a stack may set."""

    stack: str
    region: str
    service: ServiceConfig
    rollout: RolloutConfig
    network: NetworkConfig | None = None

    @classmethod
    def load(cls) -> Self:
        """
        Read the configuration of the current stack.

        Raises:
            ConfigError: every mistake found, one a line: the key, what is there, what is allowed.
        """
        pilot = pulumi.Config("pilot")
        found = {key: _value(pilot.get(key)) for key in ("service", "rollout", "network")}
        found |= {"stack": pulumi.get_stack(), "region": pulumi.Config("aws").get("region")}
        present = {key: value for key, value in found.items() if value is not None}
        try:
            # Through JSON, where strict checking still takes an array for a tuple.
            return cls.model_validate_json(json.dumps(present))
        except ValidationError as error:
            where = f"Pulumi.{pulumi.get_stack()}.yaml"
            lines = (f"{where}: {_sentence(detail)}" for detail in error.errors())
            raise ConfigError("\n".join(lines)) from None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        traffic, candidate = self.rollout.exposure == "traffic", self.service.candidate_image
        if traffic and candidate is None:
            raise ValueError("pilot:service.candidateImage is missing; exposure traffic needs it, by digest")
        if not traffic and candidate is not None:
            raise ValueError(
                "pilot:service.candidateImage is set, but exposure flag runs one image;"
                " remove it or set pilot:rollout.exposure to traffic"
            )
        if len(self.service.name) + len(self.stack) > _LONGEST_NAME:
            raise ValueError(
                f"pilot:service.name is {self.service.name!r}; with the stack's name it should have"
                f" at most {_LONGEST_NAME} characters, for AWS allows a target group's name 32"
            )
        return self

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


def _value(raw: str | None) -> Any:
    """Return a configuration value as Pulumi hands it over: objects as JSON, scalars as text."""
    try:
        return None if raw is None else json.loads(raw)
    except ValueError:
        return raw


def _words(values: Any) -> str:
    return ", ".join(map(str, values))


def _sentence(detail: Any) -> str:
    """Say one of pydantic's findings in the words of a stack file."""
    top, *rest = detail["loc"] or ("",)
    key = ".".join([f"aws:{top}" if top == "region" else f"pilot:{top}", *map(str, rest)])
    message = re.sub(r"^(Value error, |\w+ (?=should))", "", detail["msg"])
    if not detail["loc"]:
        return message
    match detail["type"]:
        case "missing":
            return f"{key} is missing; add it"
        case "extra_forbidden":
            return f"{key} is not a known key; known are {_words(_known(top))}"
        case "value_error" if not message.startswith("should"):
            return f"{key}: {message}"
        case _:
            return f"{key} is {detail['input']!r}; it {message}"


def _known(top: str) -> list[str]:
    models = {"service": ServiceConfig, "rollout": RolloutConfig, "network": NetworkConfig}
    return [field.alias or name for name, field in models[top].model_fields.items()]
