"""What the program registers: the container's environment, weights, alarms, roles, network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Evaluate = Callable[..., Any]
Config = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(("percent", "fraction"), [(0, "0.00"), (1, "0.01"), (10, "0.10"), (55, "0.55"), (100, "1.00")])
def test_flag_tells_the_container_the_percent_as_a_fraction(
    evaluate: Evaluate, config: Config, percent: int, fraction: str
) -> None:
    made = evaluate(config(rollout={"percent": percent}))

    assert made.environment("stable")["PILOT_ROLLOUT_PCT"] == fraction
    assert made.parameter() == str(percent)


def test_the_container_is_told_flags_cohort_and_intake(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(
        config(
            rollout={
                "intake": "paused",
                "hold": "audit",
                "flags": {"micPrompt": "native", "a": "1"},
                "cohort": ["firm-a", "firm-b"],
            }
        )
    )

    assert made.environment("stable") == {
        "PILOT_COHORT": "firm-a,firm-b",
        "PILOT_FLAG_A": "1",
        "PILOT_FLAG_MIC_PROMPT": "native",
        "PILOT_INTAKE": "paused",
        "PILOT_ROLLOUT_PCT": "0.10",
    }


def test_flag_runs_one_service_with_all_of_the_traffic(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(config())

    assert made.weights() == {"arn:stable": 100}
    assert [one["name"] for one in made.of("Service").values()] == ["api"]


@pytest.mark.parametrize("percent", [0, 10, 100])
def test_traffic_splits_by_weights_that_sum_to_100(
    evaluate: Evaluate, traffic: Callable[[int], dict[str, Any]], percent: int
) -> None:
    made = evaluate(traffic(percent))

    assert made.weights() == {"arn:stable": 100 - percent, "arn:candidate": percent}
    assert made.parameter() == str(percent)


def test_traffic_keeps_users_with_their_variant_for_a_week(
    evaluate: Evaluate, traffic: Callable[[int], dict[str, Any]]
) -> None:
    (action,) = evaluate(traffic(10)).of("Listener")["ingress"]["defaultActions"]

    assert action["forward"]["stickiness"] == {"enabled": True, "duration": 604800}


@pytest.mark.parametrize("percent", [0, 100])
def test_traffic_that_is_not_split_keeps_nobody_by_a_cookie(
    evaluate: Evaluate, traffic: Callable[[int], dict[str, Any]], percent: int
) -> None:
    (action,) = evaluate(traffic(percent)).of("Listener")["ingress"]["defaultActions"]

    assert action["forward"]["stickiness"]["enabled"] is False


def test_traffic_task_definitions_do_not_depend_on_the_percent(
    evaluate: Evaluate, traffic: Callable[[int], dict[str, Any]]
) -> None:
    ten, twenty = evaluate(traffic(10)), evaluate(traffic(20))

    assert ten.of("TaskDefinition") == twenty.of("TaskDefinition")
    assert {name: ten.environment(name) for name in ("stable", "candidate")} == {
        "stable": {
            "PILOT_COHORT": "", "PILOT_INTAKE": "open",
            "PILOT_ROLLOUT_PCT": "0.00", "PILOT_VARIANT": "stable",
        },
        "candidate": {
            "PILOT_COHORT": "", "PILOT_INTAKE": "open",
            "PILOT_ROLLOUT_PCT": "1.00", "PILOT_VARIANT": "candidate",
        },
    }  # fmt: skip


def test_a_broken_deployment_is_taken_back(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(config())

    service = made.of("Service")["stable"]
    assert service["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert service["alarms"] == {"enable": True, "rollback": True, "alarmNames": ["shop-api-5xx"]}
    assert made.of("TaskDefinition")["stable"]["skipDestroy"] is True


def test_the_alarm_is_more_than_2_percent_for_10_minutes(evaluate: Evaluate, config: Config) -> None:
    alarm = evaluate(config()).of("MetricAlarm")["stable"]

    assert alarm["comparisonOperator"] == "GreaterThanThreshold"
    assert alarm["threshold"] == 2
    assert (alarm["evaluationPeriods"], alarm["datapointsToAlarm"]) == (10, 10)
    errors, requests, percent = alarm["metricQueries"]
    assert [one["metric"] for one in (errors, requests)] == [
        {"namespace": "AWS/ApplicationELB", "metricName": metric, "period": 60, "stat": "Sum",
         "dimensions": {"LoadBalancer": "suffix/ingress", "TargetGroup": "suffix/stable"}}
        for metric in ("HTTPCode_Target_5XX_Count", "RequestCount")
    ]  # fmt: skip
    assert percent["expression"] == "IF(requests > 0, 100 * FILL(errors, 0) / requests, 0)"


def test_the_execution_role_may_pull_its_image_and_write_its_log_only(evaluate: Evaluate, config: Config) -> None:
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/api@sha256:" + "a" * 64

    made = evaluate(config(service={"image": image}))

    statements = json.loads(made.of("RolePolicy")["execution"]["policy"])["Statement"]
    resources = {str(one["Action"]): one["Resource"] for one in statements}
    assert resources == {
        "['logs:CreateLogStream', 'logs:PutLogEvents']": "arn:cluster:*",
        "ecr:GetAuthorizationToken": "*",
        "['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer']": [
            "arn:aws:ecr:eu-west-1:123456789012:repository/team/api"
        ],
    }
    assert list(made.of("RolePolicy")) == ["execution"]


def test_only_the_load_balancer_reaches_the_tasks(evaluate: Evaluate, config: Config) -> None:
    groups = evaluate(config(service={"port": 9000})).of("SecurityGroup")

    (rule,) = groups["cluster"]["ingress"]
    assert (rule["fromPort"], rule["toPort"]) == (9000, 9000)
    assert rule["securityGroups"] == ["ingress-id"]
    assert "cidrBlocks" not in rule


def test_a_network_of_its_own_spans_two_zones(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(config())

    zones = {name: subnet["availabilityZone"] for name, subnet in made.of("Subnet").items()}
    assert zones == {
        "network-public-0": "zone-a", "network-public-1": "zone-b",
        "network-private-0": "zone-a", "network-private-1": "zone-b",
    }  # fmt: skip
    assert made.of("LoadBalancer")["ingress"]["subnets"] == ["network-public-0-id", "network-public-1-id"]


def test_a_given_network_is_used_and_not_made(evaluate: Evaluate, config: Config) -> None:
    network = {
        "vpcId": "vpc-0a",
        "publicSubnetIds": ["subnet-1", "subnet-2"],
        "privateSubnetIds": ["subnet-3", "subnet-4"],
    }

    made = evaluate(config(**{"pilot:network": network}))

    assert made.of("Vpc") == {}
    assert made.of("LoadBalancer")["ingress"]["subnets"] == ["subnet-1", "subnet-2"]
    service = made.of("Service")["stable"]
    assert service["networkConfiguration"]["subnets"] == ["subnet-3", "subnet-4"]
    assert service["networkConfiguration"]["assignPublicIp"] is False
