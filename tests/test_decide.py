"""The rule, case by case and as promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide import Facts, behind, decide, is_live
from controller.history import History
from controller.model import (
    Deployment,
    Intake,
    KpiStatus,
    Live,
    Proportion,
    Stop,
    TriggerResult,
    TriggerStatus,
    Unreadable,
    Verdict,
    Window,
)
from controller.policy.schema import Freeze
from tests.facts import (
    NOW,
    POLICY,
    SERVICE,
    commit,
    declared,
    evidence,
    facts,
    kpi,
    live,
    past,
    ready,
    triggers,
)

HOUR = timedelta(hours=1)
FRESH = Window(NOW - 2 * HOUR, NOW - timedelta(minutes=59), NOW)
BAKED = Window(NOW - 2 * HOUR, NOW - HOUR, NOW)
PASSED = "preflight passed: 2 checks by Omar at 2026-05-20 10:00 UTC"
# Rolled back yesterday by the controller, and then released anew by a person.
RELEASED = History.of([
    commit(NOW - 5 * HOUR, 0, person=True, service=replace(SERVICE, image="new")),
    commit(NOW - 26 * HOUR, 0),
    commit(NOW - 30 * HOUR, 10),
    commit(NOW - 60 * HOUR, 0, person=True),
])  # fmt: skip


def case(name: str, given_: Facts, verdict: Verdict, to: int, says: str) -> object:
    return pytest.param(given_, verdict, to, says, id=name)


@pytest.mark.parametrize(
    ("given_", "verdict", "to", "says"),
    [
        # 9
        case("healthy-advances", facts(), Verdict.ADVANCE, 20, "good"),
        case("from-0-by-preflight", facts(0), Verdict.ADVANCE, 10, PASSED),
        case("no-preflight", facts(0, readiness=None), Verdict.HOLD, 0,
             "preflight: none was made; run pilot preflight --stack prod"),
        case("a-failed-preflight", facts(0, readiness=ready("CI", "Drill")), Verdict.HOLD, 0,
             "preflight: the one of 2026-05-20 10:00 UTC failed: CI: broken and 1 more; run pilot preflight --stack prod"),
        case("one-failed-check", facts(0, readiness=ready("CI")), Verdict.HOLD, 0,
             "preflight: the one of 2026-05-20 10:00 UTC failed: CI: broken; run pilot preflight --stack prod"),
        case("a-preflight-that-is-just-young-enough", facts(0, readiness=ready(at=NOW - 24 * HOUR)), Verdict.ADVANCE, 10,
             "preflight passed: 2 checks by Omar at 2026-05-19 12:00 UTC"),
        case("an-old-preflight", facts(0, readiness=ready(at=NOW - 24 * HOUR - timedelta(minutes=1))), Verdict.HOLD, 0,
             "preflight: the one of 2026-05-19 11:59 UTC is more than 1d old; run pilot preflight --stack prod"),
        case("a-preflight-from-the-future", facts(0, readiness=ready(at=NOW + HOUR)), Verdict.HOLD, 0,
             "preflight: the one of 2026-05-20 13:00 UTC is from the future: set the clock of the machine that made it; "
             "run pilot preflight --stack prod"),
        case("a-preflight-of-other-flags", facts(0, readiness=ready(of=declared(0, flags={"micPrompt": "native"}))),
             Verdict.HOLD, 0, "preflight: the one of 2026-05-20 10:00 UTC was of another image, exposure or flags; "
             "run pilot preflight --stack prod"),
        case("a-preflight-from-before-a-revert", facts(0, history=RELEASED, readiness=ready(at=NOW - 27 * HOUR)),
             Verdict.HOLD, 0, "preflight: the one of 2026-05-19 09:00 UTC was made before the percent was lowered at "
             "2026-05-19 10:00 UTC; run pilot preflight --stack prod"),
        case("a-preflight-at-the-time-of-a-revert", facts(0, history=RELEASED, readiness=ready(at=NOW - 26 * HOUR)),
             Verdict.HOLD, 0, "preflight: the one of 2026-05-19 10:00 UTC was made before the percent was lowered at "
             "2026-05-19 10:00 UTC; run pilot preflight --stack prod"),
        case("a-preflight-after-a-revert-and-a-release", facts(0, history=RELEASED), Verdict.ADVANCE, 10, PASSED),
        case("a-preflight-serves-the-start-alone", facts(10, readiness=None), Verdict.ADVANCE, 20, "good"),
        case("a-stack-that-asks-for-none", facts(0, stack="staging", readiness=None), Verdict.ADVANCE, 10, "preflight passed"),
        case("a-preflight-that-no-one-asked-for", facts(0, stack="staging"), Verdict.ADVANCE, 10, "preflight passed"),
        case("at-100-complete", facts(100), Verdict.HOLD, 100, "the rollout is complete: 100 %"),
        case("off-the-ladder-goes-to-the-next-rung", facts(15), Verdict.ADVANCE, 20, "good"),
        case(
            "unproven-holds",
            facts(evidence=evidence(mic_grant=kpi(KpiStatus.OPEN, "e-value 3 < 20", needed=400))),
            Verdict.HOLD, 10, "e-value 3 < 20, expected 2026-05-29 12:00 UTC at today's traffic",
        ),
        case(
            "no-events-before-the-start",
            facts(0, last_event=None),
            Verdict.HOLD, 0, "preflight: the source has no events yet; the control arm's must arrive before the pilot starts",
        ),
        case(
            "old-events-before-the-start",
            facts(0, last_event=NOW - timedelta(hours=7)),
            Verdict.HOLD, 0, "preflight: the newest event is from 2026-05-20 05:00 UTC, more than 6h ago",
        ),
        case("events-just-new-enough", facts(0, last_event=NOW - 6 * HOUR), Verdict.ADVANCE, 10, PASSED),
        case(
            "relaunch-takes-a-person",
            facts(0, history=past(0, 10, 0)),
            Verdict.HOLD, 0,
            "preflight: rolled back at 2026-05-10 12:00 UTC; relaunch when a person has released a new image or "
            "changed Pulumi.prod.yaml",
        ),
        case("a-fired-trigger-blocks-the-start", facts(0, triggers=triggers(legal_defect="1 event")),
             Verdict.HOLD, 0, "legal_defect fired: 1 event"),
        # 8
        case("a-gap-restarts-the-bake", facts(window=FRESH, gap_ended=FRESH.stage), Verdict.HOLD, 10,
             "baking: 59m of 1h, since a gap in the events ended, until 2026-05-20 12:01 UTC"),
        case("one-minute-before-the-bake-ends", facts(window=FRESH), Verdict.HOLD, 10,
             "baking: 59m of 1h, until 2026-05-20 12:01 UTC"),
        case("exactly-at-the-end-of-the-bake", facts(window=BAKED), Verdict.ADVANCE, 20, "good"),
        # 7
        case("hold-level", facts(evidence=evidence(mic_grant=kpi(KpiStatus.HOLD, "84 %"))), Verdict.HOLD, 10,
             "84 %; check permission primer effectiveness"),
        case("one-breach-within-the-budget", facts(evidence=evidence(99.9, ttv_p50=kpi(KpiStatus.BREACH))),
             Verdict.HOLD, 10, "because"),
        case("a-trigger-that-holds", facts(triggers=triggers(activation_low="38 % < 40 %")), Verdict.HOLD, 10,
             "activation_low fired: 38 % < 40 %; check analytics events and user flow"),
        case("arms-out-of-proportion",
             facts(evidence=replace(evidence(), proportion=Proportion(300, 700, 0.1, 100.0))), Verdict.HOLD, 10,
             "arms out of proportion: 300 of 1000 users in the pilot, planned 10%, e-value 100 >= 100"),
        case("arms-just-in-proportion",
             facts(evidence=replace(evidence(), proportion=Proportion(150, 850, 0.1, 99.0))), Verdict.ADVANCE, 20,
             "good"),
        # 6
        *(
            case(f"{status}-holds", facts(evidence=evidence(activation=kpi(status))), Verdict.HOLD, 10, "because")
            for status in (KpiStatus.MISSING, KpiStatus.STALE, KpiStatus.INCOMPLETE, KpiStatus.SMALL)
        ),
        case("source-fails", facts(source_trouble="events API answered 503"), Verdict.HOLD, 10,
             "no evidence: events API answered 503"),
        case("malformed-records", facts(malformed=2, counted=197, notes=("a.jsonl:3: not JSON",)), Verdict.HOLD, 10,
             "2 malformed records beside 197 counted units (a.jsonl:3: not JSON): mend their source"),
        case("a-few-malformed-records", facts(malformed=2, counted=198), Verdict.ADVANCE, 20, "good"),
        # 5
        case("hold-in-the-file", facts(declared=declared(hold="audit")), Verdict.HOLD, 10,
             "hold in Pulumi.prod.yaml: audit"),
        case("intake-paused", facts(declared=declared(intake=Intake.PAUSED)), Verdict.HOLD, 10,
             "intake is paused in Pulumi.prod.yaml"),
        case("veto", facts(vetoes={20: "Bo closed #4"}), Verdict.HOLD, 10, "Bo closed #4"),
        case("veto-of-another-stage", facts(vetoes={50: "Bo closed #4"}), Verdict.ADVANCE, 20, "good"),
        case("a-person-reverted", facts(history=past(0, 10, 20, 10, person_last=True)), Verdict.HOLD, 10,
             f"Ana reverted 20 % to 10 % ({past(0, 10, 20, 10).steps[0].commit.oid[:8]}): holding until a person "
             "changes Pulumi.prod.yaml again"),
        case("cool-down", facts(history=past(0, 10, 20, 10, ago=23 * HOUR)), Verdict.HOLD, 10,
             "cool-down after the revert until 2026-05-20 13:00 UTC"),
        case("cool-down-over", facts(history=past(0, 10, 20, 10, ago=24 * HOUR)), Verdict.ADVANCE, 20, "good"),
        case("flap-breaker", facts(history=past(0, 10, 20, 10, 20, 10)), Verdict.HOLD, 10,
             "2 reverts >= 2 since a person changed the file: a person must act"),
        case("freeze", facts(policy=POLICY.model_copy(update={"freeze": (Freeze(days=("wed",)),)})),
             Verdict.HOLD, 10, "freeze window until 2026-05-21 00:00 UTC"),
        case("another-stack-first", facts(behind="staging goes first"), Verdict.HOLD, 10, "staging goes first"),
        # 4
        case("not-applied", facts(live=live(0)), Verdict.HOLD, 10,
             "percent declared 10 %, live 0 %: run pulumi up --stack prod"),
        case("another-flag-live", facts(live=live(flags={"micPrompt": "native"})), Verdict.HOLD, 10,
             "flag micPrompt declared primer, live native: run pulumi up --stack prod"),
        case("deployment-running", facts(live=live(deployment=Deployment.IN_PROGRESS, detail="1 of 2")),
             Verdict.HOLD, 10, "deployment in progress: 1 of 2"),
        case("deployment-failed", facts(live=live(deployment=Deployment.FAILED, detail="circuit breaker")),
             Verdict.HOLD, 10, "deployment failed: circuit breaker"),
        case("live-unreadable", facts(live=Unreadable("ecs:DescribeServices denied")), Verdict.HOLD, 10,
             "live state unknown: ecs:DescribeServices denied"),
        # 3
        case("flip", facts(triggers=triggers(mic_dip="81 % vs 93 %")), Verdict.FLIP, 10,
             "mic_dip fired: 81 % vs 93 %"),
        case("no-flip-by-arms-out-of-proportion",
             facts(triggers=triggers(mic_dip="81 % vs 93 %"),
                   evidence=replace(evidence(), proportion=Proportion(300, 700, 0.1, 100.0))),
             Verdict.HOLD, 10, "mic_dip fired: 81 % vs 93 %"),
        case("flipped-already-holds",
             facts(declared=declared(flags={"micPrompt": "native"}), live=live(flags={"micPrompt": "native"}),
                   triggers=triggers(mic_dip="81 % vs 93 %")),
             Verdict.HOLD, 10, "mic_dip fired: 81 % vs 93 %"),
        # 2
        case("evidence-exactly-at-the-budget", facts(20, evidence=evidence(100.0)), Verdict.REVERT, 10,
             "combined evidence 100 >= 100"),
        case("evidence-just-below", facts(evidence=evidence(99.99)), Verdict.ADVANCE, 20, "good"),
        case("a-stage-that-a-person-skipped-reverts-to-where-it-came-from",
             facts(50, history=past(0, 10, 50), evidence=evidence(1e9)), Verdict.REVERT, 10,
             "combined evidence 1e+09 >= 100"),
        case("an-advance-not-applied-reverts-below-what-is-live",
             facts(20, live=live(10), evidence=evidence(100.0)), Verdict.REVERT, 0, "combined evidence 100 >= 100"),
        case("nothing-below-0", facts(0, evidence=evidence(1e9)), Verdict.ADVANCE, 10, PASSED),
        case("a-merged-revert-that-is-not-live-is-not-followed-by-another",
             facts(10, live=live(20), evidence=evidence(1e9)), Verdict.HOLD, 10,
             "percent declared 10 %, live 20 %: run pulumi up --stack prod"),
        case("nor-while-nobody-knows-what-is-live",
             facts(10, live=Unreadable("denied"), history=past(0, 10, 20, 10), evidence=evidence(1e9)), Verdict.HOLD, 10,
             "live state unknown: denied"),
        # 1
        case("rollback", facts(50, triggers=triggers(api_errors="15 % for 10m")), Verdict.REVERT, 0,
             "api_errors fired: 15 % for 10m"),
        case("revert-to-10", facts(50, triggers=triggers(slow="p90 7 s")), Verdict.REVERT, 10,
             "slow fired: p90 7 s; investigate"),
        case("revert-to-10-at-10-holds", facts(10, triggers=triggers(slow="p90 7 s")), Verdict.HOLD, 10,
             "slow fired: p90 7 s; investigate"),
        case("the-lowest-of-two", facts(50, triggers=triggers(slow="7 s", legal_defect="1 event")),
             Verdict.REVERT, 0, "legal_defect fired: 1 event"),
        case("rollback-goes-before-a-flip",
             facts(20, triggers=triggers(mic_dip="dip", run_failures="1 of 10")), Verdict.REVERT, 0,
             "run_failures fired: 1 of 10"),
        case("nothing-blocks-a-revert",
             facts(20, triggers=triggers(legal_defect="1 event"), window=FRESH,
                   declared=declared(20, hold="audit", intake=Intake.PAUSED), live=Unreadable("denied"),
                   history=past(0, 10, 20, 10, 20, ago=timedelta()), vetoes={50: "no"}, behind="no",
                   source_trouble="down", policy=POLICY.model_copy(update={"freeze": (Freeze(days=("wed",)),)})),
             Verdict.REVERT, 0, "legal_defect fired: 1 event"),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(given_: Facts, verdict: Verdict, to: int, says: str) -> None:
    """Verdict, target and the deciding reason, including the rows exactly at each bound."""
    decision = decide(given_)

    assert (decision.verdict, decision.to_percent, decision.reasons[0]) == (verdict, to, says)
    assert decision.from_percent == given_.declared.rollout.percent


def test_changes_name_the_key_and_both_values() -> None:
    """What a pull request will change is part of the decision."""
    assert decide(facts()).changes == {"percent": (10, 20)}
    assert decide(facts(50, triggers=triggers(slow="7 s"))).changes == {"percent": (50, 10)}
    flip = decide(facts(triggers=triggers(mic_dip="dip")))
    assert flip.changes == {"flags.micPrompt": ("primer", "native")}
    assert decide(facts(live=live(0))).changes == {}


def test_a_hold_tells_every_reason_and_the_next_check_is_the_end_of_the_first() -> None:
    """The blocking one first, the rest after it."""
    decision = decide(facts(window=FRESH, evidence=evidence(activation=kpi(KpiStatus.OPEN, "not yet"))))

    assert decision.reasons == (
        "baking: 59m of 1h, until 2026-05-20 12:01 UTC",
        "not yet",
    )
    assert decision.next_check == NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ahead", "says"),
    [
        (None, "staging goes first and could not be judged; see its own error"),
        (facts(10, stack="staging"), "staging goes first: 10 % < 20 %"),
        (facts(20, stack="staging"), None),
        (facts(100, stack="staging"), None),
        (
            facts(20, stack="staging", live=live(10)),
            "staging goes first: percent declared 20 %, live 10 %: run pulumi up --stack staging",
        ),
        (
            facts(20, stack="staging", triggers=triggers(api_errors="9 %")),
            "staging goes first and is not healthy: api_errors",
        ),
        (
            facts(20, stack="staging", evidence=evidence(1e6)),
            "staging goes first and is not healthy: evidence against its KPIs",
        ),
        (
            facts(
                20,
                stack="staging",
                declared=replace(declared(20), service=replace(SERVICE, image="b")),
            ),
            "staging goes first and runs another image",
        ),
        (
            facts(20, stack="staging", triggers=triggers(api_errors="9 %", mic_dip="81 %")),
            "staging goes first and is not healthy: api_errors, mic_dip",
        ),
        (
            facts(20, stack="staging", evidence=evidence(activation=kpi(KpiStatus.STALE, "no events"))),
            "staging goes first: no events",
        ),
        (
            facts(100, stack="staging", evidence=evidence(activation=kpi(KpiStatus.STALE, "no events"))),
            None,
        ),
        (
            facts(100, stack="staging", evidence=evidence(activation=kpi(KpiStatus.HOLD, "84 %"))),
            "staging goes first: 84 %",
        ),
        (
            facts(100, stack="staging", evidence=evidence(activation=kpi(KpiStatus.BREACH, "80 %"))),
            "staging goes first: 80 %",
        ),
    ],
)
def test_a_stack_waits_for_the_one_ahead_of_it(ahead: Facts | None, says: str | None) -> None:
    """Same image, percent at least as high, healthy there first."""
    assert behind(declared(10), POLICY, "staging", ahead) == says


@pytest.mark.parametrize(
    ("n", "needed", "age", "says"),
    [
        (0, 400, timedelta(days=9), ""),
        (1, 2, timedelta(days=1), ", expected 2026-05-22 12:00 UTC at today's traffic"),
        (400, None, timedelta(days=9), ""),
        (400, 0, timedelta(days=9), ""),
        (400, 400, timedelta(), ""),
        (400, 400, timedelta(seconds=1), ", expected 2026-05-20 12:00 UTC at today's traffic"),
    ],
)
def test_the_missing_units_are_expected_at_the_rate_of_the_stage(
    n: int, needed: int | None, age: timedelta, says: str
) -> None:
    unproven = evidence(mic_grant=kpi(KpiStatus.OPEN, "open", n=n, needed=needed))

    assert decide(facts(evidence=unproven, window=Window(NOW - age, NOW - age, NOW))).reasons[-1] == "open" + says


@pytest.mark.parametrize(
    ("running", "through"),
    [(live(), True), (live(0), False), (live(deployment=Deployment.IN_PROGRESS), False), (Unreadable("denied"), False)],
)
def test_what_is_declared_is_live_once_it_runs_and_is_deployed(running: Live | Unreadable, through: bool) -> None:
    assert is_live(facts(live=running)) is through


# ---------------------------------------------------------------- promises

statuses = st.sampled_from(list(KpiStatus))
percents = st.sampled_from([0, 5, 10, 20, 50, 99, 100])
fired = st.sets(st.sampled_from(sorted(POLICY.triggers)))


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Facts of every kind, healthy or not."""
    percent = draw(percents)
    kpis = {name: kpi(draw(statuses)) for name in POLICY.kpis}
    unknown = draw(fired)
    found = {
        name: TriggerResult(TriggerStatus.UNKNOWN, "no data") if name in unknown else result
        for name, result in triggers(**dict.fromkeys(draw(fired), "fired")).items()
    }
    age = timedelta(minutes=draw(st.integers(0, 20_000)))
    return facts(
        percent,
        evidence=evidence(draw(st.floats(0, 1e6)), **kpis),
        triggers=found,
        window=Window(NOW - age, NOW - age, NOW),
        live=draw(st.sampled_from([live(percent), live(0), Unreadable("denied")])),
        last_event=draw(st.sampled_from([None, NOW, NOW - timedelta(days=2)])),
    )


@given(any_facts())
def test_a_revert_never_raises_the_percent(given_: Facts) -> None:
    """And an advance goes up by exactly one rung, a hold or a flip nowhere."""
    decision = decide(given_)

    up = POLICY.next_stage(decision.from_percent)
    match decision.verdict:
        case Verdict.REVERT:
            assert decision.to_percent < decision.from_percent
        case Verdict.ADVANCE:
            assert up is not None
            assert decision.to_percent == up.percent
        case _:
            assert decision.to_percent == decision.from_percent


@given(any_facts())
def test_an_advance_has_every_required_kpi_passed_and_nothing_fired(given_: Facts) -> None:
    """Missing evidence is never good news."""
    decision = decide(given_)

    if decision.verdict is Verdict.ADVANCE:
        assert all(result.status is not TriggerStatus.FIRED for result in given_.triggers.values())
        assert isinstance(given_.live, type(live())) and given_.live.percent == decision.from_percent
        if decision.from_percent:
            assert {item.status for item in given_.evidence.kpis.values()} == {KpiStatus.PASSED}


@given(any_facts())
def test_nothing_blocks_a_fired_rollback(given_: Facts) -> None:
    """Whatever else holds, a fired rollback trigger above 0 % reverts to 0."""
    given_ = replace(
        given_,
        triggers={**given_.triggers, "legal_defect": TriggerResult(TriggerStatus.FIRED, "1")},
    )

    decision = decide(given_)

    if given_.declared.rollout.percent > 0:
        assert (decision.verdict, decision.to_percent) == (Verdict.REVERT, 0)
    else:
        assert decision.verdict is not Verdict.REVERT


# ---------------------------------------------------------------- history


def test_the_epoch_is_the_last_step_that_makes_earlier_evidence_void() -> None:
    """Leaving 0, lowering, another image or another flag restart the evidence; a raise does not."""
    days = [NOW - timedelta(days=9 - index) for index in range(8)]
    other = replace(SERVICE, image="b")
    commits = [
        commit(days[0], 0, person=True),
        commit(days[1], 10),
        commit(days[2], 20),
        commit(days[3], 10),
        commit(days[4], 20),
        commit(days[5], 20, flags={"micPrompt": "native"}),
        commit(days[6], 20, flags={"micPrompt": "native"}, service=other, person=True),
        commit(days[7], 50, flags={"micPrompt": "native"}, service=other),
    ]
    epochs = [History.of(commits[: index + 1][::-1]).epoch for index in range(8)]

    restarted = [History.of(commits[: index + 1][::-1]).restarted for index in range(8)]
    assert restarted == [True, True, False, True, False, True, True, False]
    assert epochs == [days[0], days[1], days[1], days[3], days[3], days[5], days[6], days[6]]


def test_reverts_are_counted_since_a_person_last_changed_the_file() -> None:
    """A person's commit resets the flap breaker."""
    assert past(0, 10, 20, 10, 20, 10).reverts == 2
    assert past(0, 10, 20, 10, 20, 10, 20, person_last=True).reverts == 0
    assert past(0, 10, 20, 10, 20).reverts == 1


# ---------------------------------------------------------------- what a person stopped in AWS

STOP = Stop(0, NOW - timedelta(minutes=5), "Ana", "users complain")
STOPPED = "stopped at 0 % in AWS by Ana at 2026-05-20 11:55 UTC: users complain"


@pytest.mark.parametrize(
    ("percent", "intake", "stop", "to", "changes"),
    [
        pytest.param(20, Intake.OPEN, STOP, 0, {"percent": (20, 0), "intake": ("open", "paused")}, id="kill"),
        pytest.param(20, Intake.PAUSED, STOP, 0, {"percent": (20, 0)}, id="paused already"),
        pytest.param(20, Intake.OPEN, replace(STOP, percent=10), 10,
                     {"percent": (20, 10), "intake": ("open", "paused")}, id="rollback"),
        pytest.param(10, Intake.OPEN, replace(STOP, percent=20), 10, {"intake": ("open", "paused")}, id="intake alone"),
        pytest.param(0, Intake.OPEN, STOP, 0, {"intake": ("open", "paused")}, id="nobody was in"),
    ],
)  # fmt: skip
def test_git_is_brought_to_what_a_person_stopped(
    percent: int, intake: Intake, stop: Stop, to: int, changes: dict[str, Any]
) -> None:
    there = declared(percent, intake=intake)
    for seen in (live(stop.percent, stop=stop), Unreadable("no answer", stop)):
        decision = decide(facts(percent, declared=there, live=seen))

        assert (decision.verdict, decision.to_percent, decision.changes) == (Verdict.REVERT, to, changes)
        assert decision.reasons[0].startswith(f"stopped at {stop.percent} % in AWS by Ana at")


def test_a_stop_with_which_the_file_agrees_waits_for_pulumi_up() -> None:
    decision = decide(facts(0, declared=declared(0, intake=Intake.PAUSED), live=live(0, stop=STOP)))

    assert decision.verdict is Verdict.HOLD
    assert decision.reasons[0] == (
        f"{STOPPED}; Pulumi.prod.yaml agrees: run pulumi up --stack prod, which ends the stop"
    )


def test_an_image_that_was_rolled_back_must_be_another_in_the_file() -> None:
    stop = replace(STOP, image=SERVICE.image)
    decision = decide(facts(0, declared=declared(0, intake=Intake.PAUSED), live=live(0, image="former", stop=stop)))

    assert "the image that was rolled back is still declared: name another in Pulumi.prod.yaml" in decision.reasons[0]


def test_a_stop_that_somebody_undid_is_said() -> None:
    decision = decide(facts(20, live=live(20, stop=STOP)))

    assert decision.reasons[0] == f"{STOPPED}; live is 20 % all the same: run pilot kill --stack prod again"


def test_intake_that_is_live_otherwise_is_not_applied() -> None:
    decision = decide(facts(10, declared=declared(10, intake=Intake.PAUSED), live=live(10, intake=Intake.OPEN)))

    assert decision.reasons[0] == "intake declared paused, live open: run pulumi up --stack prod"
