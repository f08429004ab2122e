"""The loop itself on the forges that have a server: the same rollouts as on the local one, and lost answers on the way."""

from __future__ import annotations

import atexit
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest

from controller import observe
from controller.errors import TransientError
from controller.ports import PrState
from tests import world as stories
from tests.forges import served, worlds
from tests.forges.conftest import Remote
from tests.forges.fakes import gitea, github, gitlab
from tests.forges.fakes.server import Fault, Forge

KINDS = {
    "github": (github.GitHub, worlds.GitHubWorld),
    "gitlab": (gitlab.GitLab, served.GitLabWorld),
    "gitea": (gitea.Gitea, served.GiteaWorld),
}


@cache
def _beginning() -> Path:
    """The folder of a story's world as it begins, whose making takes longer than some stories."""
    folder = Path(tempfile.mkdtemp(prefix="pilot-story-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    world = stories.World(folder)
    world.save()
    world.git.close()
    return folder


class Hosted(stories.World):
    """A story's world whose repository is on a forge; time passes there too."""

    def __init__(self, folder: Path, kind: str) -> None:
        shutil.copytree(_beginning(), folder, dirs_exist_ok=True)
        self.folder, self.remote, self.checkout = folder, folder / "remote.git", folder / "checkout"
        at, self.live, self.sources = pickle.loads((folder / "state.pickle").read_bytes())
        self.clock, self.kind = worlds.Clock(at), kind
        self._open()

    @property
    def now(self) -> datetime:
        return self.clock.at

    @now.setter
    def now(self, at: datetime) -> None:
        self.clock.at = at

    def _open(self) -> None:
        serve, world = KINDS[self.kind]
        self.server: Forge = serve(self.remote)
        self.server.__enter__()
        self.hosted = world(Remote(self.remote), self.server)  # type: ignore[arg-type]
        self.hosted.clock = self.clock
        self.server.clock = self.clock.now
        self.restart()

    def restart(self) -> None:
        """The next controller, which knows nothing of the last."""
        forge, self.git = self.hosted.controller()
        self.forge = forge  # type: ignore[assignment]
        self.reader = observe.Reader(self.git, self.live, lambda stack, policy: self.sources[stack])

    def merge(self, number: int) -> str:
        return self.hosted.merge(number, "ana")


@pytest.fixture(params=sorted(KINDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosted]:
    made = Hosted(tmp_path, request.param)
    yield made
    made.server.__exit__()
    assert made.hosted.complaints() == []


def test_a_pass_without_news_writes_nothing_and_a_closing_is_a_veto_that_names_who_and_when(world: Hosted) -> None:
    number = world.reconcile()["staging"].pull_request
    assert number is not None
    refs = world.refs()
    world.hosted.requests()
    world.restart()
    world.wait(hours=1)
    assert world.reconcile()["staging"].actions == ()
    assert (world.refs(), world.hosted.requests()[2]) == (refs, 0)

    at = world.now
    world.hosted.close(number, "ann")

    world.restart()
    decision = world.reconcile()["staging"].decision
    assert decision is not None
    assert decision.reasons[0].startswith(f"ann closed #{number} at {at:%Y-%m-%d %H:%M} UTC: declined until")
    assert world.open("staging") == []


def test_merged_pull_requests_advance_and_a_revert_closes_the_next_advance(world: Hosted) -> None:
    world.reach(10)
    assert [pr.title for pr in world.pulls("prod", PrState.MERGED)] == ["rollout(prod): 0% -> 10%"]
    assert {pr.closed_by for pr in world.pulls("prod")} == {"ana"}
    world.wait(days=1)
    world.reconcile()
    (advance,) = world.open("prod")
    assert advance.title == "rollout(prod): 10% -> 20%"
    world.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    world.wait(minutes=5)
    world.restart()
    world.reconcile()

    (revert,) = world.open("prod")
    assert revert.title.startswith("rollout(prod): 10% -> 0%")
    ended = next(pr for pr in world.pulls("prod") if pr.number == advance.number)
    assert (ended.state, advance.branch in world.refs()) == (PrState.CLOSED, False)


@pytest.mark.parametrize(("nth", "applied"), [(0, True), (1, False)])
def test_whatever_answer_is_lost_the_next_passes_end_the_same(world: Hosted, nth: int, applied: bool) -> None:
    """Of the writes of a pass that opens: the pull request is there, its status is not; nobody here knows."""
    world.server.faults.append(Fault("^(POST|PUT|PATCH) (?!.*graphql)", applied=applied, after=nth))

    for _ in range(3):
        outcome = world.reconcile()["staging"]
        assert outcome.error is None or isinstance(outcome.error, TransientError), outcome.error
        world.restart()
        world.wait(minutes=5)

    (pull,) = world.open("staging")
    assert pull.check is not None
    assert len(world.pulls("staging")) == 1
    world.hosted.requests()
    assert world.reconcile()["staging"].actions == ()
    assert world.hosted.requests()[2] == 0


def test_a_pull_request_of_another_account_is_left_alone(world: Hosted) -> None:
    """Our marker, on our branch, under our title: still another's, also where we would have opened the same."""
    number = world.reconcile()["staging"].pull_request
    assert number is not None
    (ours,) = world.open("staging")
    world.hosted.close(number, "ann")
    theirs = world.hosted.open(ours.branch, ours.title, ours.body, "mallory")
    world.sources["staging"].bad = {"activation": 0.95}
    world.hosted.requests()

    world.restart()
    world.wait(minutes=5)
    world.reconcile()

    found = next(pr for pr in world.pulls("staging") if pr.number == theirs)
    assert (found.state, found.body, found.comments, found.check) == (PrState.OPEN, ours.body, (), ours.check)
    assert f"refs/heads/{ours.branch}" in world.refs()
    assert world.hosted.requests()[2] == 0
