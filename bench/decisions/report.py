"""The figures as tables, put between markers into the README and into docs/decisions.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.decisions.limits import wald
from bench.decisions.peers import METHODS
from bench.decisions.streams import ALPHA, SCENARIOS, TRAFFIC
from controller.eprocess import GRID

RESULT = "decisions on simulated streams"  # its name in results.json
BEGIN, END = "<!-- python -m bench decisions -->", "<!-- end -->"
ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "decisions.md"
EVER = 0.99  # share of reverted runs from which a mean of the units says something
EARLY = 0.5  # share reverted before a late drop from which it does not
PILOT = "pilot"
Results = dict[str, Any]
HEAD = (
    "method", "promises false reverts", "false revert, first analysis", "false revert, 14 days", "false advance",
    "users until the revert of 25 % bad", "the same, calibrated", "users after a late drop", "the same, calibrated",
)  # fmt: skip


def write(results: Results) -> None:
    for path, new in ((README, short(results)), (PAGE, full(results))):
        path.write_text(spliced(path.read_text(), new))


def spliced(text: str, new: str) -> str:
    """*text* with *new* between its markers."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{new}{END}{tail}"


def short(results: Results) -> str:
    return table(HEAD, methods(results, "50/h"))


def full(results: Results) -> str:
    parts = [
        f"{results['runs']:,} streams a scenario and traffic ({results['slow_runs']:,} for Kayenta), and of each rate; "
        f"{results['samples']:,} of the change of measure; {results['calibration']:,} calibrate the CUSUM. "
        f"Seed {results['seed']}.\n"
    ]
    for traffic in TRAFFIC:
        parts += [f"### {traffic}\n", table(HEAD, methods(results, traffic)), scenarios(results, traffic)]
    parts += ["### A release exactly at its targets\n", targets(results)]
    parts += ["### Against Wald's limit\n", design(results), "### A late drop\n", late(results)]
    return "\n" + "\n".join(parts) + "\n"


# ---------------------------------------------------------------- tables


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def methods(results: Results, traffic: str) -> list[list[str]]:
    """A row a method; last what no method of the same promise can beat."""
    rows = []
    for name in (PILOT, *METHODS):
        at = {key: results["methods"][f"{traffic}, {key}, {name}"] for key in SCENARIOS}
        pilot = name == PILOT
        rows.append(
            [
                title(name),
                f"{ALPHA:.0%}" if pilot else METHODS[name].promise,
                share(at["target"], "reverted_first"),
                chance(results["false revert"][f"one KPI, {traffic}"]) if pilot else share(at["target"], "reverted"),
                share(at["warning"], "advanced"),
                *(units(row) for key in ("bad", "late") for row in (at[key], at[key].get("calibrated"))),
            ]
        )
    look = TRAFFIC[traffic] * GRID / 3600  # nobody decides before it
    bad, drop = max(wald(SCENARIOS["bad"].rate), look), results["late drop"][traffic]["oracle"]
    limit = "*limit*: Wald; a calibrated CUSUM that knows the rate"
    return [*rows, [limit, f"{ALPHA:.0%}", "", "", "", number(bad), "", number(drop), ""]]


def scenarios(results: Results, traffic: str) -> str:
    rows = [
        [title(name), *(detail(results["methods"][f"{traffic}, {key}, {name}"]) for key in SCENARIOS)]
        for name in (PILOT, *METHODS)
    ]
    return table(["method", *(scenario.title for scenario in SCENARIOS.values())], rows)


def targets(results: Results) -> str:
    rows = [
        [key, chance(found), f"{found['low']:.2%} to {found['high']:.2%}"]
        for key, found in results["false revert"].items()
    ]
    return table(["policy, units of each KPI", "reverted in 14 days", "95 % interval"], rows)


def design(results: Results) -> str:
    rows = [
        [
            kpi,
            f"{at['rate']:.0%}",
            number(at["wald"]),
            number(at["mean"]),
            f"{at['ratio']:.2f} ± {at['se']:.2f}",
            f"{at['oracle']:.2f}",
        ]
        for kpi, rates in results["to revert"].items()
        for at in rates
    ]
    return table(["target", "true rate", "Wald", "units", "ratio", "test that knows the rate"], rows)


def late(results: Results) -> str:
    rows = [
        [
            traffic,
            around(at["mean"], at["se"]),
            around(at["oracle"], at["oracle_se"]),
            f"{at['ratio']:.2f}",
            number(at["proven_cusum"]),
            number(at["lorden"]),
        ]
        for traffic, at in results["late drop"].items()
    ]
    return table(["units", "Pilot", "calibrated CUSUM", "ratio", "CUSUM at T / alpha", "Lorden"], rows)


# ---------------------------------------------------------------- cells


def title(name: str) -> str:
    return "**Pilot**" if name == PILOT else METHODS[name].title


def number(value: float) -> str:
    if value >= 1e5:
        return f"{value / 1e6:.2g} M"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def around(value: float, error: float) -> str:
    return f"{number(value)} ± {number(error)}"


def share(row: Results, key: str) -> str:
    value, error = row[key], row[f"{key}_se"]
    return f"{value:.1%} ± {error:.1%}" if error else f"{value:.0%}"


def chance(found: Results) -> str:
    if found["probability"] < 1e-5:
        return "< 0.001%"
    return f"{found['probability']:.3%} ± {found['se']:.3%}"


def units(row: Results | None) -> str:
    """Mean units until the revert with their standard error, or how many were reverted at all, or too early."""
    if row is None:
        return ""
    if row.get("before", 0) > EARLY:
        return f"{row['before']:.0%} before it"
    if row["reverted"] < EVER:
        return f"{row['reverted']:.1%} ever" if row["reverted"] else "never"
    return around(row["mean"], row["mean_se"])


def detail(row: Results) -> str:
    """The same with the median, and the excess of bad units."""
    text, early = units(row), row.get("before", 0) > EARLY
    if row["reverted"] >= EVER and not early:
        text += f" ({number(row['median'])})"
    return text if early or "excess" not in row else f"{text}; {number(row['excess'])}"
