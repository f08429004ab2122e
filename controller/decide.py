"""
The rule. A pure function of what is declared, what is live, the evidence, the policy and the clock.

First match wins:

1. what a person stopped in AWS, or a fired trigger whose action lowers the percent, reverts, whatever the age of the
   stage; after a stop the intake is paused too;
2. combined evidence against the KPIs beyond the risk budget reverts one stage (not while a revert is not live yet);
3. a fired trigger whose action is a flag flips it, unless it compares arms that are out of proportion;
4. declared and live differ, or a deployment is in progress or failed, or live cannot be read: hold;
5. a hold, paused intake, an open incident, a veto, a person's own revert, cool-down, the flap breaker, a freeze window,
   or a stack that must go first: hold;
6. no source, too many malformed records, a required KPI missing, stale, incomplete or too small: hold;
7. a KPI at the hold level, a fired trigger that holds, or the arms out of proportion: hold;
8. the bake time has not passed: hold;
9. every required KPI passes the stage's proof (from 0: the preflight passed): advance one stage; else hold.

Missing data can only hold. Nothing blocks 1 and 2. `reconcile` has the effects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from controller import readiness
from controller.history import History
from controller.model import (
    Decision,
    Declared,
    Deployment,
    Evidence,
    Intake,
    KpiStatus,
    Live,
    Readiness,
    Rollout,
    Stop,
    TriggerResult,
    TriggerStatus,
    Unreadable,
    Verdict,
    Window,
)
from controller.policy import Policy, Stage
from controller.policy.schema import AgainstControl, RevertTo, SetFlag
from controller.policy.values import length

CHECK_AGAIN = timedelta(minutes=5)  # the grid on which evidence is judged
MALFORMED = 0.01  # share of records that may be unusable: beyond it, what is missing may be the bad ones
NOT_APPLIED = timedelta(hours=1)  # after a merge, `pulumi up` waits for somebody
NO_EVIDENCE = (KpiStatus.MISSING, KpiStatus.STALE, KpiStatus.INCOMPLETE, KpiStatus.SMALL)


@dataclass(frozen=True, slots=True)
class Facts:
    """
    Everything that one decision rests on.

    `policy` is the stack's own. `behind` says why the stack that must go first does not allow an advance, None where it
    does. `vetoes` maps the percent of a proposed advance to who declined it, `incidents` are those that are open.
    `last_event` is the newest event of any type; `gap_ended` is where the stage's evidence had to begin anew;
    `source_trouble` is why the source could not be read, `policy_trouble` what is wrong with the newest policy (an
    older one may be in use), `forge_trouble` why the pull requests could not be read, and so not what a person
    declined; `notes` are the source's words on records that it refused, `malformed` of them beside `counted` units of
    the pilot. `readiness` is the last preflight.
    """

    stack: str
    now: datetime
    policy: Policy
    declared: Declared
    live: Live | Unreadable
    history: History
    window: Window
    evidence: Evidence
    triggers: Mapping[str, TriggerResult]
    last_event: datetime | None = None
    source_trouble: str | None = None
    policy_trouble: str | None = None
    forge_trouble: str | None = None
    notes: tuple[str, ...] = ()
    gap_ended: datetime | None = None
    malformed: int = 0
    counted: int = 0
    behind: str | None = None
    vetoes: Mapping[int, str] = field(default_factory=dict)
    readiness: Readiness | None = None
    incidents: tuple[str, ...] = ()
    policy_sha256: str = ""
    evidence_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason not to advance; `until` where time alone ends it, `asks` in a few words where only a person does."""

    reason: str
    until: datetime | None = None
    asks: str = ""


def decide(facts: Facts) -> Decision:
    """Choose the next move by the rule above."""
    percent = facts.declared.rollout.percent
    if (revert := _revert(facts)) is not None:
        to, reasons = revert
        changes: dict[str, tuple[Any, Any]] = {"percent": (percent, to)} if to < percent else {}
        if facts.live.stop is not None and facts.declared.rollout.intake is Intake.OPEN:
            changes["intake"] = (str(Intake.OPEN), str(Intake.PAUSED))
        return _decision(facts, Verdict.REVERT, to, changes, reasons)
    if (flip := _flip(facts)) is not None:
        changes, reason = flip
        return _decision(facts, Verdict.FLIP, percent, changes, [reason])
    holds = [*_live(facts), *_top(facts), *_people(facts), *_evidence(facts), *_bake(facts), *_proof(facts)]
    if holds:
        held = _decision(facts, Verdict.HOLD, percent, {}, [hold.reason for hold in holds], holds[0].until)
        return replace(held, asks={hold.asks: hold.reason for hold in reversed(holds) if hold.asks})
    stage = facts.policy.next_stage(percent)
    assert stage is not None  # _top holds there
    reasons = [kpi.reason for kpi in facts.evidence.kpis.values()] if percent else [_passed(facts)]
    return _decision(facts, Verdict.ADVANCE, stage.percent, {"percent": (percent, stage.percent)}, reasons)


def current_stage(policy: Policy, percent: int) -> Stage:
    """The rung that *percent* stands on: its own, or the next below a percent that a person chose off the ladder."""
    return [stage for stage in policy.stages if stage.percent <= percent][-1]


def is_live(facts: Facts) -> bool:
    """Whether what is declared runs, and its deployment is through."""
    return next(_live(facts), None) is None


def behind(mine: Declared, policy: Policy, name: str, ahead: Facts | None) -> str | None:
    """Why stack *name*, which must go first, does not yet allow the next stage of *mine*; None where it does."""
    stage = policy.next_stage(mine.rollout.percent)
    if stage is None:
        return None
    if ahead is None:
        return f"{name} goes first and could not be judged; see its own error"
    theirs = ahead.declared
    if (theirs.service.image, theirs.service.candidate_image) != (
        mine.service.image,
        mine.service.candidate_image,
    ):
        return f"{name} goes first and runs another image"
    if theirs.rollout.percent < stage.percent:
        return f"{name} goes first: {theirs.rollout.percent} % < {stage.percent} %"
    trouble = [*_live(ahead)]
    fired = [name for name, result in ahead.triggers.items() if result.status is TriggerStatus.FIRED]
    if trouble:
        return f"{name} goes first: {trouble[0].reason}"
    if fired or _revert(ahead):
        return f"{name} goes first and is not healthy: {', '.join(fired) or 'evidence against its KPIs'}"
    unproven = [hold.reason for hold in _evidence(ahead)]
    if theirs.rollout.percent == 100:  # nobody may be testing there any more
        unproven = [
            kpi.reason for kpi in ahead.evidence.kpis.values() if kpi.status in (KpiStatus.HOLD, KpiStatus.BREACH)
        ]
    return f"{name} goes first: {unproven[0]}" if unproven else None


# ---------------------------------------------------------------- 1 to 3: what acts


def _fired(facts: Facts) -> Iterator[tuple[str, Any, str]]:
    for name, result in facts.triggers.items():
        if result.status is TriggerStatus.FIRED:
            trigger = facts.policy.triggers[name]
            advice = f"; {trigger.advice}" if trigger.advice else ""
            yield name, trigger.then, f"{name} fired: {result.reason}{advice}"


def _revert(facts: Facts) -> tuple[int, list[str]] | None:
    percent = facts.declared.rollout.percent
    targets: dict[str, int] = {}
    if (stop := facts.live.stop) is not None and not _agrees(facts.declared.rollout, stop):
        targets[_stopped(facts, stop)] = min(stop.percent, percent)
    for _, action, reason in _fired(facts):
        to = action.revert_to if isinstance(action, RevertTo) else 0 if action == "rollback" else None
        if to is not None and to < percent:
            targets[reason] = to
    if targets:
        return min(targets.values()), sorted(targets, key=lambda reason: targets[reason])
    limit = 1 / facts.policy.risk.false_revert
    if percent > 0 and facts.evidence.e_revert >= limit and not _of_what_was_before(facts):
        worst = [kpi.reason for kpi in facts.evidence.kpis.values() if kpi.status is KpiStatus.BREACH]
        total = f"combined evidence {facts.evidence.e_revert:.3g} >= {limit:.3g}"
        live = facts.live.percent if isinstance(facts.live, Live) else percent
        return _one_stage_down(facts, min(percent, live)), [total, *worst]
    return None


def _agrees(rollout: Rollout, stop: Stop) -> bool:
    return rollout.percent <= stop.percent and rollout.intake is Intake.PAUSED


def _stopped(facts: Facts, stop: Stop) -> str:
    """What a person did in AWS, and that it is not so any more where somebody undid it."""
    live, undone = facts.live, ""
    if isinstance(live, Live) and live.percent > stop.percent and live.deployment is not Deployment.IN_PROGRESS:
        undone = f"; live is {live.percent} % all the same: run pilot kill --stack {facts.stack} again"
    return f"stopped at {stop.percent} % in AWS by {stop.by} at {_clock(stop.at)}: {stop.reason}{undone}"


def _of_what_was_before(facts: Facts) -> bool:
    """Whether rates may still be those of users whom a merged revert is about to take out, or has."""
    if isinstance(facts.live, Unreadable):
        return facts.history.restarted
    return facts.live.percent > facts.declared.rollout.percent


def _one_stage_down(facts: Facts, percent: int) -> int:
    step = facts.history.raised_to(percent)
    if step is not None and step.before is not None:
        return step.before.rollout.percent
    return max((stage.percent for stage in facts.policy.stages if stage.percent < percent), default=0)


def _flip(facts: Facts) -> tuple[dict[str, tuple[Any, Any]], str] | None:
    flags = facts.declared.rollout.flags
    for name, action, reason in _fired(facts):
        if isinstance(facts.policy.triggers[name], AgainstControl) and _out_of_proportion(facts):
            continue  # the arms do not compare; rule 7 holds
        if isinstance(action, SetFlag):
            now = flags.get(action.set.removeprefix("flags."))
            if now is not None and now != action.to:
                return {action.set: (now, action.to)}, reason
    return None


# ---------------------------------------------------------------- 4 to 9: what holds


def _live(facts: Facts) -> Iterator[Hold]:
    live, declared = facts.live, facts.declared
    if live.stop is not None:
        ending = _ending(facts, live.stop) if _agrees(declared.rollout, live.stop) else ""
        yield Hold(_stopped(facts, live.stop) + ending)
    if isinstance(live, Unreadable):
        yield Hold(f"live state unknown: {live.reason}", asks="live state unknown")
        return
    pairs = [
        ("percent", f"{declared.rollout.percent} %", f"{live.percent} %"),
        ("intake", declared.rollout.intake, live.intake or declared.rollout.intake),
        ("image", declared.service.image, live.image),
        ("candidate image", declared.service.candidate_image, live.candidate_image),
        *((f"flag {name}", value, live.flags.get(name, "absent")) for name, value in declared.rollout.flags.items()),
    ]
    steps = facts.history.steps
    late = bool(steps) and facts.now - steps[0].commit.time >= NOT_APPLIED
    for what, want, have in pairs:
        if want != have:
            reason = f"{what} declared {want}, live {have}: run pulumi up --stack {facts.stack}"
            yield Hold(reason, asks="not applied" if late else "")
    if live.deployment is not Deployment.COMPLETED:
        failed = live.deployment is Deployment.FAILED
        reason = f"deployment {live.deployment.value}: {live.detail or live.task_definition}"
        yield Hold(reason, asks="deployment failed" if failed else "")


def _ending(facts: Facts, stop: Stop) -> str:
    """What ends a stop with which the stack file's percent and intake agree."""
    if stop.image == facts.declared.service.image:
        return f"; the image that was rolled back is still declared: name another in Pulumi.{facts.stack}.yaml"
    return f"; Pulumi.{facts.stack}.yaml agrees: run pulumi up --stack {facts.stack}, which ends the stop"


def _top(facts: Facts) -> Iterator[Hold]:
    if facts.policy.next_stage(facts.declared.rollout.percent) is None:
        yield Hold("the rollout is complete: 100 %")


def _people(facts: Facts) -> Iterator[Hold]:
    rollout, history, policy, now = facts.declared.rollout, facts.history, facts.policy, facts.now
    stage = policy.next_stage(rollout.percent)
    if facts.policy_trouble:
        reason = f"the policy is wrong, and only reverts are proposed: {facts.policy_trouble}"
        yield Hold(reason, asks="the policy is wrong")
    if facts.forge_trouble:
        yield Hold(f"the pull requests could not be read, nor what a person declined: {facts.forge_trouble}")
    if rollout.hold:
        yield Hold(f"hold in Pulumi.{facts.stack}.yaml: {rollout.hold}")
    if rollout.intake is Intake.PAUSED:
        yield Hold(f"intake is paused in Pulumi.{facts.stack}.yaml")
    for name in facts.incidents:
        yield Hold(f"incident {name} is open: merge its report, on branch incident/{facts.stack}/{name}")
    if stage is None:
        return
    if stage.percent in facts.vetoes:
        yield Hold(facts.vetoes[stage.percent])
    person, lowering = history.person, history.lowering
    if person is not None and person.lowers:
        assert person.before is not None
        yield Hold(
            f"{person.commit.by} reverted {person.before.rollout.percent} % to {person.after.rollout.percent} % "
            f"({person.commit.oid[:8]}): holding until a person changes Pulumi.{facts.stack}.yaml again"
        )
    if lowering is not None and now < (end := _lowered(facts, lowering.commit.time) + policy.cool_down):
        yield Hold(f"cool-down after the revert until {_clock(end)}", end)
    if history.reverts >= policy.max_reverts:
        reason = f"{history.reverts} reverts >= {policy.max_reverts} since a person changed the file: a person must act"
        yield Hold(reason, asks="too many reverts")
    if any(freeze.covers(now) for freeze in policy.freeze):
        end = next(
            at for at in (now + timedelta(minutes=m) for m in range(1, 8 * 1440))
            if not any(freeze.covers(at) for freeze in policy.freeze)
        )  # fmt: skip
        yield Hold(f"freeze window until {_clock(end)}", end.replace(second=0, microsecond=0))
    if facts.behind:
        yield Hold(facts.behind)


def _lowered(facts: Facts, merged: datetime) -> datetime:
    """When a lowering took effect: a merged commit may carry an older date than its `pulumi up`."""
    if isinstance(facts.live, Live) and facts.history.restarted:
        return max(merged, facts.live.applied or facts.live.since)
    return merged


def _evidence(facts: Facts) -> Iterator[Hold]:
    if facts.source_trouble:
        yield Hold(f"no evidence: {facts.source_trouble}")
    if facts.malformed > MALFORMED * (facts.malformed + facts.counted):
        said = f" ({facts.notes[0]})" if facts.notes else ""
        reason = f"{facts.malformed} malformed records beside {facts.counted} counted units{said}: mend their source"
        yield Hold(reason, asks="malformed events")
    fired = [Hold(reason, asks=f"{name} fired") for name, _, reason in _fired(facts)]
    if facts.declared.rollout.percent == 0:
        yield from fired
        return  # nobody is in the pilot; the preflight asks for the events
    required = [kpi for name, kpi in facts.evidence.kpis.items() if facts.policy.kpis[name].required]
    for kpi in required:
        if kpi.status in NO_EVIDENCE:
            yield Hold(kpi.reason, asks="events stopped" if kpi.status is KpiStatus.STALE else "")
    for name, kpi in facts.evidence.kpis.items():
        if kpi.status in (KpiStatus.HOLD, KpiStatus.BREACH):
            advice = facts.policy.kpis[name].advice
            yield Hold(f"{kpi.reason}; {advice}" if advice else kpi.reason)
    yield from fired
    if (sentence := _out_of_proportion(facts)) is not None:
        yield Hold(sentence, asks="arms out of proportion")


def _out_of_proportion(facts: Facts) -> str | None:
    arms, limit = facts.evidence.proportion, 1 / facts.policy.risk.false_revert
    if arms is None or arms.e < limit:
        return None
    return (
        f"arms out of proportion: {arms.pilot} of {arms.pilot + arms.control} users in the pilot, "
        f"planned {arms.planned:.0%}, e-value {arms.e:.3g} >= {limit:.3g}"
    )


def _bake(facts: Facts) -> Iterator[Hold]:
    stage = current_stage(facts.policy, facts.declared.rollout.percent)
    if isinstance(facts.live, Live) and facts.now < (end := facts.window.stage + stage.bake):
        done = facts.now - facts.window.stage
        gap = "since a gap in the events ended, " if facts.gap_ended == facts.window.stage else ""
        yield Hold(f"baking: {length(done)} of {length(stage.bake)}, {gap}until {_clock(end)}", end)


def _proof(facts: Facts) -> Iterator[Hold]:
    percent = facts.declared.rollout.percent
    if percent == 0:
        yield from _preflight(facts)
    else:
        for name, kpi in facts.evidence.kpis.items():
            if facts.policy.kpis[name].required and kpi.status is KpiStatus.OPEN:
                yield Hold(kpi.reason + _when(kpi.n, kpi.needed, facts))


def _preflight(facts: Facts) -> Iterator[Hold]:
    """What must be true before the first user enters; the rules before have seen to live state and the stack ahead."""
    lowering = facts.history.rolled_back
    longest = max(kpi.stale for kpi in facts.policy.kpis.values())
    if facts.last_event is None:
        yield Hold("preflight: the source has no events yet; the control arm's must arrive before the pilot starts")
    elif facts.now - facts.last_event > longest:
        yield Hold(f"preflight: the newest event is from {_clock(facts.last_event)}, more than {length(longest)} ago")
    if lowering is not None:
        yield Hold(
            f"preflight: rolled back at {_clock(lowering.commit.time)}; relaunch when a person has released a new "
            f"image or changed Pulumi.{facts.stack}.yaml"
        )
    if facts.stack in facts.policy.operations.preflight.stacks and (trouble := _not_ready(facts)) is not None:
        yield Hold(f"preflight: {trouble}; run pilot preflight --stack {facts.stack}")


def _not_ready(facts: Facts) -> str | None:
    """Why the last preflight, if any, lets nobody in; None where it does."""
    found, valid = facts.readiness, facts.policy.operations.preflight.valid
    if found is None:
        return "none was made"
    made, age, lowering = f"the one of {_clock(found.at)}", readiness.age(found, facts.now), facts.history.lowering
    if found.release != readiness.release(facts.declared):
        return f"{made} was of another image, exposure or flags"
    if lowering is not None and found.at <= lowering.commit.time:
        return f"{made} was made before the percent was lowered at {_clock(lowering.commit.time)}"
    if age is None:
        return f"{made} is from the future: set the clock of the machine that made it"
    if age > valid:
        return f"{made} is more than {length(valid)} old"
    if found.failed:
        more = f" and {len(found.failed) - 1} more" if len(found.failed) > 1 else ""
        return f"{made} failed: {found.failed[0].title}: {found.failed[0].words}{more}"
    return None


def _passed(facts: Facts) -> str:
    found = facts.readiness
    if found is None or facts.stack not in facts.policy.operations.preflight.stacks:
        return "preflight passed"
    return f"preflight passed: {len(found.items)} checks by {found.by} at {_clock(found.at)}"


def _when(n: int, needed: int | None, facts: Facts) -> str:
    """When the missing units can be there at today's traffic."""
    age = (facts.now - facts.window.stage).total_seconds()
    if not needed or n == 0 or age <= 0:
        return ""
    return f", expected {_clock(facts.now + timedelta(seconds=needed * age / n))} at today's traffic"


# ---------------------------------------------------------------- the result


def _decision(
    facts: Facts,
    verdict: Verdict,
    to: int,
    changes: Mapping[str, tuple[Any, Any]],
    reasons: list[str],
    until: datetime | None = None,
) -> Decision:
    return Decision(
        stack=facts.stack,
        verdict=verdict,
        from_percent=facts.declared.rollout.percent,
        to_percent=to,
        changes=changes,
        reasons=tuple(reasons),
        next_check=until or facts.now + CHECK_AGAIN,
        window=facts.window,
        evidence=facts.evidence,
        triggers=facts.triggers,
        policy_sha256=facts.policy_sha256,
        evidence_sha256=facts.evidence_sha256,
        readiness=facts.readiness if verdict is Verdict.ADVANCE and not facts.declared.rollout.percent else None,
    )


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
