"""A stack file's mistakes are found before any resource exists, and said in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pytest
import yaml

from tests.infra import whole

TAG = "registry.example/api:latest"
DIGEST = "registry.example/api@sha256:" + "c" * 64


@pytest.mark.parametrize(
    ("service", "rollout", "said"),
    [
        pytest.param({}, {"percent": 140},
                     "pilot:rollout.percent is 140; it should be less than or equal to 100",
                     id="percent-above"),
        pytest.param({}, {"percent": -1},
                     "pilot:rollout.percent is -1; it should be greater than or equal to 0",
                     id="percent-below"),
        pytest.param({}, {"percent": "10"},
                     "pilot:rollout.percent is '10'; it should be a valid integer",
                     id="percent-text"),
        pytest.param({}, {"percent": True},
                     "pilot:rollout.percent is True; it should be a valid integer",
                     id="percent-bool"),
        pytest.param({}, {"percnt": 10},
                     "pilot:rollout.percnt is not a known key; known are percent, exposure, intake,"
                     " hold, flags, cohort", id="unknown-key"),
        pytest.param({}, {"exposure": "header"},
                     "pilot:rollout.exposure is 'header'; it should be 'flag' or 'traffic'",
                     id="exposure"),
        pytest.param({}, {"intake": "closed"},
                     "pilot:rollout.intake is 'closed'; it should be 'open' or 'paused'",
                     id="intake"),
        pytest.param({}, {"flags": {"micPrompt": "two words"}},
                     "pilot:rollout.flags.micPrompt is 'two words'; it should match pattern",
                     id="flag-value"),
        pytest.param({"image": TAG}, {},
                     f"pilot:service.image is '{TAG}'; it should be an image by digest,"
                     " <repository>@sha256:<64 hex digits>; a tag can move", id="image-by-tag"),
        pytest.param({"candidateImage": DIGEST}, {},
                     "pilot:service.candidateImage is set, but exposure flag runs one image",
                     id="candidate-with-flag"),
        pytest.param({}, {"exposure": "traffic"},
                     "pilot:service.candidateImage is missing; exposure traffic needs it",
                     id="traffic-without-candidate"),
        pytest.param({"memory": 9999}, {},
                     "pilot:service: memory is 9999; with cpu 256 it should be one of"
                     " 512, 1024, 2048", id="fargate-pair"),
        pytest.param({"cpu": 300}, {},
                     "pilot:service: cpu is 300; it should be one of 256, 512", id="fargate-cpu"),
        pytest.param({"logRetention": 31}, {},
                     "pilot:service.logRetention is 31; it should be 1, 3, 5", id="retention"),
        pytest.param({"name": "a-service-with-a-long-name"}, {},
                     "pilot:service.name is 'a-service-with-a-long-name'; with the stack's name it"
                     " should have at most 26 characters", id="name-too-long"),
        pytest.param({"healthUrl": "api.example.com/health"}, {},
                     "pilot:service.healthUrl is 'api.example.com/health'; it should be a URL",
                     id="health-url"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_value_and_what_is_allowed(
    evaluate: Callable[..., Any],
    config: Callable[..., dict[str, Any]],
    service: dict[str, Any],
    rollout: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        evaluate(config(service=service, rollout=rollout))

    assert str(raised.value).startswith(f"Pulumi.staging.yaml: {said}")


def test_every_mistake_is_said_at_once(evaluate: Callable[..., Any], config: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        evaluate(config(service={"port": 0}, rollout={"percent": 101}))

    assert [line.split(" is ")[0] for line in str(raised.value).splitlines()] == [
        "Pulumi.staging.yaml: pilot:service.port",
        "Pulumi.staging.yaml: pilot:rollout.percent",
    ]


@pytest.mark.parametrize("key", ["pilot:service", "pilot:rollout", "aws:region"])
def test_a_missing_part_is_named(evaluate: Callable[..., Any], config: Callable[..., dict[str, Any]], key: str) -> None:
    broken = config()
    del broken[key]

    with pytest.raises(pulumi.RunError, match=f"{key} is missing; add it"):
        evaluate(broken)


def test_the_shipped_stack_files_are_valid_and_start_at_0_percent(
    evaluate: Callable[..., Any], shipped: tuple[str, dict[str, Any]]
) -> None:
    stack, settings = shipped

    made = evaluate(settings, stack)

    assert made.environment("stable")["PILOT_ROLLOUT_PCT"] == "0.00"
    assert made.parameter() == "0"


def test_the_controller_of_prod_may_look_at_the_stack_that_the_policy_puts_ahead() -> None:
    policy = yaml.safe_load((whole.ROOT / "rollout.yaml").read_bytes())
    prod, staging = whole.shipped("prod"), whole.shipped("staging")

    assert policy["stacks"]["prod"]["after"] == "staging"
    service = staging["pilot:service"]
    assert prod["pilot:controller"]["ahead"] == {"cluster": service["cluster"], "name": service["name"]}
