"""
The stop that stands, as an SSM parameter beside those that the program in infra/ writes.

`pilot kill` and `pilot rollback` write it; `pulumi up` refuses whatever would undo it, and overwrites it once it has
applied as much, which ends it. Any other text than the JSON of a stop is none.
"""

from __future__ import annotations

import json
from datetime import datetime

from controller.aws.api import Api
from controller.model import Place, Stop

KEY = "stop"  # the last part of the parameter's name


def read(api: Api, place: Place) -> Stop | None:
    """
    The stop that stands, if there is one.

    Raises:
        UnreadableError: AWS did not answer.
    """
    found = api.find("ssm", "GetParameter", Name=place.parameter(KEY))
    return parse(str(found["Parameter"]["Value"])) if found else None


def write(api: Api, place: Place, stop: Stop) -> None:
    """
    Let *stop* stand, in place of another.

    Raises:
        UnreadableError: AWS refused it, or did not answer.
    """
    api.call("ssm", "PutParameter", Name=place.parameter(KEY), Value=render(stop), Type="String", Overwrite=True)


def render(stop: Stop) -> str:
    """The text of a parameter, which AWS allows 4,096 characters."""
    told = {
        "percent": stop.percent, "at": stop.at.isoformat(timespec="seconds"), "by": stop.by[:100],
        "reason": stop.reason[:1000], "image": stop.image, "taskDefinition": stop.task_definition,
    }  # fmt: skip
    return json.dumps(told, sort_keys=True)


def parse(text: str) -> Stop | None:
    """The stop that a parameter's *text* tells of; None where it tells of none, or of one that has ended."""
    try:
        told = json.loads(text)
        percent, at = told["percent"], datetime.fromisoformat(told["at"])
        if type(percent) is not int or not 0 <= percent <= 100 or at.tzinfo is None:
            return None
        words = [str(told.get(key, "")) for key in ("by", "reason", "image", "taskDefinition")]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
    return Stop(percent, at, words[0], words[1], image=words[2], task_definition=words[3])
