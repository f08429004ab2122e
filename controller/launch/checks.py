"""Run one check of the policy: a command, a URL, or a question to a person. What fails is a result, never an error."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import urllib3

from controller.model import CheckResult
from controller.policy.operations import CommandCheck, HttpCheck, PersonCheck
from controller.policy.values import length

__all__ = ["Ask", "CheckResult", "run"]

Ask = Callable[[str], bool]
_OUTPUT = 4096  # bytes of a command's output of which the last line is told
_BODY = 1 << 20  # bytes of an answer in which the words are looked for
_WORDS = 200  # characters


def run(check: CommandCheck | HttpCheck | PersonCheck, *, ask: Ask | None) -> CheckResult:
    """Run *check*; *ask* puts a question to the person at the terminal, None where there is nobody to ask."""
    start = time.monotonic()
    match check:
        case CommandCheck():
            ok, words = _command(check)
        case HttpCheck():
            ok, words = _http(check)
        case PersonCheck():
            ok, words = _person(check, ask)
    return CheckResult(check.title, ok, _plain(words), time.monotonic() - start)


def _command(check: CommandCheck) -> tuple[bool, str]:
    """Its output goes to a file, so that a child that it leaves behind keeps nobody waiting."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", check.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(check.timeout.total_seconds())
        except subprocess.TimeoutExpired:
            code = None
        finally:  # also when a person gives up: no browser of a test is left behind
            _end(process)
        output.seek(max(0, output.tell() - _OUTPUT))
        lines = output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = f": {last}" if last else ""
    if code is None:
        return False, f"not done after {_span(check.timeout.total_seconds())}, so it was ended{said}"
    return code == 0, f"exit code {code}{said}"


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _http(check: HttpCheck) -> tuple[bool, str]:
    seconds = check.timeout.total_seconds()
    deadline = time.monotonic() + seconds
    retries = urllib3.Retry(total=None, connect=0, read=0, other=0, status=0, redirect=5)
    try:
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "GET", check.url, timeout=urllib3.Timeout(total=seconds), retries=retries, preload_content=False
            )
            body = b""
            while len(body) < _BODY and (part := answer.read1(_BODY)):
                body += part
                if time.monotonic() > deadline:
                    return False, f"{check.url} was still answering after {_span(seconds)}"
            answer.close()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return False, f"{check.url} does not answer: {_cause(error)}"
    if answer.status >= 400:
        return False, f"{check.url} answers {answer.status}"
    if check.contains and check.contains not in body.decode(errors="replace"):
        return False, f"{check.url} answers {answer.status}, but without {check.contains!r}"
    return True, f"{check.url} answers {answer.status}"


def _cause(error: BaseException) -> str:
    """The innermost reason; what urllib3 wraps around it names the address again."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException):
        error, reason = reason, getattr(reason, "reason", None)
    return str(error).rsplit("): ", 1)[-1] or type(error).__name__


def _person(check: PersonCheck, ask: Ask | None) -> tuple[bool, str]:
    if ask is None:
        return False, f"nobody to ask: {check.ask} Run it in a terminal"
    return (True, "a person says yes") if ask(check.ask) else (False, "a person says no")


def _plain(words: str) -> str:
    """One line without what would move a terminal's cursor."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in words).split())
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."


def _span(seconds: float) -> str:
    return length(timedelta(seconds=seconds)) if seconds >= 60 else f"{seconds:.0f} s"
