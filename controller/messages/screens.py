"""What a person reads in a terminal: the verdict, the status and the history."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.decide import Facts
from controller.history import History
from controller.model import Decision, KpiStatus, Live, TriggerStatus, Verdict
from controller.policy.values import number

_MARK = {
    KpiStatus.PASSED: ("ok", "green"),
    KpiStatus.OPEN: ("..", "cyan"),
    KpiStatus.BREACH: ("!!", "bold red"),
    KpiStatus.HOLD: ("! ", "yellow"),
}
_VERDICT = {
    Verdict.ADVANCE: "green",
    Verdict.HOLD: "yellow",
    Verdict.REVERT: "bold red",
    Verdict.FLIP: "magenta",
}


def verdict_line(decision: Decision) -> Text:
    """The verdict and its deciding reason."""
    move = ""
    if decision.from_percent != decision.to_percent:
        move = f" {decision.from_percent} % -> {decision.to_percent} %"
    head = Text(f"{decision.verdict}{move}", style=_VERDICT[decision.verdict])
    return head.append(f": {decision.reasons[0]}", style="default")


def status(facts: Facts, decision: Decision, pull_request: str | None) -> RenderableType:
    """One stack: what is declared and live, the verdict, each KPI, and the triggers that are not quiet."""
    live = facts.live
    runs = (
        f"live {live.percent} % since {live.since:%Y-%m-%d %H:%M} UTC, deployment {live.deployment}"
        if isinstance(live, Live)
        else "live state unknown"
    )
    head = Text(decision.stack, style="bold")
    head.append(f"  declared {decision.from_percent} %, {runs}", style="default")
    lines: list[RenderableType] = [head, Text("  ").append_text(verdict_line(decision))]
    lines += [Text(f"    {reason}") for reason in decision.reasons[1:]]
    if decision.from_percent:
        lines.append(kpi_table(facts, decision))
    for name, result in decision.triggers.items():
        if result.status is not TriggerStatus.QUIET and decision.from_percent:
            lines.append(Text(f"  trigger {name} {result.status}: {result.reason}"))
    lines += [Text(f"  {note}") for note in facts.notes]
    lines.append(Text(f"  {pull_request or 'no open pull request'}; next check {decision.next_check:%H:%M} UTC"))
    return Group(*lines)


def kpi_table(facts: Facts, decision: Decision) -> Table:
    """Each KPI with its estimate, its bounds and what the evidence says."""
    table = Table(box=None, padding=(0, 1), pad_edge=True)
    for title in ("", "KPI", "estimate", "target", "warning", "units", "status"):
        table.add_column(title, justify="right" if title in ("estimate", "units") else "left")
    for name, kpi in decision.evidence.kpis.items():
        rule = facts.policy.kpis[name]
        mark, style = _MARK.get(kpi.status, ("? ", "yellow"))
        estimate = "-" if kpi.estimate is None else number(kpi.estimate, rule.target.unit)
        table.add_row(
            Text(mark, style=style), rule.title, estimate, str(rule.target), str(rule.warning or ""),
            str(kpi.n), str(kpi.status),
        )  # fmt: skip
    return table


def history(past: History) -> Iterable[Text]:
    """The rollout of one stack as its commits tell it, newest first."""
    for step in past.steps:
        commit, after = step.commit, step.after.rollout.percent
        before = step.before.rollout.percent if step.before else None
        move = f"{after} %" if before in (None, after) else f"{before} % -> {after} %"
        who = f"proposed by the controller, merged by {commit.by}" if commit.rollout_id else commit.by
        yield Text(f"{commit.time:%Y-%m-%d %H:%M} UTC  {commit.oid[:8]}  {move:<14}  {commit.subject}  ({who})")
