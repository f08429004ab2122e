"""
The writes that break the glass: a service is taken down to a percent, its intake paused and its tasks taken back, in
AWS itself, whatever Git, the forge or the events say.

What is live says how: the program in infra/ tells the tasks whether the percent is theirs, a parameter's or the load
balancer's. Each act looks first and writes only what is not so, and one that fails keeps no other from being tried. So
whoever is interrupted, at whatever call, runs it again.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from controller.aws import standing, stops, weights
from controller.aws.api import Api, Cause, Clients, UnreadableError
from controller.aws.standing import Revision, Standing, short
from controller.aws.tasks import INTAKE, PERCENT, SETTINGS, VARIANT, Container, Running, environment, percent
from controller.errors import ConfigError, PilotError, TransientError
from controller.model import Deployment, Intake, Place, Stop

T = TypeVar("T")
_STATE = {Deployment.COMPLETED: "serves", Deployment.IN_PROGRESS: "is on its way", Deployment.FAILED: "failed"}


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that had to be so: in *words* what it is now, or what it should be and why it is not."""

    words: str
    error: PilotError | None = None
    wrote: bool = False


class CredentialsError(ConfigError):
    """AWS does not take the credentials; the message says how to get others."""


class BreakGlass:
    """
    One service, to be looked at and held down.

    Every method raises a ConfigError where a person must act, a CredentialsError among them, else a TransientError.
    """

    def __init__(self, clients: Clients, place: Place) -> None:
        self.place = place
        self._api = Api(clients, place.region)

    def stop(self) -> Stop | None:
        """The stop that stands, if there is one."""
        return _said(lambda: stops.read(self._api, self.place))

    def standing(self) -> Standing:
        """What is live."""
        return _said(lambda: standing.read(self._api, self.place))

    def named(self, name: str) -> Revision:
        """The revision that a person calls *name*: `family:number`, or the number alone."""
        return _said(lambda: standing.named(self._api, self.place, name))

    def completed(self) -> Iterator[Revision]:
        """What the service ran before, newest first, as far as that may be run still."""
        ran = standing.completed(self._api, self.place)
        while (one := _said(lambda: next(ran, None))) is not None:
            yield one

    # ------------------------------------------------------------ acting

    def hold_down(self, stop: Stop) -> Iterator[Act]:
        """
        Let *stop* stand, and bring AWS to it: no more than its percent, the intake paused, its task definition.

        What is lower already stays. The record goes first, so that no `pulumi up` takes back what comes after it.
        """
        yield _act(f"record the stop in {self.place.parameter(stops.KEY)}", lambda: self._record(stop))
        try:
            (stable, *rest), told = _said(lambda: standing.found(self._api, self.place))
        except CredentialsError:
            raise
        except PilotError as error:
            yield Act("lower the percent and pause the intake, which takes to know what runs", error)
            return
        if rest:
            wanted = f"send {stop.percent} % of the traffic to the candidate"
            yield _act(wanted, lambda: self._weigh(stable, rest[0], stop))
        if name := told.environment.get(SETTINGS):
            yield _act(f"tell the app {_told(stop)} by {name}", lambda: self._tell(told, stop))
        base = stop.task_definition or stable.task_definition
        yield _act(f"deploy {_told(stop)} to {stable.name}", lambda: self._deploy(stable, base, stop))
        for one in rest:
            wanted = f"deploy {_told(stop)} to {one.name}"
            yield _act(wanted, functools.partial(self._deploy, one, one.task_definition, stop))

    def end(self, why: str) -> Act:
        """End the stop that stands. All else stays down until `pulumi up --refresh` brings back what is declared."""
        return _act("end the stop", lambda: self._end(why))

    def _end(self, why: str) -> tuple[str, bool]:
        self._put(self.place.parameter(stops.KEY), f"ended: {why}")
        return "the stop has ended", True

    def _record(self, stop: Stop) -> tuple[str, bool]:
        words = f"the stop is recorded in {self.place.parameter(stops.KEY)}"
        if stops.read(self._api, self.place) == stop:
            return words, False
        stops.write(self._api, self.place, stop)
        return words, True

    def _weigh(self, stable: Running, candidate: Running, stop: Stop) -> tuple[str, bool]:
        """Change the weights, then the parameter that dates them: in the order in which `pulumi up` does."""
        ours = (weights.target_group(stable), weights.target_group(candidate))
        found = list(weights.listeners(self._api, *ours))
        if not found:
            raise UnreadableError(f"no listener forwards to {stable.name}; run pulumi up")
        share, wrote = min(stop.percent, *(listener.pair[1] for listener in found)), False
        for listener in found:
            if listener.pair != (100 - share, share):
                actions = _weighed(listener, dict(zip(ours, (100 - share, share), strict=True)))
                self._api.call("elbv2", "ModifyListener", ListenerArn=listener.arn, DefaultActions=actions)
                wrote = True
        applied = self._api.find("ssm", "GetParameter", Name=self.place.parameter("percent"))
        if applied is None or applied["Parameter"]["Value"] != str(share):
            self._put(self.place.parameter("percent"), str(share))
            wrote = True
        return f"the load balancer sends {share} % of the traffic to the candidate", wrote

    def _tell(self, told: Container, stop: Stop) -> tuple[str, bool]:
        name = told.environment[SETTINGS]
        value = standing.settings(self._api, told)
        wanted = {"cohort": [], "flags": {}, **value, "intake": str(Intake.PAUSED)}
        if VARIANT not in told.environment:
            share = value.get("percent")
            wanted["percent"] = min(share, stop.percent) if type(share) is int else stop.percent
        share = f"{wanted['percent']} % and " if "percent" in wanted else ""
        words = f"{name} tells the app {share}intake paused; it follows when it looks next"
        if value == wanted:
            return words, False
        self._put(name, json.dumps(wanted, sort_keys=True))
        return words, True

    def _put(self, name: str, value: str) -> None:
        self._api.call("ssm", "PutParameter", Name=name, Value=value, Type="String", Overwrite=True)

    def _deploy(self, running: Running, base: str, stop: Stop) -> tuple[str, bool]:
        """Order *base*, or a copy of it that is told of the stop, unless it is ordered already."""
        wanted = self._registrable(standing.described(self._api, base))
        told = _held_down(wanted, stop)
        ordered = self._registrable(standing.described(self._api, running.ordered))
        if _same(ordered, told):
            return f"{running.name}: {short(running.ordered)} {_STATE[running.state]}", False
        arn = base if told == wanted else self._registered(told)
        self._api.call("ecs", "UpdateService", cluster=self.place.cluster, service=running.name, taskDefinition=arn)
        return f"{running.name}: {short(arn)} is on its way; the old tasks serve until its are healthy", True

    def _registrable(self, described: Any) -> dict[str, Any]:
        """A task definition as RegisterTaskDefinition takes it, its tags left out."""
        allowed = self._api.members("ecs", "RegisterTaskDefinition")
        return {key: value for key, value in described["taskDefinition"].items() if key in allowed}

    def _registered(self, told: dict[str, Any]) -> str:
        """The newest revision of the family, where it is just that already; else a new one, with its tags."""
        newest = self._api.call("ecs", "DescribeTaskDefinition", taskDefinition=told["family"], include=["TAGS"])
        if newest["taskDefinition"]["status"] == "ACTIVE" and _same(self._registrable(newest), told):
            return str(newest["taskDefinition"]["taskDefinitionArn"])
        tags = {"tags": newest["tags"]} if newest.get("tags") else {}
        made = self._api.call("ecs", "RegisterTaskDefinition", **told, **tags)
        return str(made["taskDefinition"]["taskDefinitionArn"])


# ---------------------------------------------------------------- what is written


def _held_down(definition: dict[str, Any], stop: Stop) -> dict[str, Any]:
    """*definition* whose containers are told what *stop* says, where they are told such things at all."""

    def told(one: Mapping[str, Any]) -> dict[str, Any]:
        has = environment(one)
        if PERCENT in has and VARIANT not in has and SETTINGS not in has:
            has[PERCENT] = f"{min(_percent(has[PERCENT]), stop.percent) / 100:.2f}"
        if INTAKE in has:
            has[INTAKE] = str(Intake.PAUSED)
        pairs = [{"name": name, "value": value} for name, value in has.items()]
        return {**one, "environment": pairs} if "environment" in one else dict(one)

    return {**definition, "containerDefinitions": [told(one) for one in definition["containerDefinitions"]]}


def _percent(text: str) -> int:
    """What a task is told, as a percent; what cannot be read counts as all."""
    try:
        return percent(text, "")
    except UnreadableError:
        return 100


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two definitions run the same; ECS does not keep the order of variables."""

    def ordered(definition: Mapping[str, Any]) -> dict[str, Any]:
        containers = [
            {**item, "environment": sorted(item.get("environment") or [], key=lambda pair: str(pair["name"]))}
            for item in definition["containerDefinitions"]
        ]
        return {**definition, "containerDefinitions": containers}

    return ordered(one) == ordered(other)


def _weighed(listener: weights.Listener, wanted: Mapping[str, int]) -> list[dict[str, Any]]:
    """The actions of *listener* with the weights *wanted*; at 0 and 100 no cookie keeps anybody where they were."""
    actions = []
    for action in listener.actions:
        forward = action.get("ForwardConfig") or {}
        if wanted.keys().isdisjoint(group["TargetGroupArn"] for group in forward.get("TargetGroups") or []):
            actions.append(dict(action))
            continue
        groups = [
            {**group, "Weight": wanted.get(group["TargetGroupArn"], group.get("Weight", 1))}
            for group in forward["TargetGroups"]
        ]
        config: dict[str, Any] = {**forward, "TargetGroups": groups}
        if 0 in wanted.values() and "TargetGroupStickinessConfig" in forward:
            config["TargetGroupStickinessConfig"] = {**forward["TargetGroupStickinessConfig"], "Enabled": False}
        plain = {key: value for key, value in action.items() if key != "TargetGroupArn"}
        actions.append({**plain, "ForwardConfig": config})
    return actions


# ---------------------------------------------------------------- words and errors


def _told(stop: Stop) -> str:
    return f"at most {stop.percent} % and intake paused"


def _act(wanted: str, act: Callable[[], tuple[str, bool]]) -> Act:
    """Do one act. Without credentials there is no use in the next."""
    try:
        words, wrote = _said(act)
        return Act(words, wrote=wrote)
    except CredentialsError:
        raise
    except PilotError as error:
        return Act(wanted, error)


def _said(call: Callable[[], T]) -> T:
    """*call*, whose failures are split by who acts next."""
    try:
        return call()
    except UnreadableError as error:
        if error.cause is Cause.CREDENTIALS:
            raise CredentialsError(f"{error}. {_renewal()}, then run the same command again") from error
        kind = TransientError if error.cause in (Cause.LATER, Cause.NETWORK) else ConfigError
        raise kind(str(error)) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"AWS answered in an unknown form ({type(error).__name__}: {error}); report it") from error


def _renewal() -> str:
    """How credentials are renewed, by where they come from."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return (
            "The keys in the environment are no longer good: copy new ones from the AWS access portal (your account,"
            " Access keys) and paste the lines that set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
        )
    profile = os.environ.get("AWS_PROFILE")
    return f"Log in: aws sso login{f' --profile {profile}' if profile else ''}"
