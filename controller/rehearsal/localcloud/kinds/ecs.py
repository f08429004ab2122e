"""Clusters, task definitions and services."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of, only, within, without
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag, reflect

# Fargate's task sizes: CPU units -> memory in MiB.
_FARGATE: dict[str, tuple[int, ...]] = {
    "256": (512, 1024, 2048),
    "512": tuple(range(1024, 4097, 1024)),
    "1024": tuple(range(2048, 8193, 1024)),
    "2048": tuple(range(4096, 16385, 1024)),
    "4096": tuple(range(8192, 30721, 1024)),
    "8192": tuple(range(16384, 61441, 4096)),
    "16384": tuple(range(32768, 122881, 8192)),
}


class Cluster(Kind):
    token = "aws:ecs/cluster:Cluster"
    creates = ("ecs", "CreateCluster")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        return {**without(inputs, "name"), "clusterName": inputs.get("name")}

    def rules(self, inputs: Bag) -> None:
        for setting in inputs.get("settings") or []:
            one_of("settings.value", setting.get("value"), ("enabled", "disabled", "enhanced"))

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["cluster"]["clusterArn"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        changes = {"cluster": id_, "settings": new.get("settings") or []}
        self.aws.call("ecs", "UpdateCluster", changes)

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = {"clusters": [id_], "include": ["SETTINGS"]}
        clusters = self.aws.call("ecs", "DescribeClusters", asked)["clusters"]
        if not clusters or clusters[0]["status"] != "ACTIVE":
            return None
        return Found({**clusters[0], "name": clusters[0]["clusterName"]}, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ecs", "DeleteCluster", {"cluster": id_})


class TaskDefinition(Kind):
    """Every change registers a new revision; the old one stays if the program says so."""

    token = "aws:ecs/taskDefinition:TaskDefinition"
    creates = ("ecs", "RegisterTaskDefinition")
    always_replaced = True
    computed = ("arn", "arnWithoutRevision", "revision")

    def request(self, inputs: Bag) -> Bag:
        containers = _containers(inputs.get("containerDefinitions"))
        return {**without(inputs, "skipDestroy"), "containerDefinitions": containers}

    def rules(self, inputs: Bag) -> None:
        containers = _containers(inputs.get("containerDefinitions"))
        if containers == []:
            raise BadInputError("containerDefinitions is empty; a task has at least one container")
        for container in containers if isinstance(containers, list) else []:
            for mapping in container.get("portMappings") or []:
                within("portMappings.containerPort", mapping.get("containerPort"), 1, 65535)
            _container(container, inputs)
        if "FARGATE" in (inputs.get("requiresCompatibilities") or []):
            _fargate(inputs)

    def references(self, inputs: Bag) -> None:
        for key in ("executionRoleArn", "taskRoleArn"):
            if arn := inputs.get(key):
                name = str(arn).rsplit("/", 1)[-1]
                if not self.aws.find("iam", "GetRole", {"roleName": name}):
                    raise BadInputError(f"{key} is {arn}; there is no such role")

    def create(self, inputs: Bag) -> str:
        # The id is the family, as in the real provider; the revision is found by its ARN.
        return str(self.created(inputs)["taskDefinition"]["family"])

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = {"taskDefinition": state.get("arn") or id_}
        try:
            found = self.aws.call("ecs", "DescribeTaskDefinition", asked)["taskDefinition"]
        except ClientError:  # "Unable to describe task definition" has no code of its own
            return None
        if found["status"] != "ACTIVE":
            return None
        arn = found["taskDefinitionArn"]
        declared = _containers(state.get("containerDefinitions"))
        same = reflect(declared, found["containerDefinitions"]) == declared
        text = state["containerDefinitions"] if same else json.dumps(found["containerDefinitions"])
        computed = {
            "arn": arn,
            "arnWithoutRevision": arn.rsplit(":", 1)[0],
            "revision": found["revision"],
        }
        return Found({**found, "containerDefinitions": text}, computed)

    def delete(self, id_: str, state: Bag) -> None:
        if not state.get("skipDestroy"):
            self.aws.call("ecs", "DeregisterTaskDefinition", {"taskDefinition": state["arn"]})


def _containers(text: Any) -> Any:
    if text is None or text == UNKNOWN:
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInputError(f"containerDefinitions is not JSON: {error}") from None


def _container(container: Bag, inputs: Bag) -> None:
    """Refuse what ECS refuses of one container."""
    within("stopTimeout", container.get("stopTimeout"), 0, 120)
    check = container.get("healthCheck") or {}
    within("healthCheck.interval", check.get("interval"), 5, 300)
    within("healthCheck.timeout", check.get("timeout"), 2, 60)
    within("healthCheck.retries", check.get("retries"), 1, 10)
    within("healthCheck.startPeriod", check.get("startPeriod"), 0, 300)
    volumes = tuple(volume.get("name") for volume in inputs.get("volumes") or [])
    for mount in container.get("mountPoints") or []:
        one_of("mountPoints.sourceVolume", mount.get("sourceVolume"), volumes)
    if container.get("secrets") and not inputs.get("executionRoleArn"):
        raise BadInputError("a container with secrets needs executionRoleArn, whose role reads them")


def _fargate(inputs: Bag) -> None:
    cpu, memory = inputs.get("cpu"), inputs.get("memory")
    if UNKNOWN in (cpu, memory):
        return
    one_of("cpu", str(cpu), tuple(_FARGATE))
    one_of(f"memory with cpu {cpu}", str(memory), tuple(map(str, _FARGATE[str(cpu)])))
    one_of("networkMode on Fargate", str(inputs.get("networkMode")), ("awsvpc",))


class Service(Kind):
    token = "aws:ecs/service:Service"
    creates = ("ecs", "CreateService")
    replaced_by = frozenset({"cluster", "name", "launchType"})

    def request(self, inputs: Bag) -> Bag:
        deployment = {
            "deploymentCircuitBreaker": inputs.get("deploymentCircuitBreaker"),
            "alarms": inputs.get("alarms"),
            "minimumHealthyPercent": inputs.get("deploymentMinimumHealthyPercent"),
            "maximumPercent": inputs.get("deploymentMaximumPercent"),
        }
        return {
            **without(
                inputs,
                "name",
                "networkConfiguration",
                "alarms",
                "deploymentCircuitBreaker",
                "deploymentMinimumHealthyPercent",
                "deploymentMaximumPercent",
            ),
            "serviceName": inputs.get("name"),
            "networkConfiguration": {"awsvpcConfiguration": inputs.get("networkConfiguration")},
            "deploymentConfiguration": deployment,
        }

    def rules(self, inputs: Bag) -> None:
        within("desiredCount", inputs.get("desiredCount"), 0, 5000)
        within("deploymentMinimumHealthyPercent", _minimum(inputs), 0, 100)
        within("deploymentMaximumPercent", inputs.get("deploymentMaximumPercent"), 100, 200)
        if inputs.get("availabilityZoneRebalancing") == "ENABLED" and inputs.get("deploymentMaximumPercent") == 100:
            raise BadInputError("deploymentMaximumPercent is 100; rebalancing zones starts a task before one stops")

    def references(self, inputs: Bag) -> None:
        """Check what ECS checks and moto does not: balancer, container, port, network, alarms."""
        task = self.aws.call("ecs", "DescribeTaskDefinition", {"taskDefinition": inputs["taskDefinition"]})[
            "taskDefinition"
        ]
        ports = {
            container["name"]: [one["containerPort"] for one in container["portMappings"]]
            for container in task["containerDefinitions"]
        }
        for balancer in inputs.get("loadBalancers") or []:
            name, port = balancer["containerName"], balancer["containerPort"]
            one_of("loadBalancers.containerName", name, tuple(ports))
            one_of("loadBalancers.containerPort", port, tuple(ports[name]))
            self._balanced(balancer["targetGroupArn"])
        network = inputs.get("networkConfiguration") or {}
        self.network(network.get("subnets") or [], network.get("securityGroups") or [])
        names = (inputs.get("alarms") or {}).get("alarmNames") or []
        there = self.aws.call("cloudwatch", "DescribeAlarms", {"alarmNames": names})["MetricAlarms"]
        for name in names:
            one_of("alarms.alarmNames", name, tuple(alarm["AlarmName"] for alarm in there))

    def _balanced(self, arn: str) -> None:
        if not self.aws.find("elbv2", "DescribeTargetGroups", {"targetGroupArns": [arn]}):
            raise BadInputError(f"loadBalancers refers to {arn}; there is no such target group")
        balancers = self.aws.call("elbv2", "DescribeLoadBalancers", {})["LoadBalancers"]
        by = [{"loadBalancerArn": one["LoadBalancerArn"]} for one in balancers]
        used = {  # a group in moto does not know of a listener that was changed to forward to it
            group["TargetGroupArn"]
            for one in by
            for listener in self.aws.call("elbv2", "DescribeListeners", one)["Listeners"]
            for action in listener["DefaultActions"]
            for group in action.get("ForwardConfig", {}).get("TargetGroups", [])
        }
        if arn not in used:
            raise BadInputError(
                f"loadBalancers refers to {arn}, which no load balancer uses; let the service depend on the listener"
            )

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["service"]["serviceArn"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.references(new)
        before, after = self.request(old), self.request(new)
        changes = {key: value for key, value in after.items() if before.get(key) != value}
        target = {"cluster": new["cluster"], "service": id_}
        self.aws.call("ecs", "UpdateService", {**without(changes, "cluster"), **target})

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = {"cluster": state["cluster"], "services": [id_]}
        found = self.aws.find("ecs", "DescribeServices", asked)
        services = found["services"] if found else []
        if not services or services[0]["status"] == "INACTIVE":
            return None
        item = services[0]
        deployment = item.get("deploymentConfiguration") or {}
        network = item.get("networkConfiguration") or {}
        described = {
            **without(item, "deploymentConfiguration", "networkConfiguration"),
            **only(deployment, "deploymentCircuitBreaker", "alarms"),
            "name": item["serviceName"],
            "cluster": item["clusterArn"],
            "networkConfiguration": network.get("awsvpcConfiguration") or {},
        }
        for ours, theirs in (
            ("deploymentMinimumHealthyPercent", "minimumHealthyPercent"),
            ("deploymentMaximumPercent", "maximumPercent"),
        ):
            if theirs in deployment:
                described[ours] = deployment[theirs]
        return Found(described, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        target = {"cluster": state["cluster"], "service": id_, "force": True}
        self.aws.call("ecs", "DeleteService", target)


def _minimum(inputs: Bag) -> Any:
    return inputs.get("deploymentMinimumHealthyPercent")


KINDS: tuple[type[Kind], ...] = (Cluster, TaskDefinition, Service)
