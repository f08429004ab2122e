"""The daily summary: what a person reads each morning of the rollout, as Markdown and as one message. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from controller.decide import Facts, is_live
from controller.messages.announcements import instant, plain
from controller.messages.markdown import escape, link
from controller.messages.pull_request import evidence_table
from controller.model import Announcement, Decision, KpiStatus, Live, News, TriggerStatus, Verdict
from controller.policy.operations import Operations

_ODD = (KpiStatus.BREACH, KpiStatus.HOLD, KpiStatus.STALE, KpiStatus.INCOMPLETE, KpiStatus.MISSING)


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack's day: the open pull request with its address, and what became of the snapshot of its events."""

    facts: Facts
    decision: Decision
    pull_request: int | None = None
    url: str = ""
    archived: str = ""


def summary(
    stacks: Sequence[Stack], errors: Sequence[str], incidents: Sequence[str], ci: str, operations: Operations, *,
    at: datetime,
) -> str:  # fmt: skip
    """
    All stacks; *errors* are of those that could not be judged, *incidents* those that are open, *ci* what CI says.
    """
    kpis = f"[KPIs]({operations.dashboard}). " if operations.dashboard else ""
    parts = [f"# Pilot, {at:%A %Y-%m-%d}", f"{kpis}CI of the base branch: {escape(ci)}."]
    if errors:
        parts.append("\n".join(f"- **not judged** {escape(error)}" for error in errors))
    if incidents:
        parts.append("\n".join(["**Open incidents**", *(f"- {escape(one)}" for one in incidents)]))
    parts += [_section(stack) for stack in stacks]
    return "\n\n".join(parts) + "\n"


def message(
    stacks: Sequence[Stack], errors: Sequence[str], ci: str, operations: Operations, *, day: date
) -> Announcement:
    """The same in a line for each stack."""
    lines = [f"{one.facts.stack}: {_stands(one)}" for one in stacks]
    lines += [f"not judged: {plain(error)}" for error in errors]
    where = [f"KPIs: {operations.dashboard}"] if operations.dashboard else []
    return Announcement(
        News.DAILY, f"Pilot on {day:%A %Y-%m-%d}", "\n".join([*lines, f"CI of the base branch: {plain(ci)}", *where])
    )


def anomalies(facts: Facts, decision: Decision) -> list[str]:
    """What is not as it should be, each once: what runs, the KPIs, the triggers, the records."""
    found = [reason for reason in decision.reasons if decision.verdict is Verdict.REVERT]
    if not is_live(facts):
        found.append(decision.reasons[0])
    if decision.from_percent:
        found += [kpi.reason for kpi in decision.evidence.kpis.values() if kpi.status in _ODD]
        found += [
            f"{name} {result.status}: {result.reason}"
            for name, result in decision.triggers.items()
            if result.status is not TriggerStatus.QUIET
        ]
    found += [facts.source_trouble] if facts.source_trouble else []
    found += [*facts.notes, *decision.asks.values()]
    return list(dict.fromkeys(found))


def scale_up(one: Stack) -> str:
    """What is to be done about the next stage, and when."""
    facts, decision = one.facts, one.decision
    percent = decision.from_percent
    stage, after = facts.policy.stage(percent), facts.policy.next_stage(percent)
    if after is None:
        return "the rollout is complete"
    step = f"{percent} % -> {after.percent} %"
    if decision.verdict is Verdict.ADVANCE:
        proposed = f"proposed by #{one.pull_request}" if one.pull_request else "the next pass proposes it"
        return f"{step}: KPIs stable, {proposed}; review it and merge"
    end = facts.window.stage + stage.bake if stage is not None and isinstance(facts.live, Live) else None
    if decision.verdict is Verdict.HOLD and end is not None and facts.now < end:
        return f"{step} if KPIs stable, from {instant(end)} on; now {decision.reasons[0]}"
    return f"{step}: not now, {decision.reasons[0]}"


def _section(one: Stack) -> str:
    facts, decision = one.facts, one.decision
    odd = anomalies(facts, decision)
    lines = [
        f"## {escape(facts.stack)}: {decision.from_percent} % of users",
        "\n".join([
            f"- Verdict: **{decision.verdict}**, {escape(decision.reasons[0])}",
            f"- Pull request: {_pull_request(one)}",
            f"- Scale-up: {escape(scale_up(one))}",
            f"- Events: {escape(one.archived or 'not archived')}",
        ]),
        evidence_table(decision, facts.policy),
        "\n".join(["### Anomalies", *(f"- {escape(item)}" for item in odd)]) if odd else "No anomalies.",
    ]  # fmt: skip
    return "\n\n".join(line for line in lines if line)


def _pull_request(one: Stack) -> str:
    if one.pull_request is None:
        return "none is open"
    return link(f"no. {one.pull_request}", one.url) or f"no. {one.pull_request}"


def _stands(one: Stack) -> str:
    odd = len(anomalies(one.facts, one.decision))
    what = f"{odd} {'anomaly' if odd == 1 else 'anomalies'}" if odd else "no anomalies"
    return f"{one.decision.from_percent} % of users, {what}. Scale-up: {plain(scale_up(one))}" + (
        f" {one.url}" if one.url else ""
    )
