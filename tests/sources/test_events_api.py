"""The events API over real HTTP: a server of the standard library that shows a product's events."""

import http.server
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import ConfigError, TransientError
from controller.model import Query, Recorded, Window
from controller.sources.events_api import EventsApi

T0 = datetime(2026, 3, 1, tzinfo=UTC)
CALLS = Query("calls", "call", resolution=86400)


class Product(http.server.ThreadingHTTPServer):
    """Serves `events`, kept oldest first; `paging` is none, link, url or cursor. Replies in `planned` come first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: list[Any] = []
        self.paging = "none"
        self.wrapped = False
        self.planned: list[tuple[int, dict[str, str], bytes]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/api/events"

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Product

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Authorization"]))
        if self.server.planned:
            self._send(*self.server.planned.pop(0))
        else:
            self._send_page()

    def _send_page(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        begin, limit = int(query.get("cursor", 0)), int(query["limit"])
        newest_first = self.server.events[::-1]
        page: Any = newest_first[begin : begin + limit]
        more = begin + limit < len(newest_first)
        following = f"?limit={limit}&cursor={begin + limit}"
        headers = {}
        if self.server.paging == "link" and more:
            headers["Link"] = f'<{self.server.url}>; rel="first", <{following}>; rel="next"'
        if self.server.paging in ("url", "cursor"):
            address = self.server.url + following if self.server.paging == "url" else str(begin + limit)
            page = {"events": page, "next": address if more else None}
        elif self.server.wrapped:
            page = {"events": page}
        self._send(200, headers, json.dumps(page).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def product() -> Iterator[Product]:
    with Product() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def api(product: Product, tmp_path: Path) -> Callable[..., EventsApi]:
    """A source that starts from what is in the spool."""

    def make(**more: Any) -> EventsApi:
        return EventsApi(product.url, tmp_path / "spool", **({"limit": 4} | more))

    return make


def minute(n: float) -> datetime:
    return T0 + timedelta(minutes=n)


def call(n: float, **more: Any) -> dict[str, Any]:
    return {"id": f"c{n}", "ts": minute(n).isoformat(), "type": "call", "arm": "pilot"} | more


def read(source: EventsApi, now: float) -> Recorded:
    return source.read([CALLS], Window(T0, T0, minute(now)))


def count(recorded: Recorded) -> int:
    return sum(bucket.n for bucket in recorded.series["calls"].pilot)


@pytest.mark.parametrize("wrapped", [False, True])
def test_fewer_than_the_limit_are_all(product: Product, api: Callable[..., EventsApi], wrapped: bool) -> None:
    product.events, product.wrapped = [call(1), call(2), call(3)], wrapped

    recorded = read(api(), 10)

    assert (count(recorded), recorded.gaps, recorded.last) == (3, (), minute(3))
    assert product.requests == [("/api/events?limit=4", None)]


def test_no_events_are_no_gap(api: Callable[..., EventsApi]) -> None:
    recorded = read(api(), 10)

    assert (count(recorded), recorded.gaps, recorded.last) == (0, (), None)


def test_what_came_before_the_oldest_that_is_shown_is_a_gap(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 9)]

    recorded = read(api(), 10)

    assert (count(recorded), recorded.gaps) == (4, ((T0, minute(5)),))


def test_polls_that_share_an_event_leave_no_gap(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 4)]
    read(api(), 3.5)
    product.events += [call(n) for n in range(4, 7)]

    recorded = read(api(), 10)

    assert (count(recorded), recorded.gaps, recorded.duplicates) == (6, (), 0)


def test_polls_that_share_no_event_leave_a_gap_between_them(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 4)]
    source = api()
    read(source, 3.5)
    product.events += [call(n) for n in range(4, 9)]
    first = read(source, 10)
    product.events.append(call(11))
    second = read(source, 12)

    assert (count(first), first.gaps) == (7, ((minute(3), minute(5)),))
    assert (count(second), second.gaps) == (8, ((minute(3), minute(5)),))


@pytest.mark.parametrize(
    ("again", "place"),
    [
        *(((3,), place) for place in (0, 5, 9)),
        *(((8,), place) for place in (0, 8)),
        ((6, 7, 8), 0),
        ((6, 7, 8), 6),
    ],
)
@pytest.mark.parametrize("stamped", ["as-before", "anew"])
def test_a_retry_of_an_old_event_hides_no_gap(
    product: Product, api: Callable[..., EventsApi], again: tuple[int, ...], place: int, stamped: str
) -> None:
    """Ten are shown, of which none has been seen but old ones that their client has sent again."""
    product.events = [call(n) for n in range(1, 9)]
    source = api(limit=10)
    read(source, 8.5)
    product.events += [call(n) for n in range(10, 40)]
    at = len(product.events) - place
    product.events[at:at] = [
        call(n) | ({} if stamped == "as-before" else {"ts": minute(39.1 + n / 100 - place).isoformat()}) for n in again
    ]
    polls = [read(source, 40), read(source, 40.5)]
    for n in (41, 42, 43):
        product.events.append(call(n))
        polls.append(read(source, n + 0.5))

    for recorded in polls:
        ((begin, end),) = recorded.gaps
        assert begin == minute(8) and minute(30) <= end <= minute(40)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_retry_of_an_old_event_makes_no_gap(product: Product, api: Callable[..., EventsApi], place: int) -> None:
    product.events = [call(n) for n in range(1, 4)]
    source = api()
    read(source, 3.5)
    product.events += [call(n) for n in (4, 5)]
    product.events.insert(len(product.events) - place, call(1))

    assert read(source, 10).gaps == ()


@pytest.mark.parametrize(
    ("seen", "shown", "gap"),
    [
        pytest.param("ab", "cdab", False, id="both"),
        pytest.param("ab", "cdba", False, id="in-another-order"),
        pytest.param("ab", "cdea", False, id="one-of-them"),
        pytest.param("ab", "cdbx", False, id="a-new-one-below"),
        pytest.param("ab", "cdex", True, id="only-new-ones"),
    ],
)
def test_events_of_one_instant_may_be_shown_in_any_order(
    product: Product, api: Callable[..., EventsApi], seen: str, shown: str, gap: bool
) -> None:
    """All are of minute 3 but c, d and e, which are later, and come newest first."""
    times = {"c": 6, "d": 5, "e": 4}
    source = api()
    product.events = [call(3, id=i) for i in reversed(seen)]
    read(source, 3.5)
    product.events = [call(times.get(i, 3), id=i) for i in reversed(shown)]

    assert read(source, 10).gaps == (((minute(3), minute(4)),) if gap else ())


def test_an_event_that_comes_late_makes_no_gap(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 4)]
    source = api()
    read(source, 3.5)
    product.events = [call(n) for n in (1, 2, 2.5, 3, 4, 5)]

    assert read(source, 10).gaps == ()


def test_a_page_of_retries_alone_covers_nothing(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 4)]
    source = api()
    read(source, 3.5)
    product.events += [call(n) for n in (5, 6, 7, 1, 1.5, 2, 2.5)]

    recorded = read(source, 10)

    assert recorded.gaps == ((minute(3), minute(10)),)


def test_a_product_that_keeps_few_events_may_lose_some_unseen(product: Product, api: Callable[..., EventsApi]) -> None:
    """It never shows as many as the limit; a retry is among what it shows."""
    product.events = [call(n) for n in range(1, 4)]
    source = api(limit=10)
    read(source, 3.5)
    product.events = [call(n) for n in (2, 3, 4)]
    kept = read(source, 5)
    product.events = [call(n) for n in (8, 9, 2)]

    assert (kept.gaps, read(source, 10).gaps) == ((), ((minute(4), minute(10)),))


def test_gaps_are_clipped_to_the_window(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 9)]
    source = api()
    read(source, 10)

    later = source.read([CALLS], Window(minute(6), minute(6), minute(11)))
    earlier = source.read([CALLS], Window(minute(4), minute(4), minute(11)))

    assert (later.gaps, earlier.gaps) == ((), ((minute(4), minute(5)),))


def test_an_answer_that_is_not_newest_first_covers_nothing(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in (3, 9, 5, 7)]

    assert read(api(), 10).gaps == ((T0, minute(9)),)


def test_a_product_that_has_lost_its_events_leaves_a_gap(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(1), call(2)]
    source = api()
    read(source, 3)
    product.events = [call(8)]

    recorded = read(source, 10)

    assert (count(recorded), recorded.gaps) == (3, ((minute(2), minute(10)),))


@pytest.mark.parametrize("lost", ["events", "manifest", "all", "cut"])
def test_losing_the_spool_only_makes_gaps(
    product: Product, api: Callable[..., EventsApi], tmp_path: Path, lost: str
) -> None:
    product.events = [call(n) for n in range(1, 4)]
    read(api(), 3.5)
    product.events += [call(n) for n in range(4, 7)]
    for path in (tmp_path / "spool").iterdir():
        if lost == "cut" and path.suffix == ".jsonl":
            path.write_text(path.read_text()[:-20])
        elif lost == "all" or (path.suffix == {"events": ".jsonl", "manifest": ".json"}.get(lost)):
            path.unlink()

    recorded = read(api(), 10)

    assert recorded.gaps == ((T0, minute(3)),)
    assert count(recorded) >= 4


@pytest.mark.parametrize("paging", ["link", "url", "cursor"])
def test_pages_are_followed_to_the_windows_start(product: Product, api: Callable[..., EventsApi], paging: str) -> None:
    product.events, product.paging = [call(n) for n in range(-20, 15)], paging

    recorded = read(api(), 20)

    assert (count(recorded), recorded.gaps) == (15, ())
    assert len(product.requests) == 4


def test_pages_are_followed_to_what_is_known(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events, product.paging = [call(n) for n in range(1, 31)], "link"
    read(api(), 40)
    product.requests.clear()
    product.events += [call(n) for n in range(41, 45)]

    recorded = read(api(), 50)

    assert (count(recorded), recorded.gaps, len(product.requests)) == (34, (), 2)


def test_pages_are_followed_through_retries(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events, product.paging = [call(n) for n in range(1, 31)], "link"
    source = api()
    read(source, 40)
    product.requests.clear()
    product.events += [call(n) for n in (41, 42, 43, 44, 3, 4, 5, 6)]

    recorded = read(source, 50)

    assert (count(recorded), recorded.gaps, len(product.requests)) == (34, (), 3)


def test_pages_mend_a_gap(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 31)]
    assert read(api(), 40).gaps == ((T0, minute(27)),)
    product.paging = "cursor"

    recorded = read(api(), 50)

    assert (count(recorded), recorded.gaps) == (30, ())


def test_pages_that_end_at_the_windows_start_mend_a_gap(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(-9, 2)]
    read(api(limit=20), 1.5)
    product.events += [call(n) for n in range(2, 21)]
    first = read(api(), 20.5)
    product.paging = "cursor"

    second = read(api(), 21)

    assert (first.gaps, second.gaps, count(second)) == (((minute(1), minute(17)),), (), 21)


def test_pages_mend_a_gap_only_where_they_show_both_sides_of_it(
    product: Product, api: Callable[..., EventsApi]
) -> None:
    """An event from before the window, sent again, at first ends the pages too early."""
    product.events = [call(n) for n in range(-3, 2)]
    source = api(limit=6)
    read(source, 1.5)
    product.events += [*(call(n) for n in range(2, 17)), call(-1), *(call(n) for n in (17, 18, 19, 20))]
    first = read(source, 20.5)
    product.paging = "cursor"
    product.events.append(call(21))
    second = read(source, 21.5)
    product.events.append(call(22))
    third = read(source, 22.5)

    assert first.gaps == second.gaps == ((minute(1), minute(20)),)
    assert (count(third), third.gaps) == (23, ())


def test_an_event_from_the_future_is_not_counted_and_covers_nothing(
    product: Product, api: Callable[..., EventsApi]
) -> None:
    product.events = [call(1), call(99)]
    source = api()
    first = read(source, 2)
    product.events = [call(n) for n in range(10, 20)]
    second = read(source, 20)

    assert (count(first), first.future, first.gaps) == (1, 1, ())
    assert second.gaps == ((minute(1), minute(16)),)


def test_what_is_malformed_is_spooled_once_and_counted(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(1), "oops", {"id": "x"}]
    source = api()
    read(source, 2)

    recorded = read(source, 3)

    assert (count(recorded), recorded.malformed, recorded.duplicates) == (1, 2, 0)


def test_a_changed_event_is_noted(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(1, user="ann")]
    source = api()
    read(source, 2)
    product.events = [call(1, arm="control")]

    recorded = read(source, 3)

    assert (count(recorded), len(recorded.series["calls"].control), recorded.duplicates) == (1, 1, 0)
    assert recorded.notes == ("id c1: records with different content; both count",)


def test_parallel_polls_leave_one_whole_spool(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(n) for n in range(1, 4)]
    sources = [api() for _ in range(6)]
    threads = [threading.Thread(target=read, args=(source, 5 + n)) for n, source in enumerate(sources)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    recorded = read(api(), 20)

    assert (count(recorded), recorded.gaps, recorded.duplicates, recorded.malformed) == (3, (), 0, 0)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, ConfigError, "answered 401; give a token that may read events"),
        (403, ConfigError, "answered 403; give a token that may read events"),
        (404, ConfigError, "/api/events answered 404; correct the address"),
        (400, ConfigError, "answered 400"),
        (429, TransientError, "answered 429"),
        (500, TransientError, "answered 500"),
        (503, TransientError, "answered 503"),
    ],
)
def test_a_status_says_who_acts(
    product: Product, api: Callable[..., EventsApi], status: int, error: type[Exception], message: str
) -> None:
    product.planned = [(status, {}, b"secret-token")]

    with pytest.raises(error, match=message) as caught:
        read(api(token="secret-token"), 10)

    assert "secret" not in str(caught.value)
    assert product.requests == [("/api/events?limit=4", "Bearer secret-token")]
    assert count(read(api(), 10)) == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>down for secret-token" + b"x" * 200, r"answered no JSON but '<html>down for \*\*\*x{70,90}'$"),
        (b'{"data": []}', "answered neither an array nor an object with `events`"),
        (b"7", "answered neither"),
        (b"", "answered no JSON but ''"),
    ],
)
def test_an_answer_without_events_may_pass(
    product: Product, api: Callable[..., EventsApi], body: bytes, message: str
) -> None:
    product.planned = [(200, {}, body)]

    with pytest.raises(TransientError, match=message):
        read(api(token="secret-token"), 10)


def test_an_answer_that_breaks_off_may_pass(product: Product, api: Callable[..., EventsApi]) -> None:
    product.planned = [(200, {"Content-Length": "500"}, b'[{"id": "1"}')]

    with pytest.raises(TransientError, match="answered no JSON but"):
        read(api(), 10)


def test_an_answer_that_does_not_come_may_pass(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/events"

        with pytest.raises(TransientError, match="did not answer: timed out"):
            read(EventsApi(url, tmp_path, timeout=0.1), 10)


def test_an_answer_without_end_is_refused(
    product: Product, api: Callable[..., EventsApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.sources.events_api._BYTES", 100)
    product.events = [call(n) for n in range(1, 4)]

    with pytest.raises(ConfigError, match="more than 100 bytes; lower `limit`"):
        read(api(), 10)


def test_nobody_there_may_pass(tmp_path: Path) -> None:
    with Product() as server:
        url = server.url

    with pytest.raises(TransientError, match=r"did not answer: .*refused"):
        read(EventsApi(url, tmp_path), 10)


def test_a_redirect_on_the_same_host_is_followed(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [call(1)]
    product.planned = [(302, {"Location": "/v2/events?limit=4"}, b"")]

    assert count(read(api(), 10)) == 1


@pytest.mark.parametrize("place", ["redirect", "link", "next"])
def test_no_other_host_gets_the_token(product: Product, api: Callable[..., EventsApi], place: str) -> None:
    with Product() as other:
        page = json.dumps({"events": [call(1)], "next": other.url if place == "next" else None}).encode()
        product.planned = [
            {
                "redirect": (302, {"Location": other.url}, b""),
                "link": (200, {"Link": f'<{other.url}>; rel="next"'}, page),
                "next": (200, {}, page),
            }[place]
        ]

        with pytest.raises(ConfigError, match=r"another host, http://127\.0\.0\.1:"):
            read(api(token="secret-token"), 10)

        assert other.requests == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "api.example.com/events", "https://ann:secret@example.com/e"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="events API") as caught:
        EventsApi(url, tmp_path)

    assert "secret" not in str(caught.value)


def test_a_spool_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="file/spool cannot be made: Not a directory"):
        EventsApi("http://localhost/events", tmp_path / "file" / "spool")


def test_a_products_own_names_are_read(product: Product, api: Callable[..., EventsApi]) -> None:
    product.events = [
        {"key": f"c{n}", "at": minute(n).isoformat(), "kind": "call", "arm": "pilot"} for n in range(1, 9)
    ]
    source = api(fields={"id": "key", "ts": "at", "type": "kind"})
    read(source, 9)
    product.events.append(product.events[-1] | {"key": "c9", "at": minute(9).isoformat()})

    recorded = read(source, 10)

    assert (count(recorded), recorded.gaps) == (5, ((T0, minute(5)),))
