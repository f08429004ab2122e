"""
The pull requests of a repository on GitHub, read so that a pass in which nothing happened costs one request.

The list is asked for newest change first, and only if it has changed. Where it has, it is read down to what is known.
What REST does not tell is read by one query for many, again whenever a pull request has changed, and after `FRESH_S`
for an open one: a status, or an entry in the merge queue, need not change the list. A failure that is only remembered
is read again by each `Pulls`, which is once a pass: taken for true, it would not be reported again where another
controller has put a success in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from controller.errors import TransientError
from controller.forges import github_graphql as graphql
from controller.forges.client import Client
from controller.forges.listing import FRESH_S, instant
from controller.ports import CheckState, PrState, PullRequest

# GitHub's times are whole seconds: what was read so soon after a change may lack another change of the same second.
_RACY_S = 10.0
_MARGIN_S = 600.0  # by how much one server of theirs may lag behind another
_TRIES = 5
# A conflict too: what we bring up to date gets the base's tree with our change put in.
_BEHIND = ("BEHIND", "DIRTY")
_OPEN_AT_ONCE = 20
_ENDED_AT_ONCE = 100  # the most that `nodes` takes
_STATES = {
    "SUCCESS": CheckState.SUCCESS,
    "PENDING": CheckState.PENDING,
    "EXPECTED": CheckState.PENDING,
    "FAILURE": CheckState.FAILURE,
    "ERROR": CheckState.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Details:
    """What GraphQL told at `read` (seconds since the epoch) of the pull request as last changed at `updated`."""

    updated: datetime
    head: str
    read: float
    closed_by: str | None
    merged_as: str | None
    check: tuple[CheckState, str] | None
    comments: tuple[str, ...]
    armed: bool
    queued: bool
    behind: bool
    by_us: bool


@dataclass(frozen=True, slots=True)
class Row:
    """What the list told; `node` is the id for GraphQL."""

    node: str
    updated: datetime
    pull: PullRequest
    details: Details | None = None

    def current(self) -> PullRequest:
        found = self.details
        if found is None:
            return self.pull
        return replace(
            self.pull,
            closed_by=found.closed_by if self.pull.state is not PrState.OPEN else None,
            merged_as=found.merged_as,
            check=found.check if found.head == self.pull.head else None,
            comments=found.comments,
            armed=self.pull.armed or found.armed,
            queued=found.queued,
            behind=found.behind,
            by_us=found.by_us,
        )


@dataclass(slots=True)
class Known:
    """All rows of branches below one root, as of the list whose first page had `etag`."""

    etag: str = ""
    newest: float = 0.0
    rows: dict[int, Row] = field(default_factory=dict)


_KNOWN = TypeAdapter(Known)


class Pulls:
    """
    Pull requests onto branch *base* from branches of the same repository, read by *client* from *path*.

    *graph* is the path of GraphQL and *context* the name of the status. What was read is kept in the client's cache.
    """

    def __init__(self, client: Client, path: str, *, graph: str, base: str, context: str) -> None:
        self._client = client
        self._path = path
        self._graph = graph
        self._base = base
        self._context = context
        self._root = ""
        self._known: Known | None = None
        self._completed: set[int] = set()  # whose details were read by this one

    def list(self, prefix: str) -> Sequence[PullRequest]:
        """Those whose branch starts with *prefix*, as they are now, lowest number first."""
        root = prefix.partition("/")[0] + "/" if "/" in prefix else prefix
        if self._known is None or not root.startswith(self._root):
            before = self._known or Known()
            self._root = root
            self._known = self._load()
            for row in before.rows.values():  # the list may not show yet what we wrote
                self._learn(self._known, row)
        if self._refresh(self._known) | self._complete(self._known):
            self.save()
        found = (row.current() for row in self._known.rows.values())
        return sorted((pull for pull in found if pull.branch.startswith(prefix)), key=lambda pull: pull.number)

    def take(self, item: Any, *, opened: bool = False) -> PullRequest:
        """
        Learn a pull request from the answer to a write of ours, and return it; *opened* where that write opened it.

        The answer is trusted above a list that does not show it yet.
        """
        row = _row(item)
        row = replace(row, pull=replace(row.pull, by_us=opened))
        if self._known is not None:
            self._learn(self._known, row)
            self.save()
            return self._known.rows.get(row.pull.number, row).current()
        return row.pull

    def note(self, head: str, state: CheckState, description: str) -> None:
        """Learn that a status was reported on *head*."""
        rows = self._known.rows if self._known else {}
        for number, row in rows.items():
            if row.details is not None and row.pull.head == row.details.head == head:
                rows[number] = replace(row, details=replace(row.details, check=(state, description)))
        self.save()

    def forget(self) -> None:
        """Unlearn the details of what is open, because a write of ours may or may not have been done."""
        rows = self._known.rows if self._known else {}
        for number, row in rows.items():
            if row.pull.state is PrState.OPEN:
                rows[number] = replace(row, details=None)
        self.save()

    def again(self, number: int) -> PullRequest:
        """
        Read one anew, details and all.

        Raises:
            TransientError: the list does not show it.
        """
        self.forget()
        for pull in self.list(self._root):
            if pull.number == number:
                return pull
        raise TransientError(f"GitHub: #{number} is not listed; the next run looks again")

    def save(self) -> None:
        if self._known is not None:
            self._client.cache.put(self._key(), _KNOWN.dump_python(self._known, mode="json"))

    # ------------------------------------------------------------ the list

    def _key(self) -> str:
        return f"{self._client.base}/{self._path} onto {self._base} below {self._root!r}"

    def _load(self) -> Known:
        try:
            return _KNOWN.validate_python(self._client.cache.get(self._key()) or {}, strict=False)
        except ValidationError:  # of an earlier version
            return Known()

    def _refresh(self, known: Known) -> bool:
        """Bring the rows up to date, and say whether the list had changed."""
        query = {"state": "all", "sort": "updated", "direction": "desc", "per_page": "100"}
        for attempt in range(_TRIES):
            etag, newest, pages = "", known.newest, 0
            for answer in self._client.pages(self._path, query, cached=True):
                if pages == 0:
                    etag = answer.headers.get("etag", "")
                    if etag and etag == known.etag:
                        return attempt > 0
                pages += 1
                times = [instant(item["updated_at"]).timestamp() for item in answer.body]
                for item in answer.body:
                    self._learn(known, _row(item))
                newest = max([newest, *times])
                in_order = times == sorted(times, reverse=True)
                if in_order and times and times[-1] < known.newest - _MARGIN_S:
                    break
            known.etag, known.newest = etag, newest
            if pages < 2:
                return True
            # What changed while several pages were read has moved to a page that was read before; look again.
        raise TransientError(f"GitHub: GET {self._path}: the list kept changing while it was read; run again")

    def _learn(self, known: Known, row: Row) -> None:
        """Take *row* unless a newer one is known: a list may lag behind, and no row goes back in time."""
        pull, old = row.pull, known.rows.get(row.pull.number)
        if old is not None and row.updated < old.updated:
            return
        if not row.node or pull.base != self._base or not pull.branch.startswith(self._root):
            known.rows.pop(pull.number, None)
        else:
            known.rows[pull.number] = replace(row, details=old.details if old else None)

    # ------------------------------------------------------------ the details

    def _complete(self, known: Known) -> bool:
        """Read the details that are missing or too old, and say whether there were any."""
        stale = [row for row in known.rows.values() if self._is_stale(row)]
        for is_open, at_once in ((True, _OPEN_AT_ONCE), (False, _ENDED_AT_ONCE)):
            rows = [row for row in stale if (row.pull.state is PrState.OPEN) is is_open]
            for start in range(0, len(rows), at_once):
                self._read(known, rows[start : start + at_once], is_open)
        return bool(stale)

    def _is_stale(self, row: Row) -> bool:
        found = row.details
        if found is None or found.updated != row.updated or found.head != row.pull.head:
            return True
        if row.pull.number not in self._completed and found.check and found.check[0] is CheckState.FAILURE:
            return row.pull.state is PrState.OPEN
        age_s, soon_s = self._client.patience.clock() - found.read, found.read - row.updated.timestamp()
        return row.pull.state is PrState.OPEN and (soon_s < _RACY_S or not 0 <= age_s < FRESH_S)

    def _read(self, known: Known, rows: Sequence[Row], is_open: bool) -> None:
        variables = {"ids": [row.node for row in rows], "context": self._context, "open": is_open}
        nodes = graphql.execute(self._client, self._graph, graphql.DETAILS, variables)["nodes"]
        found = {node["id"]: node for node in nodes if node}
        for row in rows:
            if row.node not in found:
                if not is_open:  # who ended it is not worth all stacks' pass
                    continue
                raise TransientError(
                    f"GitHub: #{row.pull.number} is listed but cannot be read; the next run tries again"
                )
            known.rows[row.pull.number] = replace(row, details=self._details(row, found[row.node]))
            self._completed.add(row.pull.number)

    def _details(self, row: Row, node: Any) -> Details:
        head = row.pull.head
        closed = [event["actor"] for event in node["timelineItems"]["nodes"] if event]
        return Details(
            updated=row.updated,
            head=head,
            read=self._client.patience.clock(),
            closed_by=_login(node["mergedBy"] or (closed[-1] if closed else None)),
            merged_as=(node["mergeCommit"] or {}).get("oid"),
            check=_check(node, head),
            comments=self._comments(node),
            armed=node["autoMergeRequest"] is not None,
            queued=node["isInMergeQueue"],
            behind=node["mergeStateStatus"] in _BEHIND,
            by_us=node["viewerDidAuthor"],
        )

    def _comments(self, node: Any) -> tuple[str, ...]:
        page, texts = node.get("comments"), list[str]()
        while page:
            texts += [comment["body"] for comment in page["nodes"]]
            if not page["pageInfo"]["hasNextPage"]:
                break
            variables = {"id": node["id"], "after": page["pageInfo"]["endCursor"]}
            page = graphql.execute(self._client, self._graph, graphql.COMMENTS, variables)["node"]["comments"]
        return tuple(texts)


def _row(item: Any) -> Row:
    """Read an item of the list; that of a fork has no `node`, since it is none of ours."""
    try:
        return _read_row(item)
    except (KeyError, TypeError, ValueError) as error:
        raise TransientError(f"GitHub: pull request #{item.get('number')} makes no sense: {error!r}") from error


def _read_row(item: Any) -> Row:
    head, base = item["head"], item["base"]
    ours = head["repo"] is not None and head["repo"]["id"] == base["repo"]["id"]
    merged, closed = item["merged_at"], item["closed_at"]
    state = PrState.MERGED if merged else PrState.OPEN if item["state"] == "open" else PrState.CLOSED
    pull = PullRequest(
        number=item["number"],
        title=item["title"],
        body=item["body"] or "",
        branch=head["ref"],
        head=head["sha"],
        base=base["ref"],
        author=(item["user"] or {}).get("login") or "ghost",
        state=state,
        created=instant(item["created_at"]),
        closed_at=instant(merged or closed) if merged or closed else None,
        url=item["html_url"],
        draft=item.get("draft") or False,
        armed=item["auto_merge"] is not None,
    )
    return Row(item["node_id"] if ours else "", instant(item["updated_at"]), pull)


def _check(node: Any, head: str) -> tuple[CheckState, str] | None:
    for wrapped in (node.get("commits") or {}).get("nodes") or []:
        commit = wrapped["commit"]
        found = (commit["status"] or {}).get("context")
        if commit["oid"] == head and found:
            return _STATES[found["state"]], found["description"] or ""
    return None


def _login(actor: Any) -> str | None:
    """The login as REST writes it; GraphQL leaves `[bot]` out. A deleted account is none."""
    if actor is None:
        return None
    login: str = actor["login"]
    return f"{login}[bot]" if actor["__typename"] == "Bot" and not login.endswith("[bot]") else login
