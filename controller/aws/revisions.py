"""The revision of a task definition that a rollback would go back to."""

from __future__ import annotations

from controller.aws.api import Api, Clients, UnreadableError
from controller.model import Service


def previous(clients: Clients, service: Service, region: str | None) -> tuple[bool, str]:
    """Whether there is an active revision before the one that serves, and its name, or why not in words."""
    api = Api(clients, region)
    try:
        found = api.call("ecs", "DescribeServices", cluster=service.cluster, services=[service.name])["services"]
        if not found:
            return False, f"no service {service.name} in cluster {service.cluster}; run pulumi up"
        serves = str(found[0]["taskDefinition"])
        family, _, revision = serves.rpartition("/")[2].rpartition(":")
        asked = {"familyPrefix": family, "status": "ACTIVE", "sort": "DESC"}
        arns = api.call("ecs", "ListTaskDefinitions", **asked)["taskDefinitionArns"]
    except UnreadableError as error:
        return False, str(error)
    earlier = [arn.rpartition("/")[2] for arn in arns if _revision(arn) < int(revision) and family == _family(arn)]
    if not earlier:
        return False, f"{family}:{revision} is the only one; a rollback needs a release before it"
    return True, f"{family}:{revision} serves, {earlier[0]} is the way back"


def _family(arn: str) -> str:
    return arn.rpartition("/")[2].rpartition(":")[0]


def _revision(arn: str) -> int:
    return int(arn.rpartition(":")[2])
