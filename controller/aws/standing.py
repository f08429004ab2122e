"""What stands where a way back may begin: what a service runs, and which task definitions ran before and may again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.aws import weights
from controller.aws.api import Api, UnreadableError
from controller.aws.tasks import PERCENT, SETTINGS, VARIANT, Container, Running, active, container, percent, utc
from controller.model import Deployment, Place

_LOOKED_BACK = 100  # deployments among which a way back is looked for
_AT_ONCE = 20  # revisions of a service that ECS describes in one call


@dataclass(frozen=True, slots=True)
class Revision:
    """
    A task definition, with the percent that it tells its tasks; None where the percent is not theirs.

    `completed` is when a deployment of it did.
    """

    arn: str
    image: str
    percent: int | None
    completed: datetime | None = None

    @property
    def name(self) -> str:
        """Family and revision, as people say it."""
        return short(self.arn)


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What the service's users get at present: what serves since when, and the percent.

    `ordered` is the task definition that the newest deployment brings, whose state `deployment` and `detail` say.
    `balanced`: the load balancer chooses. `percent_since` is when `pulumi up` last changed the percent, where that is
    not the tasks' own.
    """

    serving: Revision
    since: datetime
    ordered: str
    deployment: Deployment
    detail: str
    percent: int
    balanced: bool = False
    percent_since: datetime | None = None


def read(api: Api, place: Place) -> Standing:
    """What is live at *place*."""
    (stable, *rest), told = found(api, place)
    serving = revision(api, stable.task_definition)
    share, since = serving.percent or 0, None
    if rest:
        share = weights.weight(api, stable, rest[0])
    elif SETTINGS in told.environment:
        share = int(settings(api, told).get("percent") or 0)
    if serving.percent is None:
        applied = api.find("ssm", "GetParameter", Name=place.parameter("percent"))
        since = utc(applied["Parameter"]["LastModifiedDate"]) if applied else None
    worst = min([stable, *rest], key=lambda one: list(Deployment).index(one.state))
    return Standing(
        serving, stable.since, worst.ordered, worst.state, worst.detail, share,
        balanced=bool(rest), percent_since=since,
    )  # fmt: skip


def found(api: Api, place: Place) -> tuple[list[Running], Container]:
    """The service with what its tasks are told and, where the load balancer chooses, that of the candidate."""
    names = [place.service, f"{place.service}-candidate"]
    there = active(api, place.cluster, names)
    if place.service not in there:
        where = f"cluster {place.cluster}, region {place.region or 'of the environment'}"
        raise UnreadableError(f"there is no active service {place.service} in {where}; check the names")
    told = container(api, there[place.service].task_definition, PERCENT, SETTINGS)
    if VARIANT in told.environment and names[1] not in there:
        raise UnreadableError(f"there is no active service {names[1]} beside {place.service}; run pulumi up")
    return [there[name] for name in (names if VARIANT in told.environment else names[:1])], told


def settings(api: Api, told: Container) -> dict[str, Any]:
    """What the app polls, as it stands there; what is no JSON object counts as empty, as it does for the app."""
    parameter = api.call("ssm", "GetParameter", Name=told.environment[SETTINGS])["Parameter"]
    try:
        value = json.loads(parameter["Value"])
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def completed(api: Api, place: Place) -> Iterator[Revision]:
    """
    The task definitions of the service's deployments that completed, newest first, if they may be run still.

    ECS tells of those of the last 90 days:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
    """
    past = api.call(
        "ecs", "ListServiceDeployments", cluster=place.cluster, service=place.service, status=["SUCCESSFUL"],
        maxResults=_LOOKED_BACK,
    )["serviceDeployments"]  # fmt: skip
    newest = sorted(past, key=lambda one: one["createdAt"], reverse=True)
    for start in range(0, len(newest), _AT_ONCE):
        batch = newest[start : start + _AT_ONCE]
        asked = list({one["targetServiceRevisionArn"]: None for one in batch})
        answer = api.call("ecs", "DescribeServiceRevisions", serviceRevisionArns=asked)["serviceRevisions"]
        ran = {one["serviceRevisionArn"]: str(one["taskDefinition"]) for one in answer}
        for one in batch:
            task_definition = ran.get(one["targetServiceRevisionArn"])
            if task_definition and _is_active(api, task_definition):
                yield revision(api, task_definition, utc(one.get("finishedAt") or one["createdAt"]))


def named(api: Api, place: Place, name: str) -> Revision:
    """The revision that a person calls *name*: `family:number`, or the number alone."""
    if name.isdigit():
        (stable, *_), _told = found(api, place)
        name = f"{stable.task_definition.rpartition(':')[0]}:{name}"
    one = revision(api, name)
    if not _is_active(api, name):
        raise UnreadableError(f"{one.name} is not ACTIVE, and ECS runs no other; name another revision")
    return one


def revision(api: Api, task_definition: str, since: datetime | None = None) -> Revision:
    told = container(api, task_definition, PERCENT, SETTINGS)
    arn = str(described(api, task_definition)["taskDefinition"]["taskDefinitionArn"])
    outside = VARIANT in told.environment or SETTINGS in told.environment
    return Revision(arn, told.image, None if outside else percent(told.environment[PERCENT], arn), since)


def described(api: Api, task_definition: str) -> Any:
    return api.call_once("ecs", "DescribeTaskDefinition", taskDefinition=task_definition)


def short(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


def _is_active(api: Api, task_definition: str) -> bool:
    return bool(described(api, task_definition)["taskDefinition"]["status"] == "ACTIVE")
