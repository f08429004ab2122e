"""
One pass: look, decide, propose. Level-based: it acts on the state that it reads, keeps nothing, and may be killed at
any line. Every write is idempotent or a compare-and-swap, so the next pass continues where this one stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from controller import decide, observe
from controller.errors import ConfigError, TransientError
from controller.messages import proposals
from controller.model import Decision, Verdict
from controller.ports import CheckState, Forge, PrState, PullRequest, Repository
from controller.proposer import Proposer

ADVANCES_A_PASS = 10  # opened in one: writes are paced, and the next pass must not be late for a revert


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What one pass did for one stack: the decision and the actions in words, and what failed.

    There may be a decision beside an `error`: where the forge does not answer, a revert that is due is still told.
    """

    stack: str
    decision: Decision | None = None
    facts: decide.Facts | None = None
    actions: tuple[str, ...] = ()
    pull_request: int | None = None
    url: str = ""  # of the pull request
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

    The pull requests are listed once. Where that fails, every stack is still judged, an advance is held, since a person
    may have declined it, and nothing is written. A failure in one stack is its outcome and does not stop the others.
    With *dry_run* nothing is written.

    Raises:
        ConfigError, TransientError: nothing could be decided at all: the repository, the policy, or an unknown stack.
    """
    sight = observe.look(reader.repository)
    unknown = [stack for stack in stacks if stack not in sight.stacks]
    if unknown:
        raise ConfigError(f"no Pulumi.{unknown[0]}.yaml; stacks here: {', '.join(sight.stacks)}")
    dealt, trouble = _listed(reader.repository, forge)
    outcomes: dict[str, Outcome] = {}
    seen: dict[str, decide.Facts] = {}
    for stack in sight.stacks:
        outcomes[stack] = _judged(reader, sight, stack, now, dealt.get(stack, []), trouble, seen)
    wanted = [stack for stack in sight.stacks if not stacks or stack in stacks]
    opened = 0
    for stack in sorted(wanted, key=lambda stack: _turn(outcomes[stack])):
        prs, may_advance = dealt.get(stack, []), opened < ADVANCES_A_PASS
        outcomes[stack], advanced = _written(
            reader.repository, forge, sight, outcomes[stack], prs, dry_run=dry_run, may_advance=may_advance
        )
        opened += advanced
    if not dry_run and not stacks:
        for stack in sorted(dealt.keys() - set(sight.stacks)):
            _fail_advances(reader.repository, forge, dealt[stack])
    return [outcomes[stack] for stack in wanted]


def _written(
    repository: Repository,
    forge: Forge,
    sight: observe.Sight,
    judged: Outcome,
    prs: Sequence[PullRequest],
    *,
    dry_run: bool,
    may_advance: bool,
) -> tuple[Outcome, bool]:
    """What became of the pull requests of a stack that was *judged*, and whether an advance was opened."""
    failed = judged
    if judged.error is None and judged.facts is not None and judged.decision is not None:
        try:
            proposer = Proposer(
                repository, forge, sight, judged.facts, judged.decision, prs, dry_run=dry_run, may_advance=may_advance
            )
            number, error = proposer.run(), _worst(proposer.errors)
            told = tuple(proposer.actions)
            done = replace(judged, actions=told, pull_request=number, url=proposer.url, error=error)
            return done, proposer.advanced
        except Exception as error:  # as in `_judged`
            failed = Outcome(judged.stack, error=error)
    actions = [] if dry_run else _fail_advances(repository, forge, prs)
    return replace(failed, actions=tuple(actions)), False


def _judged(
    reader: observe.Reader,
    sight: observe.Sight,
    stack: str,
    now: datetime,
    prs: Sequence[PullRequest],
    trouble: Exception | None,
    seen: dict[str, decide.Facts],
) -> Outcome:
    """What *stack* asks for, or why that is not known; its facts are *seen* by the stacks behind it."""
    try:
        told = str(trouble) if trouble else None
        facts = observe.observe(reader, sight, stack, now=now, pull_requests=prs, forge_trouble=told, seen=seen)
        seen[stack] = facts
        return Outcome(stack, decide.decide(facts), facts, error=trouble)
    except Exception as error:  # a bug met by one stack's data must not keep another from reverting
        return Outcome(stack, error=error)


def _turn(outcome: Outcome) -> int:
    """When a stack is written: what a forge lets us write in one pass goes to reverts first and to advances last."""
    order = (Verdict.REVERT, Verdict.FLIP, Verdict.HOLD, Verdict.ADVANCE)
    return order.index(outcome.decision.verdict) if outcome.decision is not None else order.index(Verdict.HOLD)


def _fail_advances(repository: Repository, forge: Forge, prs: Sequence[PullRequest]) -> list[str]:
    """Fail the check of each open advance of a stack that could not be judged: the last pass's green says nothing."""
    actions = []
    for pr in prs:
        ours = pr.state is PrState.OPEN and pr.by_us and pr.base == repository.base
        name = proposals.named(pr.branch)
        failed = pr.check is not None and pr.check[0] is CheckState.FAILURE
        if not ours or failed or name is None or name[0] is not Verdict.ADVANCE:
            continue
        with suppress(Exception):  # what kept the stack from being judged is told; the next pass tries again
            forge.check(pr.head, CheckState.FAILURE, "not judged: the stack could not be read")
            actions.append(f"set rollout/evidence of #{pr.number} to failure, the stack could not be judged")
    return actions


def _listed(repository: Repository, forge: Forge) -> tuple[dict[str, list[PullRequest]], Exception | None]:
    """
    All pull requests by stack, or what kept them from being listed.

    A listing that names a branch or a commit that the repository did not have a moment ago makes it look again. One
    whose branch is gone then counts as closed: GitLab leaves it open, the others close it.
    """
    dealt: dict[str, list[PullRequest]] = {}
    try:
        prs = forge.pull_requests(proposals.PREFIX)
        heads = repository.branches(proposals.PREFIX)
        if any(pr.state is PrState.OPEN and heads.get(pr.branch) != pr.head for pr in prs):
            repository.sync()
            heads = repository.branches(proposals.PREFIX)
    except Exception as error:
        return {}, error
    for pr in prs:
        stack = pr.branch.removeprefix(proposals.PREFIX).partition("/")[0]
        gone = pr.state is PrState.OPEN and pr.branch not in heads
        dealt.setdefault(stack, []).append(replace(pr, state=PrState.CLOSED) if gone else pr)
    return dealt, None


def _worst(errors: Sequence[Exception]) -> Exception | None:
    """The error that asks most: a person's part outweighs a retry."""
    return min(errors, key=lambda error: isinstance(error, TransientError), default=None)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 done, 2 a person must act, 75 try again later; a person's part outweighs the rest."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if any(outcome.facts is not None and outcome.facts.policy_trouble for outcome in outcomes):
        return 2
    if any(not isinstance(error, TransientError) for error in errors):
        return 2
    return 75 if errors else 0
