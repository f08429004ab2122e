"""
The runbook's rollback, in its order: pause the intake, announce, the previous task definition, health, the workflow,
the update to people, and Git.

It keeps no journal. What AWS says is how far it has come: the stop that stands there tells since when, at what percent
and on what task definition; people are told once for each such stop; and what was checked an hour ago is checked again.
So whoever is interrupted runs the same command again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.aws.breakglass import Act, BreakGlass
from controller.aws.standing import Revision, Standing, short
from controller.errors import ConfigError, PilotError, TransientError
from controller.launch.checks import CheckResult
from controller.messages import announcements
from controller.model import Announcement, Deployment, Stop
from controller.policy.operations import CommandCheck, HttpCheck, Operations, PersonCheck
from controller.ports import Notifier

Check = CommandCheck | HttpCheck | PersonCheck
LOOK = timedelta(seconds=10)  # between two looks at a deployment, and between two tries of the health
TRIES = 3  # of the health, since a load balancer takes a moment


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for; *to* and *task_definition* are None where the previous ones are to be found."""

    stack: str
    reason: str
    by: str
    to: int | None = None
    task_definition: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """Where a rollback leads: a task definition and a percent, from what stands."""

    before: Standing
    revision: Revision
    percent: int


@dataclass(frozen=True, slots=True)
class Means:
    """
    What the procedure works with.

    `confirm` shows a way to the person and asks whether to go it. `git` opens the pull request for a percent, with
    lines for its readers, and returns what to tell. `wait` lets time pass.
    """

    glass: BreakGlass
    operations: Operations
    notifier: Notifier
    perform: Callable[[Check], CheckResult]
    confirm: Callable[[Way], bool]
    git: Callable[[int, Sequence[str]], Sequence[str]]
    now: Callable[[], datetime]
    wait: Callable[[timedelta], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is so since *at*, of the step with this number; or what the person should know."""

    step: int
    words: str
    at: datetime


def rollback(asked: Asked, means: Means) -> Iterator[Line]:
    """
    Go through the procedure and yield what is done. It stops at the first step that fails.

    Raises:
        ConfigError, TransientError: where it stopped, why, and what to type next.
    """
    told: list[str] = []
    for line in _steps(asked, means, told):
        if line.step:
            told.append(f"{line.at:%Y-%m-%d %H:%M:%S} UTC, step {line.step}: {line.words}")
        yield line


def _steps(asked: Asked, means: Means, told: Sequence[str]) -> Iterator[Line]:
    stands, before = means.glass.stop(), means.glass.standing()
    stop = stands or Stop(before.percent, means.now().replace(microsecond=0), asked.by, asked.reason)
    key = f"{asked.stack}/rollback/{stop.at:%Y%m%dT%H%M%SZ}"
    if stands is not None:
        yield Line(
            0, f"goes on with what {stop.by} stopped at {announcements.instant(stop.at)}: {stop.reason}", stop.at
        )
    yield from _acts(1, means, means.glass.hold_down(stop))
    yield from _tell(2, means, announcements.rollback_started(asked.stack, means.operations), f"{key}/started")
    chosen = _chosen(asked, means, before, stop)
    if chosen != stop:
        stop = chosen
        yield from _acts(3, means, means.glass.hold_down(stop))
    yield from _deployed(means, stop)
    yield from _checked(4, means, _named(means, means.operations.rollback.health), tries=TRIES)
    yield from _checked(5, means, _named(means, means.operations.rollback.workflow))
    complete = announcements.rollback_complete(asked.stack, means.operations, at=means.now())
    yield from _tell(6, means, complete, f"{key}/complete")
    try:
        yield from (Line(7, words, means.now()) for words in means.git(stop.percent, told))
    except PilotError as error:
        raise type(error)(
            f"{error}; the stop in AWS stands, and the controller's next pass proposes the same"
        ) from error


# ---------------------------------------------------------------- the steps


def _acts(step: int, means: Means, acts: Iterable[Act]) -> Iterator[Line]:
    """What became of *acts*; all are tried before a failure of one stops the procedure."""
    failed: list[PilotError] = []
    for act in acts:
        if act.error is None:
            yield Line(step, act.words, means.now())
        else:
            failed.append(type(act.error)(f"not done: {act.words}: {act.error}"))
    if failed:
        raise min(failed, key=lambda error: isinstance(error, TransientError))


def _tell(step: int, means: Means, news: Announcement, key: str) -> Iterator[Line]:
    """Tell people; a channel that fails is told of and stops nothing, nor does anything else in telling."""
    try:
        failed = means.notifier.tell(news, key=key)
    except Exception as error:  # Git, where it is kept what was told, may be what is broken
        failed = [f"{type(error).__name__}: {error}"]
    yield Line(step, f"announced: {news.text}" if not failed else f"to announce by hand: {news.text}", means.now())
    yield from (Line(0, f"not told: {words}", means.now()) for words in failed)


def _chosen(asked: Asked, means: Means, before: Standing, stop: Stop) -> Stop:
    """*stop* with the task definition to go back to, once a person has seen it; what was chosen before is not asked."""
    ceiling = stop.percent if asked.to is None else min(stop.percent, asked.to)
    if asked.task_definition:
        revision = means.glass.named(asked.task_definition)
        found = (revision, ceiling if revision.percent is None else min(ceiling, revision.percent))
    elif stop.task_definition:
        return replace(stop, percent=ceiling)
    else:
        found = previous(before, means.glass.completed(), stop.percent, asked.to)
    way = Way(before, *found)
    if way.revision.arn != stop.task_definition and not means.confirm(way):
        raise ConfigError(
            f"{way.revision.name} was declined; the intake is paused. Run it again with --task-definition FAMILY:NUMBER"
        )
    away = before.serving.image if way.revision.image != before.serving.image else stop.image
    return replace(stop, percent=way.percent, task_definition=way.revision.arn, image=away)


def _deployed(means: Means, stop: Stop) -> Iterator[Line]:
    """Wait until what was ordered serves; ECS takes it back where its tasks do not start or an alarm fires."""
    end, seen = means.now() + means.operations.rollback.eta, ""
    while (standing := means.glass.standing()).deployment is not Deployment.COMPLETED:
        if means.now() >= end:
            raise TransientError(
                f"{short(standing.ordered)} does not serve yet: {standing.detail}; see the events of the ECS service"
                f" {means.glass.place.service}, then run the same command again, or name another revision with"
                " --task-definition"
            )
        if standing.detail != seen:
            seen = standing.detail
            yield Line(0, f"waiting: {seen}", means.now())
        means.wait(LOOK)
    acts = list(means.glass.hold_down(stop))
    list(_acts(3, means, acts))
    if any(act.wrote for act in acts):
        raise TransientError(
            f"ECS took the deployment back ({standing.detail}), and it was ordered again; run the same command again to"
            " go on, or name another revision with --task-definition"
        )
    yield Line(3, f"{standing.serving.name} serves {standing.percent} % of users", standing.since)


def _checked(step: int, means: Means, checks: Sequence[Check], *, tries: int = 1) -> Iterator[Line]:
    for check in checks:
        for left in reversed(range(tries)):
            result = means.perform(check)
            if result.ok:
                yield Line(step, f"{result.title}: {result.words}", means.now())
                break
            if left:
                means.wait(LOOK)
        else:
            raise ConfigError(
                f"step {step}, {result.title}: {result.words}; mend it and run the same command again, or go further"
                " back with --task-definition FAMILY:NUMBER"
            )


def _named(means: Means, names: Sequence[str]) -> list[Check]:
    return [means.operations.checks[name] for name in names]


# ---------------------------------------------------------------- the way back


def previous(
    before: Standing, completed: Iterable[Revision], ceiling: int, to: int | None = None
) -> tuple[Revision, int]:
    """
    What served before the last change of image or percent, and the percent that it is to run at.

    That is never more than *ceiling*, nor than *to*. *completed* are the service's former task definitions, newest
    first. Where the percent is not the tasks' own, the last change may have been the percent: then the tasks stay, and
    it goes to *to*, or to 0.

    Raises:
        ConfigError: nothing else served that may run still.
    """
    most, now = ceiling if to is None else min(ceiling, to), before.serving
    if now.percent is None:
        most = min(most, to or 0)
        latest = before.percent_since is not None and before.percent_since > before.since
        if before.percent > most and (before.balanced or latest):
            return now, most
    for one in completed:
        percent = most if one.percent is None else min(one.percent, most)
        if one.image != now.image or (one.percent != now.percent and percent != before.percent):
            return one, percent
    if most < before.percent:
        return now, most
    raise ConfigError(
        f"no deployment of the last 90 days ran anything else than {now.name} that may run still; the intake is paused."
        " Name a revision with --task-definition FAMILY:NUMBER, or go to 0 % with pilot kill"
    )
