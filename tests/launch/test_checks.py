"""A check's result tells how it went; nothing that it does or leaves behind keeps a person waiting."""

import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.launch import checks
from controller.policy.operations import CommandCheck, HttpCheck, PersonCheck


class Pages(BaseHTTPRequestHandler):
    """A health page and what may be wrong with one."""

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/ok")
            self.end_headers()
            return
        if self.path == "/hangs":
            time.sleep(0.5)
        self.send_response({"/ok": 200, "/hangs": 200}.get(self.path, 503))
        self.end_headers()
        try:
            for _ in range(100 if self.path == "/drips" else 1):
                self.wfile.write(b'{"status": "ok"}')
                if self.path == "/drips":
                    time.sleep(0.05)
        except OSError:
            pass  # the check went away

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("command", "ok", "words"),
    [
        ("true", True, "exit code 0"),
        ("echo one; echo two; echo", True, "exit code 0: two"),
        ("echo broken >&2; exit 3", False, "exit code 3: broken"),
        ("no-such-program-here", False, "exit code 127"),
        ("printf 'a\\033[2Jb\\n'", True, "exit code 0: a [2Jb"),
        ("cat", True, "exit code 0"),
        ("head -c 100000 /dev/zero | tr '\\0' x", True, f"exit code 0: {'x' * 184}..."),
    ],
)
def test_a_command_is_judged_by_its_exit_code_and_told_by_its_last_line(command, ok, words):
    result = checks.run(CommandCheck(title="Smoke", command=command), ask=None)
    assert (result.title, result.ok) == ("Smoke", ok)
    assert result.words.startswith(words)
    assert len(result.words) <= 200


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path):
    check = CommandCheck(title="Smoke", command=f"sh -c 'echo $$ > {tmp_path}/pid; echo busy; exec sleep 60' & wait")
    result = checks.run(check.model_copy(update={"timeout": timedelta(seconds=0.3)}), ask=None)
    assert not result.ok
    assert result.words == "not done after 0 s, so it was ended: busy"
    assert result.seconds < 10
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if _is_gone(child):
            break
        time.sleep(0.05)  # whoever adopts it reaps it
    assert _is_gone(child)


def _is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_a_child_left_behind_keeps_nobody_waiting():
    result = checks.run(CommandCheck(title="Smoke", command="sleep 60 & echo started"), ask=None)
    assert (result.ok, result.words) == (True, "exit code 0: started")
    assert result.seconds < 10


@pytest.mark.parametrize(
    ("path", "contains", "ok", "words"),
    [
        ("/ok", "", True, "answers 200"),
        ("/ok", '"status": "ok"', True, "answers 200"),
        ("/ok", "ready", False, "answers 200, but without 'ready'"),
        ("/moved", '"ok"', True, "answers 200"),
        ("/down", "", False, "answers 503"),
        ("/hangs", "", False, "does not answer: Read timed out."),
    ],
)
def test_a_page_is_judged_by_its_status_and_words(site, path, contains, ok, words):
    check = HttpCheck(title="Health", url=site + path, contains=contains)
    quick = timedelta(seconds=0.2 if path == "/hangs" else 30)
    result = checks.run(check.model_copy(update={"timeout": quick}), ask=None)
    assert result.ok == ok
    assert result.words.startswith(f"{site}{path} {words}")


def test_a_page_that_never_ends_is_left(site):
    check = HttpCheck(title="Health", url=f"{site}/drips").model_copy(update={"timeout": timedelta(seconds=0.3)})
    result = checks.run(check, ask=None)
    assert not result.ok
    assert "was still answering after 0 s" in result.words
    assert result.seconds < 3


def test_a_server_that_is_not_there_is_named():
    result = checks.run(HttpCheck(title="Health", url="http://127.0.0.1:9/health"), ask=None)
    assert (result.ok, result.words) == (
        False,
        "http://127.0.0.1:9/health does not answer: Failed to establish a new connection: [Errno 111] Connection refused",
    )


@pytest.mark.parametrize(
    ("ask", "ok", "words"),
    [
        (lambda question: question == "Can you sign in?", True, "a person says yes"),
        (lambda _: False, False, "a person says no"),
        (None, False, "nobody to ask: Can you sign in? Run it in a terminal"),
    ],
)
def test_a_person_is_asked_where_there_is_one(ask, ok, words):
    result = checks.run(PersonCheck(title="Sign in", ask="Can you sign in?"), ask=ask)
    assert (result.ok, result.words) == (ok, words)
