"""`pilot pr`: what a person does with the pull requests of a local forge."""

from __future__ import annotations

from typing import Any

import click

from controller.cli.terminal import console, me, now, settings
from controller.errors import ConfigError


@click.group()
def pr() -> None:
    """Pull requests of a local forge: what a person does on it."""


@pr.command("list")
@click.option("--all", "everything", is_flag=True, help="Ended ones too.")
def pr_list(everything: bool) -> int:
    """List the open pull requests."""
    for item in _local().pull_requests(""):
        if everything or item.state == "open":
            check = f"  [{item.check[0]}: {item.check[1]}]" if item.check else ""
            console().print(f"#{item.number}  {item.state}  {item.title}{check}", markup=False)
    return 0


@pr.command("show")
@click.argument("number", type=int)
def pr_show(number: int) -> int:
    """Show one pull request."""
    for item in _local().pull_requests(""):
        if item.number == number:
            console().print(f"#{item.number} {item.title} ({item.state})\n\n{item.body}", markup=False)
            return 0
    raise ConfigError(f"no pull request #{number} here; see pilot pr list --all")


@pr.command("merge")
@click.argument("number", type=int)
@click.option("--by", default=me, help="Who merges.")
def pr_merge(number: int, by: str) -> int:
    """Merge a pull request as a person would."""
    oid = _local().merge_by_person(number, by=by, at=now())
    console().print(f"merged #{number} as {oid[:12]}; next: pulumi up in each stack that it changes")
    return 0


@pr.command("close")
@click.argument("number", type=int)
@click.option("--by", default=me, help="Who closes.")
def pr_close(number: int, by: str) -> int:
    """Close a pull request unmerged: the controller takes it as a veto."""
    _local().close_by_person(number, by=by, at=now())
    console().print(f"closed #{number}; it is not proposed again until the stack file changes")
    return 0


def _local() -> Any:
    from controller import wiring

    known = settings()
    return wiring.forge(known, wiring.repository(known), now)
