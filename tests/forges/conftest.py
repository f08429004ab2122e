"""Real repositories, and one behind a real git server whose faults can be chosen."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.forges.git import Git

BEGINNING = "2026-03-02T09:00:00Z"
STACK_FILE = b"config:\r\n  pilot:rollout:\r\n    percent: 0  # one line\r\n"


@dataclass
class Remote:
    """A bare repository, with what a person does to it by hand."""

    path: Path

    def git(self, *arguments: str, stdin: bytes = b"", date: str = BEGINNING) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(self.path),
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", "Ann"), ("EMAIL", "ann@example.com"), ("DATE", date))
            },
        }
        return (
            subprocess.run(["git", *arguments], env=environment, input=stdin, capture_output=True, check=True)
            .stdout.decode()
            .strip()
        )

    def commit(self, files: dict[str, bytes], *parents: str, message: str = "by hand") -> str:
        """Write a commit that holds exactly *files*, all at the root."""
        entries = "".join(
            f"100644 blob {self.git('hash-object', '-w', '--stdin', stdin=data)}\t{name}\n"
            for name, data in files.items()
        )
        tree = self.git("mktree", stdin=entries.encode())
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self.git("commit-tree", tree, *flags, "-m", message)

    def set(self, branch: str, oid: str) -> str:
        self.git("update-ref", f"refs/heads/{branch}", oid)
        return oid

    @property
    def refs(self) -> dict[str, str]:
        listing = self.git("for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split() for line in listing.splitlines())

    def hook(self, name: str, script: str) -> None:
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def empty(tmp_path: Path) -> Callable[..., Remote]:
    """Make a bare repository without a commit."""
    return lambda name, *options: _create(tmp_path / name, *options)


def _create(path: Path, *options: str) -> Remote:
    made = Remote(path)
    made.git("init", "--quiet", "--bare", "--initial-branch=main", "--template=", *options)
    with (path / "config").open("a") as config:
        config.write("[receive]\nautogc = false\n[http]\nreceivepack = true\n")
    return made


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = _create(tmp_path_factory.mktemp("template") / "remote.git")
    made.set("main", made.commit({"Pulumi.prod.yaml": STACK_FILE, "README.md": b"read me\n"}))
    return made.path


@pytest.fixture
def remote(template: Path, tmp_path: Path) -> Remote:
    """A repository with one commit on main."""
    return Remote(shutil.copytree(template, tmp_path / "remote.git"))


@pytest.fixture
def clone(remote: Remote, tmp_path: Path) -> Callable[..., Git]:
    """Make a `Git` with a mirror of its own, as another machine would have."""
    numbers = iter(range(100))

    def make(source: str | Path = remote.path, **options: object) -> Git:
        directory = tmp_path / f"mirror-{next(numbers)}"
        return Git(source, **{"directory": directory, **options})  # type: ignore[arg-type]

    return make


@dataclass
class Server:
    """`git http-backend` behind HTTP. Each fault stays until it is taken away."""

    url: str = ""
    status: int = 0  # answer everything with this
    drop: str = ""  # close the connection "before" or "after" a push is applied
    hang: threading.Event = field(default_factory=threading.Event)  # cleared: answer nothing
    password: str = ""  # the Authorization header to insist on

    def __post_init__(self) -> None:
        self.hang.set()


@pytest.fixture
def server(remote: Remote) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.hang.wait()
            is_push = self.command == "POST" and self.path.endswith("git-receive-pack")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.password and self.headers.get("Authorization") != state.password:
                return self.send_error(401)
            if state.status:
                return self.send_error(state.status)
            if is_push and state.drop == "before":
                return None
            head, _, content = self.backend(body).partition(b"\r\n\r\n")
            if is_push and state.drop == "after":
                return None
            self.send_response(200)
            for line in head.decode().splitlines():
                self.send_header(*line.split(": ", 1))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return None

        def do_POST(self) -> None:
            self.do_GET()

        def backend(self, body: bytes) -> bytes:
            path, _, query = self.path.partition("?")
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(remote.path.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }
            return subprocess.run(
                ["git", "http-backend"],
                env=environment,
                input=body,
                capture_output=True,
                check=True,
            ).stdout

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/{remote.path.name}"
    yield state
    state.hang.set()
    http.shutdown()
    http.server_close()
    thread.join()
