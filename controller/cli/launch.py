"""The commands of launch day that look: `preflight`, `doctor` and `watch`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from controller.cli.terminal import Length, console, me, now, settings, world
from controller.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from controller.messages.board import Board
    from controller.model import CheckResult
    from controller.policy import Policy
    from controller.wiring import World


@click.command()
@click.option("--stack", required=True, help="The stack that users are to be let into.")
@click.option("--by", default=me, help="Who looks.")
@click.option("--keep/--no-keep", default=True, help="Push the result, which lets users in; on by default.")
@click.option("--drill", is_flag=True, help="First try the kill switch, in the stack that goes first.")
@click.option("--send-test", is_flag=True, help="Send a test message to every channel.")
@click.option("--yes", is_flag=True, help="Do not ask for the stack's name to be typed before a drill.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; nobody is asked anything.")
def preflight(stack: str, by: str, keep: bool, drill: bool, send_test: bool, yes: bool, as_json: bool) -> int:
    """Look at everything that must be true before the first user enters, and keep the result in Git."""
    from controller import wiring
    from controller.launch import checks
    from controller.launch import preflight as looking
    from controller.messages import readiness

    ask = None if as_json or not sys.stdin.isatty() else lambda question: click.confirm(question, err=True)

    def told(item: Any) -> None:
        if not as_json:
            console().print(readiness.check_line(item))

    with world() as here:
        means = looking.Means(
            reader=here.reader,
            forge=here.forge,
            way_back=lambda declared: looking.way_back(wiring.glass(settings(), declared)),
            perform=lambda check: checks.run(check, ask=ask),
            channels=lambda policy: _channels(here, policy, by=by, send_test=send_test),
        )
        if drill:
            _drill(here, stack, by=by, yes=yes, told=told)
        made = looking.make(means, stack=stack, now=now(), by=by, keep=keep, told=told)
    if as_json:
        click.echo(json.dumps(readiness.preflight_json(made.found, made.decision)))
    else:
        console().print(readiness.preflight_end(made.found, made.decision, kept=keep))
    return 2 if made.found.failed else 0


def _channels(here: World, policy: Policy, *, by: str, send_test: bool) -> list[str]:
    """What keeps channels from being told; with *send_test* as a message to each shows."""
    from controller.model import Announcement, News

    notifier, at = here.notifier(policy), now()
    problems = notifier.problems()
    if send_test and not problems:
        kinds = {
            News(channel.only[0]) if channel.only else News.LAUNCH for channel in policy.operations.channels.values()
        }
        for kind in sorted(kinds):
            text = f"{by} tries whether this channel is heard. Nothing has happened."
            problems += notifier.tell(Announcement(kind, "Test message", text), key=f"test/{kind}/{at.isoformat()}")
    return problems


def _drill(here: World, stack: str, *, by: str, yes: bool, told: Callable[[CheckResult], None]) -> None:
    """
    Try the kill switch in the stack that goes before *stack*, and keep what came of it.

    Raises:
        ConfigError: no stack goes first, or nobody typed its name.
    """
    from controller import observe, readiness, stackfile, wiring
    from controller.launch import drill as trying
    from controller.launch.kill import kill
    from controller.launch.preflight import save
    from controller.model import Readiness

    sight = observe.look(here.reader.repository)
    ahead = sight.policy.after(stack)
    if ahead is None:
        raise ConfigError(f"no stack goes before {stack} (stacks: after), and a drill is never made in {stack} itself")
    if not yes and click.prompt(f"{ahead} goes to 0 % of users now. Type {ahead} to go on", err=True) != ahead:
        raise ConfigError("another name was typed: nothing was done")
    name = observe.stack_file(ahead)
    declared = stackfile.read(here.reader.repository.read(sight.tip, name) or b"", name=name)
    glass = wiring.glass(settings(), declared)
    found = []
    for item in trying.drill(
        kill(glass, reason="drill of the kill switch", by=by, now=now()),
        lambda: here.reader.live.read(declared.service, declared.rollout.exposure, declared.region),
        lambda: glass.end(f"drill by {by}"),
        now=now,
        wait=lambda length: time.sleep(length.total_seconds()),
    ):
        told(item)
        found.append(item)
    kept = Readiness(readiness.release(declared), now(), by, tuple(found))
    save(here.reader, readiness.drill_ref(ahead), kept, f"drill({ahead}): the kill switch")
    click.echo(f"next: bring {ahead} back: pulumi up --refresh --stack {ahead}", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def doctor(as_json: bool) -> int:
    """Look at all that the controller needs, change nothing, and say what to do where it is not there."""
    from controller import wiring
    from controller.errors import PilotError
    from controller.launch import doctor as looking
    from controller.messages import readiness

    try:
        with world() as here, console().status("looking ..."):
            found = list(looking.examine(wiring.examination(settings(), here, now), now=now()))
    except PilotError as error:
        found = [*looking.versions(wiring.pulumi), looking.trouble("settings", error)]
    if as_json:
        click.echo(json.dumps(readiness.findings_json(found)))
    else:
        console().print(readiness.findings_table(found))
    return looking.exit_code(found)


@click.command()
@click.option("--stack", required=True)
@click.option("--every", type=Length(), default="30s", show_default=True, help="Look again after this long.")
@click.option("--once", is_flag=True, help="Look once, and exit with 0 where all is well, else 2.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a look.")
def watch(stack: str, every: timedelta, once: bool, as_json: bool) -> int:
    """Watch a launch on one screen: each line of the runbook with its state, and what to do; Ctrl-C ends it."""
    from controller.launch import watch as watching
    from controller.messages.board import State
    from controller.messages.board import as_json as told
    from controller.messages.board import screen as drawn

    screen = console()
    with world() as here:

        def look() -> Board:
            return watching.look(here.reader, here.forge, stack=stack, now=now())

        try:
            while once or as_json or not screen.is_terminal:
                seen = look()
                lines = drawn(seen, width=max(screen.width, 80), height=1000)
                click.echo(json.dumps(told(seen)) if as_json else "\n".join(line.plain for line in lines))
                if once:
                    return 2 if seen.state in (State.LOOK, State.ACT) else 0
                time.sleep(every.total_seconds())
            _live(screen, look, every.total_seconds())
        except KeyboardInterrupt:
            return 0
    return 0


def _live(screen: Console, look: Callable[[], Board], pause: float) -> None:
    """Show the newest look until stopped; what cannot be looked at leaves the last one, and says so."""
    from rich.console import Group
    from rich.live import Live

    from controller.errors import TransientError
    from controller.messages.board import screen as drawn

    seen = look()
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            lines = drawn(seen, width=screen.width, height=screen.height)
            live.update(Group(*lines), refresh=True)
            time.sleep(pause)
            try:
                seen = look()
            except TransientError as error:
                seen = replace(seen, trouble=str(error))
