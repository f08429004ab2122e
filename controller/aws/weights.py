"""How a load balancer splits users between two target groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.aws.api import Api, UnreadableError


def of_candidate(api: Api, stable: str, candidate: str) -> int:
    """
    Return the candidate's weight, out of 100, at the listeners that serve both target groups.

    Raises:
        UnreadableError: there is no such listener, or two disagree, or the weights do not sum to 100.
    """
    ours = [stable, candidate]
    answer = api.call("elbv2", "DescribeTargetGroups", TargetGroupArns=ours)
    balancers = {arn for one in answer["TargetGroups"] for arn in one.get("LoadBalancerArns", [])}
    found: dict[str, tuple[int, int]] = {}
    for balancer in sorted(balancers):
        for listener in _listeners(api, balancer):
            weights = _weights(listener)
            if not weights.keys().isdisjoint(ours):
                pair = (weights.get(ours[0], 0), weights.get(ours[1], 0))
                found[str(listener["ListenerArn"])] = pair
    if len(set(found.values())) != 1:
        raise UnreadableError(
            f"elasticloadbalancing:DescribeListeners: {_pairs(found)} forward to the services;"
            " expected the same weights at each and at least one; run pulumi up"
        )
    (pair,) = set(found.values())
    if sum(pair) != 100:
        raise UnreadableError(f"{_pairs(found)} has weights that sum to {sum(pair)}; expected 100; run pulumi up")
    return pair[1]


def _pairs(found: Mapping[str, tuple[int, int]]) -> str:
    said = [f"{arn} ({stable} stable, {other} candidate)" for arn, (stable, other) in found.items()]
    return ", ".join(said) or "no listeners"


def _listeners(api: Api, balancer: str) -> Iterable[Mapping[str, Any]]:
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
