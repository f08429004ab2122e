"""
What people should have been told by now, derived in each pass from what is: there is no memory but the notifier's.

News that is older than a week is none: a pass after a long silence, or the first with a channel, tells no history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from controller import decide
from controller.history import Step
from controller.launch import outputs
from controller.messages import announcements, proposals
from controller.model import Announcement, Decision, Live, News, Verdict
from controller.observe import file_commit
from controller.policy import Policy
from controller.ports import Notifier, Source
from controller.reconcile import Outcome

FRESH = timedelta(days=7)  # shorter than the notifier's memory, so that nothing is told again when that forgets


def told(outcome: Outcome, notifier: Callable[[Policy], Notifier], source: Callable[[str, Policy], Source]) -> Outcome:
    """
    Tell what is new in one stack; the actions then hold a sentence for each channel that could not be told.

    The *source* is asked for the first outputs, until these were told.

    Never raises: what the pass has done is done, and another stack's news is to be told too.
    """
    if outcome.facts is None:
        return outcome
    try:
        teller = notifier(outcome.facts.policy)
        words = [word for key, item in news(outcome) for word in teller.tell(item, key=key)]
        words += _first_outputs(outcome.facts, teller, source)
    except Exception as error:
        return replace(outcome, error=outcome.error or error)
    return replace(outcome, actions=(*outcome.actions, *words))


def news(outcome: Outcome) -> Iterator[tuple[str, Announcement]]:
    """What *outcome* is news of, each with the key that it is told once for."""
    facts, decision = outcome.facts, outcome.decision
    if facts is None or decision is None:
        return
    yield from _what_runs(facts)
    if decision.verdict is Verdict.REVERT and outcome.pull_request is not None:
        yield _revert(facts, decision, f"#{outcome.pull_request} {outcome.url}".rstrip())
    for what, reason in decision.asks.items():
        key = f"{facts.stack}/hold/{what}/{file_commit(facts)}"
        yield key, announcements.needs_person(facts.stack, what, reason)


def _what_runs(facts: decide.Facts) -> Iterator[tuple[str, Announcement]]:
    """
    The newest change that users can meet: that it runs, or that a step back has been merged and does not yet.

    What AWS does not tell, such as a hold or the cohort, is no news, and hides none.
    """
    steps, live = [step for step in facts.history.steps if step.raises or step.lowers or _changes(step)], facts.live
    if not steps or not isinstance(live, Live):
        return
    step = steps[0]
    assert step.before is not None  # else it changes nothing
    at = max(step.commit.time, live.applied or live.since)
    if facts.now - at > FRESH:
        return
    if decide.is_live(facts):
        yield f"{facts.stack}/live/{step.commit.oid}", _live(facts, step, step.before.rollout.percent, at)
    elif step.lowers and live.percent > step.after.rollout.percent:
        was, to = step.before.rollout.percent, step.after.rollout.percent
        merged = announcements.revert_merged(facts.stack, was, to, at=step.commit.time)
        yield f"{facts.stack}/merged/{step.commit.oid}", merged


def _live(facts: decide.Facts, step: Step, was: int, at: datetime) -> Announcement:
    stack, policy, now = facts.stack, facts.policy, step.after.rollout.percent
    if step.lowers:
        return announcements.reverted(stack, was, now, policy.operations, at=at)
    if step.raises and was == 0 and not _is_trial(facts):
        return announcements.launched(stack, now, policy.operations, at=at)
    if step.raises:
        return announcements.stage_live(stack, was, now, policy, at=at)
    return announcements.changed(stack, _changes(step), at=at)


def _is_trial(facts: decide.Facts) -> bool:
    """Whether another stack comes after this one: nobody launches staging."""
    return any(other.after == facts.stack for other in facts.policy.stacks.values())


def _changes(step: Step) -> Sequence[str]:
    """What it changes beside the percent that users meet, in sentences."""
    if step.before is None:
        return []
    before, after = step.before, step.after
    pairs = [
        ("image", before.service.image, after.service.image),
        ("candidate image", before.service.candidate_image, after.service.candidate_image),
        *((f"flag {name}", before.rollout.flags.get(name), value) for name, value in after.rollout.flags.items()),
    ]
    return [f"{what} is {new or 'none'}" for what, old, new in pairs if old != new]


def _first_outputs(facts: decide.Facts, teller: Notifier, source: Callable[[str, Policy], Source]) -> Sequence[str]:
    """Tell the QA reviewer, once all of the first outputs of this release are there."""
    key = f"{facts.stack}/outputs/{facts.window.start.isoformat()}"
    launched = isinstance(facts.live, Live) and facts.live.percent > 0 and not _is_trial(facts)
    if not launched or facts.now - facts.window.start > FRESH or teller.knows(News.OUTPUTS, key=key):
        return ()
    found = outputs.first(source, facts)
    if len(found) < facts.policy.operations.first_outputs:
        return ()
    return teller.tell(announcements.first_outputs(facts.stack, found, facts.policy.operations), key=key)


def _revert(facts: decide.Facts, decision: Decision, where: str) -> tuple[str, Announcement]:
    key = proposals.ident(facts.stack, decision.verdict, decision.changes, file_commit(facts))
    return f"{facts.stack}/revert/{key}", announcements.revert_proposed(
        facts.stack, decision.from_percent, decision.to_percent, decision.reasons[0], facts.policy.operations,
        at=facts.now, where=where,
    )  # fmt: skip
