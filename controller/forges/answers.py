"""What a forge's API answered, and what an answer means that is no answer. Pure."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.errors import ConfigError, TransientError
from controller.forges import command

_SHOWN = 300  # characters of an answer that are shown
_BLOCKED_S = 60.0  # the least to wait on a secondary limit that names no time
_LIMITED = re.compile(r"rate limit|abuse detection|too many requests|retry later", re.IGNORECASE)
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next\b')


class RefusedError(ConfigError):
    """
    The forge refused a request (4xx): a person must act, unless the adapter knows this refusal.

    `said` is what the forge gave as the reason, cut and without secrets.
    """

    def __init__(self, message: str, *, status: int, said: str) -> None:
        super().__init__(message)
        self.status = status
        self.said = said


class UnansweredError(TransientError):
    """A write was sent and its answer was lost, so it may be done. Read before writing again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came back: `body` is parsed JSON, None where it was empty; `headers` have names in lower case.

    `status` is 304 where the forge said that `body`, which then comes from the cache, still holds.
    """

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def following(self) -> dict[str, str] | None:
        """
        The query of the next page; None on the last.

        Only the query is taken from a link. Its host and path are the server's idea of itself: GitHub names the
        repository by number, and Gitea's ROOT_URL may be another than the one that we call.
        """
        if found := _NEXT.search(self.headers.get("link", "")):
            return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(found[1]).query, keep_blank_values=True))
        page = self.headers.get("x-next-page")  # GitLab, https://docs.gitlab.com/api/rest/#other-pagination-headers
        return {"page": page} if page else None

    @property
    def total(self) -> int | None:
        """How many items all pages hold, where the forge says so (Gitea, GitLab)."""
        said = self.headers.get("x-total-count") or self.headers.get("x-total") or ""
        return int(said) if said.isdigit() else None


@dataclass(frozen=True, slots=True)
class Raw:
    """One exchange as it ended. `trouble` says in words why there is no answer; then `sent` is whether it could be."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""
    trouble: str = ""
    sent: bool = True

    @property
    def is_limit(self) -> bool:
        """
        Whether it was refused for now, and nothing was done.

        GitHub answers a spent limit with 403, 429 or, to GraphQL, 200; GitLab and Gitea with 429.
        """
        if self.status == 200:
            spent = self._remaining == "0" and b'"RATE_LIMITED"' in self.data
            return spent or (b"secondary rate limit" in self.data and _has_only_errors(self.data))
        if self.status == 403:
            spent = "retry-after" in self.headers or self._remaining == "0"
            return spent or _LIMITED.search(said(self.data)) is not None
        return self.status == 429

    def blocked_s(self, now: float, blocks: int) -> tuple[float, float]:
        """
        How many seconds to wait at best, and at least, after *blocks* waits before.

        https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
        """
        if self.retry_after_s is not None:
            return self.retry_after_s, self.retry_after_s
        reset = self.headers.get("x-ratelimit-reset") or self.headers.get("ratelimit-reset") or ""
        if self._remaining == "0" and reset.isdigit():
            until = max(int(reset) - now, 0.0) + 1.0  # that second itself is still blocked
            return until, until
        return _BLOCKED_S * 2**blocks, _BLOCKED_S

    @property
    def retry_after_s(self) -> float | None:
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdigit() else None

    @property
    def _remaining(self) -> str | None:
        return self.headers.get("x-ratelimit-remaining") or self.headers.get("ratelimit-remaining")


def _has_only_errors(data: bytes) -> bool:
    """Whether this is GraphQL's way to say no, and no text of a person about limits."""
    body = json.loads(data)
    return isinstance(body, dict) and bool(body.get("errors")) and not body.get("data")


def said(data: bytes) -> str:
    """What the body of a refusal gives as the reason; not yet fit to be shown."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return data[: 4 * _SHOWN].decode("utf-8", "replace")
    if not isinstance(body, dict):
        return json.dumps(body)
    found = [body[name] for name in ("message", "error", "error_description", "errors") if body.get(name)]
    return ": ".join(item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in found)


def shown(text: str, headers: Mapping[str, str]) -> str:
    """*text* on one line, cut, and without the secrets of the request's *headers* or any other that is known as one."""
    for name in ("authorization", "private-token"):
        if value := headers.get(name):
            text = text.replace(value, "***").replace(value.split()[-1], "***")
    text = command.redact(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
