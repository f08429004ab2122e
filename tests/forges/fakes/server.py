"""
A forge's server on the loopback: JSON beside a real git server, with faults to choose, and every request counted.

Products derive from `Forge` and say what their paths answer. Heads, merges and closing by the deletion of a branch come
from a real bare repository behind real `git http-backend`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is percent-encoded, without the server's prefix; `by` the login that the token belongs to."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    by: str

    def match(self, method: str, pattern: str) -> tuple[str, ...] | None:
        """
        The decoded parts of the path that *pattern* leaves open, `{}` for one segment and `{*}` for several; None where
        it is another path.
        """
        holes = {"{}": "([^/]+)", "{*}": "(.+)"}
        template = "".join(holes.get(part) or re.escape(part) for part in re.split(r"(\{\*?\})", pattern))
        found = re.fullmatch(template, self.path) if method == self.method else None
        return tuple(unquote(part) for part in found.groups()) if found else None


@dataclass(slots=True)
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818
    """What a handler raises to answer with an error."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        super().__init__(status, body)
        self.answer = Answer(status, body, headers)


@dataclass(slots=True)
class Fault:
    """
    Spoils the next *times* requests whose `METHOD /path` the pattern *on* is found in, once *after* of them have passed.

    Without a *status* the connection is closed without an answer. *applied*: only after the request took effect, which
    is what a timeout at the wrong moment looks like.
    """

    on: str
    status: int = 0
    applied: bool = False
    times: int = 1
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0

    def takes(self, request: str) -> bool:
        """Whether this one is spoilt; each call counts."""
        if not self.times or not re.search(self.on, request):
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True, slots=True)
class Logged:
    method: str
    path: str
    status: int


class Forge:
    """
    The server of a product; use it as a context manager.

    *prefix* is the path below which it is served, as of an instance that shares its host. *tokens* are its logins.
    """

    etags = True

    def __init__(self, repository: Path, *, project: str = "acme/shop", prefix: str = "") -> None:
        self.repository = repository
        self.project = project
        self.prefix = prefix
        self.tokens = {"s3cr3t-t0ken": "pilot"}
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.checks: list[Callable[[Request, Answer], None]] = []
        self.complaints: list[str] = []
        self.lock = threading.RLock()
        self.url = ""
        self._said: dict[tuple[str, ...], str] = {}
        self._refs = self.refs()

    # ------------------------------------------------------------ for products

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def token(self, headers: Mapping[str, str]) -> str:
        """The token of a request to the API."""
        raise NotImplementedError

    def refs_moved(self, before: Mapping[str, str], after: Mapping[str, str], by: str) -> None:
        """What the product does when branches moved."""

    # ------------------------------------------------------------ counting

    @property
    def reads(self) -> int:
        return sum(entry.method in READS for entry in self.log)

    @property
    def unchanged(self) -> int:
        """Reads that were answered with 304."""
        return sum(entry.status == 304 for entry in self.log)

    @property
    def writes(self) -> int:
        return sum(entry.method not in READS for entry in self.log)

    # ------------------------------------------------------------ the repository

    def git(self, *arguments: str, stdin: bytes = b"", by: str = "Ann", check: bool = True) -> str:
        date = f"{int(self.clock().timestamp())} +0000"
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(self.repository),
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", by), ("EMAIL", f"{by.lower()}@example.com"), ("DATE", date))
            },
        }
        run = subprocess.run(["git", *arguments], env=environment, input=stdin, capture_output=True, check=False)
        if check and run.returncode:
            raise RuntimeError(f"git {arguments}: {run.stderr.decode()}")
        return run.stdout.decode().strip() if not run.returncode else ""

    def refs(self) -> dict[str, str]:
        """The branches. Every request asks, so they are read from the files: a process would take most of its time."""
        heads = self.repository / "refs" / "heads"
        packed = self.repository / "packed-refs"
        lines = packed.read_text().splitlines() if packed.exists() else []
        named = [line.split() for line in lines if line[0] not in "#^"]
        found = {ref.removeprefix("refs/heads/"): oid for oid, ref in named if ref.startswith("refs/heads/")}
        for folder, _, files in os.walk(heads):
            for name in files:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # deleted meanwhile
                    if not name.endswith(".lock"):
                        found[str(path.relative_to(heads))] = path.read_text().strip()
        return dict(sorted(found.items()))

    def head(self, branch: str) -> str | None:
        return self.refs().get(branch)

    def is_ancestor(self, oid: str, of: str) -> bool:
        return self.merge_base(oid, of) == oid

    def merge_base(self, one: str, other: str) -> str:
        """Their newest common ancestor, or nothing."""
        return self._lasting("merge-base", one, other)

    def conflicts(self, base: str, head: str) -> bool:
        return not self._lasting("merge-tree", "--write-tree", base, head)

    def _lasting(self, *arguments: str) -> str:
        """What git says of commits, which it will always say; nothing where it fails."""
        if arguments not in self._said:
            self._said[arguments] = self.git(*arguments, check=False)
        return self._said[arguments]

    def combine(self, base: str, head: str, message: str, *, by: str, squash: bool = False) -> str | None:
        """Merge commit *head* into branch *base* and return the new commit; None where they conflict."""
        with self.lock:
            tip = self.refs()[base]
            tree = self._lasting("merge-tree", "--write-tree", tip, head)
            if not tree:
                return None
            parents = ("-p", tip) if squash else ("-p", tip, "-p", head)
            oid = self.git("commit-tree", tree.splitlines()[0], *parents, "-m", message, by=by)
            self.git("update-ref", f"refs/heads/{base}", oid, tip)
            return oid

    def delete_branch(self, branch: str, by: str) -> None:
        with self.lock:
            self.git("update-ref", "-d", f"refs/heads/{branch}")
            self.moved(by)

    def moved(self, by: str) -> None:
        """Let the product see what has become of the branches."""
        with self.lock:
            before, self._refs = self._refs, self.refs()
            if before != self._refs:
                self.refs_moved(before, self._refs, by)

    # ------------------------------------------------------------ serving

    def __enter__(self) -> Forge:
        forge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet; apart they wait for each other's receipt

            def handle_any(self) -> None:
                _serve(forge, self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that has gone away

        self._http = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.005})
        self._thread.start()
        self.host = f"http://127.0.0.1:{self._http.server_port}"
        self.url = self.host + self.prefix
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def remote(self) -> str:
        """The address that git fetches from and pushes to."""
        return f"{self.url}/{self.project}.git"

    def handle(self, request: Request) -> Answer | None:
        """The answer to a request to the API, or None to close the connection."""
        with self.lock:
            self.moved("someone")  # what was done in the repository itself, past this server
            name = f"{request.method} {request.path}"
            fault = next((f for f in self.faults if f.takes(name)), None)
            if fault and not fault.applied:
                answer = Answer(fault.status, fault.body, fault.headers)
            else:
                answer = self._judged(request)
                if fault:
                    answer = Answer(fault.status, fault.body, fault.headers)
            self._conditional(request, answer)
            self.log.append(Logged(request.method, request.path, answer.status))
            return answer if answer.status else None

    def _judged(self, request: Request) -> Answer:
        try:
            answer = self.answer(request)
        except Refused as refused:
            answer = refused.answer
        for check in self.checks:
            try:
                check(request, answer)
            except AssertionError as error:
                self.complaints.append(f"{request.method} {request.path}: {error}")
        return answer

    def _conditional(self, request: Request, answer: Answer) -> None:
        if not self.etags or request.method != "GET" or answer.status != 200:
            return
        tag = f'W/"{hashlib.sha256(json.dumps([answer.body, answer.headers]).encode()).hexdigest()[:32]}"'
        answer.headers["ETag"] = tag
        if request.headers.get("if-none-match") == tag:
            answer.status, answer.body = 304, None


def alike(value: Any) -> str:
    """The same text for values that differ in numbers and ids alone: a description finds the same in them."""
    return re.sub(r"[0-9a-f]{7,40}|[0-9]+", "0", json.dumps(value, sort_keys=True))


def _serve(forge: Forge, http: BaseHTTPRequestHandler) -> None:
    raw = http.rfile.read(int(http.headers.get("Content-Length") or 0))
    path, _, query = http.path.partition("?")
    if not path.startswith(forge.prefix):
        return http.send_error(404)
    path = path.removeprefix(forge.prefix)
    if path.startswith(f"/{forge.project}.git/"):
        return _git(forge, http, path, query, raw)
    headers = {name.lower(): value for name, value in http.headers.items()}
    request = Request(
        method=http.command,
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=headers,
        body=json.loads(raw) if raw else None,
        by=forge.tokens.get(forge.token(headers), ""),
    )
    answer = forge.handle(request)
    if answer is None:
        http.close_connection = True
        return None
    data = b"" if answer.body is None else json.dumps(answer.body).encode()
    http.send_response(answer.status)
    if data:
        http.send_header("Content-Type", "application/json; charset=utf-8")
    for name, value in answer.headers.items():
        http.send_header(name, value)
    http.send_header("Content-Length", str(len(data)))
    http.end_headers()
    http.wfile.write(data)
    return None


def _git(forge: Forge, http: BaseHTTPRequestHandler, path: str, query: str, raw: bytes) -> None:
    kind, _, encoded = (http.headers.get("Authorization") or "").partition(" ")
    _, _, password = base64.b64decode(encoded).decode().partition(":") if kind == "Basic" else ("", "", "")
    by = forge.tokens.get(password)
    if by is None:
        http.send_response(401)
        http.send_header("WWW-Authenticate", 'Basic realm="git"')
        http.send_header("Content-Length", "0")
        return http.end_headers()
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.receivepack",
        "GIT_CONFIG_VALUE_0": "true",
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": http.headers.get("Git-Protocol", ""),
        "REQUEST_METHOD": http.command,
        "PATH_TRANSLATED": str(forge.repository) + path.removeprefix(f"/{forge.project}.git"),
        "QUERY_STRING": query,
        "CONTENT_TYPE": http.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(raw)),
        "HTTP_CONTENT_ENCODING": http.headers.get("Content-Encoding", ""),
    }
    with forge.lock if path.endswith("git-receive-pack") else _unlocked():
        run = subprocess.run(["git", "http-backend"], env=environment, input=raw, capture_output=True, check=False)
        if path.endswith("/git-receive-pack") and http.command == "POST":
            forge.moved(by)
    head, _, content = run.stdout.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
    http.send_response(int(fields.pop("Status", "200 OK").split()[0]))
    for name, value in fields.items():
        http.send_header(name, value)
    http.send_header("Content-Length", str(len(content)))
    http.end_headers()
    http.wfile.write(content)
    return None


@contextmanager
def _unlocked() -> Iterator[None]:
    yield
