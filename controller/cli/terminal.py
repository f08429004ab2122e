"""What the commands have in common: where people read, the clock, the world that the settings name, errors in words."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.errors import ConfigError, PilotError, TransientError

if TYPE_CHECKING:
    from rich.console import Console

    from controller.settings import Settings
    from controller.wiring import World

TRAFFIC = "Units that all users bring, such as 50/d for every KPI, or mic_grant=50/d; may be repeated."


@cache
def console(*, stderr: bool = False) -> Console:
    """Where people read; imported late, since a program that asks for JSON need not wait for it."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, soft_wrap=stderr or not stream.isatty())


def now() -> datetime:
    return datetime.now(UTC)


def me() -> str:
    """Who types."""
    return os.environ.get("USER", "someone")


class Instant(click.ParamType[datetime]):
    """An RFC 3339 instant with its zone, kept in UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            self.fail(f"found {value!r}; write an instant with its zone, such as 2026-05-04T10:00:00Z")
        return at.astimezone(UTC)


class Length(click.ParamType[timedelta]):
    """A length of time as in the policy: `15m`, `1d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from controller.policy.values import duration

        try:
            return value if isinstance(value, timedelta) else duration(value)
        except ValueError as error:
            self.fail(f"found {value!r}; {error}")


def read(file: Path) -> bytes:
    """
    What is in *file*.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; run in the folder that holds it, or name it") from None


def settings() -> Settings:
    from controller.settings import Settings

    return Settings.load(os.environ)


@contextmanager
def world() -> Iterator[World]:
    """What the settings name, to observe and to write; what it says of itself is said once a process."""
    from controller import wiring

    known = settings()
    opened = wiring.world(known, now)
    warn(wiring.warning(known))
    try:
        yield opened
    finally:
        opened.close()


@cache
def warn(warning: str | None) -> None:
    """Say it to people, once a process however many passes that makes."""
    if warning is not None:
        click.echo(f"warning: {warning}", err=True)


def say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def complain(error: Exception | None, stack: str = "") -> None:
    """Say an error to people, with its place in the code if it is one of ours."""
    place = f"{stack}: " if stack else ""
    kind = "try again later" if isinstance(error, TransientError) else "error"
    if error is not None and not isinstance(error, PilotError):
        kind = f"unexpected {type(error).__name__}"
        click.echo("".join(traceback.format_exception(error)), err=True)
    for line in str(error).splitlines():
        click.echo(f"{place}{kind}: {line}", err=True)
