"""
Whether these credentials may do what the product does in AWS, without doing it.

What is only read is read. What writes is asked of IAM's own simulator, which changes nothing:
https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from controller.aws import standing
from controller.aws.api import Api, Clients, UnreadableError
from controller.model import Declared, Exposure, Finding, Health, Place

_ASSUMED = re.compile(r"^arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/")
# The writes of a kill and a rollback, by what they are on.
_WRITES = {
    "parameters": ("ssm:PutParameter",),
    "revisions": ("ecs:RegisterTaskDefinition", "ecs:TagResource"),
    "service": ("ecs:UpdateService",),
    "roles": ("iam:PassRole",),
    "listeners": ("elasticloadbalancing:ModifyListener",),
}
_PASSED = {  # which a policy should insist on, and without which the simulator then says no
    "ContextKeyName": "iam:PassedToService",
    "ContextKeyValues": ["ecs-tasks.amazonaws.com"],
    "ContextKeyType": "string",
}


def examine(clients: Clients, declared: Declared) -> Iterator[Finding]:
    """What stands in the way of a kill and a rollback of *declared*, or that nothing does."""
    api = Api(clients, declared.region)
    try:
        caller = api.call("sts", "GetCallerIdentity")
        yield Finding("AWS credentials", Health.FINE, str(caller["Arn"]))
        yield from _writes(api, declared, caller)
        yield _way_back(api, declared)
    except UnreadableError as error:
        yield Finding("AWS credentials", Health.WRONG, str(error), "sign in again, for instance aws sso login")


def clock(clients: Clients, region: str | None, now: datetime) -> float | None:
    """By how many seconds this machine's clock is ahead of AWS; None where AWS does not say what time it is."""
    try:
        answer = Api(clients, region).call("sts", "GetCallerIdentity")
    except UnreadableError:
        return None
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return (now - parsedate_to_datetime(date).astimezone(UTC)).total_seconds() if date else None


def _writes(api: Api, declared: Declared, caller: dict[str, Any]) -> Iterator[Finding]:
    about = "AWS permissions"
    by_hand = "allow it, or see that the kill switch works: pilot preflight --drill"
    try:
        denied = _denied(api, declared, caller)
    except UnreadableError as error:
        yield Finding(about, Health.NOTE, f"of a kill and a rollback cannot be looked up: {error}", by_hand)
        return
    if denied:
        said = f"a kill or a rollback would be refused {', '.join(denied)}"
        yield Finding(about, Health.WRONG, said, f"allow {', '.join(denied)} to {caller['Arn']}")
    else:
        yield Finding(about, Health.FINE, "may kill and roll back")


def _way_back(api: Api, declared: Declared) -> Finding:
    """What a rollback reads, by reading it."""
    place = Place(declared.service.cluster, declared.service.name, declared.region)
    try:
        newest = next(standing.completed(api, place), None)
    except UnreadableError as error:
        return Finding("AWS way back", Health.WRONG, str(error), "without it a rollback takes --task-definition")
    said = f"{newest.name} is the newest that completed" if newest else "no deployment has completed yet"
    return Finding("AWS way back", Health.FINE if newest else Health.NOTE, said)


def _denied(api: Api, declared: Declared, caller: dict[str, Any]) -> list[str]:
    source, on = _principal(api, str(caller["Arn"])), _resources(api, declared, str(caller["Arn"]).split(":"))
    denied = []
    for kind, resources in on.items():
        asked: dict[str, Any] = {"PolicySourceArn": source, "ActionNames": list(_WRITES[kind])}
        if kind == "roles":
            asked["ContextEntries"] = [_PASSED]
        answer = api.call("iam", "SimulatePrincipalPolicy", ResourceArns=resources, **asked)
        for found in answer["EvaluationResults"]:
            if found["EvalDecision"] != "allowed" and found["EvalActionName"] not in denied:
                denied.append(str(found["EvalActionName"]))
    return denied


def _resources(api: Api, declared: Declared, caller: list[str]) -> dict[str, list[str]]:
    """What is written to, by ARN; the roles and the listeners are those that serve now."""
    service, partition, account = declared.service, caller[1], caller[4]
    here = f"arn:{partition}:{{}}:{declared.region}:{account}:"
    traffic = declared.rollout.exposure is Exposure.TRAFFIC
    names = [service.name, *([f"{service.name}-candidate"] if traffic else [])]
    found = api.call("ecs", "DescribeServices", cluster=service.cluster, services=[service.name])["services"]
    if not found:
        raise UnreadableError(f"no service {service.name} in cluster {service.cluster}; run pulumi up")
    task = api.call("ecs", "DescribeTaskDefinition", taskDefinition=found[0]["taskDefinition"])["taskDefinition"]
    roles = {task[key] for key in ("executionRoleArn", "taskRoleArn") if task.get(key)}
    on = {
        "parameters": [f"{here.format('ssm')}parameter/pilot/{service.cluster}/{service.name}/stop"],
        "revisions": [f"{here.format('ecs')}task-definition/{task['family']}:1"],
        "service": [f"{here.format('ecs')}service/{service.cluster}/{name}" for name in names],
    }
    if roles:
        on["roles"] = sorted(roles)
    if traffic:
        groups = [one["targetGroupArn"] for one in found[0].get("loadBalancers", ()) if one.get("targetGroupArn")]
        described = api.call("elbv2", "DescribeTargetGroups", TargetGroupArns=groups)["TargetGroups"]
        balancers = {arn for one in described for arn in one["LoadBalancerArns"]}
        listeners = [
            one["ListenerArn"]
            for arn in sorted(balancers)
            for one in api.call("elbv2", "DescribeListeners", LoadBalancerArn=arn)["Listeners"]
        ]
        if listeners:
            on["listeners"] = listeners
    return on


def _principal(api: Api, arn: str) -> str:
    """The role behind a session, or the user: what a policy can be simulated for."""
    session = _ASSUMED.match(arn)
    if session is None:
        return arn
    partition, account, role = session.groups()
    try:
        return str(api.call("iam", "GetRole", RoleName=role)["Role"]["Arn"])
    except UnreadableError:  # without a path, which most roles do not have
        return f"arn:{partition}:iam::{account}:role/{role}"
