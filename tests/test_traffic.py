"""How long a stage needs at a traffic: arithmetic, said before anyone waits for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from controller import eprocess, evidence, traffic
from controller.errors import ConfigError
from controller.policy import load
from tests.facts import POLICY, ROOT

TEN, TWENTY = POLICY.stages[1], POLICY.stages[2]


@pytest.mark.parametrize("kpi", ["mic_grant", "activation", "error_rate"])
@pytest.mark.parametrize("which", ["healthy", "target"])
def test_the_units_are_the_first_with_which_the_proof_is_there(kpi: str, which: traffic.Truth) -> None:
    """One unit fewer, in the mean, is not enough."""
    target, warning = evidence.rate_bounds(POLICY.kpis[kpi])
    better = eprocess.ladder(warning, first=target, better=True)
    bad, level = traffic.truth(POLICY.kpis[kpi], which)[0], 1 / POLICY.risk.false_advance

    needed = traffic.units(POLICY, kpi, TWENTY, which)

    assert needed is not None
    assert (
        eprocess.e_now(better, needed, needed * bad) >= level > eprocess.e_now(better, needed - 1, (needed - 1) * bad)
    )


def test_an_estimate_takes_the_good_units_only() -> None:
    assert traffic.units(POLICY, "mic_grant", TEN, "target") == math.ceil(10 / 0.85)


def test_nothing_proves_a_kpi_at_its_warning() -> None:
    assert traffic.units(POLICY, "mic_grant", TWENTY, "warning") is None


def test_a_policy_that_cannot_decide_is_warned_of() -> None:
    """At 50 prompts a day the runbook's 20 % stage needs longer than it bakes; at 1000 none does."""
    lines = list(traffic.needs(POLICY, {"mic_grant": 50}))
    days = (traffic.units(POLICY, "mic_grant", TWENTY, "healthy") or 0) / 10
    assert days > 5
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: mic_grant: at 50/d the 10 % stage needs 2d 4h; its bake time is 1h, and is silent for longer than 6h "
        "in 29% of the time, and then stale",
        f"warning: mic_grant: at 50/d the 20 % stage needs {int(days)}d {int(days % 1 * 24)}h; its bake time is 5d, and "
        "is silent for longer than 6h in 8% of the time, and then stale",
    ]
    assert lines[-1].startswith("traffic of ttv_p50, ttv_p90, activation, error_rate is not known")

    plenty = dict.fromkeys(POLICY.kpis, 20_000.0)
    assert not any("20 %" in line for line in traffic.needs(POLICY, plenty) if line.startswith("warning"))


def test_a_delayed_kpi_needs_its_delay_too() -> None:
    """Staging bakes for a quarter of an hour; an activation is counted after half of one."""
    staging = load((ROOT / "rollout.yaml").read_bytes()).for_stack("staging")
    (line,) = (line for line in traffic.needs(staging, {"activation": 1e6}) if line.startswith("warning"))
    assert line == "warning: activation: at 1e+06/d the 10 % stage needs 30m; its bake time is 15m"


def test_traffic_comes_from_the_policy_then_events_then_options(tmp_path: Path) -> None:
    """A day of 48 users in two arms; what is given by hand and by name is the last word."""
    data = (
        (ROOT / "rollout.yaml").read_bytes().replace(b"    title: Mic grant\n", b"    title: Mic\n    traffic: 2/h\n")
    )
    policy = load(data)
    rows = [
        {"id": str(n), "ts": f"2026-03-0{1 + n // 24}T{n % 24:02}:02:00Z", "type": "mic_prompt", "user": f"u{n}",
         "arm": "pilot" if n % 4 else "control", "outcome": "granted"} for n in range(48)
    ]  # fmt: skip
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert traffic.given(policy) == {"mic_grant": 48.0}
    measured = traffic.given(policy, paths=[str(path)])["mic_grant"]
    assert measured == pytest.approx(24, rel=0.05)
    asked = traffic.given(policy, ["mic_grant=50/d", "600/h"], [str(path)])
    assert asked == dict.fromkeys(policy.kpis, 14_400.0) | {"mic_grant": 50.0}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("mic=50/d", "no KPI mic; there are: ttv_p50, ttv_p90, mic_grant"),
        ("50", "write a rate above 0 such as 50/d or 20/h"),
        ("0/d", "write a rate above 0"),
    ],
)
def test_what_is_no_traffic_is_refused(option: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        traffic.given(POLICY, [option])
