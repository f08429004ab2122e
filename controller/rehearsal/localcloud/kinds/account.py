"""Logs, alarms and parameters: what a service needs around it."""

from __future__ import annotations

import re
from typing import Any

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of, only, within, without
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag

_RETENTION = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip
_ALARM_STATISTIC = re.compile(r"(SampleCount|Average|Sum|Minimum|Maximum|IQM|(p|tm|wm|tc|ts)\d{1,2}(\.\d+)?|p100)")


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
        named: Bag = {"alarmName": inputs.get("name")}
        if queries := inputs.get("metricQueries"):
            named["metrics"] = [_query(one) for one in queries]
        if dimensions := inputs.get("dimensions"):
            named["dimensions"] = _pairs(dimensions)
        renamed = {"evaluateLowSampleCountPercentile": inputs.get("evaluateLowSampleCountPercentiles")}
        plain = without(
            inputs, "name", "metricQueries", "dimensions", "evaluateLowSampleCountPercentiles", "alarmDescription"
        )
        return {**plain, **named, **renamed, **only(inputs, "alarmDescription")}

    def rules(self, inputs: Bag) -> None:
        one_of(
            "treatMissingData",
            inputs.get("treatMissingData"),
            ("breaching", "notBreaching", "ignore", "missing"),
        )
        one_of(
            "evaluateLowSampleCountPercentiles", inputs.get("evaluateLowSampleCountPercentiles"), ("evaluate", "ignore")
        )
        _extended(inputs.get("extendedStatistic"))
        _watched(inputs)
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
        dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
        described = {**alarm, "name": id_, "metricQueries": queries, "dimensions": dimensions}
        return Found(described, {"arn": alarm["AlarmArn"]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("cloudwatch", "DeleteAlarms", {"alarmNames": [id_]})


def _extended(statistic: Any) -> None:
    if (
        isinstance(statistic, str)
        and statistic != UNKNOWN
        and not re.fullmatch(r"(p|tm|wm|tc|ts)\d{1,2}(\.\d+)?", statistic)
    ):
        raise BadInputError(f"extendedStatistic is {statistic!r}; try p90")


def _watched(inputs: Bag) -> None:
    """Refuse an alarm that watches nothing, or more than one thing, or longer than CloudWatch looks back."""
    metric, queries = inputs.get("metricName"), inputs.get("metricQueries")
    if (metric is None) == (not queries):
        raise BadInputError("an alarm has either metricName or metricQueries")
    if metric is not None and (inputs.get("statistic") is None) == (inputs.get("extendedStatistic") is None):
        raise BadInputError("an alarm on a metric has either statistic or extendedStatistic")
    period, periods = inputs.get("period"), inputs.get("evaluationPeriods")
    if isinstance(period, int) and isinstance(periods, int):
        within("period * evaluationPeriods", period * periods, 10, 86400)


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
    pairs = _pairs(metric.get("dimensions") or {})
    stat = {
        "metric": {
            "namespace": metric.get("namespace"),
            "metricName": metric.get("metricName"),
            "dimensions": pairs,
        },
        **without(metric, "namespace", "metricName", "dimensions"),
    }
    return {**without(query, "metric"), "metricStat": stat}


def _pairs(dimensions: Any) -> Any:
    if dimensions == UNKNOWN:
        return dimensions
    return [{"name": name, "value": value} for name, value in sorted(dimensions.items())]


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


KINDS: tuple[type[Kind], ...] = (LogGroup, MetricAlarm, Parameter)
