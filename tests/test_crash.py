"""
Killed at every step, raced at every step, and met by a person at every step: what is there afterwards is the same.

Steps are the calls that change the world (`tests.steps.EFFECTS`). Every scenario runs over a world that a beginning
makes; `WORLDS` names them. On the local forge the processes are those of `tests.memory`, which `test_memory_is_git`
compares with real ones by the ids of all objects. On the others Git and the requests are real, which takes a hundred times
as long: by default one of them meets every write of one scenario as done and not told. The rest of them is for
`PILOT_TEST_EXHAUSTIVE=1`; what each forge makes of a lost answer is also in `tests/forges`.
"""

from __future__ import annotations

import copy
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from controller import observe
from controller import reconcile as loop
from controller.errors import PilotError
from controller.forges.git import Git
from controller.messages import proposals
from controller.ports import Forge, PrState, PullRequest
from controller.rollback import rollback
from controller.theirs import HANDS_OFF
from tests.forge_world import FILE_NAME, ForgeWorld, LocalWorld, summary
from tests.hosted_world import Hosting
from tests.memory import MemoryGit, Server
from tests.steps import FAULTS, UNTOLD, Fault, Faulty, KilledError, Turns, plans, stepped

Prepare = Callable[[ForgeWorld], None]
Begin = Callable[[str, Prepare], ForgeWorld]


@pytest.fixture(autouse=True, scope="module")
def _servers() -> Iterator[None]:
    """Those that were started end with the module, and had nothing to complain of."""
    with ENDING:
        yield
    _hosting.cache_clear()  # the module may come again, when tests are spread over processes


def memory(more: str, prepare: Prepare) -> ForgeWorld:
    """The local forge, as it begins; which is made once and then copied."""
    began, made = _begun(more, prepare)
    server, world = Server(dict(began.objects), dict(began.refs)), copy.copy(made)
    world.source, world.live = copy.deepcopy((made.source, made.live))
    world._make = lambda: MemoryGit(server)
    world._git = world._make()
    return world


@cache
def _begun(more: str, prepare: Prepare) -> tuple[Server, LocalWorld]:
    server = Server()
    world = LocalWorld(lambda: MemoryGit(server), more=more)
    prepare(world)
    return server, world


def hosted(kind: str) -> Begin:
    return lambda more, prepare: _hosting(kind).begun(more, prepare)


@cache
def _hosting(kind: str) -> Hosting:
    """The server of *kind*, for as long as this process runs."""
    folder = tempfile.TemporaryDirectory(prefix="pilot-hosting-", ignore_cleanup_errors=True)
    hosting = Hosting(kind, Path(folder.name))
    hosting.server.__enter__()
    ENDING.callback(folder.cleanup)
    ENDING.callback(hosting.close)
    return hosting


# Every interleaving of the long scenarios takes minutes: `PILOT_TEST_EXHAUSTIVE=1 pytest tests/test_crash.py`.
EXHAUSTIVE = bool(os.environ.get("PILOT_TEST_EXHAUSTIVE"))
ENDING = ExitStack()
WORLDS: dict[str, Begin] = {"local": memory, **{kind: hosted(kind) for kind in ("github", "gitea", "gitlab")}}
BRIEF = ("advance", "github")
IMPOSSIBLE = {
    ("github", "duplicates"),  # it lets no second one be opened
    ("gitlab", "duplicates"),
}
PASSES = 8  # more until nothing is written any more means that it never ends


@dataclass(frozen=True)
class Scenario:
    """What was before, and how many pull requests are open at the end; `act` is what is crashed, a pass by default."""

    prepare: Callable[[ForgeWorld], None]
    opened: int = 1
    act: Callable[[ForgeWorld, observe.Reader, Forge], None] = lambda world, reader, forge: one_pass(
        world, reader, forge
    )
    more: str = ""
    switches: int | None = 1  # bound of the interleavings tried; None tries all


def one_pass(world: ForgeWorld, reader: observe.Reader, forge: Forge) -> None:
    loop.reconcile(reader, forge, now=world.now)


def ask_back(world: ForgeWorld, reader: observe.Reader, forge: Forge) -> None:
    rollback(reader.repository, forge, stack="prod", to=None, reason="users complain", by="Ana", now=world.now)


def ask_back_then_pass(world: ForgeWorld, reader: observe.Reader, forge: Forge) -> None:
    """The person asks until it is done, as a person does; then a pass comes."""
    try:
        ask_back(world, reader, forge)
    except PilotError:
        ask_back(world, *world.controller())
    one_pass(world, reader, forge)


def nothing(world: ForgeWorld) -> None:
    pass


def advance(world: ForgeWorld) -> None:
    settle(world)
    assert [pull.title for pull in opened(world)] == ["rollout(prod): 20% -> 50%"]


def overtaken(world: ForgeWorld) -> None:
    advance(world)
    world.source.bad = {"trigger:legal_defect": 1.0}


def aged(world: ForgeWorld) -> None:
    advance(world)
    world.source.silent = True
    world.now += timedelta(hours=25)


def dip(world: ForgeWorld) -> None:
    advance(world)
    world.source.bad = {"mic_grant": 0.4}


def edited(world: ForgeWorld) -> None:
    advance(world)
    world.commit(opened(world)[0].branch, "percent: 50", "percent: 30")


def edited_and_bad(world: ForgeWorld) -> None:
    edited(world)
    world.source.bad = {"trigger:legal_defect": 1.0}


def declined(world: ForgeWorld) -> None:
    world.source.bad = {"activation": 0.95}
    settle(world)
    world.close(opened(world)[0].number)
    world.source.bad = {"trigger:legal_defect": 1.0}


def legal(world: ForgeWorld) -> None:
    world.source.bad = {"trigger:legal_defect": 1.0}


def behind(world: ForgeWorld) -> None:
    advance(world)
    world.commit("main", "    exposure:", "    # a person's note\n    exposure:")


def twice(world: ForgeWorld) -> None:
    advance(world)
    world.duplicate(opened(world)[0].number)


def fresher(world: ForgeWorld) -> None:
    advance(world)
    world.now += timedelta(hours=25)


SCENARIOS = {
    "advance": Scenario(nothing, switches=None if EXHAUSTIVE else 2),
    "overtaken": Scenario(overtaken, switches=2),
    "aged-out": Scenario(aged, opened=0),
    "refreshed": Scenario(fresher, switches=None),
    "flip": Scenario(dip),
    "hands-off": Scenario(edited),
    "hands-off-revert": Scenario(edited_and_bad, opened=2),
    "veto": Scenario(declined),
    "merges-by-itself": Scenario(legal, opened=0, more="merges_by_itself: [revert]\n"),
    "up-to-date": Scenario(behind),
    "rollback": Scenario(nothing, act=ask_back_then_pass),
    "duplicates": Scenario(twice),
}


# ---------------------------------------------------------------- how it runs


def opened(world: ForgeWorld) -> list[PullRequest]:
    return [pull for pull in world.pulls() if pull.state is PrState.OPEN]


def settle(world: ForgeWorld) -> list[str]:
    """Fresh processes, one pass each, until one writes nothing; the steps of all of them."""
    steps: list[str] = []
    for _ in range(PASSES):
        faulty = Faulty()
        one_pass(world, *stepped(world.controller(), faulty))
        if not faulty.names:
            return steps
        steps += faulty.names
    raise AssertionError(f"it goes on for ever: {steps}")


def act(scenario: Scenario, world: ForgeWorld, step: Any) -> None:
    scenario.act(world, *stepped(world.controller(), step))


def uninterrupted(scenario: Scenario, begin: Begin) -> tuple[ForgeWorld, list[str]]:
    """The end that must always be reached, and the steps on the way."""
    world, faulty = begin(scenario.more, scenario.prepare), Faulty()
    act(scenario, world, faulty)
    settle(world)
    assert len(opened(world)) == scenario.opened
    assert faulty.names
    return world, faulty.names


def crashes(scenario: Scenario, begin: Begin, faults: Sequence[Fault] = FAULTS) -> Iterator[tuple[str, str]]:
    """Every one of *faults* at every step, each in a new world; what was done, and what was there in the end."""
    _, names = uninterrupted(scenario, begin)
    for at in range(len(names)):
        for fault in faults:
            world = begin(scenario.more, scenario.prepare)
            with suppress(KilledError, PilotError):
                act(scenario, world, Faulty(at, fault))
            if scenario.act is ask_back_then_pass:
                ask_back(world, *world.controller())  # whoever asked and saw it die asks again
            settle(world)
            yield f"{fault} {names[at]} ({at})", summary(world)


def everywhere(*, brief: bool) -> pytest.MarkDecorator:
    """Each scenario on each forge; by default on a server only where *brief*, and then one."""
    pairs = [(name, forge) for forge in WORLDS for name in SCENARIOS if (forge, name) not in IMPOSSIBLE]
    chosen = [(n, f) for n, f in pairs if EXHAUSTIVE or f == "local" or (brief and (n, f) == BRIEF)]
    return pytest.mark.parametrize(("name", "forge"), chosen)


@everywhere(brief=True)
def test_killed_or_failed_at_any_step_it_ends_the_same(
    name: str, forge: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Before and after every write, with the process dying there or only the answer missing."""
    scenario, begin = SCENARIOS[name], WORLDS[forge]
    expected = summary(uninterrupted(scenario, begin)[0])

    faults = FAULTS if EXHAUSTIVE or forge == "local" else UNTOLD
    tried = dict(crashes(scenario, begin, faults))

    record_testsuite_property(f"crash points of {name} on {forge}", len(tried))
    assert len(tried) >= len(faults)
    other = {what: end for what, end in tried.items() if end != expected}
    assert not other, f"of {len(tried)} crash points of {name} {len(other)} end differently: {list(other)}"


def interleaved(scenario: Scenario, begin: Begin, plan: Any) -> tuple[Turns, ForgeWorld]:
    """Two controllers, the second a minute later by its clock, step by step as *plan* says."""
    world = begin(scenario.more, scenario.prepare)
    turns = Turns(plan)

    def body(minutes: int) -> Callable[[Any], None]:
        def go(step: Any) -> None:
            reader, forge = stepped(world.controller(), step, reads=True)
            if scenario.act is ask_back_then_pass:
                ask_back(world, reader, forge)
            loop.reconcile(reader, forge, now=world.now + timedelta(minutes=minutes))

        return go

    turns.run(body(0), body(1))
    unexpected = [error for error in turns.errors if not isinstance(error, PilotError)]
    assert not unexpected, unexpected
    settle(world)
    return turns, world


def shape(world: ForgeWorld) -> object:
    """The end without what two clocks make different: numbers, evidence in words, and so the ids of commits."""
    repository = world.controller()[0].repository
    repository.sync()
    pulls = sorted(
        (pull.branch, repository.read(pull.head, FILE_NAME), pull.title, pull.check and pull.check[0])
        for pull in opened(world)
    )
    noes = Counter(
        pull.title
        for pull in world.pulls()
        if pull.state is PrState.CLOSED and not (proposals.parse(pull.body) or pytest.fail("no marker")).closed_reason
    )
    return pulls, noes, repository.read(world.heads()["main"], FILE_NAME)


def races(scenario: Scenario, begin: Begin, switches: int | None) -> tuple[int, list[object]]:
    expected = shape(uninterrupted(scenario, begin)[0])
    count, other = 0, []

    def run(plan: Any) -> Turns:
        nonlocal count
        turns, world = interleaved(scenario, begin, plan)
        count += 1
        if (found := shape(world)) != expected:
            other.append((turns.choices, found))
        return turns

    for _ in plans(run, switches=switches):
        pass
    return count, other


@everywhere(brief=False)
def test_two_controllers_at_once_end_the_same(
    name: str, forge: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Every order in which their steps can come, listings included; by default most with a bound on changes of turn."""
    switches = SCENARIOS[name].switches
    if EXHAUSTIVE and switches is not None:
        switches = None if forge == "local" else 1  # with a server all orders of a long scenario would take days
    count, other = races(SCENARIOS[name], WORLDS[forge], switches)

    record_testsuite_property(f"interleavings of {name} on {forge}", count)
    assert count > 1
    assert not other, f"of {count} interleavings of {name} {len(other)} end differently: {other[:3]}"


# ---------------------------------------------------------------- people

WORDS, TITLE = "I have looked at it and asked Bo. ", "percent to fifty (Ana)"


def person_merges(world: ForgeWorld, pull: PullRequest) -> None:
    world.merge(pull.number)


def person_closes(world: ForgeWorld, pull: PullRequest) -> None:
    world.close(pull.number)


def person_edits(world: ForgeWorld, pull: PullRequest) -> None:
    world.edit(pull.number, body=WORDS + pull.body)


def person_retitles(world: ForgeWorld, pull: PullRequest) -> None:
    world.edit(pull.number, title=TITLE)


def person_pushes(world: ForgeWorld, pull: PullRequest) -> None:
    world.commit(pull.branch, "    exposure:", "    # mine\n    exposure:")


def person_deletes(world: ForgeWorld, pull: PullRequest) -> None:
    world.delete(pull.branch)


PEOPLE = (person_merges, person_closes, person_edits, person_retitles, person_pushes, person_deletes)


@dataclass
class Meeting:
    """A person does *what* to the *which*-th open pull request just before step *at*, if there is one."""

    at: int
    which: int
    what: Callable[[ForgeWorld, PullRequest], None]
    seen: int = 0
    met: PullRequest | None = None
    head: str = ""

    def before(self, world: ForgeWorld) -> Callable[[int], None]:
        def hook(number: int) -> None:
            if number != self.at:
                return
            found = opened(world)
            self.seen = len(found)
            if self.which >= self.seen:
                return
            pull = found[self.which]
            try:
                self.what(world, pull)
            except PilotError:
                return  # a forge would not let them: its check failed, or it is not there yet
            self.met, self.head = pull, world.heads().get(pull.branch, "")

        return hook


def noes(world: ForgeWorld) -> int:
    """How many pull requests a pass must take for declined by a person."""
    marks = [proposals.parse(pull.body) for pull in world.pulls() if pull.state is PrState.CLOSED]
    return sum(mark is not None and not mark.closed_reason for mark in marks)


def respected(world: ForgeWorld, meeting: Meeting, declined_before: int, names: list[str]) -> str | None:
    """What of a person's was lost, in words; None where nothing was."""
    met = meeting.met
    assert met is not None
    now = next(pull for pull in world.pulls() if pull.number == met.number)
    mark = proposals.parse(met.body)
    assert mark is not None
    ours = [pull for pull in opened(world) if HANDS_OFF not in pull.comments]
    if len(ours) > 1:
        return f"{len(ours)} open pull requests of ours"
    if meeting.what is person_merges and now.state is not PrState.MERGED:
        return "the merge is gone"
    if meeting.what is person_pushes and world.heads().get(met.branch) != meeting.head:
        return "the pushed commit is gone"
    if meeting.what is person_retitles and now.title != TITLE:
        return "the title is gone"
    if meeting.what is person_edits and WORDS not in now.body and "edit" not in names[meeting.at :]:
        return "the words are gone"
    if any(pull.branch == met.branch and pull.number != met.number for pull in world.pulls()):
        return None  # of two on one branch, what ends the one may end the other, and who closed one has not said no
    no = meeting.what in (person_closes, person_deletes) and not mark.closed_reason
    if no and any((proposals.parse(pull.body) or mark).id == mark.id for pull in opened(world)):
        return "the no is ignored"
    if noes(world) > declined_before + no:
        return "a no that nobody said"
    return None


@everywhere(brief=False)
def test_nothing_of_a_persons_is_lost_whenever_they_act(
    name: str, forge: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """
    Merge, close, edit, retitle, push, delete the branch: before every step, on every pull request open then.

    One thing no forge can give: an edit of a body between our reading and our writing it is overwritten, since there is
    no compare-and-swap for it. So words count as lost only where the pass did not write a body after they came.
    """
    scenario, begin = SCENARIOS[name], WORLDS[forge]
    count, lost = 0, []
    for at in range(len(uninterrupted(scenario, begin)[1])):
        for what in PEOPLE:
            for which in range(3):
                world, meeting = begin(scenario.more, scenario.prepare), Meeting(at, which, what)
                before, faulty = noes(world), Faulty()
                faulty.before = meeting.before(world)
                act(scenario, world, faulty)
                if meeting.met is not None:
                    settle(world)
                    count += 1
                    if (loss := respected(world, meeting, before, faulty.names)) is not None:
                        lost.append(f"{what.__name__} #{meeting.met.number} before {faulty.names[at]} ({at}): {loss}")
                if which + 1 >= meeting.seen:
                    break

    record_testsuite_property(f"meetings of {name} on {forge}", count)
    assert count >= len(PEOPLE) - 1
    assert not lost, f"of {count} meetings in {name} {len(lost)} lose something: {lost}"


# ---------------------------------------------------------------- the memory behind it


REAL = ("overtaken", "merges-by-itself", "up-to-date")  # every kind of write, and every shape of history


@pytest.mark.parametrize("name", SCENARIOS if EXHAUSTIVE else REAL)
def test_memory_is_git(name: str, tmp_path: Path) -> None:
    """The same story on a real repository leaves the same ids, down to the last object."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    scenario, views = SCENARIOS[name], []

    def real(more: str, prepare: Prepare) -> ForgeWorld:
        def view() -> Git:
            views.append(Git(remote, directory=tmp_path / "mirror"))
            return views[-1]

        made = LocalWorld(view, more=more)
        prepare(made)
        return made

    world, names = uninterrupted(scenario, real)
    expected, same = uninterrupted(scenario, memory)
    for git in views:
        git.objects.close()

    assert names == same
    assert summary(world) == summary(expected)
    assert world.heads() == expected.heads()
