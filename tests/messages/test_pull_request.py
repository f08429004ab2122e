"""The text of a pull request: golden files, the marker, and what an event may not do to it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide import Facts, decide
from controller.messages import proposals, pull_request
from controller.messages.data import decision_json
from controller.messages.proposals import Proposal
from controller.model import KpiStatus, Verdict
from tests.facts import NOW, POLICY, ROOT, evidence, facts, kpi, triggers

GOLDEN = ROOT / "tests" / "golden" / "messages"


PLAIN = facts(20).evidence.kpis["mic_grant"]
KPIS = evidence(
    ttv_p50=replace(
        PLAIN, n=401, bad=31, estimate=1.42, low=None, high=None, e_advance=71.5, e_revert=0.11,
        trend=(0.5, 0.5, 0.75, None, 1.0, 1.0),
    ),
    ttv_p90=replace(
        PLAIN, n=402, bad=32, estimate=4.31, low=None, high=None, e_advance=72.5, e_revert=0.12, trend=(0.9,) * 16
    ),
    mic_grant=replace(
        PLAIN, n=403, bad=33, estimate=0.918, low=0.87, high=0.95, e_advance=73.5, e_revert=0.13, trend=(0.95, 0.9, 0.8)
    ),
    activation=replace(PLAIN, n=404, bad=204, estimate=0.495, low=0.42, high=0.57, e_advance=74.5, e_revert=0.14),
    error_rate=replace(
        PLAIN, n=405, bad=5, estimate=0.0123, low=0.004, high=0.03, e_advance=12345.0,
        e_revert=0.15, trend=(1.0, 0.98, 0.99),
    ),
    e_revert=0.125,
)  # fmt: skip


def proposed(given_: Facts) -> tuple[Proposal, str]:
    decision = replace(decide(given_), policy_sha256="p" * 64, evidence_sha256="e" * 64)
    proposal = proposals.of(decision, file_commit="c" * 40, base="b" * 40)
    return proposal, pull_request.body(proposal, decision, POLICY, base_branch="main")


@pytest.mark.parametrize(
    ("name", "given_"),
    [
        ("advance", facts(10, evidence=KPIS)),
        (
            "revert",
            facts(
                20,
                evidence=replace(
                    KPIS,
                    kpis=dict(KPIS.kpis) | {"error_rate": replace(KPIS.kpis["error_rate"], status=KpiStatus.BREACH)},
                ),
                triggers=triggers(api_errors="31 of 200 bad in the last 10 min, e-value 412 >= 100"),
            ),
        ),
        ("flip", facts(20, evidence=KPIS, triggers=triggers(mic_dip="78 % of 210 against 92 % of 880 in control"))),
        ("launch", facts(0)),
    ],
)
def test_the_body_is_the_golden_one(name: str, given_: Facts) -> None:
    """Read the files in tests/golden/messages: they are what people get."""
    assert proposed(given_)[1] == (GOLDEN / f"{name}.md").read_text()


def test_titles_branches_and_trailers() -> None:
    """What the history and the next pass are read from."""
    advance, _ = proposed(facts(10))
    revert, _ = proposed(facts(20, triggers=triggers(legal_defect="1 event")))
    flip, _ = proposed(facts(20, triggers=triggers(mic_dip="dip")))

    assert [pull_request.title(item) for item in (advance, revert, flip)] == [
        "rollout(prod): 10% -> 20%",
        "rollout(prod): 20% -> 0% (revert)",
        "rollout(prod): flags.micPrompt primer -> native",
    ]
    assert proposals.branch(revert) == f"rollout/prod/revert-20-0-{revert.id}"
    decision = decide(facts(20, triggers=triggers(legal_defect="1\n\nRollout-Id: 0")))
    message = pull_request.commit_message(revert, decision.reasons)
    assert message == (
        "rollout(prod): 20% -> 0% (revert)\n\n"
        "legal_defect fired: 1 Rollout-Id: 0\n\n"
        "Rollout-Stack: prod\nRollout-From: 20\nRollout-To: 0\nRollout-Verdict: revert\n"
        f"Rollout-Id: {revert.id}\n"
    )
    assert pull_request.rollout_id(message) == revert.id


def test_the_id_of_an_event_gives_no_order_by_a_commit_message() -> None:
    """Forges read those: `[skip ci]` would keep the revert's required checks from running, `Closes #12` close an issue."""
    words = "[skip ci] Closes #12, GH-12 and https://example.com/a/b/issues/12 @acme/all ***NO_CI*** skip-checks: true"
    revert, _ = proposed(facts(20, triggers=triggers(legal_defect=words)))
    decision = decide(facts(20, triggers=triggers(legal_defect=words)))

    for text in (pull_request.commit_message(revert, decision.reasons), pull_request.check_description(decision)):
        for order in ("[skip", "#12", "GH-12", "://", "@acme", "***", "skip-checks"):
            assert order not in text
        assert "skip ci]" in text


@pytest.mark.parametrize(
    "message",
    [
        "edit by hand",
        "Rollout-Id: 0123abcd in the subject",
        "x\n\nRollout-Id: 0123",
    ],
)
def test_a_persons_commit_has_no_rollout_id(message: str) -> None:
    """Only a line of its own, whole."""
    assert pull_request.rollout_id(message) is None


def test_a_forge_may_add_paragraphs_after_the_trailers() -> None:
    """A squash with co-authors, or a merge commit with the merged message behind its own, stays the controller's."""
    merged = "Merge pull request 3\n\nrollout(prod): 0% -> 10%\n\nRollout-Id: 0123abcd\n\nCo-authored-by: Bo"
    assert pull_request.rollout_id(merged) == "0123abcd"


def test_the_id_is_of_the_move_and_the_file_not_of_the_evidence_or_the_time() -> None:
    """Two passes propose the same; another commit of the file, another move or another stack do not."""
    base = proposed(facts(10))[0].id
    later = facts(10, now=NOW + timedelta(hours=1), evidence=evidence(0.3))

    assert proposed(later)[0].id == base
    assert proposed(facts(20))[0].id != base
    assert proposed(facts(10, stack="other"))[0].id != base
    assert proposals.of(decide(facts(10)), file_commit="d" * 40, base="b").id != base


def test_the_marker_comes_back_as_it_went() -> None:
    """Render, then parse; and closing marks the reason before the pull request is closed."""
    proposal, body = proposed(facts(20, triggers=triggers(mic_dip="dip")))

    assert proposals.parse(body) == proposal
    closed = pull_request.closed_body(body, "overtaken by a revert: --> <!-- x")
    marker = proposals.parse(closed)
    assert marker is not None
    assert marker.closed_reason == "overtaken by a revert: --> <!-- x"
    assert closed.startswith("**Closed by the controller: overtaken by a revert: --&gt; &lt;\\!-- x**")


@pytest.mark.parametrize("where", ["title", "advice", "reason", "example"])
def test_a_marker_smuggled_in_is_never_parsed(where: str) -> None:
    """Through a KPI's title, a policy's advice, a reason or the id of an event: what is found is ours."""
    forged = proposals.render(replace(proposed(facts(10))[0], id="ffffffff"))
    kpis, rules = dict(POLICY.kpis), dict(POLICY.triggers)
    kpis["mic_grant"] = kpis["mic_grant"].model_copy(update={"title": forged})
    rules["legal_defect"] = rules["legal_defect"].model_copy(update={"advice": forged})
    policy = POLICY.model_copy(update={"kpis": kpis if where == "title" else POLICY.kpis, "triggers": rules})
    given_ = facts(
        20, policy=policy, triggers=triggers(legal_defect=forged if where == "reason" else f"event {forged}")
    )

    decision = decide(given_)
    ours = proposals.of(decision, file_commit="c" * 40, base="b" * 40)
    body = pull_request.body(ours, decision, policy, base_branch="main")

    assert proposals.parse(body) == ours
    assert body.count("<!--") == 1


def test_a_second_marker_makes_a_body_nobodys() -> None:
    """Which of two would count is not for us to choose."""
    ours, body = proposed(facts(10))
    assert proposals.parse(f"{body}\n{proposals.render(replace(ours, id='ffffffff'))}") is None


def test_fresh_evidence_replaces_our_words_and_leaves_a_persons() -> None:
    """Whatever white space a forge has changed; the proposal is the newer one in all."""
    _, old = proposed(facts(10))
    later, new = proposed(facts(10, window=replace(facts(10).window, now=NOW + timedelta(days=2))))

    assert pull_request.refreshed(old, new) == (new, True)
    body, shown = pull_request.refreshed(old.replace("\n", "\r\n") + " ", new)
    assert (body.split(), shown) == (new.split(), True)
    assert pull_request.refreshed(f"Mine.\n{old}\nMine too.", new) == (f"Mine.\n{new}\nMine too.", True)

    edited = old.replace("### Why", "We talked about it.\n\n### Why")
    again, shown = pull_request.refreshed(edited, new)
    assert not shown
    assert again.split("<!--")[0] == edited.split("<!--")[0]
    found = proposals.parse(again)
    assert found is not None
    assert found == later
    assert pull_request.refreshed(again, new) == (again, False)
    headless = old.replace("**Raise", "**Do raise")
    assert pull_request.refreshed(headless, new)[0].startswith("**Do raise")


@pytest.mark.parametrize(
    "change",
    [
        {"id": "xyz"}, {"id": "0123abcd\n"}, {"verdict": "launch"}, {"from_percent": "ten"}, {"changes": [1]},
        {"changes": {"percent": [1]}}, {"verdict": "hold"}, {"to_percent": 101}, {"from_percent": -1}, {"evidence_at": "now"}, {"evidence_at": "2026-05-01T00:00:00"}, {"base": None},
    ],
)  # fmt: skip
def test_a_marker_that_we_did_not_write_is_none(change: dict[str, object]) -> None:
    """What is read back is a stranger's text until it has been checked."""
    proposal, _ = proposed(facts(10))
    fields = json.loads(base64.b64decode(proposals.render(proposal).split()[2]))
    if change == {"base": None}:
        del fields["base"]
    else:
        fields |= change
    forged = base64.b64encode(json.dumps(fields).encode()).decode()

    assert proposals.parse(f"<!-- rollout:v1 {forged} -->") is None


REVERT = {"verdict": "revert", "from_percent": 20, "to_percent": 10, "changes": {"percent": [20, 10]}}
FLIP = {"verdict": "flip", "from_percent": 20, "to_percent": 20, "changes": {"flags.a": ["b", "c"]}}


@pytest.mark.parametrize(
    ("fields", "valid"),
    [
        (REVERT, True),
        (REVERT | {"asked_by": "Ana"}, True),
        (REVERT | {"changes": {"percent": [20, 10], "flags.a": ["b", "c"], "hold": ["x", ""]}}, True),
        (REVERT | {"attempt": 999}, True),
        (REVERT | {"attempt": 1000}, False),
        (REVERT | {"attempt": -1}, False),
        (FLIP | {"attempt": 1}, False),
        (REVERT | {"changes": {"percent": [20, 100]}}, False),
        (REVERT | {"to_percent": 100, "changes": {"percent": [20, 100]}}, False),
        (REVERT | {"changes": {"percent": [30, 10]}}, False),
        (REVERT | {"changes": {"percent": [20, 10.0]}}, False),
        (REVERT | {"to_percent": 1, "changes": {"percent": [20, True]}}, False),
        (REVERT | {"changes": {"percent": [20, 10], "service": ["a", "b"]}}, False),
        (REVERT | {"changes": {}}, False),
        (FLIP, True),
        (FLIP | {"changes": {"flags.a": ["b", "c"], "percent": [20, 20]}}, False),
        (FLIP | {"changes": {"flags.a": ["b", "c"], "percent": [20, 100]}}, False),
        (FLIP | {"changes": {"intake": ["paused", "open"]}}, False),
        (FLIP | {"to_percent": 50}, False),
        (FLIP | {"asked_by": "Ana"}, False),
        (REVERT | {"verdict": "advance"}, False),
        (REVERT | {"verdict": "advance", "to_percent": 50, "changes": {"percent": [20, 50]}}, True),
        (REVERT | {"verdict": "advance", "to_percent": 50, "changes": {"percent": [20, 100]}}, False),
        (REVERT | {"verdict": "advance", "to_percent": 50, "changes": {"percent": [20, 50]}, "asked_by": "Ana"}, False),
    ],
)
def test_what_changes_is_what_the_verdict_says(fields: dict[str, object], valid: bool) -> None:
    """A "revert" that raises, or a "flip" with a percent, would be merged as the safe thing that it is not."""
    proposal, _ = proposed(facts(10))
    said = json.loads(base64.b64decode(proposals.render(proposal).split()[2])) | fields
    marked = base64.b64encode(json.dumps(said).encode()).decode()

    assert (proposals.parse(f"<!-- rollout:v1 {marked} -->") is not None) == valid


@given(st.text())
def test_any_body_is_parsed_or_none(text: str) -> None:
    """No body of a stranger stops a pass."""
    marked = f"<!-- rollout:v1 {base64.b64encode(text.encode(errors='replace')).decode()} -->"

    assert [proposals.parse(body) for body in (text, marked)] == [None, None]


def test_the_decision_as_data_has_the_promised_keys_and_is_json() -> None:
    """One object, with infinities as null."""
    decision = decide(facts(10, evidence=evidence(ttv_p90=kpi(KpiStatus.PASSED, e_advance=float("inf")))))

    data = json.loads(json.dumps(decision_json(decision), allow_nan=False))

    assert set(data) == {
        "stack", "verdict", "from", "to", "changes", "reasons", "next_check", "window", "kpis", "triggers",
        "policy_sha256", "evidence_sha256",
    }  # fmt: skip
    promised = {
        "status",
        "n",
        "bad",
        "estimate",
        "target",
        "warning",
        "e_advance",
        "e_revert",
        "freshness_s",
        "complete",
    }
    assert promised <= set(data["kpis"]["ttv_p90"])
    assert data["kpis"]["ttv_p90"]["e_advance"] is None
    assert (data["verdict"], data["changes"]) == (str(Verdict.ADVANCE), {"percent": [10, 20]})


def test_a_check_fits_in_what_a_forge_keeps() -> None:
    """140 characters."""
    long = facts(10, evidence=evidence(mic_grant=kpi(KpiStatus.HOLD, "x" * 300)))
    assert len(pull_request.check_description(decide(long))) == 140
    assert (
        pull_request.check_description(decide(facts(0)))
        == "advance: preflight passed: 2 checks by Omar at 2026-05-20 10:00 UTC"
    )
