"""The firms in the pilot: one line of the stack file by pull request, and no word on the stage."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import stackfile
from controller.errors import ConfigError
from controller.history import History
from controller.launch import cohort
from controller.stackfile import read, with_cohort
from tests.facts import NOW, commit
from tests.forge_world import LocalWorld
from tests.memory import MemoryGit, Server

HEAD = """config:
  pilot:service: {cluster: c, name: n, image: i}
  pilot:rollout:
    percent: 10  # one line
    exposure: flag
"""
CASES = {  # the list before, the firms wanted, the list after
    "grows": ("[firm-a, firm-b]  # approved", ["firm-a", "firm-b", "firm-c"], "[firm-a, firm-b, firm-c]  # approved"),
    "shrinks": ("[firm-a, firm-b]", ["firm-b"], "[firm-b]"),
    "to the last": ("[firm-a]", [], "[]"),
    "from none": ("[]", ["firm-a"], "[firm-a]"),
    "quotes stay": ("""["firm-a", 'firm-b']""", ["firm-a", "firm-b", "firm-c"], """["firm-a", 'firm-b', firm-c]"""),
    "quotes where needed": ("[firm-a]", ["firm-a", "010", "true"], '[firm-a, "010", "true"]'),
    "odd spaces": ("[ firm-a ,firm-b ]", ["firm-a"], "[firm-a]"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("after", ["", "    flags: {micPrompt: primer}\n", "  other:key: {secure: AAABAA==}\n# end\n"])
def test_only_the_line_of_the_list_changes(case: str, end: str, after: str) -> None:
    """Comments, quotes, line ends and secrets stay, byte for byte."""
    was, firms, becomes = CASES[case]
    before = f"{HEAD}    cohort: {was}\n{after}".replace("\n", end).encode()

    edited = with_cohort(before, firms, name="Pulumi.prod.yaml")

    assert edited == f"{HEAD}    cohort: {becomes}\n{after}".replace("\n", end).encode()
    assert read(edited, name="x").rollout.cohort == tuple(firms)


@pytest.mark.parametrize(
    ("was", "firms", "words"),
    [
        (
            "\n      - firm-a\n      - firm-b",
            ["firm-a"],
            "found a list over several lines; write it on one: [firm-a, firm-b]",
        ),
        ("[firm-a,\n      firm-b]", ["firm-a"], "found a list over several lines"),
        ("firm-a", ["firm-b"], "found a single value; write a list"),
        ("&x [firm-a]", ["firm-b"], "found a tag, an anchor or an alias"),
        ("[firm-a]", ["two words"], "write a word of letters"),
        ("[firm-a]", ["a, b]\n    percent: 100"], "write a word of letters"),
    ],
)
def test_a_list_that_cannot_be_edited_safely_is_refused(was: str, firms: list[str], words: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError) as error:
        with_cohort(f"{HEAD}    cohort: {was}\n".encode(), firms, name="Pulumi.prod.yaml")
    assert words in str(error.value)


@pytest.mark.parametrize("raw", ["[firm-b]\n    intake: paused", "[firm-b] # x", "[firm-b, firm-c]", "[[firm-b]]"])
def test_an_edit_that_would_say_more_is_not_made(raw: str) -> None:
    """The proof by reading again, with what no name that is allowed can bring about."""
    file = stackfile._File(f"{HEAD}    cohort: [firm-a]\n".encode(), "x")
    with pytest.raises(ConfigError):
        file.replace_list("config.pilot:rollout.cohort", ["firm-b"], raw)


def test_a_file_without_a_list_is_refused() -> None:
    """No key is ever added."""
    with pytest.raises(ConfigError, match="no 'cohort'"):
        with_cohort(HEAD.encode(), ["firm-a"], name="Pulumi.prod.yaml")


FIRM = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)


@given(was=st.lists(FIRM, max_size=4, unique=True), firms=st.lists(FIRM, max_size=4, unique=True))
@settings(max_examples=25, deadline=None)
def test_whatever_the_names_the_list_says_them(was: list[str], firms: list[str]) -> None:
    """Names that YAML would read as numbers or booleans too."""
    before = f"{HEAD}    cohort: {json.dumps(was)}\n    intake: open\n".encode()
    edited = with_cohort(before, firms, name="x")
    assert read(edited, name="x").rollout.cohort == tuple(firms)
    assert edited.split(b"cohort:")[0] == before.split(b"cohort:")[0]
    assert edited.endswith(b"]\n    intake: open\n")


@pytest.fixture
def world() -> LocalWorld:
    server = Server()
    return LocalWorld(lambda: MemoryGit(server))


def test_a_firm_joins_and_leaves_by_pull_request(world: LocalWorld) -> None:
    """Asked twice it is one; merged it is in the list; and the rollout goes on as before."""
    reader, forge = world.controller()
    before = cohort.listed(reader.repository, "prod")
    for _ in range(2):
        lines = cohort.change(reader.repository, forge, stack="prod", firm="firm-z", joins=True, by="Omar")
    (pr,) = [pr for pr in world.pulls() if pr.branch.startswith("cohort/")]
    assert lines == (
        f"#{pr.number}: cohort(prod): add firm-z",
        f"next: merge #{pr.number}, then pulumi up --stack prod",
    )
    world.merge(pr.number)
    assert cohort.listed(reader.repository, "prod") == (*before, "firm-z")

    cohort.change(reader.repository, forge, stack="prod", firm="firm-z", joins=False, by="Omar")
    world.merge(world.pulls()[-1].number)
    assert cohort.listed(reader.repository, "prod") == before


def test_what_is_so_already_is_said(world: LocalWorld) -> None:
    """With the list."""
    reader, forge = world.controller()
    with pytest.raises(ConfigError, match=r"Pulumi.prod.yaml: nobody is not in the cohort: "):
        cohort.change(reader.repository, forge, stack="prod", firm="nobody", joins=False, by="Omar")
    firm = (*cohort.listed(reader.repository, "prod"), "firm-a")[0]
    if firm in cohort.listed(reader.repository, "prod"):
        with pytest.raises(ConfigError, match="is in the cohort"):
            cohort.change(reader.repository, forge, stack="prod", firm=firm, joins=True, by="Omar")


def test_a_change_of_the_cohort_is_no_word_on_the_stage() -> None:
    """After a revert a new firm does not lift the hold, whoever let it in; another flag or image does."""
    reverted = [commit(NOW - timedelta(hours=3), 0), commit(NOW - timedelta(days=1), 20)]
    firm = commit(NOW - timedelta(hours=2), 0, person=True, cohort=("firm-z",))
    flag = commit(NOW - timedelta(hours=2), 0, person=True, flags={"micPrompt": "native"})

    assert History.of([firm, *reverted]).rolled_back is not None
    assert History.of([firm, *reverted]).reverts == 1
    assert History.of([flag, *reverted]).rolled_back is None
