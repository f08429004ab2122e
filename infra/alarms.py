"""What stops a deployment: a share of server errors that lasts."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

MAX_PERCENT = 2.0
MINUTES = 10


@dataclass(frozen=True, kw_only=True)
class ErrorAlarmArgs:
    """The dimensions are the ARN suffixes by which CloudWatch knows a load balancer's parts."""

    alarm_name: str
    load_balancer: pulumi.Input[str]
    target_group: pulumi.Input[str]


class ErrorAlarm(pulumi.ComponentResource):
    """
    Alarms when more than 2 % of a target group's requests are answered 5xx for 10 minutes.

    Each of the ten minutes must be above; a minute without requests counts as none failed.
    """

    name: pulumi.Output[str]

    def __init__(self, name: str, args: ErrorAlarmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:ErrorAlarm", name, None, opts)

        def total(id_: str, metric: str) -> aws.cloudwatch.MetricAlarmMetricQueryArgs:
            return aws.cloudwatch.MetricAlarmMetricQueryArgs(
                id=id_,
                return_data=False,
                metric=aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
                    namespace="AWS/ApplicationELB",
                    metric_name=metric,
                    dimensions={
                        "LoadBalancer": args.load_balancer,
                        "TargetGroup": args.target_group,
                    },
                    period=60,
                    stat="Sum",
                ),
            )

        alarm = aws.cloudwatch.MetricAlarm(
            name,
            name=args.alarm_name,
            alarm_description=f"more than {MAX_PERCENT:g} % of requests failed for {MINUTES} min",
            comparison_operator="GreaterThanThreshold",
            threshold=MAX_PERCENT,
            evaluation_periods=MINUTES,
            datapoints_to_alarm=MINUTES,
            treat_missing_data="notBreaching",
            metric_queries=[
                total("errors", "HTTPCode_Target_5XX_Count"),  # absent in a minute without any
                total("requests", "RequestCount"),
                aws.cloudwatch.MetricAlarmMetricQueryArgs(
                    id="percent",
                    label="5xx %",
                    expression="IF(requests > 0, 100 * FILL(errors, 0) / requests, 0)",
                    return_data=True,
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = alarm.name
        self.register_outputs({"name": self.name})
