"""Where load balancer and tasks live: a network of the stack's own, or one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.config import NetworkConfig

CIDR = "10.20.0.0/16"
ZONES = 2


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """`given` is an existing network; without one, a VPC is created."""

    given: NetworkConfig | None


class Network(pulumi.ComponentResource):
    """
    The subnets of the load balancer and of the tasks.

    A network of the stack's own has public subnets in two zones and no NAT gateway: tasks reach
    the internet by addresses of their own and are reached only through the load balancer. In a
    given network the tasks run in its private subnets.
    """

    vpc_id: pulumi.Input[str]
    public_subnet_ids: Sequence[pulumi.Input[str]]
    task_subnet_ids: Sequence[pulumi.Input[str]]
    assign_public_ip: bool

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Network", name, None, opts)
        if args.given is None:
            self._create(name)
        else:
            self.vpc_id = args.given.vpc_id
            self.public_subnet_ids = args.given.public_subnet_ids
            self.task_subnet_ids = args.given.private_subnet_ids
            self.assign_public_ip = False
        self.register_outputs({"vpcId": self.vpc_id, "publicSubnetIds": list(self.public_subnet_ids)})

    def _create(self, name: str) -> None:
        child = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(name, cidr_block=CIDR, enable_dns_hostnames=True, opts=child)
        gateway = aws.ec2.InternetGateway(name, vpc_id=vpc.id, opts=child)
        routes = aws.ec2.RouteTable(
            name,
            vpc_id=vpc.id,
            routes=[aws.ec2.RouteTableRouteArgs(cidr_block="0.0.0.0/0", gateway_id=gateway.id)],
            opts=child,
        )
        zones = aws.get_availability_zones_output(state="available", opts=pulumi.InvokeOptions(parent=self)).names
        subnets: list[pulumi.Output[str]] = []
        for i in range(ZONES):
            subnet = aws.ec2.Subnet(
                f"{name}-{i}",
                vpc_id=vpc.id,
                cidr_block=f"10.20.{i}.0/24",
                availability_zone=zones[i],
                opts=child,
            )
            association = aws.ec2.RouteTableAssociation(
                f"{name}-{i}", subnet_id=subnet.id, route_table_id=routes.id, opts=child
            )
            # Whoever uses the subnet waits until it has a way out.
            subnets.append(pulumi.Output.all(subnet.id, association.id).apply(lambda ids: str(ids[0])))
        self.vpc_id = vpc.id
        self.public_subnet_ids = self.task_subnet_ids = subnets
        self.assign_public_ip = True
