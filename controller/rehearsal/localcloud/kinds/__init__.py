"""The resource types that the program uses, each by its token."""

from __future__ import annotations

from moto.core.models import DEFAULT_ACCOUNT_ID

from controller.rehearsal.localcloud.calls import Aws
from controller.rehearsal.localcloud.kinds import account, ec2, ecs, elb, iam, messaging, nat, s3, scaling
from controller.rehearsal.localcloud.kinds.base import Kind
from controller.rehearsal.localcloud.shapes import BadInputError, Bag

_MODULES = (ec2, nat, elb, iam, account, ecs, scaling, s3, messaging)
_BY_TOKEN: dict[str, type[Kind]] = {kind.token: kind for module in _MODULES for kind in module.KINDS}
_SHOWN = {"arns": "ARN", "names": "Name", "types": "Type", "values": "Value"}


def kind_of(token: str, aws: Aws) -> Kind:
    """Return the handler of a resource type."""
    if token not in _BY_TOKEN:
        raise BadInputError(
            f"{token} is not among the resource types of the local AWS; add it in controller/rehearsal/localcloud/kinds"
        )
    return _BY_TOKEN[token](aws)


def invoke(token: str, arguments: Bag, aws: Aws) -> Bag:
    """Answer a function call of the program."""
    if token == "aws:index/getAvailabilityZones:getAvailabilityZones":
        zones = aws.call("ec2", "DescribeAvailabilityZones", {})["AvailabilityZones"]
        return {"names": [zone["ZoneName"] for zone in zones], "id": zones[0]["RegionName"]}
    if token == "aws:index/getCallerIdentity:getCallerIdentity":
        # A client of STS would cost more than all that it says.
        return {"accountId": DEFAULT_ACCOUNT_ID, "arn": "", "userId": "", "id": DEFAULT_ACCOUNT_ID}
    if token == "aws:ssm/getParametersByPath:getParametersByPath":
        found = aws.call("ssm", "GetParametersByPath", arguments)["Parameters"]
        shown = {name: [one[key] for one in found] for name, key in _SHOWN.items()}
        return {**shown, "path": arguments["path"], "id": arguments["path"]}
    raise BadInputError(f"{token}({arguments}) is not among the functions of the local AWS")
