"""
Gitea as far as the adapter uses it: pull requests, their timeline, and commit statuses of one repository.

After `routers/api/v1/repo/pull.go`, `issue_comment.go`, `status.go` and `services/convert/pull.go` of Gitea 1.27.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zlib import crc32

from tests.forges.fakes.server import Answer, Forge, Refused, Request

REPOSITORY = 7
WIP = ("wip:", "[wip]")


@dataclass
class Event:
    """An entry of a pull request's timeline."""

    type: str
    by: str
    at: datetime
    body: str = ""


@dataclass
class PullRequest:
    number: int
    title: str
    body: str
    branch: str
    base: str
    author: str
    head: str
    created: datetime
    updated: datetime
    repository: int = REPOSITORY
    state: str = "open"
    merged: bool = False
    ended_by: str | None = None
    ended_at: datetime | None = None
    commit: str | None = None
    events: list[Event] = field(default_factory=list)


class Gitea(Forge):
    """
    `refuses` is the text of the 405 that every merge gets. `root` is the ROOT_URL of its links, as set by someone who
    does not come by our address. `style` is the repository's merge style.
    """

    etags = False  # Gitea's API sends none

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pulls: list[PullRequest] = []
        self.statuses: list[dict[str, Any]] = []
        self.root = "https://git.example.com/forge"
        self.refuses = ""
        self.style = "merge"
        self.styles = ("merge", "squash", "rebase")
        self.may_write = True
        self.is_admin = False
        self.protected = False
        self.required: list[str] = []
        self.asks_up_to_date = False
        self.page_size = 50  # MAX_RESPONSE_ITEMS
        self.mergeable = False  # stuck at false, gitea#25849
        self.lagging: list[PullRequest] | None = None
        self.reordered = False
        self.ignores_filters = False
        self.hides_settings = False
        self.hides_user = False
        self.careless = False  # create checks, then inserts: two at once both pass

    # ------------------------------------------------------------ what people do

    def get(self, number: int) -> PullRequest:
        return next(pull for pull in self.pulls if pull.number == number)

    def create(self, branch: str, title: str, body: str, by: str, **fields: Any) -> PullRequest:
        pull = PullRequest(
            number=1 + len(self.pulls),
            title=title,
            body=body,
            branch=branch,
            base=fields.pop("base", "main"),
            author=by,
            head=self.head(branch) or "0" * 40,
            created=self.clock(),
            updated=self.clock(),
            **fields,
        )
        self.pulls.append(pull)
        return pull

    def tell(self, number: int, kind: str, by: str, body: str = "") -> None:
        pull = self.get(number)
        pull.events.append(Event(kind, by, self.clock(), body))
        if kind != "pull_push":  # Gitea does not count that as a change
            pull.updated = self.clock()

    def close(self, number: int, by: str) -> None:
        pull = self.get(number)
        if pull.state == "open":
            pull.state, pull.ended_by, pull.ended_at = "closed", by, self.clock()
            self.tell(number, "close", by)

    def reopen(self, number: int, by: str) -> None:
        pull = self.get(number)
        pull.state, pull.ended_by, pull.ended_at = "open", None, None
        self.tell(number, "reopen", by)

    def merge(self, number: int, by: str, *, delete: bool = True) -> str:
        pull = self.get(number)
        oid = self.combine(pull.base, pull.head, f"{pull.title} (#{number})", by=by, squash=self.style == "squash")
        assert oid, "they conflict"
        pull.state, pull.merged, pull.ended_by, pull.ended_at, pull.commit = "closed", True, by, self.clock(), oid
        self.tell(number, "merge_pull", by)
        if delete:
            self.git("update-ref", "-d", f"refs/heads/{pull.branch}")
        self.moved(by)
        return oid

    def refs_moved(self, before: Mapping[str, str], after: Mapping[str, str], by: str) -> None:
        for pull in self.pulls:
            if pull.state != "open" or pull.repository != REPOSITORY:
                continue
            head = after.get(pull.branch)
            if head is None:
                self.close(pull.number, by)
                self.tell(pull.number, "delete_branch", by)
            elif head != pull.head:
                pull.head = head
                self.tell(pull.number, "pull_push", by)

    # ------------------------------------------------------------ the API

    def token(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("token ")

    def answer(self, request: Request) -> Answer:
        if not request.by:
            raise Refused(401, self._error("user does not exist [uid: 0, name: ]"))
        if request.match("GET", "/api/v1/settings/api") is not None:
            if self.hides_settings:
                raise Refused(403, self._error("token does not have at least one of required scope(s)"))
            return Answer(200, {"max_response_items": self.page_size, "default_paging_num": min(30, self.page_size)})
        if request.match("GET", "/api/v1/user") is not None:
            if self.hides_user:
                raise Refused(403, self._error("token does not have at least one of required scope(s): [read:user]"))
            return Answer(200, self._user(request.by))
        base = f"/api/v1/repos/{self.project}"
        for method, pattern, handler in (
            ("GET", "", self._repository),
            ("GET", "/pulls", self._list),
            ("POST", "/pulls", self._create),
            ("GET", "/pulls/{}", self._get),
            ("PATCH", "/pulls/{}", self._edit),
            ("POST", "/pulls/{}/merge", self._merge),
            ("GET", "/issues/{}/timeline", self._timeline),
            ("POST", "/issues/{}/comments", self._comment),
            ("GET", "/statuses/{}", self._statuses),
            ("POST", "/statuses/{}", self._status),
            ("GET", "/branch_protections", self._protections),
            ("GET", "/branches/{*}", self._branch),
        ):
            parts = request.match(method, base + pattern)
            if parts is not None:
                if method != "GET" and not self.may_write:
                    raise Refused(403, self._error("user should have a permission to write to a repo"))
                return handler(request, *parts)
        raise Refused(404, self._error("not found"))

    def _error(self, message: str) -> dict[str, str]:
        return {"message": message, "url": f"{self.root}/api/swagger"}

    def _repository(self, request: Request) -> Answer:
        return Answer(200, self._repository_json())

    def _list(self, request: Request) -> Answer:
        found = self.pulls if self.lagging is None else self.lagging
        state, base = request.query.get("state", "open"), request.query.get("base_branch")
        if not self.ignores_filters:
            found = [pull for pull in found if state in {"all", pull.state} and base in {None, pull.base}]
        found = found[::-1]
        if request.query.get("sort") == "recentupdate":
            found = sorted(found, key=lambda pull: pull.updated.replace(microsecond=0), reverse=True)
        if self.reordered:
            found = found[::-1]
        return self._page(request, [self._json(pull) for pull in found])

    def _page(self, request: Request, items: Sequence[Any], *, counted: bool = True) -> Answer:
        size = int(request.query.get("limit", 30))
        size = min(size, self.page_size) if size > 0 else self.page_size
        page = max(int(request.query.get("page", 1)), 1)
        shown = items[(page - 1) * size : page * size]
        if not counted:  # the timeline: no link, the count is that of the page, and nothing is null
            return Answer(200, shown or None, {"X-Total-Count": str(len(shown))})
        headers = {"X-Total-Count": str(len(items))}
        if page * size < len(items):
            query = urlencode({**request.query, "page": page + 1})
            headers["Link"] = f'<{self.root}{request.path}?{query}>; rel="next"'
        return Answer(200, shown, headers)

    def _create(self, request: Request) -> Answer:
        body = request.body
        head, base = self.head(body["head"]), self.head(body["base"])
        if head is None or base is None:
            raise Refused(404, self._error("not found"))
        if head == base:
            what = "Invalid PullRequest: There are no changes between the head and the base"
            raise Refused(422, self._error(what))
        for pull in self.pulls:
            same = (pull.branch, pull.base, pull.repository) == (body["head"], body["base"], REPOSITORY)
            if same and pull.state == "open" and not self.careless:
                what = f"pull request already exists for these targets [id: {pull.number}, issue_id: {pull.number}, head_repo_id: 7, base_repo_id: 7, head_branch: {pull.branch}, base_branch: {pull.base}]"
                raise Refused(409, self._error(what))
        pull = self.create(body["head"], body["title"], body.get("body", ""), request.by, base=body["base"])
        return Answer(201, self._json(pull))

    def _find(self, number: str) -> PullRequest:
        found = [pull for pull in self.pulls if str(pull.number) == number]
        if not found:
            raise Refused(404, self._error("not found"))
        return found[0]

    def _get(self, request: Request, number: str) -> Answer:
        return Answer(200, self._json(self._find(number)))

    def _edit(self, request: Request, number: str) -> Answer:
        pull = self._find(number)
        if request.body.get("title"):
            pull.title = request.body["title"]
        if request.body.get("body") is not None:
            pull.body = request.body["body"]
            pull.updated = self.clock()
        if request.body.get("state"):
            if pull.merged:
                what = "cannot change state of this pull request, it was already merged"
                raise Refused(412, self._error(what))
            if request.body["state"] == "closed":
                self.close(pull.number, request.by)
        return Answer(201, self._json(pull))

    def _merge(self, request: Request, number: str) -> Answer:
        pull, body = self._find(number), request.body
        conflict = self.conflicts(self.refs()[pull.base], pull.head)
        if pull.merged:
            raise Refused(405, self._error("The PR is already merged"))
        if pull.state != "open":
            raise Refused(404, self._error("not found"))
        refusals = (
            self.refuses,
            "Work in progress PRs cannot be merged" if pull.title.lower().startswith(WIP) else "",
            "Please try again later" if conflict else "",
            "The head branch is behind the base branch" if self.asks_up_to_date and self._is_behind(pull) else "",
            "" if body["do"] in self.styles else f"{body['do']} is not allowed an allowed merge style for this repository",
        )  # fmt: skip
        for refusal in filter(None, refusals):
            raise Refused(405, self._error(refusal))
        if body.get("head_commit_id") not in {None, pull.head}:
            raise Refused(409, self._error("head out of date"))
        self.merge(pull.number, request.by, delete=bool(body.get("delete_branch_after_merge")))
        return Answer(200)

    def _is_behind(self, pull: PullRequest) -> bool:
        return not self.is_ancestor(self.refs()[pull.base], pull.head)

    def _timeline(self, request: Request, number: str) -> Answer:
        pull = self._find(number)
        since = datetime.fromisoformat(request.query["since"]) if "since" in request.query else None
        found = [event for event in pull.events if since is None or event.at.replace(microsecond=0) >= since]
        entries = [self._event_json(pull, event) for event in found]
        answer = self._page(request, entries, counted=False)
        # Comments on lines of code are taken out of a page after it has been cut.
        answer.body = [entry for entry in answer.body or () if entry["type"] != "code"] or None
        return answer

    def _event_json(self, pull: PullRequest, event: Event) -> dict[str, Any]:
        return {
            "id": 1 + pull.events.index(event),
            "type": event.type,
            "user": self._user(event.by),
            "body": event.body,
            "pull_request_url": f"{self.root}/{self.project}/pulls/{pull.number}",
            "created_at": _stamp(event.at),
            "updated_at": _stamp(event.at),
        }

    def _comment(self, request: Request, number: str) -> Answer:
        self.tell(self._find(number).number, "comment", request.by, request.body["body"])
        return Answer(
            201,
            {
                "id": 1,
                "user": self._user(request.by),
                "body": request.body["body"],
                "created_at": _stamp(self.clock()),
                "updated_at": _stamp(self.clock()),
            },
        )

    def _statuses(self, request: Request, sha: str) -> Answer:
        found = [{k: v for k, v in s.items() if k != "sha"} for s in self.statuses if s["sha"] == sha]
        return self._page(request, sorted(found, key=lambda s: s["updated_at"], reverse=True))

    def _status(self, request: Request, sha: str) -> Answer:
        if not self.git("cat-file", "-t", sha, check=False):
            raise Refused(404, self._error("object does not exist"))
        status = {
            "id": 1 + len(self.statuses),
            "status": request.body["state"],
            "target_url": request.body.get("target_url", ""),
            "description": request.body.get("description", ""),
            "context": request.body.get("context") or "default",
            "creator": self._user(request.by),
            "url": "",
            "created_at": _stamp(self.clock()),
            "updated_at": _stamp(self.clock()),
        }
        self.statuses.append(status | {"sha": sha})
        return Answer(201, status)

    def _branch(self, request: Request, name: str) -> Answer:
        if self.head(name) is None:
            raise Refused(404, self._error("not found"))
        rule = {"protected": self.protected, "enable_status_check": bool(self.required)}
        found = {"name": name, "commit": {"id": self.head(name)}, **rule, "status_check_contexts": self.required}
        return Answer(200, found)

    def _protections(self, request: Request) -> Answer:
        if not self.is_admin:
            raise Refused(403, self._error("user should have a permission to administer the repository"))
        rule = {"rule_name": "main", "branch_name": "main", "block_on_outdated_branch": self.asks_up_to_date}
        return Answer(200, [rule])

    # ------------------------------------------------------------ documents

    def _json(self, pull: PullRequest) -> dict[str, Any]:
        there = self.head(pull.branch) is not None
        base = self.refs().get(pull.base, "")
        return {
            "id": 500 + pull.number,
            "url": f"{self.root}/{self.project}/pulls/{pull.number}",
            "number": pull.number,
            "user": self._user(pull.author),
            "title": pull.title,
            "body": pull.body,
            "labels": [],
            "milestone": None,
            "assignee": None,
            "assignees": None,
            "requested_reviewers": None,
            "state": pull.state,
            "draft": pull.title.lower().startswith(WIP),
            "is_locked": False,
            "comments": sum(event.type in {"comment", "review"} for event in pull.events),
            "review_comments": sum(event.type == "code" for event in pull.events),
            "html_url": f"{self.root}/{self.project}/pulls/{pull.number}",
            "mergeable": self.mergeable,
            "merged": pull.merged,
            "merged_at": _stamp(pull.ended_at) if pull.merged and pull.ended_at else None,
            "merge_commit_sha": pull.commit,
            "merged_by": self._user(pull.ended_by) if pull.merged and pull.ended_by else None,
            "allow_maintainer_edit": False,
            "base": {
                "label": pull.base,
                "ref": pull.base,
                "sha": base,
                "repo_id": REPOSITORY,
                "repo": self._repository_json(),
            },
            "head": {
                "label": pull.branch,
                "ref": pull.branch if there else f"refs/pull/{pull.number}/head",
                "sha": pull.head,
                "repo_id": pull.repository,
                "repo": self._repository_json() if pull.repository == REPOSITORY else None,
            },
            "merge_base": self.merge_base(base, pull.head) if base else "",
            "due_date": None,
            "created_at": _stamp(pull.created),
            "updated_at": _stamp(pull.updated),
            "closed_at": _stamp(pull.ended_at) if pull.ended_at else None,
            "pin_order": 0,
        }

    def _repository_json(self) -> dict[str, Any]:
        return {
            "id": REPOSITORY,
            "name": self.project.split("/")[1],
            "full_name": self.project,
            "default_branch": "main",
            "default_merge_style": self.style,
            "permissions": {"admin": self.is_admin, "push": self.may_write, "pull": True},
        }

    def _user(self, login: str) -> dict[str, Any]:
        return {
            "id": 100 + crc32(login.encode()),
            "login": login,
            "full_name": login.title(),
            "email": f"{login}@example.com",
        }


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
