"""What single resources must have: a way back, a fixed image, and doors that are shut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Props = Mapping[str, Any]
Rule = Callable[[str, Props], Iterator[str]]

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)$", re.IGNORECASE)
_EVERYONE = ("0.0.0.0/0", "::/0")
# Ports of databases, caches, search, file shares and remote shells.
_INNER_PORTS = {
    22: "SSH", 445: "SMB", 1433: "SQL Server", 1521: "Oracle", 2049: "NFS", 2379: "etcd", 3306: "MySQL",
    3389: "Remote Desktop", 5432: "PostgreSQL", 5439: "Redshift", 5984: "CouchDB", 6379: "Redis", 7000: "Cassandra",
    8086: "InfluxDB", 9042: "Cassandra", 9092: "Kafka", 9200: "Elasticsearch", 11211: "memcached", 27017: "MongoDB",
}  # fmt: skip


def image(kind: str, props: Props) -> Iterator[str]:
    """A tag can move between two tasks of one deployment, and then a revert does not bring back what ran."""
    for container in _containers(kind, props):
        found = str(container.get("image"))
        if not _DIGEST.search(found):
            yield f"container {container.get('name')} runs {found}; name it by digest, <repository>@sha256:<digest>"


def secrets(kind: str, props: Props) -> Iterator[str]:
    """Who may read a task definition or a parameter reads what is in it."""
    for container in _containers(kind, props):
        for one in container.get("environment") or []:
            if _SECRET.search(one["name"]) and one.get("value"):
                yield (
                    f"container {container.get('name')} has {one['name']} in plain text; give it by `secrets`, from"
                    " Secrets Manager or a SecureString parameter"
                )
    if kind == "aws:ssm/parameter:Parameter" and _SECRET.search(str(props["name"])) and props.get("type") == "String":
        yield f"parameter {props['name']} is a String; make it a SecureString"


def privileged(kind: str, props: Props) -> Iterator[str]:
    for container in _containers(kind, props):
        if container.get("privileged"):
            yield f"container {container.get('name')} is privileged and owns its host; remove privileged"


def way_back(kind: str, props: Props) -> Iterator[str]:
    """A deployment that goes wrong is taken back by ECS, and there is something to go back to."""
    if kind == "aws:ecs/taskDefinition:TaskDefinition" and not props.get("skipDestroy"):
        yield "is deregistered when the next revision comes, and nothing is left to go back to; set skip_destroy"
    if kind != "aws:ecs/service:Service":
        return
    if (props.get("deploymentController") or {}).get("type", "ECS") != "ECS":
        yield "is not deployed by ECS itself, and Pilot cannot read it back; leave out deployment_controller"
        return
    if not _on(props.get("deploymentCircuitBreaker")):
        yield "has no circuit breaker that rolls back; set deployment_circuit_breaker with enable and rollback"
    alarms = props.get("alarms") or {}
    if not _on(alarms) or not alarms.get("alarmNames"):
        yield "no alarm rolls a deployment back; set alarms with enable, rollback and alarm_names"
    if props.get("deploymentMinimumHealthyPercent") == 0:
        yield "a deployment may stop every task at once; raise deployment_minimum_healthy_percent above 0"


def public_port(kind: str, props: Props) -> Iterator[str]:
    """What is behind the load balancer is not reached from the internet."""
    for one in _ingress(kind, props):
        sources = [*(one.get("cidrBlocks") or []), *(one.get("ipv6CidrBlocks") or [])]
        sources += [one[key] for key in ("cidrIpv4", "cidrIpv6") if one.get(key)]
        if not any(source in _EVERYONE for source in sources):
            continue
        low, high = one.get("fromPort"), one.get("toPort")
        if str(one.get("protocol", one.get("ipProtocol"))) == "-1" or low is None or high is None:
            yield "all ports are open to the internet; name the port, and the group that may reach it"
            continue
        opened = [f"{port} ({name})" for port, name in _INNER_PORTS.items() if low <= port <= high]
        if opened:
            more = f" and {len(opened) - 1} more" if opened[1:] else ""
            yield f"port {opened[0]}{more} is open to the internet; let only a security group of ours reach it"
    if kind in ("aws:rds/instance:Instance", "aws:rds/clusterInstance:ClusterInstance") and props.get(
        "publiclyAccessible"
    ):
        yield "the database is reachable from the internet; set publicly_accessible to false"


def weights(kind: str, props: Props) -> Iterator[str]:
    """
    AWS takes any weights from 0 to 999; the percent is only what it says if they sum to 100.

    At 0 and at 100 there is nothing to change between, and a cookie would keep users where nobody shall be.
    """
    if kind not in ("aws:lb/listener:Listener", "aws:lb/listenerRule:ListenerRule"):
        return
    for action in props.get("defaultActions") or props.get("actions") or []:
        forward = action.get("forward") or {}
        found = [group.get("weight") or 0 for group in forward.get("targetGroups") or []]
        if len(found) < 2:
            continue
        if sum(found) != 100:
            said = " + ".join(f"{weight:g}" for weight in found)
            yield f"the weights are {said}; they should sum to 100, or the percent is another than the stack file says"
        sticky = (forward.get("stickiness") or {}).get("enabled")
        if sum(map(bool, found)) > 1 and not sticky:
            yield "users change between the variants at each request; enable stickiness"


def public_bucket(kind: str, props: Props) -> Iterator[str]:
    if kind.startswith("aws:s3/bucket") and str(props.get("acl") or "").startswith("public-"):
        yield f"the bucket is {props['acl']}; remove acl, and grant who needs it by a bucket policy"
    if kind == "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock":
        switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        if off := [name for name in switches if not props.get(name)]:
            yield f"the bucket may be made public ({', '.join(off)}); set all four to true"


def log_retention(kind: str, props: Props) -> Iterator[str]:
    if kind == "aws:cloudwatch/logGroup:LogGroup" and not props.get("retentionInDays"):
        yield "logs are kept, and paid for, for ever; set retention_in_days"


RULES: dict[str, tuple[str, Rule]] = {
    "image": ("Images are named by digest.", image),
    "secrets": ("Secrets are given by reference.", secrets),
    "privileged": ("Containers do not own their host.", privileged),
    "way-back": ("A deployment that goes wrong is taken back.", way_back),
    "public-port": ("Databases are not on the internet.", public_port),
    "weights": ("Weights sum to 100, and users keep their variant.", weights),
    "public-bucket": ("Buckets are private.", public_bucket),
    "log-retention": ("Logs end.", log_retention),
}


def _containers(kind: str, props: Props) -> list[dict[str, Any]]:
    if kind != "aws:ecs/taskDefinition:TaskDefinition":
        return []
    try:
        containers = json.loads(props["containerDefinitions"])
    except ValueError:  # the provider's to refuse
        return []
    return containers if isinstance(containers, list) else []


def _ingress(kind: str, props: Props) -> list[Props]:
    if kind == "aws:ec2/securityGroup:SecurityGroup":
        return list(props.get("ingress") or [])
    if kind == "aws:ec2/securityGroupRule:SecurityGroupRule" and props.get("type") == "ingress":
        return [props]
    return [props] if kind == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule" else []


def _on(switch: Any) -> bool:
    return bool(switch and switch.get("enable") and switch.get("rollback"))
