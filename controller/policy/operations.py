"""What a policy says of launch day: people, channels, checks, and how a rollback and an incident go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from controller.model import News
from controller.policy.parts import Name, Part, Rate
from controller.policy.values import Duration, Share

StackName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class People(Part):
    """Who is named in messages; an empty name is nobody yet, which a preflight refuses."""

    support: str = ""
    technical: str = ""
    qa: str = ""


class Channel(Part):
    """
    Where messages go: an address that the environment variable `url_from` holds, since it is a secret.

    Without `only`, every kind of news.
    """

    url_from: Variable
    only: Annotated[tuple[News, ...], Field(min_length=1)] | None = None


class CommandCheck(Part):
    """A shell command that must exit with 0."""

    title: str
    command: Annotated[str, Field(min_length=1)]
    timeout: Duration = timedelta(minutes=10)


class HttpCheck(Part):
    """A URL that must answer with a status below 400, and with these words where `contains` names some."""

    title: str
    url: Url
    contains: str = ""
    timeout: Duration = timedelta(seconds=10)


class PersonCheck(Part):
    """A question that a person answers with yes, where no program can look."""

    title: str
    ask: Annotated[str, Field(min_length=1)]


def _check_kind(value: Any) -> str:
    keys = value if isinstance(value, Mapping) else {}
    return next((kind for kind in ("command", "ask") if kind in keys), "http")


Check = Annotated[
    Annotated[CommandCheck, Tag("command")] | Annotated[HttpCheck, Tag("http")] | Annotated[PersonCheck, Tag("ask")],
    Discriminator(_check_kind),
]


class Preflight(Part):
    """
    What must be true before anybody enters one of `stacks`, as found by a preflight not older than `valid`.

    `checklist` is a Markdown file of the repository without an open task box. With `ci` the jobs of the commit must be
    green, except those `ci_without`, such as the one in which the preflight runs. `scan` names KPIs of which the stack
    that goes first must have samples, or be at the target. A drill of the kill switch there may be as old as `drill`;
    without it none is asked for.
    """

    stacks: tuple[StackName, ...] = ()
    valid: Duration = timedelta(days=1)
    checks: tuple[Name, ...] = ()
    checklist: Annotated[str, Field(pattern=r"^[^/]")] | None = None
    ci: bool = False
    ci_without: tuple[str, ...] = ()
    scan: Mapping[Name, Literal["samples", "target"]] = {}
    drill: Duration | None = None


class Rollback(Part):
    """
    How long a rollback is announced to take, and what must work after it, in this order.

    Root cause and remediation plan are promised within `root_cause` of its end.
    """

    eta: Duration = timedelta(minutes=15)
    root_cause: Duration = timedelta(days=1)
    health: tuple[Name, ...] = ()
    workflow: tuple[Name, ...] = ()


class Severity(Part):
    """How soon an incident is answered, and what makes it one of this severity."""

    respond: Duration
    when: Annotated[tuple[str, ...], Field(min_length=1)]


class Watched(Part):
    """
    What a person watches after a launch beside the KPIs: one bad unit asks to look, a share above `above` to act.

    Nothing here ever moves the percent; what must do so is a trigger.
    """

    title: str
    rate: Rate
    above: Share
    advice: str = ""


class Operations(Part):
    """
    Launch day. Whatever is named here may be left out, and then no command offers it.

    `first_outputs` are collected for the QA reviewer; `first_watch` is how long a person watches after a launch.
    """

    people: People = People()
    dashboard: Url | None = None
    channels: Mapping[Name, Channel] = {}
    checks: Mapping[Name, Check] = {}
    preflight: Preflight = Preflight()
    rollback: Rollback = Rollback()
    severities: Mapping[Literal["P0", "P1", "P2"], Severity] = {}
    watch: Mapping[Name, Watched] = {}
    first_watch: Duration = timedelta(hours=2)
    first_outputs: Annotated[int, Field(ge=1, le=100)] = 5
