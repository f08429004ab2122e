"""The runbook's rollback on the local AWS, step by step, interrupted at every call of the API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.aws.standing import Revision, Standing
from controller.errors import ConfigError, PilotError, TransientError
from controller.launch.checks import CheckResult
from controller.launch.kill import kill
from controller.launch.rollback import Asked, Check, Line, Means, Way, previous, rollback
from controller.model import Announcement, Deployment, Exposure, Intake, News
from controller.policy import load
from controller.rehearsal.localcloud import LocalAws
from tests.facts import ROOT
from tests.launch.world import START, A, B, Interrupted, World, no_answer

OPERATIONS = load((ROOT / "rollout.yaml").read_bytes()).operations
ASKED = Asked("prod", "users complain", "Ana")


@dataclass
class Desk:
    """The people and things around a rollback."""

    world: World
    says_no_to: str = ""
    failing: dict[str, int] = field(default_factory=dict)
    down: Exception | None = None
    git_down: PilotError | None = None
    told: dict[str, str] = field(default_factory=dict)
    shown: list[Way] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    in_git: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    def means(self) -> Means:
        return Means(
            glass=self.world.glass(), operations=OPERATIONS, notifier=self, perform=self.perform, confirm=self.confirm,
            git=self.git, now=lambda: self.world.cloud.now, wait=self.wait,
        )  # fmt: skip

    def knows(self, kind: News, *, key: str) -> bool:
        return key in self.told

    def tell(self, news: Announcement, *, key: str) -> list[str]:
        if self.down:
            raise self.down
        self.told.setdefault(key, news.text)
        return []

    def confirm(self, way: Way) -> bool:
        self.shown.append(way)
        return way.revision.name != self.says_no_to

    def perform(self, check: Check) -> CheckResult:
        self.checked.append(check.title)
        left = self.failing.get(check.title, 0)
        self.failing[check.title] = left - 1
        return CheckResult(check.title, left <= 0, "no" if left > 0 else "yes", 0.1)

    def git(self, percent: int, lines: Sequence[str]) -> Sequence[str]:
        if self.git_down:
            raise self.git_down
        self.in_git.append((percent, tuple(lines)))
        return ["#7: opened"]

    def wait(self, length: timedelta) -> None:
        self.world.cloud.now += length
        self.world.cloud.tick()

    def run(self, asked: Asked = ASKED) -> list[Line]:
        return list(rollback(asked, self.means()))


@pytest.fixture(scope="module", params=["flag-environment"])
def stack(request: pytest.FixtureRequest) -> Iterator[World]:
    """A stack that went from image A at 100 % to image B, now at 20 %."""
    exposure, delivery = request.param.split("-")
    with LocalAws(START) as cloud:
        world = World(cloud, Exposure(exposure), delivery)
        world.up(100, image=A)
        for percent in (0, 10, 20):
            world.up(percent, image=B)
        yield world


@pytest.fixture
def world(stack: World) -> Iterator[World]:
    back = stack.keep()
    yield stack
    back()


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_it_goes_through_the_steps_of_the_runbook(desk: Desk) -> None:
    lines = desk.run()

    live = desk.world.live()
    assert (live.percent, live.intake, live.image, live.deployment) == (10, Intake.PAUSED, B, Deployment.COMPLETED)
    assert [step for step in dict.fromkeys(line.step for line in lines) if step] == [1, 2, 3, 4, 5, 6, 7]
    (way,) = desk.shown
    assert (way.before.percent, way.revision.name, way.percent) == (20, "shop-api:3", 10)
    started, complete = desk.told.values()
    assert started == "Rollback started, ETA 15 minutes."
    assert complete.startswith("Rollback complete at 2026-03-02 09:")
    assert desk.checked == ["Health", "Sign in", "Upload packet", "Run chronology", "Export PDF"]
    ((percent, told),) = desk.in_git
    assert percent == 10
    assert "step 1: " in told[0]
    assert len([line for line in told if "step 5" in line]) == 4
    assert live.stop is not None
    assert (live.stop.percent, live.stop.task_definition) == (10, way.revision.arn)


def test_a_second_time_asks_nothing_writes_nothing_and_checks_again(desk: Desk) -> None:
    desk.run()
    with desk.world.watched() as calls:
        lines = desk.run()

    assert calls.writes == []
    assert lines[0].words.startswith("goes on with what Ana stopped at 2026-03-02 09:")
    assert len(desk.shown) == 1
    assert len(desk.told) == 2
    assert len(desk.checked) == 10
    assert desk.world.live().percent == 10


def test_interrupted_at_every_call_and_run_again_it_ends_the_same(stack: World) -> None:
    back = stack.keep()
    start = stack.cloud.now
    with stack.watched() as calls:
        Desk(stack).run()
    expected = ended(stack)
    for at, after in calls.points():
        back()
        stack.cloud.now = start
        desk = Desk(stack)
        with stack.watched(at=at, after=after), pytest.raises(Interrupted):
            desk.run()

        desk.run()

        assert ended(stack) == expected, (calls.names[at], after)
        assert len(desk.told) == 2
        assert desk.in_git[0][0] == 10
    back()


def ended(world: World) -> dict[str, Any]:
    return world.state() | {"stop": world.live().stop and replace(world.live().stop, at=START)}  # type: ignore[type-var]


def test_a_channel_that_fails_stops_nothing_and_gives_the_words_to_send_by_hand(desk: Desk) -> None:
    desk.down = TransientError("the repository does not answer")

    lines = desk.run()

    assert desk.world.live().percent == 10
    by_hand = [line.words for line in lines if line.words.startswith("to announce by hand")]
    assert by_hand[0] == "to announce by hand: Rollback started, ETA 15 minutes."
    assert len(by_hand) == 2
    assert "not told: TransientError: the repository does not answer" in [line.words for line in lines]


def test_a_failing_step_stops_it_with_what_to_type_and_the_next_run_goes_on(desk: Desk) -> None:
    desk.failing = {"Health": 3}
    with pytest.raises(ConfigError, match="step 4, Health: no; mend it and run the same command again"):
        desk.run()
    assert desk.in_git == []
    assert len(desk.told) == 1

    desk.failing = {"Health": 2, "Upload packet": 1}
    with pytest.raises(ConfigError, match="step 5, Upload packet: no"):
        desk.run()

    desk.run()
    assert [percent for percent, _ in desk.in_git] == [10]
    assert len(desk.shown) == 1


def test_a_person_declines_what_was_found_and_names_another(desk: Desk) -> None:
    desk.says_no_to = "shop-api:3"
    with pytest.raises(ConfigError, match="shop-api:3 was declined; the intake is paused"):
        desk.run()
    assert (desk.world.live().percent, desk.world.live().image) == (20, B)

    desk.run(replace(ASKED, task_definition="1"))

    live = desk.world.live()
    assert (live.percent, live.image, live.intake) == (20, A, Intake.PAUSED)
    assert live.stop is not None
    assert live.stop.image == B
    assert [percent for percent, _ in desk.in_git] == [20]


def test_a_percent_may_be_named(desk: Desk) -> None:
    desk.run(replace(ASKED, to=0))
    assert (desk.world.live().percent, desk.world.live().image) == (0, B)


def test_after_a_kill_the_image_goes_back_and_nobody_comes_in(desk: Desk) -> None:
    list(kill(desk.world.glass(), reason="now", by="Omar", now=desk.world.cloud.now))
    desk.world.settle()

    desk.run()

    live = desk.world.live()
    assert (live.percent, live.image, live.intake) == (0, A, Intake.PAUSED)
    assert live.stop is not None
    assert (live.stop.by, live.stop.image) == ("Omar", B)


def test_what_ecs_takes_back_is_said_and_ordered_again(desk: Desk) -> None:
    alarm = desk.world.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"][0]["AlarmName"]
    patient = desk.wait

    def fires(length: timedelta) -> None:
        desk.world.cloud.set_alarm(alarm, firing=True)
        patient(length)

    desk.wait = fires  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="ECS took the deployment back"):
        desk.run()

    desk.run()  # an alarm that fires when a deployment begins is not watched
    desk.world.cloud.set_alarm(alarm, firing=False)
    assert desk.world.live().percent == 10


def test_a_deployment_that_never_ends_is_given_up_with_the_next_step(desk: Desk) -> None:
    desk.wait = lambda length: setattr(desk.world.cloud, "now", desk.world.cloud.now + length)  # type: ignore[method-assign]
    with pytest.raises(
        TransientError, match=r"does not serve yet: .* in progress.; see the events of the ECS service api"
    ):
        desk.run()


def test_git_that_cannot_be_reached_leaves_it_to_the_controller(desk: Desk) -> None:
    desk.git_down = TransientError("the forge does not answer")
    with pytest.raises(
        TransientError, match="the stop in AWS stands, and the controller's next pass proposes the same"
    ):
        desk.run()
    assert desk.world.live().percent == 10


def test_a_call_that_fails_stops_it_and_the_next_run_goes_on(desk: Desk) -> None:
    with (
        desk.world.watched(at=4, fault=no_answer, after=True),
        pytest.raises(TransientError, match=r"not done: record the stop .* ReadTimeoutError"),
    ):
        desk.run()

    desk.run()
    assert desk.world.live().percent == 10


@pytest.mark.parametrize("stack", ["flag-parameter", "traffic-environment"], indirect=True)
def test_where_the_percent_is_not_the_tasks_own_nobody_is_in_the_pilot_after_it(desk: Desk) -> None:
    desk.run()

    live = desk.world.live()
    assert (live.percent, live.intake, live.image) == (0, Intake.PAUSED, B)
    assert desk.in_git[0][0] == 0


# ---------------------------------------------------------------- the previous one


def ran(number: int, image: str, percent: int | None) -> Revision:
    return Revision(f"arn:task-definition/api:{number}", image, percent, START)


def stands(number: int, image: str, percent: int, **changes: Any) -> Standing:
    usual = Standing(ran(number, image, percent), START, "api:1", Deployment.COMPLETED, "", percent)
    return replace(usual, **changes)


PAST = [ran(4, B, 20), ran(3, B, 10), ran(2, B, 0), ran(1, A, 100)]


@pytest.mark.parametrize(
    ("before", "past", "to", "found"),
    [
        pytest.param(stands(4, B, 20), PAST, None, (3, 10), id="the last advance"),
        pytest.param(stands(3, B, 10), PAST, None, (2, 0), id="after a revert the one below, not the one above"),
        pytest.param(stands(2, B, 0), PAST, None, (1, 0), id="at 0 the former image, at 0"),
        pytest.param(stands(5, "c", 20), PAST, None, (4, 20), id="another image at the same percent"),
        pytest.param(stands(4, B, 20), PAST, 0, (3, 0), id="no more than was asked for"),
        pytest.param(stands(4, B, 20), PAST[:1], 0, (4, 0), id="nothing before, but the percent can go"),
        pytest.param(stands(4, B, 20), [ran(6, B, 50), *PAST], None, (3, 10), id="never up"),
    ],
)
def test_the_previous_is_what_served_before_the_last_change(
    before: Standing, past: list[Revision], to: int | None, found: tuple[int, int]
) -> None:
    revision, percent = previous(before, past, before.percent, to)
    assert (int(revision.arn.rsplit(":", 1)[1]), percent) == found


POLLED = [ran(4, B, None), ran(1, A, None)]
LATER, EARLIER = START + timedelta(hours=1), START - timedelta(hours=1)


@pytest.mark.parametrize(
    ("percent", "balanced", "since", "to", "found"),
    [
        pytest.param(20, False, LATER, None, (4, 0), id="the percent changed last: the tasks stay"),
        pytest.param(20, False, LATER, 10, (4, 10), id="to a percent"),
        pytest.param(20, False, EARLIER, None, (1, 0), id="the image changed last"),
        pytest.param(0, False, LATER, None, (1, 0), id="nobody is in: the former image"),
        pytest.param(20, True, EARLIER, None, (4, 0), id="traffic goes to stable, which runs"),
        pytest.param(0, True, LATER, None, (1, 0), id="and stable goes back when it has it all"),
    ],
)
def test_the_previous_where_the_percent_is_not_the_tasks_own(
    percent: int, balanced: bool, since: datetime, to: int | None, found: tuple[int, int]
) -> None:
    before = replace(stands(4, B, percent), serving=ran(4, B, None), balanced=balanced, percent_since=since)
    revision, share = previous(before, POLLED, percent, to)
    assert (int(revision.arn.rsplit(":", 1)[1]), share) == found


def test_nothing_to_go_back_to_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"Name a revision with --task-definition .* or go to 0 % with pilot kill"):
        previous(stands(4, B, 20), PAST[:1], 20)
