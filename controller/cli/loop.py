"""The loop: `reconcile` and `serve` make passes; `status`, `decide` and `history` look without writing."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import click

from controller.cli.terminal import Instant, Length, complain, console, now, settings, world
from controller.errors import ConfigError


@click.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Decide, say what would be done, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack.")
def reconcile(stacks: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Make one pass: observe, decide, and open, update or close pull requests."""
    return _pass(stacks=stacks, dry_run=dry_run, as_json=as_json)


@click.command()
@click.option("--webhook", is_flag=True, help="Make a pass whenever the forge tells of a change.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT",
              help="Where the forge reaches us; TLS is for a proxy in front.")  # fmt: skip
@click.option(
    "--every", type=Length(), default="5m", show_default=True, help="Make a pass after this long in any case."
)
@click.option("--pause", type=Length(), default="10s", show_default=True,
              help="Between two passes, however often the forge calls.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack and pass.")
def serve(webhook: bool, listen: str, every: timedelta, pause: timedelta, as_json: bool) -> int:
    """Make passes until stopped: at once, when woken by a webhook, and every few minutes."""
    import signal

    from controller.forges.webhook import Listener, Waker
    from controller.policy.values import length

    if not webhook:
        raise ConfigError("nothing to serve; add --webhook, and set PILOT_WEBHOOK_SECRET")
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--listen {listen}: write HOST:PORT, such as 127.0.0.1:8080")
    waker = Waker(lambda: _pass_anyway(as_json), every_s=every.total_seconds(), pause_s=pause.total_seconds())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: waker.stop())
    with Listener(waker.wake, secret=settings().webhook_secret, host=host.strip("[]"), port=int(port)) as listener:
        console(stderr=True).print(f"listening on {host}:{listener.port}, a pass every {length(every)}", markup=False)
        waker.serve()
    return 0


def _pass_anyway(as_json: bool) -> None:
    """Make a pass; what goes wrong is said, and the next one tries again."""
    try:
        _pass(stacks=(), dry_run=False, as_json=as_json)
    except Exception as error:
        complain(error)


def _pass(*, stacks: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    from controller import reconcile as loop
    from controller.launch.news import told
    from controller.messages import data, screens

    with world() as here:
        outcomes = loop.reconcile(here.reader, here.forge, now=now(), stacks=stacks, dry_run=dry_run)
        if not dry_run:
            outcomes = [told(outcome, here.notifier, here.reader.source) for outcome in outcomes]
    for outcome in outcomes:
        if outcome.decision is not None and as_json:
            click.echo(json.dumps(data.decision_json(outcome.decision) | {"actions": outcome.actions}))
        elif outcome.decision is not None:
            console().print(f"[bold]{outcome.stack}[/bold] ", screens.verdict_line(outcome.decision), sep="")
            for action in outcome.actions or (() if outcome.error else ("nothing to do",)):
                console().print(f"  {action}", markup=False)
        if outcome.error is not None:
            complain(outcome.error, outcome.stack)
    return loop.exit_code(outcomes)


@click.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack.")
def status(stacks: tuple[str, ...], as_json: bool) -> int:
    """Show each stack: declared, live, the verdict and why, the KPIs, the open pull request."""
    from controller import reconcile as loop
    from controller.messages import data, screens

    with world() as here:
        outcomes = loop.reconcile(here.reader, here.forge, now=now(), stacks=stacks, dry_run=True)
    for outcome in outcomes:
        if outcome.error is not None:
            complain(outcome.error, outcome.stack)
        if outcome.decision is None or outcome.facts is None:
            continue
        if as_json:
            click.echo(json.dumps(data.decision_json(outcome.decision)))
        else:
            number = f"#{outcome.pull_request} is open" if outcome.pull_request else None
            console().print(screens.status(outcome.facts, outcome.decision, number))
    return loop.exit_code(outcomes)


@click.command()
@click.option("--stack", required=True)
@click.option("--events", "paths", multiple=True, required=True, help="File or glob of JSON lines.")
@click.option("--now", "at", type=Instant(), default=None, help="The instant of the decision; default now.")
@click.option("--since", type=Instant(), default=None,
              help="When the stage became live; default the pilot's first event in the files.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The decision as one JSON object.")
def decide(stack: str, paths: tuple[str, ...], at: datetime | None, since: datetime | None, as_json: bool) -> int:
    """Decide on recorded events, as if what is declared here were live. Changes nothing."""
    import gc

    from controller import offline
    from controller.messages import data

    gc.disable()  # a fifth of the time of a process that ends at once
    facts, decision = offline.decide(Path.cwd(), stack=stack, paths=paths, now=at or now(), since=since)
    if as_json:
        click.echo(json.dumps(data.decision_json(decision), indent=2))
    else:
        from controller.messages import screens

        console().print(screens.status(facts, decision, "decided on recorded events"))
    return 0


@click.command()
@click.option("--stack", required=True)
def history(stack: str) -> int:
    """Tell a stack's rollout from Git alone."""
    from controller import observe, wiring
    from controller.messages import screens

    repository = wiring.repository(settings())
    past = observe.past(repository, repository.sync(), stack)
    for line in screens.history(past):
        console().print(line)
    return 0
