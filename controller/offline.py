"""Decide on recorded events with what is declared in a folder: no network, no Git remote, no AWS, no writes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from controller import decide as rule
from controller import evidence, observe, stackfile, triggers
from controller.errors import ConfigError
from controller.history import History
from controller.model import Decision, Deployment, Live, Query, Window
from controller.policy import load
from controller.sources.jsonlines import JsonLines

_FIRST = Query("first", "exposure", where={"arm": ("pilot",)}, good={}, unit="event")


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
    policy_data, data = _read(folder / observe.POLICY_FILE), _read(folder / file)
    policy = load(policy_data, name=observe.POLICY_FILE).for_stack(stack)
    declared = stackfile.read(data, name=file)
    source = JsonLines(paths, fields=policy.source.fields, types=policy.source.types)
    if since is None:
        since = _first_exposure(source, now)
    window = Window(min(since, now), min(since, now), now)
    live = Live(
        percent=declared.rollout.percent,
        since=window.stage,
        deployment=Deployment.COMPLETED,
        image=declared.service.image,
        candidate_image=declared.service.candidate_image,
        flags=declared.rollout.flags,
    )
    queries = (*evidence.queries(policy), *triggers.queries(policy))
    facts = observe.judge(
        stack, policy, declared, live, History(()), window, source.read(queries, window),
        policy_sha256=hashlib.sha256(policy_data).hexdigest(),
    )  # fmt: skip
    return facts, rule.decide(facts)


def _first_exposure(source: JsonLines, now: datetime) -> datetime:
    beginning = datetime(1970, 1, 1, tzinfo=UTC)
    pilot = source.read([_FIRST], Window(beginning, beginning, now)).series["first"].pilot
    return datetime.fromtimestamp(pilot[0].end - _FIRST.resolution, UTC) if pilot else now


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; run in the folder that holds the policy and the stack files"
        ) from None
