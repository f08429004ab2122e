"""The doctor finds what is broken, says what to do, and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from controller.aws import permissions
from controller.errors import ConfigError, TransientError
from controller.launch import doctor
from controller.model import Declared, Exposure, Finding, Health, Rollout, Service, Unreadable
from controller.ports import Rules
from tests.facts import NOW
from tests.world import World

FINE, NOTE, LATER, WRONG = Health.FINE, Health.NOTE, Health.LATER, Health.WRONG
GUARDED = Rules(True, ("rollout/evidence",))


class Patient(World):
    """A world in order, as the doctor sees it, with what a test breaks of it."""

    rules = GUARDED
    push_error: Exception | None = None
    skews: Mapping[str, float] = {}
    deaf: tuple[str, ...] = ()
    aws: tuple[Finding, ...] = (Finding("AWS credentials", FINE, "arn"),)

    def look(self) -> dict[str, Finding]:
        """The findings by what they are about; of several the worst."""
        self.forge.rules = lambda: self.rules  # type: ignore[method-assign]
        means = doctor.Means(
            reader=self.reader, forge=self.forge, forge_kind="local", warning=None, may_push=self._push,
            aws=lambda declared: iter(self.aws), skews=lambda declared, policy: self.skews,
            pulumi=lambda: Path("/bin/true"), channels=lambda policy: self.deaf,
        )  # fmt: skip
        self.found = list(doctor.examine(means, now=self.now))
        order = list(Health)
        return {item.about: item for item in sorted(self.found, key=lambda item: order.index(item.health))}

    def _push(self) -> None:
        if self.push_error:
            raise self.push_error


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patient")
    Patient(folder).save()
    return folder


@pytest.fixture
def patient(shared: Path) -> Patient:
    """No test here writes to the repository, and neither does the doctor."""
    made = Patient.reopened(shared)
    assert isinstance(made, Patient)
    return made


def test_in_good_order_only_what_is_to_be_filled_in_is_said(patient: Patient) -> None:
    before = patient.refs()
    said = {item.about: item.health for item in patient.look().values() if item.health is not FINE}
    said.pop("check E2E smoke test", None)  # where there is no npx
    assert said == {"people": NOTE}
    assert doctor.exit_code(patient.found) == 0
    assert patient.refs() == before


def _live(patient: Patient) -> None:
    patient.live.broken = dict.fromkeys(patient.live.applied, Unreadable("denied; allow it"))


def _source(error: Exception) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        patient.sources["prod"].down = error  # type: ignore[assignment]

    return change


@pytest.mark.parametrize(
    ("change", "about", "health", "words", "code"),
    [
        (lambda p: setattr(p, "push_error", ConfigError("403")), "push", WRONG, "403", 2),
        (lambda p: setattr(p, "push_error", TransientError("502")), "push", LATER, "502", 75),
        (lambda p: setattr(p, "rules", Rules(False, ())), "branch rules", WRONG, "main does not require rollout/evidence", 2),
        (lambda p: setattr(p, "rules", Rules(True, ("build",))), "branch rules", WRONG, "(required: build)", 2),
        (lambda p: setattr(p, "rules", Rules()), "branch rules", NOTE, "local has none that could be read", 0),
        (lambda p: setattr(p, "deaf", ("PILOT_X is not set",)), "channels", NOTE, "PILOT_X is not set", 0),
        (_live, "prod: live state", WRONG, "denied; allow it", 2),
        (_source(TransientError("no answer")), "prod: events", LATER, "no answer", 75),
        (_source(ConfigError("401")), "prod: events", WRONG, "401", 2),
        (lambda p: setattr(p.sources["prod"], "malformed", 3), "prod: events", WRONG, "3 records are malformed", 2),
        (lambda p: setattr(p.sources["prod"], "silent", True), "prod: events", NOTE, "without an event", 0),
        (lambda p: setattr(p, "skews", {"AWS": 29.0}), "prod: clock", FINE, "as AWS has it", 0),
        (lambda p: setattr(p, "skews", {"AWS": -31.0}), "prod: clock", NOTE, "31 s behind AWS", 0),
        (lambda p: setattr(p, "skews", {"AWS": 1.0, "the API": 121.0}), "prod: clock", WRONG, "121 s ahead of the API", 2),
        (lambda p: setattr(p, "aws", (Finding("AWS permissions", WRONG, "no"),)), "prod: AWS permissions", WRONG, "no", 2),
    ],
)  # fmt: skip
def test_what_is_broken_is_found(
    patient: Patient, change: Callable[[Patient], object], about: str, health: Health, words: str, code: int
) -> None:
    change(patient)
    found = patient.look()[about]
    assert (found.health, words in found.words) == (health, True)
    assert doctor.exit_code(patient.found) == code


def test_a_repository_that_cannot_be_read_ends_the_look(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise TransientError("no route to host")

    monkeypatch.setattr(patient.git, "sync", fails)
    found = patient.look()
    assert (found["repository"].health, found["repository"].words) == (LATER, "no route to host")


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("npx playwright test", "npx"),
        ("./smoke.sh", "./smoke.sh"),
        ("A=1 x", None),
        ("(x)", None),
        ("'", None),
        ("", None),
    ],
)
def test_the_program_of_a_command_is_its_first_word(command: str, program: str | None) -> None:
    assert doctor._program(command) == program


@pytest.mark.parametrize(
    ("said", "version"), [("git version 2.39.5", (2, 39, 5)), ("v3.272", (3, 272)), ("none", None)]
)
def test_a_version_is_read_from_what_a_program_says(said: str, version: tuple[int, ...] | None) -> None:
    assert doctor._version("echo", said) == version
    assert doctor._version("no-such-program-here") is None


# ---------------------------------------------------------------- clocks


class Late(BaseHTTPRequestHandler):
    """Its clock is five minutes behind, or it has none."""

    def do_HEAD(self) -> None:
        self.send_response_only(405)
        if self.path == "/late":
            at = datetime.now(UTC) - timedelta(minutes=5)
            self.send_header("Date", f"{at:%a, %d %b %Y %H:%M:%S} GMT")
        self.end_headers()


@pytest.fixture(scope="module")
def late() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_servers_clock_is_read_from_its_answer(late: str) -> None:
    def now() -> datetime:
        return datetime.now(UTC)

    found = doctor.skew(f"{late}/late", now)
    assert found is not None
    assert 299 < found < 310
    assert doctor.skew(f"{late}/none", now) is None
    assert doctor.skew("http://127.0.0.1:9", now) is None


# ---------------------------------------------------------------- AWS, in the shapes that it publishes

DECLARED = Declared(Service("shop", "api", "image"), Rollout(10, Exposure.FLAG), "us-east-1")
ARN = "arn:aws:sts::123456789012:assumed-role/pilot/session"
ROLE = "arn:aws:iam::123456789012:role/ops/pilot"
TASK = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-api:7"


def examined(*, denied: str = "", refused: str = "", expired: bool = False, blind: bool = False) -> list[Finding]:
    """What is found with credentials that may not do what is *denied*, or make the call *refused*."""
    stubs: dict[str, Stubber] = {}
    config = Config(retries={"total_max_attempts": 1})

    def client(service: str, _: str | None) -> Any:
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        if service not in stubs:
            stubs[service] = Stubber(boto3.client(service, region_name="us-east-1", config=config, **keys))
            stubs[service].activate()
        return stubs[service].client

    for name in ("sts", "iam", "ecs"):
        client(name, None)
    if expired:
        stubs["sts"].add_client_error("get_caller_identity", "ExpiredToken", "expired", 403)
    else:
        stubs["sts"].add_response("get_caller_identity", {"Arn": ARN, "Account": "123456789012"})
    role = {"Arn": ROLE, "Path": "/ops/", "RoleName": "pilot", "RoleId": "A" * 16, "CreateDate": NOW}
    stubs["iam"].add_response("get_role", {"Role": role}, {"RoleName": "pilot"})
    stubs["ecs"].add_response("describe_services", {"services": [{"taskDefinition": TASK}]})
    task = {"family": "shop-api", "executionRoleArn": ROLE}
    stubs["ecs"].add_response("describe_task_definition", {"taskDefinition": task})
    asked = [
        ("ssm:PutParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/pilot/shop/api/stop"),
        ("ecs:RegisterTaskDefinition", "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-api:1"),
        ("ecs:UpdateService", "arn:aws:ecs:us-east-1:123456789012:service/shop/api"),
        ("iam:PassRole", ROLE),
    ]
    for action, resource in asked:
        if refused:
            stubs["iam"].add_client_error("simulate_principal_policy", refused, "no", 403)
            break
        said = "implicitDeny" if action == denied else "allowed"
        answer = {"EvaluationResults": [{"EvalActionName": action, "EvalDecision": said}]}
        actions = [action, *(["ecs:TagResource"] if "Register" in action else [])]
        wanted: dict[str, Any] = {"PolicySourceArn": ROLE, "ActionNames": actions, "ResourceArns": [resource]}
        if action == "iam:PassRole":
            wanted["ContextEntries"] = [permissions._PASSED]
        stubs["iam"].add_response("simulate_principal_policy", answer, wanted)
    if blind:
        stubs["ecs"].add_client_error("list_service_deployments", "AccessDeniedException", "no", 400)
    else:
        stubs["ecs"].add_response("list_service_deployments", {"serviceDeployments": []})
    return list(permissions.examine(client, DECLARED))


def test_who_may_kill_is_told_so() -> None:
    credentials, found, back = examined()
    assert (credentials.health, credentials.words) == (FINE, ARN)
    assert (found.health, found.words) == (FINE, "may kill and roll back")
    assert (back.health, back.words) == (NOTE, "no deployment has completed yet")


def test_each_permission_that_is_missing_is_named() -> None:
    found = examined(denied="ecs:UpdateService")[1]
    assert (found.health, found.todo) == (WRONG, f"allow ecs:UpdateService to {ARN}")


def test_what_may_not_be_looked_up_is_a_note_with_another_way() -> None:
    found = examined(refused="AccessDenied")[1]
    assert found.health is NOTE
    assert "allow iam:SimulatePrincipalPolicy" in found.words
    assert "pilot preflight --drill" in found.todo


def test_credentials_that_have_expired_are_said_to_be() -> None:
    (found,) = examined(expired=True)
    assert (found.health, "ExpiredToken" in found.words) == (WRONG, True)


def test_who_may_not_find_the_way_back_is_told_so() -> None:
    back = examined(blind=True)[2]
    assert (back.health, "allow ecs:ListServiceDeployments" in back.words) == (WRONG, True)
