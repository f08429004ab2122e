"""The HTTP client of all forges, against a server that answers what a test has written down."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from controller.errors import ConfigError, TransientError
from controller.forges import client as module
from controller.forges.answers import RefusedError, UnansweredError
from controller.forges.cache import Cache
from controller.forges.client import Client
from controller.forges.patience import Patience
from tests.forges.worlds import BEGIN, Clock

TOKEN = "t0p-s3cr3t"
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
RESET = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(BEGIN.timestamp()) + 30)}


@dataclass
class Said:
    """One answer; without a status the connection is closed."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Script:
    url: str = ""
    answers: list[Said] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def say(self, *answers: Said | int) -> None:
        self.answers += [Said(answer) if isinstance(answer, int) else answer for answer in answers]


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.asked.append((self.command, self.path))
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            made.bodies.append(json.loads(raw) if raw else None)
            said = made.answers.pop(0)
            if not said.status:
                self.close_connection = True
                return
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            data = b"" if said.body is None or said.status == 304 else data
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    made.url = f"http://127.0.0.1:{http.server_port}/api"
    yield made
    http.shutdown()
    http.server_close()
    thread.join()
    assert made.answers == [], "answers that nobody asked for"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(script: Script, clock: Clock) -> Callable[..., Client]:
    def build(folder: Path | None = None, base: str = "") -> Client:
        return Client(
            base or script.url,
            forge="GitHub",
            headers=lambda: {"Authorization": f"Bearer {TOKEN}"},
            permission=lambda method, path: f"something for {method} {path}",
            cache=Cache(folder),
            patience=Patience(clock=clock.time, sleep=clock.sleep),
        )

    return build


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("said", "slept"),
    [
        (Said(429, None, {"retry-after": "17"}), 17),
        (Said(403, SECONDARY, {"retry-after": "17"}), 17),
        (Said(403, SECONDARY, {"retry-after": "17", **RESET}), 17),
        (Said(403, {"message": "API rate limit exceeded"}, RESET), 31),
        (Said(429, None, {"ratelimit-remaining": "0", "ratelimit-reset": RESET["x-ratelimit-reset"]}), 31),
        (Said(403, SECONDARY, {"x-ratelimit-remaining": "4000", "x-ratelimit-reset": "1"}), 60),
        (Said(200, {"data": None, "errors": [{"type": "RATE_LIMITED", "message": "m"}]}, RESET), 31),
        (Said(200, {"errors": [SECONDARY]}), 60),
    ],
)
def test_a_limit_is_waited_out_and_what_it_refused_is_sent_again(
    script: Script, client: Client, clock: Clock, said: Said, slept: float, method: str
) -> None:
    script.say(said, Said(200, {"fine": 1}))

    assert client.request(method, "x").body == {"fine": 1}
    assert sum(clock.slept) == slept
    assert len(script.asked) == 2


def test_a_secondary_limit_backs_off_and_uses_up_what_is_left(script: Script, client: Client, clock: Clock) -> None:
    """A block of 72 s that named no time has been met: the 60 s that are documented can be too few."""
    script.say(*[Said(403, SECONDARY)] * 3)

    with pytest.raises(TransientError, match=r"403: You have exceeded a secondary rate limit.*waits 0 s more"):
        client.get("x")
    assert clock.slept == [60, 60]


def test_more_waiting_than_the_pass_has_is_left_to_a_later_one(script: Script, client: Client, clock: Clock) -> None:
    said = Said(429, None, {"retry-after": "100"})
    script.say(said, 200, said)
    client.get("x")

    with pytest.raises(TransientError, match="20 s more at most: try later, resets at 2026-03-02 10:03:20 UTC"):
        client.get("x")
    assert clock.slept == [100]

    client.patience.renew()
    script.say(said, 200)
    client.get("x")


def test_a_text_about_limits_is_no_limit(script: Script, client: Client, clock: Clock) -> None:
    script.say(
        Said(200, {"data": {"body": "secondary rate limit", "errors": "RATE_LIMITED"}}), Said(403, {"message": "no"})
    )
    client.get("x")
    with pytest.raises(RefusedError):
        client.get("x")
    assert clock.slept == []


def test_a_second_lies_between_two_writes_and_none_between_reads(script: Script, client: Client, clock: Clock) -> None:
    script.say(*[200] * 7)
    client.request("POST", "x")
    client.get("x")
    client.request("POST", "x", safe=True)
    assert clock.slept == []

    client.request("PATCH", "x")
    clock.at += timedelta(seconds=0.75)
    client.request("PUT", "x")
    clock.at -= timedelta(days=1)
    client.request("DELETE", "x")
    clock.at += timedelta(seconds=5)
    client.request("POST", "x")
    assert clock.slept == [1, 0.25, 1]


# ---------------------------------------------------------------- lost answers


@pytest.mark.parametrize("trouble", [0, 500, 502, 503, 408], ids=lambda status: f"status {status}")
def test_only_what_may_be_repeated_is_sent_again(script: Script, client: Client, clock: Clock, trouble: int) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        script.say(trouble, trouble, Said(200, [method]))
        assert client.request(method, "x").body == [method]
    script.say(trouble, Said(200, "query"))
    assert client.request("POST", "graphql", safe=True).body == "query"

    asked = len(script.asked)
    for method in ("POST", "PUT"):
        script.say(trouble)
        with pytest.raises(UnansweredError, match="it may have been done, the next run looks"):
            client.request(method, "x", safe=False)
    assert len(script.asked) == asked + 2


def test_a_server_that_stays_in_trouble_is_for_a_later_run(script: Script, client: Client, clock: Clock) -> None:
    script.say(*[Said(502, b"<html>Bad\ngateway</html>")] * 4)

    with pytest.raises(TransientError, match=r"GET /api/x: 502: <html>Bad gateway</html>, 4 times; try again later"):
        client.get("x")
    assert clock.slept == [1, 2, 4]


def test_what_was_never_sent_is_not_in_doubt(make: Callable[..., Client], clock: Clock) -> None:
    client = make(base="http://127.0.0.1:9/api")

    with pytest.raises(TransientError, match=r"no answer: .*refused") as caught:
        client.request("POST", "x")
    assert not isinstance(caught.value, UnansweredError)
    assert clock.slept == [1, 2, 4]


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"cut": '])
def test_what_is_no_json_is_no_answer(script: Script, client: Client, body: bytes) -> None:
    script.say(*[Said(200, body)] * 4, Said(200, body))
    with pytest.raises(TransientError, match="200, but no JSON"):
        client.get("x")
    with pytest.raises(UnansweredError, match="200, but no JSON"):
        client.request("POST", "x")


# ---------------------------------------------------------------- refusals


def test_a_redirect_is_not_followed_and_names_the_new_place(script: Script, client: Client) -> None:
    script.say(
        Said(301, {"message": "Moved"}, {"location": f"{script.url}/repositories/1?access_token=gho_abcdefgh123"})
    )

    with pytest.raises(ConfigError, match=r"moved to http.*/repositories/1.*set the new address") as caught:
        client.get("repos/a/b")
    assert "gho_" not in str(caught.value)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "401: no; the token is wrong or has expired"),
        (403, "403: no; probably missing: something for GET x"),
        (404, "404: no; it is not there, or hidden from this token; probably missing: something for GET x"),
        (422, "422: no"),
    ],
)
def test_a_refusal_says_what_was_asked_what_was_said_and_what_is_missing(
    script: Script, client: Client, status: int, advice: str
) -> None:
    script.say(Said(status, {"message": "no"}))

    with pytest.raises(RefusedError) as caught:
        client.get("x")
    assert str(caught.value) == f"GitHub: GET /api/x: {advice}"
    assert (caught.value.status, caught.value.said) == (status, "no")


def test_a_permission_that_github_itself_names_is_shown(script: Script, client: Client) -> None:
    script.say(Said(403, {"message": "no"}, {"X-Accepted-GitHub-Permissions": "pull_requests=write"}))
    with pytest.raises(RefusedError, match=r"403: no; probably missing: pull_requests=write$"):
        client.get("x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"message": "Validation Failed", "errors": [{"code": "custom"}]}, 'Validation Failed: [{"code": "custom"}]'),
        ({"message": {"base": ["is wrong"]}}, '{"base": ["is wrong"]}'),
        ({"error": "invalid_token", "error_description": "Token expired"}, "invalid_token: Token expired"),
        (["a"], '["a"]'),
        (b"plain\r\n\x1b[31mtext", "plain [31mtext"),
        (b"", "no reason given"),
        ({"message": "x" * 400}, "x" * 299 + "…"),
    ],
)
def test_what_a_forge_says_is_shown_on_one_line_and_cut(script: Script, client: Client, body: Any, said: str) -> None:
    script.say(Said(422, body))
    with pytest.raises(RefusedError) as caught:
        client.get("x")
    assert caught.value.said == said


def test_no_secret_is_shown(script: Script, client: Client) -> None:
    secrets = [f"Bearer {TOKEN}", TOKEN, "https://u:pass@h/x", "authorization: basic abc", "ghp_" + "a1" * 20]
    for secret in secrets:
        script.say(Said(422, {"message": f"you sent {secret} "}))
        with pytest.raises(RefusedError) as caught:
            client.get("x")
        assert not [part for part in (TOKEN, "pass@", "basic abc", "a1a1") if part in str(caught.value)], secret


# ---------------------------------------------------------------- what has not changed


def test_what_has_not_changed_comes_from_the_cache(script: Script, make: Callable[..., Client], tmp_path: Path) -> None:
    link = '<https://h/x?page=2>; rel="next"'
    script.say(Said(200, [1], {"ETag": '"a"', "Link": link}), Said(304), Said(304), Said(200, [2], {"ETag": '"b"'}))
    folder = tmp_path / "cache"
    first, second = make(folder), make(folder)

    for client, status in ((first, 200), (first, 304), (second, 304)):
        answer = client.get("x", {"a": "b"}, cached=True)
        assert (answer.status, answer.body, answer.following) == (status, [1], {"page": "2"})
    assert second.get("x", {"a": "b"}, cached=True).body == [2]
    assert [headers.get("if-none-match") for headers in script.headers] == [None, '"a"', '"a"', '"a"']


@pytest.mark.parametrize("spoil", ["delete", "cut", "swap", "forbid"])
def test_a_spoilt_cache_costs_a_request_and_nothing_else(
    script: Script, make: Callable[..., Client], tmp_path: Path, spoil: str
) -> None:
    script.say(*[Said(200, [1], {"ETag": '"a"'})] * 2)
    make(tmp_path).get("x", cached=True)
    (file,) = tmp_path.iterdir()
    if spoil == "delete":
        file.unlink()
    elif spoil == "cut":
        file.write_bytes(file.read_bytes()[:10])
    elif spoil == "swap":
        file.write_text(file.read_text().replace("/x", "/y"))
    else:
        file.unlink()
        file.mkdir()

    assert make(tmp_path).get("x", cached=True).body == [1]
    assert "if-none-match" not in script.headers[1]


def test_what_is_kept_is_for_the_user_alone(script: Script, make: Callable[..., Client], tmp_path: Path) -> None:
    script.say(Said(200, [1], {"ETag": '"a"'}))
    make(tmp_path / "cache").get("x", cached=True)

    (file,) = (tmp_path / "cache").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert TOKEN not in file.read_text()


# ---------------------------------------------------------------- lists


def test_a_list_is_followed_by_the_query_of_its_links_alone(script: Script, client: Client) -> None:
    """The token goes to no other host or path, whatever a link says."""
    script.say(
        Said(
            200,
            [1],
            {"Link": '<https://evil.example/x?page=2&per_page=1>; rel="next", <https://h/?page=9>; rel="last"'},
        ),
        Said(200, [2], {"x-next-page": "3"}),
        Said(200, [3], {"x-next-page": ""}),
    )
    assert [answer.body for answer in client.pages("x", {"per_page": "1"})] == [[1], [2], [3]]
    assert [path for _, path in script.asked] == [
        "/api/x?per_page=1",
        "/api/x?per_page=1&page=2",
        "/api/x?per_page=1&page=3",
    ]


@pytest.mark.parametrize("name", ["X-Total-Count", "X-Total"])
def test_a_list_that_is_cut_short_is_no_list(script: Script, client: Client, name: str) -> None:
    script.say(Said(200, [1, 2], {name: "3"}), Said(200, [1, 2, 3], {name: "3"}), Said(200, {"message": "no"}))
    with pytest.raises(TransientError, match="2 of 3 items came"):
        list(client.pages("x"))
    assert [answer.body for answer in client.pages("x")] == [[1, 2, 3]]
    with pytest.raises(TransientError, match="no list but dict"):
        list(client.pages("x"))


def test_a_list_without_end_is_given_up(script: Script, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGES", 3)
    script.say(*[Said(200, [1], {"x-next-page": "2"})] * 3)
    with pytest.raises(ConfigError, match="more than 3 pages"):
        list(client.pages("x"))


# ---------------------------------------------------------------- what goes over the wire


def test_what_is_sent_is_json_and_says_who_asks(script: Script, client: Client) -> None:
    script.say(201)
    client.request("POST", "/x", body={"a": "Größe"}, params={"q": "ü /"})

    assert script.asked == [("POST", "/api/x?q=%C3%BC+%2F")]
    assert script.bodies == [{"a": "Größe"}]
    assert script.headers[0]["authorization"] == f"Bearer {TOKEN}"
    assert script.headers[0]["content-type"] == "application/json"
    assert script.headers[0]["user-agent"]


def test_an_answer_too_large_is_not_read(script: Script, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", 200_000)
    script.say(Said(200, gzip.compress(b"0" * 10_000_000), {"Content-Encoding": "gzip"}), Said(200, [1]))
    with pytest.raises(ConfigError, match="answered more than 200000 bytes"):
        client.get("x")
    assert client.get("x").body == [1], "the rest of it is no answer to this"


@pytest.mark.parametrize(
    "base", ["http://git.example.com/api", "ftp://h/", "git.example.com", "http://127.0.0.1.evil.example"]
)
def test_a_token_goes_by_https_only(make: Callable[..., Client], base: str) -> None:
    with pytest.raises(ConfigError, match="a token goes by https only"):
        make(base=base)


def test_an_address_holds_no_credentials(make: Callable[..., Client]) -> None:
    with pytest.raises(ConfigError, match="at h holds a user; give a token instead") as caught:
        make(base="https://u:p4ss@h/api")
    assert "p4ss" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(make: Callable[..., Client], tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    http = Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with pytest.raises(ConfigError, match="make the server's authority known to the system"):
            make(base=f"https://localhost:{http.server_port}").get("x")
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
