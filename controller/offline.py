"""Decide on recorded events with what is declared in a folder: no network, no Git remote, no AWS, no writes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from controller import decide as rule
from controller import eprocess, evidence, observe, stackfile, triggers
from controller.errors import ConfigError
from controller.history import History
from controller.model import Decision, Declared, Deployment, Live, Recorded, Window
from controller.policy import Policy, load
from controller.sources.jsonlines import JsonLines

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def decide(
    folder: Path, *, stack: str, paths: Sequence[str], now: datetime, since: datetime | None
) -> tuple[rule.Facts, Decision]:
    """
    The decision at *now* if what the stack file in *folder* declares had been live since *since*.

    Without *since*, the stage counts from the pilot arm's first exposure in the files.

    Raises:
        ConfigError: the policy, the stack file or an event file cannot be read.
    """
    file = observe.stack_file(stack)
    policy_data, data = read(folder / observe.POLICY_FILE), read(folder / file)
    policy = load(policy_data, name=observe.POLICY_FILE).for_stack(stack)
    declared = stackfile.read(data, name=file)
    source = JsonLines(paths, **policy.source.mapping)
    queries = (*evidence.queries(policy), *triggers.queries(policy))
    start = min(since or BEGINNING, now)
    recorded = source.read(queries, Window(start, start, now))
    if since is None:  # only estimates still have to be told from then on
        start = first_exposure(recorded, now)
        recorded = source.read(queries, Window(BEGINNING, start, now))
    window = Window(start, start, now)
    facts = judged(stack, policy, declared, window, recorded, policy_sha256=hashlib.sha256(policy_data).hexdigest())
    return facts, rule.decide(facts)


def judged(
    stack: str, policy: Policy, declared: Declared, window: Window, recorded: Recorded, *, policy_sha256: str
) -> rule.Facts:
    """The facts if all that is *declared* had been live since `window.stage`; pure."""
    live = Live(
        percent=declared.rollout.percent,
        since=window.stage,
        deployment=Deployment.COMPLETED,
        image=declared.service.image,
        candidate_image=declared.service.candidate_image,
        flags=declared.rollout.flags,
    )
    return observe.judge(stack, policy, declared, live, History(()), window, recorded, policy_sha256=policy_sha256)


def read(path: Path) -> bytes:
    """
    The file at *path*.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; run in the folder that holds the policy and the stack files"
        ) from None


def first_exposure(recorded: Recorded, now: datetime) -> datetime:
    """When the pilot arm's first user came, on the grid; *now* where none has."""
    pilot = recorded.series[evidence.EXPOSURE].pilot
    return datetime.fromtimestamp(pilot[0].end - eprocess.GRID, UTC) if pilot else now
