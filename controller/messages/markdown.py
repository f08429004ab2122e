"""
Strangers' text and figures as Markdown that every forge shows alike. Pure.

Whatever comes from events, a policy or a person's name is data: it enters a pull request through `escape` or `link`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LIMIT = 500  # of one escaped text: a long one must not push "How to undo" out of the body
_GAP = "\u200b"  # zero width space; a backslash does not keep GitHub from linking #12 (renovatebot/renovate#602)
_BARS = "▁▂▃▄▅▆▇█"

# What forges turn into links and mentions inside a text, Markdown or not: @user, #12, GH-12, www.example.com; on GitLab
# also !12 (merge request), $12 (snippet), &12 (epic), %12 and %"x" (milestone), ~label.
_REFERENCE = re.compile(r"""@|://|[#!$](?=\d)|&amp;(?=\d)|[%~](?=\\?["\w])|\bGH-(?=\d)|\bwww(?=\.)""", re.IGNORECASE)

_ORDER = re.compile(r"""[\[@#*]|://|[!$&](?=\d)|[%~](?=["\w])|\bGH-(?=\d)|\bwww(?=\.)|\bskip-checks\b""", re.IGNORECASE)


def escape(value: object) -> str:
    """*value* as inert Markdown in one line: no markup, no mention, link or reference, no table cell, no HTML."""
    text = "".join(c if c.isprintable() else " " for c in str(value))  # controls, half surrogates, text directions
    text = " ".join(text.split())
    text = text if len(text) <= _LIMIT else text[: _LIMIT - 1] + "…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"[\\`*_\[\]|~#!$]|^[-+=]", r"\\\g<0>", text)
    return _REFERENCE.sub(
        lambda found: found[0][:1] + _GAP + found[0][1:] if "/" in found[0] else found[0] + _GAP, text
    )


def inert(value: object) -> str:
    """*value* in one line of plain text, as of a commit: no mention, no reference, no order to the forge or its CI."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return _ORDER.sub(lambda found: found[0][:1] + _GAP + found[0][1:], text)


def link(text: str, url: str) -> str:
    """*url* under the words *text*, without user, query and fragment, which may hold a secret; "" for an odd one."""
    found = re.fullmatch(
        r"(https?://)(?:[^/@\s]*@)?([A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9/._~%-]*)?)(?:[?#].*)?", url
    )
    return f"[{escape(text)}]({found[1]}{found[2]})" if found else ""


def sparkline(values: Sequence[float | None], *, low: float, high: float) -> str:
    """
    *values* as one character each, eight steps from *low* to *high* and beyond to the extremes; a gap where None.

    Plain characters are the one chart that asks nothing of a forge: no drawing language, no HTML that it may strip, no
    place for an image to lie; and a mail shows them too. How each forge's font draws them was not tried.
    """
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(low, *known), max(high, *known)
    steps = len(_BARS) - 1
    scale = steps / (high - low) if high > low else 0
    return "".join("·" if value is None else _BARS[round((value - low) * scale)] for value in values)
