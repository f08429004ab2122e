"""Which share of the traffic the candidate gets, by the weights of the listeners that serve both variants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.aws.api import Api, UnreadableError
from controller.aws.tasks import Running


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener that forwards to the variants: its actions, and the weights of stable and candidate."""

    arn: str
    actions: tuple[Mapping[str, Any], ...]
    pair: tuple[int, int]


def weight(api: Api, stable: Running, candidate: Running) -> int:
    """
    Return the candidate's weight, out of 100.

    Raises:
        UnreadableError: the listeners do not agree, or it is no percent.
    """
    found = {one.arn: one.pair for one in listeners(api, target_group(stable), target_group(candidate))}
    if len(set(found.values())) != 1:
        raise UnreadableError(
            f"elasticloadbalancing:DescribeListeners: {_pairs(found)} forward to the services;"
            " expected the same weights at each and at least one; run pulumi up"
        )
    (pair,) = set(found.values())
    if sum(pair) != 100:
        raise UnreadableError(f"{_pairs(found)} has weights that sum to {sum(pair)}; expected 100; run pulumi up")
    return pair[1]


def target_group(running: Running) -> str:
    if len(running.target_groups) != 1:
        raise UnreadableError(f"service {running.name} has {len(running.target_groups)} target groups; expected one")
    return running.target_groups[0]


def listeners(api: Api, stable: str, candidate: str) -> Iterator[Listener]:
    """The listeners that forward to either of two target groups."""
    answer = api.call("elbv2", "DescribeTargetGroups", TargetGroupArns=[stable, candidate])
    balancers = {arn for one in answer["TargetGroups"] for arn in one.get("LoadBalancerArns", [])}
    for balancer in sorted(balancers):
        for listener in _described(api, balancer):
            weights = _weights(listener)
            if not weights.keys().isdisjoint((stable, candidate)):
                pair = (weights.get(stable, 0), weights.get(candidate, 0))
                yield Listener(str(listener["ListenerArn"]), tuple(listener["DefaultActions"]), pair)


def _described(api: Api, balancer: str) -> Iterable[Mapping[str, Any]]:
    marker: dict[str, str] = {}
    while True:
        answer = api.call("elbv2", "DescribeListeners", LoadBalancerArn=balancer, **marker)
        yield from answer["Listeners"]
        if not answer.get("NextMarker"):
            return
        marker = {"Marker": answer["NextMarker"]}


def _weights(listener: Mapping[str, Any]) -> dict[str, int]:
    """Return the weights of a listener's default action, by target group."""
    return {
        group["TargetGroupArn"]: int(group.get("Weight", 1))
        for action in listener.get("DefaultActions") or []
        for group in (action.get("ForwardConfig") or {}).get("TargetGroups") or []
    }


def _pairs(found: Mapping[str, tuple[int, int]]) -> str:
    said = [f"{arn} ({stable} stable, {other} candidate)" for arn, (stable, other) in found.items()]
    return ", ".join(said) or "no listeners"
