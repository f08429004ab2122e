"""The daily look: what stands where, a snapshot of the newest events for the notes, and one message."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controller import observe
from controller import reconcile as loop
from controller.errors import ConfigError, PilotError
from controller.launch import incidents
from controller.messages import nightly as text
from controller.policy import Policy
from controller.policy.operations import Operations
from controller.ports import Forge, Notifier
from controller.sources.events_api import EventsApi


@dataclass(frozen=True, slots=True)
class Nightly:
    """The summary as Markdown, and what did not go well."""

    summary: str
    words: tuple[str, ...]
    exit_code: int


def nightly(
    reader: observe.Reader, forge: Forge, notifiers: Callable[[Policy], Notifier] | None, *,
    stacks: tuple[str, ...] = (), archive: Path | None, now: datetime,
) -> Nightly:  # fmt: skip
    """
    Judge all stacks, or only *stacks*, without writing, and tell people of it once a day where there are *notifiers*.

    With *archive* the newest events of each stack's API are written there, as the API gives them, one file a stack.

    Raises:
        ConfigError, TransientError: nothing could be judged at all.
    """
    outcomes = loop.reconcile(reader, forge, now=now, stacks=stacks, dry_run=True)
    sight = observe.look(reader.repository)
    judged, errors = [], []
    for outcome in outcomes:
        if outcome.facts is None or outcome.decision is None:
            errors.append(f"{outcome.stack}: {outcome.error}")
            continue
        archived = _archived(reader, outcome.stack, outcome.facts.policy, archive, now) if archive else ""
        judged.append(text.Stack(outcome.facts, outcome.decision, outcome.pull_request, outcome.url, archived))
    operations, open_ = sight.policy.operations, incidents.listed(reader.repository)
    ci = _ci(forge, sight.tip, operations)
    told: Sequence[str] = ()
    if notifiers is not None:
        daily = text.message(judged, errors, ci, operations, day=now.date())
        told = notifiers(sight.policy).tell(daily, key="/".join(["daily", f"{now:%Y-%m-%d}", *stacks]))
    lines = [f"{one.severity} {one.stack}/{one.id}: {one.title}" for one, _ in open_]
    said = text.summary(judged, errors, lines, ci, operations, at=now)
    return Nightly(said, tuple(told), loop.exit_code(outcomes))


def _ci(forge: Forge, tip: str, operations: Operations) -> str:
    """What the CI of *tip* says, without the jobs that the clock starts: this is one of them."""
    try:
        return forge.ci(tip, without=operations.preflight.ci_without).words
    except PilotError as error:
        return f"could not be read: {error}"


def _archived(reader: observe.Reader, stack: str, policy: Policy, folder: Path, now: datetime) -> str:
    """Write the snapshot; says what was written, or why none."""
    try:
        source = reader.source(stack, policy)
        if not isinstance(source, EventsApi):
            return "files already"
        events = source.newest()
        path = folder / f"events-{stack}-{now:%Y-%m-%dT%H%MZ}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(events, ensure_ascii=False, indent=1) + "\n")
    except PilotError as error:
        return f"not archived: {error}"
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}; name another folder") from None
    return f"{len(events)} archived as {path.name}"
