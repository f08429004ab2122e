"""`pilot incident`, `outputs`, `cohort` and `nightly`: what operations people do on the days around a launch."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.terminal import Length, me, now, say, world
from controller.errors import ConfigError

if TYPE_CHECKING:
    from controller.wiring import World

_BY = click.option("--by", default=me, help="Who says so.")
_STACK = click.option("--stack", required=True)


# ---------------------------------------------------------------- incidents


@click.group()
def incident() -> None:
    """Incidents: open one, say what is known, resolve it. Each is a branch with a report and a pull request."""


@incident.command("open")
@_STACK
@click.option("--title", required=True, help="What users meet, in a few words.")
@click.option("--severity", help="P0, P1 or P2; without it the rules are shown and you are asked.")
@click.option(
    "--since",
    type=Length(),
    default="1d",
    show_default=True,
    help="List affected users and packets from this long ago on.",
)
@_BY
def incident_open(stack: str, title: str, severity: str | None, since: timedelta, by: str) -> int:
    """Open an incident: tell people, and start its report with what is known by now."""
    from controller.launch import incidents

    with world() as here:
        opened = incidents.open_(
            here.reader, here.forge, here.notifier,
            stack=stack, severity=severity or _asked(here), title=title, by=by, since=since, now=now(),
        )  # fmt: skip
    say(opened.lines)
    return 0


def _asked(here: World) -> str:
    from controller import observe

    rules = observe.look(here.reader.repository).policy.operations.severities
    for name, rule in rules.items():
        click.echo(f"{name}: {', '.join(rule.when)}", err=True)
    if not rules:
        raise ConfigError("rollout.yaml: operations.severities is empty; write who answers what, and how soon")
    if not sys.stdin.isatty():
        raise ConfigError("which severity? name it by --severity")
    answer: str = click.prompt("Severity", type=click.Choice(list(rules)), err=True)
    return answer


@incident.command("update")
@click.argument("name")
@click.option("--text", required=True, help="What is known now.")
@_BY
def incident_update(name: str, text: str, by: str) -> int:
    """Add what is known now to an incident, and tell people."""
    return _update(name, text, by, ends=False)


@incident.command("resolve")
@click.argument("name")
@click.option("--text", required=True, help="What ended it.")
@_BY
def incident_resolve(name: str, text: str, by: str) -> int:
    """Tell people that an incident is over. Merging its report, with the root cause, closes it."""
    return _update(name, text, by, ends=True)


def _update(name: str, text: str, by: str, *, ends: bool) -> int:
    from controller.launch import incidents

    with world() as here:
        done = incidents.update(
            here.reader.repository, here.forge, here.notifier, name=name, words=text, by=by, now=now(), ends=ends
        )
    say(done.lines)
    return 0


@incident.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an incident.")
def incident_list(as_json: bool) -> int:
    """List the incidents whose report is not merged, and when the next word is due."""
    from controller.launch import incidents

    with world() as here:
        found = incidents.listed(here.reader.repository)
    for one, due in found:
        state = "resolved, its report waits for a merge" if due is None else f"next word by {due:%Y-%m-%d %H:%M} UTC"
        overdue = " (overdue)" if due is not None and due < now() else ""
        if as_json:
            opened, waits = one.updates[0].at.isoformat(), due.isoformat() if due else None
            item = {"stack": one.stack, "id": one.id, "severity": one.severity, "opened": opened, "due": waits}
            click.echo(json.dumps(item))
        else:
            click.echo(f"{one.severity}  {one.stack}/{one.id}  {one.title}  {state}{overdue}")
    if not found and not as_json:
        click.echo("no incident is open")
    return 0


# ---------------------------------------------------------------- first outputs


@click.command()
@_STACK
@click.option("--json", "as_json", is_flag=True, help="One JSON object an output.")
def outputs(stack: str, as_json: bool) -> int:
    """List the first outputs of the pilot, for the QA reviewer."""
    from controller import observe
    from controller.launch import outputs as collected
    from controller.messages import announcements

    with world() as here:
        sight = observe.look(here.reader.repository)
        facts = observe.observe(here.reader, sight, stack, now=now())
        found = collected.first(here.reader.source, facts)
    if as_json:
        for event in found:
            click.echo(json.dumps({"id": event.id, "ts": event.ts.isoformat(), **event.attributes}))
        return 0
    say(announcements.output_lines(found))
    wanted = facts.policy.operations.first_outputs
    if len(found) < wanted:
        click.echo(f"{len(found)} of {wanted} so far")
    return 0


# ---------------------------------------------------------------- cohort


@click.group()
def cohort() -> None:
    """The firms in the pilot: list them, let one in, take one out."""


@cohort.command("list")
@_STACK
def cohort_list(stack: str) -> int:
    """List the firms in the pilot, one a line."""
    from controller.launch import cohort as firms

    with world() as here:
        say(firms.listed(here.reader.repository, stack))
    return 0


def _change(stack: str, firm: str, by: str, *, joins: bool) -> int:
    from controller.launch import cohort as firms

    with world() as here:
        say(firms.change(here.reader.repository, here.forge, stack=stack, firm=firm, joins=joins, by=by))
    return 0


@cohort.command("add")
@_STACK
@click.argument("firm")
@_BY
def cohort_add(stack: str, firm: str, by: str) -> int:
    """Open the pull request that lets FIRM in."""
    return _change(stack, firm, by, joins=True)


@cohort.command("remove")
@_STACK
@click.argument("firm")
@_BY
def cohort_remove(stack: str, firm: str, by: str) -> int:
    """Open the pull request that takes FIRM out."""
    return _change(stack, firm, by, joins=False)


# ---------------------------------------------------------------- daily


@click.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--archive", type=click.Path(path_type=Path), help="Keep the newest events of each stack in this folder.")
@click.option("--tell", is_flag=True, help="Tell the channels too, once a day.")
def nightly(stacks: tuple[str, ...], archive: Path | None, tell: bool) -> int:
    """Print the day's summary as Markdown: stages, KPIs and their course, anomalies, CI, the next step up."""
    from controller.launch import nightly as daily

    with world() as here:
        notifier = here.notifier if tell else None
        done = daily.nightly(here.reader, here.forge, notifier, stacks=stacks, archive=archive, now=now())
    click.echo(done.summary, nl=False)
    for word in done.words:
        click.echo(word, err=True)
    return done.exit_code
