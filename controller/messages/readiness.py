"""What people read of checks: the table of a preflight, the checklist of a launch, the findings of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.messages.markdown import escape
from controller.model import CheckResult, Decision, Finding, Health, Readiness, Verdict

_MARK = {True: ("ok  ", "green"), False: ("FAIL", "bold red")}
_HEALTH = {
    Health.FINE: ("ok  ", "green"),
    Health.NOTE: ("note", "cyan"),
    Health.LATER: ("wait", "yellow"),
    Health.WRONG: ("FAIL", "bold red"),
}


def check_line(item: CheckResult) -> Text:
    """One result: the word first, so that it is told without colour."""
    word, style = _MARK[item.ok]
    took = f" ({item.seconds:.0f} s)" if item.seconds >= 1 else ""
    return Text(word, style=style).append(f"  {item.title}{took}: {item.words}", style="default")


def preflight_end(found: Readiness, decision: Decision, *, kept: bool) -> RenderableType:
    """What the results come to, and what is next."""
    stack = decision.stack
    lines = []
    if found.failed:
        lines.append(Text(f"{len(found.failed)} of {len(found.items)} checks failed: nobody is let in.", style="bold"))
        lines.append(Text(f"Mend them, then run again: pilot preflight --stack {stack}"))
    else:
        lines.append(Text(f"All {len(found.items)} checks passed.", style="bold"))
    rest = [reason for reason in decision.reasons if not reason.startswith("preflight: the one of")]
    if decision.verdict is Verdict.ADVANCE:
        lines.append(Text(f"The next pass proposes {decision.from_percent} % -> {decision.to_percent} %."))
    elif rest:
        lines.append(Text("The controller holds besides:"))
        lines += [Text(f"  {reason}") for reason in rest]
    if not kept:
        lines.append(Text("Not kept: the controller does not know of it."))
    return Group(*lines)


def preflight_json(found: Readiness, decision: Decision) -> dict[str, Any]:
    """The result as one JSON object."""
    return {
        "stack": decision.stack,
        "passed": not found.failed,
        "release": found.release,
        "at": found.at.isoformat(),
        "by": found.by,
        "checks": [
            {"title": item.title, "ok": item.ok, "words": item.words, "seconds": round(item.seconds, 1)}
            for item in found.items
        ],
        "verdict": str(decision.verdict),
        "reasons": list(decision.reasons),
    }


def checklist(found: Readiness) -> str:
    """The preflight as Markdown task boxes, ticked by whoever looked."""
    lines = [f"- [{'x' if item.ok else ' '}] {escape(item.title)}: {escape(item.words)}" for item in found.items]
    head = f"Run by {escape(found.by)} at {found.at:%Y-%m-%d %H:%M} UTC."
    return "\n".join(["### Preflight", head, "", *lines])


def findings_table(findings: Sequence[Finding]) -> RenderableType:
    """The doctor's findings, each with what to do."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for item in findings:
        word, style = _HEALTH[item.health]
        todo = f"\n-> {item.todo}" if item.todo else ""
        table.add_row(Text(word, style=style), Text(item.about), Text(f"{item.words}{todo}"))
    return table


def findings_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [
        {"about": item.about, "health": str(item.health), "words": item.words, "todo": item.todo} for item in findings
    ]
