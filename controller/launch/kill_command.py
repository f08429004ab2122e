"""`pilot kill`. Nothing that it does not need is imported: whoever types it has no second to spare."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from controller.errors import ConfigError, TransientError
from controller.model import Place


@click.command()
@click.option("--stack", required=True, help="Its file, in the working directory, names the service.")
@click.option("--reason", required=True, help="Why, for those who read the pull request.")
@click.option("--by", default=lambda: os.environ.get("USER", "someone"), help="Who does it.")
@click.option("--cluster", help="Without the stack's file: the ECS cluster,")
@click.option("--service", help="the ECS service,")
@click.option("--region", help="and the AWS region.")
@click.option("--yes", is_flag=True, help="Do not ask for the stack's name to be typed.")
def kill(stack: str, reason: str, by: str, cluster: str | None, service: str | None, region: str | None,
         yes: bool) -> int:  # fmt: skip
    """Take a stack to 0 % and pause its intake, in AWS, at once. Safe to run again."""
    place = placed(stack, cluster, service, region)
    if not yes:
        confirm(stack, f"{stack} goes to 0 % and its intake is paused: {said(place)}")
    from controller.aws.api import client_factory
    from controller.aws.breakglass import BreakGlass
    from controller.launch.kill import kill as acts

    # Not by `Settings`, whose library takes as long to import as AWS's own.
    glass = BreakGlass(client_factory(endpoint=os.environ.get("PILOT_AWS_ENDPOINT")), place)
    errors = []
    for act in acts(glass, reason=reason, by=by, now=datetime.now(UTC)):
        if act.error is None:
            click.echo(f"{'done' if act.wrote else 'already'}: {act.words}")
        else:
            errors.append(act.error)
            click.echo(f"NOT DONE: {act.words}: {act.error}", err=True)
    if errors:
        click.echo(f"next: run it again, which is safe: {shlex.join(['pilot', *sys.argv[1:]])}", err=True)
        return 75 if all(isinstance(error, TransientError) for error in errors) else 2
    click.echo("next: run it again in a few minutes, to see that it serves; ECS may have taken a deployment back")
    click.echo(f"then: merge the pull request that the controller opens, and pulumi up --stack {stack};")
    click.echo(f"      until then pulumi up --stack {stack} refuses to undo this")
    return 0


def placed(stack: str, cluster: str | None, service: str | None, region: str | None) -> Place:
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


def said(place: Place) -> str:
    return f"{place.service} in {place.cluster}, {place.region or 'the region of the environment'}"


def confirm(stack: str, what: str) -> None:
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
