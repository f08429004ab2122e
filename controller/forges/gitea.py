"""
Pull requests of Gitea and Forgejo, by the API v1 that both have.

Commits travel by the git protocol (`controller.forges.git`). What this API does and does not say is read from its
source: https://github.com/go-gitea/gitea/blob/main/routers/api/v1/repo/pull.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from controller.errors import TransientError
from controller.forges import clip
from controller.forges.account import Account
from controller.forges.answers import Answer, RefusedError, UnansweredError
from controller.forges.cache import Cache
from controller.forges.ci import combined
from controller.forges.client import Client
from controller.forges.listing import CONTEXT, Details, Listing, instant, open_of
from controller.forges.patience import Patience
from controller.ports import CheckState, Ci, CiState, Merge, PrState, PullRequest, Rules

_DESCRIPTION = 255  # characters of a status that its list shows
_SETTLED_S = 60.0  # Gitea tells the second of a change; clocks may differ by the rest
_PAGE = 50  # items; Gitea's own limit, which an administrator may set lower
_CAREFUL = 10  # lower than which nobody sets it

_FROM_STATUS = {"success": CheckState.SUCCESS, "failure": CheckState.FAILURE, "error": CheckState.FAILURE}
_JOBS = dict.fromkeys(("success", "skipped", "warning"), CiState.GREEN) | {"pending": CiState.RUNNING}

# Refusals of a merge that no waiting lifts. Gitea answers 405 to everything that is not possible now, and says what it
# is in words; a conflict is "Please try again later" too (https://github.com/go-gitea/gitea/issues/32111).
_FORBIDDEN = re.compile(
    r"user not allowed|allowed merge style|protected files|\bsign|not all verified|pushrejected", re.IGNORECASE
)

_FIELDS = (
    *("number", "title", "body", "state", "draft", "merged", "merged_at", "merge_commit_sha", "closed_at"),
    *("created_at", "updated_at", "html_url", "merge_base", "review_comments"),
)


class Gitea:
    """
    Implements `controller.ports.Forge` on *owner*/*name* of the instance at *url*, for branch *base*.

    *token* gives an access token with the scopes `write:repository`, `write:issue` and `read:user`, each time anew.
    """

    def __init__(
        self,
        owner: str,
        name: str,
        *,
        token: Callable[[], str],
        url: str,
        base: str = "main",
        cache: Cache | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._base = base
        self._here = f"repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        self._client = Client(
            f"{url.rstrip('/')}/api/v1",
            forge="Gitea",
            headers=lambda: {"authorization": f"token {token()}"},
            permission=_permission,
            cache=cache,
            patience=patience,
        )
        self._account = Account(self._client, token)
        self._listing = Listing(
            self._pages,
            what=f"{self._client.base}/{self._here}: pull requests into {base}",
            number=lambda item: int(item["number"]),
            branch=lambda item: str(item["head"]["label"]),
            trimmed=_trimmed,
            cache=self._client.cache,
        )
        self._details = Details(
            self._client.cache, f"{self._here} on {url}", clock=self._client.patience.clock, settled_s=_SETTLED_S
        )
        self._seen: dict[str, int] = {}  # numbers by head
        self._page_size = 0

    # ------------------------------------------------------------ reading

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        """
        List them; Gitea has no filter by branch, and sends no ETag with which to ask only for news.

        So a pass without news costs the first page of the list. Who closed one is asked once. A pull request from a
        fork, or into another branch, is none of ours.
        """
        return [self._whole(item) for item in self._listing.read(prefix) if self._is_ours(item)]

    def _pages(self) -> Iterator[Answer]:
        query = {"state": "all", "sort": "recentupdate", "base_branch": self._base, "limit": str(_PAGE)}
        return self._client.pages(f"{self._here}/pulls", query)

    def _is_ours(self, item: Mapping[str, Any]) -> bool:
        return bool(item["head_repository"] == item["base_repository"] and item["base"] == self._base)

    def _whole(self, item: dict[str, Any]) -> PullRequest:
        """The pull request of *item*, with what Gitea keeps elsewhere."""
        try:
            pull = self._pull_request(item)
            if pull.state is PrState.CLOSED:
                return replace(pull, closed_by=self._closed_by(item))
            if pull.state is PrState.MERGED:
                return pull
            if pull.number not in self._listing.fresh:
                item = _trimmed(self._client.get(f"{self._here}/pulls/{pull.number}").body)
            self._seen[item["head"]] = pull.number
            found = self._details.of(pull.number, item, lambda: self._read_details(item))
            check = found["check"]
            return replace(
                self._pull_request(item),
                check=(CheckState(check[0]), check[1]) if check else None,
                comments=tuple(found["comments"]),
                armed=found["armed"],
                behind=found["behind"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TransientError(f"Gitea: pull request #{item.get('number')} makes no sense: {error!r}") from error

    def _pull_request(self, item: Mapping[str, Any]) -> PullRequest:
        return replace(_pull_request(item), by_us=item["author_id"] == self._account.id())

    def _read_details(self, item: Mapping[str, Any]) -> dict[str, Any]:
        events = self._timeline(item)
        kinds = ("pull_scheduled_merge", "pull_cancel_scheduled_merge")
        automatic = [event["type"] for event in events if event["type"] in kinds]
        return {
            "check": self._check(item["head"]),
            "comments": [event["body"] for event in events if event["type"] == "comment"],
            "armed": automatic[-1:] == ["pull_scheduled_merge"],
            "behind": (item["merge_base"] != item["base_head"] and self._asks_up_to_date()) or None,
        }

    def _asks_up_to_date(self) -> bool:
        """
        Whether the base branch's rule asks for branches that are up to date.

        A conflict is not told reliably, and so not at all: `mergeable` is false too while it is computed, and may stay
        so (https://github.com/go-gitea/gitea/issues/25849).

        Only an administrator's token may read the rules; for others it counts as no.
        """
        try:
            rules = self._client.get(f"{self._here}/branch_protections").body
        except RefusedError:
            return False
        return any(rule["rule_name"] == self._base and rule["block_on_outdated_branch"] for rule in rules)

    def _timeline(self, item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """
        The events of a pull request, except comments on lines of code.

        Gitea takes those out of a page after it has cut it, counts what is left as the total, and links no next page;
        so the end is where there is less than full pages even with all such comments put back.
        """
        size = self._size()
        events: list[Mapping[str, Any]] = []
        page = 0
        while len(events) + item["review_comments"] >= page * size:
            page += 1
            query = {"limit": str(size), "page": str(page)}
            events += self._client.get(f"{self._here}/issues/{item['number']}/timeline", query).body or []
        return events

    def _size(self) -> int:
        """How many items to ask for, so that a page with fewer is the last one."""
        if not self._page_size:
            try:
                most = self._client.get("settings/api").body["max_response_items"]
            except RefusedError:  # some servers tell it only to tokens with a scope of their own for it
                most = _CAREFUL
            self._page_size = min(_PAGE, most)
        return self._page_size

    def _check(self, head: str) -> list[str] | None:
        query = {"sort": "recentupdate", "limit": str(_PAGE)}
        for page in self._client.pages(f"{self._here}/statuses/{head}", query):
            found = [status for status in page.body if status["context"] == CONTEXT]
            if found:
                latest = max(found, key=lambda status: int(status["id"]))  # within a second the order is any
                return [_FROM_STATUS.get(latest["status"], CheckState.PENDING).value, latest["description"]]
        return None

    def _closed_by(self, item: Mapping[str, Any]) -> str | None:
        """Who closed it, which only the timeline tells, and which never changes for one close."""
        key = f"{self._client.base}/{self._here} {item['number']} closed {item['closed_at']}"
        known = self._client.cache.get(key)
        if known is None:
            query = {"since": item["closed_at"], "limit": str(_PAGE)}
            try:
                events = self._client.get(f"{self._here}/issues/{item['number']}/timeline", query).body or []
            except RefusedError:  # who closed it is not worth all stacks' pass
                return None
            closers = [event["user"]["login"] for event in events if event["type"] == "close" and event["user"]]
            known = {"login": closers[-1] if closers else None}
            self._client.cache.put(key, known)
        login: str | None = known["login"]
        return login

    # ------------------------------------------------------------ writing

    def open(self, *, branch: str, title: str, body: str) -> PullRequest:
        if (found := self._open_of(branch)) is not None:
            return found
        wanted = {"head": branch, "base": self._base, "title": title, "body": body}
        try:
            item = _trimmed(self._client.request("POST", f"{self._here}/pulls", body=wanted).body)
        except RefusedError as refused:
            if refused.status == 404 and not self._has(branch):
                raise TransientError(f"{refused}; branch {branch} is not there, the next run pushes it") from None
            if refused.status == 422 and "no changes" in refused.said:
                raise TransientError(f"{refused}; the next run decides anew") from None
            if refused.status != 409:
                raise
            trouble: TransientError = TransientError(f"{refused}, yet none is listed; the next run looks again")
        except UnansweredError as unanswered:
            trouble = unanswered
        else:
            self._seen[item["head"]] = item["number"]
            return self._pull_request(item)
        if (found := self._open_of(branch)) is None:
            raise trouble
        return found

    def _open_of(self, branch: str) -> PullRequest | None:
        return open_of(branch, self.pull_requests(branch))

    def _has(self, branch: str) -> bool:
        try:
            self._client.get(f"{self._here}/branches/{quote(branch)}")
        except RefusedError as refused:
            if refused.status == 404:
                return False
            raise
        return True

    def edit(self, number: int, *, body: str) -> None:
        """Change the body alone: the title may hold a person's `WIP:`, which makes it a draft."""
        self._client.request("PATCH", f"{self._here}/pulls/{number}", body={"body": body})

    def close(self, number: int) -> None:
        """Close an open pull request; one that has ended stays as it is."""
        try:
            self._client.request("PATCH", f"{self._here}/pulls/{number}", body={"state": "closed"})
        except RefusedError as refused:
            if refused.status != 412:  # merged meanwhile
                raise

    def comment(self, number: int, text: str) -> None:
        try:
            self._client.request("POST", f"{self._here}/issues/{number}/comments", body={"body": text})
        except UnansweredError:
            item = _trimmed(self._client.get(f"{self._here}/pulls/{number}").body)
            if text not in [event["body"] for event in self._timeline(item)]:
                raise

    def check(self, head: str, state: CheckState, description: str) -> None:
        """Report the status; to report one twice does no harm, so that a lost answer is followed by another try."""
        if (number := self._seen.get(head)) is not None:
            self._details.forget(number)
        wanted = {"state": state.value, "context": CONTEXT, "description": clip.line(description, _DESCRIPTION)}
        self._client.request("POST", f"{self._here}/statuses/{head}", body=wanted, safe=True)

    def ci(self, oid: str, *, without: Collection[str] = ()) -> Ci:
        """What the statuses say; of a context the latest counts."""
        query = {"sort": "recentupdate", "limit": str(_PAGE)}
        pages = self._client.pages(f"{self._here}/statuses/{oid}", query)
        found = sorted((one for page in pages for one in page.body), key=lambda one: int(one["id"]))
        latest = {one["context"]: one["status"] for one in found}
        return combined(((name, _JOBS.get(said, CiState.RED)) for name, said in latest.items()), without)

    def rules(self) -> Rules:
        """What the base branch tells anyone of its protection; a required status may be a pattern."""
        found = self._client.get(f"{self._here}/branches/{quote(self._base, safe='')}").body
        required = tuple(found.get("status_check_contexts") or ()) if found.get("enable_status_check") else ()
        return Rules(bool(found["protected"]), required)

    def merge(self, pr: PullRequest) -> Merge:
        """
        Merge *pr* now at its head, in the repository's default style, where its status is a success.

        Gitea is never told to merge later: it would take whatever head there is by then. Nor is its `mergeable` asked,
        which can stick at false (https://github.com/go-gitea/gitea/issues/25849). A head without a status is pending.
        """
        check = self._check(pr.head)
        if not self._is_open_at(pr) or check is None or check[0] != CheckState.SUCCESS.value:
            return self._merged_at(pr)
        style = self._client.get(self._here).body.get("default_merge_style") or "merge"
        wanted = {"do": style, "head_commit_id": pr.head, "delete_branch_after_merge": True}
        try:
            self._client.request("POST", f"{self._here}/pulls/{pr.number}/merge", body=wanted)
        except RefusedError as refused:
            if refused.status not in (404, 405, 409) or _FORBIDDEN.search(refused.said):
                raise
        except UnansweredError:
            pass  # what has become of it is read below
        return self._merged_at(pr)

    def _is_open_at(self, pr: PullRequest) -> bool:
        item = self._client.get(f"{self._here}/pulls/{pr.number}").body
        return bool(item["state"] == "open" and item["head"]["sha"] == pr.head)

    def _merged_at(self, pr: PullRequest) -> Merge:
        item = self._client.get(f"{self._here}/pulls/{pr.number}").body
        return Merge.MERGED if item["merged"] and item["head"]["sha"] == pr.head else Merge.NOT_YET


def _pull_request(item: Mapping[str, Any]) -> PullRequest:
    ended = item["merged_at"] if item["merged"] else item["closed_at"]
    state = PrState.MERGED if item["merged"] else PrState(item["state"])
    return PullRequest(
        number=item["number"],
        title=item["title"],
        body=item["body"],
        branch=item["branch"],
        head=item["head"],
        base=item["base"],
        author=item["author"],
        state=state,
        created=instant(item["created_at"]),
        closed_by=item["merged_by"] if item["merged"] else None,
        closed_at=instant(ended) if ended and state is not PrState.OPEN else None,
        merged_as=item["merge_commit_sha"] if item["merged"] else None,
        url=item["html_url"],
        draft=item["draft"],
        behind=None,
    )


def _trimmed(item: Mapping[str, Any]) -> dict[str, Any]:
    """What is used of a pull request. Once its branch is gone, `label` alone still names it."""
    user, merger, head, base = item["user"], item.get("merged_by"), item["head"], item["base"]
    return {
        **{name: item.get(name) for name in _FIELDS},
        "review_comments": item.get("review_comments") or 0,
        "draft": bool(item.get("draft")),
        "author": user["login"] if user else "",
        "author_id": user["id"] if user else None,
        "merged_by": merger["login"] if merger else None,
        "branch": head["label"],
        "head": head["sha"],
        "head_repository": head["repo_id"],
        "base": base["ref"],
        "base_head": base["sha"],
        "base_repository": base["repo_id"],
    }


def _permission(method: str, path: str) -> str:
    if path.endswith("/merge"):
        return "a user whom the branch protection lets merge"
    if path == "user":
        return "a token with the scope read:user"
    scope = "issue" if "/issues/" in path else "repository"
    return f"a token with the scope {'read' if method == 'GET' else 'write'}:{scope}, of a user with that right here"
