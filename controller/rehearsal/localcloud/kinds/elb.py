"""Load balancers, target groups, and the listener that carries the weights."""

from __future__ import annotations

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of, only, within, without
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag

_NAME_LENGTH = 32
_HEALTH_CHECK = {
    "path": "healthCheckPath",
    "port": "healthCheckPort",
    "protocol": "healthCheckProtocol",
    "interval": "healthCheckIntervalSeconds",
    "timeout": "healthCheckTimeoutSeconds",
    "healthyThreshold": "healthyThresholdCount",
    "unhealthyThreshold": "unhealthyThresholdCount",
}
_DROP = "routing.http.drop_invalid_header_fields.enabled"
_LOGS, _BUCKET = "access_logs.s3.enabled", "access_logs.s3.bucket"
_LOG_WRITER = "logdelivery.elasticloadbalancing.amazonaws.com"
_DRAIN = "deregistration_delay.timeout_seconds"


def _short(name: object) -> None:
    if isinstance(name, str) and name != UNKNOWN and len(name) > _NAME_LENGTH:
        raise BadInputError(f"name is {name!r}; it should have at most {_NAME_LENGTH} characters")


class LoadBalancer(Kind):
    token = "aws:lb/loadBalancer:LoadBalancer"
    creates = ("elbv2", "CreateLoadBalancer")
    replaced_by = frozenset({"name", "loadBalancerType", "internal"})
    computed = ("arn", "arnSuffix", "dnsName", "zoneId")

    def request(self, inputs: Bag) -> Bag:
        scheme = "internal" if inputs.get("internal") else "internet-facing"
        kind = inputs.get("loadBalancerType", "application")
        plain = without(inputs, "internal", "loadBalancerType", "accessLogs", "dropInvalidHeaderFields")
        return {**plain, "scheme": scheme, "type": kind}

    def rules(self, inputs: Bag) -> None:
        _short(inputs.get("name"))

    def references(self, inputs: Bag) -> None:
        self.network(inputs.get("subnets") or [], inputs.get("securityGroups") or [])
        if bucket := (inputs.get("accessLogs") or {}).get("bucket"):
            found = self.aws.find("s3", "GetBucketPolicy", {"bucket": bucket})
            if not found or _LOG_WRITER not in found["Policy"]:
                raise BadInputError(f"accessLogs.bucket is {bucket}; its policy does not let {_LOG_WRITER} write there")

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["LoadBalancers"][0]["LoadBalancerArn"])
        self._attributes(id_, inputs)
        return id_

    def _attributes(self, id_: str, inputs: Bag) -> None:
        logs = inputs.get("accessLogs") or {}
        values = {_DROP: inputs.get("dropInvalidHeaderFields", False), _LOGS: logs.get("enabled", False)}
        pairs = [{"key": key, "value": str(value).lower()} for key, value in values.items()]
        if logs:
            pairs.append({"key": _BUCKET, "value": logs["bucket"]})
        self.aws.call("elbv2", "ModifyLoadBalancerAttributes", {"loadBalancerArn": id_, "attributes": pairs})

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.references(new)
        target = {"loadBalancerArn": id_}
        self.aws.call("elbv2", "SetSubnets", {**target, **only(new, "subnets")})
        self.aws.call("elbv2", "SetSecurityGroups", {**target, **only(new, "securityGroups")})
        self._attributes(id_, new)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("elbv2", "DescribeLoadBalancers", {"loadBalancerArns": [id_]})
        if not found:
            return None
        item = found["LoadBalancers"][0]
        attributes = self.aws.call("elbv2", "DescribeLoadBalancerAttributes", {"loadBalancerArn": id_})["Attributes"]
        has = {one["Key"]: one["Value"] for one in attributes}
        described = {
            "dropInvalidHeaderFields": has.get(_DROP) == "true",
            "accessLogs": {"enabled": has.get(_LOGS) == "true", "bucket": has.get(_BUCKET)},
            "name": item["LoadBalancerName"],
            "loadBalancerType": item["Type"],
            "internal": item["Scheme"] == "internal",
            "subnets": [zone["SubnetId"] for zone in item["AvailabilityZones"]],
            "securityGroups": item["SecurityGroups"],
        }
        computed = {
            "arn": id_,
            "arnSuffix": id_.split("loadbalancer/")[1],
            "dnsName": item["DNSName"],
            "zoneId": item["CanonicalHostedZoneId"],
        }
        return Found(described, computed)

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("elbv2", "DeleteLoadBalancer", {"loadBalancerArn": id_})


class TargetGroup(Kind):
    token = "aws:lb/targetGroup:TargetGroup"
    creates = ("elbv2", "CreateTargetGroup")
    replaced_by = frozenset({"name", "port", "protocol", "targetType", "vpcId"})
    computed = ("arn", "arnSuffix")

    def request(self, inputs: Bag) -> Bag:
        plain = without(inputs, "healthCheck", "deregistrationDelay")
        return {**plain, **self._health(inputs)}

    def _health(self, inputs: Bag) -> Bag:
        check: Bag = inputs.get("healthCheck") or {}
        renamed: Bag = {str(_HEALTH_CHECK.get(key, key)): check[key] for key in check}
        if "matcher" in renamed:
            renamed["matcher"] = {"httpCode": renamed["matcher"]}
        return renamed

    def rules(self, inputs: Bag) -> None:
        _short(inputs.get("name"))
        within("port", inputs.get("port"), 1, 65535)
        within("deregistrationDelay", inputs.get("deregistrationDelay"), 0, 3600)
        check = inputs.get("healthCheck") or {}
        within("healthCheck.interval", check.get("interval"), 5, 300)
        within("healthCheck.timeout", check.get("timeout"), 2, 120)
        within("healthCheck.healthyThreshold", check.get("healthyThreshold"), 2, 10)
        within("healthCheck.unhealthyThreshold", check.get("unhealthyThreshold"), 2, 10)

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["TargetGroups"][0]["TargetGroupArn"])
        self._drain(id_, inputs)
        return id_

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        target = {"targetGroupArn": id_}
        self.aws.call("elbv2", "ModifyTargetGroup", {**target, **self._health(new)})
        self._drain(id_, new)

    def _drain(self, id_: str, inputs: Bag) -> None:
        seconds = inputs.get("deregistrationDelay", 300)
        attributes = [{"key": _DRAIN, "value": str(seconds)}]
        target = {"targetGroupArn": id_, "attributes": attributes}
        self.aws.call("elbv2", "ModifyTargetGroupAttributes", target)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("elbv2", "DescribeTargetGroups", {"targetGroupArns": [id_]})
        if not found:
            return None
        item = found["TargetGroups"][0]
        target = {"targetGroupArn": id_}
        attributes = {
            one["Key"]: one["Value"]
            for one in self.aws.call("elbv2", "DescribeTargetGroupAttributes", target)["Attributes"]
        }
        check: Bag = {ours: item.get(api[0].upper() + api[1:]) for ours, api in _HEALTH_CHECK.items()}
        check["matcher"] = item.get("Matcher", {}).get("HttpCode")
        described = {
            **only(item, "Port", "Protocol", "TargetType", "VpcId"),
            "name": item["TargetGroupName"],
            "deregistrationDelay": int(attributes[_DRAIN]),
            "healthCheck": check,
        }
        return Found(described, {"arn": id_, "arnSuffix": id_.rsplit(":", maxsplit=1)[-1]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("elbv2", "DeleteTargetGroup", {"targetGroupArn": id_})


class Listener(Kind):
    token = "aws:lb/listener:Listener"
    creates = ("elbv2", "CreateListener")
    replaced_by = frozenset({"loadBalancerArn"})

    def request(self, inputs: Bag) -> Bag:
        certificate = inputs.get("certificateArn")
        certificates = {"certificates": [{"certificateArn": certificate}]} if certificate else {}
        actions = [_action(one) for one in inputs["defaultActions"]]
        return {**without(inputs, "certificateArn"), "defaultActions": actions, **certificates}

    def rules(self, inputs: Bag) -> None:
        within("port", inputs.get("port"), 1, 65535)
        protocol, certified = inputs.get("protocol"), inputs.get("certificateArn") is not None
        if protocol != UNKNOWN and (protocol == "HTTPS") != certified:
            raise BadInputError(f"protocol is {protocol}; HTTPS has a certificateArn, HTTP has none")
        for forward in _forwards(inputs):
            for group in forward.get("targetGroups") or []:
                within("forward.targetGroups.weight", group.get("weight"), 0, 999)
            stickiness = forward.get("stickiness") or {}
            within("forward.stickiness.duration", stickiness.get("duration"), 1, 604800)

    def references(self, inputs: Bag) -> None:
        if policy := inputs.get("sslPolicy"):
            known = self.aws.call("elbv2", "DescribeSSLPolicies", {})["SslPolicies"]
            one_of("sslPolicy", policy, tuple(one["Name"] for one in known))
        groups = [group["arn"] for one in _forwards(inputs) for group in one["targetGroups"]]
        for arn in groups:
            if not self.aws.find("elbv2", "DescribeTargetGroups", {"targetGroupArns": [arn]}):
                raise BadInputError(f"defaultActions refers to {arn}; there is no such target group")

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["Listeners"][0]["ListenerArn"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.references(new)
        changes = {**without(self.request(new), "loadBalancerArn"), "listenerArn": id_}
        self.aws.call("elbv2", "ModifyListener", changes)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("elbv2", "DescribeListeners", {"listenerArns": [id_]})
        if not found or not found["Listeners"]:
            return None
        item = found["Listeners"][0]
        actions = [_seen(action) for action in item["DefaultActions"]]
        certificates = [one["CertificateArn"] for one in item.get("Certificates") or []]
        named = {"certificateArn": certificates[0]} if certificates else {}
        return Found({**item, "DefaultActions": actions, **named}, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("elbv2", "DeleteListener", {"listenerArn": id_})


def _forwards(inputs: Bag) -> list[Bag]:
    return [one["forward"] for one in inputs.get("defaultActions") or [] if one.get("forward")]


def _action(action: Bag) -> Bag:
    """Say an action as the API does: Terraform calls a target group's ARN and a duration short."""
    forward = action.get("forward")
    if redirect := action.get("redirect"):
        return {**without(action, "redirect"), "redirectConfig": redirect}
    if not forward:
        return action
    groups = [{**without(group, "arn"), "targetGroupArn": group["arn"]} for group in forward["targetGroups"]]
    config: Bag = {"targetGroups": groups}
    if stickiness := forward.get("stickiness"):
        config["targetGroupStickinessConfig"] = {
            **without(stickiness, "duration"),
            "durationSeconds": stickiness["duration"],
        }
    return {**without(action, "forward"), "forwardConfig": config}


def _seen(action: Bag) -> Bag:
    """Say an action of the API as Terraform does."""
    config = action.get("ForwardConfig")
    if redirect := action.get("RedirectConfig"):
        return {**without(action, "RedirectConfig"), "redirect": redirect}
    if not config:
        return action
    groups = [{"arn": group["TargetGroupArn"], "weight": group.get("Weight", 1)} for group in config["TargetGroups"]]
    sticky = config.get("TargetGroupStickinessConfig") or {}
    stickiness = {"enabled": sticky.get("Enabled"), "duration": sticky.get("DurationSeconds")}
    return {
        **without(action, "ForwardConfig"),
        "forward": {"targetGroups": groups, "stickiness": stickiness},
    }


KINDS: tuple[type[Kind], ...] = (LoadBalancer, TargetGroup, Listener)
