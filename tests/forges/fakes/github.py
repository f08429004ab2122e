"""GitHub as far as the controller meets it, with the refusals and the traps that people have met."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from tests.forges.fakes.github_description import FOLDER, description
from tests.forges.fakes.server import Answer, Forge, Refused, Request

DOCS = "https://docs.github.com/rest"


@cache
def schema() -> GraphQLSchema:
    return build_schema((FOLDER / "github.graphql").read_text())


@cache
def _document(text: str) -> tuple[DocumentNode, list[GraphQLError]]:
    """A query, and what in it is not of the schema."""
    return parse(text), validate(schema(), parse(text))


@dataclass
class Pull:
    number: int
    title: str
    body: str
    branch: str
    head: str
    author: str
    created: datetime
    updated: datetime
    base: str = "main"
    state: str = "open"
    fork: bool = False
    draft: bool = False
    queued: bool = False
    armed_by: str = ""
    arming: dict[str, Any] = field(default_factory=dict)
    ended_by: str = ""
    ended: datetime | None = None
    merged: bool = False
    merge_commit: str | None = None
    comments: list[str] = field(default_factory=list)
    reviews: list[tuple[str, str, str]] = field(default_factory=list)  # login, state, commit

    @property
    def node(self) -> str:
        return f"PR_{self.number}"


@dataclass
class Rules:
    """What the base branch asks for, and the repository allows."""

    checks: set[str] = field(default_factory=set)
    approvals: int = 0
    up_to_date: bool = False
    queue: bool = False
    methods: dict[str, bool] = field(default_factory=lambda: {"squash": True, "merge": True, "rebase": True})
    auto_merge: bool = True
    bypass: set[str] = field(default_factory=set)


class GitHub(Forge):
    """*denied* are permissions that no token has; *frozen* is a list that a server of theirs still serves."""

    def __init__(self, repository: Path, *, project: str = "acme/shop", prefix: str = "") -> None:
        super().__init__(repository, project=project, prefix=prefix)
        self.tokens = {"ghp_s3cr3tT0ken": "pilot[bot]"}
        self.pulls: list[Pull] = []
        self.statuses: dict[str, list[dict[str, Any]]] = {}
        self.rules = Rules()
        self.denied: set[str] = set()
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.rulesets: list[Any] = []
        self.frozen: list[Any] | None = None
        self.in_order = True
        self.unknown = False  # whether mergeability is still being computed
        self.apps: dict[str, tuple[Any, int]] = {}  # public key and installation by issuer
        self.minted: list[Any] = []
        self.checks.append(self._described)

    # ------------------------------------------------------------ counting

    def handle(self, request: Request) -> Answer | None:
        if request.path in ("/graphql", "/api/graphql"):
            operation = re.search(r"(?:query|mutation) (\w+)", request.body["query"])
            request = replace(request, path=f"/graphql/{operation[1] if operation else ''}")
        try:
            return super().handle(replace(request, path=request.path.removeprefix("/api/v3")))
        except Exception as error:
            self.complaints.append(f"{request.method} {request.path}: the fake failed: {error!r}")
            raise

    def counted(self) -> tuple[int, int, int]:
        """Reads answered in full, reads answered with 304, and writes, since the last time."""
        log, self.log = self.log, []
        reading = [entry for entry in log if entry.method == "GET" or re.match(r"/graphql/(?!Arm)", entry.path)]
        unchanged = sum(entry.status == 304 for entry in reading)
        return len(reading) - unchanged, unchanged, len(log) - len(reading)

    def _described(self, request: Request, answer: Answer) -> None:
        if not request.path.startswith("/graphql/"):
            description().check(request, answer)
        assert request.headers.get("x-github-api-version") == "2022-11-28", "no version of the API is named"
        assert request.headers.get("user-agent"), "GitHub refuses a request without User-Agent"

    # ------------------------------------------------------------ requests

    def token(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def answer(self, request: Request) -> Answer:
        if request.match("GET", f"/repos/{self.project}/installation") is not None:
            ident, account = self._app(request), self._user(self.owner)
            return Answer(200, description().filled("installation", id=ident, account=account))
        if parts := request.match("POST", "/app/installations/{}/access_tokens"):
            return self._mint(request, int(parts[0]))
        if not request.by:
            raise Refused(401, _error("Bad credentials"))
        if request.path.startswith("/graphql/"):
            return self._graphql(request)
        here = f"/repos/{self.project}"
        if request.match("GET", f"{here}/pulls") is not None:
            return self._list(request)
        if request.match("POST", f"{here}/pulls") is not None:
            self._needs("pull_requests")
            return Answer(201, self._item(self._open(request.body, request.by), whole=True))
        if parts := request.match("GET", f"{here}/pulls/{{}}"):
            return Answer(200, self._item(self.pull(int(parts[0])), whole=True))
        if parts := request.match("PATCH", f"{here}/pulls/{{}}"):
            self._needs("pull_requests")
            return Answer(200, self._item(self._patch(self.pull(int(parts[0])), request), whole=True))
        if parts := request.match("PUT", f"{here}/pulls/{{}}/merge"):
            self._needs("contents")
            return self._merge(self.pull(int(parts[0])), request)
        if parts := request.match("GET", f"{here}/commits/{{}}/status"):
            return self._combined(parts[0])
        if parts := request.match("GET", f"{here}/commits/{{}}/check-runs"):
            if "checks" in self.denied:
                raise Refused(403, _error("Resource not accessible by personal access token"))
            runs = [description().filled("check-run", **run) for run in self.runs.get(parts[0], ())]
            return self._paged(request, {"total_count": len(runs), "check_runs": runs}, "check_runs")
        if parts := request.match("GET", f"{here}/branches/{{}}"):
            return self._branch(parts[0])
        if request.match("GET", f"{here}/rules/branches/{{}}") is not None:
            return Answer(200, self.rulesets)
        if parts := request.match("POST", f"{here}/statuses/{{}}"):
            self._needs("statuses")
            return self._status(parts[0], request)
        if parts := request.match("POST", f"{here}/issues/{{}}/comments"):
            self._needs("pull_requests")
            return self._comment(self.pull(int(parts[0])), request)
        raise Refused(404, _error("Not Found"))

    def _needs(self, permission: str) -> None:
        if permission in self.denied:
            raise Refused(403, _error("Resource not accessible by integration"))

    def _app(self, request: Request) -> int:
        given = self.token(request.headers)
        try:
            issuer = jwt.decode(given, options={"verify_signature": False})["iss"]
            key, installation = self.apps[issuer]
            now = self.clock().timestamp()
            claims = jwt.decode(given, key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})
            assert claims["iat"] <= now < claims["exp"] <= now + 600
        except (jwt.PyJWTError, KeyError, AssertionError):
            raise Refused(401, _error("A JSON web token could not be decoded")) from None
        return installation

    def _mint(self, request: Request, installation: int) -> Answer:
        if self._app(request) != installation:
            raise Refused(404, _error("Not Found"))
        if request.body["repositories"] != [self.project.partition("/")[2]]:
            raise Refused(422, _error("There is at least one repository that does not exist or is not accessible."))
        if self.denied & set(request.body.get("permissions", ())):
            raise Refused(422, _error("The permissions requested are not granted to this installation."))
        token = f"ghs_minted{len(self.minted)}"
        self.minted.append(request.body)
        self.tokens[token] = "pilot[bot]"
        expires = f"{self.clock() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        return Answer(201, description().filled("installation-token", token=token, expires_at=expires))

    # ------------------------------------------------------------ pull requests

    def pull(self, number: int) -> Pull:
        for pull in self.pulls:
            if pull.number == number:
                return pull
        raise Refused(404, _error("Not Found"))

    def _list(self, request: Request) -> Answer:
        query = request.query
        if self.frozen is None:
            pulls = [p for p in self.pulls if query.get("state", "open") in ("all", p.state)]
            pulls.sort(key=lambda p: (p.updated if query.get("sort") == "updated" else p.created, p.number))
            if query.get("direction") == "desc":
                pulls.reverse()
            if not self.in_order:
                pulls.sort(key=lambda p: p.number * 7919 % 101)
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        here, headers = slice((page - 1) * size, page * size), {}
        if self.frozen is None:
            count, shown = len(pulls), [self._item(pull) for pull in pulls[here]]
        else:
            count, shown = len(self.frozen), self.frozen[here]
        if page * size < count:
            following = urlencode({**query, "page": page + 1})
            headers["Link"] = f'<https://api.example.com/repositories/1/pulls?{following}>; rel="next"'
        return Answer(200, shown, headers)

    def freeze(self) -> None:
        """From now on the list is served as it is now."""
        self.frozen = [self._item(pull) for pull in sorted(self.pulls, key=lambda p: p.updated, reverse=True)]

    def _open(self, asked: Any, by: str) -> Pull:
        branch = asked["head"].partition(":")[2] or asked["head"]
        refs = self.refs()
        if branch not in refs:
            raise Refused(422, _invalid({"resource": "PullRequest", "field": "head", "code": "invalid"}))
        if asked["base"] not in refs:
            raise Refused(422, _invalid({"resource": "PullRequest", "field": "base", "code": "invalid"}))
        if self.is_ancestor(refs[branch], refs[asked["base"]]):
            raise Refused(422, _invalid(_custom(f"No commits between {asked['base']} and {branch}")))
        for pull in self.pulls:
            if (pull.branch, pull.base, pull.state, pull.fork) == (branch, asked["base"], "open", False):
                raise Refused(422, _invalid(_custom(f"A pull request already exists for {self.owner}:{branch}.")))
        return self.add(branch, refs[branch], asked["title"], asked.get("body") or "", by, base=asked["base"])

    def add(self, branch: str, head: str, title: str, body: str, by: str, **more: Any) -> Pull:
        if len(body) > 65536:
            raise Refused(422, _invalid(_custom("body is too long (maximum is 65536 characters)")))
        number, now = len(self.pulls) + 1, self.clock()
        self.pulls.append(Pull(number, title, body, branch, head, by, now, now, **more))
        return self.pulls[-1]

    def _patch(self, pull: Pull, request: Request) -> Pull:
        asked = request.body
        if len(asked.get("body", "")) > 65536:
            raise Refused(422, _invalid(_custom("body is too long (maximum is 65536 characters)")))
        pull.body = asked.get("body", pull.body)
        if asked.get("state") == "closed" and pull.state == "open":
            self.end(pull, request.by)
        pull.updated = self.clock()
        return pull

    def end(self, pull: Pull, by: str) -> None:
        pull.state, pull.ended_by, pull.ended, pull.updated = "closed", by, self.clock(), self.clock()
        pull.queued, pull.armed_by = False, ""

    def _comment(self, pull: Pull, request: Request) -> Answer:
        pull.comments.append(request.body["body"])
        pull.updated = self.clock()
        return Answer(201, description().filled("issue-comment", body=request.body["body"]))

    def _status(self, sha: str, request: Request) -> Answer:
        if self.git("cat-file", "-t", sha, check=False) != "commit":
            raise Refused(422, _invalid(_custom(f"No commit found for SHA: {sha}")))
        asked = request.body
        if len(asked.get("description") or "") > 140:
            raise Refused(422, _invalid(_custom("description is too long (maximum is 140 characters)")))
        made = {"state": asked["state"], "context": asked["context"], "description": asked["description"]}
        self.statuses.setdefault(sha, []).append(made)
        self.settle()
        return Answer(201, description().filled("status", **made))

    def _combined(self, sha: str) -> Answer:
        latest = {status["context"]: status for status in self.statuses.get(sha, ())}
        shown = [description().filled("simple-commit-status", **status) for status in latest.values()]
        said = description().filled("combined-commit-status", statuses=shown, total_count=len(shown))
        return Answer(200, said)

    def _paged(self, request: Request, body: dict[str, Any], key: str) -> Answer:
        size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
        more = page * size < len(body[key])
        following = f"https://api.example.com/x?{urlencode({**request.query, 'page': page + 1})}"
        headers = {"Link": f'<{following}>; rel="next"'} if more else {}
        return Answer(200, {**body, key: body[key][(page - 1) * size : page * size]}, headers)

    def _branch(self, name: str) -> Answer:
        checks = {"contexts": sorted(self.rules.checks), "checks": [], "enforcement_level": "everyone"}
        protection = {"enabled": True, "required_status_checks": checks} if self.rules.checks else {"enabled": False}
        said = description().filled("branch-with-protection", name=name, protected=bool(self.rules.checks))
        commit = description().filled("commit", author={}, committer={})
        return Answer(200, said | {"protection": protection, "commit": commit})

    # ------------------------------------------------------------ merging

    def merge_state(self, pull: Pull) -> str:
        latest = {status["context"]: status["state"] for status in self.statuses.get(pull.head, ())}
        approvals = {login for login, state, _ in pull.reviews if state == "APPROVED"}
        if self.unknown:
            return "UNKNOWN"
        if pull.draft:
            return "DRAFT"
        if self.conflicts(self.refs().get(pull.base, pull.head), pull.head):
            return "DIRTY"
        if any(latest.get(context) != "success" for context in self.rules.checks):
            return "BLOCKED"
        if len(approvals) < self.rules.approvals:
            return "BLOCKED"
        if self.rules.up_to_date and not self.is_ancestor(self.refs()[pull.base], pull.head):
            return "BEHIND"
        return "UNSTABLE" if {"failure", "error", "pending"} & set(latest.values()) else "CLEAN"

    def _merge(self, pull: Pull, request: Request) -> Answer:
        asked = request.body
        if pull.merged:
            return Answer(200, description().filled("pull-request-merge-result", sha=pull.merge_commit, merged=True))
        method = asked.get("merge_method", "merge")
        if not self.rules.methods[method]:
            raise Refused(405, _error(f"{method.title()} merges are not allowed on this repository."))
        if asked.get("sha", pull.head) != pull.head:
            raise Refused(409, _error("Head branch was modified. Review and try the merge again."))
        state = self.merge_state(pull)
        allowed = state in ("CLEAN", "UNSTABLE") or (state == "BLOCKED" and request.by in self.rules.bypass)
        if pull.state != "open" or not allowed or self.rules.queue:
            raise Refused(405, _error("Pull Request is not mergeable"))
        message = "\n\n".join([asked.get("commit_title") or pull.title, asked.get("commit_message") or ""])
        sha = self.merge(pull, request.by, message, squash=method == "squash")
        return Answer(200, description().filled("pull-request-merge-result", sha=sha, merged=True))

    def merge(self, pull: Pull, by: str, message: str, *, squash: bool = True) -> str:
        oid = self.combine(pull.base, pull.head, message, by=by, squash=squash)
        if oid is None:
            raise Refused(405, _error("Pull Request is not mergeable"))
        pull.merged, pull.merge_commit = True, oid
        self.end(pull, by)
        self.moved(by)
        return oid

    def settle(self) -> None:
        """Merge what waits for nothing any more."""
        for pull in self.pulls:
            if pull.armed_by and pull.state == "open" and self.merge_state(pull) in ("CLEAN", "UNSTABLE"):
                if self.rules.queue:
                    pull.queued = True
                else:
                    title, text = pull.arming.get("commitHeadline"), pull.arming.get("commitBody")
                    self.merge(pull, pull.armed_by, f"{title or pull.title}\n\n{text or ''}")

    def refs_moved(self, before: Mapping[str, str], after: Mapping[str, str], by: str) -> None:
        for pull in self.pulls:
            if pull.state != "open" or pull.fork:
                continue
            if pull.branch not in after:
                self.end(pull, by)
            elif after[pull.branch] != pull.head:
                pull.head, pull.updated = after[pull.branch], self.clock()
            if pull.state == "open" and self.is_ancestor(pull.head, after[pull.base]):
                pull.merged, pull.merge_commit = True, after[pull.base]
                self.end(pull, by)

    # ------------------------------------------------------------ as REST shows them

    @property
    def owner(self) -> str:
        return self.project.partition("/")[0]

    def _user(self, login: str) -> Any:
        kind = "Bot" if login.endswith("[bot]") else "User"
        return description().filled("simple-user", login=login, type=kind)

    def _repo(self, ident: int, full_name: str) -> Any:
        return description().filled("repository", id=ident, full_name=full_name, owner=self._user(self.owner))

    def _item(self, pull: Pull, *, whole: bool = False) -> Any:
        tip = self._refs.get(pull.base, pull.head)
        who = "stranger" if pull.fork else self.owner
        ours, theirs = self._repo(1, self.project), self._repo(2, "stranger/shop")
        head = {"label": f"{who}:{pull.branch}", "ref": pull.branch, "sha": pull.head, "user": self._user(who)}
        base = {"label": f"{self.owner}:{pull.base}", "ref": pull.base, "sha": tip, "user": self._user(self.owner)}
        armed = pull.armed_by and {
            "enabled_by": self._user(pull.armed_by),
            "merge_method": "squash",
            "commit_title": "",
            "commit_message": "",
        }
        return description().filled(
            "pull-request" if whole else "pull-request-simple",
            id=pull.number,
            node_id=pull.node,
            number=pull.number,
            html_url=f"https://github.example.com/{self.project}/pull/{pull.number}",
            title=pull.title,
            body=pull.body or None,
            state=pull.state,
            user=self._user(pull.author),
            created_at=_time(pull.created),
            updated_at=_time(pull.updated),
            closed_at=_time(pull.ended),
            merged_at=_time(pull.ended) if pull.merged else None,
            draft=pull.draft,
            auto_merge=armed or None,
            author_association="CONTRIBUTOR",
            head={**head, "repo": theirs if pull.fork else ours},
            base={**base, "repo": ours},
        )

    # ------------------------------------------------------------ as GraphQL shows them

    def _graphql(self, request: Request) -> Answer:
        root = {
            "nodes": lambda _info, ids: [self._node_or_error(one, request.by) for one in ids],
            "node": lambda _info, id: self._node(self._by_node(id)),
            "repository": lambda _info, owner, name, followRenames: self._repository(owner, name),  # noqa: N803
            "enablePullRequestAutoMerge": lambda _info, input: self._arm(input, request.by),
        }
        document, wrong = _document(request.body["query"])
        done = execute_sync(schema(), document, root, variable_values=request.body["variables"])
        if wrong:
            done = ExecutionResult(errors=wrong)
        body: dict[str, Any] = {"data": done.data}
        if done.errors:
            body["errors"] = [
                {"type": (error.extensions or {}).get("type"), "path": error.path, "message": error.message}
                for error in done.errors
            ]
            assert all(error.original_error is None or error.extensions for error in done.errors), done.errors
        return Answer(200, body)

    def _node_or_error(self, node: str, viewer: str) -> Any:
        """Of several nodes each fails for itself."""
        try:
            return self._node(self._by_node(node), viewer)
        except GraphQLError as error:
            return error

    def _by_node(self, node: str) -> Pull:
        for pull in self.pulls:
            if pull.node == node:
                return pull
        raise GraphQLError(
            f"Could not resolve to a node with the global id of '{node}'", extensions={"type": "NOT_FOUND"}
        )

    def _repository(self, owner: str, name: str) -> Any:
        if f"{owner}/{name}" != self.project:
            raise GraphQLError("Could not resolve to a Repository", extensions={"type": "NOT_FOUND"})
        return {
            "squashMergeAllowed": self.rules.methods["squash"],
            "mergeCommitAllowed": self.rules.methods["merge"],
            "rebaseMergeAllowed": self.rules.methods["rebase"],
            "pullRequest": lambda _info, number: self._node(self.pull(number)),
        }

    def _node(self, pull: Pull, viewer: str = "") -> Any:
        headline, _, text = self._message(pull.head).partition("\n")
        latest = {status["context"]: status for status in self.statuses.get(pull.head, ())}

        def context(_info: Any, name: str) -> Any:
            found = latest.get(name)
            return found and {"state": found["state"].upper(), "description": found["description"]}

        commit = {
            "oid": pull.head,
            "messageHeadline": headline,
            "messageBody": text.strip(),
            "status": {"context": context} if latest else None,
        }
        closed = pull.state == "closed" and {"__typename": "ClosedEvent", "actor": _actor(pull.ended_by)}
        return {
            "__typename": "PullRequest",
            "id": pull.node,
            "state": "MERGED" if pull.merged else pull.state.upper(),
            "isDraft": pull.draft,
            "headRefOid": pull.head,
            "isInMergeQueue": pull.queued,
            "isMergeQueueEnabled": self.rules.queue,
            "mergeStateStatus": self.merge_state(pull) if pull.state == "open" else "UNKNOWN",
            "viewerDidAuthor": pull.author == viewer,
            "autoMergeRequest": {"enabledAt": _time(pull.updated)} if pull.armed_by else None,
            "mergedBy": _actor(pull.ended_by) if pull.merged else None,
            "mergeCommit": {"oid": pull.merge_commit} if pull.merged else None,
            "timelineItems": lambda _info, **_: {"nodes": [closed] if closed else []},
            "comments": lambda _info, first, after=None: _page(pull.comments, first, after),
            "commits": lambda _info, **_: {"nodes": [{"commit": commit}]},
        }

    @cache  # noqa: B019 gone with the test
    def _message(self, head: str) -> str:
        return self.git("log", "-1", "--format=%B", head, check=False)

    def _arm(self, asked: Any, by: str) -> Any:
        pull = self._by_node(asked["pullRequestId"])
        if "pull_requests" in self.denied:
            raise GraphQLError("Resource not accessible by integration", extensions={"type": "FORBIDDEN"})
        if not self.rules.auto_merge:
            raise _unprocessable("Pull request Auto merge is not allowed for this repository")
        if asked.get("expectedHeadOid", pull.head) != pull.head:
            raise _unprocessable("Head sha didn't match the expected sha")
        state = self.merge_state(pull)
        if state in ("CLEAN", "UNSTABLE") and not self.rules.queue:
            raise _unprocessable(f"Pull request Pull request is in {state.lower()} status")
        pull.armed_by, pull.arming, pull.updated = by, asked, self.clock()
        self.settle()
        return {"pullRequest": self._node(pull)}


def _actor(login: str) -> Any:
    if not login:
        return None
    kind = "Bot" if login.endswith("[bot]") else "User"
    return {"__typename": kind, "login": login.removesuffix("[bot]")}


def _page(comments: list[str], first: int, after: str | None) -> Any:
    start = int(base64.b64decode(after)) if after else 0
    end = min(start + first, len(comments))
    cursor = base64.b64encode(str(end).encode()).decode()
    return {
        "nodes": [{"body": text} for text in comments[start:end]],
        "pageInfo": {"hasNextPage": end < len(comments), "endCursor": cursor},
    }


def _unprocessable(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"type": "UNPROCESSABLE"})


def _time(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None


def _error(message: str) -> Any:
    return {"message": message, "documentation_url": DOCS, "status": "403"}


def _invalid(error: Mapping[str, str]) -> Any:
    return {"message": "Validation Failed", "errors": [dict(error)], "documentation_url": DOCS}


def _custom(message: str) -> Mapping[str, str]:
    return {"resource": "PullRequest", "code": "custom", "message": message}
