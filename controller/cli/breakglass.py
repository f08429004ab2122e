"""
The commands that break the glass: `pilot kill` and `pilot rollback`.

Whoever types the first has no second to spare: nothing is imported here that it does not need.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.terminal import me, now, settings, warn
from controller.errors import ConfigError, PilotError, TransientError
from controller.model import Place

if TYPE_CHECKING:
    from controller.launch.rollback import Asked, Line, Means, Way
    from controller.model import Announcement, News
    from controller.policy import Policy
    from controller.ports import Notifier
    from controller.settings import Settings


@click.command()
@click.option("--stack", required=True, help="Its file, in the working directory, names the service.")
@click.option("--reason", required=True, help="Why, for those who read the pull request.")
@click.option("--by", default=me, help="Who does it.")
@click.option("--cluster", help="Without the stack's file: the ECS cluster,")
@click.option("--service", help="the ECS service,")
@click.option("--region", help="and the AWS region.")
@click.option("--yes", is_flag=True, help="Do not ask for the stack's name to be typed.")
def kill(stack: str, reason: str, by: str, cluster: str | None, service: str | None, region: str | None,
         yes: bool) -> int:  # fmt: skip
    """Take a stack to 0 % and pause its intake, in AWS, at once. Safe to run again."""
    place = _placed(stack, cluster, service, region)
    if not yes:
        _confirm(stack, f"{stack} goes to 0 % and its intake is paused: {_said(place)}")
    from controller.aws.api import client_factory
    from controller.aws.breakglass import BreakGlass
    from controller.launch.kill import kill as acts

    # Not by `Settings`, whose library takes as long to import as AWS's own.
    glass = BreakGlass(client_factory(endpoint=os.environ.get("PILOT_AWS_ENDPOINT")), place)
    errors = []
    for act in acts(glass, reason=reason, by=by, now=now()):
        if act.error is None:
            click.echo(f"{'done' if act.wrote else 'already'}: {act.words}")
        else:
            errors.append(act.error)
            click.echo(f"NOT DONE: {act.words}: {act.error}", err=True)
    if errors:
        click.echo(f"next: run it again, which is safe: {shlex.join(['pilot', *sys.argv[1:]])}", err=True)
        return 75 if all(isinstance(error, TransientError) for error in errors) else 2
    # The runbook's template: the code that tells channels may not be waited for, nor its policy be readable.
    said = f"We detected a pilot issue ({reason}) at {now():%Y-%m-%d %H:%M} UTC."
    click.echo(f"tell people: {said} Rollback in progress. Next update in 15 minutes.")
    click.echo("next: run it again in a few minutes, to see that it serves; ECS may have taken a deployment back")
    click.echo(f"then: merge the pull request that the controller opens, and pulumi up --stack {stack};")
    click.echo(f"      until then pulumi up --stack {stack} refuses to undo this")
    return 0


def _placed(stack: str, cluster: str | None, service: str | None, region: str | None) -> Place:
    """
    Where the service is: by the options, or by the stack's file.

    Raises:
        ConfigError: neither says it; says what to type.
    """
    if cluster and service:
        return Place(cluster, service, region)
    file = Path(f"Pulumi.{stack}.yaml")
    options = "name the service instead: --cluster NAME --service NAME --region REGION"
    if cluster or service:
        raise ConfigError(f"--cluster and --service go together; {options}")
    from controller import stackfile

    try:
        declared = stackfile.read(file.read_bytes(), name=str(file))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; run in the folder that holds it, or {options}") from None
    except ConfigError as error:
        raise ConfigError(f"{error}; or {options}") from None
    return Place(declared.service.cluster, declared.service.name, region or declared.region)


def _said(place: Place) -> str:
    return f"{place.service} in {place.cluster}, {place.region or 'the region of the environment'}"


def _confirm(stack: str, what: str) -> None:
    """
    Have the stack's name typed.

    Raises:
        ConfigError: it was not, or there is nobody to type it.
    """
    click.echo(what, err=True)
    try:
        typed = click.prompt(f"Type {stack} to go on", prompt_suffix=": ", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise ConfigError("nobody is there to type the stack's name, and nothing was done; add --yes") from None
    if typed.strip() != stack:
        raise ConfigError(f"typed {typed.strip()!r}, and the stack is {stack}: nothing was done")


@click.command()
@click.option("--stack", required=True)
@click.option("--reason", required=True, help="Why, for those who read the pull request.")
@click.option("--by", default=me, help="Who asks for it.")
@click.option("--to", type=click.IntRange(0, 100), metavar="PERCENT",
              help="At most this percent; default what it was before the last advance.")  # fmt: skip
@click.option("--task-definition", metavar="FAMILY:NUMBER", help="Not the previous task definition, but this one.")
@click.option("--git-only", is_flag=True, help="Open the pull request and leave AWS alone.")
@click.option("--yes", is_flag=True, help="Ask nothing. A check that asks a person fails then.")
def rollback(stack: str, reason: str, by: str, to: int | None, task_definition: str | None, git_only: bool,
             yes: bool) -> int:  # fmt: skip
    """Take a stack back: pause the intake, the previous task definition, check it, tell people, then Git."""
    from controller.launch.rollback import Asked
    from controller.launch.rollback import rollback as steps

    asked = Asked(stack, reason, by, to, task_definition)
    if git_only:
        if task_definition:
            raise ConfigError("--task-definition is of AWS, which --git-only leaves alone; name one of them")
        for text in _pull_request(asked, to, (), paused=False):
            click.echo(text)
        return 0
    means = _means(asked, yes=yes)
    if not yes:
        _confirm(stack, f"{stack} is rolled back, step by step; the intake is paused first: {_said(means.glass.place)}")
    for line in steps(asked, means):
        _say(line)
    return 0


def _say(line: Line) -> None:
    step = f"[{line.step}/7]" if line.step else "      "
    click.echo(f"{line.at:%H:%M:%S} {step} {line.words}")


def _means(asked: Asked, *, yes: bool) -> Means:
    from controller.aws.api import client_factory
    from controller.aws.breakglass import BreakGlass
    from controller.launch import checks
    from controller.launch.rollback import Means

    known, policy = settings(), _policy()
    place = _placed(asked.stack, None, None, None)
    ask = None if yes else lambda question: click.confirm(question, err=True)
    return Means(
        glass=BreakGlass(client_factory(endpoint=known.aws_endpoint), place),
        operations=policy.operations,
        notifier=_notifier(known, policy),
        perform=lambda check: checks.run(check, ask=ask),
        confirm=lambda way: yes or _agreed(way),
        git=lambda percent, lines: _pull_request(asked, percent, lines, paused=True),
        now=now,
        wait=lambda length: time.sleep(length.total_seconds()),
    )


def _agreed(way: Way) -> bool:
    """Show where it goes, and ask."""
    now, then = way.before.serving, way.revision
    since = f", served from {then.completed:%Y-%m-%d %H:%M} UTC" if then.completed else ""
    click.echo(f"now:  {now.name}  {way.before.percent} %  {now.image}", err=True)
    click.echo(f"back: {then.name}  {way.percent} %  {then.image}{since}", err=True)
    return click.confirm("Go back to it?", err=True)


def _policy() -> Policy:
    """
    The policy here, which says how a rollback goes.

    Raises:
        ConfigError: it cannot be read; the kill switch does without.
    """
    from controller.policy import load

    name = "rollout.yaml"
    try:
        return load(Path(name).read_bytes(), name=name)
    except (OSError, ConfigError) as error:
        raise ConfigError(f"{error}: mend {name}, or take the users out at once with pilot kill") from None


def _notifier(known: Settings, policy: Policy) -> Notifier:
    from controller import wiring

    try:
        return wiring.notifier(wiring.repository(known), policy, now)
    except PilotError as error:
        return _Nobody(str(error))


class _Nobody:
    """Tells nobody, and *why*: no channel stops a rollback."""

    def __init__(self, why: str) -> None:
        self._why = why

    def knows(self, kind: News, *, key: str) -> bool:
        return False

    def tell(self, news: Announcement, *, key: str) -> list[str]:
        return [self._why]


def _pull_request(asked: Asked, to: int | None, lines: Sequence[str], *, paused: bool) -> Sequence[str]:
    from controller import rollback as way_back
    from controller import wiring

    known = settings()
    repository = wiring.repository(known)
    warn(wiring.warning(known))
    forge = wiring.forge(known, repository, now)
    return way_back.rollback(
        repository, forge, stack=asked.stack, to=to, reason=asked.reason, by=asked.by, now=now(), paused=paused,
        notes=lines,
    ).lines  # fmt: skip
