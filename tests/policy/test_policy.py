"""The shipped policy is both runbooks, number for number, and a wrong one is refused with its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import ConfigError
from controller.policy import Policy, costs, json_schema, load
from controller.policy.operations import CommandCheck, People
from controller.policy.schema import Freeze, RevertTo, SetFlag
from controller.policy.values import Bound, Margin
from tests.facts import ROOT

SHIPPED = (ROOT / "rollout.yaml").read_bytes()


@pytest.fixture
def policy() -> Policy:
    return load(SHIPPED)


def test_the_ladder_is_the_runbooks(policy: Policy) -> None:
    """10 % on day 0, 20 % after an hour, 50 % after week 1, 100 % after week 2."""
    hour, day = timedelta(hours=1), timedelta(days=1)
    assert [(stage.percent, stage.bake) for stage in policy.for_stack("prod").stages] == [
        (0, timedelta(0)), (10, hour), (20, 5 * day), (50, 7 * day), (100, timedelta(0)),
    ]  # fmt: skip
    ten = policy.stage(10)
    assert ten is not None
    assert (ten.watch, ten.proof) == (timedelta(minutes=15), "estimate")


@pytest.mark.parametrize(
    ("kpi", "target", "warning"),
    [
        ("ttv_p50", Bound("<=", 2, "s"), None),
        ("ttv_p90", Bound("<=", 5, "s"), Bound(">", 8, "s")),
        ("mic_grant", Bound(">=", 0.85, "%"), Bound("<", 0.80, "%")),
        ("activation", Bound(">=", 0.40, "%"), Bound("<", 0.35, "%")),
        ("error_rate", Bound("<=", 0.02, "%"), Bound(">", 0.05, "%")),
    ],
)
def test_the_thresholds_are_the_runbooks(policy: Policy, kpi: str, target: Bound, warning: Bound | None) -> None:
    """Must-have metrics as targets, warning signs as warnings."""
    assert (policy.kpis[kpi].target, policy.kpis[kpi].warning) == (target, warning)
    assert policy.kpis[kpi].required


def test_the_triggers_are_the_runbooks(policy: Policy) -> None:
    """Escalation triggers roll back; the feature-specific rules flip, revert to 10 and hold."""
    seen = {name: (getattr(t, "above", None) or getattr(t, "below_control", None) or getattr(t, "below", None),
                   getattr(t, "for_", None) or getattr(t, "in_first", None), t.then)
            for name, t in policy.triggers.items()}  # fmt: skip
    assert seen == {
        "api_errors": (0.02, timedelta(minutes=10), "rollback"),
        "run_failures": (0.05, 10, "rollback"),
        "legal_defect": (None, None, "rollback"),
        "legal_finding": (None, None, "rollback"),
        "mic_dip": (Margin(0.10, points=False), None, SetFlag(set="flags.micPrompt", to="native")),
        "slow": (Bound(">", 5, "s"), timedelta(hours=1), RevertTo(revert_to=10)),
        "activation_low": (Bound(">", 0.40, "%"), None, "hold"),
    }


def test_launch_day_is_the_runbooks(policy: Policy) -> None:
    """ETA 15 minutes, the first two hours, the first five outputs, the smoke test, P0 to P2; and nobody is named yet."""
    day, minute = policy.operations, timedelta(minutes=1)
    assert (day.rollback.eta, day.first_watch, day.first_outputs) == (15 * minute, 120 * minute, 5)
    assert {name: severity.respond for name, severity in day.severities.items()} == {
        "P0": 5 * minute, "P1": 30 * minute, "P2": 120 * minute,
    }  # fmt: skip
    smoke = day.checks["smoke"]
    assert isinstance(smoke, CommandCheck)
    assert smoke.command == ("npx playwright test --config=playwright/playwright.noweb.config.ts --project=firefox")
    assert [day.checks[name].title for name in day.rollback.workflow] == [
        "Sign in", "Upload packet", "Run chronology", "Export PDF",
    ]  # fmt: skip
    assert day.preflight.checklist == "readiness/Pilot_Launch_Command_Checklist_7Day.md"
    assert day.people == People()


def wrong(old: str, new: str) -> bytes:
    text = SHIPPED.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param('target: ">= 85%"', 'taget: ">= 85%"',
                     "rollout.yaml:33:5: kpis.mic_grant.taget: unknown key; did you mean target (allowed: title, rate, "
                     "quantile, target, warning, required, weight, min_units, stale, bounds, advice, traffic)", id="misspelt-key"),
        pytest.param("  kpi: mic_grant\n", "  kpy: mic_grant\n",
                     "rollout.yaml:71:5: triggers.mic_dip.kpy: unknown key; did you mean kpi (allowed: then, advice, kpi, "
                     "below_control, above_control)", id="misspelt-key-in-a-trigger"),
        pytest.param("unit: event}", "unti: event}",
                     "rollout.yaml:54:49: triggers.api_errors.rate.unti: unknown key; did you mean unit (allowed: event, "
                     "where, good, bad, within, unit, every, mean)", id="misspelt-key-deep"),
        pytest.param('    target: ">= 40%"\n', "",
                     "rollout.yaml:38:5: kpis.activation.target: is missing; add it", id="missing-key"),
        pytest.param('"< 80%"', '"< 90%"',
                     "rollout.yaml:31:5: kpis.mic_grant: warning < 90 % is better than target >= 85 %",
                     id="warning-better-than-target"),
        pytest.param('"> 8 s"', '"> 8 ms"',
                     "rollout.yaml:25:5: kpis.ttv_p90: warning > 8 ms and target <= 5 s measure differently",
                     id="another-unit"),
        pytest.param("percent: 20", "percent: 5", "rollout.yaml:10:15: stages.2.percent: stages must rise, found 5 after 10",
                     id="stages-not-rising"),
        pytest.param("  - {percent: 100}\n\n", "\n",
                     "rollout.yaml:8:3: stages: stages run from 0 to 100, found [0, 10, 20, 50]", id="no-top"),
        pytest.param("percent: 50", "percent: 120",
                     "rollout.yaml:11:15: stages.3.percent: found 120; input should be less than or equal to 100",
                     id="over-100"),
        pytest.param("percent: 50", "percent: 50.5",
                     "rollout.yaml:11:15: stages.3.percent: found 50.5; input should be a valid integer", id="fraction"),
        pytest.param("bake: 1h", "bake: 60", "rollout.yaml:9:25: stages.1.bake: found 60; write a duration such as 15m, 1h or 5d",
                     id="bare-number"),
        pytest.param("above: 2%", "above: 2", "rollout.yaml:55:12: triggers.api_errors.above: found 2; write a share such as "
                     "2% (0% to 100%)", id="share-without-percent"),
        pytest.param("false_revert: 1%", "false_revert: 50%", "rollout.yaml:14:22: risk.false_revert: found \"50%\"; input should "
                     "be less than or equal to 0.2", id="reckless-risk"),
        pytest.param("kpi: mic_grant", "kpi: mic_grunt", "rollout.yaml:71:10: triggers.mic_dip.kpi: found mic_grunt; known KPIs: "
                     "ttv_p50, ttv_p90, mic_grant, activation, error_rate", id="unknown-kpi"),
        pytest.param("set: flags.micPrompt", "set: flags.mikPrompt", "rollout.yaml:73:11: triggers.mic_dip.then: found flag "
                     "mikPrompt; known flags: micPrompt", id="unknown-flag"),
        pytest.param("to: native", "to: nativ", "rollout.yaml:73:11: triggers.mic_dip.then: found micPrompt to nativ; allowed: "
                     "primer, native", id="unknown-flag-value"),
        pytest.param("revert_to: 10", "revert_to: 15", "rollout.yaml:78:11: triggers.slow.then: found revert_to 15; the stages "
                     "are [0, 10, 20, 50, 100]", id="revert-off-the-ladder"),
        pytest.param("above: 5 s", "below: 5 s", "rollout.yaml:76:12: triggers.slow.below: would fire where ttv_p90 is good "
                     "(target <= 5 s); use the other of above and below", id="trigger-on-the-good-side"),
        pytest.param("then: hold", "then: hod", "rollout.yaml:83:11: triggers.activation_low.then: found \"hod\"; input should be "
                     "'rollback' or 'hold'", id="unknown-action"),
        pytest.param("good: {outcome: granted}", "good: {outcome: granted}, bad: {outcome: denied}",
                     "rollout.yaml:32:11: kpis.mic_grant.rate: give exactly one of good, bad and within", id="good-and-bad"),
        pytest.param("after: staging", "after: stagin", "rollout.yaml:101:12: stacks.prod.after: found stagin; known stacks: "
                     "staging", id="unknown-stack"),
        pytest.param("    cool_down: 15m\n", "    cool_down: 15m\n    after: prod\n", "rollout.yaml:96:12: stacks.staging.after: "
                     "runs in a circle: staging after prod after staging", id="circle"),
        pytest.param("  prod:\n", "  staging:\n", "rollout.yaml:100:3: staging stands twice; keep one", id="key-twice"),
        pytest.param("kind: events-api, url", "kind: event-api, url", "rollout.yaml:16:16: source.kind: found \"event-api\"; input "
                     "should be 'files' or 'events-api'", id="unknown-source"),
        pytest.param("cool_down: 1d\n\n", "cool_down: 1d\nfreeze:\n  - {days: [mon, tue, wed, thu, fri, sat, sun]}\n\n",
                     "rollout.yaml:91:3: freeze: covers the whole week: no advance could ever be proposed; to stop, set hold "
                     "in the stack file", id="frozen-for-ever"),
        pytest.param("cool_down: 1d\n\n", "cool_down: 1d\nfreeze:\n  - {days: [mon], from: '20:00', to: '08:00x'}\n\n",
                     "rollout.yaml:91:38: freeze.0.to: found \"08:00x\"; string should match pattern "
                     "'^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$'", id="clock"),
        pytest.param("health: [health]", "health: [heath]", "rollout.yaml:134:14: operations.rollback.health.0: found heath; "
                     "known checks: smoke, health, sign_in, upload, run, export", id="unknown-check"),
        pytest.param("Health, url:", "Health, uri:", "rollout.yaml:116:29: operations.checks.health.uri: unknown key; did you "
                     "mean url (allowed: title, url, contains, timeout)", id="misspelt-key-of-a-check"),
        pytest.param("respond: 30m", "respond: 30", "rollout.yaml:139:16: operations.severities.P1.respond: found 30; write a "
                     "duration such as 15m, 1h or 5d", id="bare-response-time"),
        pytest.param("risk:", "risk: ]", "rollout.yaml:14:7: not YAML: expected the node content, but found ']'", id="not-yaml"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_with_place_key_found_and_allowed(old: str, new: str, says: str) -> None:
    """File, line, column, key path, what was found, what is allowed, the nearest valid key."""
    with pytest.raises(ConfigError) as refused:
        load(wrong(old, new))

    assert says in str(refused.value).splitlines()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "rollout.yaml:1:1: the file is empty; see docs/guide.md for a policy"),
        (b"- 1\n", "rollout.yaml:1:1: the file: found [1]; input should be"),
        (b"stages: \xff\n", "rollout.yaml: not UTF-8 at byte 8; save the file as UTF-8"),
    ],
)
def test_what_is_no_policy_at_all_is_refused(data: bytes, says: str) -> None:
    """Nothing, a list, and bytes that are no text."""
    with pytest.raises(ConfigError) as refused:
        load(data)

    assert str(refused.value).startswith(says)


def test_every_mistake_is_told_at_once(policy: Policy) -> None:
    """Two mistakes, two lines."""
    data = wrong("above: 2%", "above: 2").replace(b"bake: 1h", b"bake: 1")

    with pytest.raises(ConfigError) as refused:
        load(data)

    assert len(str(refused.value).splitlines()) == 2


@given(st.binary(max_size=60), st.integers(0, len(SHIPPED)), st.integers(0, 60))
def test_junk_never_fails_otherwise(junk: bytes, at: int, length: int) -> None:
    """Any file is a policy or a ConfigError that names it."""
    data = SHIPPED[:at] + junk + SHIPPED[at + length :]
    refusal = "rollout.yaml"
    try:
        load(data)
    except ConfigError as error:
        refusal = str(error)
    assert refusal.startswith("rollout.yaml")


def test_the_published_schema_is_the_models() -> None:
    """`make schema` has been run."""
    assert (ROOT / "rollout.schema.json").read_text() == json_schema()
    assert b"$schema=./rollout.schema.json" in SHIPPED.splitlines()[0]


def test_the_schema_takes_the_shipped_policy_and_refuses_what_the_model_refuses() -> None:
    """An editor that checks by it agrees with the controller, as far as JSON Schema can say it."""
    validator = jsonschema.Draft202012Validator(json.loads(json_schema()))
    validator.check_schema(validator.schema)

    assert list(validator.iter_errors(yaml.safe_load(SHIPPED))) == []
    for old, new in [
        ('target: ">= 85%"', 'taget: ">= 85%"'),
        ("bake: 1h", "bake: 60"),
        ("above: 2%", "above: 2"),
        ("percent: 50", "percent: 120"),
        ("then: hold", "then: hod"),
    ]:
        assert list(validator.iter_errors(yaml.safe_load(wrong(old, new))))


def test_overrides_hold_for_their_stack_only(policy: Policy) -> None:
    """Staging bakes in minutes; prod as the file says."""
    staging = policy.for_stack("staging")
    assert staging.next_stage(0) is not None
    assert staging.cool_down == timedelta(minutes=15)
    assert [stage.percent for stage in staging.stages] == [0, 10, 100]
    assert policy.for_stack("prod").stages == policy.stages
    assert (policy.after("prod"), policy.after("staging"), policy.after("other")) == (
        "staging",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("at", "covered"),
    [
        ("2026-05-22T17:59", False),
        ("2026-05-22T18:00", True),
        ("2026-05-23T07:59", True),
        ("2026-05-23T08:00", False),
        ("2026-05-21T20:00", False),
    ],
)
def test_a_freeze_may_reach_into_the_next_day(at: str, covered: bool) -> None:
    """Friday 18:00 to Saturday 08:00, ends exact."""
    freeze = Freeze.model_validate({"days": ["fri"], "from": "18:00", "to": "08:00"})
    assert freeze.covers(datetime.fromisoformat(at).replace(tzinfo=UTC)) == covered


def test_check_tells_what_the_literal_first_ten_rule_costs(policy: Policy) -> None:
    """The figures of the binomial, and the softer form."""
    lines = [line for line in costs.costs(policy) if line.startswith("run_failures")]
    assert lines == [
        "run_failures: fires at failure 1 of the first 10, literally; false alarms 9.6% at a true 1 % and 18.3% at a "
        "true 2 %",
        "run_failures: softer: above: 20% fires at failure 3 of the first 10; 1.2% at a true 5 %",
    ]


def test_check_shows_who_may_spend_the_risk_budget(policy: Policy) -> None:
    """What has no weight has no entry; the triggers that ask for evidence stand beside it."""
    assert [line for line in costs.costs(policy) if "budget" in line] == [
        "evidence, the budget of 1 %: ttv_p50 0.25 %, ttv_p90 0.25 %, activation 0.25 %, error_rate 0.25 %",
        "triggers that ask for evidence, beside the budget: api_errors, slow: 1 % each at a rate that stays at its "
        "level; with it 3 % at most",
    ]
    assert sum(policy.revert_shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("new", "says"),
    [
        pytest.param("below_control: 100%", "nothing is lower than the control's rate by 100% of it", id="all-of-it"),
        pytest.param("below_control: 0%", "write a share of the control's rate such as 10%, or a distance such as 2 points",
                     id="nothing"),
        pytest.param("below_control: 120 points", "write a share of the control's rate", id="too-many-points"),
        pytest.param("above_control: 10%", "found mic_grant, which is better when higher; use the other of below_control "
                     "and above_control", id="other-side"),
        pytest.param("below_control: 10%\n    above_control: 10%", "give exactly one of below_control and above_control",
                     id="both-sides"),
    ],
)  # fmt: skip
def test_a_wrong_margin_to_the_control_is_refused(new: str, says: str) -> None:
    """In the words of a policy's author."""
    with pytest.raises(ConfigError) as refused:
        load(wrong("below_control: 10%", new))

    assert says in str(refused.value)


@pytest.mark.parametrize(
    "rate",
    [
        pytest.param("{event: api_call, bad: {status: 5xx}, unit: user, mean: true}", id="of-what-time"),
        pytest.param("{event: api_call, bad: {status: 5xx}, unit: event, every: 1h, mean: true}", id="of-one-event"),
        pytest.param("{event: api_call, within: 1h, every: 1h, mean: true}", id="of-what-may-follow"),
    ],
)
def test_a_mean_is_of_a_units_events_in_some_time(rate: str) -> None:
    """Else there is nothing to take it of."""
    shipped = "{event: api_call, bad: {status: 5xx}, unit: user, every: 1h}"
    with pytest.raises(ConfigError, match="mean needs every, a unit other than event, and good or bad"):
        load(wrong(shipped, rate))

    assert load(wrong(shipped, shipped[:-1] + ", mean: true}")).kpis["error_rate"].query("x").mean
    with pytest.raises(ConfigError, match="a trigger goes by units as they come, without mean"):
        load(wrong("unit: event}", "unit: user, every: 1h, mean: true}"))


def test_a_count_per_time_needs_one_event_and_says_what_it_costs() -> None:
    """As the literal kind does."""
    crashes = "  crashes: {count: {event: crash}, above: 3, per: 1h, then: rollback}\n  legal_defect:"

    allowed = load(wrong("  legal_defect:", crashes))

    assert "crashes: at most 1 % a rollout at a true 3 in 1h" in list(costs.costs(allowed))
    with pytest.raises(ConfigError, match=r"triggers.crashes.count.*needs one event"):
        load(wrong("  legal_defect:", crashes.replace("event: crash", "kind: crash")))


def test_nothing_merges_by_itself_unless_it_is_said_and_never_an_advance(policy: Policy) -> None:
    """And `policy check` says what that means."""
    assert policy.merges_by_itself == ()
    assert not any("merges by itself" in line for line in costs.costs(policy))
    with pytest.raises(
        ConfigError, match=r"rollout.yaml:89:20: merges_by_itself.0: found \"advance\"; input should be"
    ):
        load(wrong("cool_down: 1d\n", "merges_by_itself: [advance]\ncool_down: 1d\n"))

    allowed = load(wrong("cool_down: 1d\n", "merges_by_itself: [revert, flip]\ncool_down: 1d\n"))

    assert allowed.for_stack("prod").merges_by_itself == ("revert", "flip")
    (line,) = (line for line in costs.costs(allowed) if line.startswith("merges by itself"))
    assert line.startswith("merges by itself: revert and flip; nobody looks before the stack file changes")
