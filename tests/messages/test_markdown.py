"""Strangers' text in a pull request: a table of what is tried, and what no text may ever become."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.messages.markdown import escape, link, sparkline

GAP = "\u200b"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("mic_grant: 78 % of 40 users (target >= 85 %), e-value 3.4 < 20",
         r"mic\_grant: 78 % of 40 users (target &gt;= 85 %), e-value 3.4 &lt; 20"),
        ("@ana and @org/team", f"@{GAP}ana and @{GAP}org/team"),
        ("a@b.example", f"a@{GAP}b.example"),
        ("fixes #12, o/r#3", rf"fixes \#{GAP}12, o/r\#{GAP}3"),
        ("GH-12 gh-3 GH-x", f"GH-{GAP}12 gh-{GAP}3 GH-x"),
        ('!7 $8 %9 &10 %"v1" ~bug', rf'\!{GAP}7 \${GAP}8 %{GAP}9 &amp;{GAP}10 %{GAP}"v1" \~{GAP}bug'),
        ("https://a.example/x www.a.example", f"https:{GAP}//a.example/x www{GAP}.a.example"),
        ("[x](http://a) ![y](z)", rf"\[x\](http:{GAP}//a) \!\[y\](z)"),
        ("<!-- rollout:v1 e30= -->", r"&lt;\!-- rollout:v1 e30= --&gt;"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y&gt;"),
        ("&#64;ana &lt;b&gt;", rf"&amp;\#{GAP}64;ana &amp;lt;b&amp;gt;"),
        ("a | b", r"a \| b"),
        ("\\| \\[x\\](y)", r"\\\| \\\[x\\\](y)"),
        ("`rm -rf` **b** ~~s~~", rf"\`rm -rf\` \*\*b\*\* \~\~{GAP}s\~\~"),
        ("one\n\n# two\r\n| x |", r"one \# two \| x \|"),
        ("- item", r"\- item"),
        ("right\u202eleft\x00\ud800", "right left"),
    ],
)  # fmt: skip
def test_escape(text: str, escaped: str) -> None:
    """Readable where it is harmless, inert where it is not."""
    assert escape(text) == escaped


def test_a_long_text_is_cut_before_it_is_escaped() -> None:
    """A million characters of an event's id do not push the rest out of the body, nor cut an escape in two."""
    assert escape("[" * 1_000_000) == "\\[" * 499 + "…"


DANGEROUS = st.lists(
    st.sampled_from([*"@#!$%&~|`*_[]()<>\\\n\r :/.-=+\"'1a", "www", "GH-", "://", "<!--", "-->", "&#64;"])
).map("".join)


@given(st.one_of(st.text(), DANGEROUS))
@example("GH-GH-1")
@example("wwwwww.x")
@example("@@@a")
@example("%_")
def test_no_text_becomes_a_mention_a_link_a_tag_a_table_or_a_marker(text: str) -> None:
    """Judged by what forges look for in the rendered text, so backslashes before punctuation are taken away first."""
    escaped = escape(text)
    unescaped = re.sub(r"\\(.)", r"\1", escaped)
    bare = re.sub(r"\\.", "", escaped)  # what is left without a backslash is live Markdown

    assert not set("<>\n\r\t\x0b\x0c\u2028\u2029\x85") & set(escaped)
    assert not set("|`[]*_~!#$") & set(bare)
    assert not re.search(r"@(?!\u200b)", escaped)
    assert not re.search(r"[#!$]\d|&amp;\d|[%~][\w\"]|\bGH-\d|\bwww\.|://", unescaped, re.IGNORECASE)
    assert not re.search(r"&(?!(amp|lt|gt);)", escaped)
    assert not re.match(r"[-+=]", escaped)
    escaped.encode()


@pytest.mark.parametrize(
    ("url", "markdown"),
    [
        ("https://app.example.com/api/events", "[Events](https://app.example.com/api/events)"),
        ("https://u:secret@app.example.com:8443/x?token=secret#y", "[Events](https://app.example.com:8443/x)"),
        ("https://app.example.com", "[Events](https://app.example.com)"),
        ("https://app.example.com/a)![x](https://evil.example", ""),
        ("javascript://app.example.com/x", ""),
        ("https://app.example.com/a b", ""),
        ("", ""),
    ],
)
def test_a_link_holds_no_secret_and_nothing_odd(url: str, markdown: str) -> None:
    assert link("Events", url) == markdown


@pytest.mark.parametrize(
    ("values", "low", "high", "bars"),
    [
        ((), 0.8, 0.85, ""),
        ((None, None), 0.8, 0.85, ""),
        ((0.8, 0.85), 0.8, 0.85, "▁█"),
        ((0.8, None, 0.83), 0.8, 0.85, "▁·▅"),
        ((0.0, 0.85, 1.0), 0.8, 0.85, "▁▇█"),
        ((0.9, 0.9), 0.9, 0.9, "▁▁"),
        ((0.95,), 0.9, 0.9, "█"),
    ],
)
def test_a_sparkline(values: tuple[float | None, ...], low: float, high: float, bars: str) -> None:
    """From the bounds, or the extremes beyond them; a gap is a dot, and nothing is nothing."""
    assert sparkline(values, low=low, high=high) == bars
