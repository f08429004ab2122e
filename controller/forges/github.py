"""
GitHub, GitHub Enterprise Server and GitHub Enterprise Cloud with data residency.

Commits travel by git; the API is used for pull requests, comments and statuses only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from controller.errors import ConfigError, TransientError
from controller.forges import clip
from controller.forges import github_graphql as graphql
from controller.forges.answers import RefusedError, UnansweredError
from controller.forges.cache import Cache
from controller.forges.ci import combined
from controller.forges.client import Client
from controller.forges.github_pulls import Pulls
from controller.forges.listing import CONTEXT, open_of
from controller.forges.patience import Patience
from controller.ports import CheckState, Ci, CiState, Merge, PrState, PullRequest, Rules

# https://docs.github.com/en/actions/how-tos/write-workflows/choose-when-workflows-run/trigger-a-workflow
WORKFLOW_ADVICE = (
    "the token is a workflow's GITHUB_TOKEN: no workflow runs by itself for a pull request that it opens, so there is "
    "no preview; use a GitHub App or a fine-grained token, see docs/forges.md"
)
API_VERSION = "2022-11-28"  # the newest that every supported GitHub Enterprise Server knows
_BODY = 65_536  # characters of a body or comment, above which GitHub answers 422
_DESCRIPTION = 140  # characters of a status
_TITLE = 256

# 405 is both "not now" and "never": kargo and others retried the second for ever.
_FORBIDDEN = re.compile(r"merge method|merges? (is|are) not allowed|not allowed on this repository", re.IGNORECASE)
_ARMING_NEEDS_NOTHING = re.compile(r"(clean|unstable|has_hooks) status", re.IGNORECASE)
_JOBS = dict.fromkeys(("success", "neutral", "skipped"), CiState.GREEN) | {"pending": CiState.RUNNING}
_READY = ("CLEAN", "UNSTABLE", "HAS_HOOKS")
_WAITING = ("BLOCKED", "BEHIND")


class GitHub:
    """
    Implements `controller.ports.Forge` on repository *owner*/*name* at the API *base*, such as
    `https://api.github.com` or `https://HOST/api/v3`.

    *token* is asked for the token before every request. *branch* is the base branch.
    """

    def __init__(
        self,
        base: str,
        owner: str,
        name: str,
        *,
        token: Callable[[], str],
        branch: str = "main",
        cache: Cache | None = None,
        patience: Patience | None = None,
    ) -> None:
        root, version = _split(base)
        self._owner = owner
        self._name = name
        self._branch = branch
        self._repository = f"{version}repos/{owner}/{name}"
        self._graph = "graphql"
        self._client = Client(
            root,
            forge="GitHub",
            headers=lambda: headers(token()),
            permission=_permission,
            cache=cache,
            patience=patience,
        )
        self._pulls = Pulls(self._client, f"{self._repository}/pulls", graph=self._graph, base=branch, context=CONTEXT)

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        """
        List those from branches of this very repository onto the base branch.

        Nothing changed costs one conditional request. Of what has ended, comments and status are not read.
        """
        return self._pulls.list(prefix)

    def open(self, *, branch: str, title: str, body: str) -> PullRequest:
        found = self._find(branch)
        if found is not None:
            return found
        asked = {
            "title": clip.line(title, _TITLE),
            "head": f"{self._owner}:{branch}",
            "base": self._branch,
            "body": clip.body(body, _BODY),
            "maintainer_can_modify": False,
        }
        try:
            answer = self._client.request("POST", f"{self._repository}/pulls", body=asked)
        except UnansweredError:
            found = self._find(branch)
            if found is None:
                raise
            return found
        except RefusedError as refused:
            return self._adopt(branch, refused)
        return self._pulls.take(answer.body, opened=True)

    def edit(self, number: int, *, body: str) -> None:
        self._change(number, {"body": clip.body(body, _BODY)})

    def close(self, number: int) -> None:
        """Close an open pull request; one that has ended stays as it is."""
        try:
            self._change(number, {"state": "closed"})
        except RefusedError as refused:
            if refused.status != 422 or self._read(number).state is PrState.OPEN:
                raise

    def comment(self, number: int, text: str) -> None:
        text = clip.body(text, _BODY)
        try:
            self._client.request("POST", f"{self._repository}/issues/{number}/comments", body={"body": text})
        except UnansweredError:
            if text not in self._pulls.again(number).comments:
                raise

    def check(self, head: str, state: CheckState, description: str) -> None:
        """Report the status; a lost answer is made up for by reporting again, since only the last one counts."""
        description = clip.line(description, _DESCRIPTION)
        asked = {"state": state.value, "context": CONTEXT, "description": description}
        path = f"{self._repository}/statuses/{head}"
        try:
            try:
                self._client.request("POST", path, body=asked)
            except UnansweredError:
                self._client.request("POST", path, body=asked)
        except UnansweredError:
            self._pulls.forget()
            raise
        except RefusedError as refused:
            if refused.status == 422 and "No commit found" in refused.said:
                raise TransientError(f"{refused}; it was just pushed, the next run tries again") from None
            raise
        self._pulls.note(head, state, description)

    def ci(self, oid: str, *, without: Collection[str] = ()) -> Ci:
        """What statuses and check runs say, of each context and name the latest."""
        here = f"{self._repository}/commits/{oid}"
        found = [(one["context"], one["state"]) for one in self._all(f"{here}/status", "statuses")]
        for run in self._all(f"{here}/check-runs", "check_runs"):
            found.append((run["name"], run["conclusion"] if run["status"] == "completed" else "pending"))
        return combined(((name, _JOBS.get(said, CiState.RED)) for name, said in found), without)

    def _all(self, path: str, key: str) -> Iterator[Any]:
        """The items under *key* of every page: these lists come wrapped in an object."""
        query: Mapping[str, str] | None = {"per_page": "100"}
        while query is not None:
            answer = self._client.get(path, query)
            yield from answer.body[key]
            query = answer.following

    def rules(self) -> Rules:
        """What a classic protection and rulesets ask for: anyone who may read the repository may read both."""
        branch = quote(self._branch, safe="")
        found = self._client.get(f"{self._repository}/branches/{branch}").body
        classic = (found.get("protection") or {}).get("required_status_checks") or {}
        required = set(classic.get("contexts") or ())
        rules = [
            rule for page in self._client.pages(f"{self._repository}/rules/branches/{branch}") for rule in page.body
        ]
        for rule in rules:
            if rule["type"] == "required_status_checks":
                required |= {one["context"] for one in rule["parameters"]["required_status_checks"]}
        return Rules(bool(found["protected"] or rules), tuple(sorted(required)))

    # ------------------------------------------------------------ merging

    def merge(self, pr: PullRequest) -> Merge:
        """
        Merge, or arm auto-merge or the merge queue, at exactly `pr.head`.

        What the rules of the base branch block is only armed: a plain merge by someone who may bypass them would do so
        without asking. Armed it stays when someone with write access pushes then:
        https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/incorporating-changes-from-a-pull-request/automatically-merging-a-pull-request
        """
        seen, methods = self._mergeability(pr.number)
        if seen["headRefOid"] != pr.head or (seen["state"] == "OPEN" and seen["isDraft"]):
            return Merge.NOT_YET
        if seen["state"] != "OPEN":
            return _merge_of(seen)
        if seen["isInMergeQueue"] or seen["autoMergeRequest"] is not None:
            return Merge.ARMED
        state = seen["mergeStateStatus"]
        if seen["isMergeQueueEnabled"] or state in _WAITING:
            return self._arm(pr, seen, methods[0])
        return self._merge_now(pr, seen, methods[0]) if state in _READY else Merge.NOT_YET

    def _mergeability(self, number: int) -> tuple[Any, Sequence[str]]:
        variables = {"owner": self._owner, "name": self._name, "number": number}
        found = graphql.execute(self._client, self._graph, graphql.MERGEABILITY, variables)["repository"]
        allowed = {
            "squash": found["squashMergeAllowed"],
            "merge": found["mergeCommitAllowed"],
            "rebase": found["rebaseMergeAllowed"],
        }
        methods = [method for method, is_allowed in allowed.items() if is_allowed]
        if not methods:
            raise ConfigError(f"{self._owner}/{self._name} allows no merge method; allow one in its settings")
        return found["pullRequest"], methods

    def _merge_now(self, pr: PullRequest, seen: Any, method: str) -> Merge:
        headline, text = _message(seen, pr)
        asked = {"sha": pr.head, "merge_method": method}
        if method != "rebase":  # a rebase keeps the messages
            asked |= {"commit_title": headline, "commit_message": text}
        path = f"{self._repository}/pulls/{pr.number}/merge"
        try:
            self._client.request("PUT", path, body=asked, safe=False)
        except UnansweredError:
            return _merge_of(self._mergeability(pr.number)[0])
        except RefusedError as refused:
            if refused.status == 409 or (refused.status == 405 and not _FORBIDDEN.search(refused.said)):
                return Merge.NOT_YET
            raise
        return Merge.MERGED

    def _arm(self, pr: PullRequest, seen: Any, method: str) -> Merge:
        headline, text = _message(seen, pr)
        asked = {"pullRequestId": seen["id"], "mergeMethod": method.upper(), "expectedHeadOid": pr.head}
        if method != "rebase":
            asked |= {"commitHeadline": headline, "commitBody": text}
        try:
            graphql.execute(self._client, self._graph, graphql.ARM, {"input": asked})
        except UnansweredError:
            return _merge_of(self._mergeability(pr.number)[0])
        except graphql.RejectedError as rejected:
            if _ARMING_NEEDS_NOTHING.search(rejected.said):  # what blocked it has just gone
                return self._merge_now(pr, seen, method)
            if "not allowed for this repository" in rejected.said:
                raise ConfigError(
                    f"GitHub: {rejected.said}; switch on auto-merge in the repository's settings"
                ) from None
            return Merge.NOT_YET
        return Merge.ARMED

    # ------------------------------------------------------------ helpers

    def _find(self, branch: str) -> PullRequest | None:
        return open_of(branch, self._pulls.list(branch))

    def _adopt(self, branch: str, refused: RefusedError) -> PullRequest:
        """Make sense of a refusal to open: someone was first, or a server of GitHub's has not seen our push yet."""
        if refused.status != 422:
            raise refused
        if "already exists" in refused.said and (found := self._find(branch)) is not None:
            return found
        if "already exists" in refused.said:
            raise TransientError(f"{refused}, but the list does not show it yet; the next run adopts it") from None
        if "No commits between" in refused.said:
            raise TransientError(f"{refused}; the next run decides on what {self._branch} holds then") from None
        if re.search(r'"field": "head"', refused.said):
            raise TransientError(f"{refused}; {branch} was just pushed, the next run tries again") from None
        raise refused

    def _change(self, number: int, fields: dict[str, str]) -> None:
        """
        Raises:
            TransientError: it is in the merge queue, where nothing of it may be touched.
        """
        seen, _ = self._mergeability(number)
        if seen["isInMergeQueue"]:
            raise TransientError(f"#{number} is in the merge queue and is left alone; the next run looks again")
        self._pulls.take(self._client.request("PATCH", f"{self._repository}/pulls/{number}", body=fields).body)

    def _read(self, number: int) -> PullRequest:
        return self._pulls.take(self._client.get(f"{self._repository}/pulls/{number}").body)


def headers(token: str) -> dict[str, str]:
    """What GitHub wants with every request."""
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "X-GitHub-Api-Version": API_VERSION,
    }


def api(host: str) -> str:
    """The address of the API of the GitHub at *host*."""
    if host == "github.com" or host.endswith(".github.com"):  # ssh.github.com is for networks that block port 22
        return "https://api.github.com"
    return f"https://api.{host}" if host.endswith(".ghe.com") else f"https://{host}/api/v3"


def _split(base: str) -> tuple[str, str]:
    """On a server of one's own REST is below /api/v3 and GraphQL beside it, at /api/graphql."""
    base = base.rstrip("/")
    return (base.removesuffix("/v3"), "v3/") if base.endswith("/api/v3") else (base, "")


def _merge_of(seen: Any) -> Merge:
    if seen["state"] == "MERGED":
        return Merge.MERGED
    return Merge.ARMED if seen["isInMergeQueue"] or seen["autoMergeRequest"] else Merge.NOT_YET


def _message(seen: Any, pr: PullRequest) -> tuple[str, str]:
    """The text of the commit on the base branch: that of our commit, trailers and all, whatever the settings say."""
    commit = seen["commits"]["nodes"][-1]["commit"]
    return f"{commit['messageHeadline']} (#{pr.number})", commit["messageBody"]


def _permission(method: str, path: str) -> str:
    if "/statuses/" in path:
        return "commit statuses (write)"
    if path.endswith("/check-runs"):
        return "checks (read)"
    if "/commits/" in path or "/branches/" in path:
        return "commit statuses (read) and contents (read)"
    if path.endswith("/merge"):
        return "contents (write) and pull requests (write)"
    return "pull requests (read)" if method == "GET" else "pull requests (write)"
