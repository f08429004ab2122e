"""
Write docs/mutants.md from the last `mutmut run`: `python -m tools.mutants`, which `make mutants` ends with.

A survivor keeps the reason that the file gives for it, found by its function and its change. The command fails
where a module's tests kill less than LEAST of its mutants, a mutant was not run, or a survivor has no reason.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

LEAST = 0.95  # share of a module's mutants that its tests kill
FILE = Path("docs/mutants.md")
KILLED = {"killed", "timeout"}
SURVIVED = {"survived", "no tests"}  # every other status is of a mutant that was not run to its end
UNKNOWN = "no reason yet"
_HEAD = """# Mutants

`make mutants` changes the code of the core in one place at a time (mutmut) and runs the tests that reach the change.
At least 95 % of a module's mutants must be killed, and each survivor has its reason here. The command rewrites this
file and keeps the reasons. What is computed when a test file is imported runs on the code as it is, and functions
with a decorator are not mutated.

| module | mutants | killed | survived | not run |
|---|---|---|---|---|
"""


def _results() -> list[str]:
    """Return every mutant with what became of it, as mutmut prints them."""
    command = [sys.executable, "-m", "mutmut", "results", "--all", "true"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _reasons(text: str) -> dict[str, str]:
    """Return the reasons of a written file, by what stands above them: the function and the change."""
    return {
        what: " ".join(why.split())
        for what, why in re.findall(r"(`[\w.]+`:\n```diff\n.*?```)\n\n(.*?)\n(?:\n|\Z)", text, re.S)
    }


def _survivor(module: str, mutant: str) -> str:
    """Return the function and the lines that differ."""
    function = (
        mutant.rpartition(".")[2].rpartition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    )
    diff = get_diff_for_mutant(mutant, path=Path(module.replace(".", "/") + ".py"))
    changed = [line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
    return "\n".join([f"`{function}`:", "```diff", *(f"{line[0]} {line[1:].strip()}" for line in changed), "```"])


def main() -> int:
    """Write the file; return 1 where it is not as promised."""
    reasons, found = _reasons(FILE.read_text() if FILE.exists() else ""), defaultdict(list)
    for line in _results():
        mutant, _, status = line.strip().partition(": ")
        found[mutant.split(".x")[0]].append((mutant, status))
    rows, survivors, wrong = [], [], []
    for module, mutants in found.items():
        count = Counter("killed" if s in KILLED else "survived" if s in SURVIVED else "not run" for _, s in mutants)
        rows.append(f"| {module} | {len(mutants)} | {count['killed']} | {count['survived']} | {count['not run']} |")
        if count["killed"] < LEAST * (run := len(mutants) - count["not run"]):
            wrong.append(f"{module}: {count['killed']} of {run} mutants killed, less than {LEAST:.0%}")
        if count["not run"]:
            wrong.append(f"{module}: {count['not run']} mutants not run")
        survivors.append(f"\n## {module}\n")
        for what in (_survivor(module, mutant) for mutant, status in mutants if status in SURVIVED):
            survivors.append(f"{what}\n\n{reasons.get(what, UNKNOWN)}\n")
            if reasons.get(what, UNKNOWN) == UNKNOWN:
                wrong.append(f"{module}: a survivor without a reason, in {what}")
    FILE.write_text(_HEAD + "\n".join([*rows, *survivors]))
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
