"""Incidents from the first word to the merged report: branches, messages, and what the controller does meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller import reconcile as loop
from controller.errors import ConfigError, TransientError
from controller.launch import incidents
from controller.launch.affected import affected, queries
from controller.messages import incident as text
from controller.model import Announcement, Event, News, Query
from controller.ports import CheckState, PrState, RefUpdate
from tests.facts import ROOT, facts, triggers
from tests.forge_world import LocalWorld
from tests.launch.test_news import Heard
from tests.memory import MemoryGit, Server, by_hand

GOLDEN = ROOT / "tests" / "golden" / "incident"
OPERATIONS = """
operations:
  severities:
    P0: {respond: 5m, when: [complete service outage, data loss]}
    P1: {respond: 30m, when: ["performance degradation > 50 %"]}
"""


class Room:
    """Where an incident is dealt with: the world, and what people were told."""

    def __init__(self) -> None:
        server = Server()
        self.world = LocalWorld(lambda: MemoryGit(server), more=OPERATIONS)
        self.heard = Heard()

    def open(self, title: str = "Exports fail", severity: str = "P1", **more: Any) -> incidents.Told:
        reader, forge = self.world.controller()
        return incidents.open_(
            reader, more.pop("forge", forge), lambda policy: self.heard,
            stack="prod", severity=severity, title=title, by="Omar", since=timedelta(days=1), now=self.world.now, **more,
        )  # fmt: skip

    def update(self, words: str, **more: Any) -> incidents.Told:
        reader, forge = self.world.controller()
        more.setdefault("name", f"2026-05-11-{more.pop('id', 'exports-fail')}")
        return incidents.update(
            reader.repository, forge, lambda policy: self.heard, words=words, by="Ana", now=self.world.now, **more
        )

    def reasons(self) -> tuple[str, ...]:
        reader, forge = self.world.controller()
        (outcome,) = loop.reconcile(reader, forge, now=self.world.now)
        assert outcome.decision is not None
        return outcome.decision.reasons

    def files(self, branch: str) -> dict[str, str]:
        git = self.world._git
        git.fetch()
        head, (_, stack, name) = git.branches(branch)[branch], branch.split("/")
        folder = text.folder(stack, name)
        names = (text.STATE, text.REPORT, text.TIMELINE, text.AFFECTED, text.DECISION)
        return {file: (git.read(head, f"{folder}/{file}") or b"").decode() for file in names}


@pytest.fixture
def room() -> Room:
    return Room()


def bad(id_: str, room: Room, **attributes: str) -> Event:
    return Event(
        id_, room.world.now - timedelta(hours=1), "legal_review", "pilot", {"severity": "critical", **attributes}
    )


def test_an_incident_holds_advances_until_its_report_is_merged(room: Room) -> None:
    """Resolving it is not enough: the root cause is to be written, and somebody to have read it."""
    assert "incident" not in " ".join(room.reasons())
    (advance,) = [pr for pr in room.world.pulls() if pr.state is PrState.OPEN]
    told = room.open()

    held = "incident 2026-05-11-exports-fail is open: merge its report, on branch incident/prod/2026-05-11-exports-fail"
    assert room.reasons()[0] == held
    (shown,) = [pr for pr in room.world.pulls() if pr.number == advance.number]
    assert shown.check is not None
    assert shown.check[0] is CheckState.FAILURE
    (report,) = [pr for pr in room.world.pulls() if pr.branch == told.incident.branch]
    assert report.title == "incident(prod): P1 Exports fail"
    room.world.now += timedelta(minutes=20)
    room.update("the queue was full", ends=True)
    assert room.reasons()[0] == held

    path = f"{text.folder('prod', told.incident.id)}/{text.REPORT}"
    by_hand(room.world._git, {path: b"# The queue was full\n"}, "root cause", room.world.now, branch=report.branch)
    room.world.merge(report.number)
    assert "incident" not in " ".join(room.reasons())
    assert room.open().incident.id == "2026-05-11-exports-fail-2"


def test_the_report_is_the_golden_one_with_what_was_known(room: Room) -> None:
    """Read the files in tests/golden/incident: they are what the team starts from."""
    room.world.source.bad = {"trigger:legal_defect": 1.0}
    room.world.source.recorded = (
        bad("e1", room, user="u1", packet="p1"),
        bad("e2", room, user="u2", packet="p1"),
        bad("e3", room, user="=cmd()", packet="p3"),
        Event("e4", room.world.now, "legal_review", "pilot", {"severity": "minor", "user": "u4"}),
    )
    told = room.open("Reviewer found a fabricated injury", "P0")
    room.world.now += timedelta(minutes=4)
    room.update("packets p1 and p3 are taken back", id="reviewer-found-a-fabricated-injury")
    room.world.now += timedelta(minutes=30)
    room.update("0 % is live", id="reviewer-found-a-fabricated-injury", ends=True)

    found = room.files(told.incident.branch)
    found["messages.txt"] = "\n---\n".join(f"{one.title}\n\n{one.text}" for one in room.heard.said) + "\n"
    del found[text.DECISION], found[text.STATE]
    assert found == {path.name: path.read_text() for path in GOLDEN.iterdir()}


def test_opening_again_tells_nobody_twice_and_makes_no_second_one(room: Room) -> None:
    """As after a connection that broke."""
    first = room.open()
    heads = dict(room.world.heads())
    room.world.now += timedelta(minutes=1)

    assert room.open().incident == first.incident
    assert room.world.heads() == heads
    assert [item.kind for item in room.heard.said] == [News.INCIDENT]
    room.update("mended", ends=True)
    assert room.open().lines[-1] == "next: it is resolved; merge its report, or give another title"


def test_a_forge_that_is_down_keeps_nobody_from_being_told(room: Room) -> None:
    """The branch and the messages are there; running it again opens the pull request."""

    class Down:
        def open(self, **what: str) -> None:
            raise TransientError("the forge answered 502")

    told = room.open(forge=Down())
    assert "its pull request is not there yet, run it again: the forge answered 502" in told.lines
    assert len(room.heard.said) == 1
    assert room.reasons()[0].startswith("incident 2026-05-11-exports-fail is open")

    room.open()
    assert [pr.branch for pr in room.world.pulls() if pr.branch.startswith("incident/")] == [told.incident.branch]
    assert len(room.heard.said) == 1


def test_a_source_that_is_down_leaves_a_box_to_tick(room: Room) -> None:
    """What was affected is then to be found by hand."""
    room.world.source.down = TransientError("events API answered 503")
    files = room.files(room.open().incident.branch)
    assert "- [ ] Record affected packets/users" in files[text.REPORT]
    assert "not recorded, the events could not be read: events API answered 503" in files[text.REPORT]
    assert files[text.AFFECTED] == "time,type,user,packet,id,attributes\n"


def test_the_next_word_is_due_by_the_severity(room: Room) -> None:
    """From the last one on, until the end."""
    opened = room.open()
    assert opened.lines[-1] == ('next: by 08:30 UTC, pilot incident update prod/2026-05-11-exports-fail --text "..."')
    repository = room.world._git
    ((_, due),) = incidents.listed(repository)
    assert due == room.world.now + timedelta(minutes=30)
    room.world.now += timedelta(minutes=10)
    room.update("still looking")
    ((_, due),) = incidents.listed(repository)
    assert due == room.world.now + timedelta(minutes=30)
    room.update("mended", ends=True)
    ((ended, due),) = incidents.listed(repository)
    assert (ended.ended, due) == (True, None)


def test_two_who_write_at_once_lose_nothing(room: Room) -> None:
    """The second is told to run it again."""
    room.open()
    reader, forge = room.world.controller()
    stale = reader.repository
    stale.sync()
    room.update("first")
    stale.sync = lambda: stale.branches("")["main"]  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="run it again"):
        incidents.update(
            stale, forge, lambda policy: room.heard, name="prod/2026-05-11-exports-fail", words="second", by="Bo",
            now=room.world.now,
        )  # fmt: skip
    assert "second" not in room.files("incident/prod/2026-05-11-exports-fail")[text.TIMELINE]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda room: room.open(severity="P7"),
            "severity P7: rollout.yaml knows P0: complete service outage, data loss",
        ),
        (lambda room: room.update("x", name="nothing"), "no open incident nothing; there are: none"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(room: Room, call: Any, words: str) -> None:
    """With the rules, since that is what decides which one it is."""
    with pytest.raises(ConfigError, match="^" + words):
        call(room)


def test_a_branch_that_holds_no_incident_blocks_nothing_but_its_stack(room: Room) -> None:
    """Somebody's branch of that name holds advances, by which it is noticed, and breaks nothing."""
    room.world._git.fetch()
    tip = room.world.heads()["main"]
    assert room.world._git.push([RefUpdate("refs/heads/incident/prod/junk", None, tip)])
    assert room.reasons()[0].startswith("incident junk is open")
    assert incidents.listed(room.world.controller()[0].repository) == []


@pytest.mark.parametrize(
    ("query", "attributes", "is_bad"),
    [
        (Query("q", "x", bad={"status": ("5xx",)}, needs=("status",)), {"status": "503"}, True),
        (Query("q", "x", bad={"status": ("5xx",)}, needs=("status",)), {"status": "200"}, False),
        (Query("q", "x", bad={"status": ("5xx",)}, needs=("status",)), {}, True),
        (Query("q", "x", good={"outcome": ("granted",)}), {"outcome": "Granted"}, False),
        (Query("q", "x", good={"outcome": ("granted",)}), {"outcome": "denied"}, True),
        (Query("q", "x", where={"a": ("1",)}, good={"outcome": ("ok",)}), {"a": "2", "outcome": "no"}, False),
        (Query("q", "x", field="seconds", above=5.0, above_warning=8.0), {"seconds": "7"}, False),
        (Query("q", "x", field="seconds", above=5.0, above_warning=8.0), {"seconds": "9.5"}, True),
        (Query("q", "x", field="seconds", above=5.0), {"seconds": "6"}, True),
        (Query("q", "x", field="seconds", above=5.0), {"seconds": "1", "timed_out": "true"}, True),
        (Query("q", "x", field="seconds", above=5.0), {"seconds": "none"}, True),
        (Query("q", "y", bad={"status": ("5xx",)}), {"status": "503"}, False),
    ],
)
def test_an_event_is_affected_where_a_source_would_count_it_bad(
    query: Query, attributes: dict[str, str], is_bad: bool
) -> None:
    """Unknown outcomes are no good news here either."""
    event = Event("e", facts().now, "x", "pilot", attributes)
    assert affected([query], [event]) == ([event] if is_bad else [])


def test_what_is_listed_are_the_counts_in_trouble() -> None:
    """Of a person's incident, which no figure shows, those of every trigger."""
    fired = replace(facts(20), triggers=triggers(run_failures="1 of the first 4"))
    assert [query.name for query in queries(fired)] == ["trigger:run_failures"]
    assert {query.name for query in queries(facts(20))} == {
        "trigger:api_errors", "trigger:run_failures", "trigger:legal_defect", "trigger:legal_finding", "trigger:slow",
    }  # fmt: skip


def test_no_name_or_title_of_an_incident_mentions_anybody(room: Room) -> None:
    """Titles are people's words, in a commit, a pull request and a chat."""
    told = room.open("@all [skip ci] <!channel> | #12", "P1")
    said: list[Announcement] = room.heard.said
    (pr,) = [pr for pr in room.world.pulls() if pr.branch == told.incident.branch]
    for words in (said[0].title, said[0].text, pr.title, pr.body.replace("`", "")):
        assert "@all" not in words
        assert "#12" not in words
    assert "<!channel>" not in said[0].title + said[0].text
    assert told.incident.id == "2026-05-11-all-skip-ci-channel-12"
