"""How many tasks a service has, by Application Auto Scaling."""

from __future__ import annotations

import re

from controller.rehearsal.localcloud.kinds.base import Found, Kind, only, within
from controller.rehearsal.localcloud.shapes import BadInputError, Bag, has_unknown

_WHOSE = ("serviceNamespace", "resourceId", "scalableDimension")
_LABEL = re.compile(r"app/[^/]+/[^/]+/targetgroup/[^/]+/[^/]+")


class Target(Kind):
    token = "aws:appautoscaling/target:Target"
    creates = ("application-autoscaling", "RegisterScalableTarget")
    replaced_by = frozenset(_WHOSE)

    def request(self, inputs: Bag) -> Bag:
        return inputs

    def rules(self, inputs: Bag) -> None:
        low, high = inputs.get("minCapacity"), inputs.get("maxCapacity")
        within("minCapacity", low, 0, high if isinstance(high, int) else 5000)

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return str(inputs["resourceId"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = {"serviceNamespace": state["serviceNamespace"], "resourceIds": [id_]}
        found = self.aws.call("application-autoscaling", "DescribeScalableTargets", asked)["ScalableTargets"]
        return Found(found[0], {"arn": found[0].get("ScalableTargetARN", "")}) if found else None

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("application-autoscaling", "DeregisterScalableTarget", only(state, *_WHOSE))


class Policy(Kind):
    token = "aws:appautoscaling/policy:Policy"
    creates = ("application-autoscaling", "PutScalingPolicy")
    replaced_by = frozenset({"name", *_WHOSE})

    def request(self, inputs: Bag) -> Bag:
        return {
            "policyName": inputs.get("name"),
            "targetTrackingScalingPolicyConfiguration": inputs.get("targetTrackingScalingPolicyConfiguration"),
            **only(inputs, "policyType", *_WHOSE),
        }

    def rules(self, inputs: Bag) -> None:
        tracking = inputs.get("targetTrackingScalingPolicyConfiguration") or {}
        metric = tracking.get("predefinedMetricSpecification") or {}
        label, kind = metric.get("resourceLabel"), metric.get("predefinedMetricType")
        if has_unknown(label) or has_unknown(kind):
            return
        if kind == "ALBRequestCountPerTarget" and not _LABEL.fullmatch(str(label)):
            raise BadInputError(f"resourceLabel is {label!r}; it should be app/<name>/<id>/targetgroup/<name>/<id>")

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return str(inputs["name"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = only(state, *_WHOSE)
        found = self.aws.call("application-autoscaling", "DescribeScalingPolicies", asked)["ScalingPolicies"]
        for one in found:
            if one["PolicyName"] == id_:
                return Found({**one, "name": id_}, {"arn": one["PolicyARN"]})
        return None

    def delete(self, id_: str, state: Bag) -> None:
        named = {"policyName": id_, **only(state, *_WHOSE)}
        self.aws.call("application-autoscaling", "DeleteScalingPolicy", named)


KINDS: tuple[type[Kind], ...] = (Target, Policy)
