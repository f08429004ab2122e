"""What a program reads: the decision as data."""

from __future__ import annotations

from typing import Any

from controller.model import Decision, KpiEvidence


def decision_json(decision: Decision) -> dict[str, Any]:
    """The decision as one JSON object (docs/guide.md); a number that JSON cannot hold becomes null."""
    window = decision.window
    return {
        "stack": decision.stack,
        "verdict": str(decision.verdict),
        "from": decision.from_percent,
        "to": decision.to_percent,
        "changes": {path: list(pair) for path, pair in decision.changes.items()},
        "reasons": list(decision.reasons),
        "next_check": decision.next_check.isoformat(),
        "window": {"start": window.start.isoformat(), "end": window.now.isoformat()},
        "kpis": {name: _kpi_json(kpi) for name, kpi in decision.evidence.kpis.items()},
        "triggers": {
            name: {"status": str(result.status), "reason": result.reason} for name, result in decision.triggers.items()
        },
        "policy_sha256": decision.policy_sha256,
        "evidence_sha256": decision.evidence_sha256,
    }


def _kpi_json(kpi: KpiEvidence) -> dict[str, Any]:
    keys = (
        *("status", "n", "bad", "estimate", "low", "high", "target", "warning"),
        *("e_advance", "e_revert", "freshness_s", "complete", "reason"),
    )
    values = {key: getattr(kpi, key) for key in keys} | {"status": str(kpi.status)}
    return {
        key: None if isinstance(value, float) and abs(value) == float("inf") else value for key, value in values.items()
    }
