"""`pilot drift` and `preview`: what is declared in the working directory, beside what was applied and what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from controller.cli.terminal import complain, console, settings
from controller.errors import ConfigError, PilotError, TransientError


@click.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--exit-code", is_flag=True, help="Exit with 2 where anything differs, 75 while it is but a deployment.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack.")
def drift(stacks: tuple[str, ...], exit_code: bool, as_json: bool) -> int:
    """Compare what is declared here, what was applied and what runs. Changes nothing."""
    from controller import wiring
    from controller.messages import infrastructure

    codes = []
    for stack in stacks or _stacks():
        try:
            found = wiring.drift(settings(), Path.cwd(), stack)
        except PilotError as error:
            complain(error, stack)
            codes.append(75 if isinstance(error, TransientError) else 2)
            continue
        if exit_code and not found.clean:
            codes.append(75 if found.settling else 2)
        if as_json:
            click.echo(json.dumps(infrastructure.drift_json(found)))
        else:
            for line in infrastructure.drift_lines(found):
                console().print(line, markup=False)
    return _worst(codes)


@click.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--policy-pack", "packs", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="Ask this policy pack too; may be repeated.")  # fmt: skip
def preview(stacks: tuple[str, ...], packs: tuple[Path, ...]) -> int:
    """Print what `pulumi up` would change here, as Markdown for a comment of a pull request."""
    from controller import plans, wiring
    from controller.messages import infrastructure

    previews: dict[str, Any] = {}
    codes = []
    for stack in stacks or _stacks():
        try:
            previews[stack] = plans.preview(Path.cwd(), stack, wiring.pulumi(), policy_packs=packs)
        except PilotError as error:
            complain(error, stack)
            previews[stack] = str(error)
            codes.append(75 if isinstance(error, TransientError) else 2)
    click.echo(infrastructure.preview_comment(previews), nl=False)
    return _worst(codes)


def _stacks() -> list[str]:
    """The stacks of the folder, by their files."""
    found = sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in Path.cwd().glob("Pulumi.*.yaml"))
    if not found:
        raise ConfigError("no Pulumi.<stack>.yaml here; run in the folder that holds the Pulumi project")
    return found


def _worst(codes: list[int]) -> int:
    """What a person must mend outweighs what may pass."""
    return 2 if 2 in codes else max(codes, default=0)
