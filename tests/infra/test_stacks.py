"""Both stack files in both exposures under the real engine: what each change touches, and in which order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.rehearsal.localcloud import Applied, Engine, LocalAws, Step
from tests.infra import whole

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ECS, ELB, SSM = "aws:ecs/", "aws:lb/listener:Listener", "aws:ssm/parameter:Parameter"
Config = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """What each run did, and the services, weights and parameters that AWS had after it."""

    runs: dict[str, Applied]
    aws: dict[str, dict[str, Any]]


def seen(cloud: LocalAws) -> dict[str, Any]:
    ecs, elb, ssm = cloud.client("ecs"), cloud.client("elbv2"), cloud.client("ssm")
    services = [
        ecs.describe_services(cluster=cluster, services=[arn])["services"][0]
        for cluster in ecs.list_clusters()["clusterArns"]
        for arn in ecs.list_services(cluster=cluster)["serviceArns"]
    ]
    balancers = elb.describe_load_balancers()["LoadBalancers"]
    listeners = [
        one
        for balancer in balancers
        for one in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    ]
    forwards = [
        action["ForwardConfig"] for one in listeners for action in one["DefaultActions"] if "ForwardConfig" in action
    ]
    return {
        "images": {one["serviceName"]: image(ecs, one["taskDefinition"])[-4:] for one in services},
        "weights": [[group["Weight"] for group in one["TargetGroups"]] for one in forwards],
        "listeners": sorted((one["Port"], one["Protocol"], one["DefaultActions"][0]["Type"]) for one in listeners),
        "parameters": {
            one["Name"].rsplit("/", 1)[1]: ssm.get_parameter(Name=one["Name"])["Parameter"]["Value"]
            for one in ssm.describe_parameters()["Parameters"]
        },
        "roles": cloud.client("iam").list_roles()["Roles"],
        "buckets": cloud.client("s3").list_buckets()["Buckets"],
        "alarms": cloud.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "tasks": len(ecs.list_task_definitions()["taskDefinitionArns"]),
    }


def image(ecs: Any, task_definition: str) -> str:
    found = ecs.describe_task_definition(taskDefinition=task_definition)["taskDefinition"]
    return str(found["containerDefinitions"][0]["image"])


def at(config: Config, percent: int, **service: str) -> Config:
    changed = copy.deepcopy(config)
    changed["pilot:rollout"]["percent"] = percent
    changed["pilot:service"] |= service
    return changed


def tell(command: Path, stack: str, config: Config, plan: list[tuple[str, Callable[[Config], Config] | None]]) -> Story:
    """Make AWS what each step of *plan* declares, or would in `preview`; None is to destroy."""
    with LocalAws(START, seed=1) as cloud, Engine(cloud, command) as pulumi:
        config = whole.in_local_aws(cloud, config)
        runs, aws = {}, {}
        for name, change in plan:
            if change is None:
                runs[name] = pulumi.destroy(stack)
            else:
                run = pulumi.preview if name.endswith("preview") else pulumi.up
                runs[name] = run(stack, whole.PROJECT, whole.text(change(config)))
            cloud.now += timedelta(minutes=5)
            cloud.settle()
            aws[name] = seen(cloud)
        return Story(runs, aws)


def stage(percent: int, **service: str) -> Callable[[Config], Config]:
    return lambda config: at(config, percent, **service)


def exposed(exposure: str, percent: int) -> Callable[[Config], Config]:
    return lambda config: whole.exposed(config, exposure, percent)


def polling(percent: int) -> Callable[[Config], Config]:
    return lambda config: at(whole.exposed(config, "flag"), percent, delivery="parameter")


@pytest.fixture(scope="module")
def staging(pulumi_command: Path) -> Story:
    """Staging as it is shipped, by `flag`; then by `traffic`."""
    return tell(pulumi_command, "staging", whole.shipped("staging"), [
        ("preview", stage(0)), ("first", stage(0)), ("again", stage(0)),
        ("advance", stage(10)), ("revert", stage(0)),
        ("traffic preview", exposed("traffic", 0)), ("traffic", exposed("traffic", 0)),
        ("traffic advance", exposed("traffic", 10)), ("destroy", None),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def prod(pulumi_command: Path) -> Story:
    """Prod with everything on, by `traffic` up to the next candidate; then by `flag`, and its app polls."""
    config = whole.everything(whole.shipped("prod"))
    candidate, following = config["pilot:service"]["candidateImage"], whole.of(config, "f" * 64)
    config["pilot:rollout"]["percent"] = 0
    return tell(pulumi_command, "prod", config, [
        ("preview", stage(0)), ("first", stage(0)), ("advance", stage(10)), ("all", stage(100)),
        ("promote", stage(100, image=candidate)),
        ("next", stage(0, image=candidate, candidateImage=following)),
        ("flag preview", exposed("flag", 0)), ("flag", exposed("flag", 0)), ("flag advance", exposed("flag", 10)),
        ("polls", polling(10)), ("polled", polling(20)), ("destroy", None),
    ])  # fmt: skip


def test_a_preview_from_nothing_makes_nothing_and_says_what_up_does(staging: Story, prod: Story) -> None:
    for story in (staging, prod):
        assert story.runs["preview"].changes == story.runs["first"].changes
        assert story.runs["preview"].changes.keys() == {"create"}
        assert (story.aws["preview"]["images"], story.aws["preview"]["roles"]) == ({}, [])


def test_a_preview_of_the_other_exposure_says_what_up_does(staging: Story, prod: Story) -> None:
    for story, exposure in ((staging, "traffic"), (prod, "flag")):
        assert story.runs[f"{exposure} preview"].changes == story.runs[exposure].changes
        assert {"create", "delete"} & story.runs[exposure].changes.keys()


def test_a_second_up_changes_nothing(staging: Story) -> None:
    assert staging.runs["again"].changes.keys() == {"same"}


def test_a_stage_of_flag_touches_task_definition_service_and_parameter_alone(staging: Story, prod: Story) -> None:
    steps = {
        Step("replace", f"{ECS}taskDefinition:TaskDefinition", "stable"),
        Step("update", f"{ECS}service:Service", "stable"),
        Step("update", SSM, "percent"),
    }
    for applied in (staging.runs["advance"], staging.runs["revert"], prod.runs["flag advance"]):
        assert (set(applied.steps), len(applied.steps)) == (steps, 3)
    assert staging.aws["advance"]["parameters"] == {"percent": "10", "stop": "none"}


def test_a_stage_of_traffic_touches_weights_and_parameter_alone(staging: Story, prod: Story) -> None:
    for applied in (staging.runs["traffic advance"], prod.runs["advance"], prod.runs["all"]):
        assert applied.steps == (Step("update", ELB, "ingress"), Step("update", SSM, "percent"))
    seen = [(prod.aws[run]["weights"], prod.aws[run]["parameters"]["percent"]) for run in ("first", "advance", "all")]
    assert seen == [([[100, 0]], "0"), ([[90, 10]], "10"), ([[0, 100]], "100")]


def test_each_stack_goes_from_one_exposure_to_the_other(staging: Story, prod: Story) -> None:
    assert (staging.aws["revert"]["weights"], staging.aws["traffic"]["weights"]) == ([[100]], [[100, 0]])
    assert staging.aws["traffic"]["images"].keys() > staging.aws["revert"]["images"].keys()
    assert (prod.aws["flag"]["weights"], len(prod.aws["flag"]["images"])) == ([[100]], 1)


def test_a_revert_leaves_what_was_before_but_for_two_revisions_more(staging: Story) -> None:
    before, after = staging.aws["again"], staging.aws["revert"]

    assert {**after, "tasks": before["tasks"]} == before
    assert after["tasks"] == before["tasks"] + 2


def test_at_0_and_100_both_variants_run_and_their_weights_sum_to_100(prod: Story) -> None:
    assert (prod.aws["all"]["weights"], prod.aws["next"]["weights"]) == ([[0, 100]], [[100, 0]])
    assert prod.aws["all"]["images"] == prod.aws["first"]["images"]


def test_users_come_by_https_and_http_sends_them_there(staging: Story) -> None:
    assert staging.aws["first"]["listeners"] == [(80, "HTTP", "redirect"), (443, "HTTPS", "forward")]


def test_promotion_changes_the_stable_service_while_nobody_is_on_it(prod: Story) -> None:
    assert set(prod.runs["promote"].steps) == {
        Step("replace", f"{ECS}taskDefinition:TaskDefinition", "stable"),
        Step("update", f"{ECS}service:Service", "stable"),
    }
    assert prod.aws["promote"]["weights"] == [[0, 100]]
    assert len(set(prod.aws["promote"]["images"].values())) == 1


def test_the_next_candidate_comes_once_nobody_is_on_the_one_before(prod: Story) -> None:
    steps = [(one.type.rsplit(":", 1)[1], one.name) for one in prod.runs["next"].steps]

    assert set(steps) == {
        ("Listener", "ingress"), ("TaskDefinition", "candidate"), ("Service", "candidate"), ("Parameter", "percent"),
    }  # fmt: skip
    assert steps.index(("Listener", "ingress")) < steps.index(("Service", "candidate"))
    assert steps[-1] == ("Parameter", "percent")
    assert prod.aws["next"]["parameters"]["percent"] == "0"


def test_destroy_leaves_nothing_but_revisions(staging: Story, prod: Story) -> None:
    for story in (staging, prod):
        left = {name for name, value in story.aws["destroy"].items() if value}
        assert left == {"tasks"}


def test_an_app_that_polls_gets_the_stage_without_a_new_task(prod: Story) -> None:
    assert prod.runs["polled"].steps == (Step("update", SSM, "settings"), Step("update", SSM, "percent"))
    assert '"percent": 20' in prod.aws["polled"]["parameters"]["settings"]
