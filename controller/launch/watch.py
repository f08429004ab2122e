"""One look at a stack after its launch: what the loop sees, and the rates that only a person watches."""

from __future__ import annotations

from datetime import datetime

from controller import observe
from controller import reconcile as loop
from controller.errors import PilotError
from controller.messages.board import Board, Counted, board
from controller.model import Bucket, Series, Window
from controller.policy import Policy
from controller.ports import Forge


def look(reader: observe.Reader, forge: Forge, *, stack: str, now: datetime) -> Board:
    """
    The board of *stack*; nothing is written.

    Raises:
        ConfigError, TransientError: the stack could not be judged.
    """
    (outcome,) = loop.reconcile(reader, forge, now=now, stacks=(stack,), dry_run=True)
    if outcome.facts is None or outcome.decision is None:
        assert outcome.error is not None
        raise outcome.error
    trouble = str(outcome.error) if outcome.error else outcome.facts.source_trouble or ""
    counted: dict[str, Counted] = {}
    try:
        counted = count(reader, stack, outcome.facts.policy, outcome.facts.window)
    except PilotError as error:
        trouble = trouble or str(error)
    return board(outcome.facts, outcome.decision, counted, outcome.pull_request, trouble)


def count(reader: observe.Reader, stack: str, policy: Policy, window: Window) -> dict[str, Counted]:
    """
    What is watched beside the KPIs, since the stage began.

    Raises:
        ConfigError, TransientError: the source could not be read.
    """
    queries = [rule.rate.query(name) for name, rule in policy.operations.watch.items()]
    if not queries:
        return {}
    recorded = reader.source(stack, policy).read(queries, window)
    return {query.name: _since(recorded.series.get(query.name, Series()), window) for query in queries}


def _since(series: Series, window: Window) -> Counted:
    (n, bad), (control_n, control_bad) = (_sum(arm, window) for arm in (series.pilot, series.control))
    return Counted(n, bad, control_n, control_bad)


def _sum(buckets: tuple[Bucket, ...], window: Window) -> tuple[int, float]:
    since = [bucket for bucket in buckets if bucket.end > window.stage.timestamp()]
    return sum(bucket.n for bucket in since), sum(bucket.bad for bucket in since)
