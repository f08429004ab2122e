"""
What people are told, ready to send: the runbook's templates word for word, and the news between them. Pure.

Strangers' words go through `plain`: no message may mention everybody because an event said so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from controller.messages.markdown import inert
from controller.model import Announcement, Event, News
from controller.policy import Policy
from controller.policy.operations import Operations


def launched(stack: str, percent: int, operations: Operations, *, at: datetime | None) -> Announcement:
    """The first users are in; without *at* it is still to come."""
    return Announcement(
        News.LAUNCH,
        f"Pilot launch in {stack}: {percent} % of users",
        f"Pilot launch started at {instant(at) if at else '(time)'}. "
        f"Monitoring closely for {spoken(operations.first_watch)}. "
        f"Support lead: {operations.people.support or 'not named'}.\n{_places(stack, operations)}",
    )


def stage_live(stack: str, was: int, percent: int, policy: Policy, *, at: datetime) -> Announcement:
    """Another stage runs."""
    lines = [f"Live since {instant(at)}, up from {was} %."]
    stage, after = policy.stage(percent), policy.next_stage(percent)
    if after is None:
        lines.append("Everybody has it: the rollout is complete.")
    elif stage is not None:
        lines.append(f"The next stage, {after.percent} %, can be proposed from {instant(at + stage.bake)} on.")
    return Announcement(
        News.STAGE,
        f"{stack} is at {percent} % of users",
        "\n".join([*lines, _places(stack, policy.operations)]),
    )


def changed(stack: str, changes: Sequence[str], *, at: datetime) -> Announcement:
    """A flag, an image or the like is live; *changes* are sentences without a full stop."""
    said = "; ".join(plain(change) for change in changes)
    return Announcement(News.STAGE, f"{stack} has changed", f"Live since {instant(at)}: {said}.")


def revert_proposed(
    stack: str, was: int, to: int, reason: str, operations: Operations, *, at: datetime, where: str
) -> Announcement:
    """A pull request takes a step back, and waits for a person; *where* names it."""
    return Announcement(
        News.REVERT,
        f"Revert proposed in {stack}: {was} % -> {to} % of users",
        f"{issue(reason, operations.rollback.eta, at=at, rolling_back=True)}\n"
        f"Technical owner {operations.people.technical or 'not named'}: merge {where}, "
        f"then pulumi up --stack {stack}",
    )


def revert_merged(stack: str, was: int, to: int, *, at: datetime) -> Announcement:
    """A step back is merged, and AWS does not run it yet."""
    return Announcement(
        News.REVERT,
        f"Revert merged in {stack}: {was} % -> {to} % of users",
        f"Merged at {instant(at)}; live with pulumi up --stack {stack}",
    )


def reverted(stack: str, was: int, to: int, operations: Operations, *, at: datetime) -> Announcement:
    """A step back runs."""
    return Announcement(News.REVERT, f"{stack} is back at {to} % of users, from {was} %", resolved(operations, at=at))


def needs_person(stack: str, what: str, reason: str) -> Announcement:
    """Nothing goes on until a person acts."""
    return Announcement(News.HOLD, f"{stack} needs a person: {plain(what)}", f"{plain(reason)}.")


def rollback_started(stack: str, operations: Operations) -> Announcement:
    """The procedure in AWS begins."""
    eta = spoken(operations.rollback.eta)
    return Announcement(News.ROLLBACK, f"Rollback in {stack}", f"Rollback started, ETA {eta}.")


def rollback_complete(stack: str, operations: Operations, *, at: datetime) -> Announcement:
    """The procedure in AWS is through, and what must work after it was seen to work."""
    return Announcement(News.ROLLBACK, f"Rollback in {stack} complete", resolved(operations, at=at))


def first_outputs(stack: str, outputs: Sequence[Event], operations: Operations) -> Announcement:
    """For the QA reviewer."""
    reviewer = operations.people.qa or "not named"
    return Announcement(
        News.OUTPUTS,
        f"First outputs of the pilot in {stack}, for QA",
        "\n".join([f"QA reviewer: {reviewer}. The first {len(outputs)} to look at:", *output_lines(outputs)]),
    )


def output_lines(outputs: Sequence[Event]) -> list[str]:
    """One line for each output: when, which packet, where."""
    return [
        f"{number}. {plain(event.attributes.get('packet', event.id))}, {instant(event.ts)}: "
        f"{_address(event.attributes.get('url', ''))}"
        for number, event in enumerate(outputs, 1)
    ]


def issue(short: str, update: timedelta, *, at: datetime, rolling_back: bool) -> str:
    """The runbook's words for an incident; *short* describes it, the next word comes after *update*."""
    rollback = "Rollback in progress. " if rolling_back else ""
    return f"We detected a pilot issue ({plain(short)}) at {instant(at)}. {rollback}Next update in {spoken(update)}."


def resolved(operations: Operations, *, at: datetime, rolled_back: bool = True) -> str:
    """The runbook's words for an end that came *at*."""
    what = "Rollback complete" if rolled_back else "Incident resolved"
    return (
        f"{what} at {instant(at)}. Service stable. We will provide root-cause and remediation plan by "
        f"{instant(at + operations.rollback.root_cause)}."
    )


def instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def spoken(span: timedelta) -> str:
    """*span* in whole words: `15 minutes`, `2 hours`, `1 day`."""
    seconds = int(span.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds % size == 0 and seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "0 minutes"


def plain(value: object) -> str:
    """*value* without what a chat takes for a mention or a link; Slack and Teams write mentions as `<...>`."""
    return inert(value).replace("<", "<\u200b")


def _address(url: str) -> str:
    """*url* as it is where it is an ordinary one, so that it can be opened."""
    return url if re.fullmatch(r"https?://[A-Za-z0-9.:-]+(/[A-Za-z0-9/._~%?=&+-]*)?", url) else plain(url or "no url")


def _places(stack: str, operations: Operations) -> str:
    kpis = [f"KPIs: {operations.dashboard}"] if operations.dashboard else []
    return "\n".join([*kpis, f"Kill switch: pilot kill --stack {stack}"])
