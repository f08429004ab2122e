"""
Runs the git command line, and says what its failures mean.

What only touches our own mirror runs without anybody's configuration, so that objects are the same
everywhere. What talks to a remote keeps the user's and the system's: credential helpers, proxies
and certificates live there.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.errors import ConfigError, PilotError, TransientError

WAITS_S = (0.02, 0.04, 0.08, 0.16, 0.32)  # between tries, while another process holds a lock
_GRACE_S = 2
_MESSAGE_LIMIT = 400

# Configuration of a user that would run foreign code, sign, or send more than was asked for.
_OVERRIDES = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.autocrlf=false"),
    *("-c", "commit.gpgSign=false"),
    *("-c", "push.gpgSign=false"),
    *("-c", "push.followTags=false"),
    *("-c", "gc.autoDetach=false"),
)

# Variables with which a user says how to reach a remote. Others of git's (GIT_DIR, GIT_INDEX_FILE,
# GIT_AUTHOR_DATE), which a hook or an alias around us may have set, would point our commands
# elsewhere.
_TRANSPORT = re.compile(r"GIT_(SSH|ASKPASS|SSL|HTTP|PROXY|CURL|CONFIG|EXEC_PATH|ALLOW_PROTOCOL)")

_COMMON = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": "C"}

# What is said when the same command may work a moment later, because another one was under way.
_CONTENTION = re.compile(
    r"stale info|cannot lock ref|could not lock|unable to create '.*\.lock'"
    r"|failed to (update|lock) ref|reference already exists|incorrect old value"
    r"|atomic transaction failed",
    re.IGNORECASE,
)

# What a person must put right. GitHub answers "Repository not found" to a token without access, and
# GitLab and Bitbucket say "or you don't have permission". Not to be looked for: "make sure you have
# the correct access rights", which git adds to every failure of ssh, a broken network included.
_PERSON = re.compile(
    r"authentication failed|could not read (username|password)|host key verification failed"
    r"|permission denied|permission to .* denied|insufficient permission|not authorized"
    r"|access denied|do(n't| not) have (access|permission)|returned error: (30[1278]|40[0134])"
    r"|repository .*not found"
    r"|not appear to be a git repository|not a git repository|dubious ownership|certificate"
    r"|transport '.*' not allowed|remote helper for|does not support --atomic",
    re.IGNORECASE,
)
# The server had trouble of its own; any other "[remote rejected]" is a hook or a branch rule
# (GitHub's GH006 and GH013 among them).
_SERVER = re.compile(r"unpacker error|internal server error", re.IGNORECASE)

_SECRETS = (
    (re.compile(r"://[^/@\s]+@"), "://***@"),
    (re.compile(r"(authorization:\s*)\S.*", re.IGNORECASE), r"\1***"),
    (re.compile(r"\b(gh[a-z]|github_pat|glpat|gta)[_-][A-Za-z0-9_-]{8,}"), "***"),
)


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def contended(self) -> bool:
        """Whether another push to the same refs, or a fetch into them, got in between."""
        return _CONTENTION.search(self.text + self.stderr) is not None


def run(*arguments: str, environment: Mapping[str, str], timeout_s: float, stdin: bytes = b"") -> Result:
    """
    Run git to its end; a run out of time is a `Result` like any other failure.

    git starts helpers of its own (ssh, git-remote-https), so it gets a process group of its own.

    Raises:
        ConfigError: there is no git.
    """
    try:
        process = subprocess.Popen(
            ["git", *_OVERRIDES, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise ConfigError("git was not found on PATH; install git 2.39 or newer") from None
    with process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return Result(-signal.SIGTERM, b"", f"fatal: no answer in {timeout_s:g} s")
        except BaseException:
            _end(process)
            raise
    return Result(process.returncode, stdout, stderr.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and its helpers: first by SIGTERM, on which git takes its lock files away."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, sign)
            process.wait(_GRACE_S)


def patiently(attempt: Callable[[], Result]) -> Result:
    """Repeat *attempt* while it fails because another process works in the same repository."""
    for wait_s in WAITS_S:
        result = attempt()
        if not (result.code and result.contended):
            break
        time.sleep(wait_s)
    return result


def hermetic() -> dict[str, str]:
    """Build the environment of commands on our own mirror, which nobody's configuration changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | _COMMON | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def networked(remote: str, credentials: tuple[str, str] | None) -> dict[str, str]:
    """
    Build the environment of commands that talk to *remote*.

    A user name and password go by a header in the environment, because arguments are visible to
    everyone on a machine. That header would follow a redirect to any host, so then none is followed:
    https://git-scm.com/docs/git-config#Documentation/git-config.txt-httpfollowRedirects

    Raises:
        ConfigError: they would go over the network unencrypted.
    """
    environment = _COMMON | {
        name: value
        for name, value in os.environ.items()
        if name not in _COMMON and (not name.startswith("GIT_") or _TRANSPORT.match(name))
    }
    if credentials and remote.startswith(("https://", "http://")):
        if not is_private(remote):
            raise ConfigError(f"{redact(remote)}: a token goes by https only; write https://host/path")
        count = int(environment.get("GIT_CONFIG_COUNT") or 0)
        token = base64.b64encode(":".join(credentials).encode()).decode()
        environment |= {
            "GIT_CONFIG_COUNT": str(count + 2),
            f"GIT_CONFIG_KEY_{count}": f"http.{remote}.extraHeader",
            f"GIT_CONFIG_VALUE_{count}": f"Authorization: Basic {token}",
            f"GIT_CONFIG_KEY_{count + 1}": f"http.{remote}.followRedirects",
            f"GIT_CONFIG_VALUE_{count + 1}": "false",
        }
    return environment


def is_private(url: str) -> bool:
    """Whether nobody on the way to *url* can read along: by https, or by http on this machine."""
    parts = urllib.parse.urlsplit(url)
    here = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and here))


def failure(result: Result, what: str) -> PilotError:
    """Translate a failed command: a refusal is a person's to lift, all else may pass by itself."""
    output = result.text + result.stderr
    message = f"{redact(what)}: {_essence(result)}"
    refused = "[remote rejected]" in output and not _SERVER.search(output)
    if not result.contended and (refused or _PERSON.search(output)):
        return ConfigError(f"{message}; check the address, the credentials and the branch rules")
    return TransientError(f"{message}; the next run tries again")


def redact(text: str) -> str:
    """Take credentials out of *text*."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _essence(result: Result) -> str:
    """Keep the lines that say why, of the server first, without git's own advice."""
    lines = [line.strip() for line in (result.stderr + "\n" + result.text).splitlines()]
    said = [
        line.replace("\t", " ")
        for line in lines
        if re.match(r"remote: .*\w|fatal:|error:|!", line) and not line.startswith("error: failed to push some refs")
    ]
    text = redact("; ".join(said) or f"git ended with {result.code}")
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
