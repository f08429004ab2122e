"""
Read back what AWS runs, before anything is judged. Nothing is changed here.

With exposure `flag`, the percent is in the task definition that serves, or in the parameter that this tells the app to
poll; with `traffic`, it is the candidate's weight at the listener, and its date is that of the parameter which
`pulumi up` writes last. Whatever AWS does not answer, or answers oddly, makes the state unreadable, never a guess.
"""

from __future__ import annotations

import functools
from datetime import datetime

from controller.aws import stops
from controller.aws.api import Api, Clients, UnreadableError, client_factory
from controller.aws.tasks import PERCENT, SETTINGS, VARIANT, container, percent, services, settings, utc
from controller.aws.weights import weight
from controller.model import Deployment, Exposure, Live, Place, Service, Stop, Unreadable

__all__ = ["EcsLiveState", "client_factory"]


class EcsLiveState:
    """Keeps the promise of `ports.LiveState` with ECS, load balancing and Systems Manager."""

    def __init__(self, clients: Clients) -> None:
        self._api = functools.cache(lambda region: Api(clients, region))

    def read(self, service: Service, exposure: Exposure, region: str | None) -> Live | Unreadable:
        """Read the live state; trouble with AWS is an `Unreadable`, not an exception."""
        api = self._api(region)
        stop: Stop | None = None
        try:
            stop = stops.read(api, Place(service.cluster, service.name, region))
            live = _traffic if exposure is Exposure.TRAFFIC else _flag
            return live(api, service, stop)
        except UnreadableError as error:
            return Unreadable(str(error), stop)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            sentence = f"AWS answered {service.cluster}/{service.name} in an unknown form ({what}); report it"
            return Unreadable(sentence, stop)


def _flag(api: Api, service: Service, stop: Stop | None) -> Live:
    (running,) = services(api, service.cluster, [service.name])
    told = container(api, running.task_definition, PERCENT, SETTINGS)
    if VARIANT in told.environment:
        raise UnreadableError(
            f"{running.task_definition} is told {VARIANT}: exposure traffic is live, flag is declared; run pulumi up"
        )
    polled = settings(api, told)
    if polled is None:
        share = percent(told.environment[PERCENT], running.task_definition)
    elif polled.percent is None:
        raise UnreadableError(
            f"{told.environment[SETTINGS]} has no percent, which it has with exposure flag; run pulumi up"
        )
    else:
        share = polled.percent
    dates = [date for date in (told.registered, polled.written if polled else None) if date is not None]
    return Live(
        percent=share,
        since=max(running.since, polled.written) if polled else running.since,
        applied=max(dates, default=None),
        deployment=running.state,
        image=told.image,
        flags=polled.flags if polled else told.flags,
        task_definition=running.task_definition,
        detail=running.detail,
        intake=polled.intake if polled else told.intake,
        stop=stop,
    )


def _traffic(api: Api, service: Service, stop: Stop | None) -> Live:
    names = [service.name, f"{service.name}-candidate"]
    stable, candidate = services(api, service.cluster, names)
    share = weight(api, stable, candidate)
    applied, written = _applied(api, service)
    told = container(api, stable.task_definition, VARIANT)
    other = container(api, candidate.task_definition, VARIANT)
    worst = min((stable.state, candidate.state), key=list(Deployment).index)
    details = [f"{one.name}: {one.detail}" for one in (stable, candidate)]
    if applied != str(share):
        # An update writes the parameter last. Until it has, nobody knows since when this is so.
        worst = min(worst, Deployment.IN_PROGRESS, key=list(Deployment).index)
        details.insert(
            0,
            f"the listener sends {share} % to the candidate, but {applied} % was last applied;"
            " an update is under way, or the weights were changed by hand",
        )
    polled = settings(api, told)
    changed = max(written, polled.written) if polled else written
    return Live(
        percent=share,
        since=max(changed, stable.since, candidate.since),
        applied=changed,
        deployment=worst,
        image=told.image,
        candidate_image=other.image,
        flags=polled.flags if polled else told.flags,
        task_definition=stable.task_definition,
        detail="; ".join(details),
        intake=polled.intake if polled else told.intake,
        stop=stop,
    )


def _applied(api: Api, service: Service) -> tuple[str, datetime]:
    """Return the percent that was last applied, and when."""
    name = f"/pilot/{service.cluster}/{service.name}/percent"
    parameter = api.call("ssm", "GetParameter", Name=name)["Parameter"]
    return str(parameter["Value"]), utc(parameter["LastModifiedDate"])
