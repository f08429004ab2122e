"""What a policy says and costs: `policy`, `backtest` on what was recorded, `rehearse` on what is simulated."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click

from controller.cli.terminal import TRAFFIC, Instant, Length, console, read


@click.group()
def policy() -> None:
    """The policy `rollout.yaml`."""


@policy.command("check")
@click.argument("file", default="rollout.yaml", type=click.Path(path_type=Path))
@click.option("--traffic", "rates", multiple=True, metavar="[KPI=]RATE", help=TRAFFIC)
@click.option("--events", "paths", multiple=True, help="Measure the traffic in these files.")
@click.option("--stack", help="The stages of this stack, where it has its own.")
def policy_check(file: Path, rates: tuple[str, ...], paths: tuple[str, ...], stack: str | None) -> int:
    """Check a policy, and say what its rules cost in false alarms and how long its stages need."""
    from controller import traffic
    from controller.policy import costs, load

    checked = load(read(file), name=str(file))
    console().print(
        f"{file}: {len(checked.stages)} stages, {len(checked.kpis)} KPIs, {len(checked.triggers)} triggers",
        markup=False,
    )
    checked = checked.for_stack(stack) if stack else checked
    for line in (*costs.costs(checked), *traffic.needs(checked, traffic.given(checked, rates, paths))):
        console().print(f"  {line}", markup=False)
    return 0


@policy.command("schema")
def policy_schema() -> int:
    """Print the JSON Schema of a policy."""
    from controller.policy import json_schema

    click.echo(json_schema(), nl=False)
    return 0


@click.command()
@click.option("--events", "paths", multiple=True, required=True, help="File or glob of JSON lines or CSV.")
@click.option("--stack", help="Judge as this stack would be: its overrides, and what its file declares.")
@click.option("--policy", "policy_file", default="rollout.yaml", show_default=True, type=click.Path(path_type=Path))
@click.option("--since", type=Instant(), help="When the rollout began; default the pilot's first event in the files.")
@click.option("--percent", type=click.IntRange(1, 100), help="Stay at this percent; default climb the ladder.")
@click.option("--every", type=Length(), help="Time between two passes; default 5m, or longer for 500 at most.")
@click.option("--json", "as_json", is_flag=True, help="Each pass as one JSON object a line.")
def backtest(
    paths: tuple[str, ...],
    stack: str | None,
    policy_file: Path,
    since: datetime | None,
    percent: int | None,
    every: timedelta | None,
    as_json: bool,
) -> int:
    """Say what would have been decided at each pass on recorded events, and when. Changes nothing."""
    import gc

    from controller import backtest as past

    gc.disable()
    found = past.run(
        Path.cwd(), paths=paths, policy_file=policy_file, stack=stack, since=since, fixed=percent,
        every=every,
    )  # fmt: skip
    past.show(found, click.echo, as_json=as_json)
    return 0


@click.command()
@click.option("--scenario", "names", multiple=True, help="Only this scenario; may be repeated.")
@click.option("--seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the Git repositories here.")
@click.option("--in-process", is_flag=True, help="Without the Pulumi engine, by its mocks.")
@click.option(
    "--figures", is_flag=True, help="Instead, simulate the policy here many times, and say how often it errs."
)
@click.option("--stack", help="With --figures: the policy as it holds for this stack.")
@click.option("--traffic", "rates", multiple=True, metavar="[KPI=]RATE", help=f"With --figures: {TRAFFIC}")
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

        here = load(read(Path("rollout.yaml")))
        here = here.for_stack(stack) if stack else here
        given = traffic.given(here, rates, paths)
        return figures_command.run(click.echo, here, given, runs=runs, seed=seed, harms=harms, as_json=as_json)
    from controller.rehearsal import command

    return command.run(console(), names=names, seed=seed, keep=keep, in_process=in_process, as_json=as_json)
