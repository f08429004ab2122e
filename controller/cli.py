"""The command `pilot`: the only place that prints and sets exit codes. 0 done, 2 a person must act, 75 try later."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller import launch_commands, operations_commands
from controller.breakglass_commands import kill, rollback
from controller.errors import ConfigError, PilotError, TransientError

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some is a tenth of the time of a start

if TYPE_CHECKING:
    from rich.console import Console


_TRAFFIC = "Units that all users bring, such as 50/d for every KPI, or mic_grant=50/d; may be repeated."


@cache
def _console(*, stderr: bool = False) -> Console:
    """Where people read; imported late, since a program that asks for JSON need not wait for it."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, soft_wrap=stderr or not stream.isatty())


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pilot-rollout")
def cli() -> None:
    """Progressive rollouts on AWS ECS whose state is Git: evidence in, a pull request out."""


# ---------------------------------------------------------------- the loop


@cli.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Decide, say what would be done, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack.")
def reconcile(stacks: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Make one pass: observe, decide, and open, update or close pull requests."""
    return _pass(stacks=stacks, dry_run=dry_run, as_json=as_json)


@cli.command()
@click.option("--webhook", is_flag=True, help="Make a pass whenever the forge tells of a change.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT",
              help="Where the forge reaches us; TLS is for a proxy in front.")  # fmt: skip
@click.option("--every", default="5m", show_default=True, help="Make a pass after this long in any case.")
@click.option("--pause", default="10s", show_default=True, help="Between two passes, however often the forge calls.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack and pass.")
def serve(webhook: bool, listen: str, every: str, pause: str, as_json: bool) -> int:
    """Make passes until stopped: at once, when woken by a webhook, and every few minutes."""
    import signal

    from controller.forges.webhook import Listener, Waker

    if not webhook:
        raise ConfigError("nothing to serve; add --webhook, and set PILOT_WEBHOOK_SECRET")
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--listen {listen}: write HOST:PORT, such as 127.0.0.1:8080")
    waker = Waker(lambda: _pass_anyway(as_json), every_s=_seconds(every, "--every"), pause_s=_seconds(pause, "--pause"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: waker.stop())
    with Listener(waker.wake, secret=_settings().webhook_secret, host=host.strip("[]"), port=int(port)) as listener:
        _console(stderr=True).print(f"listening on {host}:{listener.port}, a pass every {every}", markup=False)
        waker.serve()
    return 0


def _pass_anyway(as_json: bool) -> None:
    """Make a pass; what goes wrong is said, and the next one tries again."""
    try:
        _pass(stacks=(), dry_run=False, as_json=as_json)
    except Exception as error:
        _complain(error)


def _pass(*, stacks: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    from controller import reconcile as loop
    from controller.launch.news import told
    from controller.messages import data, screens

    world = _world()
    try:
        outcomes = loop.reconcile(world.reader, world.forge, now=_now(), stacks=stacks, dry_run=dry_run)
        if not dry_run:
            outcomes = [told(outcome, world.notifier, world.reader.source) for outcome in outcomes]
    finally:
        world.close()
    for outcome in outcomes:
        if outcome.decision is not None and as_json:
            click.echo(json.dumps(data.decision_json(outcome.decision) | {"actions": outcome.actions}))
        elif outcome.decision is not None:
            _console().print(f"[bold]{outcome.stack}[/bold] ", screens.verdict_line(outcome.decision), sep="")
            for action in outcome.actions or (() if outcome.error else ("nothing to do",)):
                _console().print(f"  {action}", markup=False)
        if outcome.error is not None:
            _complain(outcome.error, outcome.stack)
    return loop.exit_code(outcomes)


@cli.command()
@click.option("--stack", "stacks", multiple=True, help="Only this stack; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stack.")
def status(stacks: tuple[str, ...], as_json: bool) -> int:
    """Show each stack: declared, live, the verdict and why, the KPIs, the open pull request."""
    from controller import reconcile as loop
    from controller.messages import data, screens

    world = _world()
    outcomes = loop.reconcile(world.reader, world.forge, now=_now(), stacks=stacks, dry_run=True)
    for outcome in outcomes:
        if outcome.error is not None:
            _complain(outcome.error, outcome.stack)
        if outcome.decision is None or outcome.facts is None:
            continue
        if as_json:
            click.echo(json.dumps(data.decision_json(outcome.decision)))
        else:
            number = f"#{outcome.pull_request} is open" if outcome.pull_request else None
            _console().print(screens.status(outcome.facts, outcome.decision, number))
    return loop.exit_code(outcomes)


cli.add_command(kill)
cli.add_command(rollback)


@cli.command()
@click.option("--stack", required=True)
@click.option("--events", "paths", multiple=True, required=True, help="File or glob of JSON lines.")
@click.option("--now", type=Instant(), default=None, help="The instant of the decision; default now.")
@click.option("--since", type=Instant(), default=None,
              help="When the stage became live; default the pilot's first event in the files.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The decision as one JSON object.")
def decide(stack: str, paths: tuple[str, ...], now: datetime | None, since: datetime | None, as_json: bool) -> int:
    """Decide on recorded events, as if what is declared here were live. Changes nothing."""
    import gc

    from controller import offline
    from controller.messages import data

    gc.disable()  # a fifth of the time of a process that ends at once
    facts, decision = offline.decide(Path.cwd(), stack=stack, paths=paths, now=now or _now(), since=since)
    if as_json:
        click.echo(json.dumps(data.decision_json(decision), indent=2))
    else:
        from controller.messages import screens

        _console().print(screens.status(facts, decision, "decided on recorded events"))
    return 0


@cli.command()
@click.option("--events", "paths", multiple=True, required=True, help="File or glob of JSON lines or CSV.")
@click.option("--stack", help="Judge as this stack would be: its overrides, and what its file declares.")
@click.option("--policy", "policy_file", default="rollout.yaml", show_default=True, type=click.Path(path_type=Path))
@click.option("--since", type=Instant(), help="When the rollout began; default the pilot's first event in the files.")
@click.option("--percent", type=click.IntRange(1, 100), help="Stay at this percent; default climb the ladder.")
@click.option("--every", help="Time between two passes; default 5m, or longer so that there are 500 at most.")
@click.option("--json", "as_json", is_flag=True, help="Each pass as one JSON object a line.")
def backtest(
    paths: tuple[str, ...],
    stack: str | None,
    policy_file: Path,
    since: datetime | None,
    percent: int | None,
    every: str | None,
    as_json: bool,
) -> int:
    """Say what would have been decided at each pass on recorded events, and when. Changes nothing."""
    import gc

    from controller import backtest as past

    gc.disable()
    found = past.run(
        Path.cwd(), paths=paths, policy_file=policy_file, stack=stack, since=since, fixed=percent,
        every=timedelta(seconds=_seconds(every, "--every")) if every else None,
    )  # fmt: skip
    past.show(found, click.echo, as_json=as_json)
    return 0


@cli.command()
@click.option("--stack", required=True)
def history(stack: str) -> int:
    """Tell a stack's rollout from Git alone."""
    from controller import observe
    from controller.messages import screens

    repository = _repository()
    past = observe.past(repository, repository.sync(), stack)
    for line in screens.history(past):
        _console().print(line)
    return 0


for command in (launch_commands.preflight, launch_commands.doctor, launch_commands.watch):
    cli.add_command(command)


# ---------------------------------------------------------------- infrastructure


@cli.command()
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
            found = wiring.drift(_settings(), Path.cwd(), stack)
        except PilotError as error:
            _complain(error, stack)
            codes.append(75 if isinstance(error, TransientError) else 2)
            continue
        if exit_code and not found.clean:
            codes.append(75 if found.settling else 2)
        if as_json:
            click.echo(json.dumps(infrastructure.drift_json(found)))
        else:
            for line in infrastructure.drift_lines(found):
                _console().print(line, markup=False)
    return _worst(codes)


@cli.command()
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
            _complain(error, stack)
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


# ---------------------------------------------------------------- the policy


@cli.group()
def policy() -> None:
    """The policy `rollout.yaml`."""


@policy.command("check")
@click.argument("file", default="rollout.yaml", type=click.Path(path_type=Path))
@click.option("--traffic", "rates", multiple=True, metavar="[KPI=]RATE", help=_TRAFFIC)
@click.option("--events", "paths", multiple=True, help="Measure the traffic in these files.")
@click.option("--stack", help="The stages of this stack, where it has its own.")
def policy_check(file: Path, rates: tuple[str, ...], paths: tuple[str, ...], stack: str | None) -> int:
    """Check a policy, and say what its rules cost in false alarms and how long its stages need."""
    from controller import traffic
    from controller.policy import costs, load

    checked = load(_read(file), name=str(file))
    _console().print(
        f"{file}: {len(checked.stages)} stages, {len(checked.kpis)} KPIs, {len(checked.triggers)} triggers",
        markup=False,
    )
    checked = checked.for_stack(stack) if stack else checked
    for line in (*costs.costs(checked), *traffic.needs(checked, traffic.given(checked, rates, paths))):
        _console().print(f"  {line}", markup=False)
    return 0


@policy.command("schema")
def policy_schema() -> int:
    """Print the JSON Schema of a policy."""
    from controller.policy import json_schema

    click.echo(json_schema(), nl=False)
    return 0


# ---------------------------------------------------------------- around a launch

for command in operations_commands.COMMANDS:
    cli.add_command(command)


# ---------------------------------------------------------------- pull requests of a local forge


@cli.group()
def pr() -> None:
    """Pull requests of a local forge: what a person does on it."""


@pr.command("list")
@click.option("--all", "everything", is_flag=True, help="Ended ones too.")
def pr_list(everything: bool) -> int:
    """List the open pull requests."""
    for item in _forge().pull_requests(""):
        if everything or item.state == "open":
            check = f"  [{item.check[0]}: {item.check[1]}]" if item.check else ""
            _console().print(f"#{item.number}  {item.state}  {item.title}{check}", markup=False)
    return 0


@pr.command("show")
@click.argument("number", type=int)
def pr_show(number: int) -> int:
    """Show one pull request."""
    for item in _forge().pull_requests(""):
        if item.number == number:
            _console().print(f"#{item.number} {item.title} ({item.state})\n\n{item.body}", markup=False)
            return 0
    raise ConfigError(f"no pull request #{number} here; see pilot pr list --all")


@pr.command("merge")
@click.argument("number", type=int)
@click.option("--by", default=lambda: os.environ.get("USER", "someone"), help="Who merges.")
def pr_merge(number: int, by: str) -> int:
    """Merge a pull request as a person would."""
    oid = _forge().merge_by_person(number, by=by, at=_now())
    _console().print(f"merged #{number} as {oid[:12]}; next: pulumi up in each stack that it changes")
    return 0


@pr.command("close")
@click.argument("number", type=int)
@click.option("--by", default=lambda: os.environ.get("USER", "someone"), help="Who closes.")
def pr_close(number: int, by: str) -> int:
    """Close a pull request unmerged: the controller takes it as a veto."""
    _forge().close_by_person(number, by=by, at=_now())
    _console().print(f"closed #{number}; it is not proposed again until the stack file changes")
    return 0


# ---------------------------------------------------------------- rehearsal


@cli.command()
@click.option("--scenario", "names", multiple=True, help="Only this scenario; may be repeated.")
@click.option("--seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the Git repositories here.")
@click.option("--in-process", is_flag=True, help="Without the Pulumi engine, by its mocks.")
@click.option(
    "--figures", is_flag=True, help="Instead, simulate the policy here many times, and say how often it errs."
)
@click.option("--stack", help="With --figures: the policy as it holds for this stack.")
@click.option("--traffic", "rates", multiple=True, metavar="[KPI=]RATE", help=f"With --figures: {_TRAFFIC}")
@click.option("--events", "paths", multiple=True, help="With --figures: measure the traffic in these files.")
@click.option("--harm", "harms", multiple=True, metavar="KPI=SHARE", help="With --figures: this share of bad units.")
@click.option("--runs", type=click.IntRange(2), default=100, show_default=True, help="With --figures.")
@click.option("--json", "as_json", is_flag=True)
def rehearse(
    names: tuple[str, ...], seed: int, keep: Path | None, in_process: bool, figures: bool, stack: str | None,
    rates: tuple[str, ...], paths: tuple[str, ...], harms: tuple[str, ...], runs: int, as_json: bool,
) -> int:  # fmt: skip
    """Play whole rollouts on a virtual clock, healthy and gone wrong; or simulate many by their counts alone."""
    import gc

    gc.disable()  # a quarter of the time of the imports; each scenario collects again
    if figures:
        from controller import traffic
        from controller.policy import load
        from controller.rehearsal import figures_command

        policy = load(_read(Path("rollout.yaml")))
        policy = policy.for_stack(stack) if stack else policy
        given = traffic.given(policy, rates, paths)
        return figures_command.run(click.echo, policy, given, runs=runs, seed=seed, harms=harms, as_json=as_json)
    from controller.rehearsal import command

    return command.run(_console(), names=names, seed=seed, keep=keep, in_process=in_process, as_json=as_json)


# ---------------------------------------------------------------- wiring


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds(duration: str, option: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from controller.policy.values import Duration

    try:
        return TypeAdapter(Duration).validate_python(duration).total_seconds()
    except ValidationError as error:
        raise ConfigError(f"{option} {duration}: {error.errors()[0]['msg'].lower()}") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; run in the folder that holds it, or name it") from None


def _world() -> Any:
    from controller import wiring

    settings = _settings()
    world = wiring.world(settings, _now)
    _warn(wiring.warning(settings))
    return world


def _repository() -> Any:
    from controller import wiring

    return wiring.repository(_settings())


def _forge() -> Any:
    from controller import wiring

    return wiring.forge(_settings(), wiring.repository(_settings()), _now)


def _settings() -> Any:
    from controller.settings import Settings

    return Settings.load(os.environ)


@cache
def _warn(warning: str | None) -> None:
    """Say it to people, once a process however many passes that makes."""
    if warning is not None:
        _console(stderr=True).print(f"warning: {warning}", markup=False)


def _complain(error: Exception | None, stack: str = "") -> None:
    place = f"{stack}: " if stack else ""
    kind = "try again later" if isinstance(error, TransientError) else "error"
    if error is not None and not isinstance(error, PilotError):
        kind = f"unexpected {type(error).__name__}"
        _console(stderr=True).print("".join(traceback.format_exception(error)), markup=False)
    for line in str(error).splitlines():
        _console(stderr=True).print(f"{place}{kind}: {line}", markup=False)


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
        _complain(error)
        sys.exit(75 if isinstance(error, TransientError) else 2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
