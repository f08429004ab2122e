"""
The sections of a stack file, one model each: `pilot:<section>` and its keys, in camel case as written there.

Every model is frozen, takes no key that it does not know, and checks what can be checked without AWS.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

# What CloudWatch Logs accepts for a retention, in days (PutRetentionPolicy).
Retention = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
TlsPolicy = Literal[
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
]

# Fargate's task sizes: CPU units -> what memory goes with them, in MiB.
_FARGATE_MEMORY = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}
_DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_ACCOUNT = r"arn:aws:{service}:[a-z0-9-]*:\d{{12}}:"
_SECRET = "({})".format(
    "|".join(
        (
            _ACCOUNT.format(service="secretsmanager") + r"secret:[\w/+=.@-]+(:[^:]*){0,3}",
            _ACCOUNT.format(service="ssm") + r"parameter/[\w/.-]+",
        )
    )
)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
FlagName = Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9]*$")]
Image = Annotated[str, Field(description="an image by digest")]
TagKey = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_ ./=+@-]+$", max_length=128)
]  # no colon, for AWS keeps aws: to itself
TagValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_ .:/=+@-]*$", max_length=256)]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
KeyArn = Annotated[str, Field(pattern="^" + _ACCOUNT.format(service="kms") + "key/[a-z0-9-]+$")]
CertificateArn = Annotated[str, Field(pattern="^" + _ACCOUNT.format(service="acm") + "certificate/[a-z0-9-]+$")]
PolicyArn = Annotated[str, Field(pattern=r"^arn:aws:iam::\d{12}:policy/[\w+=,.@/-]+$")]


class Keys(BaseModel):
    """What a stack file says, whole: frozen, strict, and with no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


def by_digest(value: str | None) -> str | None:
    if value is not None and not _DIGEST.fullmatch(value):
        raise ValueError("should be an image by digest, <repository>@sha256:<64 hex digits>; a tag can move")
    return value


def by_reference(value: dict[str, str]) -> dict[str, str]:
    for name, arn in value.items():
        if not re.fullmatch(_SECRET, arn):
            # Without the value, which may be the secret itself.
            raise ValueError(f"{name} is not the ARN of a Secrets Manager secret or of an SSM parameter; put that here")
    return value


class ScalingConfig(Keys):
    """`pilot:scaling`: how many tasks each variant has, and what one of them shall bear; without it, `desiredCount`."""

    min_tasks: Annotated[int, Field(ge=1, le=1000)]
    max_tasks: Annotated[int, Field(ge=1, le=1000)]
    cpu_percent: Annotated[int, Field(ge=10, le=90)] = 60
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_tasks < self.min_tasks:
            raise ValueError(f"maxTasks is {self.max_tasks}; it should be at least minTasks, {self.min_tasks}")
        return self


class ServiceConfig(Keys):
    """
    `pilot:service`: what runs, and how large.

    Memory in MiB, retention in days, draining in seconds. `user` is the container's, as numbers; `writable_paths` are
    empty when a task starts, all else of its file system is read-only.
    """

    cluster: Annotated[Name, Field(max_length=40)]
    name: Name
    image: Image
    candidate_image: Image | None = None
    health_url: str
    delivery: Literal["environment", "parameter"] = "environment"
    cpu: int = 256
    memory: int = 512
    architecture: Literal["X86_64", "ARM64"] = "X86_64"
    desired_count: Annotated[int, Field(ge=1, le=1000)] = 2
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    log_retention: Retention = 30
    user: Annotated[str, Field(pattern=r"^[1-9]\d*(:[1-9]\d*)?$")] = "10001"
    writable_paths: tuple[Annotated[str, Field(pattern=r"^/[\w./-]+$")], ...] = ()
    health_command: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    secrets: dict[Variable, str] = Field(default_factory=dict)
    secrets_key_arn: KeyArn | None = None

    _images = field_validator("image", "candidate_image")(by_digest)
    _secrets = field_validator("secrets")(by_reference)

    @field_validator("health_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("should be a URL such as https://api.example.com/health")
        return value

    @field_validator("health_command")
    @classmethod
    def _is_command(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and value[0] not in ("CMD", "CMD-SHELL"):
            raise ValueError('should begin with CMD or CMD-SHELL, as in [CMD-SHELL, "curl -f localhost:8080/health"]')
        return value

    @model_validator(mode="after")
    def _is_fargate_size(self) -> Self:
        allowed = _FARGATE_MEMORY.get(self.cpu)
        if allowed is None:
            raise ValueError(f"cpu is {self.cpu}; it should be one of {words(_FARGATE_MEMORY)}")
        if self.memory not in allowed:
            raise ValueError(f"memory is {self.memory}; with cpu {self.cpu} it should be one of {words(allowed)}")
        return self

    @property
    def health_path(self) -> str:
        """The path that the load balancer asks for: that of the health URL."""
        return urlsplit(self.health_url).path or "/"


class RolloutConfig(Keys):
    """`pilot:rollout`: the stage, and what else the controller's pull requests may change."""

    percent: Annotated[int, Field(ge=0, le=100)]
    exposure: Literal["flag", "traffic"]
    intake: Literal["open", "paused"] = "open"
    hold: str = ""  # read by the controller; nothing deployed depends on it
    flags: dict[FlagName, Word] = Field(default_factory=dict)
    cohort: tuple[Word, ...] = ()

    @property
    def settings(self) -> str:
        """
        What an app that polls is told, as JSON; equal settings are equal text.

        `percent` is there with exposure `flag` only: with `traffic` the load balancer has chosen already, and a stage
        must change the weights alone.
        """
        told: dict[str, Any] = {"cohort": self.cohort, "flags": self.flags, "intake": self.intake}
        if self.exposure == "flag":
            told["percent"] = self.percent
        return json.dumps(told, sort_keys=True)


class NetworkConfig(Keys):
    """
    `pilot:network`: the ids of an existing network, or what a network of the stack's own is like.

    `nat`: one NAT gateway for all zones, or one per zone, which outlives the loss of a zone.
    """

    vpc_id: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]+$")] | None = None
    public_subnet_ids: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    private_subnet_ids: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    zones: Literal[2, 3] | None = None
    nat: Literal["one", "perZone"] | None = None
    cidr: str | None = None

    @field_validator("cidr")
    @classmethod
    def _is_block(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            block = ipaddress.IPv4Network(value)
        except ValueError as error:
            raise ValueError(f"should be a block of private addresses such as 10.20.0.0/16 ({error})") from None
        if not block.is_private or not 16 <= block.prefixlen <= 19:  # the load balancer needs /27 at least
            raise ValueError("should be a block of private addresses from /16 to /19, such as 10.20.0.0/16")
        return value

    @model_validator(mode="after")
    def _given_or_own(self) -> Self:
        given = {"vpcId": self.vpc_id, "publicSubnetIds": self.public_subnet_ids,
                 "privateSubnetIds": self.private_subnet_ids}  # fmt: skip
        missing = [key for key, value in given.items() if value is None]
        own = [key for key in ("zones", "nat", "cidr") if getattr(self, key) is not None]
        if missing and len(missing) < len(given):
            raise ValueError(f"{words(missing)} is missing; an existing network takes {words(given)}")
        if not missing and own:
            raise ValueError(f"{words(own)} is of a new network, but vpcId names an existing one; remove either")
        return self


class IngressConfig(Keys):
    """
    `pilot:ingress`: how users come in.

    HTTPS with a certificate of ACM; plain HTTP only where `insecure_http` says so, for tests and internal use.
    `access_log_days`: how long access logs are kept in S3; 0 writes none.
    """

    certificate_arn: Annotated[str, Field(pattern="^" + _ACCOUNT.format(service="acm") + "certificate/.+$")] | None = (
        None
    )
    insecure_http: bool = False
    tls_policy: TlsPolicy = "ELBSecurityPolicy-TLS13-1-2-2021-06"
    access_log_days: Annotated[int, Field(ge=0, le=3650)] = 90

    @model_validator(mode="after")
    def _one_protocol(self) -> Self:
        if self.insecure_http == (self.certificate_arn is not None):
            found = "both are there" if self.insecure_http else "neither is there"
            raise ValueError(
                f"certificateArn or insecureHttp: true, exactly one, but {found};"
                " insecureHttp is for tests and internal use"
            )
        return self


class AlarmsConfig(Keys):
    """`pilot:alarms`: when people are told, and whom. Seconds and minutes; 0 minutes is no such alarm."""

    emails: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = ()
    latency_p90: Annotated[float, Field(gt=0)] = 5.0
    no_traffic_minutes: Annotated[int, Field(ge=0, le=1440)] = 10


class PipelineConfig(Keys):
    """
    `pilot:pipeline`: which CI may act on this stack, without a stored key.

    `repository` is what the forge's tokens call it: on GitHub `owner@1/name@2`, with ids, where it was made since the
    middle of 2026. `provider_arn` is the forge's OIDC provider where the account has it already, for there can be one
    per account. `state_bucket` is Pulumi's, where its state is in S3, and `state_key_arn` the key of its secrets;
    `permissions_boundary_arn` bounds every role that is made.
    """

    forge: Literal["github", "gitlab"]
    repository: Annotated[str, Field(pattern=r"^[\w.-]+(@\d+)?(/[\w.-]+(@\d+)?)+$")]
    branch: Annotated[str, Field(pattern=r"^[\w./-]+$")] = "main"
    environment: Word
    provider_arn: Annotated[str, Field(pattern=r"^arn:aws:iam::\d{12}:oidc-provider/.+$")] | None = None
    state_bucket: Annotated[str, Field(pattern=r"^[a-z0-9.-]{3,63}$")] | None = None
    state_key_arn: KeyArn | None = None
    permissions_boundary_arn: PolicyArn | None = None


class Ahead(Keys):
    """The service of the stack that the policy puts ahead of this one (`after`), in the same account."""

    cluster: Name
    name: Name


class ControllerConfig(Keys):
    """
    `pilot:controller`: who runs `pilot reconcile` for this stack: AWS by `schedule`, or the forge's `ci`.

    A pass looks at the service that is `ahead` too. `environment` and `secrets` reach it as they are; secrets by the
    ARN of where they are kept.
    """

    runs: Literal["schedule", "ci"]
    ahead: Ahead | None = None
    image: Image | None = None
    every_minutes: Annotated[int, Field(ge=2, le=60)] = 5
    environment: dict[Variable, str] = Field(default_factory=dict)
    secrets: dict[Variable, str] = Field(default_factory=dict)

    _images = field_validator("image")(by_digest)
    _secrets = field_validator("secrets")(by_reference)

    @model_validator(mode="after")
    def _image_where_scheduled(self) -> Self:
        if self.runs == "schedule" and self.image is None:
            raise ValueError("image is missing; runs: schedule needs the controller's image, by digest")
        if self.runs == "ci" and (self.image or self.secrets or self.environment):
            raise ValueError("image, environment and secrets are the pipeline's own with runs: ci; remove them")
        return self


def words(values: Any) -> str:
    return ", ".join(map(str, values))
