"""The peers, and the same work done by us."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import ville  # type: ignore[import-untyped]

from controller import eprocess
from controller.forges.git import Git

JSON_LOOP = """
import json, sys
n = bad = 0
with open(sys.argv[1]) as file:
    for line in file:
        event = json.loads(line)
        if event["type"] == "mic_prompt" and event["arm"] == "pilot":
            n += 1
            bad += event["outcome"] != "granted"
print(bad, n)
"""
CELLS = 4032
_random = random.Random(1)
UPDATES = 10_000
_AGAINST = eprocess.ladder(0.15, eprocess.even(0.15, 0.20))
_UNITS = [int(_random.random() < 0.15) for _ in range(UPDATES)]
_COUNTS = [(20, sum(_random.random() < 0.15 for _ in range(20))) for _ in range(CELLS)]


def our_e_values() -> list[float]:
    cells = [eprocess.Cell(at, n, bad) for at, (n, bad) in enumerate(_COUNTS, 1)]
    return list(eprocess.e_path(cells, _AGAINST))


def villes_e_values() -> list[float]:
    test = ville.BernoulliTest(0.15)
    for n, bad in _COUNTS:
        test.update([1] * bad + [0] * (n - bad))
    return [float(e) for e in test.e_values_]


def our_updates() -> float:
    return eprocess.e_restarted((eprocess.Cell(at, 1, bad) for at, bad in enumerate(_UNITS, 1)), _AGAINST)


def villes_updates() -> float:
    test = ville.BernoulliTest(0.15)
    for bad in _UNITS:
        test.update([bad])
    return float(test.e_values_[-1])


def sync(folder: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """Two ways to learn that a repository has not changed: ours, and git's."""
    remote = folder / "remote.git"
    checkout = folder / "checkout"
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (
        ["git", "init", "-q", "--bare", "-b", "main", str(remote)],
        ["git", "init", "-q", "-b", "main", str(checkout)],
        ["git", "-C", str(checkout), *who, "commit", "-q", "--allow-empty", "-m", "begin"],
        ["git", "-C", str(checkout), "push", "-q", str(remote), "main"],
    ):
        subprocess.run(command, check=True)
    git = Git(remote)
    return git.sync, lambda: subprocess.run(["git", "ls-remote", str(remote)], check=True, capture_output=True)
