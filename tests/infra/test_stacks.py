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

pytestmark = pytest.mark.xdist_group("stacks")  # its stories are told once, by one worker
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
                run = pulumi.preview if name == "preview" else pulumi.up
                runs[name] = run(stack, whole.PROJECT, whole.text(change(config)))
            cloud.now += timedelta(minutes=5)
            cloud.settle()
            aws[name] = seen(cloud)
        return Story(runs, aws)


def stage(percent: int) -> Callable[[Config], Config]:
    return lambda config: at(config, percent)


BEGIN = [("preview", stage(0)), ("first", stage(0))]


@pytest.fixture(scope="module")
def flag(pulumi_command: Path) -> Story:
    """Staging as it is shipped."""
    return tell(pulumi_command, "staging", whole.shipped("staging"), [
        *BEGIN, ("again", stage(0)), ("advance", stage(10)), ("revert", stage(0)), ("destroy", None),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def traffic(pulumi_command: Path) -> Story:
    """Prod with everything on, through a whole rollout: the candidate becomes stable, and the next one comes."""
    config = whole.everything(whole.shipped("prod"))
    candidate, following = config["pilot:service"]["candidateImage"], whole.of(config, "f" * 64)
    config["pilot:rollout"]["percent"] = 0
    return tell(pulumi_command, "prod", config, [
        *BEGIN, ("advance", stage(10)), ("all", stage(100)),
        ("promote", lambda c: at(c, 100, image=candidate)),
        ("next", lambda c: at(c, 0, image=candidate, candidateImage=following)),
        ("destroy", None),
    ])  # fmt: skip


def test_a_preview_from_nothing_makes_nothing_and_says_what_up_does(flag: Story, traffic: Story) -> None:
    for story in (flag, traffic):
        assert story.runs["preview"].changes == story.runs["first"].changes
        assert story.runs["preview"].changes.keys() == {"create"}
        assert (story.aws["preview"]["images"], story.aws["preview"]["roles"]) == ({}, [])


def test_a_second_up_changes_nothing(flag: Story) -> None:
    assert flag.runs["again"].changes.keys() == {"same"}


@pytest.mark.parametrize("run", ["advance", "revert"])
def test_a_stage_of_flag_touches_task_definition_service_and_parameter_alone(flag: Story, run: str) -> None:
    assert set(flag.runs[run].steps) == {
        Step("replace", f"{ECS}taskDefinition:TaskDefinition", "stable"),
        Step("update", f"{ECS}service:Service", "stable"),
        Step("update", SSM, "percent"),
    }
    assert len(flag.runs[run].steps) == 3


@pytest.mark.parametrize("run", ["advance", "all"])
def test_a_stage_of_traffic_touches_weights_and_parameter_alone(traffic: Story, run: str) -> None:
    assert traffic.runs[run].steps == (Step("update", ELB, "ingress"), Step("update", SSM, "percent"))


def test_a_revert_leaves_what_was_before_but_for_two_revisions_more(flag: Story) -> None:
    before, after = flag.aws["again"], flag.aws["revert"]

    assert {**after, "tasks": before["tasks"]} == before
    assert after["tasks"] == before["tasks"] + 2


def test_at_0_and_100_both_variants_run_and_their_weights_sum_to_100(traffic: Story) -> None:
    assert traffic.aws["first"]["weights"] == [[100, 0]]
    assert traffic.aws["all"]["weights"] == [[0, 100]]
    assert traffic.aws["all"]["images"] == traffic.aws["first"]["images"]


def test_users_come_by_https_and_http_sends_them_there(flag: Story) -> None:
    assert flag.aws["first"]["listeners"] == [(80, "HTTP", "redirect"), (443, "HTTPS", "forward")]


def test_promotion_changes_the_stable_service_while_nobody_is_on_it(traffic: Story) -> None:
    assert set(traffic.runs["promote"].steps) == {
        Step("replace", f"{ECS}taskDefinition:TaskDefinition", "stable"),
        Step("update", f"{ECS}service:Service", "stable"),
    }
    assert traffic.aws["promote"]["weights"] == [[0, 100]]
    assert len(set(traffic.aws["promote"]["images"].values())) == 1


def test_the_next_candidate_comes_once_nobody_is_on_the_one_before(traffic: Story) -> None:
    steps = [(one.type.rsplit(":", 1)[1], one.name) for one in traffic.runs["next"].steps]

    assert set(steps) == {
        ("Listener", "ingress"), ("TaskDefinition", "candidate"), ("Service", "candidate"), ("Parameter", "percent"),
    }  # fmt: skip
    assert steps.index(("Listener", "ingress")) < steps.index(("Service", "candidate"))
    assert steps[-1] == ("Parameter", "percent")
    assert traffic.aws["next"]["weights"] == [[100, 0]]
    assert traffic.aws["next"]["parameters"]["percent"] == "0"


def test_destroy_leaves_nothing_but_revisions(flag: Story, traffic: Story) -> None:
    for story in (flag, traffic):
        left = {name for name, value in story.aws["destroy"].items() if value}
        assert left == {"tasks"}


@pytest.mark.parametrize(("stack", "exposure"), [("staging", "traffic"), ("prod", "flag")])
def test_the_other_exposure_applies_too_and_its_stage_changes_as_little(
    pulumi_command: Path, stack: str, exposure: str
) -> None:
    config = whole.exposed(whole.shipped(stack), exposure)

    story = tell(pulumi_command, stack, config, [("first", stage(0)), ("advance", stage(10))])

    kinds = sorted(step.type.rsplit(":", 1)[1] for step in story.runs["advance"].steps)
    expected = {"flag": ["Parameter", "Service", "TaskDefinition"], "traffic": ["Listener", "Parameter"]}
    assert kinds == expected[exposure]
    assert story.aws["advance"]["parameters"] == {"percent": "10", "stop": "none"}


def test_an_app_that_polls_gets_the_stage_without_a_new_task(pulumi_command: Path) -> None:
    config = whole.shipped("staging")
    config["pilot:service"]["delivery"] = "parameter"

    story = tell(pulumi_command, "staging", config, [("first", stage(0)), ("advance", stage(10))])

    assert story.runs["advance"].steps == (Step("update", SSM, "settings"), Step("update", SSM, "percent"))
    assert '"percent": 10' in story.aws["advance"]["parameters"]["settings"]
