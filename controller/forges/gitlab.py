"""
Merge requests of GitLab, on gitlab.com or an instance of one's own, by its REST API v4.

Commits travel by the git protocol (`controller.forges.git`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from controller.errors import ConfigError, TransientError
from controller.forges import clip
from controller.forges.account import Account
from controller.forges.answers import Answer, RefusedError, UnansweredError
from controller.forges.cache import Cache
from controller.forges.ci import combined
from controller.forges.client import Client
from controller.forges.listing import CONTEXT, Details, Listing, instant, open_of
from controller.forges.patience import Patience
from controller.ports import CheckState, Ci, CiState, Merge, PrState, PullRequest, Rules

_DESCRIPTION = 255  # characters of a status, https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
_PER_PAGE = "100"

# "locked" is a merge under way: https://docs.gitlab.com/api/merge_requests/#list-merge-requests
_STATES = {
    "opened": PrState.OPEN,
    "locked": PrState.OPEN,
    "merged": PrState.MERGED,
    "closed": PrState.CLOSED,
}
_TO_STATUS = {CheckState.SUCCESS: "success", CheckState.PENDING: "pending", CheckState.FAILURE: "failed"}
_FROM_STATUS = {"success": CheckState.SUCCESS, "failed": CheckState.FAILURE, "canceled": CheckState.FAILURE}
_JOBS = dict.fromkeys(("success", "skipped", "manual"), CiState.GREEN) | dict.fromkeys(
    ("failed", "canceled"), CiState.RED
)

# What `detailed_merge_status` says of a merge request that a setting, and not the time, keeps from being merged.
# https://docs.gitlab.com/api/merge_requests/#merge-status
_FORBIDDEN = (
    *("jira_association_missing", "title_regex", "locked_paths", "locked_lfs_files"),
    *("security_policy_violations", "policies_denied"),
)
# What GitLab can wait for by itself.
_WAITS_FOR = (
    *("ci_still_running", "ci_must_pass", "not_approved", "approvals_syncing", "discussions_not_resolved"),
    *("requested_changes", "status_checks_must_pass", "external_status_checks", "merge_time"),
)
# What only a person or another pass can change.
_NOT_NOW = ("draft_status", "conflict", "need_rebase", "broken_status", "not_open", "merge_request_blocked")
# What bringing the branch up to date gets over: that puts our change into the tree of the base.
_BEHIND = ("need_rebase", "conflict")

_FIELDS = (
    *("iid", "title", "description", "state", "created_at", "source_branch", "target_branch", "sha", "author"),
    *("source_project_id", "target_project_id", "merged_by", "merge_user", "merged_at", "closed_by", "closed_at"),
    *("merge_commit_sha", "squash_commit_sha", "web_url", "draft", "merge_when_pipeline_succeeds"),
    *("detailed_merge_status", "user_notes_count", "updated_at"),
)


class GitLab:
    """
    Implements `controller.ports.Forge` on *project* (`group/name`) of the instance at *url*, for branch *base*.

    *token* gives a project or group access token with scope `api`, each time anew. A CI job token is refused: GitLab
    does not let it open merge requests (https://gitlab.com/gitlab-org/gitlab/-/issues/545150).
    """

    def __init__(
        self,
        project: str,
        *,
        token: Callable[[], str],
        url: str = "https://gitlab.com",
        base: str = "main",
        cache: Cache | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._base = base
        self._here = f"projects/{quote(project, safe='')}"
        self._client = Client(
            f"{url.rstrip('/')}/api/v4",
            forge="GitLab",
            headers=lambda: {"private-token": _checked(token())},
            permission=_permission,
            cache=cache,
            patience=patience,
        )
        self._account = Account(self._client, token)
        self._listing = Listing(
            self._pages,
            what=f"{self._client.base}/{self._here}: merge requests into {base}",
            number=lambda item: int(item["iid"]),
            branch=lambda item: str(item["source_branch"]),
            trimmed=_trimmed,
            cache=self._client.cache,
        )
        self._details = Details(self._client.cache, f"{self._here} on {url}", clock=self._client.patience.clock)
        self._seen: dict[str, PullRequest] = {}  # by head

    # ------------------------------------------------------------ reading

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        """
        List them; a pass without news costs one conditional request.

        A merge request from a fork, or into another branch, is none of ours.
        """
        return [self._whole(item) for item in self._listing.read(prefix) if self._is_ours(item)]

    def _pages(self) -> Iterator[Answer]:
        order = {"order_by": "updated_at", "sort": "desc", "per_page": _PER_PAGE}
        query = {"state": "all", "target_branch": self._base, **order}
        return self._client.pages(f"{self._here}/merge_requests", query, cached=True)

    def _is_ours(self, item: Mapping[str, Any]) -> bool:
        same = item["source_project_id"] == item["target_project_id"]
        return same and bool(item["target_branch"] == self._base)

    def _whole(self, item: dict[str, Any]) -> PullRequest:
        """The pull request of *item*, and, while it is open, what GitLab keeps elsewhere."""
        try:
            if _STATES[item["state"]] is not PrState.OPEN:
                return self._pull_request(item)
            number = int(item["iid"])
            if number not in self._listing.fresh:
                item = _trimmed(self._client.get(f"{self._here}/merge_requests/{number}", cached=True).body)
            pull = self._known(item)
            found = self._details.of(number, item, lambda: self._read_details(pull, item))
            check = found["check"]
            return replace(
                pull,
                check=(CheckState(check[0]), check[1]) if check else None,
                comments=tuple(found["comments"]),
                queued=item["state"] == "locked" or (pull.armed and self._is_on_train(number)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TransientError(f"GitLab: merge request !{item.get('iid')} makes no sense: {error!r}") from error

    def _pull_request(self, item: Mapping[str, Any]) -> PullRequest:
        return replace(_pull_request(item), by_us=item["author"]["id"] == self._account.id())

    def _known(self, item: Mapping[str, Any]) -> PullRequest:
        pull = self._pull_request(item)
        if not pull.head:  # just opened, and not yet prepared
            branch = self._client.get(f"{self._here}/repository/branches/{quote(pull.branch, safe='')}").body
            pull = replace(pull, head=branch["commit"]["id"])
        self._seen[pull.head] = pull
        return pull

    def _read_details(self, pull: PullRequest, item: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "check": self._check(pull.head),
            "comments": self._comments(pull.number) if item["user_notes_count"] else [],
        }

    def _check(self, head: str) -> list[str] | None:
        query = {"name": CONTEXT, "per_page": _PER_PAGE}
        pages = self._client.pages(f"{self._here}/repository/commits/{head}/statuses", query, cached=True)
        found = [status for page in pages for status in page.body if status["name"] == CONTEXT]
        if not found:
            return None
        latest = max(found, key=lambda status: int(status["id"]))
        return [_FROM_STATUS.get(latest["status"], CheckState.PENDING).value, latest["description"] or ""]

    def _comments(self, number: int) -> list[str]:
        query = {"sort": "asc", "order_by": "created_at", "per_page": _PER_PAGE}
        pages = self._client.pages(f"{self._here}/merge_requests/{number}/notes", query, cached=True)
        return [note["body"] for page in pages for note in page.body if not note["system"]]

    def _is_on_train(self, number: int) -> bool:
        try:
            car = self._client.get(f"{self._here}/merge_trains/merge_requests/{number}").body
        except RefusedError as refused:
            if refused.status in (403, 404):  # not on one, or an edition without trains
                return False
            raise
        return car["status"] not in ("merged", "skip_merged")

    # ------------------------------------------------------------ writing

    def open(self, *, branch: str, title: str, body: str) -> PullRequest:
        if (found := self._open_of(branch)) is not None:
            return found
        wanted = {
            "source_branch": branch,
            "target_branch": self._base,
            "title": title,
            "description": _inert(body),
            "remove_source_branch": True,
        }
        try:
            return self._known(self._client.request("POST", f"{self._here}/merge_requests", body=wanted).body)
        except RefusedError as refused:
            if refused.status in (400, 422) and not self._has(branch):
                raise TransientError(f"{refused}; branch {branch} is not there, the next run pushes it") from None
            if refused.status != 409:
                raise
            trouble: TransientError = TransientError(f"{refused}, yet none is listed; the next run looks again")
        except UnansweredError as unanswered:
            trouble = unanswered
        if (found := self._open_of(branch)) is None:
            raise trouble
        return found

    def _open_of(self, branch: str) -> PullRequest | None:
        return open_of(branch, self.pull_requests(branch))

    def _has(self, branch: str) -> bool:
        try:
            self._client.get(f"{self._here}/repository/branches/{quote(branch, safe='')}")
        except RefusedError as refused:
            if refused.status == 404:
                return False
            raise
        return True

    def edit(self, number: int, *, body: str) -> None:
        self._client.request("PUT", f"{self._here}/merge_requests/{number}", body={"description": _inert(body)})

    def close(self, number: int) -> None:
        """Close an open merge request; one that has ended stays as it is."""
        self._client.request("PUT", f"{self._here}/merge_requests/{number}", body={"state_event": "close"})

    def comment(self, number: int, text: str) -> None:
        text = _inert(text)
        try:
            self._client.request("POST", f"{self._here}/merge_requests/{number}/notes", body={"body": text})
        except UnansweredError:
            if text not in self._comments(number):
                raise

    def check(self, head: str, state: CheckState, description: str) -> None:
        """
        Report the status as an external job of the branch's pipeline.

        To say "pending" of what is pending already is refused by GitLab, and taken as done:
        https://gitlab.com/gitlab-org/gitlab-foss/-/issues/25807
        """
        description = clip.line(description, _DESCRIPTION)
        wanted = {"state": _TO_STATUS[state], "name": CONTEXT, "description": description}
        pull = self._seen.get(head)
        if pull is not None:
            wanted["ref"] = pull.branch  # without it GitLab takes the first branch that has the commit
            self._details.forget(pull.number)
        try:
            self._client.request("POST", f"{self._here}/statuses/{head}", body=wanted)
        except RefusedError as refused:
            if refused.status == 409:  # "Another update to this commit status is in progress"
                raise TransientError(f"{refused}; the next run reports it") from None
            if refused.status != 400 or "Cannot transition" not in refused.said or not self._is_said(head, state):
                raise
        except UnansweredError:
            if not self._is_said(head, state):
                raise

    def _is_said(self, head: str, state: CheckState) -> bool:
        said = self._check(head)
        return said is not None and said[0] == state.value

    def ci(self, oid: str, *, without: Collection[str] = ()) -> Ci:
        """What the jobs of its pipelines say; of a name the latest counts, and one that may fail does not."""
        pages = self._client.pages(f"{self._here}/repository/commits/{oid}/statuses", {"per_page": _PER_PAGE})
        found = sorted((one for page in pages for one in page.body), key=lambda one: int(one["id"]))
        latest = {one["name"]: one for one in found}
        must = [(name, one["status"]) for name, one in latest.items() if not one.get("allow_failure")]
        return combined(((name, _JOBS.get(said, CiState.RUNNING)) for name, said in must), without)

    def rules(self) -> Rules:
        """GitLab knows no required status by name: either the whole pipeline, ours in it, must pass, or nothing."""
        branch = self._client.get(f"{self._here}/repository/branches/{quote(self._base, safe='')}").body
        asks = self._client.get(self._here).body.get("only_allow_merge_if_pipeline_succeeds")
        return Rules(branch.get("protected"), None if asks is None else (CONTEXT,) if asks else ())

    def merge(self, pr: PullRequest) -> Merge:
        """
        Merge *pr* at its head, put it on the merge train, or let GitLab merge it once pipeline and approvals allow.

        GitLab gives 405, 406 and 422 for what is not yet, not so and never possible, without a reason
        (https://gitlab.com/gitlab-org/gitlab/-/issues/28779), so that `detailed_merge_status` decides what they mean.
        """
        item = self._client.get(f"{self._here}/merge_requests/{pr.number}").body
        if item["state"] != "opened" or item["sha"] != pr.head:
            return _merge_of(item, pr)
        status = item["detailed_merge_status"]
        if status in _FORBIDDEN:
            raise ConfigError(f"GitLab: merge request !{pr.number} may not be merged: {status}; see its page")
        if item["merge_when_pipeline_succeeds"] or status in _NOT_NOW:
            return _merge_of(item, pr)
        wanted: dict[str, object] = {"sha": pr.head, "should_remove_source_branch": True}
        wanted |= {"auto_merge": True} if status in _WAITS_FOR else {}
        method, path = "PUT", f"{self._here}/merge_requests/{pr.number}/merge"
        if self._client.get(self._here).body.get("merge_trains_enabled"):
            wanted = {"sha": pr.head, "auto_merge": True}
            method, path = "POST", f"{self._here}/merge_trains/merge_requests/{pr.number}"
        try:
            self._client.request(method, path, body=wanted, safe=False)
        except RefusedError as refused:
            if refused.status in (401, 403):  # 401 is what GitLab says of the role, too
                raise ConfigError(f"{refused}, or its role may not merge: {_permission(method, path)}") from None
            if refused.status not in (400, 405, 406, 409, 422):
                raise
        except UnansweredError:
            pass  # what has become of it is read below
        return _merge_of(self._client.get(f"{self._here}/merge_requests/{pr.number}").body, pr)


def _merge_of(item: Mapping[str, Any], pr: PullRequest) -> Merge:
    """What *item* says of a merge at the head of *pr*."""
    if item["sha"] != pr.head:
        return Merge.NOT_YET
    if item["state"] == "merged":
        return Merge.MERGED
    return Merge.ARMED if item["state"] == "opened" and item["merge_when_pipeline_succeeds"] else Merge.NOT_YET


def _checked(token: str) -> str:
    if token.startswith("glcbt-"):
        raise ConfigError(
            "GitLab: this is a CI job token (CI_JOB_TOKEN), and those cannot open merge requests; "
            "make a project access token with the scope api and the Developer role"
        )
    return token


def _pull_request(item: Mapping[str, Any]) -> PullRequest:
    state = _STATES[item["state"]]
    merged = state is PrState.MERGED
    by = (item.get("merge_user") or item["merged_by"]) if merged else item["closed_by"]
    at = item["merged_at"] if merged else item["closed_at"]
    return PullRequest(
        number=item["iid"],
        title=item["title"],
        body=item["description"] or "",
        branch=item["source_branch"],
        head=item["sha"] or "",
        base=item["target_branch"],
        author=item["author"]["username"],
        state=state,
        created=instant(item["created_at"]),
        closed_by=by["username"] if by and state is not PrState.OPEN else None,
        closed_at=instant(at) if at and state is not PrState.OPEN else None,
        # Where a merge is a fast-forward there is no commit of its own.
        merged_as=(item["merge_commit_sha"] or item["squash_commit_sha"] or item["sha"]) if merged else None,
        url=item["web_url"],
        draft=item["draft"],
        armed=bool(item["merge_when_pipeline_succeeds"]) and state is PrState.OPEN,
        behind=item["detailed_merge_status"] in _BEHIND,
    )


def _trimmed(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: item.get(name) for name in _FIELDS}
    for name in ("author", "merged_by", "merge_user", "closed_by"):
        kept[name] = {"id": user["id"], "username": user["username"]} if (user := item.get(name)) else None
    return kept


def _inert(text: str) -> str:
    """
    *text* with no line that GitLab would carry out, as it does `/merge`, shown the same.

    https://docs.gitlab.com/user/project/quick_actions/
    """
    return re.sub(r"^(\s*)/", r"\1\\/", text, flags=re.MULTILINE)


def _permission(method: str, path: str) -> str:
    if path.endswith("/merge") or "/merge_trains/" in path:
        return "a role that `Allowed to merge` of the protected branch names"
    role = "Reporter" if method == "GET" else "Developer"
    return f"a project or group access token with the scope api and the role {role}"
