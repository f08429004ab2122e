"""The board that a person watches: golden screens of 80 x 24, and that a state is always told by a word."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide import Facts, decide
from controller.messages.board import Board, Counted, State, as_json, board, screen
from controller.model import Deployment, Intake, KpiStatus, Stop, TriggerResult, TriggerStatus, Unreadable, Window
from tests.facts import NOW, ROOT, evidence, facts, kpi, live, past, triggers

GOLDEN = ROOT / "tests" / "golden" / "screens"
SINCE = NOW - timedelta(minutes=23)
EARLY = Window(SINCE, SINCE, NOW)
FINE = {
    "login": Counted(143, 0, 1290, 3),
    "upload": Counted(14, 0, 120, 1),
    "run": Counted(14, 0, 118, 0),
    "citations": Counted(13, 0, 118, 0),
}


def launched(**changes: object) -> Facts:
    """Prod at 10 % for 23 minutes."""
    kpis = evidence(
        ttv_p50=kpi(KpiStatus.OPEN, estimate=1.42, target=2.0, n=61),
        ttv_p90=kpi(KpiStatus.OPEN, estimate=3.1, target=5.0, n=61),
        mic_grant=kpi(KpiStatus.OPEN, estimate=0.92, target=0.85, n=44),
        activation=kpi(KpiStatus.MISSING, estimate=None, target=0.4, n=0),
        error_rate=kpi(KpiStatus.OPEN, estimate=0.004, target=0.02, n=128),
    )
    usual = facts(10, live=live(10, since=SINCE), window=EARLY, evidence=kpis, history=past(0, 10, ago=NOW - SINCE))
    return replace(usual, **changes)  # type: ignore[arg-type]


def healthy() -> Board:
    given_ = launched()
    return board(given_, decide(given_), FINE, None)


def warning() -> Board:
    kpis = {
        "mic_grant": kpi(KpiStatus.HOLD, "mic_grant: 81 % of 44 users", estimate=0.81, target=0.85, n=44),
        "ttv_p90": kpi(KpiStatus.STALE, "ttv_p90: silent for 20m", estimate=4.1, target=5.0, n=61),
    }
    usual = launched()
    given_ = launched(evidence=replace(usual.evidence, kpis=dict(usual.evidence.kpis) | kpis))
    counted = FINE | {"upload": Counted(30, 1, 120, 1), "login": Counted(143, 4, 1290, 3)}
    return board(given_, decide(given_), counted, None, "the events API did not answer: timed out after 10 s")


def incident() -> Board:
    fired = triggers(run_failures="1 failed of the first 10 packets: 10 % > 5 %", legal_defect="1 event (e7)")
    given_ = launched(triggers=fired)
    counted = FINE | {"run": Counted(9, 1, 118, 0), "citations": Counted(8, 1, 118, 0)}
    return board(given_, decide(given_), counted, 12)


@pytest.mark.parametrize(("name", "shown"), [("healthy", healthy()), ("warning", warning()), ("incident", incident())])
def test_the_screen_is_the_golden_one(name: str, shown: Board) -> None:
    """Read the files in tests/golden/screens: they are what a person sees over ssh."""
    lines = [line.plain for line in screen(shown)]
    assert "\n".join(lines) + "\n" == (GOLDEN / f"watch-{name}.txt").read_text()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)


def test_the_headline_is_the_worst_line() -> None:
    assert [shown.state for shown in (healthy(), warning(), incident())] == [State.NOTHING, State.LOOK, State.ACT]
    assert incident().todo[0] == 'roll back: pilot rollback --stack prod --reason "..."; then merge #12'
    unknown = launched(live=Unreadable("denied"))
    assert board(unknown, decide(unknown), FINE, None).state is State.LOOK


def test_a_stop_in_aws_is_said_above_all_and_git_is_to_follow() -> None:
    stop = Stop(0, NOW - timedelta(minutes=5), "Omar", "users complain")
    given_ = launched(live=live(0, since=NOW - timedelta(minutes=4), intake=Intake.PAUSED, stop=stop))
    shown = board(given_, decide(given_), FINE, 13)
    assert (shown.state, shown.todo) == (State.ACT, ("merge #13, then pulumi up --stack prod",))
    assert shown.head[:3] == (
        "0 % live since 11:56 UTC, for 4m: nobody is in",
        "STOPPED by Omar at 11:55 UTC: users complain",
        "deployment completed; intake paused; #13 is open",
    )


@pytest.mark.parametrize(
    ("counted", "state", "shown"),
    [
        (None, State.UNKNOWN, "not counted"),
        (Counted(0, 0), State.NOTHING, "no event yet"),
        (Counted(20, 0), State.OK, "0 of 20, 0 %"),
        (Counted(20, 1), State.LOOK, "1 of 20, 5 %"),
        (Counted(19, 1), State.ACT, "1 of 19, 5.26 %"),
    ],
)
def test_a_watched_rate_asks_to_look_on_one_and_to_act_above_its_bound(
    counted: Counted | None, state: State, shown: str
) -> None:
    given_ = launched()
    found = FINE | {"login": counted} if counted else {}
    row = board(given_, decide(given_), found, None).rows[0]  # type: ignore[arg-type]
    assert (row.title, row.state, row.shown) == ("Login failures", state, shown)


def test_a_trigger_that_does_not_roll_back_is_a_line_only_once_it_fired() -> None:
    titles = [row.title for row in healthy().rows]
    assert titles[4:8] == ["Rule: api errors", "Rule: run failures", "Rule: legal defect", "Rule: legal finding"]
    given_ = launched(triggers=triggers(activation_low="12 % of 50 users"))
    row = next(row for row in board(given_, decide(given_), FINE, None).rows if row.title == "Rule: activation low")
    assert (row.state, row.todo) == (State.LOOK, "check analytics events and user flow")


def test_a_trigger_without_data_is_not_called_well() -> None:
    unknown = {**triggers(), "api_errors": TriggerResult(TriggerStatus.UNKNOWN, "no data for 20m")}
    given_ = launched(triggers=unknown)
    assert board(given_, decide(given_), FINE, None).rows[4].state is State.UNKNOWN


def test_a_program_reads_the_same() -> None:
    told = json.loads(json.dumps(as_json(incident())))
    assert (told["stack"], told["state"]) == ("prod", "ACT!")
    assert {row["title"]: row["state"] for row in told["rows"]}["Rule: legal defect"] == "ACT!"


@settings(max_examples=25, deadline=None)
@given(
    st.text(max_size=300),
    st.sampled_from(list(Deployment)),
    st.integers(1, 30),
    st.integers(20, 120),
    st.integers(0, 10**9),
)
def test_whatever_is_said_fits_and_moves_no_cursor(
    words: str, deployment: Deployment, height: int, width: int, n: int
) -> None:
    given_ = launched(triggers=triggers(legal_defect=words), live=live(10, since=SINCE, deployment=deployment))
    lines = screen(board(given_, decide(given_), {"login": Counted(n, n)}, 1, words), width=width, height=height)
    assert len(lines) <= height
    for line in lines:
        assert line.cell_len <= width
        assert all(sign.isprintable() for sign in line.plain)
