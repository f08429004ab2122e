"""The text of a pull request and its commit. Pure functions of values; strangers' words pass through `markdown`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from controller import evidence
from controller.messages import announcements, readiness
from controller.messages.markdown import escape, inert, link, sparkline
from controller.messages.proposals import PATTERN, Proposal, digest, parse, render
from controller.model import Decision, KpiEvidence, TriggerStatus, Verdict
from controller.policy import Kpi, Policy
from controller.policy.values import length, number

BODY_LIMIT = 60_000  # GitHub refuses more than 65,536 characters in a body
REASONS = 20  # more are no reading matter


def title(proposal: Proposal) -> str:
    """The pull request's title and the commit's subject."""
    if "percent" not in proposal.changes:
        moves = ", ".join(f"{path} {old} -> {new}" for path, (old, new) in proposal.changes.items())
        return f"rollout({proposal.stack}): {moves}"
    move = f"rollout({proposal.stack}): {proposal.from_percent}% -> {proposal.to_percent}%"
    return f"{move} (revert)" if proposal.verdict is Verdict.REVERT else move


def commit_message(proposal: Proposal, reasons: Sequence[str]) -> str:
    """Subject, the *reasons*, and the trailers that the history is read from."""
    lines = [inert(reason) for reason in reasons]
    return "\n".join([title(proposal), "", *lines, "", _trailers(proposal), ""])


def update_message(proposal: Proposal, base_branch: str) -> str:
    """The message of the merge commit that brings a branch up to date; a squash may keep only this one."""
    return "\n".join([title(proposal), "", f"Brought up to date with {base_branch}.", "", _trailers(proposal), ""])


def _trailers(proposal: Proposal) -> str:
    lines = [
        f"Rollout-Stack: {proposal.stack}",
        f"Rollout-From: {proposal.from_percent}",
        f"Rollout-To: {proposal.to_percent}",
        f"Rollout-Verdict: {proposal.verdict}",
        f"Rollout-Id: {proposal.id}",
    ]
    return "\n".join([*lines, *([f"Rollout-By: {proposal.asked_by}"] if proposal.asked_by else [])])


def rollout_id(message: str) -> str | None:
    """
    The `Rollout-Id` that stands on a line of its own in a commit *message*; None for a person's commit.

    Forges add paragraphs after the trailers, and a merge commit brings its own words, so any line counts.
    """
    found = re.search(r"^Rollout-Id: ([0-9a-f]{8})$", message, re.MULTILINE)
    return found[1] if found else None


def asked_by(message: str) -> str | None:
    """The person who asked for what a commit does, by its `Rollout-By` on a line of its own; None where none did."""
    found = re.search(r"^Rollout-By: (\S.*)$", message, re.MULTILINE)
    return found[1] if found else None


# ---------------------------------------------------------------- the pull request's body


def body(proposal: Proposal, decision: Decision, policy: Policy, *, base_branch: str) -> str:
    """The text of a pull request: what changes, why, what merging does, how to undo and how to decline."""
    events = link("Events", policy.source.url or "")
    parts = [
        f"**{verdict_sentence(proposal)}**",
        _changes_table(proposal),
        "\n".join(["### Why", *(f"- {escape(reason)}" for reason in decision.reasons[:REASONS])]),
        readiness.checklist(decision.readiness) if decision.readiness else "",
        _announcement(proposal, policy),
        evidence_table(decision, policy),
        _triggers_table(decision),
        "### What happens on merge\n" + _on_merge(proposal, policy),
        _undo(proposal, base_branch),
        f"<sub>{events or 'Events'} from {_at(decision.window.start)} to {_at(decision.window.now)}, stage live since "
        f"{_at(decision.window.stage)}. Policy `{decision.policy_sha256[:12]}`, evidence "
        f"`{decision.evidence_sha256[:12]}`.</sub>",
    ]
    return _marked("\n\n".join(part for part in parts if part), proposal)


def rollback_body(proposal: Proposal, reasons: Sequence[str], policy: Policy, *, base_branch: str) -> str:
    """The text of a pull request that a person asked for: *reasons* are the person's and what became of the request."""
    parts = [
        f"**{verdict_sentence(proposal)}**",
        _changes_table(proposal),
        "\n".join(["### Why", *(f"- {escape(reason)}" for reason in reasons)]),
        f"### What happens on merge\n{_on_merge(proposal, policy)} No advance is proposed then until a person changes "
        f"`Pulumi.{proposal.stack}.yaml` again.",
        _undo(proposal, base_branch),
    ]
    return _marked("\n\n".join(parts), proposal)


def refreshed(old: str, new: str) -> tuple[str, bool]:
    """
    *old*, a body of ours, with what we wrote from the verdict to the marker as *new*, of the same proposal, has it.

    What a person wrote before and after stays. False where one has edited what we wrote: that stays too, with the
    proposal of *new*.
    """
    was, now = parse(old), parse(new)
    assert was is not None
    assert now is not None
    theirs, ours = (_written(text, now) for text in (old, new))
    if theirs and ours and was.text == digest(PATTERN.sub("", old[theirs])):
        return old[: theirs.start] + new[ours] + old[theirs.stop :], True
    return PATTERN.sub(lambda _: render(replace(now, text=was.text)), old), False


def _written(body: str, proposal: Proposal) -> slice | None:
    """Where in *body* what we wrote stands."""
    start, end = body.find(f"**{verdict_sentence(proposal)}**"), PATTERN.search(body)
    return slice(start, end.end()) if end and 0 <= start < end.start() else None


def _marked(text: str, proposal: Proposal) -> str:
    """*text* with the proposal and, since a squash may take the body for its message, the trailers."""
    text = text[:BODY_LIMIT]
    return f"{text}\n\n{render(replace(proposal, text=digest(text)))}\n\n{_trailers(proposal)}\n"


def _changes_table(proposal: Proposal) -> str:
    rows = [
        f"| `pilot:rollout.{path}` | {escape(old)} | **{escape(new)}** |"
        for path, (old, new) in proposal.changes.items()
    ]
    return "\n".join([
        "### What changes", f"In `Pulumi.{proposal.stack}.yaml`:", "", "| key | now | then |", "|---|---|---|", *rows
    ])  # fmt: skip


def _undo(proposal: Proposal, base_branch: str) -> str:
    once = "" if proposal.asked_by else f": it is not proposed again until `Pulumi.{proposal.stack}.yaml` changes"
    return (
        "### How to undo\n"
        "Once merged, this restores the file as it was, and the controller takes your commit as the last word:\n"
        "```sh\n"
        f"git pull --ff-only\n"
        f"git revert --no-edit \"$(git log -1 --format=%H --grep='^Rollout-Id: {proposal.id}$' {base_branch})\"\n"
        f"git push && pulumi up --stack {proposal.stack}\n"
        "```\n"
        "(After a merge commit, `git revert -m 1` of that commit instead.)\n\n"
        f"To decline, close this pull request{once}."
    )


def verdict_sentence(proposal: Proposal) -> str:
    """The proposal in one sentence."""
    if proposal.verdict is Verdict.REVERT and "percent" not in proposal.changes:
        return f"Pause the intake in {proposal.stack}, as it is in AWS; the percent stays {proposal.from_percent} %."
    if proposal.verdict is Verdict.REVERT:
        move = f"from {proposal.from_percent} % to {proposal.to_percent} %"
        return f"Take the pilot in {proposal.stack} back {move} of users."
    if proposal.verdict is Verdict.FLIP:
        moves = " and ".join(f"{path} from {old} to {new}" for path, (old, new) in proposal.changes.items())
        return escape(f"Switch {moves} in {proposal.stack}; the percent stays {proposal.from_percent} %.")
    return f"Raise the pilot in {proposal.stack} from {proposal.from_percent} % to {proposal.to_percent} % of users."


def _on_merge(proposal: Proposal, policy: Policy) -> str:
    up = f"`pulumi up --stack {proposal.stack}` applies it; the controller reads AWS back before it judges again."
    if proposal.verdict in policy.merges_by_itself:
        up = f"The policy lets it merge by itself, once the branch rules allow. {up}"
    stage = policy.stage(proposal.to_percent)
    if proposal.verdict is not Verdict.ADVANCE or stage is None:
        return up
    lines = [up]
    if stage.watch:
        lines.append(f"Watch closely for the first {length(stage.watch)}.")
    after = policy.next_stage(proposal.to_percent)
    if after is not None:
        lines.append(
            f"The next stage, {after.percent} %, is proposed after {length(stage.bake)} at the earliest, counted from "
            f"when {stage.percent} % is live, and by {stage.proof}."
        )
    return " ".join(lines)


def _announcement(proposal: Proposal, policy: Policy) -> str:
    """What people are told once the first users are in."""
    if proposal.verdict is not Verdict.ADVANCE or proposal.from_percent or not policy.operations.channels:
        return ""
    news = announcements.launched(proposal.stack, proposal.to_percent, policy.operations, at=None)
    names = ", ".join(policy.operations.channels)
    told = [f"> {escape(line)}" for line in news.text.splitlines()]
    return "\n".join([f"### Told once it is live, to {escape(names)}", *told])


def evidence_table(decision: Decision, policy: Policy) -> str:
    """Each KPI with its estimate, its course over the stage, its bounds and its e-values; "" where nobody is in."""
    if not decision.from_percent:
        return ""
    rows = [
        f"| {escape(rule.title)} | {_estimate(kpi, rule)} | {_trend(kpi, rule)} | {escape(rule.target)} "
        f"| {escape(rule.warning or '')} | {kpi.n} | {_e(kpi.e_advance)} | {_e(kpi.e_revert)} | {kpi.status} |"
        for name, kpi in decision.evidence.kpis.items()
        for rule in (policy.kpis[name],)
    ]
    risk = policy.risk
    return "\n".join([
        "### Evidence",
        "| KPI | estimate (95 %) | stage so far | target | warning | units | for advancing | for reverting | status |",
        "|---|---|---|---|---|--:|--:|--:|---|",
        *rows,
        "",
        f"Advancing by evidence takes {1 / risk.false_advance:.0f} in every KPI; reverting takes "
        f"{1 / risk.false_revert:.0f} over all of them, now {_e(decision.evidence.e_revert)}. "
        "The bars are the share of good units over the time of the stage: higher is better.",
    ])  # fmt: skip


def _trend(kpi: KpiEvidence, rule: Kpi) -> str:
    """The stage so far, drawn from the warning to the target at least."""
    target, warning = (1 - rate for rate in evidence.rate_bounds(rule))
    return sparkline(kpi.trend, low=warning, high=target)


def _triggers_table(decision: Decision) -> str:
    if not decision.triggers:
        return ""
    order = {TriggerStatus.FIRED: 0, TriggerStatus.UNKNOWN: 1, TriggerStatus.QUIET: 2}
    rows = sorted(decision.triggers.items(), key=lambda item: order[item[1].status])
    return "\n".join([
        "<details><summary>Runbook triggers</summary>", "",
        "| trigger | state | why |", "|---|---|---|",
        *(f"| {escape(name)} | {result.status} | {escape(result.reason)} |" for name, result in rows),
        "", "</details>",
    ])  # fmt: skip


def _estimate(kpi: KpiEvidence, rule: Kpi) -> str:
    if kpi.estimate is None:
        return "none"
    unit = rule.target.unit
    text = number(kpi.estimate, unit)
    if kpi.low is not None and kpi.high is not None:
        return f"{text} ({number(kpi.low, unit)} to {number(kpi.high, unit)})"
    return text


def _e(value: float) -> str:
    return f"{value:.3g}" if value < 1e4 else f"{value:.0e}"


def _at(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M UTC")


def closed_body(text: str, reason: str) -> str:
    """The body of a pull request that the controller is about to close: the reason on top and in the proposal."""
    proposal = parse(text)
    assert proposal is not None
    marked = PATTERN.sub(lambda _: render(replace(proposal, closed_reason=reason)), text, count=1)
    return f"**Closed by the controller: {escape(reason)}**\n\n{marked}"


def check_description(decision: Decision) -> str:
    """One line for the status check, within the 140 characters that GitHub keeps."""
    text = inert(f"{decision.verdict}: {decision.reasons[0]}")
    return text if len(text) <= 140 else text[:137] + "..."
