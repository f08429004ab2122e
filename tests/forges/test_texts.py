"""Texts cut to what a forge takes, and the addresses of repositories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import ConfigError
from controller.forges import clip
from controller.forges.address import Address

MARKER = "<!-- rollout:v1 e30= -->\n\nRollout-Id: 1\n"


def test_a_text_that_fits_stays_as_it_is() -> None:
    assert clip.body("a" * 100, 100) == "a" * 100
    assert clip.line("a" * 100, 100) == "a" * 100


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("one\ntwo\nthree\n\n" + MARKER, 13, "one\n\n…\n\n" + MARKER),
        ("one\n```\ncode\ncode\ncode\n```\n\n" + MARKER, 22, "one\n```\ncode\n```\n\n…\n\n" + MARKER),
        (
            "<details>\none\ntwo\nthree\nfour\nfive\nsix\n</details>\n" + MARKER,
            38,
            "<details>\none\ntwo\n</details>\n\n…\n\n" + MARKER,
        ),
    ],
)
def test_a_cut_closes_what_it_leaves_open(text: str, limit: int, cut: str) -> None:
    assert clip.body(text, limit + len(MARKER)) == cut


def test_a_text_without_a_marker_is_cut_too() -> None:
    assert clip.body("one\ntwo three four five six\n", 20) == "one\n\n…\n\n"


@given(
    st.lists(st.sampled_from(["a", "\n", "```\n", "\n```", "<details>", "</details>", "é", "| x |\n"])),
    st.integers(60, 200),
)
def test_the_marker_survives_any_cut(parts: list[str], limit: int) -> None:
    cut = clip.body("".join(parts) + "\n" + MARKER, limit)
    assert len(cut) <= limit
    assert cut.endswith(MARKER)


def test_a_line_has_no_breaks_and_is_cut() -> None:
    assert clip.line("a\n b\t c", 10) == "a b c"
    assert clip.line("word " * 10, 10) == "word word…"


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/acme/shop.git", Address("github.com", "acme/shop")),
        ("https://user:pass@GitHub.com/acme/shop/", Address("github.com", "acme/shop")),
        ("http://localhost:3000/acme/shop", Address("localhost:3000", "acme/shop")),
        ("git@github.com:acme/shop.git", Address("github.com", "acme/shop")),
        ("github.com:acme/shop", Address("github.com", "acme/shop")),
        ("ssh://git@git.example.com:2222/group/deep/shop.git", Address("git.example.com", "group/deep/shop")),
        ("/srv/git/shop.git", None),
        ("./shop", None),
        ("C:\\git\\shop", None),
        ("C:/git/shop", None),
        ("file:///srv/git/shop.git", None),
        ("shop", None),
    ],
)
def test_the_server_and_the_repository_are_read_as_git_reads_them(remote: str, address: Address | None) -> None:
    assert Address.of(remote) == address


@pytest.mark.parametrize("remote", ["https://h/shop", "https://h/a/b/c", "https://u:p4ss@h/"])
def test_a_path_of_more_or_less_than_two_parts_is_refused(remote: str) -> None:
    address = Address.of(remote)
    assert address is not None
    with pytest.raises(ConfigError, match="expected HOST/owner/name") as caught:
        address.owner_and_name(remote)
    assert "p4ss" not in str(caught.value)
