"""
Sends one message to one channel by Apprise, which knows Slack, Teams, Discord, e-mail, webhooks and many more.

The address of a channel is a secret, and Apprise's own log and its "private" form of an address may show parts of it:
so nothing of either gets out of here, but for the status that a server answered.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from controller.model import Announcement, News

if TYPE_CHECKING:
    import apprise

_SERVICE_TIMEOUT_S = 20
_WARNINGS = (News.HOLD, News.REVERT, News.ROLLBACK, News.INCIDENT)


def problem(address: str) -> str | None:
    """What is wrong with *address*, in words that hold nothing of it; None where it is one of a service."""
    return None if _opened(address) else "is no address of a known service; docs/guide.md shows some"


def send(address: str, news: Announcement) -> str | None:
    """
    Send *news* to *address*; None where the service took it, else why not, in words that hold nothing of the address.

    Never raises, and ends within 20 seconds.
    """
    try:
        opened = _opened(address)
        if opened is None:
            return problem(address)
        import apprise

        kind = apprise.NotifyType.WARNING if news.kind in _WARNINGS else apprise.NotifyType.INFO
        with _Listening() as heard:
            done = opened.notify(
                title=news.title, body=news.text, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
            )
        return None if done else heard.reason()
    except Exception as error:  # a bug of the library's, or a network in a state that it did not foresee
        return f"failed with {type(error).__name__}"


def _opened(address: str) -> apprise.Apprise | None:
    import apprise

    asset = apprise.AppriseAsset(
        app_id="Pilot",
        app_desc="Pilot",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        http_redirects=False,  # a redirect would take the message to who knows where
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        service_timeout=_SERVICE_TIMEOUT_S,
    )
    with _Listening():
        service: Any = apprise.Apprise.instantiate(address, asset=asset)
        if service is None and re.match(r"https?://", address):  # any other webhook gets JSON
            service = apprise.Apprise.instantiate(re.sub("^http", "json", address), asset=asset)
        if service is None:
            return None
        if not isinstance(service.notify_format, tuple):  # else it would escape for Markdown, and show as 2026\-05\-05
            service.notify_format = apprise.NotifyFormat.TEXT
        opened = apprise.Apprise(asset=asset)
        opened.add(service)
    return opened


class _Listening(logging.Handler):
    """Keeps Apprise's log from everybody else, and remembers the last status in it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._status = ""

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"\berror=(\d{3})\b", record.getMessage()):
            self._status = found[1]

    def __enter__(self) -> _Listening:
        log = logging.getLogger("apprise")
        self._before = log.propagate, log.level, list(log.handlers)
        log.propagate, log.handlers = False, [self]
        log.setLevel(logging.WARNING)
        return self

    def __exit__(self, *_: object) -> None:
        log = logging.getLogger("apprise")
        log.propagate, level, log.handlers = self._before
        log.setLevel(level)

    def reason(self) -> str:
        return f"answered {self._status}" if self._status else "did not take it"
