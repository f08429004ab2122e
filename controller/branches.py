"""
The branches of proposals: what a proposal makes of its stack file, and whether a branch still holds just that.

Whose a branch is, is judged by its content and not by who pushed it last: a person may press "update branch", and an
edit under our name is still an edit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from controller import observe, stackfile
from controller.errors import ConfigError, TransientError
from controller.history import History
from controller.messages import proposals, pull_request
from controller.messages.proposals import Proposal
from controller.model import Change, Verdict
from controller.ports import PrState, PullRequest, RefUpdate, Repository


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of one stack's proposals on *repository*, whose base was at *tip* with *history* when looked at."""

    repository: Repository
    tip: str
    history: History

    def claimed(self, pr: PullRequest) -> Proposal | None:
        """
        What *pr* proposes, if it is open, by our account, and on the branch and the base that its text speaks of.

        None for all else: a copy of our text on another branch, or in another's pull request, is not ours.
        """
        proposal = proposals.parse(pr.body)
        if pr.state is not PrState.OPEN or proposal is None or not pr.by_us:
            return None
        ours = pr.branch == proposals.branch(proposal) and pr.base == self.repository.base
        return proposal if ours else None

    def named(self, pr: PullRequest) -> tuple[Verdict, int] | None:
        """What the branch of *pr* says by its name, if *pr* is open, by our account and for our base; as `claimed`."""
        ours = pr.state is PrState.OPEN and pr.by_us and pr.base == self.repository.base
        return proposals.named(pr.branch) if ours else None

    def raises(self, head: str) -> bool:
        """Whether merging *head* may bring more people into a pilot: a percent above the base's, or none to be read."""
        files = [file for file in self.repository.changed(self.tip, head) if re.fullmatch(r"Pulumi\..+\.yaml", file)]
        return any(self._percent(head, file, 101) > self._percent(self.tip, file, 0) for file in files)

    def _percent(self, oid: str, file: str, unknown: int) -> int:
        try:
            data = self.repository.read(oid, file)
            return unknown if data is None else stackfile.read(data, name=file).rollout.percent
        except ConfigError:
            return unknown

    def holds_only(self, proposal: Proposal, head: str) -> bool:
        """Whether *head* changes our keys to our values and nothing else; one that changes nothing does not."""
        file = observe.stack_file(proposal.stack)
        changed = self.repository.changed(self.tip, head)
        if set(changed) != {file}:
            return False
        before, after = changed[file]
        return before is not None and after == self.proposed(proposal, before)

    def taken(self, proposal: Proposal) -> bool:
        """Whether a branch with the proposal's name holds something else."""
        name = proposals.branch(proposal)
        head = self.repository.branches(name).get(name)
        return head is not None and not self.holds_only(proposal, head)

    def is_ours(self, pr: PullRequest, proposal: Proposal, *, ending: bool = False) -> bool:
        """
        Whether the branch of *pr*, at the head that the forge tells, holds only the proposal.

        Where it is *ending*, also one that changes nothing: it was merged by hand, or the base has come to the same,
        and there is nothing of a person's to lose. Otherwise a person has emptied it.

        Raises:
            TransientError: forge and repository do not agree on the head; somebody is pushing.
        """
        if self.repository.branches(pr.branch).get(pr.branch) != pr.head:
            raise TransientError(
                f"#{pr.number}: {pr.branch} is at another commit than the forge says; the next pass looks again"
            )
        if ending and not self.repository.changed(self.tip, pr.head):
            return True
        return self.holds_only(proposal, pr.head)

    def push(self, proposal: Proposal, message: str) -> str:
        """
        Push the proposal's branch, or take it where it is there already, and return its head.

        Raises:
            ConfigError: the stack file cannot be changed so, or a branch of that name holds something else.
            TransientError: another pass moved it meanwhile.
        """
        name = proposals.branch(proposal)
        head = self.repository.branches(name).get(name)
        if head is None:
            commit = self.repository.commit(self.tip, self._files(proposal), message)
            if self.repository.push([RefUpdate(f"refs/heads/{name}", None, commit)]):
                return commit
            self.repository.sync()
            head = self.repository.branches(name).get(name)
        if head is None:
            raise TransientError(f"branch {name} could not be pushed: another pass moved it; the next pass continues")
        if not self.holds_only(proposal, head):
            raise ConfigError(f"branch {name} holds more than its proposal, and has no pull request; delete it")
        return head

    def update(self, pr: PullRequest, proposal: Proposal) -> str:
        """
        Bring the branch of *pr* up to date with the base by a merge commit, and return that.

        Raises:
            ConfigError: the stack file cannot be changed so.
            TransientError: someone moved the branch meanwhile.
        """
        message = pull_request.update_message(proposal, self.repository.base)
        commit = self.repository.update(pr.head, self.tip, self._files(proposal), message)
        if not self.repository.push([RefUpdate(f"refs/heads/{pr.branch}", pr.head, commit)]):
            raise TransientError(f"#{pr.number}: {pr.branch} was moved meanwhile; the next pass looks again")
        return commit

    def delete(self, pr: PullRequest) -> None:
        """Delete the branch of *pr*, unless someone has moved it."""
        self.repository.push([RefUpdate(f"refs/heads/{pr.branch}", pr.head, None)])

    def proposed(self, proposal: Proposal, now: bytes) -> bytes | None:
        """
        The stack file *now* as *proposal* changes it; None where it cannot be so changed.

        A revert of an advance restores the former bytes, where they say just what is proposed; more than the percent it
        changes in no other way, but for the intake, which a stop pauses.
        """
        wanted = {path: new for path, (_, new) in proposal.changes.items()}
        if proposal.verdict is Verdict.REVERT:
            if former := self._former(proposal, now):
                return former
            pause = {"intake": wanted.pop("intake")} if "intake" in wanted else {}
            if len(wanted) > 1:
                rest = {path: pair for path, pair in proposal.changes.items() if path in wanted}
                former = self._former(replace(proposal, changes=rest), now)
                if former is None or not pause:
                    return None
                now, wanted = former, {}
            wanted |= pause
        try:
            return stackfile.splice(now, wanted, name=observe.stack_file(proposal.stack))[0]
        except ConfigError:
            return None

    def _files(self, proposal: Proposal) -> dict[str, bytes]:
        file = observe.stack_file(proposal.stack)
        now = self.repository.read(self.tip, file)
        after = self.proposed(proposal, now) if now is not None else None
        if after is None:
            raise ConfigError(f"{file}: {dict(proposal.changes)} cannot be written; mend the file")
        return {file: after}

    def _former(self, proposal: Proposal, now: bytes) -> bytes | None:
        """The bytes of *now* with the commit that advanced undone, where that is what is proposed."""
        former, changes = self.undone(proposal.stack, proposal.from_percent, now) or (b"", ())
        wanted = {path: str(new) for path, (_, new) in proposal.changes.items()}
        return former if changes and {change.path: change.new for change in changes} == wanted else None

    def undone(self, stack: str, percent: int, now: bytes) -> tuple[bytes, tuple[Change, ...]] | None:
        """
        The stack file *now* without the commit that raised the percent to *percent*, and what that changes.

        The commit is found by walking the history of the key, not by its message: a squash and a rebase rewrite that.
        None where the percent changed again since, or a value that the commit wrote did.
        """
        file = observe.stack_file(stack)
        step = self.history.raised_to(percent)
        if step is None:
            return None
        commits = self.repository.history(self.tip, file)
        index = [commit.oid for commit in commits].index(step.commit.oid)
        if index + 1 == len(commits):
            return None
        after, before = commits[index].data, commits[index + 1].data
        if after is None or before is None:
            return None
        try:
            return stackfile.restore(now, before, after, name=file)
        except ConfigError:  # changed again since: a person's edit stays
            return None
