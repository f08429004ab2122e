"""
One pass: look, decide, propose. Level-based: it acts on the state that it reads, keeps nothing, and may be killed at
any line. Every write is idempotent or a compare-and-swap, so the next pass continues where this one stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller import decide, observe, stackfile
from controller.errors import ConfigError, TransientError
from controller.messages import proposals, pull_request
from controller.messages.proposals import Proposal
from controller.model import Decision, Verdict
from controller.ports import CheckState, Forge, PrState, PullRequest, RefUpdate, Repository

ADVANCES = 0
HANDS_OFF = "This branch was edited by a person; it is theirs now, and the controller leaves it alone."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass did for one stack: the decision and the actions in words, or the error."""

    stack: str
    decision: Decision | None = None
    facts: decide.Facts | None = None
    actions: tuple[str, ...] = ()
    pull_request: int | None = None
    error: Exception | None = None


def reconcile(
    reader: observe.Reader,
    forge: Forge,
    *,
    now: datetime,
    stacks: Sequence[str] = (),
    dry_run: bool = False,
) -> list[Outcome]:
    """
    Make one pass over all stacks, or propose only for *stacks*.

    A failure in one stack is its outcome and does not stop the others; with *dry_run* nothing is written.

    Raises:
        ConfigError, TransientError: nothing could be decided at all: the repository, the policy, or an unknown stack.
    """
    sight = observe.look(reader.repository)
    unknown = [stack for stack in stacks if stack not in sight.stacks]
    if unknown:
        raise ConfigError(f"no Pulumi.{unknown[0]}.yaml; stacks here: {', '.join(sight.stacks)}")
    outcomes: list[Outcome] = []
    seen: dict[str, decide.Facts] = {}
    for stack in sight.stacks:
        try:
            prs = forge.pull_requests(proposals.prefix(stack))
            facts = observe.observe(reader, sight, stack, now=now, pull_requests=prs, seen=seen)
            seen[stack] = facts
            if stacks and stack not in stacks:
                continue
            decision = decide.decide(facts)
            proposer = Proposer(reader.repository, forge, sight, facts, decision, prs, dry_run)
            actions, number = proposer.run()
            outcomes.append(Outcome(stack, decision, facts, tuple(actions), number))
        except Exception as error:  # a bug met by one stack's data must not keep another from reverting
            outcomes.append(Outcome(stack, error=error))
    return outcomes


@dataclass(slots=True)
class Proposer:
    """Brings the forge to what one decision asks: at most one open pull request of ours for the stack."""

    repository: Repository
    forge: Forge
    sight: observe.Sight
    facts: decide.Facts
    decision: Decision
    prs: Sequence[PullRequest]
    dry_run: bool

    def run(self) -> tuple[list[str], int | None]:
        """The actions taken, in words, and the number of the open pull request, if any."""
        actions: list[str] = []
        wanted = self._wanted()
        kept: PullRequest | None = None
        for pr in self.prs:
            proposal = proposals.parse(pr.body)
            if pr.state is not PrState.OPEN or proposal is None or proposals.branch(proposal) != pr.branch:
                continue  # ended, or not ours
            if proposal.closed_reason:  # a pass died between marking and closing
                actions += self._close(pr, proposal.closed_reason)
            elif not self._is_ours(pr, proposal):
                actions += self._hands_off(pr)
            elif kept is not None:
                actions += self._close(pr, f"#{kept.number} proposes the same")
            elif (reason := self._obsolete(proposal, wanted)) is not None:
                actions += self._close(pr, reason)
            else:
                kept = pr
                actions += self._keep(pr, proposal, wanted)
        if kept is None and wanted is not None:
            declined = [text for pr in self.prs if (text := observe.veto(pr, wanted.id))]
            if declined:
                actions.append(declined[0])
            else:
                kept, done = self._open(wanted)
                actions += done
        return actions, kept.number if kept else None

    def _wanted(self) -> Proposal | None:
        if self.decision.verdict is Verdict.HOLD:
            return None
        return proposals.of(self.decision, file_commit=observe.file_commit(self.facts), base=self.sight.tip)

    def _obsolete(self, proposal: Proposal, wanted: Proposal | None) -> str | None:
        """
        Why an open pull request of ours is to be closed; None to keep it.

        One that makes things safer waits for a person however the evidence goes on: only a step further down, or
        another state of the file, ends it.
        """
        current = proposals.ident(proposal.stack, proposal.verdict, proposal.changes, observe.file_commit(self.facts))
        if current != proposal.id:
            return f"{observe.stack_file(proposal.stack)} has changed since"
        if wanted is not None and wanted.id != proposal.id and _urgency(wanted) > _urgency(proposal):
            overtaken = "overtaken by a revert" if wanted.verdict is Verdict.REVERT else "superseded"
            return f"{overtaken}: {self.decision.reasons[0]}"
        age = self.decision.window.now - proposal.evidence_at
        if wanted is None and _urgency(proposal) == ADVANCES and age > self.facts.policy.pull_request_ages_out:
            return f"its evidence of {proposal.evidence_at:%Y-%m-%d %H:%M} UTC has aged out: {self.decision.reasons[0]}"
        return None

    def _is_ours(self, pr: PullRequest, proposal: Proposal) -> bool:
        """Judged by content: the branch changes our keys to our values and nothing else, whoever pushed it."""
        file = observe.stack_file(proposal.stack)
        changed = self.repository.changed(self.sight.tip, pr.head)
        if not changed:
            return True  # merged by hand, or the base has come to the same: nothing of a person's to lose
        if set(changed) != {file}:
            return False
        before, after = changed[file]
        return before is not None and after == self._proposed(proposal, before)

    def _hands_off(self, pr: PullRequest) -> list[str]:
        if HANDS_OFF in pr.comments:
            return []
        if not self.dry_run:
            self.forge.comment(pr.number, HANDS_OFF)
            self.forge.check(pr.head, CheckState.SUCCESS, "a person edited this branch; it is theirs to merge")
        return [f"left #{pr.number} to the person who edited its branch"]

    def _close(self, pr: PullRequest, reason: str) -> list[str]:
        if not self.dry_run:
            self.forge.edit(pr.number, body=pull_request.closed_body(pr.body, reason))
            self.forge.close(pr.number)
            self.repository.push([RefUpdate(f"refs/heads/{pr.branch}", pr.head, None)])
        return [f"closed #{pr.number}: {reason}"]

    def _keep(self, pr: PullRequest, proposal: Proposal, wanted: Proposal | None) -> list[str]:
        actions = self._check(pr, proposal)
        age = self.decision.window.now - proposal.evidence_at
        if wanted is not None and wanted.id == proposal.id and age > self.facts.policy.pull_request_ages_out:
            if not self.dry_run:
                self.forge.edit(pr.number, body=self._body(wanted))
            actions.append(f"refreshed the evidence of #{pr.number}")
        return actions

    def _check(self, pr: PullRequest, proposal: Proposal) -> list[str]:
        """
        Report the status check where its state changes.

        Yesterday's approval of an advance must not merge today's bad news; nothing blocks a revert.
        """
        bad_news = _urgency(proposal) == ADVANCES and self.decision.verdict is not Verdict.ADVANCE
        state = CheckState.FAILURE if bad_news else CheckState.SUCCESS
        if pr.check is not None and pr.check[0] is state:
            return []
        if not self.dry_run:
            self.forge.check(pr.head, state, pull_request.check_description(self.decision))
        why = f", {self.decision.reasons[0]}" if state is CheckState.FAILURE else ""
        return [f"check rollout/evidence of #{pr.number}: {state}{why}"]

    def _open(self, proposal: Proposal) -> tuple[PullRequest | None, list[str]]:
        done = f"opened {pull_request.title(proposal)}"
        if self.dry_run:
            return None, [f"would have {done}"]
        name = proposals.branch(proposal)
        head = self.repository.branches(name).get(name) or self._push(proposal, name)
        pr = self.forge.open(branch=name, title=pull_request.title(proposal), body=self._body(proposal))
        if not self._is_ours(replace(pr, head=head), proposal):
            return None, self._hands_off(pr)
        return pr, [f"#{pr.number}: {done}", *self._check(pr, proposal)]

    def _push(self, proposal: Proposal, name: str) -> str:
        """Push the proposal's branch; where another pass was first, take its branch instead."""
        file = observe.stack_file(proposal.stack)
        now = self.repository.read(self.sight.tip, file)
        assert now is not None  # it was read to make the facts
        after = self._proposed(proposal, now)
        if after is None:
            raise ConfigError(f"{file}: {proposal.changes} cannot be written; mend the file")
        message = pull_request.commit_message(proposal, self.decision)
        commit = self.repository.commit(self.sight.tip, {file: after}, message)
        if self.repository.push([RefUpdate(f"refs/heads/{name}", None, commit)]):
            return commit
        self.repository.sync()
        head = self.repository.branches(name).get(name)
        if head is None:
            raise TransientError(f"branch {name} could not be pushed: another pass moved it; the next pass continues")
        return head

    def _proposed(self, proposal: Proposal, now: bytes) -> bytes | None:
        """
        The stack file *now* as *proposal* changes it; None where it cannot be so changed.

        A revert of an advance restores the former bytes, where they say just what is proposed.
        """
        file = observe.stack_file(proposal.stack)
        wanted = {path: new for path, (_, new) in proposal.changes.items()}
        if proposal.verdict is Verdict.REVERT and (former := self._former(proposal, now)):
            return former
        try:
            return stackfile.splice(now, wanted, name=file)[0]
        except ConfigError:
            return None

    def _former(self, proposal: Proposal, now: bytes) -> bytes | None:
        """The bytes of *now* with the commit that advanced undone, where that is what is proposed."""
        file = observe.stack_file(proposal.stack)
        step = self.facts.history.raised_to(proposal.from_percent)
        if step is None:
            return None
        commits = self.repository.history(self.sight.tip, file)
        oids = [commit.oid for commit in commits]
        index = oids.index(step.commit.oid)
        if index + 1 == len(commits):
            return None
        after, before = commits[index].data, commits[index + 1].data
        if after is None or before is None:
            return None
        try:
            restored, changes = stackfile.restore(now, before, after, name=file)
        except ConfigError:  # changed again since: a person's edit stays
            return None
        wanted = [("percent", str(proposal.to_percent))]
        return restored if [(change.path, change.new) for change in changes] == wanted else None

    def _body(self, proposal: Proposal) -> str:
        return pull_request.body(proposal, self.decision, self.facts.policy, base_branch=self.repository.base)


def _urgency(proposal: Proposal) -> float:
    """How much safer a proposal makes things: advances not at all, a flip somewhat, a revert more the lower it goes."""
    if proposal.verdict is Verdict.REVERT:
        return 200 - proposal.to_percent
    return 50 if proposal.verdict is Verdict.FLIP else ADVANCES


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 done, 2 a person must act, 75 try again later; a person's part outweighs the rest."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if any(outcome.facts is not None and outcome.facts.policy_trouble for outcome in outcomes):
        return 2
    if any(not isinstance(error, TransientError) for error in errors):
        return 2
    return 75 if errors else 0
