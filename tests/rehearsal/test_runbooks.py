"""The days of the runbooks: their transcripts to the letter, and each line of docs/runbook.md ticked in one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.rehearsal.command import play, transcript
from tests.rehearsal.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "rehearsal"
# What other scenarios play (late-drop flips the prompt), or what is a command to type on any day.
ELSEWHERE = {
    "Mic grant dips > 10 % against control: native prompt for all",
    "TTV p90 > 5 s consistently: back to 10 %",
    "Activation < 40 %: check analytics events and user flow",
    "Quick KPI check",
    "Flag change",
}


@pytest.mark.parametrize("name", ["launch-day", "incident"])
def test_a_day_goes_by_the_runbook_to_the_letter(name: str, tmp_path: Path) -> None:
    story = play(name, 1, tmp_path / name, None)

    assert story.wrong == ()
    told = [re.sub(r"ecs-svc/\d+", "ecs-svc/1", line) for line in transcript(story)]  # AWS numbers by chance
    assert told == (GOLDEN / f"{name}.txt").read_text().splitlines()


def test_each_line_of_the_runbooks_is_ticked_by_the_product() -> None:
    said = "".join((GOLDEN / f"{name}.txt").read_text() for name in ("launch-day", "incident"))
    ticked = set(re.findall(r"(?m)^.{18}\[x\] (.*)$", said))
    rows = re.findall(r"(?m)^\| (.+?) \| (?:you|Pilot)", (ROOT / "docs" / "runbook.md").read_text())

    assert len(rows) > 60
    assert ticked | ELSEWHERE == set(rows)
    assert "[ ] " not in said
