"""Facts for the tests of the rule: healthy at 10 % after its bake, and what a test changes of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller import readiness
from controller.decide import Facts
from controller.history import History
from controller.model import (
    CheckResult,
    Commit,
    Declared,
    Deployment,
    Evidence,
    Exposure,
    KpiEvidence,
    KpiStatus,
    Live,
    Readiness,
    Rollout,
    Service,
    TriggerResult,
    TriggerStatus,
    Window,
)
from controller.policy import Policy, load

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
POLICY: Policy = load((ROOT / "rollout.yaml").read_bytes()).for_stack("prod")
IMAGE = "registry.example.com/app@sha256:" + "a" * 64
SERVICE = Service("cluster", "service", IMAGE)
GOOD = KpiEvidence(
    status=KpiStatus.PASSED, n=400, bad=20, estimate=0.95, low=0.9, high=0.98, target=0.85, warning=0.8,
    e_advance=50.0, e_revert=0.1, e_hold=0.5, freshness_s=60.0, complete=True, reason="good",
)  # fmt: skip


def declared(percent: int = 10, **rollout: Any) -> Declared:
    rollout.setdefault("flags", {"micPrompt": "primer"})
    return Declared(SERVICE, Rollout(percent, Exposure.FLAG, **rollout), "us-east-1")


def commit(at: datetime, percent: int, *, person: bool = False, service: Service = SERVICE, **rollout: Any) -> Commit:
    """A commit of the stack file, by a person or of a merged proposal."""
    return Commit(
        oid=f"{int(at.timestamp()):040x}",
        time=at,
        by="Ana",
        subject="a change",
        rollout_id=None if person else "0123abcd",
        declared=replace(declared(percent, **rollout), service=service),
    )


def ready(*failed: str, at: datetime = NOW - timedelta(hours=2), of: Declared | None = None) -> Readiness:
    """A preflight of what `declared` declares: two checks passed, and those named *failed*."""
    items = [CheckResult(title, True, "fine", 0.1) for title in ("Health", "Smoke test")]
    items += [CheckResult(title, False, "broken", 0.1) for title in failed]
    return Readiness(readiness.release(of or declared(0)), at, "Omar", tuple(items))


def past(*percents: int, person_last: bool = False, ago: timedelta = timedelta(days=10)) -> History:
    """A history of one commit a day for *percents*, oldest first, the last of them *ago*."""
    commits = [
        commit(NOW - ago - timedelta(days=len(percents) - 1 - index), percent,
               person=index == 0 or (person_last and index == len(percents) - 1))
        for index, percent in enumerate(percents)
    ]  # fmt: skip
    return History.of(commits[::-1])


def kpi(status: KpiStatus, reason: str = "because", **changes: Any) -> KpiEvidence:
    return replace(GOOD, status=status, reason=reason, **changes)


def evidence(e_revert: float = 0.1, **kpis: KpiEvidence) -> Evidence:
    """Every KPI of the policy passed, but for those named."""
    return Evidence(dict.fromkeys(POLICY.kpis, GOOD) | kpis, e_revert)


def triggers(**named: str) -> dict[str, TriggerResult]:
    """Every trigger quiet, but for those named, which fired with that reason."""
    return {
        name: TriggerResult(TriggerStatus.FIRED, named[name])
        if name in named
        else TriggerResult(TriggerStatus.QUIET, "quiet")
        for name in POLICY.triggers
    }


def live(percent: int = 10, **changes: Any) -> Live:
    usual = Live(percent, NOW - timedelta(days=9), Deployment.COMPLETED, IMAGE, flags={"micPrompt": "primer"})
    return replace(usual, **changes)


def facts(percent: int = 10, **changes: Any) -> Facts:
    """Healthy facts at *percent*: everything passed, baked and quiet."""
    ladder = [0, 10, 20, 50, 100]
    usual = Facts(
        stack="prod",
        now=NOW,
        policy=POLICY,
        declared=declared(percent),
        live=live(percent),
        history=past(*[step for step in ladder if step <= percent]),
        window=Window(NOW - timedelta(days=9), NOW - timedelta(days=9), NOW),
        evidence=evidence(),
        triggers=triggers(),
        last_event=NOW - timedelta(minutes=5),
        readiness=ready(),
    )
    return replace(usual, **changes)
