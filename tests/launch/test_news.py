"""What a rollout tells people, over a whole launch: each piece of news once, derived from what is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from controller.decide import Facts, decide
from controller.history import History
from controller.launch.news import FRESH, news, told
from controller.model import Announcement, Decision, Deployment, Event, KpiStatus, News, Unreadable
from controller.notify.told import KEPT
from controller.reconcile import Outcome
from tests.facts import NOW, commit, evidence, facts, kpi, live, past
from tests.world import MemoryWorld


@dataclass
class Heard:
    """A notifier that tells once for each key, in a list."""

    keys: set[str] = field(default_factory=set)
    said: list[Announcement] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def knows(self, kind: News, *, key: str) -> bool:
        return key in self.keys

    def tell(self, item: Announcement, *, key: str) -> list[str]:
        if key not in self.keys:
            self.keys.add(key)
            self.said.append(item)
        return self.words


@pytest.fixture(scope="module")
def begun() -> MemoryWorld:
    world = MemoryWorld()
    world.reach(10)
    return world


@pytest.fixture
def world(begun: MemoryWorld) -> MemoryWorld:
    """Prod has just gone to 10 %."""
    return begun.copied()


def passed(world: MemoryWorld, heard: Heard) -> list[str]:
    """The titles that one pass tells of prod."""
    before = len(heard.said)
    told(world.reconcile()["prod"], lambda policy: heard, world.reader.source)
    return [item.title for item in heard.said[before:]]


def test_a_launch_day_in_messages(world: MemoryWorld) -> None:
    """Launch, the next stage, a trigger with its revert, the merge before it is live, and its end."""
    heard = Heard()
    assert passed(world, heard) == ["Pilot launch in prod: 10 % of users"]
    assert passed(world, heard) == []

    (advance,) = world.open("prod")
    world.merge(advance.number)
    assert passed(world, heard) == []
    world.up("prod")
    assert passed(world, heard) == ["prod is at 20 % of users"]

    world.wait(hours=1)
    world.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    assert passed(world, heard) == ["Revert proposed in prod: 20 % -> 0 % of users"]
    (revert,) = world.open("prod")
    assert f"merge #{revert.number}" in heard.said[-1].text
    assert "legal_defect fired" in heard.said[-1].text
    assert passed(world, heard) == []
    world.merge(revert.number)
    assert passed(world, heard) == ["Revert merged in prod: 20 % -> 0 % of users"]
    world.up("prod")
    assert passed(world, heard) == ["prod is back at 0 % of users, from 20 %"]
    assert passed(world, heard) == []
    assert [item.kind for item in heard.said] == [
        News.LAUNCH, News.STAGE, News.REVERT, News.REVERT, News.REVERT,
    ]  # fmt: skip


def test_the_first_outputs_go_to_qa_once_they_are_all_there(world: MemoryWorld) -> None:
    """One for each packet, of the pilot's users alone, and not a fifth time that the same one is exported."""
    heard, begin = Heard(), world.now
    passed(world, heard)

    def output(number: int, packet: str, arm: str = "pilot") -> Event:
        url = f"https://app.example.com/packets/{packet}.pdf"
        return Event(f"e{number}", begin + timedelta(minutes=number), "output", arm, {"packet": packet, "url": url})

    made = [output(n, packet) for n, packet in enumerate(("p1", "p1", "p2", "p3", "p4"))]
    world.sources["prod"].recorded = (*made, output(5, "c1", arm="control"))
    world.wait(minutes=10)
    assert passed(world, heard) == []
    world.sources["prod"].recorded += (output(8, "p5"), output(9, "p6"))
    assert passed(world, heard) == ["First outputs of the pilot in prod, for QA"]
    assert passed(world, heard) == []
    world.sources["staging"].recorded = world.sources["prod"].recorded
    told(world.reconcile()["staging"], lambda policy: heard, world.reader.source)
    assert [item.kind for item in heard.said].count(News.OUTPUTS) == 1
    lines = next(item for item in heard.said if item.kind is News.OUTPUTS).text.splitlines()
    assert lines[0] == "QA reviewer: not named. The first 5 to look at:"
    assert [line.split(",")[0] for line in lines[1:]] == ["1. p1", "2. p2", "3. p3", "4. p4", "5. p5"]
    assert lines[1].endswith(": https://app.example.com/packets/p1.pdf")


def test_nobody_launches_staging() -> None:
    """A stack that another comes after tells of stages only."""
    given = facts(10, stack="staging", history=past(0, 10, ago=timedelta(hours=1)), live=live(since=NOW))
    assert [item.kind for _, item in news(Outcome("staging", _decided(given), given))] == [News.STAGE]
    other = replace(given, stack="prod")
    assert [item.kind for _, item in news(Outcome("prod", _decided(other), other))] == [News.LAUNCH]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("live state unknown", {"live": Unreadable("no credentials")}),
        ("deployment failed", {"live": live(deployment=Deployment.FAILED, detail="no task started")}),
        ("not applied", {"live": live(0)}),
        ("the policy is wrong", {"policy_trouble": "rollout.yaml:3:1: what"}),
        ("malformed events", {"malformed": 50, "counted": 100}),
        ("events stopped", {"evidence": evidence(mic_grant=kpi(KpiStatus.STALE, "mic_grant: silent for 7h"))}),
    ],
)
def test_a_hold_that_only_a_person_ends_is_told_once(name: str, changes: dict[str, object]) -> None:
    """Though its reason has other figures in every pass; a change of the file makes it news again."""
    given = facts(10, **changes)
    ((key, said),) = news(Outcome("prod", _decided(given), given))
    assert (said.kind, said.title) == (News.HOLD, f"prod needs a person: {name}")

    later = replace(given, now=NOW + timedelta(hours=1))
    assert [again for again, _ in news(Outcome("prod", _decided(later), later))] == [key]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"live": live(deployment=Deployment.IN_PROGRESS)},
        {"history": past(0, 10, ago=timedelta(minutes=30)), "live": live(0)},
        {"evidence": evidence(mic_grant=kpi(KpiStatus.OPEN))},
        {"evidence": evidence(mic_grant=kpi(KpiStatus.SMALL))},
        {"source_trouble": "did not answer"},
    ],
)
def test_a_hold_that_time_ends_is_no_news(changes: dict[str, object]) -> None:
    """Baking, deploying, waiting for units, one poll that failed."""
    given = facts(10, **changes)
    assert list(news(Outcome("prod", _decided(given), given))) == []


def test_old_news_is_none() -> None:
    """A controller that was away, or gets its first channel, tells no history; the notifier forgets later than that."""
    at = NOW - FRESH
    young = facts(10, history=past(0, 10, ago=FRESH), live=live(since=at))
    old = replace(young, now=NOW + timedelta(minutes=1))
    assert len(list(news(Outcome("prod", _decided(young), young)))) == 1
    assert list(news(Outcome("prod", _decided(old), old))) == []
    assert KEPT > FRESH


def test_what_nobody_meets_hides_no_news() -> None:
    """A hold or a firm written just after the merge is none itself, for AWS does not tell of it."""
    launch, begun = commit(NOW - timedelta(hours=1), 10), commit(NOW - timedelta(days=2), 0)
    held = commit(NOW - timedelta(minutes=50), 10, person=True, hold="audit", cohort=("firm-z",))
    given = facts(10, history=History.of([held, launch, begun]), declared=held.declared, live=live(since=NOW))
    ((_, said),) = news(Outcome("prod", _decided(given), given))
    assert said.kind is News.LAUNCH


def test_a_flag_that_is_live_is_told_with_its_value() -> None:
    """And so is whatever else changed in the file."""

    before = commit(NOW - timedelta(days=2), 10)
    flipped = commit(NOW - timedelta(hours=1), 10, flags={"micPrompt": "native"})
    given = facts(
        10,
        history=History.of([flipped, before]),
        declared=flipped.declared,
        live=live(flags={"micPrompt": "native"}, applied=NOW - timedelta(minutes=20)),
    )
    ((_, said),) = news(Outcome("prod", _decided(given), given))
    assert said.text == "Live since 2026-05-20 11:40 UTC: flag micPrompt is native."


def test_a_channel_that_fails_is_an_action_of_the_pass_and_a_bug_its_error(world: MemoryWorld) -> None:
    """Neither undoes what the pass has done."""
    outcome = world.reconcile()["prod"]
    heard = Heard(words=["channel launch could not be told"])
    assert told(outcome, lambda policy: heard, world.reader.source).actions == (
        *outcome.actions,
        "channel launch could not be told",
    )

    def broken(policy: object) -> Heard:
        raise KeyError("a bug")

    after = told(outcome, broken, world.reader.source)
    assert isinstance(after.error, KeyError)
    assert (after.actions, after.pull_request) == (outcome.actions, outcome.pull_request)


def _decided(given: Facts) -> Decision:

    return decide(given)
