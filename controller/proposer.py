"""
What one decision makes of a stack's pull requests.

A pull request keeps its meaning: another move is another id, branch and pull request. So an approval, an armed merge or
a place in a queue never turns into one of something that its giver has not seen. Its body may get newer evidence, which
no forge takes for a change of what was approved: head and title stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

from controller import decide, observe
from controller.branches import Branches
from controller.errors import ConfigError
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
        may_advance: bool = True,
    ) -> None:
        self.forge, self.facts, self.decision, self.prs, self.dry_run = forge, facts, decision, prs, dry_run
        self.base = repository.base
        self.branches = Branches(repository, sight.tip, facts.history)
        self.wanted: Proposal | None = None
        if decision.verdict is not Verdict.HOLD:
            self.wanted = proposals.of(decision, file_commit=observe.file_commit(facts), base=sight.tip)
        self.actions: list[str] = []
        self.errors: list[Exception] = []
        self._why = decision.reasons[0]
        self._declined = ""
        self._may_advance = may_advance
        self.advanced = False
        self.url = ""
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
            proposal = self._try(self._free)
            opened = self._try(lambda: self._open(proposal)) if proposal is not None else None
            if len(self.errors) > failed:
                ending = []  # nothing goes before the new one is there
            else:
                there = opened is not None or (proposal is not None and self.dry_run)
                ending = [(item, reason) for item, reason in ending if there or not self._still_safer(item)]
                gone = [item for item in alive if not item.pr.queued and (there or item.urgency == ADVANCES)]
                ending += [(item, self._instead(item, opened)) for item in gone]
                alive = [*(item for item in alive if item not in gone), *([opened] if opened else [])]
                kept = max(alive, key=self._rank, default=None)
        elif kept is not None:
            rest = [item for item in alive if item is not kept and not item.pr.queued]
            ending += [(item, self._instead(item, kept)) for item in rest]
            alive = [item for item in alive if item not in rest]
        for item in alive:
            self._try(lambda item=item: self._tend(item, merge=item is kept))  # type: ignore[misc]
        for item, reason in ending:
            self._try(lambda item=item, reason=reason: self._close(item.pr, reason))  # type: ignore[misc]
        if self._declined and not any(item.proposal.verdict is Verdict.REVERT for item in alive):
            self.errors.append(ConfigError(f"a revert is due and none is open: {self._declined}; {self._why}"))
        self.url = kept.pr.url if kept else ""
        return kept.pr.number if kept else None

    def _try(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Exception as error:  # also a bug met in one step; it is told, and the others go on
            self.errors.append(error)
            return None

    def _do(self, done: str, *effects: Callable[[], object]) -> None:
        """Do it and, where nothing of it failed, note it as *done*."""
        if not self.dry_run:
            for effect in effects:
                effect()
        self.actions.append(f"would have {done}" if self.dry_run else done)

    # ------------------------------------------------------------ what there is

    def _sorted(self) -> tuple[list[Open], list[tuple[Open, str]]]:
        """
        The open pull requests of ours: those that may stay, and those to be closed with the reason.

        The rest is a person's by now. An open revert among them holds advances, as one of ours does.
        """
        alive: list[Open] = []
        ending: list[tuple[Open, str]] = []
        rest: list[tuple[PullRequest, Callable[[PullRequest], None] | None]] = []
        for pr in self.prs:
            proposal = self.branches.claimed(pr)
            if proposal is None:
                rest.append((pr, self._lost))
                continue
            reason = None if pr.queued else proposal.closed_reason or self._outdated(proposal)
            ours = self._try(lambda pr=pr, is_=proposal, no=reason: self.branches.is_ours(pr, is_, ending=bool(no)))  # type: ignore[misc]
            if not ours:
                rest.append((pr, self._hands_off if ours is False else None))
            elif reason:
                ending.append((Open(pr, proposal), reason))
            else:
                alive.append(Open(pr, proposal))
        self._hold([pr for pr, _ in rest])
        for pr, deal in rest:
            if deal is not None:
                self._try(lambda pr=pr, deal=deal: deal(pr))  # type: ignore[misc]
        return alive, ending

    def _hold(self, theirs: Sequence[PullRequest]) -> None:
        """Want no advance while one of *theirs* is a revert from the percent that the file has."""
        reverts = (Verdict.REVERT, self.facts.declared.rollout.percent)
        open_ = next((pr.number for pr in theirs if self.branches.named(pr) == reverts), None)
        if self.wanted is not None and self.wanted.verdict is Verdict.ADVANCE and open_ is not None:
            self.wanted, self._why = None, f"a revert that a person edited is open, #{open_}: merge or close it"
            self.actions.append(f"proposed no advance: {self._why}")

    def _still_safer(self, item: Open) -> bool:
        """Whether *item*, though outdated, still makes things safer than the file is, so that it may stand in."""
        same = item.proposal.from_percent == self.facts.declared.rollout.percent
        return item.urgency > ADVANCES and same and not item.proposal.closed_reason

    def _is_wanted(self, proposal: Proposal) -> bool:
        """Whether *proposal* is an attempt at what is wanted."""
        if self.wanted is None or proposal.asked_by or proposal.changes != self.wanted.changes:
            return False
        return proposal.id == proposals.attempted(self.wanted.id, proposal.attempt)

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
        if proposals.attempted(current, proposal.attempt) != proposal.id:
            return f"{file} has changed since"
        if self.wanted is None and urgency(proposal) == ADVANCES and self._old(proposal):
            return f"its evidence of {proposal.evidence_at:%Y-%m-%d %H:%M} UTC has aged out: {self._why}"
        return None

    def _old(self, proposal: Proposal) -> bool:
        return self.decision.window.now - proposal.evidence_at > self.facts.policy.pull_request_ages_out

    def _rank(self, item: Open) -> tuple[float, bool, bool, bool, int]:
        """Which of several stays: the safest; then one queued, one that a person asked for, the wanted, the first."""
        wanted = self._is_wanted(item.proposal)
        return item.urgency, item.pr.queued, bool(item.proposal.asked_by), wanted, -item.pr.number

    def _overtakes(self, kept: Open | None) -> bool:
        """Whether what is wanted takes the place of *kept*: nothing, something less safe, or another advance."""
        if self.wanted is None:
            return False
        if self.wanted.verdict is Verdict.ADVANCE and not self._may_advance:
            return False
        if kept is None:
            return True
        if self._is_wanted(kept.proposal):
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
        return f"{text}: {self._why}" if self._is_wanted(proposal) else text

    # ------------------------------------------------------------ what is done

    def _free(self) -> Proposal | None:
        """
        What is wanted, on a branch that is free for it; None where a person has declined it, or holds the branch.

        A revert does not wait for a branch: it takes the next name.
        """
        assert self.wanted is not None
        revert = self.wanted.verdict is Verdict.REVERT
        for attempt in count():
            proposal = proposals.again(self.wanted, attempt)
            declined = next(filter(None, (observe.veto(pr, proposal.id) for pr in self.prs)), None)
            if declined is not None:
                self.actions.append(declined)
                self._declined = declined if revert else ""
                return None
            name = proposals.branch(proposal)
            holders = [pr for pr in self.prs if pr.state is PrState.OPEN and pr.branch == name]
            if all(self._may_reuse(pr) for pr in holders) and not (revert and self.branches.taken(proposal)):
                return proposal
            if not revert:
                return None
        raise AssertionError

    def _open(self, proposal: Proposal) -> Open | None:
        """Open *proposal*, unless someone else turns out to have done so."""
        name, title = proposals.branch(proposal), pull_request.title(proposal)
        if self.dry_run:
            self._do(f"opened {title}")
            return None
        self.advanced = proposal.verdict is Verdict.ADVANCE
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
        if not found.closed_reason or pr.queued or not self.branches.is_ours(pr, found, ending=True):
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
        bad_news = item.urgency == ADVANCES and not self._is_wanted(proposal)
        if pr.queued:
            if bad_news:
                self._check(pr, CheckState.FAILURE)
            return
        if pr.behind and not bad_news:
            pr = self._updated(pr, proposal)
        state = CheckState.FAILURE if bad_news else CheckState.SUCCESS
        self._try(lambda: self._check(pr, state))
        self._try(lambda: self._refresh(pr, proposal))
        if merge and proposal.verdict in self.facts.policy.merges_by_itself and not (pr.draft or pr.armed):
            self._merge(pr)

    def _updated(self, pr: PullRequest, proposal: Proposal) -> PullRequest:
        head = pr.head if self.dry_run else self.branches.update(pr, proposal)
        self._do(f"brought #{pr.number} up to date with {self.base}")
        return replace(pr, head=head, check=None)

    def _refresh(self, pr: PullRequest, proposal: Proposal) -> None:
        """Write newer evidence where it has aged and still asks for the same; the words of a person stay."""
        if self.wanted is None or not self._is_wanted(proposal) or not self._old(proposal):
            return
        fresh = self._body(proposals.again(self.wanted, proposal.attempt))
        body = pull_request.refreshed(pr.body, fresh)
        done = f"refreshed the evidence of #{pr.number}"
        if body != fresh:
            done = f"renewed #{pr.number}; a person edited its text, so the evidence shown in it is still the former"
        self._do(done, lambda: self.forge.edit(pr.number, body=body))

    def _check(self, pr: PullRequest, state: CheckState) -> None:
        """
        Report the status check where its state changes.

        Yesterday's approval of an advance must not merge today's bad news; nothing blocks a revert.
        """
        if pr.check is not None and pr.check[0] is state:
            return
        why = f", {self._why}" if state is CheckState.FAILURE else ""
        said = replace(self.decision, reasons=(self._why,))
        self._do(
            f"set rollout/evidence of #{pr.number} to {state}{why}",
            lambda: self.forge.check(pr.head, state, pull_request.check_description(said)),
        )

    def _merge(self, pr: PullRequest) -> None:
        """Merge at the head that this pass has found, or made, to hold our proposal and nothing else."""
        if self.dry_run:
            self._do(f"merged #{pr.number}, as the policy says")
            return
        said = {
            Merge.MERGED: f"merged #{pr.number}, as the policy says",
            Merge.ARMED: f"left #{pr.number} to the forge to merge once its rules allow, as the policy says",
            Merge.NOT_YET: f"could not merge #{pr.number} yet; the next pass tries again",
        }
        self._do(said[self.forge.merge(pr)])

    def _hands_off(self, pr: PullRequest) -> None:
        """
        Leave an edited branch to the person, and say so once.

        Its check does not stand in the person's way, except where it would speak for what was not judged: a percent
        above the base's, or whatever the forge was told to merge before the edit.
        """
        if pr.queued:
            return
        if not any(HANDS_OFF in comment for comment in pr.comments):
            said = f"left #{pr.number} to the person who edited its branch"
            self._do(said, lambda: self.forge.comment(pr.number, HANDS_OFF))
        state, why = CheckState.SUCCESS, "a person edited this branch; it is theirs to merge"
        if pr.armed:
            state, why = CheckState.FAILURE, "edited by a person after it was armed: disarm it, or close it"
        elif self.branches.raises(pr.head):
            state, why = CheckState.FAILURE, "edited by a person and raises the percent: not judged"
        if not self.dry_run and (pr.check is None or pr.check[0] is not state):
            self.forge.check(pr.head, state, why)

    def _lost(self, pr: PullRequest) -> None:
        """Judge an advance of ours whose text no longer says what it proposes by its branch: it must not stay green."""
        if (self.branches.named(pr) or (None,))[0] is not Verdict.ADVANCE:
            return
        wanted = self.wanted
        good = wanted is not None and proposals.branch(wanted) == pr.branch and self.branches.is_ours(pr, wanted)
        self._check(pr, CheckState.SUCCESS if good else CheckState.FAILURE)

    def _close(self, pr: PullRequest, reason: str) -> None:
        """Mark, then close: a closed pull request without our mark is a person's no."""
        if pr.number in self._closed:
            return
        self._closed.add(pr.number)
        self._do(f"closed #{pr.number}: {reason}", lambda: self._mark_and_close(pr, reason))

    def _mark_and_close(self, pr: PullRequest, reason: str) -> None:
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
