"""
A thousand stacks in one repository: what a pass without news costs, and whether it stays in its memory.

Real: Git on disk with a commit for every stack, the local forge with an open pull request for every twentieth, and
`reconcile` as it is. Not real: AWS and the events answer at once, with one hour of counts for the stacks that have a
pull request and none for the others, so what is measured is ours.
"""

from __future__ import annotations

import gc
import subprocess
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller import observe
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.model import Bucket, Deployment, Exposure, Live, Query, Recorded, Series, Service, Window
from controller.reconcile import ADVANCES_A_PASS, exit_code, reconcile

STACKS = 1000
OPEN = 50
PASSES = 5
ROOT = Path(__file__).parents[1]
LAUNCH = datetime(2026, 3, 1, tzinfo=UTC)
NOW = LAUNCH + timedelta(days=20)
NAMES = [f"s{n:04}" for n in range(STACKS)]
HEALTHY = frozenset(NAMES[:: STACKS // OPEN])


class Heard:
    """Every KPI is healthy."""

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        end = int(window.now.timestamp()) - 300
        buckets = tuple(Bucket(end - 300 * i, 50, 0, 0) for i in range(12, 0, -1))
        heard = {
            query.name: Series(buckets, estimate=1.0 if query.quantile else None, last=window.now)
            for query in queries
            if query.name != "exposure" and not query.name.startswith("trigger:")
        }
        return Recorded(heard, last=window.now)


class Silent:
    """Nothing has been heard."""

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        return Recorded({})


class Applied:
    """Every service runs what is declared."""

    def read(self, service: Service, exposure: Exposure, region: str | None) -> Live:
        return Live(10, LAUNCH + timedelta(days=1), Deployment.COMPLETED, service.image, flags={"micPrompt": "primer"})


def begin(folder: Path) -> Path:
    """The repository: every stack at 0 %, then a commit a stack that raises it to 10 %."""
    remote = folder / "stacks.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    policy = (ROOT / "rollout.yaml").read_text().split("# Staging runs ahead")[0]
    file = (ROOT / "Pulumi.prod.yaml").read_text()
    when = int(LAUNCH.timestamp())
    parts = [_commit(when, "begin"), _file("rollout.yaml", policy)]
    parts += [_file(f"Pulumi.s{n:04}.yaml", _of(file, n)) for n in range(STACKS)]
    for n in range(STACKS):
        raised = _of(file, n).replace("percent: 0 ", "percent: 10 ")
        parts += [_commit(when + 60 + n, f"raise s{n:04}"), _file(f"Pulumi.s{n:04}.yaml", raised)]
    stream = "".join(parts).encode()
    subprocess.run(["git", "-C", str(remote), "fast-import", "--quiet"], input=stream, check=True)
    return remote


def _of(file: str, n: int) -> str:
    return file.replace("ontogra-cluster", f"cluster-{n}")


def _commit(when: int, message: str) -> str:
    return f"commit refs/heads/main\ncommitter Ana <ana@example.com> {when} +0000\n{_data(message)}"


def _file(name: str, text: str) -> str:
    return f"M 100644 inline {name}\n{_data(text)}"


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def one_pass(git: Git) -> list[str]:
    """One pass; what it did."""
    reader = observe.Reader(git, Applied(), lambda stack, policy: Heard() if stack in HEALTHY else Silent())
    outcomes = reconcile(reader, LocalForge(git, actor="pilot", now=lambda: NOW), now=NOW)
    assert exit_code(outcomes) == 0, next(outcome.error for outcome in outcomes if outcome.error)
    return [action for outcome in outcomes for action in outcome.actions]


def prepared(folder: Path) -> tuple[Callable[[], None], Callable[[], None], Callable[[], dict[str, int]]]:
    """
    A pass without news, as a process that has just begun makes it; the peer; and the memory that passes keep.

    The peer is what Git itself takes to say where the refs are and to hand out the same thousand files.
    """
    remote, mirror = begin(folder), folder / "mirror"
    opened = [action for _ in range(OPEN // ADVANCES_A_PASS) for action in one_pass(Git(remote, directory=mirror))]
    assert sum("opened" in action for action in opened) == OPEN, opened[:3]

    def ours() -> None:
        observe._declared.cache_clear()
        observe._policy.cache_clear()
        git = Git(remote, directory=mirror)
        assert one_pass(git) == []
        git.close()

    def peer() -> None:
        subprocess.run(["git", "ls-remote", str(remote)], check=True, capture_output=True)
        asked = "".join(f"main:Pulumi.{name}.yaml\n" for name in NAMES).encode()
        subprocess.run(
            ["git", "-C", str(remote), "cat-file", "--batch"], input=asked, check=True, capture_output=True
        )  # fmt: skip

    def memory() -> dict[str, int]:
        tracemalloc.start()
        git, kept = Git(remote, directory=mirror), []
        for _ in range(PASSES):
            one_pass(git)
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return {"kept_after_pass_1_bytes": kept[0], f"kept_after_pass_{PASSES}_bytes": kept[-1]}

    return ours, peer, memory
