"""What counts as drift, as pending and as neither, and how it is said."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controller import drift, stackfile
from controller.drift import HIDDEN, Cause, Change, compare, nested
from controller.messages import infrastructure
from controller.model import Deployment, Live, Unreadable
from tests.facts import ROOT

SERVICE, ALARM = "aws:ecs/service:Service", "aws:cloudwatch/metricAlarm:MetricAlarm"
SINCE = datetime(2026, 3, 2, 9, 5, tzinfo=UTC)
DECLARED = stackfile.read((ROOT / "Pulumi.prod.yaml").read_bytes(), name="Pulumi.prod.yaml")
LIVE = Live(percent=0, since=SINCE, deployment=Deployment.COMPLETED, image=DECLARED.service.image)
REVISION = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-api"
ENVELOPE = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "[secret]"}


def updated(kind: str = SERVICE, *, keys: tuple[str, ...] = (), **values: tuple[Any, Any]) -> Change:
    before, after = ({name: pair[i] for name, pair in values.items()} for i in (0, 1))
    return Change("update", kind, "stable", before, after, keys)


def found(
    *, planned: tuple[Change, ...] = (), changed: tuple[Change, ...] = (), live: Live | Unreadable = LIVE
) -> list[tuple[Cause, str]]:
    result = compare("prod", DECLARED, live, planned=planned, changed=changed)
    return [(one.cause, one.sentence) for one in result.differences]


def test_what_agrees_is_clean() -> None:
    result = compare("prod", DECLARED, LIVE, planned=[], changed=[])

    assert result.clean
    assert list(infrastructure.drift_lines(result)) == ["prod: declared, applied and live agree"]


@pytest.mark.parametrize("owned", ["desiredCount", "runningCount", "pendingCount"])
def test_how_many_tasks_there_are_is_no_drift(owned: str) -> None:
    assert found(changed=(updated(**{owned: (2, 5)}),)) == []


def test_the_same_key_of_another_resource_is_drift() -> None:
    assert found(changed=(updated(ALARM, desiredCount=(2, 5)),)) != []


def test_a_change_by_hand_says_both_values_and_since_when_if_ecs_knows() -> None:
    assert found(changed=(updated(healthCheckGracePeriodSeconds=(60, 10)), updated(ALARM, threshold=(2, 90)))) == [
        (Cause.DRIFT, "stable.healthCheckGracePeriodSeconds was applied as 60, and is 10, since 2026-03-02 09:05 UTC"),
        (Cause.DRIFT, "stable.threshold was applied as 2, and is 90"),
    ]


def test_a_revision_that_ecs_took_back_is_drift_and_said() -> None:
    live = replace(LIVE, detail="ECS deployment circuit breaker: rolling back to deploymentId 1.")
    change = updated(taskDefinition=(f"{REVISION}:2", f"{REVISION}:1"))

    assert found(changed=(change,), live=live) == [
        (Cause.DRIFT, "stable runs shop-api:1, applied was shop-api:2; ECS is taking the deployment back"
                      " (ECS deployment circuit breaker: rolling back to deploymentId 1.), since 2026-03-02 09:05 UTC"),
    ]  # fmt: skip
    assert found(changed=(change,)) == [
        (Cause.DRIFT, "stable runs shop-api:1, applied was shop-api:2; the deployment was taken back, by the circuit"
                      " breaker, an alarm or a person, since 2026-03-02 09:05 UTC"),
    ]  # fmt: skip
    assert found(changed=(updated(taskDefinition=(f"{REVISION}:2", f"{REVISION}:10")),)) == [
        (Cause.DRIFT, "stable runs shop-api:10, applied was shop-api:2, since 2026-03-02 09:05 UTC")
    ]


def test_what_is_gone_is_drift() -> None:
    gone = Change("delete", ALARM, "stable", {"name": "5xx"}, {})

    assert found(changed=(gone,)) == [(Cause.DRIFT, f"stable ({ALARM}) is gone; pulumi up --refresh makes it again")]


def test_a_secret_that_differs_is_said_and_not_shown() -> None:
    change = updated("aws:ssm/parameter:Parameter", keys=("value",), value=(ENVELOPE, ENVELOPE), name=("a", "a"))

    assert found(changed=(change,)) == [(Cause.DRIFT, "stable.value, a secret, is not what was applied")]
    assert found(planned=(change,)) == [
        (Cause.PENDING, "stable.value was applied as a secret, and is declared as a secret")
    ]


def test_an_update_of_outputs_alone_is_no_drift() -> None:
    assert found(changed=(updated(keys=("status",), name=("a", "a")),)) == []


def test_what_is_merged_and_not_applied_is_pending() -> None:
    change = updated(
        "aws:ecs/taskDefinition:TaskDefinition", containerDefinitions=(container("0.10"), container("0.20"))
    )
    made = Change("create", ALARM, "new", {}, {"name": "5xx"})

    assert found(planned=(change, made)) == [
        (Cause.PENDING, "stable.containerDefinitions[app].environment[PILOT_ROLLOUT_PCT].value was applied as 0.10,"
                        " and is declared as 0.20"),
        (Cause.PENDING, f"new ({ALARM}) is not applied: pulumi up would create it"),
    ]  # fmt: skip


def container(percent: str) -> str:
    environment = [{"name": "PILOT_INTAKE", "value": "open"}, {"name": "PILOT_ROLLOUT_PCT", "value": percent}]
    return json.dumps([{"name": "app", "environment": environment}])


@pytest.mark.parametrize("state", [Deployment.IN_PROGRESS, Deployment.FAILED])
def test_a_deployment_that_is_not_through_is_said(state: Deployment) -> None:
    live = replace(LIVE, deployment=state, detail="2 of 3 tasks")

    assert found(live=live) == [(Cause.DEPLOYMENT, f"deployment {state}: 2 of 3 tasks")]


@pytest.mark.parametrize(
    ("state", "changed", "settling"),
    [
        pytest.param(Deployment.IN_PROGRESS, (), True, id="in-progress"),
        pytest.param(Deployment.FAILED, (), False, id="failed"),
        pytest.param(Deployment.IN_PROGRESS, (updated(threshold=(2, 90)),), False, id="and-drift"),
        pytest.param(Deployment.COMPLETED, (), False, id="clean"),
    ],
)
def test_only_a_deployment_in_progress_ends_by_itself(
    state: Deployment, changed: tuple[Change, ...], settling: bool
) -> None:
    live = replace(LIVE, deployment=state, detail="2 of 3 tasks")

    assert compare("prod", DECLARED, live, planned=[], changed=changed).settling is settling


def test_what_cannot_be_read_is_not_clean() -> None:
    assert found(live=Unreadable("ecs:DescribeServices answered AccessDenied")) == [
        (Cause.DRIFT, "live state unknown: ecs:DescribeServices answered AccessDenied")
    ]


def test_what_pulumi_up_would_do_is_said() -> None:
    change = updated(healthCheckGracePeriodSeconds=(60, 10))
    drifted = compare("prod", DECLARED, LIVE, planned=[], changed=[change])
    pending = compare("prod", DECLARED, LIVE, planned=[change, replace(change, op="replace")], changed=[])

    assert list(infrastructure.drift_lines(drifted))[1:] == [
        "prod: pulumi up --stack prod would change nothing, for it compares with what was applied",
        "prod: pulumi up --stack prod --refresh would set back what is live; to keep that instead, declare it in Git",
    ]
    assert list(infrastructure.drift_lines(pending))[2:] == [
        "prod: pulumi up --stack prod would apply what is declared: 1 to update, 1 to replace"
    ]


def test_a_program_reads_the_same() -> None:
    data = infrastructure.drift_json(compare("prod", DECLARED, LIVE, planned=[], changed=[updated(threshold=(2, 90))]))

    assert json.loads(json.dumps(data)) == {
        "stack": "prod", "clean": False, "up": [],
        "differences": [{
            "cause": "drift", "resource": "aws:ecs/service:Service stable", "what": "threshold", "applied": 2, "found": 90,
            "since": "2026-03-02T09:05:00+00:00",
            "sentence": "stable.threshold was applied as 2, and is 90, since 2026-03-02 09:05 UTC",
        }],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a[1]", 2, 3)]),
        ({"a": [1]}, {"a": [1, 2]}, [("a", [1], [1, 2])]),
        ({"a": '{"b": 1}'}, {"a": '{ "b": 1 }'}, []),
        ({"a": "{no JSON"}, {"a": "{none"}, [("a", "{no JSON", "{none")]),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "v": 2}]}, [("a[x].v", 1, 2)]),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}, [("a[0].name", "x", "y")]),
    ],
)
def test_paths_lead_to_what_differs(before: Any, after: Any, paths: list[Any]) -> None:
    assert list(nested(before, after)) == paths


def test_a_long_value_is_cut() -> None:
    assert drift.shown("x" * 100) == "x" * 79 + "…"
    assert (drift.shown(None), drift.shown(ENVELOPE), drift.shown({"a": 1})) == ("nothing", HIDDEN, '{"a": 1}')


# ---------------------------------------------------------------- the comment of a pull request


def test_the_comment_of_a_preview() -> None:
    change = updated(
        "aws:ecs/taskDefinition:TaskDefinition", containerDefinitions=(container("0.10"), container("0.20"))
    )
    made = Change("create", ALARM, "new", {}, {"name": "5xx"})

    assert (
        infrastructure.preview_comment(
            {"staging": [], "prod": [replace(change, op="replace"), made], "demo": "percent 15 is no stage"}
        )
        == """\
<!-- pilot preview: staging, prod, demo -->

### pulumi preview

**staging**: no changes

**prod**: 1 to create, 1 to replace

- `±` replace **stable** (aws:ecs/taskDefinition:TaskDefinition)
  - containerDefinitions\\[app\\].environment\\[PILOT\\_ROLLOUT\\_PCT\\].value: 0.10 → **0.20**
- `+` create **new** (aws:cloudwatch/metricAlarm:MetricAlarm)

**demo**: refused

> percent 15 is no stage
"""
    )


def test_a_comment_holds_no_markup_of_others_and_fits() -> None:
    evil = "-->\n# @everyone <b>[x](http://evil)</b>"
    bad = replace(updated(name=("a", evil)), name=evil)
    text = infrastructure.preview_comment({"prod": [bad], evil: evil})
    long = infrastructure.preview_comment({"prod": [updated(name=("a", "b" * 70))] * 2000})

    assert text.count("-->") == 1
    assert "<b>" not in text and "@everyone" not in text and "[x](http" not in text
    assert len(long) < 65_536 and long.endswith("(the rest is too long for a comment; see the log)\n")
