"""Simulated rollouts are judged by the rule, and their figures are told with their errors."""

from __future__ import annotations

import json
import math
import random
import statistics
from typing import Any

import pytest

from controller.errors import ConfigError
from controller.model import Verdict
from controller.rehearsal import figures, figures_command
from controller.rehearsal.figures import World, known, poisson, simulate
from controller.rehearsal.figures_command import Figure
from controller.traffic import Truth
from tests.facts import POLICY

TRAFFIC = dict.fromkeys(POLICY.kpis, 1800.0)
SMALL = known(POLICY, {"mic_grant": 1.0, "error_rate": 1.0})


@pytest.mark.parametrize("mean", [0.0, 0.3, 9.9, 10.1, 60.0, 3000.0])
def test_poisson_numbers_have_their_mean_and_variance(mean: float) -> None:
    """Each within 4.5 standard errors, by a fixed seed; either side of where the method changes."""
    draw = random.Random(5)
    found = [poisson(draw, mean) for _ in range(4000)]
    assert abs(statistics.fmean(found) - mean) <= 4.5 * math.sqrt(mean / 4000)
    assert abs(statistics.variance(found) - mean) <= 4.5 * mean * math.sqrt(2 / 4000) + 4.5 * math.sqrt(mean / 4000)
    assert all(isinstance(number, int) and number >= 0 for number in found)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("truths", [{}, {"mic_grant": "warning"}, {"error_rate": "harm"}, {"error_rate": "target"}])
def test_a_look_that_is_passed_over_would_have_held(
    seed: int, truths: dict[str, Truth], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most looks are not judged since nothing can come of them; judging them all ends no run otherwise."""
    world = World(SMALL, TRAFFIC, truths)
    quick = simulate(world, str(seed))
    monkeypatch.setattr(figures._Run, "_may_revert", lambda self: True)

    assert simulate(world, str(seed)) == quick


def test_healthy_rollouts_climb_and_harmful_ones_are_reverted() -> None:
    healthy = [simulate(World(SMALL, TRAFFIC), str(seed)) for seed in range(5)]
    assert {(end.verdict, end.left) for end in healthy} == {(Verdict.ADVANCE, (10, 20, 50))}
    assert all(end.days >= 12 + 1 / 24 for end in healthy)

    harm = World(SMALL, TRAFFIC, rates={"error_rate": 0.3})
    worse = [simulate(harm, str(seed)) for seed in range(5)]
    assert {end.verdict for end in worse} == {Verdict.REVERT}
    assert all(end.days < 1 for end in worse)


def test_the_users_drawn_are_the_traffic_times_the_share() -> None:
    """12 days and an hour: 1 h at 10 %, 5 d at 20 %, 7 d at 50 %, and what the looks are late by."""
    ends = [simulate(World(SMALL, TRAFFIC), str(seed)) for seed in range(6)]
    expected = 1800 * (0.1 / 24 + 5 * 0.2 + 7 * 0.5)
    assert statistics.fmean(end.units["mic_grant"] for end in ends) == pytest.approx(expected, rel=0.05)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lines of a small simulation, in this process."""
    monkeypatch.setattr(
        figures_command,
        "_simulated",
        lambda worlds, seeds: {name: [simulate(world, seed) for seed in seeds] for name, world in worlds.items()},
    )

    def tell(**more: Any) -> list[str]:
        lines: list[str] = []
        few = {"mic_grant": 1800.0, "error_rate": 1800.0}
        assert figures_command.run(lines.append, POLICY, few, runs=3, seed=1, **more) == 0
        return lines

    return tell


def test_figures_are_told_with_their_errors_and_what_they_rest_on(told: Any) -> None:
    lines = told(harms=["error_rate=30%"])
    text = "\n".join(lines)

    assert lines[0] == "units a day: mic_grant 1800, error_rate 1800"
    assert "false revert, every KPI just at its target: none of 3 (< 63.2 %) (allowed 1 %)" in lines
    assert "a healthy release reaches 100 %: all of 3 (> 36.8 %), after 12" in text
    assert "bake times alone: 12d 1h" in text
    (harm,) = (line for line in lines if line.startswith("  error_rate") and "30 %" in line)
    assert "all of 3" in harm
    assert " ± " in harm
    assert "never reverted by evidence, their weight is 0: mic_grant" in text
    assert lines[-2] == "Left out, since their traffic is not known: ttv_p50, ttv_p90, activation."
    assert lines[-1].startswith("± is the standard error. Simulated:")


def test_figures_as_json_are_the_same_for_the_same_seed(told: Any) -> None:
    (line,), (again,) = told(as_json=True), told(as_json=True)
    assert line == again
    data = json.loads(line)
    assert {"runs", "seed", "traffic_a_day", "false_revert", "false_advance", "days", "harms"} <= data.keys()
    assert data["false_revert"] == {"mean": 0.0, "error": 0.0, "runs": 3}


def test_a_share_is_told_with_its_standard_error() -> None:
    figure = Figure.share([True] * 20 + [False] * 80)
    assert figure.error == pytest.approx(0.04)
    assert figure.percent == "20 % ± 4 %"
    assert Figure.share([False] * 300).percent == "none of 300 (< 0.994 %)"


@pytest.mark.parametrize(
    ("rates", "harms", "says"),
    [
        ({}, [], "no required KPI's traffic is known"),
        (TRAFFIC, ["mic_grant=10%"], "KPIs that revert: ttv_p50, ttv_p90, activation, error_rate"),
        (TRAFFIC, ["error_rate=a lot"], "write a share such as 2%"),
    ],
)
def test_what_cannot_be_simulated_is_refused(rates: dict[str, float], harms: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        figures_command.run(print, POLICY, rates, runs=2, seed=1, harms=harms)


def test_processes_do_the_work_of_one() -> None:
    worlds = {"healthy": World(SMALL, TRAFFIC), "harm": World(SMALL, TRAFFIC, {"error_rate": "harm"})}
    seeds = ["a", "b", "c"]

    ends = figures_command._simulated(worlds, seeds)

    assert ends == {name: [simulate(world, seed) for seed in seeds] for name, world in worlds.items()}
