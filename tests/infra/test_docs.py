"""docs/aws.md and its picture say what the program does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tools import permissions, picture

PAGE = permissions.PAGE.read_text()


def test_the_permissions_are_those_of_the_program() -> None:
    section = permissions.permissions(permissions.registered())

    assert permissions.written(PAGE, section) == PAGE, "run make docs"


def test_the_picture_is_the_one_that_is_drawn() -> None:
    assert (permissions.PAGE.parent / "aws.svg").read_text() == picture.picture(), "run make docs"


def test_what_is_billed_is_what_the_stacks_make(
    evaluate: Callable[..., Any], shipped: tuple[str, dict[str, Any]]
) -> None:
    stack, config = shipped
    made = evaluate(config, stack)

    counts = {
        "Fargate tasks at least": sum(int(one["desiredCount"]) for one in made.of("Service").values()),
        "NAT gateways": len(made.of("NatGateway")),
        "load balancers": len(made.of("LoadBalancer")),
        "public addresses of NAT": len(made.of("Eip")),
        "alarms": len(made.of("MetricAlarm")),
        "customer managed keys": len(made.of("Key")),
        "log groups": len(made.of("LogGroup")),
    }
    column = {"staging": 1, "prod": 2}[stack]
    said = {row[0]: int(row[column]) for row in re.findall(r"^\| ([\w ]+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)}
    assert said == counts
