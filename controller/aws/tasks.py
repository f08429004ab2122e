"""What ECS runs of a service, and what its tasks are told: in their environment, or by a parameter that they poll."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from controller.aws.api import Api, UnreadableError
from controller.model import Deployment, Intake

# What the program in infra/ tells the container.
PERCENT, VARIANT, FLAG, INTAKE = "PILOT_ROLLOUT_PCT", "PILOT_VARIANT", "PILOT_FLAG_", "PILOT_INTAKE"
SETTINGS = "PILOT_SETTINGS_PARAMETER"  # the parameter to poll, where what follows the stage is not in the environment

_STATES = {
    "FAILED": Deployment.FAILED,
    "IN_PROGRESS": Deployment.IN_PROGRESS,
    "COMPLETED": Deployment.COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Running:
    """
    One ECS service: the state of its deployments, and what its users get at present.

    `task_definition` is what serves, `ordered` what the newest deployment brings.
    """

    name: str
    state: Deployment
    detail: str
    since: datetime
    task_definition: str
    ordered: str
    target_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Container:
    """The application's container of a task definition."""

    image: str
    environment: Mapping[str, str]
    registered: datetime | None

    @property
    def flags(self) -> dict[str, str]:
        """The feature flags by the names that the stack file gives them."""
        return {
            _camel(name.removeprefix(FLAG)): value for name, value in self.environment.items() if name.startswith(FLAG)
        }

    @property
    def intake(self) -> Intake | None:
        """What the environment says of it; None where it says nothing."""
        return _intake(self.environment.get(INTAKE))


@dataclass(frozen=True, slots=True)
class Settings:
    """What an app that polls is told, and since when; an app is behind by as long as it waits between two looks."""

    percent: int | None
    flags: Mapping[str, str]
    intake: Intake | None
    written: datetime


# ---------------------------------------------------------------- ECS


def services(api: Api, cluster: str, names: list[str]) -> list[Running]:
    """Return the services in the order of *names*; DescribeServices keeps none."""
    found = active(api, cluster, names)
    for name in names:
        if name not in found:
            raise UnreadableError(
                f"ecs:DescribeServices: no active service {name} in cluster {cluster};"
                " check pilot:service and the region, or run pulumi up"
            )
    return [found[name] for name in names]


def active(api: Api, cluster: str, names: list[str]) -> dict[str, Running]:
    """Return those of *names* that are active services of *cluster*."""
    answer = api.call("ecs", "DescribeServices", cluster=cluster, services=names)
    return {one["serviceName"]: _running(one) for one in answer["services"] if one["status"] == "ACTIVE"}


def _running(service: Mapping[str, Any]) -> Running:
    """
    Judge a service's deployments.

    Any that failed makes the service failed, also while ECS rolls back. What serves its users is
    the newest deployment that completed; before the first has, the primary one.
    """
    name, deployments = str(service["serviceName"]), list(service.get("deployments") or [])
    primary = next((one for one in deployments if one["status"] == "PRIMARY"), None)
    if primary is None:
        raise UnreadableError(
            f"service {name} has no primary deployment; only services that ECS itself deploys"
            " (deployment controller ECS) can be read"
        )
    states = [_state(name, one) for one in deployments]
    worst = min(states, key=list(Deployment).index)
    if len(deployments) > 1:
        worst = min(worst, Deployment.IN_PROGRESS, key=list(Deployment).index)
    completed = [one for one, state in zip(deployments, states, strict=True) if state is Deployment.COMPLETED]
    serving = max(completed, key=lambda one: one["createdAt"], default=primary)
    return Running(
        name=name,
        state=worst,
        detail=str(primary.get("rolloutStateReason") or primary["rolloutState"]),
        # A deployment is live once it has completed, which is its last update.
        since=utc(serving.get("updatedAt") or serving["createdAt"]),
        task_definition=str(serving["taskDefinition"]),
        ordered=str(primary["taskDefinition"]),
        target_groups=tuple(
            one["targetGroupArn"] for one in service.get("loadBalancers") or [] if one.get("targetGroupArn")
        ),
    )


def _state(name: str, deployment: Mapping[str, Any]) -> Deployment:
    found = deployment.get("rolloutState")
    if found not in _STATES:
        raise UnreadableError(
            f"service {name}: deployment {deployment.get('id')} has rolloutState {found!r};"
            f" expected one of {', '.join(_STATES)}"
        )
    return _STATES[found]


def container(api: Api, task_definition: str, *variables: str) -> Container:
    """Return the one container that is told one of *variables*."""
    answer = api.call_once("ecs", "DescribeTaskDefinition", taskDefinition=task_definition)
    found = []
    for one in answer["taskDefinition"].get("containerDefinitions") or []:
        told = environment(one)
        if not told.keys().isdisjoint(variables):
            registered = answer["taskDefinition"].get("registeredAt")
            found.append(Container(str(one.get("image")), told, registered and utc(registered)))
    if len(found) != 1:
        raise UnreadableError(
            f"{task_definition} has {len(found)} containers with {' or '.join(variables)}; expected one;"
            " was it made by another program than infra/?"
        )
    return found[0]


def environment(definition: Mapping[str, Any]) -> dict[str, str]:
    """What a container's *definition* tells it."""
    return {one["name"]: one.get("value", "") for one in definition.get("environment") or []}


def percent(text: str, task_definition: str) -> int:
    """Read a fraction such as `0.10` as whole percents."""
    try:
        found = Decimal(text) * 100
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found != int(found) or not 0 <= found <= 100:
        raise UnreadableError(
            f"{task_definition} has {PERCENT}={text!r}; expected a fraction of whole percents"
            " such as 0.10; run pulumi up"
        )
    return int(found)


# ---------------------------------------------------------------- what an app polls


def settings(api: Api, told: Container) -> Settings | None:
    """Return what a container is to poll; None where all that it is told is in its environment."""
    name = told.environment.get(SETTINGS)
    if name is None:
        return None
    parameter = api.call("ssm", "GetParameter", Name=name)["Parameter"]
    try:
        value = json.loads(parameter["Value"])
        share, flags = value.get("percent"), {str(flag): str(word) for flag, word in value["flags"].items()}
        good = share is None or (type(share) is int and 0 <= share <= 100)
    except (AttributeError, LookupError, TypeError, ValueError):
        good = False
    if not good:
        raise UnreadableError(
            f"{name} holds {str(parameter['Value'])[:200]!r}; expected JSON with flags and a whole percent"
            " from 0 to 100; run pulumi up"
        )
    return Settings(share, flags, _intake(value.get("intake")), utc(parameter["LastModifiedDate"]))


# ---------------------------------------------------------------- words


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _intake(text: Any) -> Intake | None:
    return Intake(text) if text in list(Intake) else None


def _camel(name: str) -> str:
    """Undo what infra/ makes of a flag's name: MIC_PROMPT is micPrompt."""
    head, *rest = name.lower().split("_")
    return head + "".join(word.capitalize() for word in rest)
