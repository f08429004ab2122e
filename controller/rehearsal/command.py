"""`pilot rehearse`: play the scenarios, two at a time, and show how each ended."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from controller.errors import ConfigError
from controller.rehearsal.incident import Incident
from controller.rehearsal.launch_day import LaunchDay
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.localcloud.engine import Engine, find_pulumi
from controller.rehearsal.localcloud.inprocess import InProcess
from controller.rehearsal.play import DAY_BEFORE, Play, Story
from controller.rehearsal.scenarios import RUNBOOKS, SCENARIOS

_KNOWN = {scenario.name: scenario for scenario in (*SCENARIOS, *RUNBOOKS)}
_PLAYS: dict[str, type[Play]] = {"launch-day": LaunchDay, "incident": Incident}
SHIPPED = Path(__file__).parents[2]
SIMULATED = (
    "Simulated: the clock, the users and their events, the people who merge, what the preflight's commands and pages "
    "answer, and AWS (a local stand-in). "
    "Real: the Git repository and its pull requests, the policy, the decision, the Pulumi program{engine}. "
    "Passes are made every 15 minutes after a fault or while a merge is awaited; where only time must pass, when the "
    "controller said that it would look again; else every hour for three hours after anything happened; and every 12 "
    "hours at the least. A production controller looks every 5 minutes, and so sees what happens sooner."
)


def run(
    out: Console,
    *,
    names: Sequence[str],
    seed: int,
    keep: Path | None,
    in_process: bool,
    as_json: bool,
) -> int:
    """
    Play the named scenarios, or all but the runbooks' days, and print timelines, pull requests and the table of ends.

    Returns 0 when every scenario ended as it must, else 2.
    """
    known = list(_KNOWN)
    for name in names:
        if name not in known:
            raise ConfigError(f"no scenario {name}; there are: {', '.join(known)}")
    keep = keep.absolute() if keep is not None else None
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise ConfigError(f"{keep} is not empty; name a new folder to keep the rehearsal in")
    pulumi = None if in_process else find_pulumi()
    engine = ", and the Pulumi engine" if pulumi else "; no Pulumi engine: its resources are applied in this process"
    chosen = list(names) or [scenario.name for scenario in SCENARIOS]
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory() as folder:
        stories = _play(out, chosen, seed, Path(folder), pulumi, quiet=as_json)
    if as_json:
        out.print_json(data=[_as_data(story) for story in stories])
    else:
        for story in stories:
            _show(out, story)
        out.print(_table(stories))
        out.print(SIMULATED.format(engine=engine))
        if keep:
            out.print(f"Kept in {keep}: <scenario>/repository.git and <scenario>/events", markup=False)
    return 2 if any(story.wrong for story in stories) else 0


def _play(
    out: Console, names: Sequence[str], seed: int, folder: Path, pulumi: Path | None, *, quiet: bool
) -> list[Story]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TimeElapsedColumn())  # fmt: skip
    bar = Progress(*columns, console=out, disable=quiet or not out.is_terminal, transient=True)
    stories: dict[str, Story] = {}
    longest_first = sorted(names, key=lambda name: -_KNOWN[name].days)
    # Forked before the bar starts its thread: what is imported by now, two seconds' worth, is not imported again.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    cores = os.cpu_count() or 1
    workers = cores + 1 if pulumi else cores  # an engine run leaves a core idle at times
    with ProcessPoolExecutor(min(workers, len(names)), mp_context=context) as pool:
        jobs = [pool.submit(play, name, seed, folder / name, pulumi) for name in longest_first]
        with bar:
            task = bar.add_task("rehearsing", total=len(names))
            for job in as_completed(jobs):
                story = job.result()
                stories[story.scenario] = story
                bar.advance(task)
                if not quiet and not out.is_terminal:
                    out.print(f"{story.scenario}: {'as it must' if not story.wrong else 'WRONG'}")
    return [stories[name] for name in names]


def play(name: str, seed: int, folder: Path, pulumi: Path | None) -> Story:
    """Play one scenario by name; in a process of its own, since moto keeps one account a process."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 50, 50)  # the world of a scenario is large and lives to its end
    scenario, player = _KNOWN[name], _PLAYS.get(name, Play)
    folder.mkdir(parents=True)
    with LocalAws(DAY_BEFORE, seed=seed) as aws:
        if pulumi is None:
            return player(scenario, seed, folder, SHIPPED, aws, InProcess(aws)).run()
        with Engine(aws, pulumi) as engine:
            return player(scenario, seed, folder, SHIPPED, aws, engine).run()


def _show(out: Console, story: Story) -> None:
    out.rule(story.scenario, align="left")
    for line in transcript(story):
        out.print(line, markup=False)


def transcript(story: Story) -> Iterator[str]:
    """The timeline, a line for each thing that happened, what people read indented; then the pull requests."""
    for beat in story.beats:
        first, *more = beat.text.split("\n")
        yield f"{beat.at:%a %d %b %H:%M}  {first}"
        yield from (f"{'':18}{line}".rstrip() for line in more)
    yield "pull requests:"
    yield from (f"  #{pr.number}  {pr.state:<7} {pr.title}" for pr in story.pull_requests)


def _table(stories: Sequence[Story]) -> Table:
    table = Table(title="How each scenario ended", title_justify="left")
    for column in ("scenario", "declared", "live", "passes", "ended", "the controller's last word"):
        table.add_column(column, justify="right" if column in ("declared", "live", "passes") else "left")
    for story in stories:
        ended = "as it must" if not story.wrong else "[bold red]WRONG[/bold red]"
        words = story.says if not story.wrong else "; ".join(story.wrong)
        table.add_row(
            story.scenario,
            f"{story.declared} %",
            f"{story.live} %",
            str(story.passes),
            ended,
            words,
        )
    return table


def _as_data(story: Story) -> dict[str, object]:
    return {
        "scenario": story.scenario,
        "ok": not story.wrong,
        "wrong": list(story.wrong),
        "declared": story.declared,
        "live": story.live,
        "passes": story.passes,
        "says": story.says,
        "commits": list(story.commits),
        "timeline": [{"at": beat.at.isoformat(), "text": beat.text} for beat in story.beats],
        "pull_requests": [
            {"number": pr.number, "state": str(pr.state), "title": pr.title} for pr in story.pull_requests
        ],
    }
