"""The kill switch: 0 % and no new cases, in AWS, at once. It takes AWS credentials and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from controller.aws.breakglass import Act, BreakGlass, CredentialsError
from controller.errors import PilotError
from controller.model import Stop


def kill(glass: BreakGlass, *, reason: str, by: str, now: datetime) -> Iterator[Act]:
    """
    Bring the service to 0 % with its intake paused, act by act; a second time finds it so and writes nothing.

    What a rollback has chosen stays chosen.

    Raises:
        CredentialsError: AWS does not take the credentials; what was done before that has been yielded.
    """
    try:
        stands = glass.stop()
    except CredentialsError:
        raise
    except PilotError:  # recording it is an act of its own, and says so
        stands = None
    yield from glass.hold_down(stands if stands and stands.percent == 0 else _stop(stands, reason, by, now))


def _stop(stands: Stop | None, reason: str, by: str, now: datetime) -> Stop:
    stop = Stop(0, now.replace(microsecond=0), by, reason)
    return replace(stop, image=stands.image, task_definition=stands.task_definition) if stands else stop
