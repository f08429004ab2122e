"""The messages that people get on launch day: golden files, and the runbook's templates word for word."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from controller.messages import announcements
from controller.model import Announcement
from controller.policy import Policy, load
from tests.facts import NOW, ROOT

GOLDEN = ROOT / "tests" / "golden" / "announcements"
_TEXT = (ROOT / "rollout.yaml").read_text().replace('support: ""', "support: Sam Support")
POLICY: Policy = load(_TEXT.replace('technical: ""', "technical: Tia Tech").encode()).for_stack("prod")
OPS = POLICY.operations

SAID = {
    "launched": announcements.launched("prod", 10, OPS, at=NOW),
    "stage": announcements.stage_live("prod", 10, 20, POLICY, at=NOW),
    "complete": announcements.stage_live("prod", 50, 100, POLICY, at=NOW),
    "changed": announcements.changed("prod", ["flag micPrompt is native"], at=NOW),
    "revert-proposed": announcements.revert_proposed(
        "prod", 20, 0, "run_failures fired: 1 of the first 4 bad", OPS, at=NOW, where="#12 https://git.example.com/12"
    ),
    "revert-merged": announcements.revert_merged("prod", 20, 0, at=NOW),
    "reverted": announcements.reverted("prod", 20, 0, OPS, at=NOW),
    "needs-person": announcements.needs_person("prod", "deployment failed", "deployment failed: no task started"),
    "rollback-started": announcements.rollback_started("prod", OPS),
    "rollback-complete": announcements.rollback_complete("prod", OPS, at=NOW),
}


@pytest.mark.parametrize("name", SAID)
def test_the_message_is_the_golden_one(name: str) -> None:
    """Read the files in tests/golden/announcements: they are what people get."""
    said = SAID[name]
    assert f"{said.title}\n\n{said.text}\n" == (GOLDEN / f"{name}.txt").read_text()


def test_there_is_no_golden_file_too_many() -> None:
    """Each is somebody's."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} >= set(SAID)


TEMPLATES = {
    "launched": "Pilot launch started at <time>. Monitoring closely for 2 hours. Support lead: <name>.",
    "revert-proposed": (
        "We detected a pilot issue (<short description>) at <time>. Rollback in progress. Next update in 15 minutes."
    ),
    "rollback-started": "Rollback started, ETA 15 minutes.",
    "rollback-complete": (
        "Rollback complete at <time>. Service stable. We will provide root-cause and remediation plan by <time>."
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_runbooks_template_stands_word_for_word(name: str) -> None:
    """With what the product knows in its gaps."""
    parts = [re.escape(part) for part in re.split(r"<[^>]+>", TEMPLATES[name])]
    assert re.fullmatch("[^\n]+".join(parts), SAID[name].text.split("\n")[0])


def test_an_event_mentions_nobody() -> None:
    """What strangers can bring into a message notifies no one and links nowhere."""
    words = "@everyone @here <!channel> [x](https://evil.example.com)"
    said: list[Announcement] = [
        announcements.needs_person("prod", "legal_defect fired", words),
        announcements.revert_proposed("prod", 20, 0, words, OPS, at=NOW, where="#1"),
        announcements.changed("prod", [words], at=NOW),
    ]
    for one in said:
        for order in ("@everyone", "@here", "<!channel>", "https://evil"):
            assert order not in one.title + one.text


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(minutes=15), "15 minutes"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(days=1), "1 day"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(0), "0 minutes"),
    ],
)
def test_a_time_is_said_as_people_say_it(span: timedelta, words: str) -> None:
    """In the largest unit that leaves no rest."""
    assert announcements.spoken(span) == words
