"""The command `pilot`: the only place that prints and sets exit codes. 0 done, 2 a person must act, 75 try later."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from controller.cli import breakglass, infrastructure, launch, loop, operations, policy, pull_requests
from controller.cli.terminal import complain
from controller.errors import PilotError, TransientError

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some is a tenth of the time of a start


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pilot-rollout")
def cli() -> None:
    """Progressive rollouts on AWS ECS whose state is Git: evidence in, a pull request out."""


for command in (
    loop.reconcile, loop.serve, loop.status, loop.decide, loop.history,
    breakglass.kill, breakglass.rollback,
    launch.preflight, launch.watch, launch.doctor,
    operations.incident, operations.outputs, operations.cohort, operations.nightly,
    infrastructure.drift, infrastructure.preview,
    policy.policy, policy.backtest, policy.rehearse,
    pull_requests.pr,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Entry point of the console command."""
    try:
        code: Callable[..., Any] | int | None = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except PilotError as error:
        complain(error)
        sys.exit(75 if isinstance(error, TransientError) else 2)
    sys.exit(code if isinstance(code, int) else 0)
