"""The commands of launch day that look: `preflight`, `doctor` and `watch`."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from controller.settings import Settings


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def _now() -> datetime:
    return datetime.now(UTC)


def _settings() -> Settings:
    from controller.settings import Settings

    return Settings.load(os.environ)


def _me() -> str:
    return os.environ.get("USER", "someone")


@click.command()
@click.option("--stack", required=True, help="The stack that users are to be let into.")
@click.option("--by", default=_me, help="Who looks.")
@click.option("--keep/--no-keep", default=True, help="Push the result, which lets users in; on by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; nobody is asked anything.")
def preflight(stack: str, by: str, keep: bool, as_json: bool) -> int:
    """Look at everything that must be true before the first user enters, and keep the result in Git."""
    from controller import wiring
    from controller.launch import checks
    from controller.launch import preflight as looking
    from controller.messages import readiness

    settings, console = _settings(), _console()
    world = wiring.world(settings, _now)
    ask = None if as_json or not sys.stdin.isatty() else lambda question: click.confirm(question, err=True)
    means = looking.Means(
        reader=world.reader,
        forge=world.forge,
        way_back=lambda declared: wiring.way_back(settings, declared),
        perform=lambda check: checks.run(check, ask=ask),
        environment=os.environ,
    )

    def told(item: Any) -> None:
        if not as_json:
            console.print(readiness.check_line(item))

    try:
        made = looking.make(means, stack=stack, now=_now(), by=by, keep=keep, told=told)
    finally:
        world.close()
    if as_json:
        click.echo(json.dumps(readiness.preflight_json(made.found, made.decision)))
    else:
        console.print(readiness.preflight_end(made.found, made.decision, kept=keep))
    return 2 if made.found.failed else 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def doctor(as_json: bool) -> int:
    """Look at all that the controller needs, change nothing, and say what to do where it is not there."""
    from controller import wiring
    from controller.errors import PilotError
    from controller.launch import doctor as looking
    from controller.messages import readiness

    console = _console()
    try:
        settings = _settings()
        world = wiring.world(settings, _now)
    except PilotError as error:
        found = [*looking.versions(wiring.pulumi), looking.trouble("settings", error)]
    else:
        try:
            with console.status("looking ..."):
                found = list(looking.examine(wiring.examination(settings, world, _now), now=_now()))
        finally:
            world.close()
    if as_json:
        click.echo(json.dumps(readiness.findings_json(found)))
    else:
        console.print(readiness.findings_table(found))
    return looking.exit_code(found)


@click.command()
def watch() -> int:
    """Show the first two hours of a launch on one screen."""
    return 0
