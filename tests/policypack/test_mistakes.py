"""The policy pack in the real engine: what a preview refuses, what it lets pass, and that `up` is stopped too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import yaml

from controller.errors import ConfigError
from tests.policypack.mistakes import DIGEST, DOCUMENT, PLAIN, PROJECT, Session, changed, infra, page, refusals, session


@pytest.fixture(scope="module")
def tried() -> Iterator[Session]:
    with session() as opened:
        yield opened


@pytest.mark.parametrize(("percent", "exposure"), [(10, "flag"), (0, "traffic"), (10, "traffic")])
def test_what_is_right_passes(tried: Session, percent: int, exposure: str) -> None:
    """The shipped program: the next stage by `flag`; by `traffic` before anybody is in the pilot, and the next stage."""
    candidate = {"candidateImage": DIGEST} if exposure == "traffic" else {}
    rest = PLAIN if percent == 0 else {}
    file = changed(service=candidate, rollout={"percent": percent, "exposure": exposure}, **rest)

    assert tried.refused("prod", file, infra) == {}


def test_up_without_a_preview_is_stopped_before_the_percent_is_anywhere(tried: Session) -> None:
    """The Automation API's `up` makes none, nor does `pulumi up --skip-preview`."""
    given = {**PLAIN, "pilot:network": tried.cloud.network()}
    tried.program, file = infra, yaml.safe_dump(changed(rollout={"percent": 100}, **given)).encode()
    stack = tried.workspace.stack("prod", PROJECT, file, create=True)

    with pytest.raises(ConfigError, match="percent goes from 0 to 100 and skips 10, 20, 50"):
        tried.workspace.run(partial(stack.up, policy_packs=tried.workspace.policy_packs))

    assert tried.cloud.client("ecs").list_task_definitions()["taskDefinitionArns"] == []
    assert tried.cloud.client("ssm").describe_parameters()["Parameters"] == []


def test_every_mistake_is_refused_by_whom_the_documentation_says(tried: Session) -> None:
    found = list(refusals(tried))

    assert [one for one in found if one.by == "nobody" or len(one.sentence) < 20] == []
    assert len(found) >= 30
    assert DOCUMENT.read_text() == page(found), "run `make mistakes` and read the difference"
