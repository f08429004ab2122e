"""Deployments on the local AWS begin, complete, fail and roll back as those of ECS do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from controller.rehearsal.localcloud import LocalAws

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


def deployments(cloud: LocalAws) -> list[tuple[str, str, str]]:
    (service,) = cloud.client("ecs").describe_services(cluster="c", services=["s"])["services"]
    return [
        (one["status"], one["taskDefinition"].rsplit("/", 1)[-1], one["rolloutState"]) for one in service["deployments"]
    ]


def primary(cloud: LocalAws) -> dict[str, Any]:
    (service,) = cloud.client("ecs").describe_services(cluster="c", services=["s"])["services"]
    return dict(service["deployments"][0])


@pytest.fixture
def service(cloud: LocalAws) -> Callable[..., Any]:
    """A service `s` on revision 1 that has completed; the call updates it."""
    ecs = cloud.client("ecs")
    ecs.create_cluster(clusterName="c")
    for image in ("one", "two", "three"):
        container = {"name": "app", "image": image, "memory": 64}
        ecs.register_task_definition(family="f", containerDefinitions=[container])
    ecs.create_service(
        cluster="c",
        serviceName="s",
        taskDefinition="f:1",
        desiredCount=2,
        deploymentConfiguration=BREAKER,
        healthCheckGracePeriodSeconds=60,
    )
    cloud.settle()

    def update(**changes: Any) -> Any:
        return ecs.update_service(cluster="c", service="s", **changes)

    return update


def test_a_new_revision_completes_at_the_second_tick(cloud: LocalAws, service: Callable[..., Any]) -> None:
    service(taskDefinition="f:2")

    begun = deployments(cloud)
    cloud.tick()
    one_tick_later = deployments(cloud)
    cloud.tick()

    assert begun == [("PRIMARY", "f:2", "IN_PROGRESS"), ("ACTIVE", "f:1", "COMPLETED")]
    assert one_tick_later == begun
    assert deployments(cloud) == [("PRIMARY", "f:2", "COMPLETED")]


def test_dates_are_those_of_the_virtual_clock(cloud: LocalAws, service: Callable[..., Any]) -> None:
    cloud.now = START + timedelta(days=3)
    service(taskDefinition="f:2")
    cloud.now += timedelta(minutes=5)
    cloud.settle()

    assert primary(cloud)["createdAt"] == START + timedelta(days=3)
    assert primary(cloud)["updatedAt"] == START + timedelta(days=3, minutes=5)


def test_task_definitions_and_parameters_are_dated_by_the_virtual_clock(cloud: LocalAws) -> None:
    cloud.now = START + timedelta(hours=7)
    container = {"name": "app", "image": "one", "memory": 64}
    ecs, ssm = cloud.client("ecs"), cloud.client("ssm")

    registered = ecs.register_task_definition(family="f", containerDefinitions=[container])
    ssm.put_parameter(Name="/p", Value="1", Type="String")

    assert registered["taskDefinition"]["registeredAt"] == cloud.now
    assert ssm.get_parameter(Name="/p")["Parameter"]["LastModifiedDate"] == cloud.now


def test_settings_given_at_create_are_kept(cloud: LocalAws, service: Callable[..., Any]) -> None:
    (found,) = cloud.client("ecs").describe_services(cluster="c", services=["s"])["services"]

    assert found["deploymentConfiguration"] == BREAKER
    assert found["healthCheckGracePeriodSeconds"] == 60


def test_a_broken_image_fails_and_rolls_back(cloud: LocalAws, service: Callable[..., Any]) -> None:
    cloud.break_image("two")
    service(taskDefinition="f:2")

    cloud.tick()
    cloud.tick()
    failed = deployments(cloud)
    cloud.settle()

    assert failed == [
        ("PRIMARY", "f:1", "IN_PROGRESS"),
        ("ACTIVE", "f:2", "FAILED"),
        ("ACTIVE", "f:1", "COMPLETED"),
    ]
    assert deployments(cloud) == [("PRIMARY", "f:1", "COMPLETED")]


def test_a_broken_image_without_the_breaker_never_ends(cloud: LocalAws, service: Callable[..., Any]) -> None:
    cloud.break_image("two")
    off = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
    service(taskDefinition="f:2", deploymentConfiguration=off)

    cloud.settle()

    assert deployments(cloud)[0] == ("PRIMARY", "f:2", "IN_PROGRESS")
    assert primary(cloud)["failedTasks"] > 3


def test_a_failure_without_rollback_stays(cloud: LocalAws, service: Callable[..., Any]) -> None:
    cloud.break_image("two")
    stay = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    service(taskDefinition="f:2", deploymentConfiguration=stay)

    cloud.settle()

    assert deployments(cloud) == [("PRIMARY", "f:2", "FAILED"), ("ACTIVE", "f:1", "COMPLETED")]


def test_a_firing_alarm_rolls_back(cloud: LocalAws, service: Callable[..., Any]) -> None:
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName="5xx", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1,
        Threshold=1, Namespace="n", MetricName="m", Period=60, Statistic="Sum",
    )  # fmt: skip
    watched = {"alarms": {"alarmNames": ["5xx"], "enable": True, "rollback": True}}
    service(taskDefinition="f:2", deploymentConfiguration=watched)
    cloud.set_alarm("5xx", firing=True)

    cloud.tick()
    cloud.set_alarm("5xx", firing=False)
    cloud.settle()

    assert deployments(cloud) == [("PRIMARY", "f:1", "COMPLETED")]


def test_a_change_of_the_count_deploys_nothing(cloud: LocalAws, service: Callable[..., Any]) -> None:
    before = primary(cloud)["id"]

    service(desiredCount=3)

    assert primary(cloud)["id"] == before
    assert not cloud.tick()


def test_force_deploys_the_same_revision_anew(cloud: LocalAws, service: Callable[..., Any]) -> None:
    before = primary(cloud)["id"]

    service(forceNewDeployment=True)

    assert primary(cloud)["id"] != before
    assert [revision for _, revision, _ in deployments(cloud)] == ["f:1", "f:1"]


def test_a_bare_family_means_its_newest_revision(cloud: LocalAws, service: Callable[..., Any]) -> None:
    service(taskDefinition="f")

    assert deployments(cloud)[0][1] == "f:3"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"taskDefinition": "f:3"}, "TaskDefinition is inactive", id="inactive"),
        pytest.param({"taskDefinition": "f:9"}, "task definition", id="unknown"),
    ],
)
def test_a_revision_that_cannot_run_is_refused(
    cloud: LocalAws, service: Callable[..., Any], changes: dict[str, str], said: str
) -> None:
    cloud.client("ecs").deregister_task_definition(taskDefinition="f:3")

    with pytest.raises(ClientError, match=said):
        service(**changes)

    assert deployments(cloud) == [("PRIMARY", "f:1", "COMPLETED")]


def test_a_second_service_of_the_name_is_refused(cloud: LocalAws, service: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="not idempotent"):
        cloud.client("ecs").create_service(cluster="c", serviceName="s", taskDefinition="f:1")


def test_a_second_local_aws_in_one_process_is_refused(cloud: LocalAws) -> None:
    with pytest.raises(RuntimeError, match="entered already"), LocalAws(START):
        pass


def test_the_next_local_aws_starts_empty() -> None:
    with LocalAws(START) as first:
        first.client("ecs").create_cluster(clusterName="c")

    with LocalAws(START) as second:
        assert second.client("ecs").list_clusters()["clusterArns"] == []


def test_it_answers_over_http_as_well(cloud: LocalAws) -> None:
    import boto3

    cloud.client("ecs").create_cluster(clusterName="c")
    ecs = boto3.client(
        "ecs", endpoint_url=cloud.endpoint_url, region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
    )  # fmt: skip

    (arn,) = ecs.list_clusters()["clusterArns"]
    ecs.close()

    assert arn.endswith("cluster/c")
