"""
`make bench`: what Pilot costs, as a ratio to a named peer that does the same work in the same run.

`python -m bench forges` runs one. Absolute times belong to the machine; the ratio is what is kept in results.json.

`decisions` measures no time but what is decided, see docs/decisions.md, and takes minutes. It writes its tables there
and into the README. With `--quick` it takes half a minute, prints the short table and writes nothing.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import forges, peers
from bench.decisions import measure, report
from bench.events import write_events

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results.json")
EVENTS = 1_000_000
ROUNDS = 5


def paired(ours: Callable[[], object], peer: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of each, in turn, after one round that does not count; the median ratio of the pairs."""
    pairs = [(seconds(ours), seconds(peer)) for _ in range(rounds + 1)][1:]
    return {
        "ours_s": round(statistics.median(a for a, _ in pairs), 4),
        "peer_s": round(statistics.median(b for _, b in pairs), 4),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
        "rounds": rounds,
    }


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decide_on_a_million(folder: Path) -> dict[str, float]:
    """`pilot decide`, a process from start to end, against a Python loop over json.loads that counts one KPI."""
    file = folder / "events.jsonl"
    write_events(file, EVENTS)
    for name in ("rollout.yaml", "Pulumi.prod.yaml"):
        text = (ROOT / name).read_text().replace("percent: 0 ", "percent: 10 ")
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "controller.cli", "decide", "--stack", "prod", "--events", str(file),
               "--now", "2026-03-16T00:00:00Z", "--json"]  # fmt: skip
    loop = [sys.executable, "-c", peers.JSON_LOOP, str(file)]

    def run(what: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(what, cwd=folder, check=True, capture_output=True)

    return paired(run(command), run(loop), rounds=3)


def two_weeks_of_peeks() -> dict[str, float]:
    """One KPI's revert e-value at each of 4,032 five-minute peeks, against ville's BernoulliTest fed the same cells."""
    return paired(peers.our_e_values, peers.villes_e_values)


def updates() -> dict[str, float]:
    """10,000 updates of one KPI's revert e-value, unit by unit, against ville's BernoulliTest."""
    return paired(peers.our_updates, peers.villes_updates)


def pass_without_news(folder: Path) -> dict[str, float]:
    """A sync that finds nothing new, against `git ls-remote` of the same repository."""
    ours, git = peers.sync(folder)
    return paired(ours, git)


def thousand_stacks(folder: Path) -> dict[str, float]:
    """
    A pass without news over 1,000 stacks, against `git ls-remote` and `git cat-file --batch` of the same files.

    Fails where it takes ten seconds, or where a fifth pass keeps a tenth more memory than the first.
    """
    ours, peer, memory = forges.prepared(folder)
    figures = paired(ours, peer, rounds=3) | memory()
    first, last = (figures[key] for key in figures if key.startswith("kept"))
    if figures["ours_s"] >= 10 or last > 1.1 * first:
        raise SystemExit(f"a pass over 1,000 stacks takes too much: {figures}")
    return figures


TARGETS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "decide": ("decide on 1,000,000 events / Python json loop", decide_on_a_million),
    "peeks": ("4,032 peeks of one KPI / ville BernoulliTest", lambda _: two_weeks_of_peeks()),
    "update": ("10,000 updates of one KPI / ville BernoulliTest", lambda _: updates()),
    "sync": ("sync without news / git ls-remote", pass_without_news),
    "forges": ("pass without news over 1,000 stacks / git ls-remote and cat-file", thousand_stacks),
    "decisions": (report.RESULT, lambda _: measure.run()),
}


def in_lines(value: object, depth: int = 4, indent: str = "") -> str:
    """JSON with one line for each value down to *depth*."""
    if not depth or not isinstance(value, dict):
        return json.dumps(value)
    inner = indent + "  "
    lines = (f"{inner}{json.dumps(key)}: {in_lines(one, depth - 1, inner)}" for key, one in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def main() -> None:
    if sys.argv[1:] == ["decisions", "--quick"]:
        print(report.short(measure.run(measure.QUICK)))
        return
    wanted = sys.argv[1:] or list(TARGETS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = {TARGETS[name][0]: TARGETS[name][1](folder) for name in wanted}
    for what, figures in measured.items():
        if "ratio" in figures:
            print(f"{what}: {figures['ratio']} ({figures['ours_s']} s / {figures['peer_s']} s)")
    if wanted != list(TARGETS):
        measured = json.loads(RESULTS.read_text())["measured"] | measured
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    RESULTS.write_text(in_lines({"machine": machine, "measured": measured}) + "\n")
    if report.RESULT in measured:
        report.write(measured[report.RESULT])
        print(report.short(measured[report.RESULT]))


if __name__ == "__main__":
    main()
