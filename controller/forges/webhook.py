"""
A webhook of the forge as a wake-up, and never as data: what a pass does, it reads for itself.

So a repeated or replayed delivery does no harm, and a lost one is made up for by the next periodic pass.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from controller.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BYTES = (
    25 * 1024 * 1024
)  # what GitHub sends at most: https://docs.github.com/en/webhooks/webhook-events-and-payloads
_SHORTEST = 16  # characters of a secret
_AT_ONCE = 8  # deliveries that are read at the same time, each up to MAX_BYTES
_TIMEOUT_S = 10.0  # for a whole request, however slowly it trickles in


def verified(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """
    Whether the raw *body* of a delivery comes from someone who knows *secret*.

    Every signature that *headers* have must be right, and there must be one. GitHub, Gitea and Forgejo sign the body
    (HMAC, SHA-256); GitLab sends the secret itself, which says nothing of the body:
    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
    https://docs.gitea.com/usage/webhooks, https://docs.gitlab.com/user/project/integrations/webhooks/
    """
    if not secret:
        return False
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    right = {
        "x-hub-signature-256": f"sha256={digest}",
        "x-gitea-signature": digest,
        "x-forgejo-signature": digest,
        "x-gitlab-token": secret,
    }
    found = [(value, right[name.lower()]) for name, value in headers.items() if name.lower() in right]
    return bool(found) and all(hmac.compare_digest(given.encode(), wanted.encode()) for given, wanted in found)


class Waker:
    """
    Runs a pass at once, whenever it is woken, and *every_s* seconds after the last one.

    Any number of wake-ups during a pass, and in the *pause_s* seconds after it, cause exactly one more: what they told
    of, that one sees. *run* does not raise.
    """

    def __init__(self, run: Callable[[], None], *, every_s: float, pause_s: float = 0.0) -> None:
        self._run = run
        self._pause_s = min(pause_s, every_s)
        self._every_s = every_s
        self._asked = threading.Event()
        self._ended = threading.Event()

    def wake(self) -> None:
        self._asked.set()

    def stop(self) -> None:
        """End `serve` after the pass that is under way."""
        self._ended.set()
        self._asked.set()

    def serve(self) -> None:
        """Run passes until stopped."""
        while not self._ended.is_set():
            self._asked.clear()  # before the pass: what comes during it asks for another
            self._run()
            if not self._ended.wait(self._pause_s):
                self._asked.wait(self._every_s - self._pause_s)


class Listener:
    """
    The HTTP server that calls *wake* for each genuine delivery, and answers 202 before anything is done.

    Raises:
        ConfigError: the secret is missing or short, or the address cannot be had.
    """

    def __init__(self, wake: Callable[[], None], *, secret: str | None, host: str, port: int) -> None:
        if secret is None or len(secret) < _SHORTEST:
            raise ConfigError(
                f"PILOT_WEBHOOK_SECRET is {'not set' if not secret else 'too short'}; without it anyone could wake the "
                f"controller: set it to {_SHORTEST} characters or more, as in the forge's webhook"
            )
        try:
            self._http = _Server((host, port), _Handler)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --listen") from error
        self._http.wake, self._http.secret = wake, secret
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self.port = self._http.server_port

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # beyond it a connection is tried again after a second, by who opens it
    wake: Callable[[], None]
    secret: str

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


class _Until(io.RawIOBase):
    """What *connection* receives within *timeout_s* from now; after that, reading times out."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Until(self.connection, self.timeout))

    def do_GET(self) -> None:
        """For who asks whether the process is alive."""
        self._answer(200, "listening for webhooks")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            return self._answer(411, "send Content-Length")
        if int(length) > MAX_BYTES:
            return self._answer(413, f"at most {MAX_BYTES} bytes")
        if not self.server.free.acquire(blocking=False):
            return self._answer(503, "busy; deliver again")
        try:
            body = self.rfile.read(int(length))
            genuine = verified(dict(self.headers.items()), body, self.server.secret)
        except (TimeoutError, ConnectionError):
            return self._answer(408, "the body did not come")
        finally:
            self.server.free.release()
        if not genuine:
            return self._answer(401, "the signature is missing or wrong; compare the secret with PILOT_WEBHOOK_SECRET")
        self._answer(202, "a pass follows")
        self.server.wake()
        return None

    def _answer(self, status: int, text: str) -> None:
        data = f"{text}\n".encode()
        self.close_connection = True
        self.connection.settimeout(self.timeout)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        return "pilot"

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the command line prints, and a probe every second is no news."""
