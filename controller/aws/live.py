"""
Read back what AWS runs, before anything is judged. Nothing is changed here.

With exposure `flag`, the percent is in the task definition that serves, or in the parameter that this tells the app to
poll; with `traffic`, it is the candidate's weight at the listener, and its date is that of the parameter which
`pulumi up` writes last. Whatever AWS does not answer, or answers oddly, makes the state unreadable, never a guess.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from controller.aws import weights
from controller.aws.api import Api, Clients, UnreadableError, client_factory
from controller.model import Deployment, Exposure, Live, Service, Unreadable

__all__ = ["EcsLiveState", "client_factory"]

# What the program in infra/ tells the container.
PERCENT, VARIANT, FLAG = "PILOT_ROLLOUT_PCT", "PILOT_VARIANT", "PILOT_FLAG_"
SETTINGS = "PILOT_SETTINGS_PARAMETER"  # the parameter to poll, where what follows the stage is not in the environment

_STATES = {
    "FAILED": Deployment.FAILED,
    "IN_PROGRESS": Deployment.IN_PROGRESS,
    "COMPLETED": Deployment.COMPLETED,
}


@dataclass(frozen=True, slots=True)
class _Running:
    """One ECS service: the state of its deployments, and what its users get at present."""

    name: str
    state: Deployment
    detail: str
    since: datetime
    task_definition: str
    target_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Container:
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


@dataclass(frozen=True, slots=True)
class _Settings:
    """What an app that polls is told, and since when; an app is behind by as long as it waits between two looks."""

    percent: int | None
    flags: Mapping[str, str]
    written: datetime


class EcsLiveState:
    """Keeps the promise of `ports.LiveState` with ECS, load balancing and Systems Manager."""

    def __init__(self, clients: Clients) -> None:
        self._api = functools.cache(lambda region: Api(clients, region))

    def read(self, service: Service, exposure: Exposure, region: str | None) -> Live | Unreadable:
        """Read the live state; trouble with AWS is an `Unreadable`, not an exception."""
        api = self._api(region)
        try:
            if exposure is Exposure.TRAFFIC:
                return _traffic(api, service)
            return _flag(api, service)
        except UnreadableError as error:
            return Unreadable(str(error))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            return Unreadable(f"AWS answered {service.cluster}/{service.name} in an unknown form ({what}); report it")


def _flag(api: Api, service: Service) -> Live:
    (running,) = _services(api, service.cluster, [service.name])
    container = _container(api, running.task_definition, PERCENT, SETTINGS)
    if VARIANT in container.environment:
        raise UnreadableError(
            f"{running.task_definition} is told {VARIANT}: exposure traffic is live, flag is declared; run pulumi up"
        )
    polled = _settings(api, container)
    if polled is None:
        percent = _percent(container.environment[PERCENT], running.task_definition)
    elif polled.percent is None:
        raise UnreadableError(
            f"{container.environment[SETTINGS]} has no percent, which it has with exposure flag; run pulumi up"
        )
    else:
        percent = polled.percent
    dates = [date for date in (container.registered, polled.written if polled else None) if date is not None]
    return Live(
        percent=percent,
        since=max(running.since, polled.written) if polled else running.since,
        applied=max(dates, default=None),
        deployment=running.state,
        image=container.image,
        flags=polled.flags if polled else container.flags,
        task_definition=running.task_definition,
        detail=running.detail,
    )


def _traffic(api: Api, service: Service) -> Live:
    names = [service.name, f"{service.name}-candidate"]
    stable, candidate = _services(api, service.cluster, names)
    percent = weights.of_candidate(api, _target_group(stable), _target_group(candidate))
    applied, written = _applied(api, service)
    container = _container(api, stable.task_definition, VARIANT)
    other = _container(api, candidate.task_definition, VARIANT)
    worst = min((stable.state, candidate.state), key=list(Deployment).index)
    details = [f"{one.name}: {one.detail}" for one in (stable, candidate)]
    if applied != str(percent):
        # An update writes the parameter last. Until it has, nobody knows since when this is so.
        worst = min(worst, Deployment.IN_PROGRESS, key=list(Deployment).index)
        details.insert(
            0,
            f"the listener sends {percent} % to the candidate, but {applied} % was last applied;"
            " an update is under way, or the weights were changed by hand",
        )
    polled = _settings(api, container)
    changed = max(written, polled.written) if polled else written
    return Live(
        percent=percent,
        since=max(changed, stable.since, candidate.since),
        applied=changed,
        deployment=worst,
        image=container.image,
        candidate_image=other.image,
        flags=polled.flags if polled else container.flags,
        task_definition=stable.task_definition,
        detail="; ".join(details),
    )


# ---------------------------------------------------------------- ECS


def _services(api: Api, cluster: str, names: list[str]) -> list[_Running]:
    """Return the services in the order of *names*; DescribeServices keeps none."""
    answer = api.call("ecs", "DescribeServices", cluster=cluster, services=names)
    found = {one["serviceName"]: one for one in answer["services"] if one["status"] == "ACTIVE"}
    for name in names:
        if name not in found:
            raise UnreadableError(
                f"ecs:DescribeServices: no active service {name} in cluster {cluster};"
                " check pilot:service and the region, or run pulumi up"
            )
    return [_running(found[name]) for name in names]


def _running(service: Mapping[str, Any]) -> _Running:
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
    return _Running(
        name=name,
        state=worst,
        detail=str(primary.get("rolloutStateReason") or primary["rolloutState"]),
        # A deployment is live once it has completed, which is its last update.
        since=_utc(serving.get("updatedAt") or serving["createdAt"]),
        task_definition=str(serving["taskDefinition"]),
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


def _container(api: Api, task_definition: str, *variables: str) -> _Container:
    """Return the one container that is told one of *variables*."""
    answer = api.call_once("ecs", "DescribeTaskDefinition", taskDefinition=task_definition)
    found = []
    for container in answer["taskDefinition"].get("containerDefinitions") or []:
        pairs = container.get("environment") or []
        environment = {one["name"]: one.get("value", "") for one in pairs}
        if not environment.keys().isdisjoint(variables):
            registered = answer["taskDefinition"].get("registeredAt")
            found.append(_Container(str(container.get("image")), environment, registered and _utc(registered)))
    if len(found) != 1:
        raise UnreadableError(
            f"{task_definition} has {len(found)} containers with {' or '.join(variables)}; expected one;"
            " was it made by another program than infra/?"
        )
    return found[0]


def _percent(text: str, task_definition: str) -> int:
    """Read a fraction such as `0.10` as whole percents."""
    try:
        percent = Decimal(text) * 100
    except InvalidOperation:
        percent = Decimal("NaN")
    if not percent.is_finite() or percent != int(percent) or not 0 <= percent <= 100:
        raise UnreadableError(
            f"{task_definition} has {PERCENT}={text!r}; expected a fraction of whole percents"
            " such as 0.10; run pulumi up"
        )
    return int(percent)


# ---------------------------------------------------------------- what was applied, and when


def _target_group(running: _Running) -> str:
    if len(running.target_groups) != 1:
        raise UnreadableError(f"service {running.name} has {len(running.target_groups)} target groups; expected one")
    return running.target_groups[0]


def _applied(api: Api, service: Service) -> tuple[str, datetime]:
    """Return the percent that was last applied, and when."""
    name = f"/pilot/{service.cluster}/{service.name}/percent"
    parameter = api.call("ssm", "GetParameter", Name=name)["Parameter"]
    return str(parameter["Value"]), _utc(parameter["LastModifiedDate"])


def _settings(api: Api, container: _Container) -> _Settings | None:
    """Return what the container is to poll; None where all that it is told is in its environment."""
    name = container.environment.get(SETTINGS)
    if name is None:
        return None
    parameter = api.call("ssm", "GetParameter", Name=name)["Parameter"]
    try:
        told = json.loads(parameter["Value"])
        percent, flags = told.get("percent"), {str(flag): str(value) for flag, value in told["flags"].items()}
        good = percent is None or (type(percent) is int and 0 <= percent <= 100)
    except (AttributeError, LookupError, TypeError, ValueError):
        good = False
    if not good:
        raise UnreadableError(
            f"{name} holds {str(parameter['Value'])[:200]!r}; expected JSON with flags and a whole percent"
            " from 0 to 100; run pulumi up"
        )
    return _Settings(percent, flags, _utc(parameter["LastModifiedDate"]))


# ---------------------------------------------------------------- words


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _camel(name: str) -> str:
    """Undo what infra/ makes of a flag's name: MIC_PROMPT is micPrompt."""
    head, *rest = name.lower().split("_")
    return head + "".join(word.capitalize() for word in rest)
