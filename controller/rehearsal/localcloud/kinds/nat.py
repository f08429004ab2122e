"""The way out of private subnets."""

from __future__ import annotations

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of
from controller.rehearsal.localcloud.kinds.ec2 import Ec2Kind
from controller.rehearsal.localcloud.shapes import BadInputError, Bag


class Eip(Ec2Kind):
    token = "aws:ec2/eip:Eip"
    creates = ("ec2", "AllocateAddress")
    replaced_by = frozenset({"domain"})
    describes = ("DescribeAddresses", "allocationIds", "Addresses")
    computed = ("allocationId", "publicIp")

    def request(self, inputs: Bag) -> Bag:
        return inputs

    def rules(self, inputs: Bag) -> None:
        one_of("domain", inputs.get("domain"), ("vpc",))

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["AllocationId"])

    def outputs(self, id_: str) -> Bag:
        return {"allocationId": id_}

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "ReleaseAddress", {"allocationId": id_})


class NatGateway(Ec2Kind):
    token = "aws:ec2/natGateway:NatGateway"
    creates = ("ec2", "CreateNatGateway")
    replaced_by = frozenset({"allocationId", "subnetId"})
    describes = ("DescribeNatGateways", "natGatewayIds", "NatGateways")
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return inputs

    def references(self, inputs: Bag) -> None:
        self.network([inputs["subnetId"]], [])
        if not self.aws.find("ec2", "DescribeAddresses", {"allocationIds": [inputs["allocationId"]]}):
            raise BadInputError(f"allocationId is {inputs['allocationId']}; there is no such address")

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["NatGateway"]["NatGatewayId"])

    def find(self, id_: str, state: Bag) -> Found | None:
        found = super().find(id_, state)
        return None if found is None or found.described["State"] == "deleted" else found

    def described(self, item: Bag) -> Bag:
        addresses = [one["AllocationId"] for one in item["NatGatewayAddresses"]]
        return {**item, "AllocationId": addresses[0] if addresses else ""}

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "DeleteNatGateway", {"natGatewayId": id_})


KINDS: tuple[type[Kind], ...] = (Eip, NatGateway)
