"""
A forge without a server: pull requests in the repository itself.

Pull request 7 is the ref `refs/rollout/pulls/7`, a commit that holds `pr.json`; the log of that ref
is its story. Every change is one push that names the objects it expects, so a number is given once
and nobody's change is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from controller.errors import ConfigError, TransientError
from controller.forges import pulls
from controller.forges.git import Git
from controller.forges.objects import FILE, Commit, Entry, Signature
from controller.messages import proposals
from controller.ports import CheckState, Ci, CiState, Merge, PrState, PullRequest, RefUpdate, Rules

_PULLS = "refs/rollout/pulls/"
_TRIES = 20


class LocalForge:
    """
    Implements `controller.ports.Forge` on the repository of *git*, and what people do there.

    *actor* is the controller's name there and *now* the clock; with the same of both, every object
    has the same id.
    """

    def __init__(self, git: Git, *, actor: str, now: Callable[[], datetime]) -> None:
        self._git = git
        self._actor = actor
        self._now = now

    # ------------------------------------------------------------ what the controller does

    def pull_requests(self, prefix: str) -> Sequence[PullRequest]:
        """
        List them as they are now on the remote.

        One whose branch is gone counts as closed, as on the other forges; one whose files the base
        has changed since is `behind`. Refs that hold something else are passed over.
        """
        self._git.fetch()
        found = (self._load(int(name)) for name in self._names() if pulls.NUMBER.fullmatch(name))
        ours = [pull for pull in found if pull and pull.branch.startswith(prefix)]
        return sorted(ours, key=lambda pull: pull.number)

    def open(self, *, branch: str, title: str, body: str) -> PullRequest:
        for _ in range(_TRIES):
            for pull in self.pull_requests(branch):
                if pull.branch == branch and pull.state is PrState.OPEN:
                    return pull
            head = self._git.branches(branch).get(branch)
            if head is None:
                raise TransientError(f"branch {branch} is not on the remote; the next run pushes it")
            pull = PullRequest(
                number=1 + max((pulls.leading_number(name) for name in self._names()), default=0),
                title=title,
                body=body,
                branch=branch,
                head=head,
                base=self._git.base,
                author=self._actor,
                state=PrState.OPEN,
                created=self._now().astimezone(UTC),
                by_us=True,
            )
            if self._git.push([self._saved(pull, f"open: {title}", self._actor, pull.created)]):
                return pull
        raise TransientError(f"no number was free for {branch} in {_TRIES} tries; run again")

    def edit(self, number: int, *, body: str) -> None:
        self._change(number, "edit", lambda pull: replace(pull, body=body))

    def close(self, number: int) -> None:
        """Close an open pull request; one that has ended stays as it is."""
        self._close(number, self._actor, self._now())

    def comment(self, number: int, text: str) -> None:
        self._change(number, "comment", lambda pull: replace(pull, comments=(*pull.comments, text)))

    def check(self, head: str, state: CheckState, description: str) -> None:
        """Report the status where *head* is under review; elsewhere it has no meaning here."""
        for pull in self.pull_requests(""):
            if pull.head == head and pull.state is PrState.OPEN:
                self._change(
                    pull.number,
                    f"check: {state}",
                    lambda now: replace(now, check=(state, description)) if now.head == head else now,
                )

    def ci(self, oid: str, *, without: Collection[str] = ()) -> Ci:
        """There is none."""
        return Ci(CiState.UNKNOWN, "a local forge has no CI to ask")

    def rules(self) -> Rules:
        """There are none, and nothing to read them from."""
        return Rules()

    def merge(self, pr: PullRequest) -> Merge:
        """Merge *pr* where it stands at its `head` and its check passes; nothing is armed here."""
        now = self._get(pr.number)
        if now.state is not PrState.OPEN or now.head != pr.head:
            return Merge.NOT_YET
        try:
            self.merge_by_person(pr.number, by=self._actor, at=self._now())
        except TransientError:
            return Merge.NOT_YET
        return Merge.MERGED

    # ------------------------------------------------------------ what people do

    def close_by_person(self, number: int, by: str, at: datetime) -> None:
        """
        Close as *by*, which the controller reads as a veto.

        Raises:
            ConfigError: it is not open.
        """
        _expect_open(self._get(number))
        self._close(number, by, at)

    def merge_by_person(self, number: int, *, by: str, at: datetime) -> str:
        """
        Squash the pull request onto the base branch as *by* would, delete its branch, and return
        the new commit.

        Where the base has moved on, the changed files go onto its tip if nobody else changed those
        same files.

        Raises:
            ConfigError: it is not open, or its check failed.
            TransientError: its check is not there yet, the base changed the same files, or someone
                was first.
        """
        pull = self._get(number)
        _expect_open(pull)
        if pull.branch.startswith(proposals.PREFIX):  # nothing else has evidence to wait for
            _expect_checked(pull)
        tip = self._git.refs("refs/heads/")[f"refs/heads/{pull.base}"]
        head = self._git.objects.commit(pull.head)
        squashed = self._git.objects.write_commit(
            Commit(
                tree=self._squash(pull, tip),
                parents=(tip,),
                author=head.author,
                committer=_signature(by, at),
                message=head.message,
            )
        )
        merged = replace(
            pull,
            state=PrState.MERGED,
            closed_by=by,
            closed_at=at.astimezone(UTC),
            merged_as=squashed,
        )
        updates = [
            RefUpdate(f"refs/heads/{pull.base}", tip, squashed),
            RefUpdate(f"refs/heads/{pull.branch}", pull.head, None),
            self._saved(merged, "merge", by, at),
        ]
        if not self._git.push(updates):
            raise TransientError(f"pull request {number}: something changed meanwhile; look again")
        return squashed

    def _squash(self, pull: PullRequest, tip: str) -> str:
        objects = self._git.objects
        if self._git.merge_base(tip, pull.head) == tip:
            return objects.commit(pull.head).tree
        tree = objects.commit(tip).tree
        changes: dict[str, Entry | None] = {}
        for path, before, after in self._git.changes(tip, pull.head):
            if objects.entry(tree, path) != before:
                raise TransientError(
                    f"pull request {pull.number}: {path} has changed on {pull.base} since; "
                    "the controller's next pass brings it up to date"
                )
            changes[path] = after
        return objects.splice(tree, changes)

    # ------------------------------------------------------------ the documents

    def _names(self) -> Mapping[str, str]:
        refs = self._git.refs(_PULLS)
        return {ref.removeprefix(_PULLS): oid for ref, oid in refs.items()}

    def _load(self, number: int) -> PullRequest | None:
        """Read a pull request, with its branch as it now is; None for what is none of ours."""
        oid = self._names().get(str(number))
        pull = pulls.read(number, self._git.objects, oid) if oid else None
        if pull is None or pull.base != self._git.base or pull.branch == pull.base:
            return None
        pull = replace(pull, by_us=pull.author == self._actor)
        if pull.state is not PrState.OPEN:
            return pull
        head = self._git.branches(pull.branch).get(pull.branch)
        if head is None:
            return replace(pull, state=PrState.CLOSED)
        pull = pull if head == pull.head else replace(pull, head=head, check=None)
        return replace(pull, behind=self._behind(pull))

    def _behind(self, pull: PullRequest) -> bool:
        """Whether the base has changed the same files since, which no merge here gets over."""
        tip = self._git.refs("refs/heads/").get(f"refs/heads/{pull.base}")
        if tip is None or self._git.merge_base(tip, pull.head) == tip:
            return False
        tree = self._git.objects.commit(tip).tree
        return any(
            self._git.objects.entry(tree, path) != before for path, before, _ in self._git.changes(tip, pull.head)
        )

    def _get(self, number: int) -> PullRequest:
        self._git.sync()
        pull = self._load(number)
        if pull is None:
            raise ConfigError(f"there is no pull request {number}; see the list")
        return pull

    def _close(self, number: int, by: str, at: datetime) -> None:
        def closed(pull: PullRequest) -> PullRequest:
            if pull.state is not PrState.OPEN:
                return pull
            return replace(pull, state=PrState.CLOSED, closed_by=by, closed_at=at.astimezone(UTC))

        self._change(number, "close", closed, by=by, at=at)

    def _change(
        self,
        number: int,
        what: str,
        change: Callable[[PullRequest], PullRequest],
        *,
        by: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Apply *change* to the newest document, again if someone wrote in between."""
        for _ in range(_TRIES):
            pull = self._get(number)
            changed = change(pull)
            if changed == pull:
                return
            saved = self._saved(changed, what, by or self._actor, at or self._now())
            if self._git.push([saved]):
                return
        raise TransientError(f"pull request {number} kept changing in {_TRIES} tries; run again")

    def _saved(self, pull: PullRequest, what: str, by: str, at: datetime) -> RefUpdate:
        """Write the document as the next commit of the pull request's story."""
        objects = self._git.objects
        old = self._names().get(str(pull.number))
        blob = objects.write("blob", pulls.encode(pull))
        who = _signature(by, at)
        commit = Commit(
            tree=objects.splice(None, {pulls.FILE_NAME: Entry(FILE, blob)}),
            parents=(old,) if old else (),
            author=who,
            committer=who,
            message=f"pull request {pull.number}, {what}",
        )
        return RefUpdate(f"{_PULLS}{pull.number}", old, objects.write_commit(commit))


def _expect_open(pull: PullRequest) -> None:
    if pull.state is not PrState.OPEN:
        raise ConfigError(f"pull request {pull.number} is {pull.state}, not open")


def _expect_checked(pull: PullRequest) -> None:
    state, description = pull.check or (CheckState.PENDING, "not reported yet")
    message = f"pull request {pull.number}: rollout/evidence is {state}: {description}"
    if state is CheckState.FAILURE:
        raise ConfigError(f"{message}; close it, or wait for better evidence")
    if state is CheckState.PENDING:
        raise TransientError(f"{message}; merge it after the next pass")


def _signature(by: str, at: datetime) -> Signature:
    """Take `Name <address>`, or a name alone, which gets an address that leads nowhere."""
    name, _, email = by.partition("<")
    slug = re.sub(r"[^a-z0-9]+", ".", name.lower()).strip(".") or "unknown"
    return Signature(name.strip(), email.rstrip("> ") or f"{slug}@localhost", at)
