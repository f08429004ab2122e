"""What goes over the wire to each kind of channel, to servers of this machine; and what of an address gets out: nothing."""

from __future__ import annotations

import json
import logging
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.messages.announcements import launched
from controller.model import Announcement, News
from controller.notify import channels
from tests.facts import POLICY, ROOT

AT = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
NEWS = launched("prod", 10, POLICY.operations, at=AT)
SECRET = "abcdefghijklmnopqrstuvwx"


class Receiver:
    """An HTTP server that keeps what it got; `status` is its answer."""

    def __init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, json.loads(body)))
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.got: list[tuple[str, Any]] = []
        self.status = 200
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def tls(receiver: Receiver, tmp_path: Path) -> Receiver:
    """The same with a certificate of its own."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "server.pem").write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    return receiver


def test_any_https_address_is_a_webhook_that_gets_json(receiver: Receiver) -> None:
    """Title and text as they are."""
    assert channels.send(f"http://127.0.0.1:{receiver.port}/hook/{SECRET}", NEWS) is None

    ((path, body),) = receiver.got
    assert path == f"/hook/{SECRET}"
    assert (body["title"], body["message"], body["type"]) == (NEWS.title, NEWS.text, "info")


def test_slack_by_the_address_that_it_gives(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain text, so that nothing in it is markup; the colour says whether somebody must act."""
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{receiver.port}/services")
    odd = Announcement(News.INCIDENT, "an issue", "<!channel> is & stays text")
    assert channels.send(f"https://hooks.slack.com/services/T0000000A/B0000000A/{SECRET}", NEWS) is None
    assert channels.send(f"https://hooks.slack.com/services/T0000000A/B0000000A/{SECRET}", odd) is None

    (path, body), (_, second) = receiver.got
    assert path == f"/services/T0000000A/B0000000A/{SECRET}"
    assert body["mrkdwn"] is False
    assert (body["attachments"][0]["title"], body["attachments"][0]["text"]) == (NEWS.title, NEWS.text)
    assert second["attachments"][0]["text"] == "&lt;!channel&gt; is &amp; stays text"
    assert second["attachments"][0]["color"] != body["attachments"][0]["color"]


def test_discord_by_the_address_that_it_gives(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message with the title above the text."""
    from apprise.plugins.discord import NotifyDiscord

    monkeypatch.setattr(NotifyDiscord, "notify_url", f"http://127.0.0.1:{receiver.port}/api/webhooks")
    assert channels.send(f"https://discord.com/api/webhooks/123456789/{SECRET}", NEWS) is None

    ((path, body),) = receiver.got
    assert path == f"/api/webhooks/123456789/{SECRET}"
    assert body["content"].replace("\r\n", "\n") == f"{NEWS.title}\n{NEWS.text}"


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_teams_by_a_workflow(tls: Receiver) -> None:
    """An adaptive card that holds both."""
    assert channels.send(f"workflows://127.0.0.1:{tls.port}/WORKFLOW/{SECRET}?verify=no", NEWS) is None

    ((path, body),) = tls.got
    assert path.startswith("/workflows/WORKFLOW/triggers/manual/paths/invoke")
    texts = [block["text"] for block in body["attachments"][0]["content"]["body"] if "text" in block]
    assert texts == [NEWS.title, NEWS.text]


def test_the_real_address_of_a_teams_workflow_is_known() -> None:
    """As Teams shows it."""
    given = (
        f"https://prod-07.westeurope.logic.azure.com:443/workflows/{SECRET}/triggers/manual/paths/invoke?sig={SECRET}"
    )
    assert channels.problem(given) is None


def test_an_email(tmp_path: Path) -> None:
    """To an SMTP server, with the title as its subject."""
    got: list[str] = []

    class Smtp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 local\r\n")
            data = False
            for raw in self.rfile:
                line = raw.decode().rstrip("\r\n")
                if data:
                    data = line != "."
                    if data:
                        got.append(line)
                    else:
                        self.wfile.write(b"250 ok\r\n")
                    continue
                data = line.upper() == "DATA"
                answer = {"DATA": b"354 go on", "QUIT": b"221 bye"}.get(line.upper(), b"250 ok")
                self.wfile.write(answer + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = server.server_address[1]
        address = f"mailto://127.0.0.1:{port}?from=pilot@example.com&to=ops@example.com&mode=insecure"
        assert channels.send(address, NEWS) is None
        server.shutdown()

    mail = "\n".join(got)
    assert "To: ops@example.com" in mail
    message = message_from_string(mail, policy=policy.default)
    assert message["Subject"] == NEWS.title
    assert message.get_body(("plain",)).get_content().strip() == NEWS.text


@pytest.mark.parametrize(("status", "words"), [(404, "answered 404"), (500, "answered 500"), (302, "answered 302")])
def test_a_refusal_is_told_by_its_status(receiver: Receiver, status: int, words: str) -> None:
    """A redirect is one: what a channel is told goes nowhere else."""
    receiver.status = status
    assert channels.send(f"http://127.0.0.1:{receiver.port}/{SECRET}", NEWS) == words
    assert [path for path, _ in receiver.got] == [f"/{SECRET}"]


@pytest.mark.parametrize(
    "address",
    [
        f"http://127.0.0.1:1/{SECRET}",
        f"slack://{SECRET}",
        f"nonsense://{SECRET}",
        SECRET,
        f"https://user:{SECRET}@127.0.0.1:1/x",
        f"mailto://user:{SECRET}@127.0.0.1:1?to=ops@example.com&mode=insecure",
    ],
)
def test_nothing_of_an_address_gets_out(
    address: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by what is returned, nor printed, nor logged, however it fails."""
    caplog.set_level(logging.DEBUG)
    words = channels.send(address, NEWS)

    assert words
    captured = capfd.readouterr()
    heard = words + captured.out + captured.err + "".join(map(str, caplog.records)) + (channels.problem(address) or "")
    assert SECRET not in heard
    assert "127.0.0.1" not in heard


def test_a_pass_without_news_does_not_load_the_library() -> None:
    """It takes longer to load than a pass to make."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, controller.wiring, controller.launch.news; print('apprise' in sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
