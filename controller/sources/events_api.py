"""
Events from a product's HTTP API: `GET <url>?limit=N`, newest first, a JSON array or an object with an `events` array.

Where the API pages (a `Link` header or a `next` field), pages are followed back to the window's start or to what is
known. Where it only has `limit`, what lies between two polls is a gap unless the later one goes back to the earlier.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from controller.errors import ConfigError, TransientError
from controller.model import Event, Query, Recorded, Window
from controller.sources.jsonlines import JsonLines
from controller.sources.records import Names
from controller.sources.spool import Poll, Spool, event_time

_BYTES = 64 * 1024 * 1024  # of one answer
_PAGES = 1000  # of one poll
_SHOWN = 100  # characters of an answer that is no JSON


class EventsApi:
    """
    The events API at *url*, of which *spool* keeps what it showed.

    `limit` must not be more than the API honours: an answer of fewer events is taken for all that there are.
    `timeout` is in seconds, for one request. `token` is sent as a bearer token, and appears nowhere else.
    """

    def __init__(
        self,
        url: str,
        spool: Path,
        *,
        limit: int = 200,
        token: str | None = None,
        timeout: float = 10.0,
        fields: Mapping[str, str] | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.username is not None:
            raise ConfigError(f"the address of the events API at {parts.hostname} holds a user; give a token instead")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"events API {url!r} is no http(s) address; write it as https://host/api/events")
        self._url, self._token, self._timeout, self._limit = url, token, timeout, limit
        self._shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        names = Names(fields or {}, types or {})
        self._ts = names.field("ts")
        self._spool = Spool(spool, id_field=names.field("id"), ts_field=self._ts)
        self._lines = JsonLines([self._spool.pattern], fields=fields, types=types)
        self._opener = urllib.request.build_opener(_SameHost(self._shown))

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        """
        Poll the API, and count every query over what was ever seen of *window*.

        Raises:
            ConfigError: the address, the token or the spool must be changed.
            TransientError: the API did not answer, or not with events.
        """
        try:
            self._spool.refresh()
            self._spool.add(self._poll(window))
        except OSError as e:
            raise ConfigError(f"spool {e.filename}: {e.strerror}; make its folder writable") from e
        return self._lines.read(queries, window, gaps=self._spool.gaps(window.start, window.now))

    def events(self, types: Collection[str], start: datetime, end: datetime) -> Sequence[Event]:
        """As `Source.events`, of what earlier passes and `read` have polled."""
        return self._lines.events(types, start, end)

    def newest(self) -> Sequence[Any]:
        """
        What the API answers to one request for its newest events, as it is.

        Raises:
            ConfigError, TransientError: as for `read`.
        """
        return self._get(self._with(limit=str(self._limit)))[0]

    def _poll(self, window: Window) -> Poll:
        """Fetch pages, newest first, until nothing further back can be new."""
        gaps = self._spool.gaps(window.start, window.now)
        whole = not gaps or (len(gaps) == 1 and gaps[0][0] > window.start)  # up to the last poll
        url, events, paged = self._with(limit=str(self._limit)), list[Any](), False
        for _ in range(_PAGES):
            page, following = self._get(url)
            events += page
            if following is None or not page:
                everything = paged or len(page) < self._limit
                return Poll(window.now, events, None if everything else self._since(events, window.now))
            if self._since(page, window.now) < window.start:
                break
            if whole and self._spool.knows(page) and self._spool.meets(events, window.now):
                break
            url, paged = following, True
        return Poll(window.now, events, self._since(events, window.now), paged=True)

    def _since(self, events: Sequence[Any], now: datetime) -> datetime:
        """The oldest event's time; the newest's, or *now*, where they are not newest first and show no whole span."""
        times = [time for time in (event_time(event, self._ts) for event in events) if time]
        return times[-1] if times and times == sorted(times, reverse=True) else max(times, default=now)

    def _with(self, **parameters: str) -> str:
        """The API's address with these query parameters in place of its own."""
        parts = urllib.parse.urlsplit(self._url)
        query = [pair for pair in urllib.parse.parse_qsl(parts.query) if pair[0] not in parameters]
        return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode([*query, *parameters.items()])))

    def _get(self, url: str) -> tuple[list[Any], str | None]:
        """The events of one page, and the address of the next."""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        try:
            with self._opener.open(urllib.request.Request(url, headers=headers), timeout=self._timeout) as answer:
                body, link = answer.read(_BYTES + 1), answer.headers.get("Link", "")
        except urllib.error.HTTPError as e:
            e.close()
            raise self._refused(e.code) from None
        except (OSError, http.client.HTTPException) as e:
            reason = getattr(e, "reason", None) or e
            raise TransientError(f"{self._shown} did not answer: {reason or type(e).__name__}") from None
        if len(body) > _BYTES:
            raise ConfigError(f"{self._shown} answered more than {_BYTES} bytes; lower `limit`")
        events, following = self._parse(body)
        found = re.search(r'<([^>]*)>\s*;[^,]*\brel="?next\b', link)
        if found:
            return events, self._same_host(urllib.parse.urljoin(url, found[1]))
        if following is None:
            return events, None
        if re.match(r"https?:|[/?]", following):
            return events, self._same_host(urllib.parse.urljoin(url, following))
        return events, self._with(limit=str(self._limit), cursor=following)

    def _parse(self, body: bytes) -> tuple[list[Any], str | None]:
        start = body[: 9 * _SHOWN].decode(errors="replace").replace(self._token or "\0", "***")[:_SHOWN]
        try:
            data = json.loads(body)
        except ValueError:
            raise TransientError(f"{self._shown} answered no JSON but {start!r}") from None
        events, following = (data.get("events"), data.get("next")) if isinstance(data, dict) else (data, None)
        if not isinstance(events, list):
            raise TransientError(f"{self._shown} answered neither an array nor an object with `events`: {start!r}")
        return events, None if following in (None, "") else str(following)

    def _same_host(self, url: str) -> str:
        if _origin(url) != _origin(self._url):
            raise ConfigError(f"{self._shown} gives a next page on another host, {_origin(url)}; set that address")
        return url

    def _refused(self, status: int) -> ConfigError | TransientError:
        match status:
            case 401 | 403:
                return ConfigError(f"{self._shown} answered {status}; give a token that may read events")
            case 404:
                return ConfigError(f"{self._shown} answered 404; correct the address of the events API")
            case _ if status == 429 or status >= 500:
                return TransientError(f"{self._shown} answered {status}; it may serve the next pass")
        return ConfigError(f"{self._shown} answered {status}; correct the address or its parameters")


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects on the same host only: urllib would take the token along to any other."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if _origin(newurl) != _origin(req.full_url):
            raise ConfigError(f"{self._shown} redirects to another host, {_origin(newurl)}; set that address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()
