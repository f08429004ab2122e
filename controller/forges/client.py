"""
One HTTP client for the JSON APIs of all forges: it waits where it is told to, and says what a refusal means.

It sends one request at a time, as GitHub asks:
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import urllib3

from controller.errors import ConfigError, TransientError
from controller.forges import command
from controller.forges.answers import Answer, Raw, RefusedError, UnansweredError, said, shown
from controller.forges.cache import Cache
from controller.forges.patience import Patience

_BACKOFF_S = (1.0, 2.0, 4.0)  # between tries of what may be repeated
_TIMEOUT = urllib3.Timeout(connect=10, read=30)  # seconds
_WHOLE_S = 120.0  # for one answer, however slowly it trickles in
_BYTES = 32 * 1024 * 1024  # of one answer, unpacked
_PAGES = 2000  # of one list

# Our PUT and PATCH set values outright, so that doing it twice is doing it once.
_REPEATABLE = ("GET", "HEAD", "PUT", "PATCH", "DELETE")
# An error of TLS is not among these: it can come with the answer.
_NOT_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)


class Client:
    """
    The API of *forge* (its name, for messages) at *base*, an https address; http only on this machine.

    *headers* gives those of every request, anew each time since tokens expire. *permission* names what a refused
    method and path need.
    """

    def __init__(
        self,
        base: str,
        *,
        forge: str,
        headers: Callable[[], Mapping[str, str]],
        permission: Callable[[str, str], str] = lambda _method, _path: "",
        cache: Cache | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.base = _checked(base, forge)
        self.cache = cache or Cache()
        self.patience = patience or Patience()
        self._forge = forge
        self._make_headers = headers
        self._headers: Mapping[str, str] = {}  # of the last request, to keep their secrets out of messages
        self._permission = permission
        self._pool = _pool(self.base)

    def get(self, path: str, params: Mapping[str, str] | None = None, *, cached: bool = False) -> Answer:
        """Read; with *cached* only if it has changed since the last such read (ETag)."""
        return self.request("GET", path, params=params, cached=cached)

    def pages(self, path: str, params: Mapping[str, str] | None = None, *, cached: bool = False) -> Iterator[Answer]:
        """
        Read a list page by page, the first one with *cached* only if it has changed.

        Whoever takes all of them has the complete list: where it is cut short this raises.

        Raises:
            ConfigError: the list has more pages than anyone should read.
            TransientError: a page is no list, or fewer items came than the forge counts.
        """
        what = f"{self._forge}: GET {path}"
        query, seen = dict(params or {}), 0
        for number in range(_PAGES):
            answer = self.get(path, query, cached=cached and number == 0)
            if not isinstance(answer.body, list):
                raise TransientError(f"{what}: no list but {type(answer.body).__name__}; the next run reads again")
            yield answer
            seen += len(answer.body)
            following = answer.following
            if following is None:
                if answer.total is not None and seen < answer.total:
                    raise TransientError(f"{what}: {seen} of {answer.total} items came; the next run reads again")
                return
            query |= following
        raise ConfigError(f"{what}: more than {_PAGES} pages; clear out the list")

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        safe: bool | None = None,
        cached: bool = False,
    ) -> Answer:
        """
        Send a request until it is answered or the pass may wait no longer.

        *safe* says that it may be sent again when its answer is lost; by default every method but POST. A safe POST
        only reads, as a GraphQL query does. *path* is relative to the base, its parts already quoted.

        Raises:
            RefusedError: 4xx.
            ConfigError: a redirect, which is never followed, or an answer too large.
            UnansweredError: a write that is not safe was sent, and its answer was lost.
            TransientError: no answer, 5xx, or more waiting than the pass has left.
        """
        safe = method in _REPEATABLE if safe is None else safe
        reads = method == "GET" or (method == "POST" and safe)
        url = f"{self.base}/{path.lstrip('/')}" + (f"?{urllib.parse.urlencode(params)}" if params else "")
        what = f"{self._forge}: {method} {urllib.parse.urlsplit(url).path}"
        kept = self.cache.get(url) if cached else None
        failures = blocks = 0
        while True:
            if not reads:
                self.patience.pace()
            raw = self._exchange(method, url, what, body, kept)
            if raw.is_limit:
                best_s, least_s = raw.blocked_s(self.patience.clock(), blocks)
                self.patience.wait(best_s, f"{what}: {raw.status}: {self._said(raw)}", least_s=least_s)
                blocks += 1
                continue
            if not raw.trouble:
                return self._answer(raw, method, path, what, url if cached else None, kept)
            if raw.sent and not safe:
                raise UnansweredError(f"{what}: {raw.trouble}; it may have been done, the next run looks")
            if failures == len(_BACKOFF_S):
                raise TransientError(f"{what}: {raw.trouble}, {failures + 1} times; try again later")
            self.patience.wait(max(_BACKOFF_S[failures], raw.retry_after_s or 0.0), f"{what}: {raw.trouble}")
            failures += 1

    def _answer(
        self, raw: Raw, method: str, path: str, what: str, url: str | None, kept: Mapping[str, Any] | None
    ) -> Answer:
        if raw.status == 304 and kept is not None:
            return Answer(304, kept["body"], {**raw.headers, "etag": kept["etag"], "link": kept["link"]})
        if not 200 <= raw.status < 300:
            raise self._refusal(raw, method, path, what)
        parsed = json.loads(raw.data) if raw.data.strip() else None
        if url is not None and (etag := raw.headers.get("etag")):
            self.cache.put(url, {"etag": etag, "body": parsed, "link": raw.headers.get("link", "")})
        return Answer(raw.status, parsed, raw.headers)

    def _exchange(self, method: str, url: str, what: str, body: object, kept: Mapping[str, Any] | None) -> Raw:
        """Send once, and say what came of it."""
        own = {name.lower(): value for name, value in self._make_headers().items()}
        headers = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "pilot-rollout", **own}
        self._headers = headers
        if kept is not None:
            headers["if-none-match"] = kept["etag"]
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                retries=False,
                redirect=False,
                timeout=_TIMEOUT,
                preload_content=False,
            )
            data = _read(response, what)
        except urllib3.exceptions.HTTPError as error:
            reason = shown(": ".join(map(str, error.args)) or type(error).__name__, headers)
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                raise ConfigError(f"{what}: {reason}; make the server's authority known to the system") from None
            return Raw(trouble=f"no answer: {reason}", sent=not isinstance(error, _NOT_SENT))
        raw = Raw(response.status, {name.lower(): value for name, value in response.headers.items()}, data)
        if raw.status >= 500 or raw.status == 408:
            return Raw(raw.status, raw.headers, data, trouble=f"{raw.status}: {self._said(raw)}")
        if 200 <= raw.status < 300 and data.strip() and not _is_json(data):
            return Raw(raw.status, raw.headers, data, trouble=f"{raw.status}, but no JSON: {self._said(raw)}")
        return raw

    def _refusal(self, raw: Raw, method: str, path: str, what: str) -> ConfigError:
        if 300 <= raw.status < 400:
            place = shown(raw.headers.get("location", "nowhere"), self._headers)
            return ConfigError(
                f"{what}: {raw.status}: moved to {place}; no token follows a redirect, set the new address"
            )
        reason = self._said(raw)
        # GitHub names it: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
        needed = raw.headers.get("x-accepted-github-permissions") or self._permission(method, path)
        needed = f"; probably missing: {needed}" if needed else ""
        advice = {
            401: "; the token is wrong or has expired",
            403: needed or "; the token may not do this",
            404: f"; it is not there, or hidden from this token{needed}",
        }.get(raw.status, "")
        return RefusedError(f"{what}: {raw.status}: {reason}{advice}", status=raw.status, said=reason)

    def _said(self, raw: Raw) -> str:
        return shown(said(raw.data), self._headers) or "no reason given"


def _read(response: urllib3.BaseHTTPResponse, what: str) -> bytes:
    data, begun = b"", time.monotonic()
    try:
        while chunk := response.read(1 << 16, decode_content=True):
            data += chunk
            if len(data) > _BYTES:
                raise ConfigError(f"{what}: answered more than {_BYTES} bytes; is this the forge's API?")
            if time.monotonic() - begun > _WHOLE_S:
                raise urllib3.exceptions.TimeoutError(f"the answer was not whole in {_WHOLE_S:.0f} s")
    except BaseException:
        response.close()  # what is left in the connection is not the next answer
        raise
    response.release_conn()
    return data


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _checked(base: str, forge: str) -> str:
    parts = urllib.parse.urlsplit(base)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"the address of {forge} at {parts.hostname} holds a user; give a token instead")
    if not command.is_private(base):
        raise ConfigError(f"the address of {forge} is {base!r}; a token goes by https only: write https://host/path")
    return base.rstrip("/")


def _pool(base: str) -> urllib3.PoolManager:
    """Verify certificates, always, by the system's authorities; go through the environment's proxy."""
    parts = urllib.parse.urlsplit(base)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy, cert_reqs="CERT_REQUIRED")
    return urllib3.PoolManager(cert_reqs="CERT_REQUIRED")
