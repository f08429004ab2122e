"""
The way back that a person asks for: a pull request that undoes the commit which advanced.

It asks neither AWS nor the source, since those may be what is broken. It changes Git only; what runs changes with the
merge and `pulumi up`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

from controller import observe, stackfile
from controller.branches import Branches
from controller.errors import ConfigError, TransientError
from controller.history import History
from controller.messages import proposals, pull_request
from controller.messages.proposals import Proposal
from controller.model import Intake, Verdict
from controller.ports import CheckState, Forge, PrState, PullRequest, Repository


@dataclass(frozen=True, slots=True)
class Rollback:
    """The pull request to merge, None where the file says so already, and what to tell the person who asked."""

    pull_request: PullRequest | None
    lines: tuple[str, ...]


def rollback(
    repository: Repository,
    forge: Forge,
    *,
    stack: str,
    to: int | None,
    reason: str,
    by: str,
    now: datetime,
    paused: bool = False,
    notes: Sequence[str] = (),
) -> Rollback:
    """
    Open the pull request that takes *stack* back to *to* percent, by default to where it was before the last advance.

    Where nothing else has changed, the file gets its former bytes back; else what that commit wrote below
    `pilot:rollout`; else, where one of those values has changed again, the percent alone. Asking again finds the same
    pull request, or another that a person asked for and that goes as low. The next passes leave it open until it is
    merged or closed, a deeper revert overtakes it, or the file's percent is another. Where AWS has *paused* the intake,
    the file shall say that too; *notes* are told beside the reason.

    Raises:
        ConfigError: there is no such stack, nothing to take back, or the file cannot be changed so; says what to run.
        TransientError: repository or forge failed; asking again is safe.
    """
    sight = observe.look(repository)
    if stack not in sight.stacks:
        raise ConfigError(f"no Pulumi.{stack}.yaml; stacks here: {', '.join(sight.stacks)}")
    file = observe.stack_file(stack)
    data = repository.read(sight.tip, file)
    assert data is not None  # it is one of the stacks
    rollout = stackfile.read(data, name=file).rollout
    percent, open_ = rollout.percent, rollout.intake is Intake.OPEN
    history = observe.past(repository, sight.tip, stack)
    branches = Branches(repository, sight.tip, history)
    target = _target(stack, percent, history) if to is None else to
    changes: dict[str, tuple[Any, Any]] = {}
    more: list[str] = []
    if target < percent:
        changes, more = _changes(branches, stack, percent, target, data)
    elif not paused:
        raise ConfigError(f"{file} is at {percent} %; a rollback goes lower, found --to {target}")
    if paused and open_:
        changes["intake"] = (str(Intake.OPEN), str(Intake.PAUSED))
    if not changes:
        return Rollback(None, (f"{file} says so already; next: pulumi up --stack {stack}",))
    commit = history.steps[0].commit.oid
    proposal = Proposal(
        id=proposals.ident(stack, Verdict.REVERT, changes, commit, asked=True), stack=stack, verdict=Verdict.REVERT,
        from_percent=percent, to_percent=min(target, percent), changes=changes, base=sight.tip, evidence_at=now,
        asked_by=_name(by),
    )  # fmt: skip
    reasons = [f"Asked for by {proposal.asked_by}: {reason}", *notes, *more]
    return _opened(branches, forge, sight, proposal, reasons)


def _target(stack: str, percent: int, history: History) -> int:
    """The percent before the commit that advanced to the present one."""
    step = history.raised_to(percent)
    if step is not None and step.before is not None:
        return step.before.rollout.percent
    again = f"pilot rollback --stack {stack} --to PERCENT --reason TEXT"
    changed = next((step for step in history.steps if step.lowers), None)
    if changed is None or changed.before is None:
        raise ConfigError(f"no commit raised {observe.stack_file(stack)} to {percent} %; name the percent: {again}")
    raise ConfigError(
        f"the last advance is taken back already: {changed.commit.oid[:8]} of {changed.commit.by} lowered "
        f"{changed.before.rollout.percent} % to {changed.after.rollout.percent} %; to go further down: {again}"
    )


def _changes(
    branches: Branches, stack: str, percent: int, target: int, data: bytes
) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """What the rollback changes, by path, and what a reader must know of it."""
    alone: dict[str, tuple[Any, Any]] = {"percent": (percent, target)}
    step = branches.history.raised_to(percent)
    if step is None or step.before is None or step.before.rollout.percent != target:
        return alone, []
    undone = branches.undone(stack, percent, data)
    if undone is None:
        return alone, [
            f"The commit {step.commit.oid[:8]} that advanced changed more, which has changed again since: only the "
            "percent is taken back; look at the rest by hand"
        ]
    return alone | {change.path: (change.old, change.new) for change in undone[1] if change.path != "percent"}, []


def _opened(branches: Branches, forge: Forge, sight: observe.Sight, proposal: Proposal, reasons: list[str]) -> Rollback:
    base, title = branches.repository.base, pull_request.title(proposal)
    prs = _open(branches, forge, proposal.stack)
    pr = _as_low(branches, prs, proposal)
    done = "does that already"
    notes: list[str] = []
    if pr is None:
        proposal, notes = _free(branches, prs, proposal)
        head = branches.push(proposal, pull_request.commit_message(proposal, reasons))
        body = pull_request.rollback_body(proposal, reasons, sight.policy.for_stack(proposal.stack), base_branch=base)
        pr = forge.open(branch=proposals.branch(proposal), title=title, body=body)
        if branches.claimed(pr) is None:
            raise ConfigError(f"#{pr.number} {pr.url} holds {pr.branch} and is not the controller's; merge or close it")
        pr, done = replace(pr, head=head), f"opened {title}"
    if pr.check is None or pr.check[0] is not CheckState.SUCCESS:  # a required check must not wait for the next pass
        try:
            forge.check(pr.head, CheckState.SUCCESS, f"rollback, asked for by {proposal.asked_by}"[:140])
        except TransientError as error:
            raise TransientError(f"#{pr.number}: {done}; its status could not be set, ask again: {error}") from error
        except ConfigError as error:  # the pull request is what was asked for
            notes.append(f"its status rollout/evidence could not be set, and is missing where it is required: {error}")
    next_step = f"next: merge #{pr.number}, then pulumi up --stack {proposal.stack}"
    return Rollback(pr, (f"#{pr.number}: {done} {pr.url}".rstrip(), *notes, next_step))


def _open(branches: Branches, forge: Forge, stack: str) -> list[PullRequest]:
    """The open pull requests of *stack*. One whose branch is gone counts as closed, though GitLab leaves it open."""
    prefix = proposals.prefix(stack)
    prs = [pr for pr in forge.pull_requests(prefix) if pr.state is PrState.OPEN]
    heads = branches.repository.branches(prefix)
    if any(heads.get(pr.branch) != pr.head for pr in prs):
        branches.repository.sync()
        heads = branches.repository.branches(prefix)
    return [pr for pr in prs if pr.branch in heads]


def _as_low(branches: Branches, prs: Sequence[PullRequest], proposal: Proposal) -> PullRequest | None:
    """
    One of *prs* that a person asked for and that goes from the same percent as low as *proposal*, or lower.

    One that the evidence asked for ends with another state of the file, and its merge is nobody's word.
    """
    for pr in prs:
        found = branches.claimed(pr)
        if found is None or found.closed_reason or not found.asked_by:
            continue
        goes_as_low = found.to_percent <= proposal.to_percent and found.from_percent == proposal.from_percent
        pauses = "intake" in found.changes or "intake" not in proposal.changes
        if goes_as_low and pauses and branches.is_ours(pr, found):
            return pr
    return None


def _free(branches: Branches, prs: Sequence[PullRequest], proposal: Proposal) -> tuple[Proposal, list[str]]:
    """The first attempt at *proposal* whose branch nobody holds, and who holds the others."""
    notes: list[str] = []
    for attempt in count():
        tried = proposals.again(proposal, attempt)
        name = proposals.branch(tried)
        holder = next((pr for pr in prs if pr.branch == name), None)
        if holder is None and not branches.taken(tried):
            return tried, notes
        if holder is not None:
            where = f"#{holder.number} {holder.url}".rstrip()
            notes.append(f"{where} asks for the same, and a person has edited it: merge or close it")
    raise AssertionError


def _name(by: str) -> str:
    """A person's name as one trailer holds it; what else it holds could be a mention or a second line."""
    return " ".join(re.sub(r"[^\w .,'-]", " ", by).split()) or "someone"
