"""Property bags are fitted to the API's shapes, strictly, and answers are fitted back."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.session import get_session

from controller.rehearsal.localcloud.shapes import (
    UNKNOWN,
    BadInputError,
    fit,
    has_unknown,
    plain,
    reflect,
)

SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "20"}


@pytest.fixture(scope="module")
def create_service() -> Any:
    model = get_session().get_service_model("ecs")
    return model.operation_model("CreateService").input_shape


def test_names_plurals_numbers_and_booleans_are_fitted(create_service: Any) -> None:
    bag = {
        "serviceName": "api",
        "desiredCount": 2,
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"], "assignPublicIp": True}},
    }

    assert fit(create_service, bag, "CreateService") == {
        "serviceName": "api",
        "desiredCount": 2,
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"], "assignPublicIp": "ENABLED"}},
    }


@pytest.mark.parametrize(
    ("bag", "said"),
    [
        pytest.param({"launchType": "FARGATEE"},
                     "CreateService.launchType is 'FARGATEE'; it should be one of EC2, FARGATE",
                     id="enum"),
        pytest.param({"desiredCont": 2}, "CreateService.desiredCont is not a member", id="unknown"),
        pytest.param({"deploymentConfiguration": {"alarms": {"rolback": True}}},
                     "CreateService.deploymentConfiguration.alarms.rolback is not a member",
                     id="nested"),
        pytest.param({"desiredCount": 2.5}, "desiredCount is 2.5; it should be a whole number",
                     id="fraction"),
        pytest.param({"desiredCount": "two"}, "'two'; it should be a whole number", id="text"),
        pytest.param({"enableECSManagedTags": "yes"}, "it should be true or false", id="boolean"),
        pytest.param({"networkConfiguration": "vpc"}, "it should be an object", id="object"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_path(create_service: Any, bag: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        fit(create_service, bag, "CreateService")


def test_an_unknown_passes_as_whatever_is_wanted(create_service: Any) -> None:
    bag = {"desiredCount": UNKNOWN, "taskDefinition": UNKNOWN, "loadBalancers": UNKNOWN}

    fitted = fit(create_service, bag, "CreateService")

    assert fitted == {
        "desiredCount": 1, "taskDefinition": "unknown-until-created", "loadBalancers": [],
    }  # fmt: skip


def test_secrets_and_whole_floats_become_plain() -> None:
    assert plain({"value": SECRET, "weight": 10.0, "ratio": 0.5}) == {
        "value": "20", "weight": 10, "ratio": 0.5,
    }  # fmt: skip


def test_an_unknown_is_found_at_any_depth() -> None:
    assert has_unknown({"a": [{"b": UNKNOWN}]})
    assert not has_unknown({"a": [{"b": "known"}]})


@pytest.mark.parametrize(
    ("declared", "live", "seen"),
    [
        pytest.param({"desiredCount": 2}, {"DesiredCount": 3, "Other": 1}, {"desiredCount": 3},
                     id="declared-members-only"),
        pytest.param({"gone": 1}, {}, {"gone": 1}, id="not-answered-keeps-declared"),
        pytest.param(["a", "b"], ["b", "a"], ["a", "b"], id="order-of-names-is-no-difference"),
        pytest.param(["a", "b"], ["a", "c"], ["a", "c"], id="other-names-are"),
        pytest.param({"public": True}, {"public": "DISABLED"}, {"public": False}, id="boolean"),
        pytest.param({"cpu": "256"}, {"cpu": 512}, {"cpu": "512"}, id="number-as-text"),
        pytest.param([{"w": 1}], [{"w": 1}, {"w": 2}], [{"w": 1}, {"w": 2}], id="longer-list"),
    ],
)  # fmt: skip
def test_a_live_value_is_seen_in_the_form_of_the_declared_one(declared: Any, live: Any, seen: Any) -> None:
    assert reflect(declared, live) == seen
