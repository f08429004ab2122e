"""What stops a deployment, and what people are told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.config import AlarmsConfig
from infra.permissions import allow_service, document

ERROR_PERCENT = 2.0
ERROR_MINUTES = SLOW_MINUTES = 10
UNHEALTHY_MINUTES = 5
_NAMESPACE = "AWS/ApplicationELB"
_ABOVE = "GreaterThanThreshold"


@dataclass(frozen=True, kw_only=True)
class AlarmsArgs:
    """
    `prefix` begins every alarm's name, and `config` says which there are beside that of server errors.

    The dimensions are the ARN suffixes by which CloudWatch knows a load balancer's parts; `topic_arn` is told.
    """

    prefix: str
    config: AlarmsConfig | None
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]
    topic_arn: pulumi.Input[str] | None


class Alarms(pulumi.ComponentResource):
    """
    The alarms of one variant: server errors and, where alarms are configured, latency and unhealthy targets.

    `rollback` names those that take a deployment back. Where nothing is measured, none of them fires.
    """

    rollback: Sequence[pulumi.Output[str]]

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Alarms", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self._actions = [args.topic_arn] if args.topic_arn is not None else None
        self._dimensions = {"LoadBalancer": args.load_balancer, "TargetGroup": args.target_group}
        self.rollback = [self._errors(name, args)]
        if args.config:
            self.rollback = [*self.rollback, self._latency(name, args.prefix, args.config.latency_p90)]
            self._unhealthy(name, args.prefix)
        self.register_outputs({"rollback": list(self.rollback)})

    def _errors(self, name: str, args: AlarmsArgs) -> pulumi.Output[str]:
        """More than 2 % of requests answered 5xx in each of ten minutes; in one without requests, none failed."""
        return aws.cloudwatch.MetricAlarm(
            name,
            name=f"{args.prefix}-5xx",
            alarm_description=f"more than {ERROR_PERCENT:g} % of requests failed for {ERROR_MINUTES} min",
            comparison_operator=_ABOVE,
            threshold=ERROR_PERCENT,
            evaluation_periods=ERROR_MINUTES,
            datapoints_to_alarm=ERROR_MINUTES,
            treat_missing_data="notBreaching",
            metric_queries=[
                self._sum("errors", "HTTPCode_Target_5XX_Count"),  # absent in a minute without any
                self._sum("requests", "RequestCount"),
                aws.cloudwatch.MetricAlarmMetricQueryArgs(
                    id="percent",
                    label="5xx %",
                    expression="IF(requests > 0, 100 * FILL(errors, 0) / requests, 0)",
                    return_data=True,
                ),
            ],
            alarm_actions=self._actions,
            ok_actions=self._actions,
            opts=self._child,
        ).name

    def _sum(self, id_: str, metric: str) -> aws.cloudwatch.MetricAlarmMetricQueryArgs:
        return aws.cloudwatch.MetricAlarmMetricQueryArgs(
            id=id_,
            return_data=False,
            metric=aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
                namespace=_NAMESPACE, metric_name=metric, dimensions=self._dimensions, period=60, stat="Sum"
            ),
        )

    def _latency(self, name: str, prefix: str, seconds: float) -> pulumi.Output[str]:
        return aws.cloudwatch.MetricAlarm(
            f"{name}-latency",
            name=f"{prefix}-latency",
            alarm_description=f"p90 of response times above {seconds:g} s for {SLOW_MINUTES} min",
            namespace=_NAMESPACE,
            metric_name="TargetResponseTime",
            dimensions=self._dimensions,
            extended_statistic="p90",
            period=60,
            comparison_operator=_ABOVE,
            threshold=seconds,
            evaluation_periods=SLOW_MINUTES,
            datapoints_to_alarm=SLOW_MINUTES,
            evaluate_low_sample_count_percentiles="ignore",  # the p90 of three requests is just the slowest
            treat_missing_data="notBreaching",
            alarm_actions=self._actions,
            ok_actions=self._actions,
            opts=self._child,
        ).name

    def _unhealthy(self, name: str, prefix: str) -> None:
        aws.cloudwatch.MetricAlarm(
            f"{name}-unhealthy",
            name=f"{prefix}-unhealthy",
            alarm_description=f"a target fails its health check for {UNHEALTHY_MINUTES} min",
            namespace=_NAMESPACE,
            metric_name="UnHealthyHostCount",
            dimensions=self._dimensions,
            statistic="Maximum",
            period=60,
            comparison_operator=_ABOVE,
            threshold=0,
            evaluation_periods=UNHEALTHY_MINUTES,
            datapoints_to_alarm=UNHEALTHY_MINUTES,
            treat_missing_data="notBreaching",
            alarm_actions=self._actions,
            ok_actions=self._actions,
            opts=self._child,
        )


@dataclass(frozen=True, kw_only=True)
class NotificationsArgs:
    """`prefix` begins the names; `load_balancer` is an ARN suffix; the emails confirm themselves once."""

    prefix: str
    config: AlarmsConfig
    load_balancer: pulumi.Input[str]
    account: pulumi.Input[str]


class Notifications(pulumi.ComponentResource):
    """
    The encrypted topic that every alarm tells, and the alarm on silence: no request for minutes on end.

    The key is the stack's own, for CloudWatch may not use the one that AWS keeps for SNS:
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html.
    """

    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: NotificationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Notifications", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        ours = {"StringEquals": {"aws:SourceAccount": args.account}}
        key = aws.kms.Key(
            name,
            description=f"alarms of {args.prefix}",
            enable_key_rotation=True,
            deletion_window_in_days=7,
            policy=_key_policy(args.account, ours),
            opts=child,
        )
        topic = aws.sns.Topic(name, name=f"{args.prefix}-alarms", kms_master_key_id=key.arn, opts=child)
        publish = allow_service("publish alarms", "cloudwatch.amazonaws.com", "sns:Publish", topic.arn, ours)
        policy = aws.sns.TopicPolicy(name, arn=topic.arn, policy=document(publish), opts=child)
        for email in args.config.emails:
            aws.sns.TopicSubscription(
                f"{name}-{email}", topic=topic.arn, protocol="email", endpoint=email, opts=child
            )  # fmt: skip
        # An alarm that fires before the topic lets it in tells nobody.
        self.topic_arn = pulumi.Output.all(topic.arn, policy.id).apply(lambda both: str(both[0]))
        if args.config.no_traffic_minutes:
            self._silence(name, args, self.topic_arn)
        self.register_outputs({"topicArn": self.topic_arn})

    def _silence(self, name: str, args: NotificationsArgs, topic_arn: pulumi.Output[str]) -> None:
        """A load balancer reports no count at all in a minute without requests, so that missing is the alarm."""
        minutes = args.config.no_traffic_minutes
        aws.cloudwatch.MetricAlarm(
            f"{name}-silence",
            name=f"{args.prefix}-no-traffic",
            alarm_description=f"no request for {minutes} min",
            namespace=_NAMESPACE,
            metric_name="RequestCount",
            dimensions={"LoadBalancer": args.load_balancer},
            statistic="Sum",
            period=60,
            comparison_operator="LessThanThreshold",
            threshold=1,
            evaluation_periods=minutes,
            datapoints_to_alarm=minutes,
            treat_missing_data="breaching",
            alarm_actions=[topic_arn],
            ok_actions=[topic_arn],
            opts=pulumi.ResourceOptions(parent=self),
        )


def _key_policy(account: pulumi.Input[str], ours: Mapping[str, Any]) -> pulumi.Output[str]:
    """
    Let IAM of the account govern the key, as AWS makes keys by default, and CloudWatch use it.

    In a key's own policy, `*` is that key: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html.
    """
    root = pulumi.Output.concat("arn:aws:iam::", account, ":root")
    return document(
        {
            "Sid": "LetIamGovernTheKey",
            "Effect": "Allow",
            "Principal": {"AWS": root},
            "Action": "kms:*",
            "Resource": "*",
        },
        allow_service(
            "encrypt what alarms say", "cloudwatch.amazonaws.com", ["kms:Decrypt", "kms:GenerateDataKey*"], "*", ours
        ),
    )  # fmt: skip
