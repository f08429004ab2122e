"""
GitLab as far as the adapter uses it: merge requests, notes, commit statuses and merge trains of one project.

After the answers in `lib/api/merge_requests.rb` and `app/services/ci/create_commit_status_service.rb` of GitLab.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zlib import crc32

from tests.forges.fakes.server import Answer, Forge, Refused, Request

PROJECT = 278
NOT_NOW = {"message": "405 Method Not Allowed"}
CANNOT = {"message": "Branch cannot be merged"}


@dataclass
class MergeRequest:
    iid: int
    title: str
    description: str
    source: str
    target: str
    author: str
    sha: str
    created: datetime
    updated: datetime
    source_project: int = PROJECT
    state: str = "opened"
    ended_by: str | None = None
    ended_at: datetime | None = None
    merge_commit: str | None = None
    squash_commit: str | None = None
    status: str = "mergeable"  # GitLab's detailed_merge_status, where nothing else of ours decides it
    armed: bool = False
    train: str = ""  # the status of its car on the merge train
    notes: list[tuple[str, str, bool]] = field(default_factory=list)  # author, body, whether GitLab wrote it


class GitLab(Forge):
    """`trains`: the project has merge trains. `ff`: it merges by fast-forward. `pipeline`: what runs on each head."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.requests: list[MergeRequest] = []
        self.statuses: list[dict[str, Any]] = []
        self.role = "developer"  # or "reporter", who may read only
        self.may_merge = True
        self.protected = self.pipeline_must_pass = False
        self.trains = False
        self.ff = False
        self.asks_for_approval = False
        self.page_size = 100
        self.lagging: list[MergeRequest] | None = None  # what listings show, while they lag behind
        self.reordered = False
        self.slow_heads = False  # a new merge request has no sha yet
        self.ignores_filters = False

    # ------------------------------------------------------------ what people do

    def get(self, iid: int) -> MergeRequest:
        return next(mr for mr in self.requests if mr.iid == iid)

    def create(self, source: str, title: str, description: str, by: str, **fields: Any) -> MergeRequest:
        mr = MergeRequest(
            iid=1 + len(self.requests),
            title=title,
            description=description,
            source=source,
            target=fields.pop("target", "main"),
            author=by,
            sha=self.head(source) or "0" * 40,
            created=self.clock(),
            updated=self.clock(),
            **fields,
        )
        self.requests.append(mr)
        return mr

    def close(self, iid: int, by: str) -> None:
        mr = self.get(iid)
        if mr.state == "opened":
            mr.state, mr.ended_by, mr.ended_at, mr.armed, mr.train = "closed", by, self.clock(), False, ""
            mr.notes.append((by, "closed", True))
            mr.updated = self.clock()

    def merge(self, iid: int, by: str, *, squash: bool = False, delete: bool = True) -> str:
        mr = self.get(iid)
        if self.ff:
            self.git("update-ref", f"refs/heads/{mr.target}", mr.sha)
        else:
            message = mr.title if squash else f"Merge branch '{mr.source}' into '{mr.target}'\n\n{mr.title}"
            oid = self.combine(mr.target, mr.sha, message, by=by, squash=squash)
            assert oid, "they conflict"
            mr.merge_commit, mr.squash_commit = (None, oid) if squash else (oid, None)
        mr.state, mr.ended_by, mr.ended_at, mr.armed, mr.train = "merged", by, self.clock(), False, ""
        mr.updated = self.clock()
        if delete:
            self.git("update-ref", "-d", f"refs/heads/{mr.source}")
        self.moved(by)
        return self.refs()[mr.target]

    def refs_moved(self, before: Mapping[str, str], after: Mapping[str, str], by: str) -> None:
        for mr in self.requests:
            if mr.state not in {"opened", "locked"} or mr.source_project != PROJECT:
                continue
            head = after.get(mr.source)
            if head is None:
                self.close(mr.iid, by)
            elif head != mr.sha:
                mr.sha, mr.armed, mr.updated = head, False, self.clock()
            if head and after.get(mr.target) != before.get(mr.target) and self.is_ancestor(head, after[mr.target]):
                mr.state, mr.ended_by, mr.ended_at, mr.updated = "merged", by, self.clock(), self.clock()

    # ------------------------------------------------------------ the API

    def token(self, headers: Mapping[str, str]) -> str:
        return headers.get("private-token") or headers.get("authorization", "").removeprefix("Bearer ")

    def answer(self, request: Request) -> Answer:
        if not request.by:
            raise Refused(401, {"message": "401 Unauthorized"})
        if request.match("GET", "/api/v4/user") is not None:
            return Answer(200, self._user(request.by))
        base = "/api/v4/projects/{}"
        for method, pattern, handler in (
            ("GET", "", self._project),
            ("GET", "/merge_requests", self._list),
            ("POST", "/merge_requests", self._create),
            ("GET", "/merge_requests/{}", self._get),
            ("PUT", "/merge_requests/{}", self._update),
            ("PUT", "/merge_requests/{}/merge", self._merge),
            ("GET", "/merge_requests/{}/notes", self._notes),
            ("POST", "/merge_requests/{}/notes", self._note),
            ("GET", "/merge_trains/merge_requests/{}", self._car),
            ("POST", "/merge_trains/merge_requests/{}", self._board),
            ("GET", "/repository/branches/{}", self._branch),
            ("GET", "/repository/commits/{}/statuses", self._statuses),
            ("POST", "/statuses/{}", self._status),
        ):
            parts = request.match(method, base + pattern)
            if parts and parts[0] in {self.project, str(PROJECT)}:
                if method != "GET" and self.role == "reporter":
                    raise Refused(403, {"message": "403 Forbidden"})
                return handler(request, *parts[1:])
        raise Refused(404, {"message": "404 Project Not Found"})

    def _project(self, request: Request) -> Answer:
        return Answer(
            200,
            {
                "id": PROJECT,
                "path_with_namespace": self.project,
                "default_branch": "main",
                "web_url": f"{self.url}/{self.project}",
                "merge_method": "ff" if self.ff else "merge",
                "merge_trains_enabled": self.trains,
                "only_allow_merge_if_pipeline_succeeds": self.pipeline_must_pass,
            },
        )

    def _list(self, request: Request) -> Answer:
        found = self.requests if self.lagging is None else self.lagging
        state, source, target = (request.query.get(name) for name in ("state", "source_branch", "target_branch"))
        found = [
            mr
            for mr in found
            if self.ignores_filters
            or (
                (state in {None, "all"} or mr.state == state)
                and (source is None or mr.source == source)
                and (target is None or mr.target == target)
            )
        ]
        found = found[::-1] if request.query.get("sort", "desc") == "desc" else found
        if request.query.get("order_by") == "updated_at":
            found = sorted(found, key=lambda mr: mr.updated, reverse=request.query.get("sort", "desc") == "desc")
        if self.reordered:
            found = found[::-1]
        return self._page(request, [self._json(mr) for mr in found])

    def _page(self, request: Request, items: Sequence[Any]) -> Answer:
        size = min(int(request.query.get("per_page", 20)), self.page_size)
        page = int(request.query.get("page", 1))
        more = page * size < len(items)
        headers = {
            "x-page": str(page),
            "x-per-page": str(size),
            "x-next-page": str(page + 1) if more else "",
            "x-total": str(len(items)),
        }
        if more:
            query = urlencode({**request.query, "page": page + 1})
            headers["Link"] = f'<{self.url}{request.path}?{query}>; rel="next"'
        return Answer(200, items[(page - 1) * size : page * size], headers)

    def _create(self, request: Request) -> Answer:
        body = request.body
        missing = [name for name in ("title", "source_branch", "target_branch") if not body.get(name)]
        if missing:
            raise Refused(400, {"error": ", ".join(f"{name} is missing" for name in missing)})
        if self.head(body["source_branch"]) is None:
            raise Refused(422, {"message": ['Source branch "{}" does not exist'.format(body["source_branch"])]})
        for mr in self.requests:
            same = (mr.source, mr.target, mr.source_project) == (body["source_branch"], body["target_branch"], PROJECT)
            if same and mr.state == "opened":
                what = f"Another open merge request already exists for this source branch: !{mr.iid}"
                raise Refused(409, {"message": [what]})
        mr = self.create(
            body["source_branch"], body["title"], _without_commands(body.get("description") or ""), request.by,
            target=body["target_branch"],
        )  # fmt: skip
        answer = self._json(mr, whole=True)
        return Answer(201, answer | {"sha": None, "detailed_merge_status": "preparing"} if self.slow_heads else answer)

    def _find(self, iid: str) -> MergeRequest:
        found = [mr for mr in self.requests if str(mr.iid) == iid]
        if not found:
            raise Refused(404, {"message": "404 Not found"})
        return found[0]

    def _get(self, request: Request, iid: str) -> Answer:
        return Answer(200, self._json(self._find(iid), whole=True))

    def _update(self, request: Request, iid: str) -> Answer:
        mr = self._find(iid)
        mr.title = request.body.get("title", mr.title)
        mr.description = _without_commands(request.body.get("description", mr.description))
        mr.updated = self.clock()
        if request.body.get("state_event") == "close":
            self.close(mr.iid, request.by)
        return Answer(200, self._json(mr, whole=True))

    def _merge(self, request: Request, iid: str) -> Answer:
        mr, body = self._find(iid), request.body or {}
        if not self.may_merge:
            raise Refused(401, {"message": "401 Unauthorized"})
        status, automatic = self._status_of(mr), body.get("auto_merge")
        if mr.state != "opened":
            raise Refused(405, NOT_NOW)
        if automatic and status not in {"ci_still_running", "not_approved"}:
            raise Refused(405, NOT_NOW)
        if not automatic and status in {"checking", "unchecked"}:
            raise Refused(422, CANNOT)
        if not automatic and status != "mergeable":
            raise Refused(405, NOT_NOW)
        if not body.get("sha"):
            raise Refused(400, {"error": "sha is missing"})
        if body["sha"] != mr.sha:
            raise Refused(409, {"message": f"SHA does not match HEAD of source branch: {mr.sha}"})
        if automatic:
            mr.armed = True
        else:
            self.merge(mr.iid, request.by, delete=bool(body.get("should_remove_source_branch")))
        return Answer(200, self._json(mr, whole=True))

    def _notes(self, request: Request, iid: str) -> Answer:
        notes = [self._note_json(iid, n, *note) for n, note in enumerate(self._find(iid).notes, 1)]
        return self._page(request, notes if request.query.get("sort") == "asc" else notes[::-1])

    def _note(self, request: Request, iid: str) -> Answer:
        mr = self._find(iid)
        body = _without_commands(request.body["body"])
        mr.notes.append((request.by, body, False))
        mr.updated = self.clock()
        return Answer(201, self._note_json(iid, len(mr.notes), *mr.notes[-1]))

    def _note_json(self, iid: str, number: int, author: str, body: str, system: bool) -> dict[str, Any]:
        return {
            "id": number,
            "type": None,
            "body": body,
            "author": self._user(author),
            "system": system,
            "created_at": _stamp(self.clock()),
            "updated_at": _stamp(self.clock()),
            "noteable_type": "MergeRequest",
            "noteable_iid": int(iid),
            "internal": False,
        }

    def _car(self, request: Request, iid: str) -> Answer:
        mr = self._find(iid)
        if not mr.train:
            raise Refused(404, {"message": "404 Not found"})
        return Answer(200, self._car_json(mr))

    def _board(self, request: Request, iid: str) -> Answer:
        mr = self._find(iid)
        if not self.trains:
            raise Refused(404, {"message": "404 Not found"})
        if request.body.get("sha") != mr.sha:
            raise Refused(409, {"message": f"SHA does not match HEAD of source branch: {mr.sha}"})
        if self._status_of(mr) not in {"mergeable", "ci_still_running"}:
            raise Refused(400, {"message": "400 Bad request"})
        mr.train, mr.armed = "idle", True
        return Answer(201, [self._car_json(mr)])

    def _car_json(self, mr: MergeRequest) -> dict[str, Any]:
        return {
            "id": mr.iid,
            "merge_request": {"iid": mr.iid, "title": mr.title, "state": mr.state},
            "target_branch": mr.target,
            "status": mr.train,
        }

    def _branch(self, request: Request, name: str) -> Answer:
        head = self.head(name)
        if head is None:
            raise Refused(404, {"message": "404 Branch Not Found"})
        return Answer(200, {"name": name, "commit": {"id": head}, "protected": self.protected})

    def _statuses(self, request: Request, sha: str) -> Answer:
        name = None if self.ignores_filters else request.query.get("name")
        found = [s for s in self.statuses if s["sha"] == sha and name in {None, s["name"]}]
        return self._page(request, [s for s in found if not any(_replaces(later, s) for later in found)])

    def _status(self, request: Request, sha: str) -> Answer:
        body = request.body
        if not self.git("cat-file", "-t", sha, check=False):
            raise Refused(404, {"message": "404 Commit Not Found"})
        name, ref = body.get("name", "default"), body.get("ref")
        ref = ref or next((branch for branch, head in self.refs().items() if self.is_ancestor(sha, head)), None)
        if len(body.get("description", "")) > 255:
            raise Refused(400, {"message": {"description": ["is too long (maximum is 255 characters)"]}})
        for status in self.statuses:
            same = (status["sha"], status["ref"], status["name"]) == (sha, ref, name)
            if same and status["status"] in {"pending", "running"}:
                if body["state"] == "pending":
                    why = 'Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via "enqueue")'
                    raise Refused(400, {"message": why})
                status |= {"status": body["state"], "description": body.get("description")}
                return Answer(201, status)
        status = {
            "id": 1 + len(self.statuses),
            "sha": sha,
            "ref": ref,
            "status": body["state"],
            "name": name,
            "description": body.get("description"),
            "created_at": _stamp(self.clock()),
            "author": {"id": 100, "username": request.by, "name": request.by, "state": "active"},
        }
        self.statuses.append(status)
        return Answer(201, status)

    # ------------------------------------------------------------ documents

    def _status_of(self, mr: MergeRequest) -> str:
        if mr.state != "opened":
            return "not_open"
        if re.match(r"(draft:|\[draft\]|\(draft\))", mr.title, re.IGNORECASE):
            return "draft_status"
        if mr.status != "mergeable":
            return mr.status
        if self.asks_for_approval:
            return "not_approved"
        if self.ff and not self.is_ancestor(self.refs()[mr.target], mr.sha):
            return "need_rebase"
        if self.conflicts(self.refs().get(mr.target, mr.sha), mr.sha):
            return "conflict"
        return "mergeable"

    def _json(self, mr: MergeRequest, *, whole: bool = False) -> dict[str, Any]:
        merged, closed = mr.state == "merged", mr.state == "closed"
        user = self._user(mr.ended_by) if mr.ended_by else None
        at = _stamp(mr.ended_at) if mr.ended_at else None
        document = {
            "id": 9000 + mr.iid,
            "iid": mr.iid,
            "project_id": PROJECT,
            "title": mr.title,
            "description": mr.description,
            "state": mr.state,
            "created_at": _stamp(mr.created),
            "updated_at": _stamp(mr.updated),
            "merged_by": user if merged else None,
            "merge_user": user if merged else None,
            "merged_at": at if merged else None,
            "closed_by": user if closed else None,
            "closed_at": at if closed else None,
            "target_branch": mr.target,
            "source_branch": mr.source,
            "user_notes_count": sum(not system for _, _, system in mr.notes),
            "author": self._user(mr.author),
            "source_project_id": mr.source_project,
            "target_project_id": PROJECT,
            "draft": self._status_of(mr) == "draft_status",
            "merge_when_pipeline_succeeds": mr.armed,
            "detailed_merge_status": self._status_of(mr),
            "sha": mr.sha,
            "merge_commit_sha": mr.merge_commit,
            "squash_commit_sha": mr.squash_commit,
            "web_url": f"{self.url}/{self.project}/-/merge_requests/{mr.iid}",
        }
        return document | ({"merge_error": None, "head_pipeline": None} if whole else {})

    def _user(self, login: str) -> dict[str, Any]:
        return {
            "id": 100 + crc32(login.encode()),
            "username": login,
            "name": login.title(),
            "state": "active",
            "avatar_url": None,
            "web_url": f"{self.url}/{login}",
        }


def _replaces(later: dict[str, Any], status: dict[str, Any]) -> bool:
    return later["id"] > status["id"] and (later["ref"], later["name"]) == (status["ref"], status["name"])


def _without_commands(text: str) -> str:
    """Take out what GitLab would carry out as a quick action."""
    return re.sub(r"^/(close|merge|approve|label|assign|draft)\b.*\n?", "", text, flags=re.MULTILINE)


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
