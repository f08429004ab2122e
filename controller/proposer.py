"""
What one decision makes of a stack's pull requests.

A pull request keeps its meaning: another move is another id, branch and pull request. So an approval, an armed merge or
a place in a queue never turns into one of something that its giver has not seen. Its body may get newer evidence, which
no forge takes for a change of what was approved: head and title stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from controller import decide, observe
from controller.branches import Branches
from controller.messages import proposals, pull_request
from controller.messages.proposals import Proposal
from controller.model import Decision, Verdict
from controller.ports import CheckState, Forge, Merge, PrState, PullRequest, Repository

ADVANCES = 0
HANDS_OFF = "This branch was edited by a person; it is theirs now, and the controller leaves it alone."
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Open:
    """An open pull request of ours, with what it proposes."""

    pr: PullRequest
    proposal: Proposal

    @property
    def urgency(self) -> float:
        return urgency(self.proposal)


class Proposer:
    """
    Brings the forge to what one decision asks: at most one open pull request of ours for the stack.

    There are two for a moment where one overtakes another: the new one is opened, then the old one marked with the
    reason, then closed, so that at no time the safer one is missing. A pass that dies between leaves both, and the next
    one goes on. One in a merge queue and one whose branch a person has edited stay beside ours for as long as they are.
    """

    def __init__(
        self,
        repository: Repository,
        forge: Forge,
        sight: observe.Sight,
        facts: decide.Facts,
        decision: Decision,
        prs: Sequence[PullRequest],
        *,
        dry_run: bool,
    ) -> None:
        self.forge, self.facts, self.decision, self.prs, self.dry_run = forge, facts, decision, prs, dry_run
        self.base = repository.base
        self.branches = Branches(repository, sight.tip, facts.history)
        self.wanted: Proposal | None = None
        if decision.verdict is not Verdict.HOLD:
            self.wanted = proposals.of(decision, file_commit=observe.file_commit(facts), base=sight.tip)
        self.actions: list[str] = []
        self.errors: list[Exception] = []
        self._closed: set[int] = set()

    def run(self) -> int | None:
        """
        The number of the open pull request, if any; what was done is in `actions`, what failed in `errors`.

        A failure does not keep the next step from being tried: a revert does not wait for a permission that only the
        status check needs.
        """
        alive, ending = self._sorted()
        kept = max(alive, key=self._rank, default=None)
        if self._overtakes(kept):
            failed = len(self.errors)
            opened = self._try(self._open)
            if len(self.errors) > failed:
                ending = []  # nothing goes before the new one is there
            else:
                ending += [(item, self._instead(item, opened)) for item in alive if not item.pr.queued]
                alive = [*(item for item in alive if item.pr.queued), *([opened] if opened else [])]
                kept = max(alive, key=self._rank, default=None)
        elif kept is not None:
            rest = [item for item in alive if item is not kept and not item.pr.queued]
            ending += [(item, self._instead(item, kept)) for item in rest]
            alive = [item for item in alive if item not in rest]
        for item in alive:
            self._try(lambda item=item: self._tend(item, merge=item is kept))  # type: ignore[misc]
        for item, reason in ending:
            self._try(lambda item=item, reason=reason: self._close(item.pr, reason))  # type: ignore[misc]
        return kept.pr.number if kept else None

    def _try(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Exception as error:  # also a bug met in one step; it is told, and the others go on
            self.errors.append(error)
            return None

    def _say(self, done: str) -> bool:
        """Note what is done; False where it is not to be done."""
        self.actions.append(f"would have {done}" if self.dry_run else done)
        return not self.dry_run

    # ------------------------------------------------------------ what there is

    def _sorted(self) -> tuple[list[Open], list[tuple[Open, str]]]:
        """The open pull requests of ours: those that may stay, and those to be closed with the reason."""
        alive: list[Open] = []
        ending: list[tuple[Open, str]] = []
        for pr in self.prs:
            proposal = self.branches.claimed(pr)
            if proposal is None:
                continue
            item = Open(pr, proposal)
            ours = self._try(lambda item=item: self.branches.is_ours(item.pr, item.proposal))  # type: ignore[misc]
            if ours is False:
                self._try(lambda pr=pr: self._hands_off(pr))  # type: ignore[misc]
            elif ours and not pr.queued and (reason := proposal.closed_reason or self._outdated(proposal)):
                ending.append((item, reason))
            elif ours:
                alive.append(item)
        return alive, ending

    def _outdated(self, proposal: Proposal) -> str | None:
        """
        Why an open pull request of ours says nothing true any more; None where it does.

        One that makes things safer waits for a person however the evidence goes on: only another state of the file
        ends it. What a person asked for by name waits for as long as the file has the percent that it starts from.
        """
        file, now = observe.stack_file(proposal.stack), self.facts.declared.rollout.percent
        if now != proposal.from_percent:
            return f"{file} is at {now} % now"
        if proposal.asked_by:
            return None
        current = proposals.ident(proposal.stack, proposal.verdict, proposal.changes, observe.file_commit(self.facts))
        if current != proposal.id:
            return f"{file} has changed since"
        if self.wanted is None and urgency(proposal) == ADVANCES and self._old(proposal):
            return f"its evidence of {proposal.evidence_at:%Y-%m-%d %H:%M} UTC has aged out: {self.decision.reasons[0]}"
        return None

    def _old(self, proposal: Proposal) -> bool:
        return self.decision.window.now - proposal.evidence_at > self.facts.policy.pull_request_ages_out

    def _rank(self, item: Open) -> tuple[float, bool, bool, bool, int]:
        """Which of several stays: the safest; then one queued, one that a person asked for, the wanted, the first."""
        wanted = self.wanted is not None and item.proposal.id == self.wanted.id
        return item.urgency, item.pr.queued, bool(item.proposal.asked_by), wanted, -item.pr.number

    def _overtakes(self, kept: Open | None) -> bool:
        """Whether what is wanted takes the place of *kept*: nothing, something less safe, or another advance."""
        if self.wanted is None or kept is None:
            return self.wanted is not None
        if self.wanted.id == kept.proposal.id:
            return False
        both_advance = urgency(self.wanted) == kept.urgency == ADVANCES
        return urgency(self.wanted) > kept.urgency or (both_advance and not kept.pr.queued)

    def _instead(self, item: Open, kept: Open | None) -> str:
        """Why *item* is closed in favour of *kept*, or of what is wanted and cannot be opened."""
        if kept is not None and (item.urgency, item.proposal.changes) == (kept.urgency, kept.proposal.changes):
            return f"#{kept.pr.number} proposes the same"
        proposal = kept.proposal if kept else self.wanted
        assert proposal is not None
        number = f"#{kept.pr.number}" if kept else ""
        if proposal.verdict is Verdict.REVERT:
            text = f"overtaken by a revert, {number}" if kept else "overtaken by a revert"
        else:
            text = f"superseded by {number}" if kept else "superseded"
        current = self.wanted is not None and self.wanted.id == proposal.id
        return f"{text}: {self.decision.reasons[0]}" if current else text

    # ------------------------------------------------------------ what is done

    def _open(self) -> Open | None:
        """Open what is wanted, unless a person has declined it or holds its branch."""
        proposal = self.wanted
        assert proposal is not None
        name, title = proposals.branch(proposal), pull_request.title(proposal)
        for pr in self.prs:
            if (declined := observe.veto(pr, proposal.id)) is not None:
                self.actions.append(declined)
                return None
            if pr.state is PrState.OPEN and pr.branch == name and not self._may_reuse(pr):
                return None
        if self.dry_run:
            self._say(f"opened {title}")
            return None
        head = self.branches.push(proposal, pull_request.commit_message(proposal, self.decision.reasons))
        pr = self.forge.open(branch=name, title=title, body=self._body(proposal))
        found = self.branches.claimed(pr)
        if found is None or found.id != proposal.id:
            self.actions.append(f"left {name} to #{pr.number}, which someone else opened")
            return None
        self.actions.append(f"#{pr.number}: opened {title}")
        return Open(replace(pr, head=head), found)

    def _may_reuse(self, pr: PullRequest) -> bool:
        """Whether the branch of *pr* is free for a new pull request: a closing of ours, cut short, is finished here."""
        found = self.branches.claimed(pr)
        if found is None:
            self.actions.append(f"left {pr.branch} to #{pr.number}, which is not the controller's")
            return False
        if not found.closed_reason or pr.queued or not self.branches.is_ours(pr, found):
            return False  # it is told elsewhere
        self._close(pr, found.closed_reason)
        return True

    def _tend(self, item: Open, *, merge: bool) -> None:
        """
        Keep an open pull request as it must be: its check, its base, its evidence; and merge it where the policy says.

        One in a merge queue is not touched but for bad news: a failed status changes nothing of what the queue has
        taken. The queue itself looks at statuses of the commit that it builds, not of this one (docs/guide.md).
        """
        pr, proposal = item.pr, item.proposal
        bad_news = item.urgency == ADVANCES and (self.wanted is None or self.wanted.id != proposal.id)
        if pr.queued:
            if bad_news:
                self._check(pr, CheckState.FAILURE)
            return
        if pr.behind and not bad_news and self._say(f"brought #{pr.number} up to date with {self.base}"):
            pr = replace(pr, head=self.branches.update(pr, proposal), check=None)
        self._check(pr, CheckState.FAILURE if bad_news else CheckState.SUCCESS)
        self._refresh(pr, proposal)
        if merge and proposal.verdict in self.facts.policy.merges_by_itself and not (pr.draft or pr.armed):
            self._merge(pr)

    def _refresh(self, pr: PullRequest, proposal: Proposal) -> None:
        """Write newer evidence where it has aged and still asks for the same; the words of a person stay."""
        if self.wanted is None or self.wanted.id != proposal.id or not self._old(proposal):
            return
        if self._say(f"refreshed the evidence of #{pr.number}"):
            self.forge.edit(pr.number, body=pull_request.refreshed(pr.body, self._body(self.wanted)))

    def _check(self, pr: PullRequest, state: CheckState) -> None:
        """
        Report the status check where its state changes.

        Yesterday's approval of an advance must not merge today's bad news; nothing blocks a revert.
        """
        if pr.check is not None and pr.check[0] is state:
            return
        why = f", {self.decision.reasons[0]}" if state is CheckState.FAILURE else ""
        if self._say(f"set rollout/evidence of #{pr.number} to {state}{why}"):
            self.forge.check(pr.head, state, pull_request.check_description(self.decision))

    def _merge(self, pr: PullRequest) -> None:
        """Merge at the head that this pass has found, or made, to hold our proposal and nothing else."""
        if self.dry_run:
            self._say(f"merged #{pr.number}, as the policy says")
            return
        said = {
            Merge.MERGED: f"merged #{pr.number}, as the policy says",
            Merge.ARMED: f"left #{pr.number} to the forge to merge once its rules allow, as the policy says",
            Merge.NOT_YET: f"could not merge #{pr.number} yet; the next pass tries again",
        }
        self._say(said[self.forge.merge(pr)])

    def _hands_off(self, pr: PullRequest) -> None:
        """Leave an edited branch to the person, and say so once; its check must not stand in the person's way."""
        if pr.queued:
            return
        told = any(HANDS_OFF in comment for comment in pr.comments)
        if not told and self._say(f"left #{pr.number} to the person who edited its branch"):
            self.forge.comment(pr.number, HANDS_OFF)
        if not self.dry_run and (pr.check is None or pr.check[0] is not CheckState.SUCCESS):
            self.forge.check(pr.head, CheckState.SUCCESS, "a person edited this branch; it is theirs to merge")

    def _close(self, pr: PullRequest, reason: str) -> None:
        """Mark, then close: a closed pull request without our mark is a person's no."""
        if pr.number in self._closed:
            return
        self._closed.add(pr.number)
        if not self._say(f"closed #{pr.number}: {reason}"):
            return
        if not (found := proposals.parse(pr.body)) or not found.closed_reason:
            self.forge.edit(pr.number, body=pull_request.closed_body(pr.body, reason))
        self.forge.close(pr.number)
        shared = any(
            other.branch == pr.branch and other.state is PrState.OPEN and other.number not in self._closed
            for other in self.prs
        )
        if not shared:  # with the branch of a duplicate its original would go
            self.branches.delete(pr)

    def _body(self, proposal: Proposal) -> str:
        return pull_request.body(proposal, self.decision, self.facts.policy, base_branch=self.base)


def urgency(proposal: Proposal) -> float:
    """How much safer a proposal makes things: advances not at all, a flip somewhat, a revert more the lower it goes."""
    if proposal.verdict is Verdict.REVERT:
        return 200 - proposal.to_percent
    return 50 if proposal.verdict is Verdict.FLIP else ADVANCES
