"""A webhook wakes the controller and does nothing else; what it carries is never believed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller import cli
from controller.errors import ConfigError
from controller.forges import webhook
from controller.forges.webhook import Listener, Waker, verified

SECRET = "correct horse battery staple"
BODY = b'{"action": "closed", "number": 7}'


def signed(body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


# ---------------------------------------------------------------- signatures


# The secret, body and signature that GitHub gives for trying an implementation:
# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
def test_githubs_own_example_is_genuine() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert verified({"X-Hub-Signature-256": signature}, b"Hello, World!", "It's a Secret to Everybody")


@pytest.mark.parametrize(
    ("headers", "genuine"),
    [
        pytest.param({"X-Hub-Signature-256": f"sha256={signed()}"}, True, id="github"),
        pytest.param({"x-hub-signature-256": f"sha256={signed()}"}, True, id="any-case"),
        pytest.param({"X-Gitea-Signature": signed()}, True, id="gitea"),
        pytest.param({"X-Forgejo-Signature": signed()}, True, id="forgejo"),
        pytest.param({"X-Gitlab-Token": SECRET}, True, id="gitlab"),
        pytest.param(
            {"X-Gitea-Signature": signed(), "X-Hub-Signature-256": f"sha256={signed()}"}, True, id="gitea-sends-both"
        ),
        pytest.param({}, False, id="none"),
        pytest.param({"X-Hub-Signature-256": ""}, False, id="empty"),
        pytest.param({"X-Hub-Signature-256": signed()}, False, id="without-its-prefix"),
        pytest.param({"X-Hub-Signature-256": f"sha256={signed(secret='other')}"}, False, id="another-secret"),
        pytest.param({"X-Hub-Signature-256": f"sha256={signed(BODY + b' ')}"}, False, id="another-body"),
        pytest.param({"X-Hub-Signature": f"sha1={signed()}"}, False, id="sha1-is-not-read"),
        pytest.param({"X-Gitea-Signature": signed().upper()}, False, id="upper-case"),
        pytest.param({"X-Gitlab-Token": SECRET[:-1]}, False, id="part-of-the-secret"),
        pytest.param({"X-Gitlab-Token": "s\xe9cret"}, False, id="not-ascii"),
        pytest.param({"X-Gitlab-Token": "wrong", "X-Gitea-Signature": signed()}, False, id="one-of-two-wrong"),
    ],
)
def test_who_knows_the_secret_is_believed_to_have_called(headers: dict[str, str], genuine: bool) -> None:
    assert verified(headers, BODY, SECRET) is genuine


def test_without_a_secret_nobody_is_believed() -> None:
    assert not verified({"X-Gitlab-Token": ""}, BODY, "")
    assert not verified({"X-Gitea-Signature": signed(secret="")}, BODY, "")


# ---------------------------------------------------------------- passes


class Passes:
    """Counts passes, each of which lasts until it is let go."""

    def __init__(self) -> None:
        self.count = 0
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self) -> None:
        self.count += 1
        self.begun.release()
        assert self.go.acquire(timeout=10)

    def await_begin(self) -> None:
        assert self.begun.acquire(timeout=10)

    def none_begins(self) -> bool:
        return not self.begun.acquire(timeout=0.05)


@pytest.fixture
def serving() -> Iterator[Callable[..., tuple[Passes, Waker]]]:
    made: list[tuple[Passes, Waker, threading.Thread]] = []

    def start(every_s: float = 3600.0) -> tuple[Passes, Waker]:
        passes = Passes()
        waker = Waker(passes, every_s=every_s)
        thread = threading.Thread(target=waker.serve)
        thread.start()
        made.append((passes, waker, thread))
        return passes, waker

    yield start
    for passes, waker, thread in made:
        waker.stop()
        passes.go.release(100)
        thread.join(10)
        assert not thread.is_alive()


def test_the_first_pass_needs_no_wake_up(serving: Callable[..., tuple[Passes, Waker]]) -> None:
    passes, _ = serving()

    passes.await_begin()
    passes.go.release()
    assert passes.none_begins()


def test_any_number_of_wake_ups_during_a_pass_cause_one_more(serving: Callable[..., tuple[Passes, Waker]]) -> None:
    passes, waker = serving()
    passes.await_begin()
    for _ in range(5):
        waker.wake()
    passes.go.release()

    passes.await_begin()
    passes.go.release()
    assert passes.none_begins()
    assert passes.count == 2


def test_a_wake_up_between_passes_causes_one(serving: Callable[..., tuple[Passes, Waker]]) -> None:
    passes, waker = serving()
    passes.await_begin()
    passes.go.release()
    assert passes.none_begins()

    waker.wake()
    passes.await_begin()
    passes.go.release()
    assert passes.none_begins()


def test_without_wake_ups_passes_come_by_themselves(serving: Callable[..., tuple[Passes, Waker]]) -> None:
    passes, _ = serving(every_s=0.01)

    for number in (1, 2, 3):
        passes.await_begin()
        assert passes.count == number
        passes.go.release()


# ---------------------------------------------------------------- over HTTP


@pytest.fixture(scope="module")
def woken() -> threading.Semaphore:
    """Released by each wake-up; a test takes what it has caused."""
    return threading.Semaphore(0)


@pytest.fixture(scope="module")
def port(woken: threading.Semaphore) -> Iterator[int]:
    with Listener(woken.release, secret=SECRET, host="127.0.0.1", port=0) as listener:
        yield listener.port


def post(port: int, body: bytes, headers: dict[str, str], path: str = "/") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": f"sha256={signed()}", "X-GitHub-Event": "pull_request"},
        {"X-Gitea-Signature": signed(), "X-Gitea-Event": "pull_request"},
        {"X-Forgejo-Signature": signed()},
        {"X-Gitlab-Token": SECRET, "X-Gitlab-Event": "Merge Request Hook"},
    ],
)
def test_a_genuine_delivery_is_answered_at_once_and_wakes(
    port: int, woken: threading.Semaphore, headers: dict[str, str]
) -> None:
    assert post(port, BODY, headers) == (202, "a pass follows\n")
    assert woken.acquire(timeout=10)


def test_one_delivery_after_the_other_is_taken(port: int, woken: threading.Semaphore) -> None:
    for _ in range(2 * webhook._AT_ONCE):
        assert post(port, BODY, {"X-Gitea-Signature": signed()})[0] == 202
        assert woken.acquire(timeout=10)


def test_a_replayed_delivery_wakes_again_and_that_is_all(port: int, woken: threading.Semaphore) -> None:
    for _ in range(2):
        assert post(port, BODY, {"X-Gitea-Signature": signed()})[0] == 202
    assert woken.acquire(timeout=10) and woken.acquire(timeout=10)


def test_what_is_no_json_is_not_looked_at(port: int, woken: threading.Semaphore) -> None:
    body = b"\xff{" * 1000

    assert post(port, body, {"X-Gitea-Signature": signed(body)})[0] == 202
    assert woken.acquire(timeout=10)


@pytest.mark.parametrize("headers", [{}, {"X-Gitea-Signature": signed(secret="guessed")}])
def test_a_stranger_is_turned_away_without_waking(
    port: int, woken: threading.Semaphore, headers: dict[str, str]
) -> None:
    status, text = post(port, BODY, headers)

    assert (status, "PILOT_WEBHOOK_SECRET" in text, SECRET in text) == (401, True, False)
    assert not woken.acquire(timeout=0.05)


def test_what_is_too_large_is_not_read(port: int, woken: threading.Semaphore) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (webhook.MAX_BYTES + 1))
        assert connection.recv(1000).split(b"\r\n")[0].split()[1] == b"413"
    assert not woken.acquire(timeout=0.05)


@pytest.mark.parametrize("line", [b"", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_of_unknown_length_is_not_read(port: int, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n")
        assert connection.recv(1000).split(b"\r\n")[0].split()[1] == b"411"


def test_a_body_that_never_comes_is_not_waited_for(
    port: int, woken: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook._Handler, "timeout", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nX-Gitlab-Token: {SECRET}\r\nContent-Length: 10\r\n\r\nhalf"
        connection.sendall(head.encode())
        assert connection.recv(1000).split(b"\r\n")[0].split()[1] == b"408"
    assert not woken.acquire(timeout=0.05)


def test_many_that_dawdle_do_not_fill_the_memory() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    with Listener(lambda: None, secret=SECRET, host="127.0.0.1", port=0) as full, ExitStack() as idle:
        for _ in range(webhook._AT_ONCE):
            connection = socket.create_connection(("127.0.0.1", full.port), timeout=10)
            idle.enter_context(connection).sendall(head)
        deadline = time.monotonic() + 10
        while post(full.port, BODY, {})[0] != 503:
            assert time.monotonic() < deadline


def test_it_says_that_it_is_alive(port: int, woken: threading.Semaphore) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()
    assert not woken.acquire(timeout=0.05)


@pytest.mark.parametrize(("secret", "said"), [(None, "not set"), ("", "not set"), ("short", "too short")])
def test_it_does_not_start_without_a_secret(secret: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=f"PILOT_WEBHOOK_SECRET is {said}"):
        Listener(lambda: None, secret=secret, host="127.0.0.1", port=0)


def test_a_port_that_is_taken_is_a_persons_to_free(port: int) -> None:
    with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
        Listener(lambda: None, secret=SECRET, host="127.0.0.1", port=port)


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve"], "nothing to serve; add --webhook"),
        (["serve", "--webhook"], "PILOT_WEBHOOK_SECRET is not set"),
        (["serve", "--webhook", "--listen", "8080"], "--listen 8080: write HOST:PORT"),
        (["serve", "--webhook", "--every", "soon"], "'--every': found 'soon'"),
        (["serve", "--webhook", "--pause", "soon"], "'--pause': found 'soon'"),
    ],
)
def test_a_command_that_cannot_serve_says_why(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PILOT_WEBHOOK_SECRET", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
    monkeypatch.setattr(sys, "argv", ["pilot", *arguments])

    with pytest.raises(SystemExit) as end:
        cli.main()

    assert (end.value.code, said in capsys.readouterr().err) == (2, True)


def test_the_command_makes_a_pass_when_woken_and_ends_after_it(tmp_path: Path) -> None:
    running = pilot(
        ["serve", "--webhook", "--listen", "127.0.0.1:0", "--pause", "1s"],
        PILOT_WEBHOOK_SECRET=SECRET,
        PILOT_REPOSITORY=str(tmp_path / "absent.git"),
        PILOT_FORGE="local",
        PILOT_CACHE=str(tmp_path),
    )
    try:
        assert running.stderr is not None
        line = running.stderr.readline().decode()
        port = int(line.removeprefix("listening on 127.0.0.1:").partition(",")[0])
        assert "absent.git" in running.stderr.readline().decode(), "a pass that failed ends nothing"
        assert post(port, json.dumps({}).encode(), {"X-Gitlab-Token": SECRET})[0] == 202
        assert "absent.git" in running.stderr.readline().decode()
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        running.kill()


def pilot(arguments: list[str], **variables: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PILOT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "controller.cli", *arguments],
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("begin", [b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 999\r\n\r\n"])
def test_what_trickles_in_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(webhook._Handler, "timeout", 0.3)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection:
        connection.sendall(begin)
        while time.monotonic() < begun + 10:
            try:
                connection.sendall(b"x")  # always well within the time for one read
                if connection.recv(1000)[:12] in (b"", b"HTTP/1.1 408"):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert time.monotonic() < begun + 5


def test_however_often_it_is_woken_there_is_a_pause_between_passes() -> None:
    begun: list[float] = []
    waker = Waker(lambda: begun.append(time.monotonic()), every_s=3600.0, pause_s=0.2)
    thread = threading.Thread(target=waker.serve)
    thread.start()
    deadline = time.monotonic() + 10
    while len(begun) < 3 and time.monotonic() < deadline:
        waker.wake()
        time.sleep(0.01)
    waker.stop()
    thread.join(10)

    assert not thread.is_alive()
    assert len(begun) == 3
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(begun))
