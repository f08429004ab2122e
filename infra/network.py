"""Where load balancer and tasks live: a network of the stack's own, or one that is given."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.config import NetworkConfig

CIDR = "10.20.0.0/16"
ZONES = 2


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """`config` names an existing network, or says what a new one is like."""

    config: NetworkConfig


class Network(pulumi.ComponentResource):
    """
    The subnets of the load balancer (public) and of the tasks (private).

    In a network of the stack's own, each zone has one of both, and tasks reach the internet through a NAT gateway:
    one for all zones, or one in each. They have no public address.
    """

    vpc_id: pulumi.Input[str]
    public_subnet_ids: Sequence[pulumi.Input[str]]
    private_subnet_ids: Sequence[pulumi.Input[str]]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Network", name, None, opts)
        config = args.config
        if config.vpc_id and config.public_subnet_ids and config.private_subnet_ids:
            self.vpc_id = config.vpc_id
            self.public_subnet_ids = config.public_subnet_ids
            self.private_subnet_ids = config.private_subnet_ids
        else:
            self._create(name, config)
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "publicSubnetIds": list(self.public_subnet_ids),
                "privateSubnetIds": list(self.private_subnet_ids),
            }
        )

    def _create(self, name: str, config: NetworkConfig) -> None:
        child = pulumi.ResourceOptions(parent=self)
        zones = config.zones or ZONES
        # Not the local zones that an account may have opted into, which lack much.
        regular = aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])
        names = aws.get_availability_zones_output(
            state="available", filters=[regular], opts=pulumi.InvokeOptions(parent=self)
        ).names
        public, private = _blocks(config.cidr or CIDR, zones)
        vpc = aws.ec2.Vpc(name, cidr_block=config.cidr or CIDR, enable_dns_hostnames=True, opts=child)
        gateway = aws.ec2.InternetGateway(name, vpc_id=vpc.id, opts=child)
        out = aws.ec2.RouteTableRouteArgs(cidr_block="0.0.0.0/0", gateway_id=gateway.id)
        routes = aws.ec2.RouteTable(f"{name}-public", vpc_id=vpc.id, routes=[out], opts=child)
        open_subnets = [
            self._subnet(f"{name}-public-{i}", vpc.id, public[i], names[i], routes.id) for i in range(zones)
        ]
        nats = [
            self._nat(f"{name}-{i}" if config.nat == "perZone" else name, vpc.id, open_subnets[i])
            for i in range(zones if config.nat == "perZone" else 1)
        ]
        self.vpc_id = vpc.id
        self.public_subnet_ids = open_subnets
        self.private_subnet_ids = [
            self._subnet(f"{name}-private-{i}", vpc.id, private[i], names[i], nats[i % len(nats)])
            for i in range(zones)
        ]  # fmt: skip

    def _subnet(
        self, name: str, vpc_id: pulumi.Input[str], block: str, zone: pulumi.Input[str], routes: pulumi.Input[str]
    ) -> pulumi.Output[str]:
        child = pulumi.ResourceOptions(parent=self)
        # It stays where it is, also when the list of zones changes: a subnet in another zone is another subnet.
        stays = pulumi.ResourceOptions(parent=self, ignore_changes=["availabilityZone"])
        subnet = aws.ec2.Subnet(name, vpc_id=vpc_id, cidr_block=block, availability_zone=zone, opts=stays)
        association = aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=routes, opts=child)
        # Whoever uses the subnet waits until it has a way out.
        return pulumi.Output.all(subnet.id, association.id).apply(lambda ids: str(ids[0]))

    def _nat(self, name: str, vpc_id: pulumi.Input[str], subnet_id: pulumi.Input[str]) -> pulumi.Output[str]:
        """Make a NAT gateway in a public subnet and return the id of the route table that leads to it."""
        child = pulumi.ResourceOptions(parent=self)
        address = aws.ec2.Eip(name, domain="vpc", opts=child)
        nat = aws.ec2.NatGateway(name, allocation_id=address.allocation_id, subnet_id=subnet_id, opts=child)
        out = aws.ec2.RouteTableRouteArgs(cidr_block="0.0.0.0/0", nat_gateway_id=nat.id)
        return aws.ec2.RouteTable(f"{name}-private", vpc_id=vpc_id, routes=[out], opts=child).id


def _blocks(cidr: str, zones: int) -> tuple[list[str], list[str]]:
    """
    Divide *cidr* among the zones' public and private subnets.

    Of sixteen parts the first is cut again for the public ones, which hold the load balancer only; each private
    subnet gets a part of its own. What a zone has does not depend on how many there are.
    """
    first, *rest = ipaddress.IPv4Network(cidr).subnets(4)
    public = [str(block) for block in first.subnets(4)]
    return public[:zones], [str(block) for block in rest[:zones]]
