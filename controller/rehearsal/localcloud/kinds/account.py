"""Roles, logs, alarms and parameters: what a service needs around it."""

from __future__ import annotations

import json
import re
from typing import Any

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of, without
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag

_RETENTION = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip
_ALARM_STATISTIC = re.compile(r"(SampleCount|Average|Sum|Minimum|Maximum|IQM|(p|tm|wm|tc|ts)\d{1,2}(\.\d+)?|p100)")


def _policy(name: str, text: Any) -> None:
    """Refuse a policy document that IAM would call malformed."""
    if text is None or text == UNKNOWN:
        return
    try:
        statements = json.loads(text)["Statement"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{name} is not a policy document: {error!r}") from None
    for statement in statements if isinstance(statements, list) else [statements]:
        one_of(f"{name}.Statement.Effect", statement.get("Effect"), ("Allow", "Deny"))


class Role(Kind):
    token = "aws:iam/role:Role"
    creates = ("iam", "CreateRole")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        document = inputs.get("assumeRolePolicy")
        named = {"roleName": inputs.get("name"), "assumeRolePolicyDocument": document}
        return {**without(inputs, "name", "assumeRolePolicy"), **named}

    def rules(self, inputs: Bag) -> None:
        _policy("assumeRolePolicy", inputs.get("assumeRolePolicy"))

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["Role"]["RoleName"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        changes = {"roleName": id_, "policyDocument": new["assumeRolePolicy"]}
        self.aws.call("iam", "UpdateAssumeRolePolicy", changes)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("iam", "GetRole", {"roleName": id_})
        if not found:
            return None
        role = found["Role"]
        document = _same_document(state.get("assumeRolePolicy"), role["AssumeRolePolicyDocument"])
        return Found({"name": id_, "assumeRolePolicy": document}, {"arn": role["Arn"]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("iam", "DeleteRole", {"roleName": id_})


class RolePolicy(Kind):
    token = "aws:iam/rolePolicy:RolePolicy"
    creates = ("iam", "PutRolePolicy")
    replaced_by = frozenset({"name", "role"})
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return {
            **without(inputs, "role", "name", "policy"),
            "roleName": inputs.get("role"),
            "policyName": inputs.get("name"),
            "policyDocument": inputs.get("policy"),
        }

    def rules(self, inputs: Bag) -> None:
        _policy("policy", inputs.get("policy"))

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return f"{inputs['role']}:{inputs['name']}"

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        role, name = id_.split(":")
        found = self.aws.find("iam", "GetRolePolicy", {"roleName": role, "policyName": name})
        if not found:
            return None
        document = _same_document(state.get("policy"), found["PolicyDocument"])
        return Found({"role": role, "name": name, "policy": document}, {})

    def delete(self, id_: str, state: Bag) -> None:
        role, name = id_.split(":")
        self.aws.call("iam", "DeleteRolePolicy", {"roleName": role, "policyName": name})


def _same_document(declared: Any, live: Any) -> Any:
    """Return the declared text where the live document means the same, else the live one's."""
    if isinstance(declared, str) and declared != UNKNOWN and json.loads(declared) == live:
        return declared
    return json.dumps(live)


class LogGroup(Kind):
    token = "aws:cloudwatch/logGroup:LogGroup"
    creates = ("logs", "CreateLogGroup")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        return {**without(inputs, "name", "retentionInDays"), "logGroupName": inputs.get("name")}

    def rules(self, inputs: Bag) -> None:
        one_of("retentionInDays", inputs.get("retentionInDays"), _RETENTION)

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        self.update(inputs["name"], {}, inputs)
        return str(inputs["name"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        kept = {"logGroupName": id_, "retentionInDays": new["retentionInDays"]}
        self.aws.call("logs", "PutRetentionPolicy", kept)

    def find(self, id_: str, state: Bag) -> Found | None:
        asked = {"logGroupNamePrefix": id_}
        for group in self.aws.call("logs", "DescribeLogGroups", asked)["logGroups"]:
            if group["logGroupName"] == id_:
                arn = group["arn"].removesuffix(":*")
                return Found({**group, "name": id_}, {"arn": arn})
        return None

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("logs", "DeleteLogGroup", {"logGroupName": id_})


class MetricAlarm(Kind):
    token = "aws:cloudwatch/metricAlarm:MetricAlarm"
    creates = ("cloudwatch", "PutMetricAlarm")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        queries = [_query(one) for one in inputs.get("metricQueries") or []]
        named = {"alarmName": inputs.get("name"), "metrics": queries}
        return {**without(inputs, "name", "metricQueries"), **named}

    def rules(self, inputs: Bag) -> None:
        one_of(
            "treatMissingData",
            inputs.get("treatMissingData"),
            ("breaching", "notBreaching", "ignore", "missing"),
        )
        queries = inputs.get("metricQueries") or []
        ids = {query.get("id") for query in queries}
        if queries and sum(bool(query.get("returnData")) for query in queries) != 1:
            raise BadInputError("metricQueries: exactly one of them should have returnData")
        for query in queries:
            _expression(query.get("expression"), ids)
            statistic = (query.get("metric") or {}).get("stat")
            unset = statistic is None or statistic == UNKNOWN
            if not unset and not _ALARM_STATISTIC.fullmatch(str(statistic)):
                raise BadInputError(f"metricQueries.stat is {statistic!r}; try Sum or p90")

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return str(inputs["name"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.call("cloudwatch", "DescribeAlarms", {"alarmNames": [id_]})["MetricAlarms"]
        if not found:
            return None
        alarm = found[0]
        queries = [_seen_query(one) for one in alarm.get("Metrics", [])]
        described = {**alarm, "name": id_, "metricQueries": queries}
        return Found(described, {"arn": alarm["AlarmArn"]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("cloudwatch", "DeleteAlarms", {"alarmNames": [id_]})


def _expression(text: Any, ids: set[Any]) -> None:
    """Refuse metric math whose brackets do not close or that names a query that is not there."""
    if not isinstance(text, str) or text == UNKNOWN:
        return
    if not text or text.count("(") != text.count(")"):
        raise BadInputError(f"metricQueries.expression is {text!r}; its brackets do not close")
    unknown = set(re.findall(r"\b[a-z]\w*\b(?!\s*\()", text)) - ids
    if unknown:
        raise BadInputError(f"metricQueries.expression is {text!r}; no query is {unknown.pop()!r}")


def _query(query: Bag) -> Bag:
    metric = query.get("metric")
    if not metric:
        return query
    dimensions = metric.get("dimensions") or {}
    pairs = [{"name": name, "value": value} for name, value in sorted(dimensions.items())]
    stat = {
        "metric": {
            "namespace": metric.get("namespace"),
            "metricName": metric.get("metricName"),
            "dimensions": pairs,
        },
        **without(metric, "namespace", "metricName", "dimensions"),
    }
    return {**without(query, "metric"), "metricStat": stat}


def _seen_query(query: Bag) -> Bag:
    stat = query.get("MetricStat")
    if not stat:
        return query
    metric = stat["Metric"]
    dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    seen = {**stat, **metric, "dimensions": dimensions}
    return {**query, "metric": without(seen, "Metric", "Dimensions")}


class Parameter(Kind):
    token = "aws:ssm/parameter:Parameter"
    creates = ("ssm", "PutParameter")
    replaced_by = frozenset({"name"})
    computed = ("arn", "version")

    def request(self, inputs: Bag) -> Bag:
        return inputs

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return str(inputs["name"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.aws.call("ssm", "PutParameter", {**new, "overwrite": True})

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("ssm", "GetParameter", {"name": id_, "withDecryption": True})
        if not found:
            return None
        parameter = found["Parameter"]
        return Found(parameter, {"arn": parameter["ARN"], "version": parameter["Version"]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("ssm", "DeleteParameter", {"name": id_})


KINDS: tuple[type[Kind], ...] = (Role, RolePolicy, LogGroup, MetricAlarm, Parameter)
