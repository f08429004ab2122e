"""Live state is read back from AWS as it is, or said to be unreadable, and why."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pulumi_aws
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.stub import Stubber

from controller.aws.live import EcsLiveState, client_factory
from controller.model import Deployment, Exposure, Intake, Live, Service, Unreadable
from controller.rehearsal.localcloud import InProcess, LocalAws
from tests.kept import keep

with warnings.catch_warnings(action="ignore"):
    pulumi_aws.ec2.SecurityGroup  # noqa: B018 - importing it warns of its deprecated parts

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
IMAGE = "registry.example/api@sha256:" + "a" * 64
CANDIDATE = "registry.example/api@sha256:" + "b" * 64
SERVICE = Service("shop", "api", IMAGE)
PROJECT = (Path(__file__).parents[2] / "Pulumi.yaml").read_bytes()
TASK = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-api"


def stubbed(*answers: tuple[str, dict[str, Any]], error: str = "") -> Unreadable | Live:
    """Read with an ECS that gives these answers, or that *error* at once."""
    client = boto3.client(
        "ecs", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}),
        aws_access_key_id="any", aws_secret_access_key="any",
    )  # fmt: skip
    with Stubber(client) as stub:
        if error:
            stub.add_client_error("describe_services", error, "no", 400)
        for operation, answer in answers:
            stub.add_response(operation, answer)
        clients = {"ecs": client, "ssm": NoStop()}
        return EcsLiveState(lambda service, _region: clients[service]).read(SERVICE, Exposure.FLAG, None)


class NoStop:
    """Systems Manager of a service that nobody stopped."""

    def get_parameter(self, **_: str) -> None:
        raise ClientError({"Error": {"Code": "ParameterNotFound", "Message": "no"}}, "GetParameter")


class Stack:
    """A stack on a local AWS whose time is told in minutes after its start."""

    def __init__(self, cloud: LocalAws, exposure: Exposure, delivery: str = "environment") -> None:
        self.cloud, self.exposure, self.delivery, self._pulumi = cloud, exposure, delivery, InProcess(cloud)
        self._network = json.dumps(cloud.network())

    def up(self, percent: int, *, image: str = IMAGE, flag: str = "primer") -> None:
        candidate = f", candidateImage: '{CANDIDATE}'" if self.exposure == "traffic" else ""
        text = (
            "config:\n"
            "  aws:region: us-east-1\n"
            f"  pilot:service: {{cluster: shop, name: api, image: '{image}'{candidate},"
            f" healthUrl: 'https://api.example.com/health', delivery: {self.delivery}}}\n"
            f"  pilot:network: {self._network}\n"
            "  pilot:ingress: {insecureHttp: true, accessLogDays: 0}\n"
            f"  pilot:rollout: {{percent: {percent}, exposure: {self.exposure},"
            f" flags: {{micPrompt: {flag}}}}}\n"
        )
        self._pulumi.up("staging", PROJECT, text.encode())

    def keep(self) -> Callable[[], None]:
        return keep(self.cloud, self._pulumi)

    def later(self, minutes: int, *, settle: bool = True) -> datetime:
        self.cloud.now += timedelta(minutes=minutes)
        if settle:
            self.cloud.settle()
        return self.cloud.now

    def read(self, service: Service = SERVICE, exposure: Exposure | None = None) -> Any:
        live = EcsLiveState(self.cloud.client)
        return live.read(service, exposure or self.exposure, "us-east-1")


class Stacks:
    """Stacks at 0 %, each brought up once for the tests of it that follow each other: there is one local AWS at a time."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._kind: tuple[object, ...] = ()

    def get(self, exposure: Exposure, delivery: str = "environment", *, live: bool = True) -> Stack:
        """One that is *live* since five minutes after START, or has just been begun."""
        if self._kind != (exposure, delivery, live):
            self.close()
            self._made = Stack(self._exit.enter_context(LocalAws(START)), exposure, delivery)
            self._made.up(0)
            if live:
                self._made.later(5)
            self._back = self._made.keep()
            self._kind = (exposure, delivery, live)
        self._back()
        return self._made

    def close(self) -> None:
        self._exit.close()
        self._kind = ()


@pytest.fixture(scope="module")
def stacks() -> Iterator[Stacks]:
    made = Stacks()
    yield made
    made.close()


@pytest.fixture
def flag(stacks: Stacks) -> Stack:
    return stacks.get(Exposure.FLAG)


@pytest.fixture
def traffic(stacks: Stacks) -> Stack:
    return stacks.get(Exposure.TRAFFIC)


@pytest.fixture
def polled(stacks: Stacks, request: pytest.FixtureRequest) -> Stack:
    """One whose app polls what it is told; the exposure is the test's parameter."""
    return stacks.get(request.param, "parameter")


def test_a_first_deployment_in_progress_is_read_as_such(stacks: Stacks) -> None:
    first = stacks.get(Exposure.FLAG, live=False)

    assert first.read().percent == 0
    assert first.read().deployment is Deployment.IN_PROGRESS


def test_flag_reads_the_percent_of_the_running_task_definition(flag: Stack) -> None:
    flag.up(10)
    applied = flag.cloud.now
    now = flag.later(5)

    live = flag.read()

    assert live == Live(
        percent=10,
        since=now,
        deployment=Deployment.COMPLETED,
        image=IMAGE,
        flags={"micPrompt": "primer"},
        task_definition=f"{TASK}:2",
        detail=live.detail,
        applied=applied,
        intake=Intake.OPEN,
    )
    assert live.detail.endswith("completed.")


def test_a_reader_that_lives_on_sees_the_next_revision_and_asks_for_each_once(flag: Stack) -> None:
    asked: list[str] = []
    client = flag.cloud.client("ecs")
    client.meta.events.register("provide-client-params.ecs.DescribeTaskDefinition", lambda **_: asked.append("asked"))
    reader = EcsLiveState(flag.cloud.client)

    percents = []
    for percent in (10, 10, 20, 20):
        flag.up(percent)
        flag.later(5)
        asked.clear()
        live = reader.read(SERVICE, Exposure.FLAG, "us-east-1")
        assert isinstance(live, Live)
        percents.append((live.percent, len(asked)))

    assert percents == [(10, 1), (10, 0), (20, 1), (20, 0)]


def test_flag_reads_what_still_serves_while_a_deployment_is_in_progress(flag: Stack) -> None:
    flag.up(10)
    flag.later(1, settle=False)

    live = flag.read()

    assert (live.percent, live.since) == (0, START + timedelta(minutes=5))
    assert live.deployment is Deployment.IN_PROGRESS
    assert live.detail.endswith("in progress.")


def test_a_deployment_that_rolls_back_is_failed_and_then_the_old_percent_is_live(
    flag: Stack,
) -> None:
    broken = "registry.example/api@sha256:" + "f" * 64
    flag.cloud.break_image(broken)
    flag.up(10, image=broken)
    flag.cloud.tick()
    flag.cloud.tick()

    rolling_back = flag.read()
    flag.later(5)
    rolled_back = flag.read()

    assert (rolling_back.deployment, rolling_back.percent) == (Deployment.FAILED, 0)
    assert "rolling back" in rolling_back.detail
    assert (rolled_back.deployment, rolled_back.percent) == (Deployment.COMPLETED, 0)
    assert rolled_back.image == IMAGE


def test_a_flag_that_flips_starts_the_stage_anew(flag: Stack) -> None:
    flag.up(0, flag="native")
    now = flag.later(60)

    assert flag.read().flags == {"micPrompt": "native"}
    assert flag.read().since == now


def test_traffic_reads_the_weight_and_the_parameters_date(traffic: Stack) -> None:
    traffic.later(60)
    traffic.up(10)
    applied = traffic.cloud.now
    traffic.later(30)

    live = traffic.read()

    assert live == Live(
        percent=10,
        since=applied,
        deployment=Deployment.COMPLETED,
        image=IMAGE,
        candidate_image=CANDIDATE,
        flags={"micPrompt": "primer"},
        task_definition=f"{TASK}:1",
        detail=live.detail,
        applied=applied,
        intake=Intake.OPEN,
    )


def test_traffic_counts_from_a_deployment_that_came_after_the_percent(traffic: Stack) -> None:
    traffic.up(0, flag="native")
    now = traffic.later(60)

    assert traffic.read().since == now


def test_traffic_of_two_services_is_as_good_as_the_worse(traffic: Stack) -> None:
    ecs = traffic.cloud.client("ecs")
    ecs.update_service(cluster="shop", service="api-candidate", forceNewDeployment=True)

    live = traffic.read()

    assert live.deployment is Deployment.IN_PROGRESS
    assert "api-candidate: ECS deployment" in live.detail


def _weigh(cloud: LocalAws, stable: int, candidate: int) -> None:
    elb = cloud.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    (listener,) = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    groups = {one["TargetGroupName"]: one["TargetGroupArn"] for one in elb.describe_target_groups()["TargetGroups"]}
    weights = [
        {"TargetGroupArn": groups["api-staging"], "Weight": stable},
        {"TargetGroupArn": groups["api-staging-cand"], "Weight": candidate},
    ]
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}
    elb.modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=[action])


def test_weights_changed_by_hand_are_read_and_hold_the_rollout(traffic: Stack) -> None:
    traffic.up(10)
    _weigh(traffic.cloud, 100, 0)

    live = traffic.read()

    assert (live.percent, live.deployment) == (0, Deployment.IN_PROGRESS)
    assert "sends 0 % to the candidate, but 10 % was last applied" in live.detail


def test_weights_that_do_not_sum_to_100_are_unreadable(traffic: Stack) -> None:
    _weigh(traffic.cloud, 90, 90)

    assert "weights that sum to 180; expected 100" in traffic.read().reason


def test_a_missing_parameter_is_unreadable(traffic: Stack) -> None:
    traffic.cloud.client("ssm").delete_parameter(Name="/pilot/shop/api/percent")

    reason = traffic.read().reason

    assert reason.startswith("ssm:GetParameter answered ParameterNotFound")
    assert reason.endswith("run pulumi up")


def test_the_other_exposure_than_the_declared_one_is_unreadable(traffic: Stack) -> None:
    assert "exposure traffic is live, flag is declared" in traffic.read(exposure=Exposure.FLAG).reason


@pytest.mark.parametrize("polled", [Exposure.TRAFFIC], indirect=True)
def test_traffic_that_is_polled_reads_the_weight_and_the_flags_of_the_parameter(polled: Stack) -> None:
    polled.up(10)
    polled.later(60)
    polled.up(10, flag="native")
    flipped = polled.cloud.now
    polled.later(30)

    live = polled.read()

    assert (live.percent, live.flags) == (10, {"micPrompt": "native"})
    assert (live.since, live.applied) == (flipped, flipped)


@pytest.mark.parametrize("polled", [Exposure.FLAG], indirect=True)
def test_flag_that_is_polled_reads_percent_flags_and_date_of_the_parameter(polled: Stack) -> None:
    polled.later(60)
    polled.up(10, flag="native")
    applied = polled.cloud.now
    polled.later(30)

    live = polled.read()

    assert live == Live(
        percent=10,
        since=applied,
        deployment=Deployment.COMPLETED,
        image=IMAGE,
        flags={"micPrompt": "native"},
        task_definition=f"{TASK}:1",
        detail=live.detail,
        applied=applied,
        intake=Intake.OPEN,
    )


@pytest.mark.parametrize("polled", [Exposure.FLAG], indirect=True)
def test_flag_that_is_polled_counts_from_a_deployment_that_came_after_it(polled: Stack) -> None:
    image = "registry.example/api@sha256:" + "c" * 64
    polled.up(10)
    polled.later(30)
    polled.up(10, image=image)
    applied = polled.cloud.now
    now = polled.later(5)

    live = polled.read()

    assert (live.percent, live.since, live.applied, live.image) == (10, now, applied, image)


@pytest.mark.parametrize("polled", [Exposure.FLAG], indirect=True)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "holds 'no JSON'; expected JSON with flags"),
        ('{"percent": 10}', "expected JSON with flags"),
        ('{"percent": 101, "flags": {}}', "a whole percent from 0 to 100"),
        ('{"percent": true, "flags": {}}', "a whole percent from 0 to 100"),
        ('{"percent": 10.5, "flags": {}}', "a whole percent from 0 to 100"),
        ("[]", "expected JSON with flags"),
        ('{"flags": {}}', "has no percent, which it has with exposure flag"),
    ],
)
def test_settings_in_another_form_are_unreadable(polled: Stack, text: str, said: str) -> None:
    name = "/pilot/shop/api/settings"
    polled.cloud.client("ssm").put_parameter(Name=name, Value=text, Type="String", Overwrite=True)

    reason = polled.read().reason

    assert reason.startswith(name)
    assert said in reason
    assert reason.endswith("run pulumi up")


@pytest.mark.parametrize(
    ("text", "readable"),
    [("0.10", 10), ("1.00", 100), ("0", 0), ("0.105", None), ("1.01", None), ("-0.10", None),
     ("ten", None), ("NaN", None), ("Infinity", None), ("", None)],
)  # fmt: skip
def test_only_whole_percents_are_read(text: str, readable: int | None) -> None:
    deployment = {
        "status": "PRIMARY", "rolloutState": "COMPLETED", "taskDefinition": "t:2",
        "createdAt": START, "updatedAt": START,
    }  # fmt: skip
    service = {"serviceName": "api", "status": "ACTIVE", "deployments": [deployment]}
    environment = [{"name": "PILOT_ROLLOUT_PCT", "value": text}]
    task = {"containerDefinitions": [{"name": "app", "image": "i", "environment": environment}]}

    live = stubbed(
        ("describe_services", {"services": [service]}),
        ("describe_task_definition", {"taskDefinition": task}),
    )

    if isinstance(live, Unreadable):
        assert readable is None
        assert f"t:2 has PILOT_ROLLOUT_PCT={text!r}; expected a fraction" in live.reason
    else:
        assert live.percent == readable


@pytest.mark.parametrize(
    ("service", "said"),
    [
        pytest.param(replace(SERVICE, name="other"), "no active service other in cluster shop",
                     id="service"),
        pytest.param(replace(SERVICE, cluster="other"), "ClusterNotFoundException", id="cluster"),
    ],
)  # fmt: skip
def test_a_service_that_is_not_there_is_unreadable(flag: Stack, service: Service, said: str) -> None:
    reason = flag.read(service).reason

    assert said in reason
    assert "check pilot:service and the region" in reason


def test_a_deleted_service_is_unreadable(flag: Stack) -> None:
    flag.cloud.client("ecs").delete_service(cluster="shop", service="api", force=True)

    assert "no active service api" in flag.read().reason


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("AccessDeniedException", "allow ecs:DescribeServices to the controller's role"),
        ("ExpiredTokenException", "renew the credentials"),
        ("UnrecognizedClientException", "renew the credentials"),
        ("ThrottlingException", "the next pass tries again"),
        ("ServerException", "the next pass tries again"),
        ("InvalidParameterException", "see the AWS documentation of the call"),
    ],
)
def test_an_error_of_aws_names_call_code_and_what_to_do(code: str, hint: str) -> None:
    read = stubbed(error=code)

    assert read == Unreadable(f"ecs:DescribeServices answered {code}: no; {hint}")


@pytest.mark.parametrize(
    ("deployments", "said"),
    [
        pytest.param([], "no primary deployment", id="external-controller"),
        pytest.param([{"status": "PRIMARY", "id": "d", "taskDefinition": "t"}],
                     "rolloutState None", id="no-rollout-state"),
        pytest.param([{"status": "PRIMARY", "id": "d", "rolloutState": "PAUSED"}],
                     "rolloutState 'PAUSED'", id="new-rollout-state"),
    ],
)  # fmt: skip
def test_a_deployment_that_cannot_be_judged_is_unreadable(deployments: list[dict[str, str]], said: str) -> None:
    found = {"serviceName": "api", "status": "ACTIVE", "deployments": deployments}

    read = stubbed(("describe_services", {"services": [found]}))

    assert isinstance(read, Unreadable)
    assert said in read.reason


def test_an_aws_that_cannot_be_reached_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    clients = client_factory(endpoint="http://127.0.0.1:1")

    read = EcsLiveState(clients).read(SERVICE, Exposure.FLAG, "us-east-1")

    assert isinstance(read, Unreadable)
    assert read.reason.startswith("ssm:GetParameter: EndpointConnectionError")


def test_a_client_that_cannot_be_made_is_unreadable() -> None:
    def clients(_service: str, _region: str | None) -> Any:
        raise NoCredentialsError

    read = EcsLiveState(clients).read(SERVICE, Exposure.FLAG, None)

    assert isinstance(read, Unreadable)
    assert read.reason.endswith("check region, credentials and network")


def test_it_reads_over_http(flag: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    clients = client_factory(endpoint=flag.cloud.endpoint_url)

    read = EcsLiveState(clients).read(SERVICE, Exposure.FLAG, "us-east-1")

    clients("ecs", "us-east-1").close()
    assert isinstance(read, Live)
    assert read.percent == 0
