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

from controller import decide, observe
from controller.branches import Branches
from controller.effects import Effects
from controller.errors import ConfigError
from controller.messages import proposals, pull_request
from controller.messages.proposals import Proposal
from controller.model import Decision, Verdict
from controller.policy.schema import SetFlag
from controller.ports import CheckState, Forge, Merge, PrState, PullRequest, Repository
from controller.theirs import Theirs

ADVANCES = 0


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
        self.effects = Effects(forge, decision, dry_run=dry_run)
        self.base = repository.base
        self.branches = Branches(repository, sight.tip, facts.history)
        self.wanted: Proposal | None = None
        if decision.verdict is not Verdict.HOLD:
            self.wanted = proposals.of(decision, file_commit=observe.file_commit(facts), base=sight.tip)
        self._theirs = Theirs(self.branches, self.effects)
        self._declined = ""
        self._may_advance = may_advance
        self.advanced = False
        self.url = ""
        self._closed: set[int] = set()

    def run(self) -> int | None:
        """
        The number of the open pull request, if any; what was done, and what failed, is in `effects`.

        A failure does not keep the next step from being tried: a revert does not wait for a permission that only the
        status check needs.
        """
        alive, ending = self._sorted()
        kept = max(alive, key=self._rank, default=None)
        if self._overtakes(kept):
            failed = len(self.effects.errors)
            proposal = self.effects.attempt(self._free)
            opened = self.effects.attempt(self._open, proposal) if proposal is not None else None
            if len(self.effects.errors) > failed:
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
            self.effects.attempt(self._tend, item, merge=item is kept)
        for item, reason in ending:
            self.effects.attempt(self._close, item.pr, reason)
        if self._declined and not any(item.proposal.verdict is Verdict.REVERT for item in alive):
            self.effects.errors.append(
                ConfigError(f"a revert is due and none is open: {self._declined}; {self.effects.why}")
            )
        self.url = kept.pr.url if kept else ""
        return kept.pr.number if kept else None

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
                rest.append((pr, lambda pr: self._theirs.lost(pr, self.wanted)))
                continue
            reason = None if pr.queued else proposal.closed_reason or self._outdated(proposal)
            ours = self.effects.attempt(self.branches.is_ours, pr, proposal, ending=bool(reason))
            if not ours:
                rest.append((pr, self._theirs.hands_off if ours is False else None))
            elif reason:
                ending.append((Open(pr, proposal), reason))
            else:
                alive.append(Open(pr, proposal))
        self._hold([pr for pr, _ in rest])
        for pr, deal in rest:
            if deal is not None:
                self.effects.attempt(deal, pr)
        return alive, ending

    def _hold(self, theirs: Sequence[PullRequest]) -> None:
        """Want no advance while one of *theirs* is a revert from the percent that the file has."""
        open_ = self._theirs.revert_from(self.facts.declared.rollout.percent, theirs)
        if self.wanted is not None and self.wanted.verdict is Verdict.ADVANCE and open_ is not None:
            self.wanted = None
            self.effects.why = f"a revert that a person edited is open, #{open_}: merge or close it"
            self.effects.actions.append(f"proposed no advance: {self.effects.why}")

    def _still_safer(self, item: Open) -> bool:
        """Whether *item*, though outdated, still makes things safer than the file is, so that it may stand in."""
        same = item.proposal.from_percent == self.facts.declared.rollout.percent
        return item.urgency > ADVANCES and same and not item.proposal.closed_reason

    def _is_wanted(self, proposal: Proposal) -> bool:
        """Whether *proposal* is an attempt at what is wanted."""
        if self.wanted is None or proposal.changes != self.wanted.changes:
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
        if proposal.verdict is Verdict.FLIP and not self._is_ordered(proposal):
            return f"no trigger of {observe.POLICY_FILE} asks for it"
        current = proposals.ident(proposal.stack, proposal.verdict, proposal.changes, observe.file_commit(self.facts))
        if proposals.attempted(current, proposal.attempt) != proposal.id:
            return f"{file} has changed since"
        if self.wanted is None and urgency(proposal) == ADVANCES and self._old(proposal):
            return f"its evidence of {proposal.evidence_at:%Y-%m-%d %H:%M} UTC has aged out: {self.effects.why}"
        return None

    def _is_ordered(self, flip: Proposal) -> bool:
        """Whether triggers of the policy, whatever they say now, set all that *flip* sets."""
        rules = [trigger.then for trigger in self.facts.policy.triggers.values()]
        orders = {(rule.set, rule.to) for rule in rules if isinstance(rule, SetFlag)}
        return all((path, new) in orders for path, (_, new) in flip.changes.items())

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
        return f"{text}: {self.effects.why}" if self._is_wanted(proposal) else text

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
                self.effects.actions.append(declined)
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
            self.effects.do(f"opened {title}")
            return None
        self.advanced = proposal.verdict is Verdict.ADVANCE
        head = self.branches.push(proposal, pull_request.commit_message(proposal, self.decision.reasons))
        pr = self.forge.open(branch=name, title=title, body=self._body(proposal))
        found = self.branches.claimed(pr)
        if found is None:
            self.effects.actions.append(f"left {name} to #{pr.number}, which someone else opened")
            return None
        self.effects.actions.append(f"#{pr.number}: opened {title}")
        return Open(replace(pr, head=head), found)

    def _may_reuse(self, pr: PullRequest) -> bool:
        """Whether the branch of *pr* is free for a new pull request: a closing of ours, cut short, is finished here."""
        found = self.branches.claimed(pr)
        if found is None:
            self.effects.actions.append(f"left {pr.branch} to #{pr.number}, which is not the controller's")
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
                self.effects.check(pr, CheckState.FAILURE)
            return
        if not bad_news and self.branches.is_behind(pr, proposal):
            pr = self._updated(pr, proposal)
        state = CheckState.FAILURE if bad_news else CheckState.SUCCESS
        self.effects.attempt(self.effects.check, pr, state)
        self.effects.attempt(self._refresh, pr, proposal)
        if merge and proposal.verdict in self.facts.policy.merges_by_itself and not (pr.draft or pr.armed):
            self._merge(pr)

    def _updated(self, pr: PullRequest, proposal: Proposal) -> PullRequest:
        head = pr.head if self.dry_run else self.branches.update(pr, proposal)
        self.effects.do(f"brought #{pr.number} up to date with {self.base}")
        return replace(pr, head=head, check=None)

    def _refresh(self, pr: PullRequest, proposal: Proposal) -> None:
        """Write newer evidence where it has aged and still asks for the same; the words of a person stay."""
        if self.wanted is None or not self._is_wanted(proposal) or not self._old(proposal):
            return
        fresh = self._body(proposals.again(self.wanted, proposal.attempt))
        body, shown = pull_request.refreshed(pr.body, fresh)
        done = f"refreshed the evidence of #{pr.number}"
        if not shown:
            done = f"renewed #{pr.number}; a person edited our text, so the evidence shown in it is still the former"
        self.effects.do(done, lambda: self.forge.edit(pr.number, body=body))

    def _merge(self, pr: PullRequest) -> None:
        """Merge at the head that this pass has found, or made, to hold our proposal and nothing else."""
        if self.dry_run:
            self.effects.do(f"merged #{pr.number}, as the policy says")
            return
        said = {
            Merge.MERGED: f"merged #{pr.number}, as the policy says",
            Merge.ARMED: f"left #{pr.number} to the forge to merge once its rules allow, as the policy says",
            Merge.NOT_YET: f"could not merge #{pr.number} yet; the next pass tries again",
        }
        self.effects.do(said[self.forge.merge(pr)])

    def _close(self, pr: PullRequest, reason: str) -> None:
        """Mark, then close: a closed pull request without our mark is a person's no."""
        if pr.number in self._closed:
            return
        self._closed.add(pr.number)
        self.effects.do(f"closed #{pr.number}: {reason}", lambda: self._mark_and_close(pr, reason))

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
    """
    How much safer a proposal makes things: advances not at all, a flip somewhat, a revert more the lower it goes.

    Of two that go as low one pauses the intake, after a stop in AWS: without that `pulumi up` would refuse the other.
    """
    if proposal.verdict is Verdict.REVERT:
        return 200 - proposal.to_percent + ("intake" in proposal.changes) / 2
    return 50 if proposal.verdict is Verdict.FLIP else ADVANCES
