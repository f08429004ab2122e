"""
The text of a pull request and its commit. Pure functions of values.

Whatever comes from a policy or from events is data, and is escaped where it enters Markdown.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from controller.messages.proposals import PATTERN, Proposal, parse, render
from controller.model import Decision, KpiEvidence, TriggerStatus, Verdict
from controller.policy import Kpi, Policy
from controller.policy.values import length, number

BODY_LIMIT = 60_000  # GitHub refuses more than 65,536 characters in a body


def title(proposal: Proposal) -> str:
    """The pull request's title and the commit's subject."""
    if proposal.verdict is Verdict.FLIP:
        moves = ", ".join(f"{path} {old} -> {new}" for path, (old, new) in proposal.changes.items())
        return f"rollout({proposal.stack}): {moves}"
    move = f"rollout({proposal.stack}): {proposal.from_percent}% -> {proposal.to_percent}%"
    return f"{move} (revert)" if proposal.verdict is Verdict.REVERT else move


def commit_message(proposal: Proposal, decision: Decision) -> str:
    """Subject, the reasons, and the trailers that the history is read from."""
    reasons = [" ".join(reason.split()) for reason in decision.reasons]
    return "\n".join([title(proposal), "", *reasons, "", _trailers(proposal), ""])


def _trailers(proposal: Proposal) -> str:
    return "\n".join([
        f"Rollout-Stack: {proposal.stack}",
        f"Rollout-From: {proposal.from_percent}",
        f"Rollout-To: {proposal.to_percent}",
        f"Rollout-Verdict: {proposal.verdict}",
        f"Rollout-Id: {proposal.id}",
    ])  # fmt: skip


def rollout_id(message: str) -> str | None:
    """
    The `Rollout-Id` that stands on a line of its own in a commit *message*; None for a person's commit.

    Forges add paragraphs after the trailers, and a merge commit brings its own words, so any line counts.
    """
    found = re.search(r"^Rollout-Id: ([0-9a-f]{8})$", message, re.MULTILINE)
    return found[1] if found else None


# ---------------------------------------------------------------- the pull request's body


def body(proposal: Proposal, decision: Decision, policy: Policy, *, base_branch: str) -> str:
    """The text of a pull request: what changes, why, what merging does, how to undo and how to decline."""
    file = f"Pulumi.{proposal.stack}.yaml"
    changes = [
        f"| `pilot:rollout.{path}` | {escape(old)} | **{escape(new)}** |"
        for path, (old, new) in proposal.changes.items()
    ]
    parts = [
        f"**{verdict_sentence(proposal)}**",
        "\n".join(
            [
                "### What changes",
                f"In `{file}`:",
                "",
                "| key | now | then |",
                "|---|---|---|",
                *changes,
            ]
        ),
        "\n".join(["### Why", *(f"- {escape(reason)}" for reason in decision.reasons)]),
        _evidence_table(decision, policy),
        _triggers_table(decision),
        "### What happens on merge\n" + _on_merge(proposal, policy),
        "### How to undo\n"
        "Once merged, this restores the file as it was, and the controller takes your commit as the last word:\n"
        "```sh\n"
        f"git pull --ff-only\n"
        f"git revert --no-edit \"$(git log -1 --format=%H --grep='^Rollout-Id: {proposal.id}$' {base_branch})\"\n"
        f"git push && pulumi up --stack {proposal.stack}\n"
        "```\n"
        "(After a merge commit, `git revert -m 1` of that commit instead.)\n\n"
        f"To decline, close this pull request: it is not proposed again until `{file}` changes.",
        f"<sub>Evidence {_at(decision.window.start)} to {_at(decision.window.now)}, stage live since "
        f"{_at(decision.window.stage)}. Policy `{decision.policy_sha256[:12]}`, evidence "
        f"`{decision.evidence_sha256[:12]}`.</sub>",
    ]
    text = "\n\n".join(part for part in parts if part)
    return f"{text[:BODY_LIMIT]}\n\n{render(proposal)}\n\n{_trailers(proposal)}\n"


def verdict_sentence(proposal: Proposal) -> str:
    """The proposal in one sentence."""
    if proposal.verdict is Verdict.REVERT:
        move = f"from {proposal.from_percent} % to {proposal.to_percent} %"
        return f"Take the pilot in {proposal.stack} back {move} of users."
    if proposal.verdict is Verdict.FLIP:
        moves = " and ".join(f"{path} from {old} to {new}" for path, (old, new) in proposal.changes.items())
        return escape(f"Switch {moves} in {proposal.stack}; the percent stays {proposal.from_percent} %.")
    return f"Raise the pilot in {proposal.stack} from {proposal.from_percent} % to {proposal.to_percent} % of users."


def _on_merge(proposal: Proposal, policy: Policy) -> str:
    up = f"`pulumi up --stack {proposal.stack}` applies it; the controller reads AWS back before it judges again."
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


def _evidence_table(decision: Decision, policy: Policy) -> str:
    if not decision.from_percent:
        return ""
    rows = [
        f"| {escape(policy.kpis[name].title)} | {_estimate(kpi, policy.kpis[name])} | {policy.kpis[name].target} "
        f"| {policy.kpis[name].warning or ''} | {kpi.n} | {_e(kpi.e_advance)} | {_e(kpi.e_revert)} | {kpi.status} |"
        for name, kpi in decision.evidence.kpis.items()
    ]
    risk = policy.risk
    return "\n".join([
        "### Evidence",
        "| KPI | estimate (95 %) | target | warning | units | for advancing | for reverting | status |",
        "|---|---|---|---|--:|--:|--:|---|",
        *(row.replace("<", "&lt;") for row in rows),
        "",
        f"Advancing by evidence takes {1 / risk.false_advance:.0f} in every KPI; reverting takes "
        f"{1 / risk.false_revert:.0f} over all of them, now {_e(decision.evidence.e_revert)}.",
    ])  # fmt: skip


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


def escape(value: object) -> str:
    """*value* as inert Markdown in one line: no markup, no mention, no table cell, no HTML comment."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", text)
    return text.replace("@", "@\u200b").replace("://", ":\u200b//")


def closed_body(text: str, reason: str) -> str:
    """The body of a pull request that the controller is about to close: the reason on top and in the proposal."""
    proposal = parse(text)
    assert proposal is not None
    marked = PATTERN.sub(lambda _: render(replace(proposal, closed_reason=reason)), text, count=1)
    return f"**Closed by the controller: {escape(reason)}**\n\n{marked}"


def check_description(decision: Decision) -> str:
    """One line for the status check, within the 140 characters that GitHub keeps."""
    text = f"{decision.verdict}: {decision.reasons[0]}"
    return text if len(text) <= 140 else text[:137] + "..."
