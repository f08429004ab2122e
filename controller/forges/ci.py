"""What the jobs of one commit come to."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from controller.forges.listing import CONTEXT
from controller.ports import Ci, CiState

_NAMED = 3


def combined(jobs: Iterable[tuple[str, CiState]], without: Collection[str] = ()) -> Ci:
    """One answer of all *jobs* but those *without*: red where one is red, else running where one is not done."""
    theirs = [(name, state) for name, state in jobs if name != CONTEXT and name not in without]
    for state in (CiState.RED, CiState.RUNNING):
        names = sorted(name for name, found in theirs if found is state)
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            return Ci(state, f"{state}: {', '.join(names[:_NAMED])}{more}")
    if not theirs:
        return Ci(CiState.NONE, "no job has reported")
    return Ci(CiState.GREEN, f"{len(theirs)} job{'s' if len(theirs) > 1 else ''} green")
