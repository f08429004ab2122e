"""
What is asked of GitHub's GraphQL: the documents, and what an error there means.

REST does not tell who closed a pull request, what it was merged as, and whether it is in a merge queue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controller.errors import ConfigError, TransientError
from controller.forges.answers import shown
from controller.forges.client import Client

DETAILS = """
query Details($ids: [ID!]!, $context: String!, $open: Boolean!) {
  nodes(ids: $ids) {
    ... on PullRequest {
      id
      isInMergeQueue
      mergeStateStatus
      viewerDidAuthor
      autoMergeRequest { enabledAt }
      mergedBy { __typename login }
      mergeCommit { oid }
      timelineItems(last: 1, itemTypes: [CLOSED_EVENT]) {
        nodes { ... on ClosedEvent { actor { __typename login } } }
      }
      comments(first: 100) @include(if: $open) { nodes { body } pageInfo { hasNextPage endCursor } }
      commits(last: 1) @include(if: $open) {
        nodes { commit { oid status { context(name: $context) { state description } } } }
      }
    }
  }
}
"""

COMMENTS = """
query Comments($id: ID!, $after: String) {
  node(id: $id) {
    ... on PullRequest {
      comments(first: 100, after: $after) { nodes { body } pageInfo { hasNextPage endCursor } }
    }
  }
}
"""

MERGEABILITY = """
query Mergeability($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    squashMergeAllowed
    mergeCommitAllowed
    rebaseMergeAllowed
    pullRequest(number: $number) {
      id
      state
      isDraft
      headRefOid
      isInMergeQueue
      isMergeQueueEnabled
      mergeStateStatus
      autoMergeRequest { enabledAt }
      commits(last: 1) { nodes { commit { oid messageHeadline messageBody } } }
    }
  }
}
"""

ARM = """
mutation Arm($input: EnablePullRequestAutoMergeInput!) {
  enablePullRequestAutoMerge(input: $input) {
    pullRequest { autoMergeRequest { enabledAt } isInMergeQueue }
  }
}
"""

_PERMISSION = re.compile(r"not accessible|must have|permission|not authorized|scopes", re.IGNORECASE)


class RejectedError(TransientError):
    """GitHub took the document but would not do what it asks; `said` is its reason."""

    def __init__(self, message: str, *, said: str) -> None:
        super().__init__(message)
        self.said = said


def execute(client: Client, path: str, document: str, variables: Mapping[str, object]) -> dict[str, Any]:
    """
    Run *document*; a query may be sent again, a mutation may not. Of `nodes`, one that cannot be read is None.

    Raises:
        ConfigError: the token lacks a permission, or this GitHub is too old for the document.
        RejectedError: any other error in the answer, which is then not used, whole or in part.
    """
    safe = document.lstrip().startswith("query")
    answer = client.request("POST", path, body={"query": document, "variables": variables}, safe=safe)
    body = answer.body if isinstance(answer.body, dict) else {}
    errors = body.get("errors")
    if isinstance(errors, list):
        errors = [error for error in errors if not _is_missing_node(error)]
    if not errors and isinstance(body.get("data"), dict):
        data: dict[str, Any] = body["data"]
        return data
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    said = shown(str(first.get("message") or "no data and no reason"), {})
    operation = document.split("(")[0].split()[-1]
    what = f"GitHub: GraphQL {operation}: {said}"
    if first.get("type") in ("FORBIDDEN", "INSUFFICIENT_SCOPES") or _PERMISSION.search(said):
        raise ConfigError(f"{what}; probably missing: pull requests (write) and contents (write)")
    if "doesn't exist on type" in said:
        raise ConfigError(f"{what}; GitHub Enterprise Server 3.12 or newer is needed")
    raise RejectedError(f"{what}; the next run tries again", said=said)


def _is_missing_node(error: Any) -> bool:
    """Whether *error* only says again why a place in `nodes` is null."""
    if not isinstance(error, dict) or error.get("type") != "NOT_FOUND":
        return False
    path = error.get("path")
    return isinstance(path, list) and path[:1] == ["nodes"]
