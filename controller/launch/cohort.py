"""The firms in the pilot: who is in by the stack file, and the pull request that lets one in or takes one out."""

from __future__ import annotations

import hashlib

from controller import observe, stackfile
from controller.errors import ConfigError, PilotError, TransientError
from controller.messages.markdown import escape, inert
from controller.ports import CheckState, Forge, RefUpdate, Repository


def listed(repository: Repository, stack: str) -> tuple[str, ...]:
    """
    Raises:
        ConfigError: there is no such stack, or its file cannot be read.
    """
    return stackfile.read(_file(repository, repository.sync(), stack), name=observe.stack_file(stack)).rollout.cohort


def change(repository: Repository, forge: Forge, *, stack: str, firm: str, joins: bool, by: str) -> tuple[str, ...]:
    """
    Open the pull request after whose merge *firm* is in the cohort of *stack*, or out of it; says what was done.

    Asking again finds the same one. It changes the list's line alone, and no stage: the controller does not count it
    for a person's word on that.

    Raises:
        ConfigError: no such stack, the firm is there (or not there) already, or its list cannot be edited safely.
        TransientError: repository or forge failed; asking again is safe.
    """
    tip, name = repository.sync(), observe.stack_file(stack)
    data = _file(repository, tip, stack)
    firms = stackfile.read(data, name=name).rollout.cohort
    if joins == (firm in firms):
        raise ConfigError(f"{name}: {firm} is {'in' if joins else 'not in'} the cohort: {', '.join(firms) or 'nobody'}")
    after = (*firms, firm) if joins else tuple(one for one in firms if one != firm)
    edited = stackfile.with_cohort(data, after, name=name)
    title = inert(f"cohort({stack}): {'add' if joins else 'remove'} {firm}")
    key = hashlib.sha256(edited).hexdigest()[:8]
    branch = f"cohort/{stack}/{'add' if joins else 'remove'}-{firm}-{key}"
    commit = repository.commit(tip, {name: edited}, f"{title}\n\nAsked for by {inert(by)}.\n")
    head = repository.branches(branch).get(branch)
    if head is None:
        if not repository.push([RefUpdate(f"refs/heads/{branch}", None, commit)]):
            raise TransientError(f"{branch} was pushed by somebody else at the same time; run it again")
        head = commit
    body = (
        f"{'Lets' if joins else 'Takes'} **{escape(firm)}** {'into' if joins else 'out of'} the pilot's cohort in "
        f"{escape(stack)}. Asked for by {escape(by)}.\n\nAfter the merge, `pulumi up --stack {stack}` tells the app by "
        f"`PILOT_COHORT`. To decline, close this and delete its branch.\n"
    )
    pr = forge.open(branch=branch, title=title, body=body)
    lines = [f"#{pr.number}: {title} {pr.url}".rstrip()]
    try:
        forge.check(head, CheckState.SUCCESS, "changes the cohort alone, no percent")
    except PilotError as error:  # the pull request is what was asked for
        lines.append(f"its status rollout/evidence could not be set: {error}")
    return (*lines, f"next: merge #{pr.number}, then pulumi up --stack {stack}")


def _file(repository: Repository, tip: str, stack: str) -> bytes:
    data = repository.read(tip, observe.stack_file(stack))
    if data is None:
        raise ConfigError(f"there is no {observe.stack_file(stack)} at {tip[:8]}")
    return data
