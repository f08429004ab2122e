"""Each piece of news is told once: by a process that dies, by two at once, over channels that fail. Refs are the truth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import TransientError
from controller.forges.git import Git
from controller.model import Announcement, News
from controller.notify.told import KEPT, LEASE, Teller
from controller.policy.operations import Channel
from controller.ports import RefUpdate
from tests.forge_world import LocalWorld
from tests.memory import MemoryGit, Server
from tests.steps import FAULTS, Fault, KilledError, Turns, plans
from tests.world import World

BEGIN = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
CHANNELS = {
    "launch": Channel(url_from="PILOT_CHANNEL_LAUNCH"),
    "ops": Channel(url_from="PILOT_CHANNEL_OPS", only=(News.INCIDENT, News.ROLLBACK)),
}
ADDRESSES = {"PILOT_CHANNEL_LAUNCH": "slack://launch", "PILOT_CHANNEL_OPS": "slack://ops"}
LIVE = Announcement(News.STAGE, "prod is at 20 %", "Live since 10:00.")
KILLED = Announcement(News.ROLLBACK, "prod is at 0 %", "Rollback started, ETA 15 minutes.")


class Town:
    """Everybody who can be told: what each channel has heard, and the processes that tell."""

    def __init__(self, git: Callable[[], Git]) -> None:
        self.git, self.now = git, BEGIN
        self.heard: list[tuple[str, str, str]] = []
        self.broken: dict[str, str] = {}
        self.step: Callable[[str, Callable[[], Any]], Any] = lambda name, effect: effect()

    def send(self, address: str, news: Announcement) -> str | None:
        def effect() -> str | None:
            if address in self.broken:
                return self.broken[address]
            self.heard.append((address, news.title, news.text))
            return None

        result: str | None = self.step("send", effect)
        return result

    def teller(self, *, step: Callable[[str, Callable[[], Any]], Any] | None = None, **more: Any) -> Teller:
        """A fresh process."""
        git = self.git()
        git.sync()
        town, take = self, step or self.step
        push = git.push
        git.push = lambda updates: take("push", lambda: push(updates))  # type: ignore[method-assign]

        def send(address: str, news: Announcement) -> str | None:
            result: str | None = take("send", lambda: Town.send(town, address, news))
            return result

        more.setdefault("environment", ADDRESSES)
        return Teller(git, CHANNELS, now=lambda: self.now, send=send if step else self.send, **more)

    def titles(self, address: str = "slack://launch") -> list[str]:
        return [title for to, title, _ in self.heard if to == address]


@pytest.fixture
def town() -> Town:
    server = Server()
    LocalWorld(lambda: MemoryGit(server))
    return Town(lambda: MemoryGit(server))


def test_news_is_told_once_whoever_tells_it_again(town: Town) -> None:
    """Another pass, another process, a later hour: one message a key."""
    assert town.teller().tell(LIVE, key="prod/live/1") == []
    town.now += timedelta(days=6)
    assert town.teller().tell(LIVE, key="prod/live/1") == []
    assert town.teller().tell(LIVE, key="prod/live/2") == []

    assert town.titles() == ["prod is at 20 %"] * 2
    assert town.teller().knows(News.STAGE, key="prod/live/1")
    assert not town.teller().knows(News.STAGE, key="prod/live/3")


def test_a_channel_hears_only_the_news_that_it_wants(town: Town) -> None:
    """`only` in the policy."""
    town.teller().tell(LIVE, key="a")
    town.teller().tell(KILLED, key="b")

    assert town.titles("slack://ops") == ["prod is at 0 %"]
    assert len(town.titles()) == 2


def test_a_channel_that_fails_is_tried_again_alone_and_ever_more_rarely(town: Town) -> None:
    """The words come in every pass, whether it tries or not; the other channel hears nothing twice."""
    town.broken = {"slack://ops": "answered 503"}
    words = ["channel ops could not be told 'prod is at 0 %': answered 503"]
    tries = []
    for _ in range(12):
        before = town.git()
        before.sync()
        assert town.teller().tell(KILLED, key="k") == words
        after = town.git()
        after.sync()
        tries.append(dict(before.refs("refs/")) != dict(after.refs("refs/")))
        town.now += timedelta(minutes=5)

    assert tries == [True, True, True, False, False, True, *[False] * 6]
    town.broken = {}
    town.now += timedelta(hours=1)
    assert town.teller().tell(KILLED, key="k") == []
    assert town.titles() == town.titles("slack://ops") == ["prod is at 0 %"]


def test_a_variable_that_is_not_set_is_a_sentence_and_no_claim(town: Town) -> None:
    """The other channels are told; once the variable is there, so is this one."""
    some = {"PILOT_CHANNEL_LAUNCH": "slack://launch"}
    words = ["channel ops cannot be told: PILOT_CHANNEL_OPS is not set; put the channel's address there"]
    assert town.teller(environment=some).tell(KILLED, key="k") == words
    assert town.teller(environment=some).tell(KILLED, key="k") == words
    assert town.teller(environment=some).problems()[0] == words[0]
    assert town.titles() == ["prod is at 0 %"]

    assert town.teller().tell(KILLED, key="k") == []
    assert town.titles("slack://ops") == ["prod is at 0 %"]
    assert len(town.titles()) == 1

    git = town.git()
    before = git.refs("refs/")
    assert len(town.teller(environment={}).tell(KILLED, key="other")) == 2
    assert git.refs("refs/") == before


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", range(3))
def test_a_process_that_dies_or_fails_at_any_step_leaves_news_to_be_told(town: Town, at: int, fault: Fault) -> None:
    """Nothing is lost; what may come twice says so. The steps are: claim, send, mark."""
    count = iter(range(99))

    def step(name: str, effect: Callable[[], Any]) -> Any:
        here = next(count) == at
        if here and fault == "die before":
            raise KilledError
        if here and fault == "fail before":
            if name == "send":
                return "answered 500"
            raise TransientError("no answer")
        result = effect()
        if here and fault == "die after":
            raise KilledError
        return result

    try:
        town.teller(step=step).tell(LIVE, key="k")
    except KilledError:
        pass
    else:
        assert fault in ("fail before", "answer lost")
    for _ in range(4):
        town.now += timedelta(minutes=5)
        assert town.teller().tell(LIVE, key="k") == []

    texts = [text for _, _, text in town.heard]
    assert 1 <= len(texts) <= 2
    assert all("may be a repeat" in text for text in texts[1:])
    sent_twice = (at == 1 and fault == "die after") or (at == 2 and fault in ("die before", "fail before"))
    assert len(texts) == 1 + sent_twice


def test_a_claim_of_a_live_process_is_respected(town: Town) -> None:
    """Until the lease is over nobody else sends."""

    def killed(name: str, effect: Callable[[], Any]) -> Any:
        if name == "send":
            raise KilledError
        return effect()

    with pytest.raises(KilledError):
        town.teller(step=killed).tell(LIVE, key="k")
    town.now += LEASE - timedelta(seconds=1)
    assert town.teller().tell(LIVE, key="k") == []
    assert town.heard == []
    town.now += timedelta(seconds=1)
    town.teller().tell(LIVE, key="k")
    assert "may be a repeat" in town.heard[0][2]


def test_two_passes_in_every_interleaving_send_one_message() -> None:
    """Claims are compare-and-swap, and no two are the same object."""

    def run(plan: Any) -> Turns:
        server = Server()
        LocalWorld(lambda: MemoryGit(server))
        towns.append(town := Town(lambda: MemoryGit(server)))
        turns = Turns(plan)
        turns.run(*[lambda step: town.teller(step=step).tell(LIVE, key="k") for _ in range(2)])
        assert turns.errors == []
        return turns

    towns: list[Town] = []
    seen = list(plans(run))
    assert len(seen) > 5
    assert {len(town.heard) for town in towns} == {1}


def test_two_processes_on_real_git_send_one_message(tmp_path: Path) -> None:
    """The same with pushes over the wire, all at once."""
    world = World(tmp_path)
    town = Town(lambda: Git(world.remote))
    tellers, gate = [town.teller() for _ in range(4)], threading.Barrier(4)

    def run(teller: Teller) -> None:
        gate.wait()
        teller.tell(LIVE, key="k")

    threads = [threading.Thread(target=run, args=(teller,)) for teller in tellers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert town.titles() == ["prod is at 20 %"]
    assert "refs/rollout/told/" in world.refs()


def test_a_kill_is_told_while_git_is_down_and_other_news_waits(town: Town) -> None:
    """Twice is better than never where people must act; everything else is told by the next pass."""

    def down(updates: Any) -> bool:
        raise TransientError("the forge did not answer")

    teller = town.teller()
    teller._repository.push = down  # type: ignore[method-assign]

    (told,) = teller.tell(KILLED, key="kill")
    (waits,) = teller.tell(LIVE, key="live")

    assert told.startswith("told without a record, may come again, 'prod is at 0 %'")
    assert waits.startswith("not told, 'prod is at 20 %'")
    assert town.titles() == town.titles("slack://ops") == ["prod is at 0 %"]


def test_what_was_told_is_forgotten_after_two_weeks(town: Town) -> None:
    """Refs do not pile up; a record that nobody can read goes too."""
    town.teller().tell(LIVE, key="old")
    git = town.git()
    tip = git.sync()
    git.push([RefUpdate("refs/rollout/told/junk", None, tip)])
    town.now += KEPT + timedelta(minutes=1)
    town.teller().tell(LIVE, key="new")

    git = town.git()
    git.sync()
    assert len(git.refs("refs/rollout/told/")) == 1
    assert town.teller().knows(News.STAGE, key="new")
