"""Network resources."""

from __future__ import annotations

import ipaddress
from typing import Any

from controller.rehearsal.localcloud.kinds.base import Found, Kind, only, without
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag


def _cidr(name: str, value: Any) -> None:
    if value is None or value == UNKNOWN:
        return
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise BadInputError(f"{name} is {value!r}; {error}") from None


class Ec2Kind(Kind):
    """EC2 describes by ids: `describes` names the call, its id argument and its list."""

    describes: tuple[str, str, str]

    def find(self, id_: str, state: Bag) -> Found | None:
        call, argument, answer = self.describes
        found = self.aws.find("ec2", call, {argument: [id_]})
        if found is None or not found[answer]:
            return None
        return Found(self.described(found[answer][0]), self.outputs(id_))

    def described(self, item: Bag) -> Bag:
        return item

    def outputs(self, id_: str) -> Bag:
        return {}


class Vpc(Ec2Kind):
    token = "aws:ec2/vpc:Vpc"
    creates = ("ec2", "CreateVpc")
    replaced_by = frozenset({"cidrBlock"})
    describes = ("DescribeVpcs", "vpcIds", "Vpcs")
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return without(inputs, "enableDnsHostnames")

    def rules(self, inputs: Bag) -> None:
        _cidr("cidrBlock", inputs.get("cidrBlock"))

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["Vpc"]["VpcId"])
        self.update(id_, {}, inputs)
        return id_

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        value = {"value": bool(new.get("enableDnsHostnames"))}
        self.aws.call("ec2", "ModifyVpcAttribute", {"vpcId": id_, "enableDnsHostnames": value})

    def find(self, id_: str, state: Bag) -> Found | None:
        found = super().find(id_, state)
        if found is None:
            return None
        asked = {"vpcId": id_, "attribute": "enableDnsHostnames"}
        names = self.aws.call("ec2", "DescribeVpcAttribute", asked)["EnableDnsHostnames"]["Value"]
        return Found({**found.described, "EnableDnsHostnames": names}, found.computed)

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "DeleteVpc", {"vpcId": id_})


class InternetGateway(Ec2Kind):
    token = "aws:ec2/internetGateway:InternetGateway"
    creates = ("ec2", "CreateInternetGateway")
    replaced_by = frozenset({"vpcId"})
    describes = ("DescribeInternetGateways", "internetGatewayIds", "InternetGateways")
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return without(inputs, "vpcId")

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["InternetGateway"]["InternetGatewayId"])
        attached = {"internetGatewayId": id_, "vpcId": inputs["vpcId"]}
        self.aws.call("ec2", "AttachInternetGateway", attached)
        return id_

    def described(self, item: Bag) -> Bag:
        attached = [attachment["VpcId"] for attachment in item["Attachments"]]
        return {"VpcId": attached[0] if attached else ""}

    def delete(self, id_: str, state: Bag) -> None:
        detached = {"internetGatewayId": id_, "vpcId": state["vpcId"]}
        self.aws.call("ec2", "DetachInternetGateway", detached)
        self.aws.call("ec2", "DeleteInternetGateway", {"internetGatewayId": id_})


class RouteTable(Ec2Kind):
    token = "aws:ec2/routeTable:RouteTable"
    creates = ("ec2", "CreateRouteTable")
    replaced_by = frozenset({"vpcId", "routes"})
    describes = ("DescribeRouteTables", "routeTableIds", "RouteTables")
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return without(inputs, "routes")

    def rules(self, inputs: Bag) -> None:
        for route in inputs.get("routes") or []:
            _cidr("routes.cidrBlock", route.get("cidrBlock"))

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["RouteTable"]["RouteTableId"])
        for route in inputs.get("routes") or []:
            target = {"destinationCidrBlock": route["cidrBlock"], "routeTableId": id_}
            self.aws.call("ec2", "CreateRoute", {**without(route, "cidrBlock"), **target})
        return id_

    def described(self, item: Bag) -> Bag:
        routes = [
            {"cidrBlock": route["DestinationCidrBlock"], **_target(route)}
            for route in item["Routes"]
            if route.get("GatewayId") != "local"
        ]
        return {"VpcId": item["VpcId"], "Routes": routes}

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "DeleteRouteTable", {"routeTableId": id_})


def _target(route: Bag) -> Bag:
    if route.get("NatGatewayId"):
        return {"natGatewayId": route["NatGatewayId"]}
    return {"gatewayId": route["GatewayId"]}


class Subnet(Ec2Kind):
    token = "aws:ec2/subnet:Subnet"
    creates = ("ec2", "CreateSubnet")
    replaced_by = frozenset({"vpcId", "cidrBlock", "availabilityZone"})
    describes = ("DescribeSubnets", "subnetIds", "Subnets")
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return inputs

    def rules(self, inputs: Bag) -> None:
        _cidr("cidrBlock", inputs.get("cidrBlock"))

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["Subnet"]["SubnetId"])

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "DeleteSubnet", {"subnetId": id_})


class RouteTableAssociation(Kind):
    token = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    creates = ("ec2", "AssociateRouteTable")
    always_replaced = True
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return inputs

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["AssociationId"])

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = {"routeTableIds": [state["routeTableId"]]}
        found = self.aws.find("ec2", "DescribeRouteTables", asked)
        tables = found["RouteTables"] if found else []
        for association in (one for table in tables for one in table["Associations"]):
            if association["RouteTableAssociationId"] == id_:
                return Found(association, {})
        return None

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "DisassociateRouteTable", {"associationId": id_})


class SecurityGroup(Ec2Kind):
    token = "aws:ec2/securityGroup:SecurityGroup"
    creates = ("ec2", "CreateSecurityGroup")
    replaced_by = frozenset({"vpcId", "description", "name"})
    describes = ("DescribeSecurityGroups", "groupIds", "SecurityGroups")
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        named = {"groupName": inputs.get("name")}
        return {**without(inputs, "name", "ingress", "egress"), **named}

    def rules(self, inputs: Bag) -> None:
        for rule in [*(inputs.get("ingress") or []), *(inputs.get("egress") or [])]:
            for cidr in rule.get("cidrBlocks") or []:
                _cidr("cidrBlocks", cidr)

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["GroupId"])
        self.update(id_, {}, inputs)
        return id_

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        asked = {"groupIds": [id_]}
        group = self.aws.call("ec2", "DescribeSecurityGroups", asked)["SecurityGroups"][0]
        for side, answer in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
            rules = [_permission(rule) for rule in new.get(side) or []]
            if group[answer] == rules:
                continue
            client, gone = self.aws.client("ec2"), group[answer]
            if gone:
                getattr(client, f"revoke_security_group_{side}")(GroupId=id_, IpPermissions=gone)
            if rules:
                authorize = getattr(client, f"authorize_security_group_{side}")
                authorize(GroupId=id_, IpPermissions=rules)

    def described(self, item: Bag) -> Bag:
        return {
            **only(item, "VpcId", "Description"),
            "name": item["GroupName"],
            "ingress": [_rule(one) for one in item["IpPermissions"]],
            "egress": [_rule(one) for one in item["IpPermissionsEgress"]],
        }

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ec2", "DeleteSecurityGroup", {"groupId": id_})


def _permission(rule: Bag) -> Bag:
    return {
        "IpProtocol": rule["protocol"],
        "FromPort": rule["fromPort"],
        "ToPort": rule["toPort"],
        "IpRanges": [{"CidrIp": cidr} for cidr in rule.get("cidrBlocks") or []],
        "UserIdGroupPairs": [{"GroupId": group} for group in rule.get("securityGroups") or []],
    }


def _rule(permission: Bag) -> Bag:
    return {
        "protocol": permission["IpProtocol"],
        "fromPort": permission.get("FromPort", 0),
        "toPort": permission.get("ToPort", 0),
        "cidrBlocks": [one["CidrIp"] for one in permission["IpRanges"]],
        "securityGroups": [one["GroupId"] for one in permission["UserIdGroupPairs"]],
    }


KINDS: tuple[type[Kind], ...] = (
    Vpc, InternetGateway, RouteTable, Subnet, RouteTableAssociation, SecurityGroup,
)  # fmt: skip
