"""
What the loop asks of the world, as protocols. Adapters keep them; the loop knows no product's name.

Every method raises ConfigError where a person must act and TransientError where the next pass may succeed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from controller.model import Announcement, Event, Exposure, Live, News, Query, Recorded, Service, Unreadable, Window


class Counts(Protocol):
    """What decisions are made from."""

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        """Count every query over *window*; an event stamped after `window.now` is never counted."""
        ...


class Source(Counts, Protocol):
    """Where KPI data come from."""

    def events(self, types: Collection[str], start: datetime, end: datetime) -> Sequence[Event]:
        """
        The events of these *types* from *start* to *end*, oldest first, each id once, as far as they were ever read.

        For lists that people read; what cannot be read is passed over.
        """
        ...


class LiveState(Protocol):
    """What AWS runs."""

    def read(self, service: Service, exposure: Exposure, region: str | None) -> Live | Unreadable:
        """Read the live state; trouble with AWS is an `Unreadable`, not an exception."""
        ...


@dataclass(frozen=True, slots=True)
class FileCommit:
    """
    A commit of the base branch that changed one file; `time` is the committer's, `data` the file after it.

    The `message` of a merge commit holds those of the merged commits too.
    """

    oid: str
    time: datetime
    by: str
    message: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """Move `ref`, a full name such as `refs/heads/x`, from `old` to `new`; None is a ref that does not exist."""

    ref: str
    old: str | None
    new: str | None


class Repository(Protocol):
    """The Git repository that holds the state; `base` is the branch that it is on."""

    base: str

    def sync(self) -> str:
        """Fetch what is new and return the commit at the tip of the base branch."""
        ...

    def branches(self, prefix: str) -> Mapping[str, str]:
        """Branch names of the remote that start with *prefix*, with their commits, as of the last sync."""
        ...

    def refs(self, prefix: str) -> Mapping[str, str]:
        """The remote's refs that start with *prefix*, a full name such as `refs/rollout/`, as of the last sync."""
        ...

    def files(self, oid: str) -> Sequence[str]:
        """Names of the files at the root of commit *oid*."""
        ...

    def read(self, oid: str, path: str) -> bytes | None:
        """The file at *path* in commit *oid*; None where there is none."""
        ...

    def history(self, oid: str, path: str, limit: int = 200) -> Sequence[FileCommit]:
        """First-parent commits up to *oid* that changed *path*, newest first."""
        ...

    def changed(self, base: str, head: str) -> Mapping[str, tuple[bytes | None, bytes | None]]:
        """Files that differ between the merge base of *base* and *head*, and *head*: before and after."""
        ...

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """Write a commit that is the same object for the same arguments, whoever runs it and when."""
        ...

    def update(self, head: str, tip: str, files: Mapping[str, bytes], message: str) -> str:
        """
        Write the merge commit that brings *head* up to date with *tip*: the tree of *tip* with *files* put in.

        Like `commit`, it is the same object for the same arguments.
        """
        ...

    def conflicts(self, one: str, other: str) -> bool:
        """Whether a person would have to settle a merge of the two commits."""
        ...

    def push(self, updates: Sequence[RefUpdate]) -> bool:
        """
        Apply all *updates* or none; False where a ref was not as expected (someone else was first).

        True also where the remote is already so.
        """
        ...


class PrState(StrEnum):
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class CheckState(StrEnum):
    """State of the status check `rollout/evidence` on a pull request's head."""

    SUCCESS = "success"
    PENDING = "pending"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """
    A pull request of the forge, open or ended.

    `closed_by` and `closed_at` name who merged or closed it. `check` is the latest status `rollout/evidence` on `head`.
    `armed`: the forge merges it by itself once its rules allow. `queued`: it is in a merge queue or train, and nothing
    of it may be touched. `behind`: it cannot be merged until its branch is brought up to date with the base branch;
    None where the forge does not tell whether it conflicts.
    `by_us`: it was opened by the account that the controller acts as; what no forge has said so of is left alone.
    """

    number: int
    title: str
    body: str
    branch: str
    head: str
    base: str
    author: str
    state: PrState
    created: datetime
    closed_by: str | None = None
    closed_at: datetime | None = None
    merged_as: str | None = None
    check: tuple[CheckState, str] | None = None
    comments: tuple[str, ...] = ()
    url: str = ""
    draft: bool = False
    armed: bool = False
    queued: bool = False
    behind: bool | None = False
    by_us: bool = False


class Merge(StrEnum):
    """What has come of asking for a merge; `armed` is left to the forge, which merges once its rules allow."""

    MERGED = "merged"
    ARMED = "armed"
    NOT_YET = "not yet"


class CiState(StrEnum):
    """What the CI of one commit says; `unknown` where there is no CI to ask."""

    GREEN = "green"
    RUNNING = "running"
    RED = "red"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ci:
    """The CI of one commit, and in `words` which of its jobs are not green; our own status is none of them."""

    state: CiState
    words: str


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What guards the base branch, as far as our token may read it; None where it may not, or there is nothing to read.

    `required` are the statuses without which nothing is merged.
    """

    protected: bool | None = None
    required: tuple[str, ...] | None = None


class Forge(Protocol):
    """Where pull requests live."""

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        """
        All pull requests, in any state, whose branch starts with *prefix*, lowest number first.

        The listing is complete, or it raises: a pull request left out would be opened again.
        """
        ...

    def open(self, *, branch: str, title: str, body: str) -> PullRequest:
        """Open a pull request of the pushed *branch*, or return the open one that already is of it."""
        ...

    def edit(self, number: int, *, body: str) -> None: ...

    def close(self, number: int) -> None: ...

    def comment(self, number: int, text: str) -> None: ...

    def check(self, head: str, state: CheckState, description: str) -> None:
        """Report the status `rollout/evidence` on commit *head*."""
        ...

    def ci(self, oid: str, *, without: Collection[str] = ()) -> Ci:
        """What the CI says of commit *oid*; jobs *without* which it is asked, by name, say nothing of it."""
        ...

    def rules(self) -> Rules:
        """What guards the base branch."""
        ...

    def merge(self, pr: PullRequest) -> Merge:
        """
        Merge *pr* at exactly its `head`, or arm the forge to do so once its rules allow, and say which.

        Raises:
            ConfigError: the repository's settings or our permissions forbid it.
        """
        ...


class Notifier(Protocol):
    """Where people are told."""

    def knows(self, kind: News, *, key: str) -> bool:
        """Whether *key* was told wherever it can be, so that nobody need prepare it."""
        ...

    def tell(self, news: Announcement, *, key: str) -> list[str]:
        """
        Tell *news* on every channel that wants its kind, once for each *key*: telling again is safe.

        Returns a sentence for each channel that could not be told; the next call with the same key tries those, and no
        others. Never raises for a channel.
        """
        ...
